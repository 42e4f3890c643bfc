//! Processes: starting them so that none outlives its cloud, finding and ending those that are ours.
//! **Invariant: no process is signalled unless its start time and boot show that it is the one that was written down.**

use crate::layout::{DATA_VARIABLE, Layout, write_private};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A process as it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub pid: u32,
    /// In clock ticks since boot, from /proc: tells a process from a later one of the same number.
    pub started: u64,
    /// /proc/sys/kernel/random/boot_id
    pub boot: String,
}

impl Record {
    pub fn of(name: &str, pid: u32) -> Option<Self> {
        Some(Self { name: name.into(), pid, started: started(pid)?, boot: boot() })
    }
    pub fn alive(&self) -> bool {
        self.boot == boot() && started(self.pid) == Some(self.started)
    }
    /// Sends a signal, if it still is this process.
    pub fn signal(&self, signal: i32) {
        if self.alive() {
            kill(self.pid, signal);
        }
    }
    /// Waits until it is gone.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.alive() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
    fn file(layout: &Layout, name: &str) -> PathBuf {
        layout.run().join("pids").join(format!("{name}.json"))
    }
    pub fn keep(&self, layout: &Layout) -> Result<()> {
        write_private(&Self::file(layout, &self.name), &serde_json::to_vec(self)?)
    }
    pub fn forget(layout: &Layout, name: &str) {
        let _ = fs::remove_file(Self::file(layout, name));
    }
    pub fn read(layout: &Layout, name: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::file(layout, name)).ok()?).ok()
    }
}

/// Every process of this cloud that still runs: those written down, and those that carry its data directory in their
/// environment (left over from a supervisor that was killed, or started by hand).
pub fn of_cloud(layout: &Layout) -> Vec<Record> {
    let noted = fs::read_dir(layout.run().join("pids")).into_iter().flatten().flatten();
    let noted = noted.filter_map(|f| serde_json::from_slice::<Record>(&fs::read(f.path()).ok()?).ok());
    let mut all: Vec<Record> = noted.filter(Record::alive).collect();
    let mark = [DATA_VARIABLE.as_bytes(), b"=", layout.data.as_os_str().as_encoded_bytes()].concat();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == std::process::id() || all.iter().any(|r| r.pid == pid) {
            continue;
        }
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|b| *b == 0).any(|variable| variable == mark) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            all.extend(Record::of(name.trim(), pid));
        }
    }
    // PostgreSQL writes over its environment, but works in its own directory.
    let postgres = layout.postgres();
    let postmaster = fs::read_to_string(postgres.join("postmaster.pid")).unwrap_or_default();
    if let Some(pid) = postmaster.lines().next().and_then(|line| line.trim().parse::<u32>().ok())
        && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == postgres)
        && !all.iter().any(|r| r.pid == pid)
    {
        all.extend(Record::of("postgres", pid));
    }
    all
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything: count from its end.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None; // dead, only not yet collected
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

/// The memory of a process and of its children (PostgreSQL has one a connection), in KiB.
pub fn memory_with_children(pid: u32) -> u64 {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = all.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|child| parent(*child) == Some(pid));
    memory(pid) + children.map(memory).sum::<u64>()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

/// What is a process's own or its share of what it shares (PSS), in KiB.
pub fn memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = text.lines().find_map(|l| l.strip_prefix("Pss:")).and_then(|l| l.trim().strip_suffix("kB"));
    pss.and_then(|kib| kib.trim().parse().ok()).unwrap_or_default()
}

/// Who a process shall run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    pub fn named(name: &str) -> Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd").context("can't read /etc/passwd")?;
        let fields = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name));
        let number = |i: usize| fields.as_ref().and_then(|f| f.get(i)).and_then(|n| n.parse().ok());
        match (number(2), number(3)) {
            (Some(uid), Some(gid)) => Ok(Self { uid, gid }),
            _ => anyhow::bail!("there is no user {name} on this machine: install PostgreSQL (apt-get install postgresql)"),
        }
    }
    pub fn am_root() -> bool {
        fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
    }
}

/// bytes
const LARGE_LOG: u64 = 16 << 20;
/// What is kept of one that grows larger while its process runs.
const KEPT_LOG: u64 = 8 << 20;

/// Keeps the logs of processes short that run for months, or that something makes say the same thing over and over.
pub fn shorten_logs(layout: &Layout) {
    for entry in fs::read_dir(layout.log_file("").parent().unwrap_or(&layout.data)).into_iter().flatten().flatten() {
        let log = entry.path();
        if log.extension().is_some_and(|e| e == "log")
            && let Err(e) = strata_compute::libvirt::shorten_to(&log, LARGE_LOG, KEPT_LOG)
        {
            tracing::warn!("can't shorten {}: {e}", log.display());
        }
    }
}

/// How the processes of a cloud are started: marked with its data directory, output into its log, and ended by the kernel
/// with `on_orphaned` when the supervisor dies, however it dies.
pub fn command(layout: &Layout, program: &Path, log: &str, on_orphaned: i32) -> Result<std::process::Command> {
    let file = layout.log_file(log);
    // A log is turned over when its process is started: the last run's end is kept, and no disk fills up over the years.
    if fs::metadata(&file).is_ok_and(|m| m.len() > LARGE_LOG) {
        let _ = fs::rename(&file, file.with_extension("log.1"));
    }
    let out = fs::OpenOptions::new().create(true).append(true).open(&file).with_context(|| format!("can't write {}", file.display()))?;
    let mut command = std::process::Command::new(program);
    command.env(DATA_VARIABLE, &layout.data).stdin(std::process::Stdio::null()).stderr(out.try_clone()?).stdout(out);
    // A signal sent to the supervisor's group (a terminal's ^C) is for the supervisor, which then stops the rest in order.
    command.process_group(0);
    die_with_parent(&mut command, on_orphaned);
    Ok(command)
}

/// Detaches from the terminal and the session that started it.
#[allow(unsafe_code)]
pub fn detach(command: &mut std::process::Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut std::process::Command, signal: i32) {
    let parent = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe and touch no memory.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if libc::getppid() as u32 != parent {
                return Err(std::io::Error::other("the supervisor has died"));
            }
            Ok(())
        });
    }
}

#[allow(unsafe_code)]
pub fn kill(pid: u32, signal: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    if pid > 1 {
        // SAFETY: kill touches no memory; the number is a single process, not a group.
        unsafe { libc::kill(pid, signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_of_one_process_only() {
        let me = Record::of("test", std::process::id()).expect("this process runs");
        assert!(me.alive());
        assert!(!Record { started: me.started + 1, ..me.clone() }.alive(), "a later process of the same number");
        assert!(!Record { boot: "another".into(), ..me }.alive(), "a process of an earlier boot");
    }

    #[test]
    fn a_log_that_grows_while_its_process_runs_is_shortened() {
        let layout = Layout::new(&std::env::temp_dir().join(format!("strata-logs-{}", std::process::id()))).expect("a path");
        layout.create().expect("directories");
        let mut talker = command(&layout, Path::new("sh"), "talker", libc::SIGTERM).expect("a command");
        // It says 17 MiB, and goes on when told.
        let script = "head -c 17825792 /dev/zero | tr '\\0' x; touch said; until [ -e go ]; do sleep 0.02; done; echo and on";
        let mut child = talker.args(["-c", script]).current_dir(&layout.data).spawn().expect("sh is everywhere");
        let until = Instant::now() + Duration::from_secs(20);
        while !layout.data.join("said").exists() {
            assert!(Instant::now() < until, "it says nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
        shorten_logs(&layout);
        fs::write(layout.data.join("go"), "").expect("written");
        child.wait().expect("it is our child");
        let said = fs::read(layout.log_file("talker")).expect("a log");
        assert!((KEPT_LOG..KEPT_LOG + (1 << 20)).contains(&(said.len() as u64)), "{}", said.len());
        assert!(said.ends_with(b"xand on\n") && !said.contains(&0), "nothing is lost at its end, and it has no hole");
        fs::remove_dir_all(&layout.data).expect("it was made above");
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
        let record = Record::of("sleep", child.id()).expect("it runs");
        record.signal(libc::SIGKILL);
        assert!(record.wait_gone(Duration::from_secs(5)));
        child.wait().expect("it is our child");
    }
}
