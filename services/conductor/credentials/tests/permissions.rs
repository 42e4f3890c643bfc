//! What a real nats-server makes of the permits: a host reads its own plan and reports as itself, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use std::time::Duration;
use strata_credentials::{AccountKey, consumer as consumer_name, inbox, new_host_key};
use strata_events::HostName;
use strata_lab::PrivateNats;

async fn as_host(server: &PrivateNats, account: &AccountKey, host: &HostName) -> async_nats::Client {
    with_key(server, account, host, &new_host_key().unwrap()).await.unwrap()
}

async fn with_key(
    server: &PrivateNats,
    account: &AccountKey,
    host: &HostName,
    (seed, public): &(String, String),
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let key = std::sync::Arc::new(nkeys_of(seed));
    async_nats::ConnectOptions::with_jwt(account.host(host, public).unwrap(), move |nonce| {
        let key = key.clone();
        async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
    })
    .custom_inbox_prefix(inbox(host))
    .request_timeout(Some(Duration::from_secs(1)))
    .connect(server.url())
    .await
}

#[tokio::test]
async fn a_revoked_key_is_put_out_at_once_and_let_in_no_more() {
    let server = PrivateNats::start();
    let account = server.account();
    let hosts: [HostName; 2] = ["h1".into(), "h2".into()];
    let keys = [new_host_key().unwrap(), new_host_key().unwrap()];
    let (one, two) = (with_key(&server, &account, &hosts[0], &keys[0]).await.unwrap(), as_host(&server, &account, &hosts[1]).await);
    one.flush().await.unwrap();

    server.revoke(&[&keys[0].1]);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while one.connection_state() == async_nats::connection::State::Connected {
        assert!(std::time::Instant::now() < end, "it is still connected: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(with_key(&server, &account, &hosts[0], &keys[0]).await.is_err(), "it was let in again");
    assert_eq!(two.connection_state(), async_nats::connection::State::Connected, "another one was put out as well");
    assert_eq!(two.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
    // The host joins again, with another key or with the same.
    with_key(&server, &account, &hosts[0], &keys[1]).await.unwrap();
    server.revoke(&[]);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while with_key(&server, &account, &hosts[0], &keys[0]).await.is_err() {
        assert!(std::time::Instant::now() < end, "it is not let in again: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
fn nkeys_of(seed: &str) -> nkeys::KeyPair {
    nkeys::KeyPair::from_seed(seed).unwrap()
}

fn plan_of(host: &HostName, name: String) -> consumer::pull::Config {
    consumer::pull::Config {
        name: Some(name),
        filter_subject: format!("$KV.PLANS.{host}.>"),
        deliver_policy: consumer::DeliverPolicy::LastPerSubject,
        ack_policy: consumer::AckPolicy::None,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_host_reads_its_own_plan_and_reports_as_itself_and_nothing_more() {
    let server = PrivateNats::start();
    let account = server.account();
    let control = async_nats::ConnectOptions::with_credentials(&server.control_plane()).unwrap().connect(server.url()).await.unwrap();
    let streams = jetstream::new(control.clone());
    streams
        .create_stream(stream::Config {
            name: "KV_PLANS".into(),
            subjects: vec!["$KV.PLANS.>".into()],
            max_messages_per_subject: 1,
            allow_direct: true,
            ..Default::default()
        })
        .await
        .unwrap();
    for host in ["h1", "h2"] {
        streams.publish(format!("$KV.PLANS.{host}.port.x"), host.into()).await.unwrap().await.unwrap();
    }
    let mut reports = control.subscribe("report.*.observed").await.unwrap();
    control.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(m) = reports.next().await {
            control.publish(m.reply.unwrap(), m.subject.to_string().into()).await.unwrap();
        }
    });

    let (h1, h2) = (HostName::from("h1"), HostName::from("h2"));
    let client = as_host(&server, &account, &h1).await;
    let mut js = jetstream::new(client.clone());
    js.set_timeout(Duration::from_millis(700));
    let plans = js.get_stream_no_info("KV_PLANS").await.unwrap();

    // Its own plan, now and when asked again; its own reports.
    let own = plans.create_consumer(plan_of(&h1, consumer_name(&h1, "all"))).await.expect("a host may read its own plan");
    let first = own.stream().heartbeat(Duration::from_secs(1)).expires(Duration::from_secs(5)).messages().await.unwrap().next().await;
    assert_eq!(first.unwrap().unwrap().payload, "h1");
    plans.delete_consumer(&consumer_name(&h1, "all")).await.expect("and begin again");
    let answer = client.request("report.h1.observed", "".into()).await.expect("a host may report as itself");
    assert_eq!(answer.payload, "report.h1.observed");

    // Another's plan: by a consumer of any name, by a get, by listening, by taking over the other's consumer.
    assert!(plans.create_consumer(plan_of(&h2, consumer_name(&h1, "all"))).await.is_err(), "h1 read h2's plan");
    assert!(plans.create_consumer(plan_of(&h2, consumer_name(&h2, "all"))).await.is_err(), "h1 read h2's plan as h2");
    assert!(plans.create_consumer(plan_of(&h1, consumer_name(&h2, "all"))).await.is_err(), "h1 changed h2's consumer");
    assert!(plans.delete_consumer(&consumer_name(&h2, "all")).await.is_err(), "h1 ended h2's consumer");
    assert!(plans.direct_get_last_for_subject("$KV.PLANS.h2.port.x").await.is_err(), "h1 got a value of h2");
    assert!(plans.get_info().await.is_err(), "h1 listed the keys of every host");
    for subject in ["$KV.PLANS.h2.>", "report.>", "_INBOX_h2.>", "_INBOX.>", "events.>", ">"] {
        let mut stolen = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        streams.publish("$KV.PLANS.h2.port.x", "secret".into()).await.unwrap().await.unwrap();
        let got = tokio::time::timeout(Duration::from_millis(100), stolen.next()).await;
        assert!(!matches!(got, Ok(Some(_))), "h1 could listen to {subject}: {got:?}");
    }
    // Another's report, or a plan of its own making.
    assert!(client.request("report.h2.observed", "".into()).await.is_err(), "h1 reported as h2");
    client.publish("$KV.PLANS.h1.port.forged", "forged".into()).await.unwrap();
    client.flush().await.unwrap();
    let bucket = streams.get_stream_no_info("KV_PLANS").await.unwrap();
    assert!(bucket.direct_get_last_for_subject("$KV.PLANS.h1.port.forged").await.is_err(), "h1 wrote a plan");
}

#[tokio::test]
async fn nobody_is_let_in_without_a_permit_or_with_one_that_another_signed() {
    let server = PrivateNats::start();
    let url = server.url();
    assert!(async_nats::connect(&url).await.is_err());
    let other = strata_credentials::Authority::generate().account_key().unwrap().control_plane().unwrap();
    let forged = async_nats::ConnectOptions::with_credentials(&other.to_file_text()).unwrap();
    assert!(forged.connect(&url).await.is_err());
}

#[test]
fn writing_again_keeps_keys_and_credentials() {
    let dir = std::env::temp_dir().join(format!("strata-credentials-again-{}", std::process::id()));
    let read = |p: &std::path::Path| std::fs::read_to_string(p).unwrap();
    let first = strata_credentials::write(&dir, 4222, &dir.join("js")).unwrap();
    let before = (read(&first.config), read(&first.control_plane), read(&first.account_key));
    let again = strata_credentials::write(&dir, 4222, &dir.join("js")).unwrap();
    assert_eq!(before, (read(&again.config), read(&again.control_plane), read(&again.account_key)));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&first.account_key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_permit_is_made_only_for_a_users_key() {
    let authority = strata_credentials::Authority::generate();
    let account = authority.account_key().unwrap();
    assert!(account.host(&"h1".into(), "not a key").is_err());
    assert!(account.host(&"h1".into(), &nkeys::KeyPair::new_account().public_key()).is_err());
}
