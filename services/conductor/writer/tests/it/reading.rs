//! The schema `read` and the audit trail.

use crate::common::*;
use std::time::Duration;
use strata_conductor::decide::keypair::DeleteKeypair;
use strata_conductor::{Context, decide::keypair::ImportKeypair};
use strata_events::Actor;
use strata_lab::PrivatePostgres;
use strata_log::AuditedCall;
use strata_projections::read::KINDS;
use strata_writer::{Conductor, now};
use tokio_postgres::{Client, NoTls};

async fn as_role(postgres: &PrivatePostgres, role: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(&postgres.url_as(role), NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

/// Waits until a query gives this number.
async fn until(client: &Client, sql: &str, expected: i64) {
    let mut last = String::new();
    for _ in 0..200 {
        match client.query_one(sql, &[]).await {
            Ok(row) if row.get::<_, i64>(0) == expected => return,
            Ok(row) => last = row.get::<_, i64>(0).to_string(),
            Err(e) => last = format!("{e:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql}: expected {expected}, last seen {last}");
}

async fn by_user(conductor: &Conductor, request: &str, command: ImportKeypair) {
    let actor = Actor::User { user: command.user, project: None, from: "192.0.2.1".into() };
    let ctx = Context { now: now(), actor, request_id: request.into(), caused_by: None };
    conductor.run(ctx, command).await.expect("import");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_schema_follows_and_comes_back_when_dropped() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    for i in 0..5 {
        by_user(&conductor, &format!("req-{i}"), import(i, "k\0with a NUL".replace('\0', "\\0"))).await;
    }
    let projector = conductor.clone();
    tokio::spawn(async move { projector.project().await });
    // a second one waits and does no harm
    let second = conductor.clone();
    tokio::spawn(async move { second.project().await });

    let owner = as_role(&postgres, "postgres").await;
    until(&owner, "SELECT count(*) FROM read.keypair", 5).await;
    until(&owner, "SELECT count(*) FROM read.audit_trail WHERE source = '192.0.2.1' AND action = 'KeypairImported'", 5).await;
    let views: Vec<String> = owner
        .query("SELECT table_name::text FROM information_schema.views WHERE table_schema = 'read'", &[])
        .await
        .expect("views")
        .iter()
        .map(|row| row.get(0))
        .collect();
    for kind in KINDS {
        assert!(views.iter().any(|v| v == kind), "there is no view for {kind}");
        owner.query(&format!("SELECT * FROM read.\"{kind}\""), &[]).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
    }

    let name = "k\\0with a NUL";
    run(&conductor, DeleteKeypair { user: user(0), name: name.into() }).await.expect("delete");
    by_user(&conductor, "req-9", import(9, "after")).await;
    until(&owner, "SELECT count(*) FROM read.keypair WHERE name = 'after'", 1).await;
    until(&owner, "SELECT count(*) FROM read.keypair", 5).await;
    until(&owner, "SELECT count(*) FROM read.audit", 6).await;

    owner.batch_execute("DROP SCHEMA read CASCADE").await.expect("drop");
    until(&owner, "SELECT count(*) FROM read.keypair", 5).await;
    until(&owner, "SELECT count(*) FROM read.audit", 6).await;

    // someone emptied the table by hand and forgot the checkpoint: the rows come back with the checkpoint
    owner
        .batch_execute("DELETE FROM read.resources; UPDATE read.checkpoint SET position = 0 WHERE projection = 'resources'")
        .await
        .expect("empty");
    until(&owner, "SELECT count(*) FROM read.keypair", 5).await;
    until(&owner, "SELECT position FROM read.checkpoint WHERE projection = 'resources'", 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readers_role_reads_and_nothing_else() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    by_user(&conductor, "req-1", import(1, "k")).await;
    tokio::spawn({
        let conductor = conductor.clone();
        async move { conductor.project().await }
    });
    let owner = as_role(&postgres, "postgres").await;
    until(&owner, "SELECT count(*) FROM read.keypair", 1).await;
    let reader = as_role(&postgres, "strata_read").await;
    until(&reader, "SELECT count(*) FROM read.keypair", 1).await;
    until(&reader, "SELECT count(*) FROM read.audit_trail", 1).await;
    for sql in [
        "SELECT * FROM strata.events",
        "SELECT * FROM strata.secrets",
        "SELECT * FROM strata.keys",
        "SELECT * FROM strata.audit_calls",
        "DELETE FROM read.resources",
        "DROP SCHEMA read CASCADE",
    ] {
        let code = reader.batch_execute(sql).await.expect_err(sql).code().cloned();
        assert_eq!(code.as_ref().map(|c| c.code()), Some("42501"), "{sql} must be refused for want of the right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_leaves_its_record_and_a_flood_of_them_does_not() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    let call = |n: u32| AuditedCall {
        at: now(),
        request_id: format!("req-{n}"),
        user: Some("mallory".into()),
        project: None,
        from: "192.0.2.9".into(),
        action: "DELETE /v3/users/\0x".into(),
        outcome: 403,
        reason: "You are not authorized".into(),
    };
    conductor.audit(call(0));
    let owner = as_role(&postgres, "postgres").await;
    until(&owner, "SELECT count(*) FROM strata.audit_calls WHERE request_id = 'req-0' AND outcome = 403", 1).await;
    for n in 1..5_000 {
        conductor.audit(call(n));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    conductor.audit(call(5_000));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let recorded = conductor.log().calls(10_000).await.expect("refused");
    assert!((500..900).contains(&recorded.len()), "{}", recorded.len());
    assert!(recorded.iter().any(|r| r.reason.contains("were not recorded")), "how many were left out is told");
    assert_eq!(conductor.log().head().await.expect("head").position, 0);
}
