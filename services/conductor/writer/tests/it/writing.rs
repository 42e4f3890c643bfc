//! What the writer and the reader promise when nothing breaks.

use crate::common::*;
use std::sync::Arc;
use strata_conductor::decide::keypair::DeleteKeypair;
use strata_conductor::{Class, Command, Context, Decision};
use strata_lab::PrivatePostgres;
use strata_projections::Cloud;
use strata_writer::{Failure, Options};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_at_once_leave_no_gap_and_both_see_everything() {
    let postgres = PrivatePostgres::start();
    let (a, b) = (conductor(&postgres).await, conductor(&postgres).await);
    let mut tasks = JoinSet::new();
    for i in 0..400u128 {
        let conductor = if i % 2 == 0 { a.clone() } else { b.clone() };
        // every name is asked for by both: exactly one gets it
        tasks.spawn(async move { run(&conductor, import(i / 20, format!("{}", i / 2))).await.is_ok() });
    }
    let accepted = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(accepted, 200);
    let (seen_a, seen_b) = (a.cloud().await.expect("a"), b.cloud().await.expect("b"));
    assert_eq!((seen_a.position, seen_b.position), (200, 200));
    assert_eq!(seen_a.digest(), seen_b.digest());
    check(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_answered_the_other_sees_at_once() {
    let postgres = PrivatePostgres::start();
    let (a, b) = (conductor(&postgres).await, conductor(&postgres).await);
    for i in 0..50 {
        let done = run(&a, import(1, format!("{i}"))).await.expect("import");
        assert!(b.cloud().await.expect("cloud").position >= done.position);
    }
    // without being asked it learns by itself, too
    let mut watch = b.watch();
    let done = run(&a, import(1, "last")).await.expect("import");
    b.hint();
    let wait = watch.wait_for(|p| *p >= done.position);
    tokio::time::timeout(std::time::Duration::from_secs(5), wait).await.expect("in time").expect("watch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_nothing_behind() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    run(&conductor, import(1, "laptop")).await.expect("import");
    let before = conductor.latest();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let conductor = conductor.clone();
        tasks.spawn(async move { run(&conductor, import(1, "laptop")).await });
    }
    for outcome in tasks.join_all().await {
        assert!(matches!(outcome, Err(Failure::Refused(r)) if r.class == Class::Conflict));
    }
    assert_eq!(conductor.latest().digest(), before.digest());
    assert_eq!(conductor.log().head().await.expect("head").position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_past_the_bound_is_refused_whole() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    let mut large = import(1, "large");
    large.public_key = "x".repeat(64 * 1024);
    let outcome = run(&conductor, large).await;
    assert!(matches!(outcome, Err(Failure::Refused(r)) if r.class == Class::TooLarge));
    run(&conductor, import(1, "small")).await.expect("the next one goes through");
    check(&conductor).await;
}

/// Its events do not fit the state: an error of the program.
#[derive(Debug)]
struct Broken;
impl Command for Broken {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let mut events = import(1, "broken").decide(cloud, ctx)?;
        events.push(events[0].clone());
        Ok(events)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_events_do_not_apply_harms_no_other() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    let (a, b, c) = tokio::join!(run(&conductor, import(1, "a")), run(&conductor, Broken), run(&conductor, import(1, "c")));
    assert!(a.is_ok() && c.is_ok());
    assert!(matches!(b, Err(Failure::Refused(r)) if r.message.contains("error in Strata")));
    assert!(conductor.latest().keypairs.get(&user(1), "broken").is_none());
    check(&conductor).await;
}

/// Keeps the writer busy until it is let go.
#[derive(Debug)]
struct Slow {
    begun: std::sync::mpsc::SyncSender<()>,
    go: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
}
impl Command for Slow {
    fn decide(&self, _: &Cloud, _: &Context) -> Decision {
        self.begun.send(()).expect("the test waits");
        self.go.lock().expect("lock").recv().expect("the test lets it go");
        Ok(vec![])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_is_busy_at_once() {
    let postgres = PrivatePostgres::start();
    let conductor = with(&postgres, Options { queue: 4, ..Options::default() }).await;
    let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
    let (let_go, go) = std::sync::mpsc::sync_channel(1);
    let slow = tokio::spawn({
        let conductor = conductor.clone();
        async move { run(&conductor, Slow { begun, go: Arc::new(go.into()) }).await }
    });
    tokio::task::spawn_blocking(move || has_begun.recv().expect("begun")).await.expect("begun");
    // The writer decides: four more wait, and whoever comes then is told so.
    let mut waiting = JoinSet::new();
    for i in 0..20 {
        let conductor = conductor.clone();
        waiting.spawn(async move { run(&conductor, import(1, format!("{i}"))).await });
    }
    let mut outcomes = vec![];
    while outcomes.len() < 16 {
        outcomes.push(waiting.join_next().await.expect("twenty").expect("no panic"));
    }
    assert!(outcomes.iter().all(|o| matches!(o, Err(Failure::Busy))), "{outcomes:?}");
    let_go.send(()).expect("slow waits");
    slow.await.expect("slow").expect("slow");
    assert!(waiting.join_all().await.iter().all(Result::is_ok), "those that waited are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_come_in_order_without_a_gap_whoever_committed() {
    let postgres = PrivatePostgres::start();
    let (a, b) = (conductor(&postgres).await, conductor(&postgres).await);
    let mut steps = a.applied();
    for i in 0..20 {
        run(if i % 2 == 0 { &a } else { &b }, import(i, "k")).await.expect("import");
    }
    a.cloud().await.expect("cloud");
    let mut at = 0;
    while at < 20 {
        let step = steps.recv().await.expect("step");
        assert_eq!(step.before.position, at);
        assert!(step.events.iter().all(|e| (e.position % 2 == 1) == step.local), "odd ones were committed here");
        at += step.events.len() as u64;
        assert_eq!(step.after.position, at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_starts_from_a_snapshot_to_the_same_state() {
    let postgres = PrivatePostgres::start();
    let first = conductor(&postgres).await;
    for i in 0..30 {
        run(&first, import(i, "k")).await.expect("import");
    }
    assert_eq!(first.save_snapshot().await.expect("save"), 30);
    for i in 0..10 {
        run(&first, DeleteKeypair { user: user(i), name: "k".into() }).await.expect("delete");
    }
    let second = conductor(&postgres).await;
    assert_eq!(second.latest().digest(), first.latest().digest());
    check(&second).await;
}
