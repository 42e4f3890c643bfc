use super::*;

/// To libvirt's own driver for tests, which needs no daemon.
fn connection() -> Connection {
    Connection { connect: Connect::open(Some("test:///default")).expect("libvirt has it built in"), lifecycle: -1 }
}

fn shared() -> Arc<Shared> {
    let state = State { connection: None, trouble: "not connected yet".into(), broken: true, ended: false };
    Arc::new(Shared { uri: "test:///default".into(), state: Mutex::new(state), turned: Condvar::new(), events: Events::default() })
}

#[test]
fn a_connection_that_is_lost_while_it_is_made_is_not_taken_for_a_good_one() {
    let shared = shared();
    assert!(!publish(&shared, |_| Ok(connection())).expect("opened").broken);
    #[allow(unsafe_code)]
    let lost = |shared: &Arc<Shared>| {
        let opaque = Arc::as_ptr(shared).cast::<c_void>().cast_mut();
        // SAFETY: as libvirt calls it; the Arc lives through the call.
        unsafe { on_close(std::ptr::null_mut(), virt_sys::VIR_CONNECT_CLOSE_REASON_EOF as c_int, opaque) };
        Ok(connection())
    };
    assert!(publish(&shared, lost).expect("opened").broken, "what was said while it was opened is forgotten");
    let failed = publish(&shared, |_| Err(Connect::open(Some("nosuch:///x")).expect_err("there is none")));
    assert!(failed.is_err());
    drop(failed);
    assert!(lock(&shared.state).broken);
}

#[tokio::test]
async fn what_waited_for_its_turn_asks_for_the_lease_then() {
    let link = Link::with(shared()).expect("threads");
    drop(publish(&link.shared, |_| Ok(connection())).expect("opened"));
    let held = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (begin, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    // All threads are busy.
    let busy = (0..THREADS).map(|_| {
        let wait = wait.clone();
        link.call(Duration::from_secs(20), move |_| {
            let _ = lock(&wait).recv();
            Ok(())
        })
    });
    let busy = futures_util::future::join_all(busy);
    let lease = || held.load(std::sync::atomic::Ordering::Relaxed);
    let start = link.call_if(Duration::from_secs(20), Some(&lease), |_| Ok("started"));
    let runs_out = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        held.store(false, std::sync::atomic::Ordering::Relaxed);
        drop(begin);
    };
    let (_, started, ()) = tokio::join!(busy, start, runs_out);
    assert_eq!(started, Err(HypervisorError::NotYet), "the lease ran out while it waited");
    held.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(link.call_if(Duration::from_secs(20), Some(&lease), |_| Ok("started")).await, Ok("started"));
}
