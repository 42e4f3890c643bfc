//! The writer against plain SQL: the same rows into a table alike, in batches as large as commands are concurrent, on the
//! same durable Postgres.

use crate::report::{Must, Report, Row, median};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_conductor::Context;
use strata_conductor::decide::keypair::ImportKeypair;
use strata_events::keypair::KeypairKind;
use strata_events::{Actor, Timestamp, UserId};
use strata_lab::PrivatePostgres;
use strata_log::{Log, LogConfig};
use strata_writer::{Conductor, Options};
use tokio_postgres::{Client, NoTls};

const A_WHILE: Duration = Duration::from_secs(2);

pub async fn measure(report: &mut Report) -> Result<(), String> {
    let wide = |n: usize| format!("durable events/s through the writer, {n} concurrent commands");
    let lone = "latency of one lone command, call to commit";
    if ![wide(128), wide(512), lone.to_owned()].iter().any(|w| report.wants(w)) {
        return Ok(());
    }
    let postgres = PrivatePostgres::with(&[]);
    strata_log::migrate(&postgres.url()).await.map_err(|e| e.to_string())?;
    let log = Log::connect(&LogConfig::new(postgres.url())).await.map_err(|e| e.to_string())?;
    let conductor = Conductor::start(log, Options { react: false, ..Options::default() }).await.map_err(|e| e.to_string())?;
    let plain = Plain::connect(&postgres).await.map_err(|e| e.to_string())?;

    for n in [128, 512] {
        if !report.wants(&wide(n)) {
            continue;
        }
        let (mut rounds, mut baseline) = (vec![], vec![]);
        for _ in 0..report.rounds {
            rounds.push(through_the_writer(&conductor, n).await?);
            baseline.push(plain.rate(n).await.map_err(|e| e.to_string())?);
        }
        report.add(Row { what: wide(n), unit: "events/s", rounds, baseline, must: Must::RatioAtLeast(0.5), they: "" });
    }
    if report.wants(lone) {
        let (mut rounds, mut baseline) = (vec![], vec![]);
        for _ in 0..report.rounds {
            let mut times = vec![];
            for _ in 0..500 {
                let begin = Instant::now();
                one(&conductor).await?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            rounds.push(median(&times));
            baseline.push(plain.lone().await.map_err(|e| e.to_string())?);
        }
        report.add(Row { what: lone.into(), unit: "ms", rounds, baseline, must: Must::RatioAtMost(2.0), they: "" });
    }
    Ok(())
}

async fn one(conductor: &Conductor) -> Result<(), String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| e.to_string())?;
    let user = UserId(uuid::Uuid::from_bytes(id));
    let ctx = Context {
        now: Timestamp(1_790_000_000_000_000),
        actor: Actor::User { user, project: None, from: "127.0.0.1".into() },
        request_id: format!("req-{user}"),
        caused_by: None,
    };
    let command = ImportKeypair {
        user,
        name: "laptop".into(),
        kind: KeypairKind::Ssh,
        public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9nV1yq4R2m6rL3o8kq0h9v6C0o2bD1m9s8Q3f7t5aZ someone@laptop".into(),
        fingerprint: "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff".into(),
    };
    conductor.run(ctx, command).await.map(drop).map_err(|e| e.to_string())
}

async fn through_the_writer(conductor: &Conductor, concurrent: usize) -> Result<f64, String> {
    let begin = Instant::now();
    let mut tasks = vec![];
    for _ in 0..concurrent {
        let conductor = conductor.clone();
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while begin.elapsed() < A_WHILE {
                one(&conductor).await?;
                done += 1;
            }
            Ok::<u32, String>(done)
        }));
    }
    let mut total = 0;
    for task in tasks {
        total += task.await.map_err(|e| e.to_string())??;
    }
    Ok(f64::from(total) / begin.elapsed().as_secs_f64())
}

/// Plain SQL on a table with the same columns, checks and indexes, and the rows that the writer made.
struct Plain {
    client: Arc<Client>,
    insert: tokio_postgres::Statement,
}

impl Plain {
    async fn connect(postgres: &PrivatePostgres) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute("CREATE TABLE strata.plain (LIKE strata.events INCLUDING ALL)").await?;
        let insert = client
            .prepare(
                "INSERT INTO strata.plain (position, stream_kind, stream_id, version, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash)
                 SELECT position, kind, id, version, at, actor::json, request, caused_by, type, schema_version, body::json, hash
                 FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $9::text[],
                             $10::smallint[], $11::text[], $12::bytea[])
                   AS e (position, kind, id, version, at, actor, request, caused_by, type, schema_version, body, hash)",
            )
            .await?;
        Ok(Self { client: Arc::new(client), insert })
    }

    async fn insert(&self, from: i64, count: usize) -> Result<(), tokio_postgres::Error> {
        let positions: Vec<i64> = (from..from + count as i64).collect();
        let users: Vec<String> =
            positions.iter().map(|p| format!("{:032x}", (*p as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))).collect();
        let ids: Vec<String> = users.iter().map(|u| format!("{u}/laptop")).collect();
        let actors: Vec<String> = users.iter().map(|u| format!(r#"{{"user":{{"user":"{u}","from":"127.0.0.1"}}}}"#)).collect();
        let requests: Vec<String> = users.iter().map(|u| format!("req-{u}")).collect();
        let bodies: Vec<String> = users
            .iter()
            .map(|u| {
                format!(
                    r#"{{"id":"{u}/laptop","user":"{u}","name":"laptop","kind":"ssh","public_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9nV1yq4R2m6rL3o8kq0h9v6C0o2bD1m9s8Q3f7t5aZ someone@laptop","fingerprint":"00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"}}"#
                )
            })
            .collect();
        let hashes: Vec<Vec<u8>> = positions.iter().map(|p| p.to_be_bytes().repeat(4)).collect();
        let kinds = vec!["keypair"; count];
        let versions = vec![1i32; count];
        let times = vec![std::time::SystemTime::now(); count];
        let causes = vec![None::<i64>; count];
        let types = vec!["KeypairImported"; count];
        let schema_versions = vec![1i16; count];
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 12] =
            [&positions, &kinds, &ids, &versions, &times, &actors, &requests, &causes, &types, &schema_versions, &bodies, &hashes];
        self.client.execute(&self.insert, &row).await.map(drop)
    }

    async fn next(&self) -> Result<i64, tokio_postgres::Error> {
        Ok(self.client.query_one("SELECT coalesce(max(position), 0) + 1 FROM strata.plain", &[]).await?.get(0))
    }

    async fn rate(&self, batch: usize) -> Result<f64, tokio_postgres::Error> {
        let mut next = self.next().await?;
        let (begin, mut done) = (Instant::now(), 0);
        while begin.elapsed() < A_WHILE {
            self.insert(next, batch).await?;
            next += batch as i64;
            done += batch;
        }
        Ok(done as f64 / begin.elapsed().as_secs_f64())
    }

    /// The median time of a commit of one row, in milliseconds.
    async fn lone(&self) -> Result<f64, tokio_postgres::Error> {
        let mut next = self.next().await?;
        let mut times = vec![];
        for _ in 0..500 {
            let begin = Instant::now();
            self.insert(next, 1).await?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            next += 1;
        }
        Ok(median(&times))
    }
}
