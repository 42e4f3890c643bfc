//! A private cloud for tests: own data directory, own port, and nothing left when the test process ends, even by kill -9.

pub use crate::wait::eventually;

use crate::client::Client;
use crate::http::Api;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The program under test, built with it.
pub const STRATA: &str = env!("CARGO_BIN_EXE_strata");

pub struct Cloud {
    pub data: PathBuf,
    pub port: u16,
    /// Waits until its input ends, which it does when this process does, and then wipes the cloud.
    janitor: Option<Child>,
}

impl Cloud {
    /// A directory and a port, with nothing started yet.
    pub fn place() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("strata-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let data = std::env::temp_dir().join(name);
        let port = free_port();
        let script = "read _; exec \"$0\" down --wipe --data \"$1\" >/dev/null 2>&1";
        let mut janitor = Command::new("sh");
        janitor.args(["-c", script, STRATA]).arg(&data).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that a terminal's ^C doesn't end it before its work.
        let janitor = janitor.process_group(0).spawn().expect("sh is everywhere");
        Self { data, port, janitor: Some(janitor) }
    }

    /// A running cloud.
    pub fn start(arguments: &[&str]) -> Self {
        let cloud = Self::place();
        let up = cloud.up(arguments);
        assert!(up.status.success(), "strata up failed:\n{}{}", text(&up.stdout), text(&up.stderr));
        cloud
    }

    /// `strata up` with these arguments.
    pub fn up(&self, arguments: &[&str]) -> std::process::Output {
        let port = self.port.to_string();
        let mut all = vec!["up", "--port", &port];
        all.extend(arguments);
        self.strata(&all)
    }

    /// Any command of the program, on this cloud.
    pub fn strata(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(STRATA).args(arguments).arg("--data").arg(&self.data).output().expect("the program was built with the tests")
    }

    /// The same, which must succeed; its output.
    #[track_caller]
    pub fn tool(&self, arguments: &[&str]) -> String {
        let done = self.strata(arguments);
        assert!(done.status.success(), "strata {arguments:?} failed:\n{}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Plain HTTP as one of the users in the secrets.
    pub fn api(&self, user: &str) -> Api {
        self.try_api(user).unwrap_or_else(|why| panic!("{user} can't log in: {why}"))
    }
    pub fn try_api(&self, user: &str) -> Result<Api, String> {
        let password = std::fs::read_to_string(self.data.join("secrets").join(format!("{user}-password"))).expect("the user's password");
        Api::try_login(self.port, user, &password, user)
    }

    /// The `openstack` client with one of the clouds in clouds.yaml.
    pub fn client(&self, cloud: &str) -> Client {
        Client::start(&self.data.join("clouds.yaml"), cloud)
    }

    /// The process of this name, as the supervisor wrote it down.
    pub fn pid(&self, name: &str) -> Option<u32> {
        let record = std::fs::read(self.data.join("run/pids").join(format!("{name}.json"))).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&record).ok()?;
        record["pid"].as_u64()?.try_into().ok()
    }

    /// Every process that belongs to this cloud, by what the kernel says.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("STRATA_PROCESS_OF={}", self.data.display());
        let data = self.data.display().to_string();
        let mut found = vec![];
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let environment = read("environ").split(|b| *b == 0).any(|v| v == mark.as_bytes());
            let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&data));
            if environment || inside {
                found.push(format!("{} {}", entry.file_name().to_string_lossy(), text(&read("comm")).trim()));
            }
        }
        found
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_logs(&self.data);
        }
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            let _ = janitor.wait();
        }
    }
}

/// The ends of the logs: what one wants to see when a test failed.
fn show_logs(data: &Path) {
    for file in std::fs::read_dir(data.join("log")).into_iter().flatten().flatten() {
        let log = std::fs::read_to_string(file.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- {}\n{}", file.path().display(), lines[lines.len().saturating_sub(25)..].join("\n"));
    }
}

/// The cloud that tests of what users see share: three simulated hosts, all services in one process.
pub fn shared() -> &'static Cloud {
    static SHARED: LazyLock<Cloud> = LazyLock::new(|| Cloud::start(&["--simulated", "3"]));
    &SHARED
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}
