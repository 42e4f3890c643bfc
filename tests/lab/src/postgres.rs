//! A Postgres cluster of one's own on a Unix socket. Postgres refuses to run as root, so root runs it as user `postgres`.

use crate::TempDir;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running cluster; stopped and removed with the value.
#[derive(Debug)]
pub struct PrivatePostgres {
    dir: TempDir,
    settings: Vec<String>,
    child: Option<Child>,
}

impl PrivatePostgres {
    /// Makes a cluster and waits until it answers.
    pub fn start() -> Self {
        Self::with(&["fsync=off"])
    }

    /// The same with these settings; unless they say otherwise, it is as durable as a production server.
    pub fn with(settings: &[&str]) -> Self {
        let dir = TempDir::new("pg");
        let mut postgres = Self { dir, settings: settings.iter().map(ToString::to_string).collect(), child: None };
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(postgres.dir.path()));
        }
        run(postgres
            .command("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(postgres.data()));
        postgres.start_again();
        postgres
    }

    /// As the superuser, who also owns the log.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }
    pub fn url_as(&self, user: &str) -> String {
        format!("host={} user={user} dbname=postgres", self.dir.path().display())
    }

    /// `kill -9` of the postmaster; its children notice and end, and this waits for that. Committed data stays.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let orphans = children_of(child.id());
        let _ = child.kill();
        let _ = child.wait();
        let deadline = Instant::now() + Duration::from_secs(10);
        // A number that was given to another process meanwhile only costs time.
        while orphans.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the cluster, after a kill.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if self.child.is_none() {
                self.child = Some(self.spawn());
            }
            let ready = self.command("pg_isready").args(["-q", "-h"]).arg(self.dir.path()).status();
            if ready.is_ok_and(|s| s.success()) {
                return;
            }
            // Right after a kill the old children may still hold the shared memory: then the postmaster gives up, and we try again.
            if self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_)))) {
                self.child = None;
            }
            assert!(Instant::now() < deadline, "Postgres did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the server said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.unwrap_or_else(|e| panic!("Postgres' log file: {e}"));
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path());
        for setting in ["listen_addresses=", "max_connections=60", "shared_buffers=32MB", "logging_collector=off"] {
            command.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap_or_else(|e| panic!("Postgres: {e}"))
    }

    /// A program of Postgres, which dies with this process.
    fn command(&self, program: &str) -> Command {
        let program = bin_dir().join(program);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        }
        command.arg(program).current_dir(self.dir.path());
        command
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// The processes whose parent this is.
fn children_of(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // "pid (name) state parent …", and the name may hold anything
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).and_then(|p| p.parse().ok()) == Some(parent)
    })
    .collect()
}

/// The newest installed version's programs.
fn bin_dir() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|dirs| dirs.flatten().map(|d| d.path().join("bin")).filter(|p| p.join("postgres").exists()).collect())
        .unwrap_or_default();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new("/usr/bin").into())
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
