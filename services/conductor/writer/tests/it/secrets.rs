//! Secrets beside the log: kept while something names them, and gone some time after.

use crate::common::*;
use std::time::Duration;
use strata_conductor::{Command, Context, Decision};
use strata_events::credential::CredentialEvent;
use strata_events::domain::DomainEvent;
use strata_events::user::UserEvent;
use strata_events::{CredentialId, DomainId, Event, SecretId};
use strata_lab::PrivatePostgres;
use strata_projections::Cloud;

/// Events as they are: the rules that lead to them have their own tests.
#[derive(Debug)]
struct Happen(Vec<Event>);
impl Command for Happen {
    fn decide(&self, _: &Cloud, _: &Context) -> Decision {
        Ok(self.0.clone())
    }
}

fn secret(n: u128) -> SecretId {
    SecretId(uuid::Uuid::from_u128(n))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_is_removed_but_not_while_a_request_may_be_about_to_name_it() {
    let postgres = PrivatePostgres::start();
    let conductor = conductor(&postgres).await;
    let there = async || {
        let mut there = vec![];
        for n in 1..=9 {
            if conductor.log().secrets().get(secret(n)).await.expect("get").is_some() {
                there.push(n);
            }
        }
        there
    };
    for n in 1..=9 {
        conductor.log().secrets().put(secret(n), b"sealed").await.expect("put");
    }
    let owner = user(1);
    let created = UserEvent::UserCreated {
        id: owner,
        domain: DomainId::DEFAULT,
        name: "owner".into(),
        description: None,
        enabled: true,
        default_project: None,
        options: Default::default(),
        password_hash: None,
        extra: Default::default(),
    };
    let domain = DomainEvent::DomainCreated {
        id: DomainId::DEFAULT,
        name: "Default".into(),
        description: String::new(),
        tags: vec![],
        enabled: true,
        options: Default::default(),
        extra: Default::default(),
    };
    let keep = |n: u128| -> Event {
        let id = CredentialId(format!("credential-{n}"));
        CredentialEvent::CredentialCreated { id, user: owner, project: None, kind: "totp".into(), blob: secret(n) }.into()
    };
    run(&conductor, Happen(vec![domain.into(), created.into(), keep(2), keep(5), keep(9)])).await.expect("credentials");

    // All are young.
    let first = SecretId(uuid::Uuid::nil());
    conductor.sweep_some_secrets(first, Duration::from_secs(3600), 100).await.expect("sweep");
    assert_eq!(there().await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);

    // Some at once, going on where it stopped, and from the beginning again after the last.
    let next = conductor.sweep_some_secrets(first, Duration::ZERO, 4).await.expect("sweep");
    assert_eq!(there().await, [2, 5, 6, 7, 8, 9]);
    let next = conductor.sweep_some_secrets(next, Duration::ZERO, 4).await.expect("sweep");
    assert_eq!(there().await, [2, 5, 9]);
    let next = conductor.sweep_some_secrets(next, Duration::ZERO, 4).await.expect("sweep");
    let next = conductor.sweep_some_secrets(next, Duration::ZERO, 4).await.expect("sweep");
    assert_eq!((next, there().await), (first, vec![2, 5, 9]));

    // What named it is gone, or names another.
    let gone = CredentialEvent::CredentialDeleted { id: CredentialId("credential-5".into()) };
    let changed = CredentialEvent::CredentialUpdated {
        id: CredentialId("credential-9".into()),
        user: None,
        project: None,
        kind: None,
        blob: Some(secret(2)),
    };
    run(&conductor, Happen(vec![gone.into(), changed.into()])).await.expect("changes");
    conductor.sweep_some_secrets(first, Duration::ZERO, 100).await.expect("sweep");
    assert_eq!(there().await, [2]);
}
