//! A private cloud with a real host on a machine of its own, a guest image and a network; and guests to watch.

use crate::http::Api;
use crate::machine::Machine;
use crate::wait::eventually;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The program under test, built with it.
pub const STRATA: &str = env!("CARGO_BIN_EXE_strata");
/// Each machine has its own ports.
pub const PORT: u16 = 5000;
/// Until a guest has booted, on a busy machine without KVM.
pub const BOOT: Duration = Duration::from_secs(60);
/// Until something that went wrong is right again, or said.
pub const SOON: Duration = Duration::from_secs(30);

/// The guest image, made once.
fn guest_image() -> &'static Path {
    static IMAGE: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-image");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/guest-image");
        let made = Command::new(script).arg(&out).output().expect("ops/guest-image is there");
        assert!(made.status.success(), "ops/guest-image failed:\n{}{}", text(&made.stdout), text(&made.stderr));
        out.join("disk.qcow2")
    });
    &IMAGE
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub struct Lab {
    pub machine: Machine,
    /// The cloud's directory.
    pub data: PathBuf,
    pub admin: Api,
    pub demo: Api,
    pub image: String,
    pub network: String,
}

impl Lab {
    /// A running cloud; the calling thread is on its network afterwards.
    pub fn start() -> Self {
        Self::listening("127.0.0.1")
    }

    /// The same, on a machine to which this was done before.
    pub fn prepared(prepare: impl FnOnce(&Machine, &Path)) -> Self {
        Self::with("127.0.0.1", prepare)
    }

    /// The same, reached at this address of its machine.
    pub fn listening(address: &str) -> Self {
        Self::with(address, |_, _| ())
    }

    fn with(address: &str, prepare: impl FnOnce(&Machine, &Path)) -> Self {
        let image = guest_image();
        let machine = Machine::start();
        machine.enter();
        let data = machine.dir.join("data");
        prepare(&machine, &data);
        let port = PORT.to_string();
        must(strata(&machine, &data, &["up", "--port", &port, "--listen", address]));
        let login = |user: &str| login(&data, user);
        let (admin, demo) = (login("admin"), login("demo"));
        admin.post("/compute/v2.1/flavors", json!({"flavor": {"id": "it", "name": "it", "vcpus": 1, "ram": 128, "disk": 1}})).expect(200);
        let image = upload(&admin, "guest", image);
        key(&machine, &demo);
        let groups = demo.get("/network/v2.0/security-groups?name=default").json();
        for protocol in ["icmp", "tcp"] {
            let rule = json!({"security_group_rule": {"security_group_id": groups["security_groups"][0]["id"], "direction": "ingress",
                "protocol": protocol, "remote_ip_prefix": "0.0.0.0/0"}});
            demo.post("/network/v2.0/security-group-rules", rule).expect(201);
        }
        let network = network(&demo, "it", "10.0.0.0/24");
        let lab = Self { machine, data, admin, demo, image, network };
        eventually("the host is up", SOON, || lab.host_is_up());
        lab
    }

    /// To be held by each test: it shows the logs if the test fails, and brings the thread onto the cloud's network.
    pub fn watched(&self) -> Watched<'_> {
        self.machine.enter();
        Watched(self)
    }

    pub fn strata(&self, arguments: &[&str]) -> Output {
        strata(&self.machine, &self.data, arguments)
    }

    /// The same, which must succeed; its output.
    #[track_caller]
    pub fn tool(&self, arguments: &[&str]) -> String {
        let done = self.strata(arguments);
        assert!(done.status.success(), "strata {arguments:?} failed:\n{}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    fn host_is_up(&self) -> Result<(), String> {
        let hosts = self.admin.send("GET", "/compute/v2.1/os-hypervisors/detail", None).map_err(|e| e.to_string())?.json();
        let up = hosts["hypervisors"].as_array().is_some_and(|h| h.iter().any(|h| h["state"] == "up"));
        if up { Ok(()) } else { Err(hosts.to_string()) }
    }

    /// The process of this name, as the supervisor wrote it down.
    pub fn pid(&self, name: &str) -> Option<u32> {
        let record = std::fs::read(self.data.join("run/pids").join(format!("{name}.json"))).ok()?;
        serde_json::from_slice::<Value>(&record).ok()?["pid"].as_u64()?.try_into().ok()
    }

    /// Asks for a server, with these fields besides the usual.
    #[track_caller]
    pub fn create(&self, name: &str, more: Value) -> Guest<'_> {
        let mut wanted = json!({"networks": [{"uuid": self.network}], "key_name": "it"});
        for (field, value) in more.as_object().into_iter().flatten() {
            wanted[field] = value.clone();
        }
        self.create_as(&self.demo, name, wanted)
    }

    /// The same as another user, with nothing usual about it.
    #[track_caller]
    pub fn create_as<'a>(&'a self, api: &'a Api, name: &str, more: Value) -> Guest<'a> {
        let mut server = json!({"name": name, "imageRef": self.image, "flavorRef": "it"});
        for (field, value) in more.as_object().into_iter().flatten() {
            server[field] = value.clone();
        }
        let created = api.post("/compute/v2.1/servers", json!({"server": server})).expect(202).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Guest { lab: self, api, id: text(&created["server"]["id"]), network: text(&server["networks"][0]["uuid"]) }
    }

    /// The server of this id, on the cloud's usual network.
    pub fn guest(&self, id: &str) -> Guest<'_> {
        Guest { lab: self, api: &self.demo, id: id.into(), network: self.network.clone() }
    }

    /// A guest that has booted.
    #[track_caller]
    pub fn boot(&self, name: &str) -> Guest<'_> {
        let guest = self.create(name, json!({}));
        guest.wait_ready(1);
        guest
    }

    /// libvirt's own client, on the cloud's libvirt.
    pub fn virsh(&self, words: &str) -> String {
        let socket = self.data.join("host/libvirt/run/libvirt-sock");
        let done = self.machine.try_sh(&format!("virsh -q -c 'qemu+unix:///system?socket={}' {words}", socket.display()));
        format!("{}{}", text(&done.stdout), text(&done.stderr))
    }

    /// A shell where one of the cloud's processes is, in its mounts.
    pub fn in_worker(&self, name: &str, script: &str) -> String {
        let pid = self.pid(name).unwrap_or_else(|| panic!("there is no process {name}"));
        self.machine.sh(&format!("nsenter --mount --target {pid} -- sh -c '{script}'"))
    }

    pub fn guest_image(&self) -> PathBuf {
        guest_image().to_path_buf()
    }

    /// kill -9 of one of the cloud's processes.
    #[track_caller]
    pub fn kill(&self, name: &str) {
        eventually(&format!("there is a process {name} to kill"), SOON, || {
            let pid = self.pid(name).ok_or("it was not started")?;
            let done = self.machine.try_sh(&format!("kill -9 {pid}"));
            if done.status.success() { Ok(()) } else { Err(text(&done.stderr)) }
        });
    }

    /// The same, and waits until another process is there in its stead.
    #[track_caller]
    pub fn crash(&self, name: &str) {
        let before = self.pid(name);
        self.kill(name);
        eventually(&format!("{name} is started again"), SOON, || match self.pid(name) {
            now if now.is_some() && now != before => Ok(()),
            now => Err(format!("{before:?} then, {now:?} now")),
        });
    }

    /// All processes run, and every host has what its plan says.
    #[track_caller]
    pub fn is_well(&self) {
        eventually("everything is as it should be", SOON, || {
            let status = self.strata(&["status"]);
            let said = format!("{}{}", text(&status.stdout), text(&status.stderr));
            let answer = self.demo.send("GET", "/compute/v2.1/servers", None).map_err(|e| e.to_string())?;
            let well = said.contains("everything is as it should be") && answer.status == 200;
            if well { Ok(()) } else { Err(format!("{}\n{said}", answer.status)) }
        });
    }

    /// What is left on the host of one guest, a line each.
    #[track_caller]
    pub fn is_gone(&self, id: &str, tap: &str) {
        eventually("nothing of it is left on the host", SOON, || {
            let mut left: Vec<String> = self.remains().into_iter().filter(|l| l.contains(id) || l.contains(tap)).collect();
            left.extend(self.virsh("list --all --uuid").lines().filter(|l| l.contains(id)).map(|l| format!("domain {l}")));
            left.extend(self.machine.sh("nft list ruleset").lines().filter(|l| l.contains(tap)).map(|l| format!("nftables {l}")));
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }

    /// Runs a program in the network's namespace.
    pub fn inside(&self, network: &str, words: &[&str]) -> Command {
        let mut command = self.machine.command("ip");
        command.args(["netns", "exec", &format!("strata-{network}")]).args(words);
        command
    }

    /// What is on the host of guests and networks, a line each; empty when nothing is.
    pub fn remains(&self) -> Vec<String> {
        let ours = |line: &str| ["tap", "brq", "dhc"].iter().any(|p| line.starts_with(p)).then(|| format!("link {line}"));
        let mut found: Vec<String> = self.machine.sh("ls /sys/class/net").lines().filter_map(ours).collect();
        found.extend(self.machine.sh("ls /run/netns").lines().map(|n| format!("namespace {n}")));
        let guests = self.machine.processes().into_iter().filter(|(_, l)| l.contains("qemu-system") || l.contains("dnsmasq"));
        found.extend(guests.map(|(pid, line)| format!("process {pid} {}", line.chars().take(80).collect::<String>())));
        for place in ["instances", "network"] {
            let entries = std::fs::read_dir(self.data.join("host").join(place)).into_iter().flatten().flatten();
            found.extend(entries.map(|e| format!("file {}", e.path().display())));
        }
        found
    }
}

/// Shows the logs when a test fails.
pub struct Watched<'a>(&'a Lab);
impl std::ops::Deref for Watched<'_> {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        self.0
    }
}
impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = ["log", "host/libvirt/log", "host/log"].map(|d| self.0.data.join(d));
        for file in logs.iter().flat_map(|d| std::fs::read_dir(d).into_iter().flatten().flatten()) {
            let log = text(&std::fs::read(file.path()).unwrap_or_default());
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}\n{}", file.path().display(), lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        eprintln!("--- on the host\n{}", self.0.remains().join("\n"));
        eprintln!("--- status\n{}", text(&self.0.strata(&["status"]).stdout));
    }
}

fn strata(machine: &Machine, data: &Path, arguments: &[&str]) -> Output {
    machine.command(STRATA).args(arguments).arg("--data").arg(data).output().expect("the program was built with the tests")
}

/// `strata up`, of a cloud that was up before.
#[track_caller]
pub fn up(machine: &Machine, data: &Path) {
    must(strata(machine, data, &["up"]));
}

#[track_caller]
fn must(up: Output) {
    assert!(up.status.success(), "strata up failed:\n{}{}", text(&up.stdout), text(&up.stderr));
}

pub fn login(data: &Path, user: &str) -> Api {
    let password = std::fs::read_to_string(data.join("secrets").join(format!("{user}-password"))).expect("the user's password");
    Api::try_login(PORT, user, &password, user).unwrap_or_else(|why| panic!("{user} can't log in: {why}"))
}

pub fn upload(admin: &Api, name: &str, file: &Path) -> String {
    let image = json!({"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"});
    let id = admin.post("/image/v2/images", image).expect(201).json()["id"].as_str().expect("an id").to_string();
    let bytes = std::fs::read(file).expect("the image");
    let put = admin.send_as("PUT", &format!("/image/v2/images/{id}/file"), "Content-Type: application/octet-stream\r\n", &bytes);
    put.expect("the API answers").expect(204);
    id
}

/// A network with a subnet.
pub fn network(api: &Api, name: &str, cidr: &str) -> String {
    let made = api.post("/network/v2.0/networks", json!({"network": {"name": name}})).expect(201).json();
    let id = made["network"]["id"].as_str().expect("an id").to_string();
    api.post("/network/v2.0/subnets", json!({"subnet": {"network_id": id, "cidr": cidr, "ip_version": 4}})).expect(201);
    id
}

/// A pair of keys on the machine, the public one registered as `it`.
fn key(machine: &Machine, api: &Api) {
    let file = machine.dir.join("key");
    machine.sh(&format!("ssh-keygen -q -t ed25519 -N '' -C it@lab -f {}", file.display()));
    let public = std::fs::read_to_string(file.with_extension("pub")).expect("the public key");
    let made = api.post("/compute/v2.1/os-keypairs", json!({"keypair": {"name": "it", "public_key": public.trim()}}));
    assert_eq!(made.status, 200, "{}", made.text());
}

/// A server, and the machine that it pretends to be.
#[derive(Clone)]
pub struct Guest<'a> {
    pub lab: &'a Lab,
    pub api: &'a Api,
    pub id: String,
    /// That of its first NIC.
    pub network: String,
}

impl Guest<'_> {
    #[track_caller]
    pub fn show(&self) -> Value {
        self.try_show().unwrap_or_else(|why| panic!("{}: {why}", self.id))
    }
    /// The same while things are being broken.
    pub fn try_show(&self) -> Result<Value, String> {
        let answer = self.api.send("GET", &format!("/compute/v2.1/servers/{}", self.id), None).map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(answer.json()["server"].take()) } else { Err(format!("{} {}", answer.status, answer.text())) }
    }

    /// Asks for something; it must be accepted.
    #[track_caller]
    pub fn act(&self, action: Value) {
        let path = format!("/compute/v2.1/servers/{}/action", self.id);
        self.api.post(&path, action).expect(202);
    }

    #[track_caller]
    pub fn wait_status(&self, status: &str, limit: Duration) {
        eventually(&format!("{} is {status}", self.id), limit, || {
            let server = self.try_show()?;
            let settled = server["status"] == status && server["OS-EXT-STS:task_state"].is_null();
            if settled { Ok(()) } else { Err(format!("{} {} {}", server["status"], server["OS-EXT-STS:task_state"], server["fault"])) }
        });
    }

    pub fn console(&self) -> String {
        let path = format!("/compute/v2.1/servers/{}/action", self.id);
        match self.api.send("POST", &path, Some(&json!({"os-getConsoleOutput": {}}))) {
            Ok(answer) if answer.status == 200 => answer.json()["output"].as_str().unwrap_or_default().to_string(),
            Ok(answer) => format!("({})", answer.text()),
            Err(e) => format!("({e})"),
        }
    }

    /// The lines on its console that say this; see ops/guest.
    pub fn said(&self, what: &str) -> Vec<String> {
        let mark = format!("GUEST-{what} ");
        let find = |line: &str| line.find(&mark).map(|at| line[at + mark.len()..].trim().to_string());
        self.console().lines().filter_map(find).collect()
    }

    /// Waits until it says this in its n-th boot; the line.
    #[track_caller]
    pub fn wait_said(&self, what: &str, boot: usize, limit: Duration) -> String {
        let (mark, mut found) = (format!(" boot={boot} "), String::new());
        eventually(&format!("{} says {what} in boot {boot}", self.id), limit, || {
            let said = self.said(what);
            match said.iter().find(|line| line.contains(&mark)) {
                Some(line) => {
                    found = line.clone();
                    Ok(())
                }
                None => {
                    let server = self.try_show()?;
                    Err(format!("{} {} said {said:?}; its console:\n{}", server["status"], server["fault"], self.console()))
                }
            }
        });
        found
    }

    /// Waits until its n-th boot is done.
    #[track_caller]
    pub fn wait_ready(&self, boot: usize) -> String {
        self.wait_said("READY", boot, BOOT)
    }

    pub fn address(&self) -> String {
        let server = self.show();
        let addresses = server["addresses"].as_object().and_then(|n| n.values().next().cloned()).unwrap_or_default();
        addresses[0]["addr"].as_str().unwrap_or_default().to_string()
    }

    /// Runs a command in it; what it printed.
    #[track_caller]
    pub fn ssh(&self, command: &str) -> String {
        self.try_ssh(command).unwrap_or_else(|why| panic!("ssh {}: {command}: {why}", self.address()))
    }
    pub fn try_ssh(&self, command: &str) -> Result<String, String> {
        let (key, to) = (self.lab.machine.dir.join("key").display().to_string(), format!("root@{}", self.address()));
        let quiet = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
        let mut words = vec!["ssh", "-i", &key, "-o", "ConnectTimeout=10"];
        words.extend(quiet);
        words.extend([to.as_str(), command]);
        let done = self.lab.inside(&self.network, &words).output().expect("nsenter is there");
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        if done.status.success() { Ok(out.trim().to_string()) } else { Err(format!("{}\n{out}{err}", done.status)) }
    }

    /// Pings it until told to stop, from the network's namespace.
    pub fn ping(&self) -> Ping {
        let script = format!("ping -n -i 0.1 -W 1 {} & p=$!; read -r _; kill -INT $p; wait $p", self.address());
        let mut command = self.lab.inside(&self.network, &["bash", "-c", &script]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsenter is there");
        Ping { child: Some(child), begun: Instant::now() }
    }

    #[track_caller]
    pub fn answers(&self) {
        let address = self.address();
        eventually(&format!("{address} answers"), SOON, || {
            let done = self.lab.inside(&self.network, &["ping", "-n", "-c", "1", "-W", "1", &address]).output().expect("nsenter is there");
            if done.status.success() { Ok(()) } else { Err(format!("{}{}", text(&done.stdout), text(&done.stderr))) }
        });
    }

    #[track_caller]
    pub fn delete(&self) {
        let answer = self.api.delete(&format!("/compute/v2.1/servers/{}", self.id));
        assert!(matches!(answer.status, 204 | 404), "{} {}", answer.status, answer.text());
    }

    #[track_caller]
    pub fn wait_gone(&self) {
        eventually(&format!("{} is gone", self.id), SOON, || match self.try_show() {
            Err(why) if why.starts_with("404") => Ok(()),
            Err(why) => Err(why),
            Ok(server) => Err(format!("{} {} {}", server["status"], server["OS-EXT-STS:task_state"], server["fault"])),
        });
    }

    /// Its port's id.
    pub fn port(&self) -> String {
        let ports = self.api.get(&format!("/network/v2.0/ports?device_id={}", self.id)).json();
        ports["ports"][0]["id"].as_str().unwrap_or_default().to_string()
    }
    /// The name of its tap.
    pub fn tap(&self) -> String {
        format!("tap{}", self.port().get(..11).unwrap_or_default())
    }
    /// Its QEMU process, by the number that it has on the machine.
    pub fn qemu(&self) -> Option<u32> {
        self.lab.machine.pids(&self.id).into_iter().find(|pid| {
            let comm = self.lab.machine.try_sh(&format!("cat /proc/{pid}/comm"));
            text(&comm.stdout).starts_with("qemu")
        })
    }
}

/// A running ping.
pub struct Ping {
    child: Option<Child>,
    begun: Instant,
}

impl Ping {
    /// How many it sent and how many came back.
    fn end(&mut self) -> (u32, u32, String) {
        let Some(mut child) = self.child.take() else { return (0, 0, String::new()) };
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let mut said = String::new();
        if let Some(mut output) = child.stdout.take() {
            let _ = output.read_to_string(&mut said);
        }
        let _ = child.wait();
        let line = said.lines().find(|l| l.contains("packets transmitted")).unwrap_or_default().to_string();
        let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), line)
    }

    /// It lost nothing; one may still be on its way.
    #[track_caller]
    pub fn lost_nothing(mut self, while_that: &str) {
        let lasted = self.begun.elapsed();
        let (sent, received, line) = self.end();
        assert!(sent > 0 && received + 1 >= sent, "{while_that}: lost pings in {lasted:?}: {line}");
    }
}
impl Drop for Ping {
    fn drop(&mut self) {
        self.end();
    }
}
