//! A host to try the data plane on: a network and mount namespace of the test's own thread, in which real devices, nft and
//! dnsmasq do what they do on a host. Needs root. What is made in it is gone with it; dnsmasq, which detaches, is ended by Drop.

#![allow(unsafe_code)]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strata_events::network::Segment;
use strata_events::port::{FixedIp, MacAddress};
use strata_events::security_group::{Direction, Ethertype};
use strata_events::{NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId};
use strata_network::linux::netns;
use strata_network::{Dataplane, LinuxConfig, LinuxDataplane};
use strata_projections::plan::port::{PlannedPlug, PlannedRule, Remote};
use strata_projections::plan::subnet::{PlannedDhcp, PlannedSubnet};
use uuid::Uuid;

pub const GROUP: SecurityGroupId = SecurityGroupId(Uuid::from_u128(0x9));

/// For a test that hangs; those that don't take seconds.
const CAP: Duration = Duration::from_secs(180);

/// Runs a test on a host of its own.
pub fn on_a_host<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F + Send + 'static) {
    let name = name.to_owned();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        own_namespaces();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lab = Lab::new(&name);
        runtime.block_on(async { tokio::time::timeout(CAP, test(lab)).await.expect("the test takes over three minutes") });
        runtime.shutdown_timeout(Duration::from_secs(5));
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn own_namespaces() {
    // SAFETY: only this thread is concerned; it ends with the test.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    assert_eq!(done, 0, "these tests need root: {}", std::io::Error::last_os_error());
    std::fs::create_dir_all("/run/netns").unwrap();
    let none = std::ptr::null();
    // SAFETY: the strings outlive the calls.
    unsafe {
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()), 0);
        assert_eq!(libc::mount(c"tmpfs".as_ptr(), c"/run/netns".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()), 0);
    }
    run("ip link set lo up");
}

/// Runs a command in the host and gives what it says.
pub fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{line}: {e}"));
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

pub struct Lab {
    pub directory: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("strata-network-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }
    pub fn config(&self) -> LinuxConfig {
        LinuxConfig::new(&self.directory, "lab")
    }
    /// A worker's data plane, as if it had just started.
    pub fn open(&self) -> LinuxDataplane {
        LinuxDataplane::open(self.config()).unwrap()
    }
    pub fn dnsmasqs(&self) -> Vec<i32> {
        let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("dnsmasq") && line.contains(self.directory.to_str().unwrap())
        };
        all.filter(ours).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for pid in self.dnsmasqs() {
            // SAFETY: its command line says that it is this test's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        // A test that failed may have left something mounted in it.
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        for at in mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&self.directory)) {
            let _ = Command::new("umount").args(["-l", at]).status();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn port_id(n: u8) -> PortId {
    let mut bytes = [0; 16];
    bytes[0] = n;
    PortId(Uuid::from_bytes(bytes))
}
pub fn network_id(n: u8) -> NetworkId {
    let mut bytes = [0; 16];
    bytes[0] = 0xa0 + n;
    NetworkId(Uuid::from_bytes(bytes))
}
pub fn mac(n: u8) -> MacAddress {
    MacAddress([0xfa, 0x16, 0x3e, 0, 0, n])
}
pub fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

/// The rules that a project's default group has.
pub fn default_rules() -> Vec<PlannedRule> {
    let rule = |direction, ethertype, remote| PlannedRule {
        direction,
        ethertype,
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote,
    };
    let both = [Ethertype::V4, Ethertype::V6];
    let out = both.iter().map(|v| rule(Direction::Egress, *v, Remote::Any));
    let from = both.iter().map(|v| rule(Direction::Ingress, *v, Remote::Group(GROUP)));
    out.chain(from).collect()
}
pub fn tcp(port: u16) -> PlannedRule {
    PlannedRule {
        direction: Direction::Ingress,
        ethertype: Ethertype::V4,
        protocol: Some("tcp".into()),
        port_range_min: Some(port),
        port_range_max: Some(port),
        remote: Remote::Any,
    }
}

/// Port `n` of network `of`, with 10.0.0.`n` in 10.0.0.0/24.
pub fn plug(of: u8, n: u8) -> PlannedPlug {
    let subnet = SubnetId(Uuid::from_u128(0x50));
    PlannedPlug {
        project: ProjectId(Uuid::nil()),
        network: network_id(of),
        network_revision: 1,
        segment: Segment::Vxlan { vni: of.into() },
        mtu: 1450,
        dns_domain: String::new(),
        subnets: vec![PlannedSubnet {
            id: subnet,
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway: Some(ip(1)),
            enable_dhcp: true,
            dns_nameservers: vec![ip(53)],
            host_routes: vec![],
            ipv6_address_mode: None,
            ipv6_ra_mode: None,
        }],
        dhcp: Some(PlannedDhcp { mac: mac(2), fixed_ips: vec![FixedIp { subnet, ip: ip(2) }] }),
        mac: mac(n),
        fixed_ips: vec![FixedIp { subnet, ip: ip(n) }],
        address_pairs: vec![],
        hostname: Some(format!("guest{n}")),
        extra_dhcp_opts: vec![],
        admin_state_up: true,
        port_security_enabled: true,
        device_id: String::new(),
        device_owner: "compute:nova".into(),
        stateful: true,
        rules: default_rules(),
    }
}

/// Waits for something, looking every 20 ms.
pub async fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "within {seconds} s it never came that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Repairs what the data plane tells of, as a worker would, for as long as the test goes on.
pub async fn settle(dataplane: &LinuxDataplane, id: &PortId, wanted: &PlannedPlug) {
    use strata_network::{Action, converge};
    use strata_projections::plan::port::PortPlan;
    let plan = PortPlan { id: *id, plug: Some(wanted.clone()) };
    let found = dataplane.find(id).await.unwrap();
    match converge(&plan, &found, true) {
        Some(Action::Plug) => dataplane.plug(id, wanted).await.unwrap(),
        Some(Action::Update) => dataplane.update(id, wanted).await.unwrap(),
        _ => {}
    }
}

fn tap(name: &str) -> File {
    let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: plain data; the request takes an ifreq.
    unsafe {
        let mut ask: libc::ifreq = std::mem::zeroed();
        for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        ask.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        assert_eq!(libc::ioctl(file.as_raw_fd(), 0x4004_54ca, &raw mut ask), 0, "{name}: {}", std::io::Error::last_os_error());
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK), 0);
    }
    file
}

/// A guest: a namespace whose `eth0` is wired to a port's tap as QEMU would wire it.
pub struct Guest {
    pub path: PathBuf,
    stop: Arc<AtomicBool>,
    pump: Option<std::thread::JoinHandle<()>>,
}

impl Guest {
    /// With the MAC of its port and, as yet, no address.
    pub fn new(n: u8) -> Self {
        let path = PathBuf::from(format!("/run/netns/guest{n}"));
        netns::create(&path).unwrap();
        let outer = tap(&format!("tap{}", &port_id(n).to_string()[..11]));
        let inner = netns::in_namespace(&path, || tap("eth0")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let pump = std::thread::spawn(move || pump(&outer, &inner, &stopped));
        let guest = Self { path, stop, pump: Some(pump) };
        guest.run(&format!("ip link set eth0 address {} mtu 1450 up", mac(n)));
        guest.run("ip link set lo up");
        guest
    }
    pub fn with_address(n: u8) -> Self {
        let guest = Self::new(n);
        guest.run(&format!("ip addr add 10.0.0.{n}/24 dev eth0"));
        guest
    }
    pub fn run(&self, line: &str) -> String {
        self.inside(|| run(line))
    }
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        netns::in_namespace(&self.path, what).unwrap()
    }
    /// Answers every datagram to this port with itself, as long as the guest lives.
    pub fn echo(&self, port: u16) {
        let socket = self.inside(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = self.stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..n], from);
                }
            }
        });
    }
    pub fn listen(&self, port: u16) -> std::net::TcpListener {
        self.inside(|| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }
    /// Whether a connection comes about within so long; the kernel asks for it a second time after a second.
    pub fn reaches(&self, to: IpAddr, port: u16, wait: Duration) -> bool {
        self.inside(|| std::net::TcpStream::connect_timeout(&(to, port).into(), wait).is_ok())
    }
    /// Sends a frame as it is.
    pub fn sends(&self, frame: &[u8]) {
        let socket = self.inside(packet_socket);
        // SAFETY: the frame is as long as it says.
        let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
    /// Hears from now on.
    pub fn ear(&self) -> Ear {
        Ear(self.inside(packet_socket))
    }
    /// Whether a datagram from this address (its own if none) comes back within so long.
    pub fn echoed(&self, to: IpAddr, port: u16, wait: Duration) -> bool {
        self.inside(|| {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(wait)).unwrap();
            socket.send_to(b"ping", (to, port)).is_ok() && socket.recv(&mut [0; 16]).is_ok()
        })
    }
}

/// Every frame that comes to a guest, or goes from it.
pub struct Ear(OwnedFd);

impl Ear {
    /// Whether such a frame comes within so long.
    pub fn hears(&self, wait: Duration, mut what: impl FnMut(&[u8]) -> bool) -> bool {
        let end = Instant::now() + wait;
        let mut buffer = [0u8; 4096];
        while Instant::now() < end {
            // SAFETY: the buffer is as long as it says.
            let n = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
            match usize::try_from(n) {
                Ok(n) if what(&buffer[..n]) => return true,
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }
}

/// All frames of `eth0`. Call inside a guest.
fn packet_socket() -> OwnedFd {
    let every = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: plain data; the socket is nobody else's, and the address is as long as it says.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, every.into());
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(socket);
        let mut at: libc::sockaddr_ll = std::mem::zeroed();
        at.sll_family = libc::AF_PACKET as u16;
        at.sll_protocol = every;
        at.sll_ifindex = libc::if_nametoindex(c"eth0".as_ptr()) as i32;
        let bound = libc::bind(socket.as_raw_fd(), (&raw const at).cast(), size_of::<libc::sockaddr_ll>() as u32);
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        socket
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.pump.take().map(std::thread::JoinHandle::join);
        let _ = netns::remove(Path::new(&self.path));
    }
}

/// Carries frames, with their virtio headers, both ways.
fn pump(a: &File, b: &File, stop: &AtomicBool) {
    use std::io::{Read, Write};
    let mut buffer = vec![0; 70_000];
    while !stop.load(Ordering::Relaxed) {
        let mut wait = [a, b].map(|f| libc::pollfd { fd: f.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: two descriptors, both open.
        unsafe { libc::poll(wait.as_mut_ptr(), 2, 50) };
        for (mut from, mut to) in [(a, b), (b, a)] {
            while let Ok(n) = from.read(&mut buffer) {
                let _ = to.write(&buffer[..n]);
            }
        }
    }
}
