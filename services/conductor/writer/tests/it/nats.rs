//! The control plane, a real nats-server and simulated hosts: what is derived from the log reaches the hosts, and what they
//! observe comes back, whatever happens to the server in between.

use crate::common::{conductor, ctx, import, run};
use async_nats::jetstream;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use strata_conductor::{Command, Context, Decision};
use strata_events::instance::{InstanceEvent, InstanceSpec, Operation, Size};
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::{MacAddress, PortAttributes, PortEvent};
use strata_events::{Event, HostName, InstanceId, NetworkId, PortId, ProjectId, UserId};
use strata_lab::{PrivateNats, PrivatePostgres};
use strata_projections::Cloud;
use strata_projections::cloud::instance::State;
use strata_projections::plan::{self, Key, Plan};
use strata_projections::report::BATCH;
use strata_worker::{Identity, SimulateOptions, simulate};
use strata_writer::nats::{self, JoinAsk, Link, Progress};
use strata_writer::{Conductor, now};
use uuid::Uuid;

/// A replica's part in NATS, until the value is dropped.
struct Replica {
    conductor: Conductor,
    link: Link,
    tasks: tokio::task::JoinSet<()>,
}

async fn replica(postgres: &PrivatePostgres, nats: &PrivateNats) -> Replica {
    let conductor = conductor(postgres).await;
    let link = nats::connect(&nats.url(), &nats.control_plane()).await.expect("connect");
    let mut tasks = tokio::task::JoinSet::new();
    let (c, l) = (conductor.clone(), link.clone());
    tasks.spawn(async move { nats::hints(&l, &c).await });
    let (c, l) = (conductor.clone(), link.clone());
    tasks.spawn(async move { nats::conduct(&l, &c, &Progress::default()).await });
    Replica { conductor, link, tasks }
}

/// Waits until it is so; fails with what was the case last.
async fn eventually<T: std::fmt::Debug>(what: &str, secs: u64, mut look: impl AsyncFnMut() -> Result<(), T>) {
    let deadline = Instant::now() + Duration::from_secs(secs);
    loop {
        match look().await {
            Ok(()) => return,
            Err(is) if Instant::now() > deadline => panic!("{what}: not after {secs} s: {is:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The mirror holds exactly the log.
async fn mirrored(r: &Replica) -> Result<(), String> {
    let head = r.conductor.log().head().await.map_err(|e| e.to_string())?.position;
    let js = jetstream::new(r.link.client.clone());
    let stream = js.get_stream(nats::EVENTS).await.map_err(|e| e.to_string())?;
    let state = &stream.cached_info().state;
    if state.last_sequence != head || state.messages != head {
        return Err(format!("the log is at {head}, the mirror at {} with {} messages", state.last_sequence, state.messages));
    }
    for row in r.conductor.log().rows_from(1, 100_000).await.map_err(|e| e.to_string())? {
        let message = stream.direct_get(row.position).await.map_err(|e| e.to_string())?;
        assert_eq!(message.payload, nats::published(&row), "message {} is not event {}", message.sequence, row.position);
        assert_eq!(message.subject.as_str(), nats::subject_of(&row.kind, &row.id));
    }
    Ok(())
}

/// Every plan in NATS equals the projection of `Cloud`, and there is no other.
async fn planned(r: &Replica) -> Result<(), String> {
    let js = jetstream::new(r.link.client.clone());
    let stream = js.get_stream(nats::PLANS).await.map_err(|e| e.to_string())?;
    let expected = plan::all(&*r.conductor.cloud().await.map_err(|e| e.to_string())?);
    let mut stored = BTreeMap::new();
    let subjects = stream.info_with_subjects(">").await.map_err(|e| e.to_string())?;
    for (subject, _) in futures_util::TryStreamExt::try_collect::<Vec<_>>(subjects).await.map_err(|e| e.to_string())? {
        let message = stream.direct_get_last_for_subject(subject.as_str()).await.map_err(|e| e.to_string())?;
        let plan: Plan = serde_json::from_slice(&message.payload).map_err(|e| e.to_string())?;
        stored.insert(Key(subject.trim_start_matches("$KV.PLANS.").into()), plan.item);
    }
    if stored == expected { Ok(()) } else { Err(format!("{} plans in NATS, {} expected, or they differ", stored.len(), expected.len())) }
}

/// Events as they are: the rules that lead to them have their own tests.
#[derive(Debug)]
struct Happen(Vec<Event>);
impl Command for Happen {
    fn decide(&self, _: &Cloud, _: &Context) -> Decision {
        Ok(self.0.clone())
    }
}

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(7));
const NETWORK: NetworkId = NetworkId(Uuid::from_u128(8));

async fn network(c: &Conductor) {
    let attributes = NetworkAttributes {
        name: "net".into(),
        description: String::new(),
        admin_state_up: true,
        shared: false,
        external: false,
        is_default: false,
        port_security_enabled: true,
        mtu: 1450,
        dns_domain: String::new(),
        availability_zone_hints: vec![],
        tags: vec![],
    };
    let event = NetworkEvent::NetworkCreated { id: NETWORK, project: PROJECT, segment: Segment::Vxlan { vni: 1 }, attributes };
    run(c, Happen(vec![event.into()])).await.expect("a network");
}

fn server(n: u32) -> InstanceId {
    InstanceId(Uuid::from_u128(u128::from(n) + 1000))
}

/// A server with a port, placed on a host, in one commit.
async fn create(c: &Conductor, n: u32, host: &str) {
    let (id, port) = (server(n), PortId(Uuid::from_u128(u128::from(n) + 1_000_000)));
    let size = Size {
        flavor: "1".into(),
        name: "m1.nano".into(),
        vcpus: 1,
        ram: 64,
        disk: 1,
        ephemeral: 0,
        swap: 0,
        extra_specs: BTreeMap::new(),
    };
    let spec = InstanceSpec {
        name: format!("s{n}"),
        description: None,
        hostname: format!("s{n}"),
        size,
        image: None,
        key_name: None,
        public_key: None,
        metadata: BTreeMap::new(),
        tags: vec![],
        ports: vec![port],
        own_ports: vec![port],
        config_drive: false,
        user_data: None,
        disk_config_auto: false,
        access_ipv4: None,
        access_ipv6: None,
        zone: None,
        wanted_host: None,
        hints: Default::default(),
        group: None,
        reservation: "r-1".into(),
        launch_index: 0,
    };
    let attributes = PortAttributes {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        fixed_ips: vec![],
        security_groups: vec![],
        port_security_enabled: true,
        allowed_address_pairs: vec![],
        extra_dhcp_opts: vec![],
        device_id: id.to_string(),
        device_owner: "compute:nova".into(),
        vnic_type: "normal".into(),
        binding_profile: Default::default(),
        binding_host: None,
        dns_name: String::new(),
        tags: vec![],
    };
    let [_, _, a, b] = n.to_be_bytes();
    let events = vec![
        PortEvent::PortCreated { id: port, project: PROJECT, network: NETWORK, mac: MacAddress([0xfa, 0x16, 0x3e, 0, a, b]), attributes }
            .into(),
        InstanceEvent::InstanceRequested { id, project: PROJECT, user: UserId(Uuid::nil()), spec, deadline: now().plus_secs(600) }.into(),
        InstanceEvent::InstancePlaced { id, host: host.into(), generation: 1 }.into(),
        PortEvent::PortBound { id: port, host: host.into() }.into(),
    ];
    run(c, Happen(events)).await.expect("a server");
}

async fn ask(c: &Conductor, n: u32, operation: Operation) {
    let event = InstanceEvent::InstanceOperationRequested { id: server(n), operation, deadline: now().plus_secs(60) };
    run(c, Happen(vec![event.into()])).await.expect("an operation");
}

async fn is(c: &Conductor, n: u32, state: Option<State>, secs: u64) {
    eventually(&format!("server {n} is {state:?}"), secs, async || {
        let found = c.latest().instances.get(&server(n)).map(|i| (i.state, i.task, i.fault.clone()));
        let fine = match (&found, state) {
            (None, None) => true,
            (Some((is, None, _)), Some(wanted)) => *is == wanted,
            _ => false,
        };
        if fine { Ok(()) } else { Err(found) }
    })
    .await;
}

/// A host joins as a real one does: a token, its own key, the permit.
async fn join(c: &Conductor, nats: &PrivateNats, name: &str) -> Identity {
    let host = HostName::from(name);
    let token = nats::invite(c, ctx(), &host, 60).await.expect("a token");
    let (seed, public_key) = strata_credentials::new_host_key().expect("a key");
    let inventory = SimulateOptions::default().inventory;
    let ask = |token: &str, public_key: &str| JoinAsk {
        token: token.into(),
        host: name.into(),
        public_key: public_key.into(),
        zone: String::new(),
        inventory: inventory.clone(),
    };
    assert!(nats::join(c, &nats.account(), &nats.url(), ctx(), ask("guess", &public_key)).await.is_err());
    let joined = nats::join(c, &nats.account(), &nats.url(), ctx(), ask(&token, &public_key)).await.expect("joins");
    let (_, other) = strata_credentials::new_host_key().expect("a key");
    assert!(nats::join(c, &nats.account(), &nats.url(), ctx(), ask(&token, &other)).await.is_err(), "a token works once");
    Identity { host, nats_url: joined.nats_url, jwt: joined.jwt, seed, api_url: String::new(), api_ca: None }
}

fn host(identity: &Identity, options: SimulateOptions) -> tokio::task::AbortHandle {
    let identity = identity.clone();
    tokio::spawn(async move { simulate(vec![identity], options, std::future::pending()).await.expect("simulate") }).abort_handle()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_publishers_neither_reorder_nor_skip_and_a_wiped_mirror_is_refilled() {
    let (postgres, mut nats) = (PrivatePostgres::start(), PrivateNats::start());
    let (a, b) = (replica(&postgres, &nats).await, replica(&postgres, &nats).await);
    for round in 0..40u128 {
        let both = (0..5).map(|i| (i % 2 == 0, import(round, format!("k{i}"))));
        futures_util::future::join_all(
            both.map(async |(on_a, c)| run(if on_a { &a.conductor } else { &b.conductor }, c).await.expect("import")),
        )
        .await;
    }
    eventually("the mirror is the log", 20, async || mirrored(&a).await).await;

    nats.kill();
    run(&a.conductor, import(1, "while NATS is away")).await.expect("the log goes on");
    nats.wipe();
    nats.start_again();
    eventually("the mirror is refilled", 30, async || mirrored(&a).await).await;
    eventually("by either", 5, async || mirrored(&b).await).await;

    // Under a living connection, too.
    jetstream::new(a.link.client.clone()).delete_stream(nats::EVENTS).await.expect("delete");
    run(&b.conductor, import(2, "after the stream was deleted")).await.expect("import");
    eventually("the mirror is refilled again", 30, async || mirrored(&b).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_live_and_die_on_a_simulated_host() {
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let r = replica(&postgres, &nats).await;
    let c = &r.conductor;
    network(c).await;
    let h1 = join(c, &nats, "h1").await;
    let _host = host(&h1, SimulateOptions::default());

    let mut times = vec![];
    for n in 0..30 {
        let begun = Instant::now();
        create(c, n, "h1").await;
        let mut watch = c.watch();
        while !c.latest().instances.get(&server(n)).is_some_and(|i| i.state == State::Active) {
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("ACTIVE in time").expect("watch");
        }
        times.push(begun.elapsed());
    }
    times[1..].sort();
    println!("requested and placed → ACTIVE: p50 {:?}, max {:?}, first {:?}", times[15], times[29], times[0]);

    for (operation, state) in [
        (Operation::Stop, State::Stopped),
        (Operation::Start, State::Active),
        (Operation::RebootHard, State::Active),
        (Operation::Pause, State::Paused),
        (Operation::Unpause, State::Active),
        (Operation::Suspend, State::Suspended),
        (Operation::Resume, State::Active),
        (Operation::RebootSoft, State::Active),
    ] {
        ask(c, 0, operation).await;
        is(c, 0, Some(state), 10).await;
        assert_eq!(c.latest().instances.get(&server(0)).and_then(|i| i.fault.clone()), None, "{operation:?}");
    }
    eventually("the plans are the cloud's", 15, async || planned(&r).await).await;
    for n in 0..30 {
        ask(c, n, Operation::Delete).await;
    }
    for n in 0..30 {
        is(c, n, None, 10).await;
    }
    eventually("the ports are unplugged and nothing is planned", 15, async || {
        let cloud = c.latest();
        let left = (cloud.ports.len(), cloud.ports.remnants_on(&"h1".into()).count());
        if left == (0, 0) { planned(&r).await } else { Err(format!("{left:?}")) }
    })
    .await;
    eventually("the mirror is the log", 20, async || mirrored(&r).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_and_wiped_servers_and_restarted_workers_do_no_harm() {
    let (postgres, mut nats) = (PrivatePostgres::start(), PrivateNats::start());
    let (a, b) = (replica(&postgres, &nats).await, replica(&postgres, &nats).await);
    let c = &a.conductor;
    network(c).await;
    let h1 = join(c, &nats, "h1").await;
    let directory = std::env::temp_dir().join(format!("strata-host-{}", std::process::id()));
    let options = SimulateOptions { directory: Some(directory.clone()), ..SimulateOptions::default() };
    let mut worker = host(&h1, options.clone());
    create(c, 0, "h1").await;
    is(c, 0, Some(State::Active), 20).await;

    // Killed, with its store.
    nats.kill();
    create(c, 1, "h1").await;
    nats.start_again();
    is(c, 1, Some(State::Active), 20).await;
    // Killed, and its store wiped; the worker is away too.
    nats.kill();
    worker.abort();
    ask(c, 0, Operation::Stop).await;
    create(c, 2, "h1").await;
    nats.wipe();
    nats.start_again();
    worker = host(&h1, options.clone());
    is(c, 0, Some(State::Stopped), 20).await;
    is(c, 2, Some(State::Active), 20).await;
    // The bucket is deleted under living connections.
    jetstream::new(a.link.client.clone()).delete_stream(nats::PLANS).await.expect("delete");
    create(c, 3, "h1").await;
    is(c, 3, Some(State::Active), 30).await;
    // A restarted worker says all again, and nothing follows from it.
    eventually(
        "both replicas agree",
        10,
        async || {
            if b.conductor.latest().position == c.latest().position { Ok(()) } else { Err("behind") }
        },
    )
    .await;
    let position = c.latest().position;
    worker.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _worker = host(&h1, options);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(c.latest().position, position, "a restart changes nothing");
    eventually("the plans are the cloud's", 20, async || planned(&a).await).await;
    eventually("the mirror is the log", 20, async || mirrored(&b).await).await;
    drop((a.tasks, b.tasks));
    let _ = std::fs::remove_dir_all(directory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_removed_under_a_running_server_is_made_anew() {
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let (a, b) = (replica(&postgres, &nats).await, replica(&postgres, &nats).await);
    let c = &a.conductor;
    network(c).await;
    let h1 = join(c, &nats, "h1").await;
    let _host = host(&h1, SimulateOptions::default());
    create(c, 0, "h1").await;
    is(c, 0, Some(State::Active), 20).await;
    // At once, and later, when the server has forgotten what it last read.
    for round in 0..2u32 {
        nats.remove_store();
        tokio::time::sleep(Duration::from_secs(15 * u64::from(round))).await;
        // Enough that no buffer of the server's holds it.
        for n in 0..20 {
            create(c, 1 + round * 20 + n, "h1").await;
        }
        is(c, 20 + round * 20, Some(State::Active), 60).await;
        eventually("the mirror is the log", 60, async || mirrored(&a).await).await;
        eventually("the plans are the cloud's", 60, async || planned(&b).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_renews_no_more_is_lost_and_one_that_does_again_returns() {
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let r = replica(&postgres, &nats).await;
    let c = &r.conductor;
    let (h1, h2) = (join(c, &nats, "h1").await, join(c, &nats, "h2").await);
    let up = |name: &str| c.latest().hosts.get(&name.into()).is_some_and(|h| h.up);
    let worker = host(&h1, SimulateOptions::default());
    let _other = host(&h2, SimulateOptions::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    worker.abort();
    let secs = nats::LOST_AFTER.as_secs() + 6;
    eventually("h1 is lost", secs, async || if up("h1") { Err("up") } else { Ok(()) }).await;
    assert!(up("h2"), "h2 renews");
    let _again = host(&h1, SimulateOptions::default());
    eventually("h1 returns", 10, async || if up("h1") { Ok(()) } else { Err("down") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_servers_on_many_hosts_come_and_go() {
    let size = |name: &str, default: u32| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (hosts, servers) = (size("STRATA_TEST_HOSTS", 20), size("STRATA_TEST_SERVERS", 300));
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let (a, b) = (replica(&postgres, &nats).await, replica(&postgres, &nats).await);
    let c = &a.conductor;
    network(c).await;
    let mut identities = vec![];
    for n in 0..hosts {
        identities.push(join(c, &nats, &format!("h{n}")).await);
    }
    let _hosts = tokio::spawn(simulate(identities, SimulateOptions::default(), std::future::pending()));
    let begun = Instant::now();
    futures_util::future::join_all((0..servers).map(|n| async move { create(c, n, &format!("h{}", n % hosts)).await })).await;
    let accepted = begun.elapsed();
    let left = |c: &Conductor| c.latest().instances.in_transit().count();
    eventually("all are ACTIVE", 60, async || if left(c) == 0 { Ok(()) } else { Err(left(c)) }).await;
    println!("{servers} servers on {hosts} hosts: accepted in {accepted:?}, ACTIVE after {:?}", begun.elapsed());
    assert!(c.latest().instances.values().all(|i| i.state == State::Active));
    let begun = Instant::now();
    futures_util::future::join_all((0..servers).map(|n| ask(c, n, Operation::Delete))).await;
    let left = |c: &Conductor| c.latest().instances.len() + c.latest().ports.len();
    eventually("all are gone", 60, async || if left(c) == 0 { Ok(()) } else { Err(left(c)) }).await;
    println!("gone after {:?}", begun.elapsed());
    eventually("the plans are the cloud's", 20, async || planned(&a).await).await;
    eventually("the mirror is the log", 30, async || mirrored(&b).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_make_no_sense_are_refused_and_change_nothing() {
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let r = replica(&postgres, &nats).await;
    join(&r.conductor, &nats, "h1").await;
    let position = r.conductor.latest().position;
    let many = serde_json::json!({"reports": vec![serde_json::json!({"port_absent": {"id": Uuid::nil()}}); BATCH + 1]});
    let unknown = serde_json::json!({"reports": [{"port_absent": {"id": Uuid::nil()}}]});
    eventually("someone listens", 10, async || {
        let hello = r.link.client.request("report.h1.observed", r#"{"reports":[]}"#.into()).await.map_err(|e| e.to_string())?;
        if hello.payload == r#""taken""# { Ok(()) } else { Err(format!("{hello:?}")) }
    })
    .await;
    for (subject, body) in [
        ("report.h1.observed", "{".to_owned()),
        ("report.h1.observed", r#"{"reports":[{"reboot_the_cloud":{}}]}"#.to_owned()),
        ("report.h1.observed", many.to_string()),
        ("report.h9.observed", unknown.to_string()),
    ] {
        let answer = r.link.client.request(subject, body.clone().into()).await.expect("an answer");
        assert!(answer.payload.starts_with(b"{\"refused\":"), "{subject} {body:.60}: {:?}", answer.payload);
    }
    assert_eq!(r.conductor.latest().position, position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plan_that_nats_remembers_by_mistake_leaves_nothing_behind() {
    let (postgres, nats) = (PrivatePostgres::start(), PrivateNats::start());
    let r = replica(&postgres, &nats).await;
    let c = &r.conductor;
    network(c).await;
    let h1 = join(c, &nats, "h1").await;
    let directory = std::env::temp_dir().join(format!("strata-strays-{}", std::process::id()));
    let worker = host(&h1, SimulateOptions { directory: Some(directory.clone()), ..SimulateOptions::default() });
    let count = |of: &str| std::fs::read_dir(directory.join("h1").join(of)).into_iter().flatten().flatten().count();
    let held = || (count("domains"), count("ports"));
    create(c, 0, "h1").await;
    is(c, 0, Some(State::Active), 20).await;

    let bucket = jetstream::new(r.link.client.clone()).get_key_value("PLANS").await.expect("the plans");
    let port = c.latest().ports.values().next().expect("its port").id;
    let server = c.latest().instances.values().next().expect("its server").id;
    let mut plans = vec![];
    for key in [format!("h1.port.{port}"), format!("h1.instance.{server}")] {
        let plan = bucket.get(key.clone()).await.expect("NATS answers").expect("its plan");
        plans.push((key, plan));
    }
    ask(c, 0, Operation::Delete).await;
    is(c, 0, None, 10).await;
    eventually("all of it is gone", 10, async || if held() == (0, 0) { Ok(()) } else { Err(held()) }).await;

    // Killed at the wrong moment, a nats-server begins again from before: the last it knows is that they shall be there. So does
    // one whose cloud's log was brought back from a copy, of a server that the copy has never heard of.
    let (key, plan) = &plans[1];
    let unknown = uuid::Uuid::from_u128(77).to_string();
    let other = String::from_utf8_lossy(plan).replace(&server.to_string(), &unknown);
    plans.push((key.replace(&server.to_string(), &unknown), other.into()));
    for (key, plan) in plans {
        bucket.put(key, plan).await.expect("NATS takes it");
    }
    create(c, 1, "h1").await; // planned after them
    is(c, 1, Some(State::Active), 10).await;
    eventually("the other server is left, and the one that nobody deleted", 10, async || {
        if held() == (2, 1) && directory.join("h1/domains").join(format!("{unknown}.json")).exists() { Ok(()) } else { Err(held()) }
    })
    .await;
    worker.abort();
    std::fs::remove_dir_all(&directory).expect("it was made above");
}
