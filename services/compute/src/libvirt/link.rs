//! The connection to libvirtd. Its calls block, so they run on a few threads of their own, each with a time limit: a libvirtd
//! that hangs costs its callers an error and nobody else anything. A thread keeps the connection and makes it again, ever
//! more slowly while that fails; libvirt's event loop tells when a domain changed and when libvirtd stopped answering.
//! **Invariant: no call is made from an async thread.**

use crate::{HypervisorError, Lease};
use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use strata_events::InstanceId;
use tokio::sync::{Notify, oneshot};
use virt::connect::Connect;
use virt::error::{Error, ErrorDomain, ErrorNumber};

/// Calls that run at the same time: a suspend may take minutes, the others shall not wait for it.
const THREADS: usize = 12;
/// Calls that wait for a thread. More than that, and libvirt is not keeping up: callers are told.
const QUEUE: usize = 256;
const STACK: usize = 512 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Events tell what happened; should one ever be lost, this look finds it.
const SLOW_LOOK: Duration = Duration::from_secs(300);
/// After so many unanswered pings, so many seconds apart, libvirtd is taken to be hung.
const PINGS: (i32, u32) = (5, 3);

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
pub struct Link {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

/// What happened by itself since it was last asked.
#[derive(Default)]
pub struct Events {
    pending: Mutex<Pending>,
    some: Notify,
}
#[derive(Default)]
struct Pending {
    all: bool,
    ids: BTreeSet<InstanceId>,
}

impl Events {
    pub fn note(&self, id: InstanceId) {
        lock(&self.pending).ids.insert(id);
        self.some.notify_one();
    }
    /// Anything may have happened.
    pub fn note_all(&self) {
        lock(&self.pending).all = true;
        self.some.notify_one();
    }
    /// The next; none is all of them.
    pub async fn next(&self) -> Option<InstanceId> {
        loop {
            if let Some(next) = lock(&self.pending).pop() {
                return next;
            }
            self.some.notified().await;
        }
    }
}
impl Pending {
    fn pop(&mut self) -> Option<Option<InstanceId>> {
        if std::mem::take(&mut self.all) {
            self.ids.clear();
            return Some(None);
        }
        self.ids.pop_first().map(Some)
    }
}

struct Shared {
    uri: String,
    state: Mutex<State>,
    turned: Condvar,
    events: Events,
}
struct State {
    connection: Option<Arc<Connection>>,
    /// Why there is none.
    trouble: String,
    /// The connection broke, or never was.
    broken: bool,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Connects in the background, now and whenever the connection is lost.
    pub fn open(uri: &str) -> std::io::Result<Self> {
        run_event_loop()?;
        let state = State { connection: None, trouble: "not connected yet".into(), broken: true, ended: false };
        let shared = Arc::new(Shared { uri: uri.into(), state: Mutex::new(state), turned: Condvar::new(), events: Events::default() });
        let keeper = shared.clone();
        std::thread::Builder::new().name("libvirt-link".into()).stack_size(STACK).spawn(move || keep(&keeper))?;
        Self::with(shared)
    }

    /// With its threads.
    fn with(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..THREADS {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("libvirt-{n}")).stack_size(STACK).spawn(move || work(&queue))?;
        }
        Ok(Self { shared, jobs })
    }

    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Why there is no connection; none while there is one.
    pub fn trouble(&self) -> Option<String> {
        let state = lock(&self.shared.state);
        (state.connection.is_none() || state.broken).then(|| state.trouble.clone())
    }

    /// Runs `f` with the connection on a thread that may block. When `limit` passes it may still be done later.
    pub async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        f: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        self.call_if(limit, None, f).await
    }

    /// The same. `lease` is asked when its turn has come, and without one it is not done: it may have waited long.
    pub async fn call_if<T: Send + 'static>(
        &self,
        limit: Duration,
        lease: Option<Lease<'_>>,
        f: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let connection = {
            let state = lock(&self.shared.state);
            match &state.connection {
                Some(connection) if !state.broken => connection.clone(),
                _ => return Err(HypervisorError::Unavailable(format!("libvirt at {}: {}", self.shared.uri, state.trouble))),
            }
        };
        let (answer, answered) = oneshot::channel();
        let (turn, my_turn) = oneshot::channel();
        let (permit, permitted) = oneshot::channel();
        let asks = lease.is_some();
        let job: Job = Box::new(move || {
            let may = || !asks || (turn.send(()).is_ok() && permitted.blocking_recv() == Ok(true));
            if !answer.is_closed() {
                let _ = answer.send(if may() { Some(f(&connection.connect)) } else { None });
            }
        });
        self.jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => HypervisorError::Unavailable("too many calls wait for libvirt".into()),
            TrySendError::Disconnected(_) => HypervisorError::Unavailable("its threads have ended".into()),
        })?;
        let allow = async {
            if let Some(lease) = lease
                && my_turn.await.is_ok()
            {
                let _ = permit.send(lease());
            }
        };
        let done = async { tokio::join!(allow, answered).1 };
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(Some(done))) => done.map_err(|e| error(&e)),
            Ok(Ok(None)) => Err(HypervisorError::NotYet),
            Ok(Err(_)) => Err(HypervisorError::Unavailable("a call to libvirt broke off".into())),
            Err(_) => Err(HypervisorError::Unavailable(format!("libvirt did not answer within {} s", limit.as_secs()))),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.turned.notify_all();
    }
}

/// What an error of libvirt means: that it is gone, or that it does not do what was asked.
pub fn error(e: &Error) -> HypervisorError {
    let gone = matches!(e.domain(), ErrorDomain::Rpc | ErrorDomain::Remote)
        || matches!(e.code(), ErrorNumber::Rpc | ErrorNumber::NoConnect | ErrorNumber::InvalidConn | ErrorNumber::AuthFailed)
        // Somebody else works on the domain, or it went while we looked: the next look sees what came of it.
        || matches!(e.code(), ErrorNumber::OperationTimeout | ErrorNumber::NoDomain);
    let message = e.message().trim().to_string();
    // It ended or began while it was worked on, for example because libvirt was killed while it started it: look again.
    let changed = e.code() == ErrorNumber::OperationInvalid
        && ["domain is not running", "domain is already running"].iter().any(|m| message.ends_with(m));
    if changed {
        return HypervisorError::Unavailable(format!("the guest changed meanwhile ({message})"));
    }
    if gone { HypervisorError::Unavailable(message) } else { HypervisorError::Failed(message) }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting: the others wait for it instead of for the queue.
        let job = lock(queue).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

fn keep(shared: &Arc<Shared>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match publish(shared, Connection::open) {
            Ok(mut state) => {
                pause = SHORTEST_PAUSE;
                shared.events.note_all();
                tracing::info!(uri = shared.uri, "connected to libvirt");
                while !state.broken && !state.ended {
                    let (woken, waited) = shared.turned.wait_timeout(state, SLOW_LOOK).unwrap_or_else(PoisonError::into_inner);
                    state = woken;
                    if waited.timed_out() {
                        shared.events.note_all();
                    }
                }
                let (old, ended) = (state.connection.take(), state.ended);
                drop(state);
                drop(old);
                if ended {
                    return;
                }
                tracing::warn!(uri = shared.uri, "the connection to libvirt is lost");
            }
            Err(e) => {
                let mut state = lock(&shared.state);
                if state.ended {
                    return;
                }
                if state.trouble != e.message() {
                    state.trouble = e.message().into();
                    tracing::warn!(uri = shared.uri, error = e.message(), "can't connect to libvirt; trying again");
                }
                let _ = shared.turned.wait_timeout_while(state, pause, |s| !s.ended);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Opens a connection for all to use. It may be lost again before it is opened wholly: what is said of it from the beginning of
/// the opening on is kept.
fn publish(shared: &Arc<Shared>, open: impl FnOnce(&Arc<Shared>) -> Result<Connection, Error>) -> Result<MutexGuard<'_, State>, Error> {
    lock(&shared.state).broken = false;
    let connection = open(shared).inspect_err(|_| lock(&shared.state).broken = true)?;
    let mut state = lock(&shared.state);
    state.connection = Some(Arc::new(connection));
    Ok(state)
}

/// A connection with its registrations, which hold it open: they are taken back first.
struct Connection {
    connect: Connect,
    lifecycle: c_int,
}

impl Connection {
    #[allow(unsafe_code)]
    fn open(shared: &Arc<Shared>) -> Result<Self, Error> {
        let connect = Connect::open(Some(&shared.uri))?;
        // From here on it is closed when something fails.
        let mut connection = Self { connect, lifecycle: -1 };
        connection.connect.set_keep_alive(PINGS.0, PINGS.1)?;
        let raw = connection.connect.as_ptr();
        let mine = || Arc::into_raw(shared.clone()).cast::<c_void>().cast_mut();
        // SAFETY: the callbacks take the opaque pointer as the Arc that it is, and `forget` gives it back exactly once; libvirt
        // calls an event's callback with the signature that belongs to the event's id.
        connection.lifecycle = unsafe {
            let closed = mine();
            if virt_sys::virConnectRegisterCloseCallback(raw, Some(on_close), closed, Some(forget)) != 0 {
                let e = Error::last_error();
                forget(closed);
                return Err(e);
            }
            let changed = mine();
            let callback: unsafe extern "C" fn(virt_sys::virConnectPtr, virt_sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int =
                on_lifecycle;
            let id = virt_sys::virConnectDomainEventRegisterAny(
                raw,
                std::ptr::null_mut(),
                virt_sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE as c_int,
                std::mem::transmute::<*const (), virt_sys::virConnectDomainEventGenericCallback>(callback as *const ()),
                changed,
                Some(forget),
            );
            if id < 0 {
                let e = Error::last_error();
                forget(changed);
                return Err(e);
            }
            id
        };
        // It answers, too.
        connection.connect.get_lib_version()?;
        Ok(connection)
    }
}

impl Drop for Connection {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let raw = self.connect.as_ptr();
        // SAFETY: the connection is open until `close` below; errors mean that a registration is gone already.
        unsafe {
            if self.lifecycle >= 0 {
                virt_sys::virConnectDomainEventDeregisterAny(raw, self.lifecycle);
            }
            virt_sys::virConnectUnregisterCloseCallback(raw, Some(on_close));
        }
        let _ = self.connect.close();
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn forget(opaque: *mut c_void) {
    // SAFETY: made by Arc::into_raw in Connection::open, given back once.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Shared>()) });
}

#[allow(unsafe_code)]
unsafe extern "C" fn on_close(_: virt_sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: alive until `forget`.
    let shared = unsafe { &*opaque.cast_const().cast::<Shared>() };
    let mut state = lock(&shared.state);
    state.broken = true;
    state.trouble = match reason as u32 {
        virt_sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "libvirtd does not answer any more".into(),
        _ => "libvirtd closed the connection".into(),
    };
    shared.turned.notify_all();
}

#[allow(unsafe_code)]
unsafe extern "C" fn on_lifecycle(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    _event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is alive until `forget`; the domain is valid during the call, and a UUID has 16 bytes.
    unsafe {
        let shared = &*opaque.cast_const().cast::<Shared>();
        let mut uuid = [0u8; 16];
        if virt_sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) == 0 {
            shared.events.note(InstanceId(uuid::Uuid::from_bytes(uuid)));
        }
    }
    0
}

/// libvirt's event loop, once a process: it must be there before the first connection.
fn run_event_loop() -> std::io::Result<()> {
    static ONCE: Once = Once::new();
    let mut outcome = Ok(());
    ONCE.call_once(|| {
        // Errors come back as values; libvirt would print them as well.
        virt::error::clear_error_callback();
        outcome = virt::event::event_register_default_impl().map_err(|e| std::io::Error::other(e.message().to_string())).and_then(|()| {
            let turn = || loop {
                if let Err(e) = virt::event::event_run_default_impl() {
                    tracing::error!(error = e.message(), "libvirt's event loop");
                    std::thread::sleep(Duration::from_secs(1));
                }
            };
            std::thread::Builder::new().name("libvirt-events".into()).stack_size(STACK).spawn(turn).map(|_| ())
        });
    });
    outcome
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
