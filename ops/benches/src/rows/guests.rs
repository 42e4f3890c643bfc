//! Real guests: what Strata adds to libvirt's and QEMU's own time, how fast a server is gone, and what many guests cost. Each
//! baseline is of the same round, with the same disk, tap, DHCP and metadata.

use crate::cloud::Cloud;
use crate::http::Client;
use crate::report::{Must, Report, Row};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::domain::Domain;

const RUNNING: &str = "POST /servers → domain running, image cached";
const READY: &str = "POST /servers → GUEST-READY";
const GONE: &str = "DELETE /servers/{id} → nothing left";
const MANY: &str = "20 guests at once: CPU time of the control plane";
const IDLE: [&str; 2] = ["compute worker, idle with 20 guests", "network worker, idle with 20 guests"];
const GUESTS: usize = 20;
/// Nothing here takes as long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked: the error of each time.
const LOOK: Duration = Duration::from_millis(5);

pub async fn measure(report: &mut Report, strata: &Path, image: &Path) -> Result<(), String> {
    let names = [RUNNING, READY, GONE, MANY, IDLE[0], IDLE[1]];
    if !names.iter().any(|n| report.wants(n)) {
        return Ok(());
    }
    // That a domain is not there yet is no news here.
    virt::error::clear_error_callback();
    let cloud = Cloud::with_hypervisor(strata).await?;
    let bench = Bench::furnish(cloud, image).await?;
    bench.singles(report).await?;
    if [MANY, IDLE[0], IDLE[1]].iter().any(|n| report.wants(n)) {
        bench.many(report).await?;
    }
    Ok(())
}

struct Bench {
    cloud: Cloud,
    libvirt: Connect,
    server: Value,
}

/// A server that was asked for, and how long things took from then.
struct Guest {
    id: String,
    asked: Instant,
}

impl Bench {
    async fn furnish(cloud: Cloud, image: &Path) -> Result<Self, String> {
        let mut server = cloud.furnish().await?;
        let mut c = cloud.client().await?;
        let known = json!({"name": "guest", "disk_format": "qcow2", "container_format": "bare"});
        let id = text(&c.json(Method::POST, "/image/v2/images", Some(known)).await?["id"]);
        let data = std::fs::read(image).map_err(|e| format!("{}: {e}", image.display()))?;
        c.call(Method::PUT, &format!("/image/v2/images/{id}/file"), Some(&data)).await?;
        let flavor = json!({"flavor": {"name": "guest", "vcpus": 1, "ram": 128, "disk": 1}});
        let flavor = c.json(Method::POST, "/compute/v2.1/flavors", Some(flavor)).await?;
        server["server"]["imageRef"] = json!(id);
        server["server"]["flavorRef"] = flavor["flavor"]["id"].clone();
        let socket = cloud.data.join("host/libvirt/run/libvirt-sock");
        let libvirt = Connect::open(Some(&format!("qemu+unix:///system?socket={}", socket.display()))).map_err(|e| e.to_string())?;
        let bench = Self { cloud, libvirt, server };
        // The image is in the cache from now on.
        let first = bench.ask().await?;
        bench.until("the first guest is ready", || bench.is_ready(&first)).await?;
        bench.delete(&first).await?;
        Ok(bench)
    }

    async fn ask(&self) -> Result<Guest, String> {
        let mut c = self.client().await?;
        let asked = Instant::now();
        let answer = c.json(Method::POST, "/compute/v2.1/servers", Some(self.server.clone())).await?;
        Ok(Guest { id: text(&answer["server"]["id"]), asked })
    }
    async fn client(&self) -> Result<Client, String> {
        self.cloud.client().await
    }
    fn home(&self, guest: &Guest) -> PathBuf {
        self.cloud.data.join("host/instances").join(&guest.id)
    }
    fn domain(&self, guest: &Guest) -> Option<Domain> {
        Domain::lookup_by_uuid_string(&self.libvirt, &guest.id).ok()
    }
    fn is_running(&self, guest: &Guest) -> bool {
        self.domain(guest).is_some_and(|d| runs(&d))
    }
    fn is_ready(&self, guest: &Guest) -> bool {
        said(&self.home(guest).join("console.log"))
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) -> Result<Instant, String> {
        let begun = Instant::now();
        while !done() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("not within {} s: {what}", PATIENCE.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Instant::now())
    }
    async fn status(&self, guest: &Guest, wanted: &str) -> Result<Value, String> {
        let mut c = self.client().await?;
        let begun = Instant::now();
        loop {
            let server = c.json(Method::GET, &format!("/compute/v2.1/servers/{}", guest.id), None).await?["server"].clone();
            if server["status"] == wanted {
                return Ok(server);
            }
            if server["status"] == "ERROR" || begun.elapsed() > PATIENCE {
                return Err(format!("the server is {} instead of {wanted}: {}", server["status"], server["fault"]));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Deletes a server and says how long it took until nothing of it was left.
    async fn delete(&self, guest: &Guest) -> Result<Duration, String> {
        let mut c = self.client().await?;
        let ports = c.json(Method::GET, &format!("/network/v2.0/ports?device_id={}", guest.id), None).await?;
        let taps: Vec<PathBuf> =
            ports["ports"].as_array().into_iter().flatten().map(|p| tap(&text(&p["id"]))).map(|t| device(&t)).collect();
        let begun = Instant::now();
        c.call(Method::DELETE, &format!("/compute/v2.1/servers/{}", guest.id), None).await?;
        let home = self.home(guest);
        self.until("nothing of the server is left", || !home.exists() && taps.iter().all(|t| !t.exists()) && self.domain(guest).is_none())
            .await?;
        Ok(begun.elapsed())
    }

    async fn singles(&self, report: &mut Report) -> Result<(), String> {
        let (mut running, mut libvirts, mut ready, mut bare, mut gone) = (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..report.rounds {
            let guest = self.ask().await?;
            let at = self.until("the domain runs", || self.is_running(&guest)).await?;
            running.push(seconds(at - guest.asked) * 1e3);
            let at = self.until("the guest is ready", || self.is_ready(&guest)).await?;
            ready.push(seconds(at - guest.asked));
            self.status(&guest, "ACTIVE").await?;
            // Its tap, lease and metadata stay while it is stopped: now others boot on them.
            let mut c = self.client().await?;
            let action = format!("/compute/v2.1/servers/{}/action", guest.id);
            c.call(Method::POST, &action, Some(br#"{"os-stop": null}"#)).await?;
            self.status(&guest, "SHUTOFF").await?;
            libvirts.push(seconds(self.libvirts_own(&guest)?) * 1e3);
            bare.push(seconds(self.bare_qemu(&guest).await?));
            // What runs is what takes time to end.
            c.call(Method::POST, &action, Some(br#"{"os-start": null}"#)).await?;
            self.status(&guest, "ACTIVE").await?;
            gone.push(seconds(self.delete(&guest).await?));
        }
        report.add(Row { what: RUNNING.into(), unit: "ms", rounds: running, baseline: libvirts, must: Must::AtMostAbove(250.0), they: "" });
        report.add(Row { what: READY.into(), unit: "s", rounds: ready, baseline: bare, must: Must::AtMostAbove(1.0), they: "" });
        report.add(Row { what: GONE.into(), unit: "s", rounds: gone, baseline: vec![], must: Must::AtMost(1.0), they: "" });
        Ok(())
    }

    /// libvirt's own define and start of the same XML, under another name.
    fn libvirts_own(&self, guest: &Guest) -> Result<Duration, String> {
        let wrong = |e: virt::error::Error| format!("libvirt: {e}");
        let domain = self.domain(guest).ok_or("the domain is not there")?;
        let xml = domain.get_xml_desc(0).map_err(wrong)?;
        let other = format!("{}{}", &guest.id[..24], "0000bebebebe");
        let xml = without(&xml, "<metadata>", "</metadata>")
            .replace(&guest.id, &other)
            .replace(&format!("instances/{other}"), &format!("instances/{}", guest.id));
        let begun = Instant::now();
        let domain = Domain::define_xml(&self.libvirt, &xml).map_err(wrong)?;
        domain.create().map_err(wrong)?;
        let took = begun.elapsed();
        let ended = domain.destroy().map_err(wrong);
        domain.undefine().map_err(wrong)?;
        ended?;
        Ok(took)
    }

    /// QEMU alone on a fresh overlay of the same image, until the guest says that it is ready.
    async fn bare_qemu(&self, guest: &Guest) -> Result<Duration, String> {
        let mut c = self.client().await?;
        let ports = c.json(Method::GET, &format!("/network/v2.0/ports?device_id={}", guest.id), None).await?;
        let port = &ports["ports"][0];
        let home = self.cloud.data.join("bare");
        std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
        let (disk, log) = (home.join("disk.qcow2"), home.join("console.log"));
        for old in [&disk, &log] {
            let _ = std::fs::remove_file(old);
        }
        let base = backing(&self.home(guest).join("disk.qcow2"))?;
        let made =
            Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(base).arg(&disk).arg("1G").status();
        if !made.map_err(|e| e.to_string())?.success() {
            return Err("qemu-img create failed".into());
        }
        let begun = Instant::now();
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-machine", "q35", "-accel", "tcg,tb-size=32", "-cpu", "qemu64", "-m", "128", "-nodefaults", "-display", "none"])
            .arg("-drive")
            .arg(format!("file={},format=qcow2,if=virtio", disk.display()))
            .arg("-netdev")
            .arg(format!("tap,id=n,ifname={},script=no,downscript=no", tap(&text(&port["id"]))))
            .arg("-device")
            .arg(format!("virtio-net-pci,netdev=n,romfile=,mac={}", text(&port["mac_address"])))
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| format!("qemu-system-x86_64: {e}"))?;
        let qemu = Ended(qemu);
        let ready = self.until("bare QEMU's guest is ready", || said(&log)).await;
        drop(qemu);
        Ok(ready? - begun)
    }

    async fn many(&self, report: &mut Report) -> Result<(), String> {
        let mut cpu = vec![];
        let mut idle: [(Vec<f64>, Vec<f64>); 2] = Default::default();
        // Once is what a round is here: it takes minutes, and the CPU time counted is not that of the guests.
        let before = self.control_plane();
        let mut guests = vec![];
        for guest in futures(GUESTS, || self.ask()).await {
            guests.push(guest?);
        }
        self.until("all guests run", || guests.iter().all(|g| self.is_running(g))).await?;
        for guest in &guests {
            self.status(guest, "ACTIVE").await?;
        }
        let after = self.control_plane();
        let spent: BTreeMap<&str, f64> = after.iter().map(|(who, s)| (&who[..], s - before.get(who).unwrap_or(&0.0))).collect();
        for (who, seconds) in spent.iter().filter(|(_, s)| **s > 0.0) {
            println!("    {who}: {seconds:.2} s");
        }
        cpu.push(spent.values().sum());
        report.add(Row { what: MANY.into(), unit: "s", rounds: cpu, baseline: vec![], must: Must::AtMost(2.0), they: "" });
        self.until("all guests are ready", || guests.iter().all(|g| self.is_ready(g))).await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        for _ in 0..report.rounds {
            let begun = Instant::now();
            let before = ["compute", "network"].map(|role| self.worker(role).map(ticks).unwrap_or_default());
            tokio::time::sleep(Duration::from_secs(6)).await;
            for (n, role) in ["compute", "network"].into_iter().enumerate() {
                let pid = self.worker(role).ok_or_else(|| format!("there is no {role} worker"))?;
                idle[n].0.push(pss(pid));
                idle[n].1.push((ticks(pid) - before[n]) / seconds(begun.elapsed()) * 100.0);
            }
        }
        for ((memory, busy), what) in idle.into_iter().zip(IDLE) {
            report.add(Row {
                what: format!("{what}: PSS"),
                unit: "MiB",
                rounds: memory,
                baseline: vec![],
                must: Must::AtMost(30.0),
                they: "",
            });
            report.add(Row {
                what: format!("{what}: of a core"),
                unit: "%",
                rounds: busy,
                baseline: vec![],
                must: Must::AtMost(1.0),
                they: "",
            });
        }
        for guest in &guests {
            self.delete(guest).await?;
        }
        Ok(())
    }

    /// CPU seconds of every process of the cloud but libvirtd, QEMU and dnsmasq, by what it is.
    fn control_plane(&self) -> BTreeMap<String, f64> {
        // libvirt names a QEMU process after its guest.
        let theirs = ["libvirtd", "qemu", "dnsmasq"];
        let ours = self.cloud.processes().into_iter().filter(|p| !theirs.iter().any(|t| name(*p).starts_with(t)));
        let mut spent = BTreeMap::new();
        for pid in ours {
            let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let verbs: Vec<&str> = arguments.split('\0').skip(1).take_while(|a| !a.starts_with('-')).collect();
            *spent.entry(format!("{} {}", name(pid).trim(), verbs.join(" "))).or_default() += ticks(pid);
        }
        spent
    }
    fn worker(&self, role: &str) -> Option<u32> {
        self.cloud.processes().into_iter().find(|p| {
            let arguments = std::fs::read_to_string(format!("/proc/{p}/cmdline")).unwrap_or_default();
            arguments.split('\0').skip(1).take(2).eq(["worker", role])
        })
    }
}

/// All at once.
async fn futures<T, F: Future<Output = T>>(n: usize, one: impl Fn() -> F) -> Vec<T> {
    futures_util::future::join_all((0..n).map(|_| one())).await
}

/// Ended when it is dropped.
struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn runs(domain: &Domain) -> bool {
    domain.get_state().is_ok_and(|(state, _)| state == virt::sys::VIR_DOMAIN_RUNNING)
}
fn said(console: &Path) -> bool {
    std::fs::read(console).is_ok_and(|text| String::from_utf8_lossy(&text).contains("GUEST-READY"))
}
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}
fn tap(port: &str) -> String {
    format!("tap{}", &port[..11])
}
fn device(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}
fn without(text: &str, from: &str, to: &str) -> String {
    match (text.find(from), text.find(to)) {
        (Some(a), Some(b)) => format!("{}{}", &text[..a], &text[b + to.len()..]),
        _ => text.to_owned(),
    }
}
fn backing(overlay: &Path) -> Result<String, String> {
    let out = Command::new("qemu-img").args(["info", "-U", "--output=json"]).arg(overlay).output().map_err(|e| e.to_string())?;
    let info: Value = serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())?;
    Ok(text(&info["full-backing-filename"]))
}
fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}
/// CPU time of a process, in seconds.
fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    // User and system time, in hundredths of a second on every Linux.
    (field(11) + field(12)) / 100.0
}
fn pss(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
