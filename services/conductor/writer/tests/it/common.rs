//! What the tests share.

use strata_conductor::decide::keypair::ImportKeypair;
use strata_conductor::{Command, Context};
use strata_events::keypair::KeypairKind;
use strata_events::{Actor, UserId};
use strata_lab::PrivatePostgres;
use strata_log::{Log, LogConfig, migrate};
use strata_writer::{Conductor, Done, Failure, Options, now};

pub fn user(n: u128) -> UserId {
    UserId(uuid::Uuid::from_u128(n))
}

pub fn ctx() -> Context {
    Context { now: now(), actor: Actor::service("test"), request_id: "req-test".into(), caused_by: None }
}

pub fn import(owner: u128, name: impl Into<String>) -> ImportKeypair {
    ImportKeypair {
        user: user(owner),
        name: name.into(),
        kind: KeypairKind::Ssh,
        public_key: "ssh-ed25519 AAAA".into(),
        fingerprint: "00:11".into(),
    }
}

pub async fn log(postgres: &PrivatePostgres) -> Log {
    migrate(&postgres.url()).await.expect("migrate");
    Log::connect(&LogConfig::new(postgres.url())).await.expect("connect")
}

pub async fn conductor(postgres: &PrivatePostgres) -> Conductor {
    with(postgres, Options::default()).await
}

pub async fn with(postgres: &PrivatePostgres, options: Options) -> Conductor {
    Conductor::start(log(postgres).await, options).await.expect("start")
}

pub async fn run(conductor: &Conductor, command: impl Command) -> Result<Done, Failure> {
    conductor.run(ctx(), command).await
}

/// The log is whole, and folds to what this replica has.
pub async fn check(conductor: &Conductor) {
    let cloud = conductor.cloud().await.expect("cloud");
    let verdict = conductor.log().verify(|_| {}).await.expect("verify");
    assert_eq!(verdict.flaw, None);
    let mut folded = strata_projections::Cloud::default();
    for recorded in conductor.log().read_from(1, 1_000_000).await.expect("read") {
        if recorded.position <= cloud.position {
            folded.apply(&recorded).expect("apply");
        }
    }
    assert_eq!(folded.digest(), cloud.digest(), "the live state is not what the log folds to");
}
