//! A nats-server of one's own with JetStream, on a loopback port, which admits only what its own authority signed.

use crate::TempDir;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strata_credentials::{AccountKey, Paths};

/// A running server; stopped and removed with the value.
#[derive(Debug)]
pub struct PrivateNats {
    dir: TempDir,
    paths: Paths,
    port: u16,
    child: Option<Child>,
}

impl PrivateNats {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        let dir = TempDir::new("nats");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap_or_else(|e| panic!("a port: {e}")).port();
        let paths = strata_credentials::write(dir.path(), port, &dir.path().join("jetstream")).unwrap_or_else(|e| panic!("{e}"));
        let mut nats = Self { dir, paths, port, child: None };
        nats.start_again();
        nats
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
    /// The text of the control plane's `.creds` file.
    pub fn control_plane(&self) -> String {
        read(&self.paths.control_plane)
    }
    /// The key that signs permits for hosts.
    pub fn account(&self) -> AccountKey {
        AccountKey::from_seed(&read(&self.paths.account_key)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// `kill -9`. What was stored stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    /// Loses all that was stored. The server must not run.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "kill the server first");
        self.remove_store();
    }
    /// Takes the store away from under the running server, as someone who clears the wrong directory does.
    pub fn remove_store(&self) {
        let _ = std::fs::remove_dir_all(self.dir.path().join("jetstream"));
    }
    /// Starts the server, after a kill.
    pub fn start_again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.unwrap_or_else(|e| panic!("the log file of NATS: {e}"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nats-server", "-c"]).arg(&self.paths.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("nats-server: {e}")));
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// Has the running server refuse these keys, as a cloud does with those of removed hosts.
    pub fn revoke(&self, keys: &[&str]) {
        let dir = self.dir.path();
        strata_credentials::revoke(dir, &keys.iter().map(|k| k.to_string()).collect()).unwrap_or_else(|e| panic!("{e}"));
        strata_credentials::write(dir, self.port, &dir.join("jetstream")).unwrap_or_else(|e| panic!("{e}"));
        let pid = self.child.as_ref().map(Child::id).unwrap_or_else(|| panic!("the server does not run"));
        let told = Command::new("kill").args(["-HUP", &pid.to_string()]).status();
        assert!(told.is_ok_and(|s| s.success()), "the server can't be told");
    }
    /// What the server said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PrivateNats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
