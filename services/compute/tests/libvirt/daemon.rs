//! A libvirtd for one test. Its guests and itself end with it, also when the test fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strata_compute::Hypervisor;
use strata_compute::libvirt::{FetchError, ImageSource, LibvirtConfig, LibvirtHypervisor, Secrets, VirtType};
use strata_events::instance::Size;
use strata_events::{ImageId, InstanceId, ProjectId, SecretId, UserId};
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::{InstancePlan, PlannedImage};
use uuid::Uuid;

/// A raw image of a few zeros: it boots nowhere, which is all that is asked of it.
const IMAGE: usize = 64 * 1024;

const MARK: &str = "STRATA_PROCESS_OF";

struct Zeros;
impl ImageSource for Zeros {
    fn fetch<'a>(&'a self, image: &'a PlannedImage, into: &'a Path) -> Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>> {
        Box::pin(async move { Ok(std::fs::write(into, vec![0; image.size as usize])?) })
    }
}

/// An image that lies in a file.
#[derive(Clone)]
#[allow(dead_code)]
pub struct FileImage {
    pub planned: PlannedImage,
    file: PathBuf,
}
#[allow(dead_code)]
impl FileImage {
    pub fn of(file: &Path, disk_format: &str) -> Self {
        let sum = Command::new("sha512sum").arg(file).output().expect("coreutils");
        let sha512 = String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_string();
        let size = std::fs::metadata(file).expect("the image").len();
        let properties = serde_json::Map::new();
        let id = ImageId(Uuid::from_u128(8));
        let planned = PlannedImage { id, disk_format: disk_format.into(), checksum: String::new(), sha512, size, properties };
        Self { planned, file: file.into() }
    }
}
impl ImageSource for FileImage {
    fn fetch<'a>(&'a self, _: &'a PlannedImage, into: &'a Path) -> Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>> {
        Box::pin(async move { Ok(std::fs::copy(&self.file, into).map(|_| ())?) })
    }
}

struct NoSecrets;
impl Secrets for NoSecrets {
    fn open<'a>(&'a self, _: &'a SecretId) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>> {
        Box::pin(async { Err("there are none".into()) })
    }
}

#[allow(dead_code)] // Each test binary uses some of it.
pub struct Daemon {
    directory: PathBuf,
    child: Option<Child>,
    shared: bool,
}

#[allow(dead_code)]
impl Daemon {
    pub async fn start(name: &str) -> Self {
        Self::start_as(name, "root").await
    }

    /// One whose guests run as this user, to whom it hands their files over, as a machine's own libvirt does.
    pub async fn start_as(name: &str, user: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("strata-libvirt-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        for part in ["etc", "lib", "log", "cache", "run", "host"] {
            std::fs::create_dir_all(directory.join(part)).expect("a directory");
        }
        // What QEMU can do takes libvirt eight seconds to find out: tests share what the first of them found.
        bury_guests();
        let shared = std::env::temp_dir().join(format!("strata-test-capabilities-{user}"));
        if shared.exists() {
            copy(&shared, &directory.join("cache/qemu/capabilities"));
        }
        let id = Uuid::new_v5_of(&directory);
        let conf = format!("host_uuid = \"{id}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nmax_client_requests = 40\n");
        std::fs::write(directory.join("etc/libvirtd.conf"), conf).expect("written");
        std::fs::write(
            directory.join("etc/qemu.conf"),
            format!(
                "security_driver = \"none\"\nuser = \"{user}\"\ndynamic_ownership = {}\nremember_owner = 0\n\
                 cgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\nmax_core = 0\n",
                u8::from(user != "root")
            ),
        )
        .expect("written");
        let mut daemon = Self { directory, child: None, shared: user != "root" };
        daemon.restart().await;
        copy(&daemon.directory.join("cache/qemu/capabilities"), &shared);
        daemon
    }

    pub async fn restart(&mut self) {
        let mut script = String::from("set -e; mkdir -p /run/libvirt; ");
        for (part, over) in [
            ("etc", "/etc/libvirt"),
            ("lib", "/var/lib/libvirt"),
            ("log", "/var/log/libvirt"),
            ("cache", "/var/cache/libvirt"),
            ("run", "/run/libvirt"),
        ] {
            script += &format!("mount --bind {} {over}; ", self.directory.join(part).display());
        }
        if self.shared && Path::new("/dev/kvm").exists() {
            // libvirt tries QEMU anew at each start of a guest for as long as its user can't open what there is.
            let own = self.directory.join("kvm");
            script += &format!("[ -e {0} ] || mknod -m 666 {0} c 10 232; mount --bind {0} /dev/kvm; ", own.display());
        }
        script += "exec libvirtd --pid-file /run/libvirt/libvirtd.pid";
        let log = std::fs::File::create(self.directory.join("libvirtd.out")).expect("a file");
        let child = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "slave", "sh", "-c", &script])
            // As the supervisor marks its processes; what carries the mark is ended with the cloud.
            .env(MARK, "test")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("unshare is everywhere");
        self.child = Some(child);
        let probe = self.hypervisor("probe");
        self.ready(&probe).await;
    }

    /// Waits until it answers.
    pub async fn ready(&self, hypervisor: &LibvirtHypervisor) {
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(e) = hypervisor.inventory().await {
            let out = std::fs::read_to_string(self.directory.join("libvirtd.out")).unwrap_or_default();
            assert!(Instant::now() < until, "libvirtd does not come up: {e}; it said: {out}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.directory.join("run/libvirt-sock").display())
    }

    pub fn hypervisor(&self, host: &str) -> LibvirtHypervisor {
        self.hypervisor_with(host, Duration::from_secs(1), Zeros)
    }
    pub fn hypervisor_with(&self, host: &str, shutdown_limit: Duration, images: impl ImageSource) -> LibvirtHypervisor {
        LibvirtHypervisor::open(LibvirtConfig {
            uri: self.uri(),
            state_dir: self.directory.join("host"),
            host: host.into(),
            host_ip: "127.0.0.1".into(),
            virt_type: VirtType::Qemu,
            shutdown_limit,
            shared: self.shared,
            images: Arc::new(images),
            secrets: Arc::new(NoSecrets),
            documents: Arc::new(|_: &InstancePlan, _: Option<&[u8]>| vec![("openstack/latest/meta_data.json".to_string(), b"{}".to_vec())]),
        })
        .expect("opened")
    }

    /// Where its images come from.
    pub fn zeros(&self) -> impl ImageSource {
        Zeros
    }

    pub fn image(&self) -> PlannedImage {
        // sha512sum of 64 KiB of zeros
        let sum = Command::new("sh").arg("-c").arg(format!("head -c {IMAGE} /dev/zero | sha512sum")).output().expect("coreutils");
        PlannedImage {
            id: ImageId(Uuid::from_u128(7)),
            disk_format: "raw".into(),
            checksum: String::new(),
            sha512: String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().into(),
            size: IMAGE as u64,
            properties: serde_json::Map::new(),
        }
    }

    pub fn virsh(&self, arguments: &[&str]) {
        let done = Command::new("virsh").args(["-q", "-c", &self.uri()]).args(arguments).output().expect("virsh");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// As the network worker would, in the daemon's network namespace.
    pub fn make_tap(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        for words in [&["tuntap", "add", "dev", name, "mode", "tap"][..], &["link", "set", name, "mtu", "1450", "up"][..]] {
            let done = Command::new("nsenter").args(["-n", "-t", &pid, "ip"]).args(words).status().expect("nsenter");
            assert!(done.success(), "{words:?}");
        }
    }

    /// As somebody by hand.
    pub fn remove_tap(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let done = Command::new("nsenter").args(["-n", "-t", &pid, "ip", "link", "del", name]).status().expect("nsenter");
        assert!(done.success(), "{name}");
    }

    fn pid_file(&self, id: &InstanceId) -> PathBuf {
        self.directory.join(format!("run/qemu/instance-{id}.pid"))
    }
    pub fn qemu(&self, id: &InstanceId) -> Option<u32> {
        std::fs::read_to_string(self.pid_file(id)).ok()?.trim().parse().ok()
    }
    /// Whether a guest would be taken for a process of the cloud.
    pub fn marked(&self, id: &InstanceId) -> bool {
        let pid = self.qemu(id).expect("it runs");
        let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("it runs");
        environment.split(|b| *b == 0).any(|v| v.starts_with(MARK.as_bytes()))
    }
    pub fn kill_qemu(&self, id: &InstanceId) {
        signal(self.qemu(id).expect("it runs"), "KILL");
    }
    pub fn instance_files(&self, id: &InstanceId) -> Vec<String> {
        names(&self.directory.join("host/instances").join(id.to_string()))
    }
    /// Its files that hold what is its owner's, the image among them.
    pub fn files(&self, id: &InstanceId) -> Vec<PathBuf> {
        let home = self.directory.join("host/instances").join(id.to_string());
        let ours = names(&home).into_iter().filter(|n| n != "console.log").map(|n| home.join(n));
        let images = self.directory.join("host/images");
        ours.chain(names(&images).into_iter().map(|n| images.join(n))).collect()
    }
    /// What is left of instances: directories, definitions, processes.
    pub fn left(&self) -> Vec<String> {
        let mut left = names(&self.directory.join("host/instances"));
        left.extend(names(&self.directory.join("etc/qemu")).into_iter().filter(|n| n.ends_with(".xml")));
        left.extend(names(&self.directory.join("run/qemu")).into_iter().filter(|n| n.starts_with("instance-")));
        left.extend(names(&self.directory.join("lib/qemu/save")));
        left
    }

    /// From now on the host has hardly any room.
    pub fn fill_disk(&self) {
        for part in ["images", "instances"] {
            let at = self.directory.join("host").join(part);
            let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).status().expect("mount");
            assert!(done.success(), "{}", at.display());
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "CONT");
            signal(child.id(), "TERM");
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    pub fn freeze(&self) {
        signal(self.child.as_ref().expect("it runs").id(), "STOP");
    }
    pub fn thaw(&self) {
        signal(self.child.as_ref().expect("it runs").id(), "CONT");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        for name in names(&self.directory.join("run/qemu")).iter().filter(|n| n.starts_with("instance-") && n.ends_with(".pid")) {
            let pid = std::fs::read_to_string(self.directory.join("run/qemu").join(name)).unwrap_or_default();
            if let Ok(pid) = pid.trim().parse() {
                signal(pid, "KILL");
            }
        }
        for part in ["images", "instances"] {
            let _ = Command::new("umount").arg("-q").arg(self.directory.join("host").join(part)).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// QEMU leaves its parents, and libvirt waits until it is gone: where nobody buries orphans (in a container), we do.
#[allow(unsafe_code)]
fn bury_guests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: it sets a mark of this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        std::thread::spawn(|| {
            loop {
                for task in names(Path::new("/proc/self/task")) {
                    let children = std::fs::read_to_string(format!("/proc/self/task/{task}/children")).unwrap_or_default();
                    for pid in children.split_whitespace() {
                        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                        if stat.contains("(qemu-system") && stat.contains(") Z ") {
                            // SAFETY: a plain system call; nobody else waits for an orphan.
                            unsafe { libc::waitpid(pid.parse().expect("a number"), std::ptr::null_mut(), libc::WNOHANG) };
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
    });
}

fn names(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::create_dir_all(to);
    for name in names(from) {
        let _ = std::fs::copy(from.join(&name), to.join(&name));
    }
}

fn signal(pid: u32, which: &str) {
    let _ = Command::new("kill").arg(format!("-{which}")).arg(pid.to_string()).status();
}

trait Of {
    fn new_v5_of(path: &Path) -> Uuid;
}
impl Of for Uuid {
    /// Another one for another directory.
    fn new_v5_of(path: &Path) -> Uuid {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        path.hash(&mut hasher);
        Uuid::from_u64_pair(hasher.finish(), hasher.finish().rotate_left(32))
    }
}

pub fn plan(n: u128) -> InstancePlan {
    InstancePlan {
        id: InstanceId(Uuid::from_u128(0x5000 + n)),
        generation: 1,
        wanted: Wanted::Running,
        ready: true,
        reboots: 0,
        reboot_hard: false,
        asks: 0,
        name: "hello <&>".into(),
        hostname: "hello".into(),
        project: ProjectId(Uuid::nil()),
        user: UserId(Uuid::nil()),
        size: Size {
            flavor: "1".into(),
            name: "m1.nano".into(),
            vcpus: 1,
            ram: 32,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            extra_specs: BTreeMap::new(),
        },
        image: None,
        image_gone: None,
        key_name: None,
        public_key: None,
        metadata: BTreeMap::new(),
        config_drive: false,
        user_data: None,
        nics: vec![],
        zone: "nova".into(),
        launch_index: 0,
        reservation: "r-1".into(),
        security_groups: vec![],
    }
}
