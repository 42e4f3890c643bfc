//! Buries what processes of ours leave behind when they end: QEMU and dnsmasq make themselves nobody's child, and then process 1
//! is to take note of their end. Some take a second or two for it, in containers some never do; libvirt waits for it whenever
//! a guest is ended. So the supervisor adopts them. **Invariant: a child that a keeper waits for is left to it.**

use std::collections::HashSet;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;

/// A child of our own session that nobody waited for in so long is nobody's: its parent ended before it.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Ends with this.
pub struct Reaper(AbortHandle);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reaper {
    /// From now on orphans of our descendants are ours (prctl(2), PR_SET_CHILD_SUBREAPER).
    #[allow(unsafe_code)]
    pub fn start() -> std::io::Result<Self> {
        let mut ended = signal(SignalKind::child())?;
        // SAFETY: takes a number, and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let task = tokio::spawn(async move {
            let mut waiting = HashSet::new();
            loop {
                tokio::select! {
                    _ = ended.recv() => drop(bury(&HashSet::new())),
                    () = tokio::time::sleep(FORGOTTEN) => waiting = bury(&waiting),
                }
            }
        });
        Ok(Self(task.abort_handle()))
    }
}

/// Buries ended children of other sessions, and the `forgotten`; gives the others.
fn bury(forgotten: &HashSet<i32>) -> HashSet<i32> {
    let me = std::process::id().cast_signed();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ended = processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let stat = Stat::read(&stat)?;
        (stat.parent == me && stat.ended).then_some((pid, stat.session))
    });
    let own = std::fs::read_to_string("/proc/self/stat").ok().and_then(|s| Stat::read(&s)).map(|s| s.session);
    let (orphans, others): (Vec<_>, Vec<_>) = ended.partition(|(pid, session)| Some(*session) != own || forgotten.contains(pid));
    for (pid, _) in orphans {
        wait(pid);
    }
    others.into_iter().map(|(pid, _)| pid).collect()
}

#[allow(unsafe_code)]
fn wait(pid: i32) {
    // SAFETY: the status is not asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

/// What matters here of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    parent: i32,
    session: i32,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name may hold anything, a parenthesis too.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Self { ended: state == "Z", parent, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_obstacle() {
        let read = Stat::read("77 (a) Z 1 (b) Z 5 6 7 0 -1");
        assert_eq!(read, Some(Stat { ended: true, parent: 5, session: 7 }));
        assert_eq!(Stat::read("77 (a) S 5 6 7"), Some(Stat { ended: false, parent: 5, session: 7 }));
        assert_eq!(Stat::read(""), None);
    }

    #[tokio::test]
    async fn orphans_are_buried_and_children_left_to_who_waits_for_them() {
        let _reaper = Reaper::start().expect("a reaper");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "setsid sh -c 'echo $$; exec 1>&-; sleep 3' &"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh is everywhere");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().expect("it is piped"), &mut said).expect("text");
        assert!(child.wait().expect("it is left to us").success());
        let orphan: i32 = said.trim().parse().expect("its id");
        let stat = std::fs::read_to_string(format!("/proc/{orphan}/stat")).expect("it runs");
        assert_eq!(Stat::read(&stat).map(|s| s.parent), Some(std::process::id().cast_signed()), "it was not adopted");
        for _ in 0..800 {
            if !std::path::Path::new(&format!("/proc/{orphan}")).exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(!std::path::Path::new(&format!("/proc/{orphan}")).exists(), "nobody buries it");
    }
}
