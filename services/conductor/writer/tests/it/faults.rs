//! What the writer promises when Postgres dies.

use crate::common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strata_lab::PrivatePostgres;
use strata_writer::{Failure, Options};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn killing_postgres_under_load_loses_no_answer_and_doubles_no_command() {
    let mut postgres = PrivatePostgres::start();
    let replicas = [conductor(&postgres).await, conductor(&postgres).await];
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for worker in 0..16u128 {
        let (conductor, stop) = (replicas[worker as usize % 2].clone(), stop.clone());
        tasks.spawn(async move {
            let (mut there, mut absent) = (vec![], vec![]);
            for n in 0u128.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let owner = worker * 1_000_000 + n;
                match run(&conductor, import(owner, "k")).await {
                    Ok(_) => there.push(owner),
                    Err(Failure::Unavailable(_)) => absent.push(owner),
                    Err(other) => panic!("{other}"),
                }
            }
            (there, absent)
        });
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        postgres = tokio::task::spawn_blocking(move || {
            postgres.kill();
            postgres.start_again();
            postgres
        })
        .await
        .expect("restart");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let cloud_of = async || replicas[0].cloud().await.expect("cloud");
    let outcomes = tasks.join_all().await;
    let cloud = cloud_of().await;
    let mut answered = 0;
    for (there, absent) in outcomes {
        answered += there.len() as u64;
        assert!(there.iter().all(|owner| cloud.keypairs.get(&user(*owner), "k").is_some()), "an answered command is lost");
        assert!(absent.iter().all(|owner| cloud.keypairs.get(&user(*owner), "k").is_none()), "a refused command is there");
    }
    assert!(answered > 100, "only {answered} commands went through");
    assert_eq!(answered, cloud.position, "every event belongs to an answered command");
    for replica in &replicas {
        check(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_callers_are_told_in_time_and_later_served() {
    let mut postgres = PrivatePostgres::start();
    let conductor = with(&postgres, Options { patience: Duration::from_millis(500), ..Options::default() }).await;
    run(&conductor, import(1, "before")).await.expect("import");
    postgres.kill();
    assert!(matches!(run(&conductor, import(1, "during")).await, Err(Failure::Unavailable(_))));
    assert!(matches!(conductor.cloud().await, Err(Failure::Unavailable(_))));
    postgres.start_again();
    let cloud = loop {
        match run(&conductor, import(1, "after")).await {
            Ok(done) => break done.cloud,
            Err(Failure::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert!(cloud.keypairs.get(&user(1), "during").is_none());
    check(&conductor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_apply_stops_the_replica_and_names_the_position() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    run(&conductor, import(1, "a")).await.expect("import");
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.expect("superuser");
    tokio::spawn(connection);
    client
        .batch_execute(
            "INSERT INTO strata.events SELECT 2, stream_kind, stream_id, 2, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash \
             FROM strata.events; UPDATE strata.log_head SET position = 2",
        )
        .await
        .expect("forge");
    let why = tokio::time::timeout(Duration::from_secs(5), conductor.fatal()).await.expect("the replica stops");
    assert!(why.contains("event 2"), "{why}");
    assert!(matches!(run(&conductor, import(1, "b")).await, Err(Failure::Unavailable(_))));
    assert_eq!(conductor.latest().position, 1);
}
