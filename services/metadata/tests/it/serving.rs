//! The server, with guests on loopback: 127.0.1.5 in one network is another guest than 127.0.1.5 in the next.

use crate::sample::{nic, plan, uuid};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strata_events::{InstanceId, NetworkId, SecretId};
use strata_metadata::Metadata;
use strata_metadata::server::{Door, Doors, Passwords, Secrets};
use strata_projections::plan::instance::InstancePlan;

/// Doors on loopback, a port each.
#[derive(Default)]
struct Loopback(Mutex<BTreeMap<NetworkId, (SocketAddr, u64)>>);
impl Doors for Loopback {
    fn open(&self, network: &NetworkId) -> io::Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let mut doors = self.0.lock().unwrap();
        let place = doors.get(network).map_or(0, |d| d.1);
        doors.insert(*network, (listener.local_addr()?, place));
        Ok(Door { listener, neighbours: None, place })
    }
    fn place(&self, network: &NetworkId) -> io::Result<u64> {
        self.0.lock().unwrap().get(network).map(|d| d.1).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// A conductor that counts how often it is asked.
#[derive(Default)]
struct Conductor {
    asked: AtomicUsize,
    gone: AtomicBool,
    passwords: Mutex<BTreeMap<InstanceId, String>>,
}
impl Secrets for Conductor {
    fn open(&self, id: SecretId) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.gone.load(Ordering::SeqCst) { Err("not now".into()) } else { Ok(format!("#!/bin/sh\n# {id}\n").into_bytes()) }
        })
    }
}
impl Passwords for Conductor {
    fn keep(&self, id: InstanceId, password: String) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            if self.gone.load(Ordering::SeqCst) {
                return Err("not now".into());
            }
            Ok(self.passwords.lock().unwrap().insert(id, password).is_none())
        })
    }
}

struct Host {
    metadata: Arc<Metadata>,
    doors: Arc<Loopback>,
    conductor: Arc<Conductor>,
    _runtime: tokio::runtime::Runtime,
}

impl Host {
    fn with(plans: Vec<InstancePlan>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (doors, conductor) = (Arc::new(Loopback::default()), Arc::new(Conductor::default()));
        let metadata = Arc::new(Metadata::new(conductor.clone(), Some(conductor.clone())));
        metadata.update(plans);
        let (running, at) = (metadata.clone(), doors.clone());
        runtime.spawn(async move { running.run(at).await });
        Self { metadata, doors, conductor, _runtime: runtime }
    }

    /// Where a network's guests knock, once the door is open.
    fn door(&self, network: u128) -> SocketAddr {
        let network = NetworkId(uuid(network));
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some((address, _)) = self.doors.0.lock().unwrap().get(&network) {
                return *address;
            }
            assert!(Instant::now() < end, "no door for {network}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self, network: u128, from: &str) -> TcpStream {
        let stream = connect(from, self.door(network)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request as a guest would; its status and body.
    fn ask(&self, network: u128, from: &str, request: &str) -> (u16, String) {
        let mut stream = self.connect(network, from);
        stream.write_all(request.as_bytes()).unwrap();
        answer(stream)
    }
    fn get(&self, network: u128, from: &str, path: &str) -> (u16, String) {
        self.ask(network, from, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

/// A connection from an address of loopback.
#[allow(unsafe_code)]
fn connect(from: &str, to: SocketAddr) -> io::Result<TcpStream> {
    use std::os::fd::FromRawFd;
    let address = |a: SocketAddr| {
        let SocketAddr::V4(a) = a else { unreachable!("loopback is IPv4 here") };
        libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: a.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
            sin_zero: [0; 8],
        }
    };
    let from = address(SocketAddr::new(from.parse().unwrap(), 0));
    let to = address(to);
    let size = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: plain socket calls on a descriptor that is ours alone, with addresses that live until they return.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let stream = TcpStream::from_raw_fd(fd);
        if libc::bind(fd, (&raw const from).cast(), size) != 0 || libc::connect(fd, (&raw const to).cast(), size) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stream)
    }
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, b)| b.to_string()).unwrap_or_default())
}

fn hostname(host: &Host, network: u128, from: &str) -> String {
    host.get(network, from, "/latest/meta-data/hostname").1
}

#[test]
fn the_same_address_in_two_networks_is_two_guests() {
    let host = Host::with(vec![
        plan(1, vec![nic(1, "127.0.1.5", true)]),
        plan(2, vec![nic(2, "127.0.1.5", true)]),
        plan(3, vec![nic(2, "127.0.1.6", true)]),
    ]);
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "guest-1.novalocal");
    assert_eq!(hostname(&host, 2, "127.0.1.5"), "guest-2.novalocal");
    assert_eq!(hostname(&host, 2, "127.0.1.6"), "guest-3.novalocal");
    assert_eq!(host.get(1, "127.0.1.6", "/").0, 404, "that address is another network's");
}

#[test]
fn who_was_told_last_has_the_address() {
    let (old, new) = (plan(9, vec![nic(1, "127.0.1.5", true)]), plan(1, vec![nic(1, "127.0.1.5", true)]));
    let host = Host::with(vec![old.clone(), new.clone()]);
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "guest-1.novalocal");
    host.metadata.update([new, old]);
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "guest-9.novalocal");
}

#[test]
fn what_a_guest_writes_into_a_request_makes_it_nobody_else() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)]), plan(2, vec![nic(1, "127.0.1.6", true)])]);
    let (victim, project) = (uuid(2), uuid(700).simple());
    for header in [
        "X-Forwarded-For: 127.0.1.6".to_string(),
        "X-Forwarded-For: 127.0.1.6, 127.0.1.6".to_string(),
        "Forwarded: for=127.0.1.6".to_string(),
        "X-Real-IP: 127.0.1.6".to_string(),
        format!("X-Instance-ID: {victim}\r\nX-Tenant-ID: {project}\r\nX-Instance-ID-Signature: 00"),
        format!("X-OVN-Network-ID: {}", uuid(2)),
        format!("X-Neutron-Network-Id: {}\r\nX-Metadata-Provider: {victim}", uuid(2)),
        "Host: 127.0.1.6".to_string(),
    ] {
        let request = format!("GET /latest/meta-data/hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n");
        let (status, body) = host.ask(1, "127.0.1.5", &request);
        assert!(status == 400 || body == "guest-1.novalocal", "{header}: {status} {body}");
        assert_eq!(host.ask(1, "127.0.1.9", &request).0 / 100, 4, "{header}");
    }
    // Nor does the path, in any form.
    let absolute = "GET http://127.0.1.6/latest/meta-data/hostname HTTP/1.1\r\nHost: 127.0.1.6\r\nConnection: close\r\n\r\n";
    assert_eq!(host.ask(1, "127.0.1.5", absolute).1, "guest-1.novalocal");
}

#[test]
fn user_data_are_asked_for_once_and_a_conductor_that_is_away_is_said_to_be() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)])]);
    host.conductor.gone.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(host.get(1, "127.0.1.5", "/openstack/latest/user_data").0, 503);
    }
    assert_eq!(host.conductor.asked.load(Ordering::SeqCst), 1, "a guest that insists is not passed on");
    assert!(host.get(1, "127.0.1.5", "/openstack/latest").1.contains("user_data"), "it is there, and will be had");
    host.conductor.gone.store(false, Ordering::SeqCst);
    let end = Instant::now() + Duration::from_secs(5);
    while host.get(1, "127.0.1.5", "/latest/user-data").0 != 200 {
        assert!(Instant::now() < end, "the conductor is back");
        std::thread::sleep(Duration::from_millis(100));
    }
    let asked = host.conductor.asked.load(Ordering::SeqCst);
    let guests: Vec<_> = (0..4).map(|_| host.connect(1, "127.0.1.5")).collect();
    for mut guest in guests {
        guest.write_all(b"GET /openstack/2012-08-10/user_data HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let (status, body) = answer(guest);
        assert_eq!((status, body), (200, format!("#!/bin/sh\n# {}\n", uuid(801))));
    }
    assert_eq!(host.conductor.asked.load(Ordering::SeqCst), asked);
}

#[test]
fn a_password_can_be_left_once() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)]), plan(2, vec![nic(1, "127.0.1.6", true)])]);
    let post = |from: &str, body: &str| {
        let head =
            format!("POST /openstack/latest/password HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        host.ask(1, from, &format!("{head}{body}")).0
    };
    assert_eq!(host.get(1, "127.0.1.5", "/openstack/2013-04-04/password"), (200, String::new()));
    assert_eq!(post("127.0.1.5", &"x".repeat(1021)), 400);
    host.conductor.gone.store(true, Ordering::SeqCst);
    assert_eq!(post("127.0.1.5", "first"), 503, "not kept, not claimed");
    host.conductor.gone.store(false, Ordering::SeqCst);
    assert_eq!(post("127.0.1.5", ""), 200);
    assert_eq!(post("127.0.1.5", "secret"), 200);
    assert_eq!(post("127.0.1.5", "other"), 409);
    assert_eq!(host.get(1, "127.0.1.5", "/openstack/latest/password"), (200, "secret".into()));
    assert_eq!(host.get(1, "127.0.1.6", "/openstack/latest/password"), (200, String::new()), "its neighbour has none");
    assert_eq!(*host.conductor.passwords.lock().unwrap(), BTreeMap::from([(InstanceId(uuid(1)), "secret".to_string())]));
    let put = "PUT /openstack/latest/meta_data.json HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(host.ask(1, "127.0.1.5", put).0, 405);
    let token = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(host.ask(1, "127.0.1.5", token).0, 404, "there are no session tokens");
}

#[test]
fn a_guest_that_dawdles_or_hoards_hurts_itself_alone() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)]), plan(2, vec![nic(1, "127.0.1.6", true)])]);
    // As many connections as it likes, each with a head that never ends; and strangers do the same.
    let begun = Instant::now();
    let slow: Vec<TcpStream> = (0..40)
        .map(|i| {
            let mut stream = host.connect(1, if i % 2 == 0 { "127.0.1.5" } else { "127.0.1.77" });
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
            stream
        })
        .collect();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(hostname(&host, 1, "127.0.1.6"), "guest-2.novalocal");
        assert!(asked.elapsed() < Duration::from_secs(1), "its neighbour waits {:?}", asked.elapsed());
    }
    // Each of them ends by itself.
    for stream in slow {
        let _ = answer(stream);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "they were held open for {:?}", begun.elapsed());
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "guest-1.novalocal", "and then it may come back");
}

#[test]
fn a_flood_is_told_to_slow_down() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)]), plan(2, vec![nic(1, "127.0.1.6", true)])]);
    let request = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = host.connect(1, "127.0.1.5");
    let mut served = 0;
    let refused = loop {
        stream.write_all(request).unwrap();
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).unwrap();
        let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        served += 1;
        assert!(served < 2000, "nobody stops it");
    };
    assert!(served >= 200, "{served} were served");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "and then the connection ends");
    assert_eq!(hostname(&host, 1, "127.0.1.6"), "guest-2.novalocal");
    // A head without end is no head.
    let mut stream = host.connect(1, "127.0.1.6");
    let _ = stream.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)).as_bytes());
    assert!(matches!(answer(stream).0, 0 | 400 | 414 | 431));
}

#[test]
fn doors_follow_the_plans_and_the_namespaces() {
    let host = Host::with(vec![plan(1, vec![nic(1, "127.0.1.5", true)])]);
    let first = host.door(1);
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "guest-1.novalocal");
    // Another plan of the same guest: the door stays.
    host.metadata.update([InstancePlan { hostname: "renamed".into(), ..plan(1, vec![nic(1, "127.0.1.5", true)]) }]);
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "renamed.novalocal");
    assert_eq!(host.door(1), first);
    // The namespace was made anew: so is the door.
    host.doors.0.lock().unwrap().entry(NetworkId(uuid(1))).and_modify(|d| d.1 += 1);
    let end = Instant::now() + Duration::from_secs(5);
    while host.door(1) == first {
        assert!(Instant::now() < end, "the door is where it was");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(hostname(&host, 1, "127.0.1.5"), "renamed.novalocal");
    // Nobody lives there any more.
    let last = host.door(1);
    host.metadata.update([]);
    let end = Instant::now() + Duration::from_secs(5);
    while connect("127.0.1.5", last).is_ok() {
        assert!(Instant::now() < end, "the door is open still");
        std::thread::sleep(Duration::from_millis(20));
    }
}
