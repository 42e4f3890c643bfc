//! What a rule had let through ends with it, also when both ends go on talking, and comes back with it if nobody has given up.

use crate::lab::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strata_events::SecurityGroupId;
use strata_network::Dataplane;
use strata_network::linux::netns;
use strata_projections::plan::group::GroupPlan;
use strata_projections::plan::port::{PlannedRule, Remote};
use uuid::Uuid;

/// A connection over which both ends say something all the time; how much the one that began it and the other have heard.
struct Session([Arc<AtomicU64>; 2]);

/// Talks as long as anyone asks how much was heard.
fn talk(mut stream: TcpStream) -> Arc<AtomicU64> {
    let heard = Arc::new(AtomicU64::new(0));
    let counted = heard.clone();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    std::thread::spawn(move || {
        while Arc::strong_count(&counted) > 1 && stream.write_all(b"x").is_ok() {
            if let Ok(n) = stream.read(&mut [0; 64]) {
                counted.fetch_add(n as u64, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    heard
}

impl Session {
    fn new(client: TcpStream, listener: &TcpListener) -> Self {
        Self([client, listener.accept().unwrap().0].map(talk))
    }
    fn heard(&self) -> [u64; 2] {
        [&self.0[0], &self.0[1]].map(|n| n.load(Ordering::Relaxed))
    }
    /// Both ends hear of each other from now on.
    async fn lives(&self, what: &str) {
        let before = self.heard();
        until(what, 15, || self.heard().iter().zip(before).all(|(now, before)| *now > before)).await;
    }
}

/// No end of any of them hears anything, for longer than it takes to send it again a few times.
async fn are_over(what: &str, sessions: &[&Session]) {
    let heard = || sessions.iter().map(|s| s.heard()).collect::<Vec<_>>();
    // What was under way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = heard();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(heard(), before, "{what}: [heard by who began it, by the other] of each went on");
}

#[test]
fn a_session_ends_with_its_rule_whoever_talks() {
    on_a_host("sessions", |lab| async move {
        let dataplane = lab.open();
        // The client lets in whatever comes: what the server sends it could be the beginning of something.
        let mut client = plug(1, 11);
        client.rules.push(PlannedRule { protocol: None, port_range_min: None, port_range_max: None, ..tcp(1) });
        let server = |rules: &[PlannedRule]| {
            let mut plug = plug(1, 12);
            plug.rules.extend_from_slice(rules);
            plug
        };
        dataplane.plug(&port_id(11), &client).await.unwrap();
        dataplane.plug(&port_id(12), &server(&[tcp(22), tcp(80)])).await.unwrap();
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        let (ssh, web) = (b.listen(22), b.listen(80));
        let group = |n: u128| SecurityGroupId(Uuid::from_u128(0x70 + n));
        let connect = |port: u16| TcpStream::connect((ip(12), port)).unwrap();
        let namespace = lab.config().namespace(&network_id(1));
        let guests = Session::new(a.inside(|| connect(22)), &ssh);
        let hosts = Session::new(netns::in_namespace(&namespace, || connect(22)).unwrap(), &ssh);
        let others = Session::new(a.inside(|| connect(80)), &web);
        for turn in 0..2 {
            for (session, what) in
                [(&guests, "a guest's session lives"), (&hosts, "one from the namespace lives"), (&others, "another lives")]
            {
                session.lives(what).await;
            }
            dataplane.update(&port_id(12), &server(&[tcp(80)])).await.unwrap();
            are_over(&format!("without the rule, turn {turn}"), &[&guests, &hosts]).await;
            others.lives("what another rule lets is not cut").await;
            // Back in time, by a group that is told of only after the rule that names it.
            let id = group(turn);
            dataplane.update(&port_id(12), &server(&[tcp(80), PlannedRule { remote: Remote::Group(id), ..tcp(22) }])).await.unwrap();
            dataplane.members(&GroupPlan { id, members: vec!["10.0.0.0/24".parse().unwrap()] }).await.unwrap();
        }
        guests.lives("a guest's session goes on").await;
        hosts.lives("the one from the namespace goes on").await;
        // The same for a member that leaves.
        dataplane.members(&GroupPlan { id: group(1), members: vec!["10.0.0.2/32".parse().unwrap()] }).await.unwrap();
        are_over("no member any more", &[&guests]).await;
        hosts.lives("who is still a member goes on").await;
    });
}
