//! A machine to break: network, mount, process, IPC and UTS namespaces of its own. Its power can be cut like a real one's: with
//! its first process everything that runs in it ends, and its taps, bridges, namespaces and mounts are gone; only files stay.
//!
//! Nothing is left when the tests end, even by kill -9: the first process ends with the input that the tests hold open.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the machine's first process does: mounts of its own, loopback, then wait. (bash, because it reaps orphans.)
const INIT: &str = r#"
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mkdir -p /run/netns /run/lock
hostname "$1"
ip link set lo up
echo ready
read -r _
"#;
/// Ends when the first process does; unless the power was only cut for now, nothing of the machine is left then.
const KEEPER: &str = r#"
trap '' INT
unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc bash -c "$1" init "$2" <&0 &
echo $!
wait $! || rm -rf "$3"
"#;

pub struct Machine {
    /// Its files.
    pub dir: PathBuf,
    pub name: String,
    running: Option<Running>,
}

struct Running {
    keeper: Child,
    input: ChildStdin,
    /// Its first process, as the tests' process sees it.
    init: u32,
}

impl Machine {
    pub fn start() -> Self {
        assert!(is_root(), "real guests need root: namespaces, taps, libvirt");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("strata-g-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&dir).expect("a directory for the machine");
        let mut machine = Self { dir, name, running: None };
        machine.power_on();
        machine
    }

    pub fn power_on(&mut self) {
        let mut keeper = Command::new("bash");
        keeper.args(["-c", KEEPER, "keeper", INIT, &self.name]).arg(&self.dir);
        // In a group of its own, so that a terminal's ^C doesn't end it before its work.
        std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash is there");
        let input = keeper.stdin.take().expect("it was piped");
        let mut lines = BufReader::new(keeper.stdout.take().expect("it was piped")).lines();
        let mut line = || lines.next().expect("the machine starts").expect("it says so");
        let unshare = line();
        assert_eq!(line(), "ready");
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).expect("the kernel lists children");
        let init = children.split_whitespace().next().and_then(|p| p.parse().ok()).expect("unshare has a child");
        self.running = Some(Running { keeper, input, init });
    }

    /// A wire to another machine, with an address at this end and at that.
    pub fn wire(&self, to: &Machine, here: &str, there: &str) {
        let init = |m: &Machine| m.running.as_ref().expect("the machine is on").init.to_string();
        let name = format!("w{}", init(self));
        let mut add = Command::new("nsenter");
        add.arg(format!("--net=/proc/{}/ns/net", init(self)))
            .args(["ip", "link", "add", &name, "type", "veth", "peer", "name", &name, "netns"]);
        let done = add.arg(init(to)).output().expect("nsenter is there");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for (machine, address) in [(self, here), (to, there)] {
            machine.sh(&format!("ip addr add {address} dev {name}; ip link set {name} up"));
        }
    }

    /// Everything that runs in it ends at once; its files stay.
    pub fn cut_power(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.input.write_all(b"off\n").expect("the machine is on");
        running.keeper.wait().expect("it ends");
    }

    /// A command that will run on this machine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let init = self.running.as_ref().expect("the machine is on").init;
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--uts", "--ipc", "--pid", "--target"]).arg(init.to_string()).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line of shell; its output, whatever came of it.
    pub fn try_sh(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().expect("nsenter is there")
    }

    /// The same, which must succeed; what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let done = self.try_sh(script);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{script}: {}\n{text}{}", done.status, String::from_utf8_lossy(&done.stderr));
        text.trim_end().to_string()
    }

    /// From now on the calling thread's network is the machine's, so that what it connects to is there.
    #[allow(unsafe_code)]
    pub fn enter(&self) {
        let init = self.running.as_ref().expect("the machine is on").init;
        let namespace = std::fs::File::open(format!("/proc/{init}/ns/net")).expect("the machine has a network");
        // SAFETY: a plain system call on a descriptor that lives until it returns.
        let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(done, 0, "setns: {}", std::io::Error::last_os_error());
    }

    /// The processes on the machine whose command line holds this, by the numbers that they have there.
    pub fn pids(&self, holds: &str) -> Vec<u32> {
        self.processes().into_iter().filter(|(_, line)| line.contains(holds)).map(|(pid, _)| pid).collect()
    }

    /// Every process on the machine, with its command line.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let script =
            r#"for p in /proc/[0-9]*; do [ -r $p/cmdline ] && echo "${p#/proc/} $(tr '\0' ' ' < $p/cmdline)"; done 2> /dev/null; true"#;
        let listed = self.sh(script);
        let lines =
            listed.lines().filter_map(|l| l.split_once(' ')).filter_map(|(pid, line)| Some((pid.parse().ok()?, line.trim().into())));
        lines.filter(|(_, line): &(u32, String)| !line.is_empty() && !line.contains("/proc/[0-9]*")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        match self.running.take() {
            Some(mut running) => {
                drop(running.input);
                let _ = running.keeper.wait();
            }
            None => remove(&self.dir),
        }
    }
}

fn remove(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}

#[allow(unsafe_code)]
fn is_root() -> bool {
    // SAFETY: it reads a number of this process.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn a_machine_leaves_nothing() {
    let mut machine = Machine::start();
    machine.sh("ip netns add there && ip link add br-there type bridge && echo kept > /run/gone");
    machine.sh("setsid sleep 300 > /dev/null 2>&1 &");
    assert_eq!(machine.pids("sleep 300").len(), 1);
    std::fs::write(machine.dir.join("file"), "stays").unwrap();
    machine.cut_power();
    machine.power_on();
    assert_eq!(machine.pids("sleep 300"), Vec::<u32>::new());
    assert_eq!(machine.sh("ip -o link | wc -l; ls /run/netns"), "1");
    assert_eq!(std::fs::read_to_string(machine.dir.join("file")).unwrap(), "stays");
    let dir = machine.dir.clone();
    drop(machine);
    assert!(!dir.exists(), "{} is left", dir.display());
}
