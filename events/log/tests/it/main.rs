//! The log against a real Postgres.

use std::sync::Arc;
use strata_events::keypair::{KeypairEvent, KeypairKind};
use strata_events::{Actor, Event, KeypairRef, Recorded, SecretId, Stream, Timestamp, UserId};
use strata_lab::PrivatePostgres;
use strata_log::{AuditedCall, Batch, Log, LogConfig, Replica, Session, Snapshot, migrate};

const ALICE: UserId = UserId(uuid::Uuid::max());

async fn log(postgres: &PrivatePostgres) -> Log {
    migrate(&postgres.url()).await.expect("migrate");
    Log::connect(&LogConfig::new(postgres.url())).await.expect("connect")
}

async fn append(session: &Session, names: &[&str]) -> Batch {
    let mut batch = Batch::new(session.lock_head().await.expect("lock"));
    for name in names {
        let id = KeypairRef::new(&ALICE, &format!("{name}{}", batch.head.position));
        let event = Event::from(KeypairEvent::KeypairImported {
            id,
            user: ALICE,
            name: (*name).into(),
            kind: KeypairKind::Ssh,
            public_key: "ssh-ed25519 é \"quoted\" \\ ".into(),
            fingerprint: String::new(),
        });
        let recorded = Recorded {
            position: batch.head.position + 1,
            version: 1,
            recorded_at: Timestamp(1_700_000_000_123_456),
            actor: Actor::service("test"),
            request_id: "req-1".into(),
            caused_by: None,
            event: event.clone(),
        };
        let actor = serde_json::to_string(&recorded.actor).expect("json");
        batch.push(Arc::new(recorded), event.stream().id, actor.into(), event.encode());
    }
    session.append_and_commit(&batch).await.expect("append");
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_reads_back_and_the_chain_holds() {
    let postgres = PrivatePostgres::start();
    let log = log(&postgres).await;
    assert_eq!(migrate(&postgres.url()).await.expect("again"), Vec::<&str>::new(), "migrating again changes nothing");
    let session = log.session().await.expect("session");
    let batch = append(&session, &["a", "b", "c"]).await;
    append(&session, &["d"]).await;
    let read = log.read_from(1, 100).await.expect("read");
    assert_eq!(read.len(), 4);
    assert_eq!(read[1], *batch.entries[1].recorded);
    assert_eq!(log.read_from(3, 1).await.expect("read")[0].position, 3);
    let stream = Stream { kind: "keypair".into(), id: batch.entries[2].id.clone() };
    assert_eq!(log.read_stream(&stream, 0, 10).await.expect("read").len(), 1);
    assert!(session.holds(&batch).await.expect("holds"));
    let verdict = log.verify(|_| {}).await.expect("verify");
    assert_eq!((verdict.events, verdict.flaw), (4, None));
    assert_eq!(log.head().await.expect("head"), verdict.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_to_change_or_remove_an_event() {
    let postgres = PrivatePostgres::start();
    let log = log(&postgres).await;
    append(&log.session().await.expect("session"), &["a"]).await;
    let client = log.client().await.expect("client");
    for sql in [
        "UPDATE strata.events SET request_id = 'x'",
        "DELETE FROM strata.events",
        "TRUNCATE strata.events",
        "ALTER TABLE strata.events DISABLE TRIGGER ALL",
        "DROP TABLE strata.events",
        "DELETE FROM strata.log_head",
        "DELETE FROM strata.audit_calls",
    ] {
        let code = client.batch_execute(sql).await.expect_err(sql).code().cloned();
        assert_eq!(code.as_ref().map(|c| c.code()), Some("42501"), "{sql} must be refused for want of the right");
    }
    // the readers' role sees nothing of the log
    let reader = Log::connect(&LogConfig::new(postgres.url_as("strata_read"))).await;
    assert!(reader.is_err(), "strata_read acts as the services' role");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_by_a_superuser_is_found() {
    let postgres = PrivatePostgres::start();
    let log = log(&postgres).await;
    append(&log.session().await.expect("session"), &["a", "b", "c", "d"]).await;
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.expect("superuser");
    tokio::spawn(connection);
    let cases = [
        ("UPDATE strata.events SET body = replace(body::text, 'ssh-', 'SSH-')::json WHERE position = 2", 2),
        ("UPDATE strata.events SET request_id = 'req-2' WHERE position = 4", 4),
        ("UPDATE strata.events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 1", 1),
        ("UPDATE strata.events SET actor = '{\"service\":{\"name\":\"other\"}}' WHERE position = 3", 3),
        ("DELETE FROM strata.events WHERE position = 3", 3),
        ("DELETE FROM strata.events WHERE position = 4", 4),
        ("UPDATE strata.log_head SET hash = decode(repeat('01', 32), 'hex')", 4),
        (
            "INSERT INTO strata.events SELECT 5, stream_kind, 'x', 1, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash FROM strata.events WHERE position = 4",
            5,
        ),
    ];
    for (sql, position) in cases {
        client
            .batch_execute("CREATE TABLE kept AS TABLE strata.events; CREATE TABLE kept_head AS TABLE strata.log_head")
            .await
            .expect("keep");
        client.batch_execute(sql).await.expect(sql);
        let flaw = log.verify(|_| {}).await.expect("verify").flaw;
        assert_eq!(flaw.as_ref().map(|f| f.position), Some(position), "{sql}: {flaw:?}");
        client
            .batch_execute(
                "DELETE FROM strata.events; INSERT INTO strata.events TABLE kept; DROP TABLE kept; \
                 UPDATE strata.log_head SET hash = (SELECT hash FROM kept_head); DROP TABLE kept_head",
            )
            .await
            .expect("restore");
        assert_eq!(log.verify(|_| {}).await.expect("verify").flaw, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_the_log() {
    let postgres = PrivatePostgres::start();
    let log = log(&postgres).await;
    let id = SecretId(uuid::Uuid::from_u128(7));
    log.secrets().put(id, b"sealed").await.expect("put");
    assert_eq!(log.secrets().get(id).await.expect("get").as_deref(), Some(&b"sealed"[..]));
    log.secrets().remove(id).await.expect("remove");
    assert_eq!(log.secrets().get(id).await.expect("get"), None);

    let keys = log.keys("fernet");
    assert_eq!(keys.ensure(b"one", b"two").await.expect("ensure").len(), 2);
    assert_eq!(keys.ensure(b"other", b"another").await.expect("ensure")[0].key, b"one");
    let numbers =
        |keys: Vec<strata_log::Key>| keys.iter().map(|k| (k.number, String::from_utf8_lossy(&k.key).into_owned())).collect::<Vec<_>>();
    assert_eq!(numbers(keys.rotate(b"three", 3).await.expect("rotate")), [(2, "two".into()), (1, "one".into()), (0, "three".to_owned())]);
    assert_eq!(numbers(keys.rotate(b"four", 3).await.expect("rotate")), [(3, "three".into()), (2, "two".into()), (0, "four".to_owned())]);

    let call = AuditedCall {
        at: Timestamp(1_700_000_000_000_001),
        request_id: "req-1".into(),
        user: None,
        project: Some("p".into()),
        from: "127.0.0.1".into(),
        action: "POST /v3/auth/tokens".into(),
        outcome: 401,
        reason: "no".into(),
    };
    log.add_calls(std::slice::from_ref(&call)).await.expect("refused");
    assert_eq!(log.calls(10).await.expect("refused"), [call]);

    let replica = Replica {
        name: "a-1".into(),
        services: vec!["api".into()],
        version: "0".into(),
        applied: 3,
        started_at: Timestamp(1_700_000_000_000_001),
        details: "{\"mirror\": 3}".into(),
    };
    log.heartbeat(&replica).await.expect("heartbeat");
    log.heartbeat(&replica).await.expect("heartbeat");
    let seen = log.replicas().await.expect("replicas");
    assert_eq!(seen[0].replica, replica);
    assert!(seen[0].millis_ago < 10_000);
    log.goodbye("a-1").await.expect("goodbye");
    assert_eq!(log.replicas().await.expect("replicas"), []);

    let batch = append(&log.session().await.expect("session"), &["a", "b"]).await;
    let mut snapshot = Snapshot { head: batch.head, format: "f".into(), digest: batch.head.hash, bytes: vec![7; 9 << 20] };
    log.save_snapshot(&snapshot).await.expect("save");
    log.save_snapshot(&snapshot).await.expect("saving it again changes nothing");
    assert_eq!(log.snapshot_before(u64::MAX, "f").await.expect("load").as_ref(), Some(&snapshot));
    assert_eq!(log.snapshot_before(1, "f").await.expect("load"), None);
    assert_eq!(log.snapshot_before(u64::MAX, "g").await.expect("load"), None);
    snapshot.head.position = 1;
    log.save_snapshot(&snapshot).await.expect("save");
    assert_eq!(log.snapshot_before(1, "f").await.expect("load"), None, "a snapshot of another log is not taken");
}
