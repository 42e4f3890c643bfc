//! The two programs that this data plane runs: `nft`, for one transaction at a time, and a `dnsmasq` for each network, which
//! outlives the worker. Invariant: a dnsmasq is known by its command line, which names its configuration by what is in it; so
//! none is taken for another's, and none is started anew that runs as it should.

use super::link::Changes;
use super::netns;
use crate::DataplaneError;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn command(program: &str) -> Command {
    let mut command = Command::new(find(program));
    command.env_clear().env("PATH", PATH).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Administrators' programs are not on everyone's path.
fn find(program: &str) -> PathBuf {
    PATH.split(':').map(|d| Path::new(d).join(program)).find(|p| p.exists()).unwrap_or_else(|| program.into())
}

/// How long a program may take: while it runs, every port of the host waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends a program that takes too long.
struct Watchdog {
    over: Sender<()>,
    bites: JoinHandle<bool>,
}

impl Watchdog {
    #[allow(unsafe_code)]
    fn of(child: &Child, patience: Duration) -> std::io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        if process < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and nobody else has it.
        let process = unsafe { OwnedFd::from_raw_fd(process as libc::c_int) };
        let (over, waits) = channel();
        let bites = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            if waits.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            // By its descriptor: its number may be another's by now.
            // SAFETY: no memory is involved, the signal's details may be null.
            unsafe {
                libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, std::ptr::null::<libc::siginfo_t>(), 0)
            };
            true
        })?;
        Ok(Self { over, bites })
    }
    /// Whether it had to end the program.
    fn bit(self) -> bool {
        drop(self.over);
        self.bites.join().unwrap_or(false)
    }
}

/// Runs a program with this input to its end, which must not be long in coming.
fn run(mut command: Command, input: &[u8], patience: Duration) -> std::io::Result<Output> {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let watchdog = Watchdog::of(&child, patience).inspect_err(|_| drop(child.kill()))?;
    let to = child.stdin.take();
    let (written, done) = std::thread::scope(|scope| {
        // Beside the reading: it may say more than a pipe holds before it has read all.
        let write = to.map(|mut to| scope.spawn(move || to.write_all(input)));
        let done = child.wait_with_output();
        let written = write.map_or(Ok(()), |write| write.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (written, done)
    });
    if watchdog.bit() {
        let program = command.get_program().to_string_lossy().into_owned();
        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{program} took over {patience:?} and was ended")));
    }
    let done = done?;
    // One that fails may have read no more; why it failed says more than that.
    if done.status.success() { written.map(|()| done) } else { Ok(done) }
}

fn not_run(program: &str, package: &str, e: &std::io::Error) -> DataplaneError {
    DataplaneError::Failed(match e.kind() {
        std::io::ErrorKind::NotFound => format!("{program} is not installed on this host: install the package {package}"),
        std::io::ErrorKind::TimedOut => return DataplaneError::Unavailable(e.to_string()),
        _ => format!("{program} can't be run: {e}"),
    })
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    if text.is_empty() { "it gave no reason".into() } else { text }
}

/// Without this part of the kernel the security groups' rules would load and see nothing. Blocks.
pub fn need_bridge_filter() -> Result<(), DataplaneError> {
    let there = || Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists();
    let mut modprobe = command("modprobe");
    modprobe.arg("br_netfilter");
    if there() || run(modprobe, &[], PATIENCE).is_ok() && there() {
        return Ok(());
    }
    Err(DataplaneError::Failed(
        "this host's kernel does not show bridged packets to the packet filter, so security groups can't be enforced: load the module br_netfilter".into(),
    ))
}

/// Loads a ruleset in one transaction. Blocks.
pub fn load_rules(text: &str, changes: &Changes) -> Result<(), DataplaneError> {
    changes.one();
    let mut nft = command("nft");
    nft.args(["-f", "-"]);
    let done = run(nft, text.as_bytes(), PATIENCE).map_err(|e| not_run("nft", "nftables", &e))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(DataplaneError::Failed(format!("the packet filter's rules can't be loaded: {}", last_words(&done.stderr)))),
    }
}

/// Both tables of a cloud as the kernel has them. One that is missing is no text, and a kernel that can't be asked an error.
/// Blocks.
pub fn list_tables(table: &str) -> Result<Vec<u8>, DataplaneError> {
    let mut all = vec![];
    // One after the other: asked for both at once, nft 1.0.6 finds neither.
    for family in ["bridge", "inet"] {
        let mut nft = command("nft");
        nft.args(["-s", "list", "table", family, table]);
        let done = run(nft, &[], PATIENCE).map_err(|e| not_run("nft", "nftables", &e))?;
        let missing = String::from_utf8_lossy(&done.stderr).contains("No such file");
        if !done.status.success() && !missing {
            return Err(DataplaneError::Unavailable(format!("the packet filter can't be listed: {}", last_words(&done.stderr))));
        }
        all.extend(done.stdout);
    }
    Ok(all)
}

/// What nft lists. Blocks.
pub fn list(what: &[&str]) -> Result<String, DataplaneError> {
    let mut nft = command("nft");
    nft.args(["-s", "list"]).args(what);
    let done = run(nft, &[], PATIENCE).map_err(|e| not_run("nft", "nftables", &e))?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The first argument of every dnsmasq that serves from a configuration in this directory.
fn prefix(directory: &Path) -> String {
    format!("--conf-file={}/dnsmasq-", directory.display())
}

/// A dnsmasq that runs, and which configuration it was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnsmasq {
    pub pid: u32,
    pub conf: PathBuf,
}

/// The configuration that a process serves from, if it is a dnsmasq of this directory.
fn serves(pid: u32, directory: &Path) -> Option<PathBuf> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    let argument = words.next()?;
    let ours = program.ends_with("dnsmasq") && argument.starts_with(&prefix(directory));
    ours.then(|| argument.trim_start_matches("--conf-file=").into())
}

/// Whether it runs still.
pub fn runs(process: &Dnsmasq, directory: &Path) -> bool {
    serves(process.pid, directory).as_ref() == Some(&process.conf)
}

/// Every dnsmasq that serves from this directory: one, unless something went wrong.
pub fn running(directory: &Path) -> Vec<Dnsmasq> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid| Some(Dnsmasq { pid, conf: serves(pid, directory)? })).collect()
}

/// Has it read hosts and options again.
#[allow(unsafe_code)]
pub fn reload(process: &Dnsmasq, changes: &Changes) {
    changes.one();
    // SAFETY: no memory is involved; that the process is ours was just read from its command line.
    unsafe { libc::kill(process.pid as libc::pid_t, libc::SIGHUP) };
}

/// Ends every dnsmasq of the directory, and waits until they are gone: their sockets are needed by the next. They keep nothing
/// that would be lost. Blocks.
#[allow(unsafe_code)]
pub fn stop(directory: &Path, changes: &Changes) -> Result<(), DataplaneError> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let left = running(directory);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(DataplaneError::Failed(format!("dnsmasq (process {}) does not end", left[0].pid)));
        }
        for process in left {
            changes.one();
            // SAFETY: as above.
            unsafe { libc::kill(process.pid as libc::pid_t, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a dnsmasq in a namespace. It detaches itself when it is ready, so that its refusal is heard. Blocks.
pub fn start(namespace: &Path, conf: &Path, changes: &Changes) -> Result<(), DataplaneError> {
    changes.one();
    let argument = format!("--conf-file={}", conf.display());
    let mut dnsmasq = command("dnsmasq");
    dnsmasq.arg(argument).stdout(Stdio::null());
    let done = netns::in_namespace(namespace, || run(dnsmasq, &[], PATIENCE))
        .map_err(|e| DataplaneError::Failed(format!("the namespace {} can't be entered: {e}", namespace.display())))?
        .map_err(|e| not_run("dnsmasq", "dnsmasq-base", &e))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(DataplaneError::Failed(format!("dnsmasq does not start: {}", last_words(&done.stderr)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut shell = command("sh");
        shell.args(["-c", line]);
        shell
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let begun = Instant::now();
        let patience = Duration::from_millis(100);
        // It neither reads what it is given, more than a pipe holds, nor ends.
        let endless = run(shell("exec sleep 60"), &[0; 200_000], patience).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert!(matches!(not_run("sh", "dash", &endless), DataplaneError::Unavailable(_)), "{endless}");
    }

    #[test]
    fn what_a_program_says_is_heard_whole() {
        let text = vec![b'x'; 300_000];
        let done = run(shell("cat; echo because >&2; exit 3"), &text, Duration::from_secs(30)).unwrap();
        assert_eq!((done.stdout.len(), &*done.stderr, done.status.code()), (300_000, &b"because\n"[..], Some(3)));
    }
}
