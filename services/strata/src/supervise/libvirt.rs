//! A private libvirtd: Debian's monolithic one, in a mount namespace in which libvirt's directories are this cloud's own, so
//! that several clouds (and the machine's own libvirt) run side by side. Its guests are nobody's children: they outlive it and
//! the supervisor, and the next libvirtd finds them again by what lies under `DATA/host/libvirt`.
//! **Invariants: nothing outside the data directory is changed; the host's UUID stays; a guest carries no mark by which a
//! cloud's processes are ended.**

use crate::layout::{Layout, Settings, dir, write_private};
use crate::process::{self, User};
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Our directory, and what it stands in for.
const DIRECTORIES: [(&str, &str); 5] = [
    ("etc", "/etc/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
    ("run", "/run/libvirt"),
];
/// What QEMU can do takes libvirt some eight seconds to find out; it is kept here, and may have been found out before by the
/// machine's own libvirt. Each file says for which QEMU and kernel it holds.
const CAPABILITIES: &str = "qemu/capabilities";
/// libvirt tries every emulator that it finds before it answers anyone. This one no guest of ours runs in, and trying it takes
/// half of the time.
const NEEDLESS: &str = "/usr/bin/qemu-system-i386";

fn home(layout: &Layout) -> PathBuf {
    layout.host().join("libvirt")
}

/// Where clients reach it.
fn socket(layout: &Layout) -> PathBuf {
    let near = home(layout).join("run/libvirt-sock");
    if near.as_os_str().len() < crate::layout::SOCKET_PATH_LIMIT { near } else { detour(layout).join("libvirt-sock") }
}

/// A short name for the directory of the socket, when its own is too long for one.
fn detour(layout: &Layout) -> PathBuf {
    layout.socket_dir().join("libvirt")
}

pub fn uri(layout: &Layout, _settings: &Settings) -> String {
    format!("qemu+unix:///system?socket={}", socket(layout).display())
}

/// How it is started. It must run where the network worker makes the taps.
pub fn command(layout: &Layout, _settings: &Settings) -> Result<std::process::Command> {
    if !User::am_root() {
        bail!("only root can run guests: start Strata as root, or with --simulated N for hosts without a hypervisor");
    }
    let program = program().context("libvirtd is not installed: apt-get install libvirt-daemon-system qemu-system-x86")?;
    prepare(layout)?;
    let mut command = process::command(layout, &program, "libvirt", libc::SIGTERM)?;
    // Its other default, /run/libvirtd.pid, would be shared with every libvirtd of the machine.
    command.args(["--pid-file", "/run/libvirt/libvirtd.pid"]).current_dir("/");
    let own = DIRECTORIES.map(|(ours, over)| (home(layout).join(ours), over));
    let hidden = Path::new(NEEDLESS).exists().then(|| (PathBuf::from("/dev/null"), NEEDLESS));
    let mounts = own.into_iter().chain(hidden).map(|(ours, over)| Ok((c_path(&ours)?, c_path(Path::new(over))?)));
    in_own_mounts(&mut command, mounts.collect::<Result<_>>()?);
    Ok(command)
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join("libvirtd")).find(|p| p.exists())
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).with_context(|| format!("{} can't be a path", path.display()))
}

/// Directories and configuration.
fn prepare(layout: &Layout) -> Result<()> {
    let home = home(layout);
    dir(&layout.host(), 0o711)?;
    dir(&home, 0o711)?;
    forget_earlier_boot(&home)?;
    for (ours, over) in DIRECTORIES {
        fs::create_dir_all(home.join(ours)).with_context(|| format!("can't create {}", home.join(ours).display()))?;
        fs::create_dir_all(over).with_context(|| format!("can't create {over}"))?;
    }
    seed(&Path::new("/var/cache/libvirt").join(CAPABILITIES), &home.join("cache").join(CAPABILITIES));
    let uuid = host_uuid(&home)?;
    let daemon = format!(
        "# Written by strata at each start.\nhost_uuid = \"{uuid}\"\n\
         listen_tls = 0\nlisten_tcp = 0\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nunix_sock_ro_perms = \"0700\"\nunix_sock_rw_perms = \"0700\"\n\
         # One client, the compute worker, asks many things at once.\nmax_client_requests = 40\nmin_workers = 3\nmax_workers = 40\n\
         log_outputs = \"3:stderr\"\n"
    );
    // security: there is neither SELinux nor AppArmor everywhere; cgroups, namespaces, ownership: without systemd nobody
    // delegates them, and QEMU runs as the user that its files belong to; stdio: there is no virtlogd.
    let qemu = "# Written by strata at each start.\nsecurity_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\n\
         remember_owner = 0\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\nmax_core = 0\nset_process_name = 1\n";
    for (file, text) in [("libvirtd.conf", daemon.as_str()), ("qemu.conf", qemu)] {
        let file = home.join("etc").join(file);
        if fs::read_to_string(&file).ok().as_deref() != Some(text) {
            write_private(&file, text.as_bytes())?;
        }
    }
    let near = home.join("run");
    if !socket(layout).starts_with(&near) {
        let link = detour(layout);
        layout.make_socket_dir()?;
        if fs::read_link(&link).ok().as_ref() != Some(&near) {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&near, &link).with_context(|| format!("can't make {}", link.display()))?;
        }
    }
    Ok(())
}

/// What libvirt writes into /run is of this boot only: it names processes by their numbers, which others have after the next.
fn forget_earlier_boot(home: &Path) -> Result<()> {
    let file = home.join("boot-id");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known = fs::read_to_string(&file).ok();
    if known.as_ref() == Some(&boot) {
        return Ok(());
    }
    let run = home.join("run");
    if known.is_some() && run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("can't remove {}", run.display()))?;
    }
    write_private(&file, boot.as_bytes())
}

/// Two hosts of one UUID could not migrate guests to each other.
fn host_uuid(home: &Path) -> Result<uuid::Uuid> {
    let file = home.join("host-uuid");
    if let Some(known) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(known);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the kernel gives no random bytes: {e}"))?;
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    write_private(&file, uuid.to_string().as_bytes())?;
    Ok(uuid)
}

/// Copies what is not there yet. It only saves time: what goes wrong is made good by libvirt.
fn seed(from: &Path, to: &Path) {
    if fs::create_dir_all(to).is_err() {
        return;
    }
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let copy = to.join(entry.file_name());
        if !copy.exists() {
            let _ = fs::copy(entry.path(), copy);
        }
    }
}

/// Mounts our directories over libvirt's, for the process and its guests only. What the machine mounts later arrives there too.
#[allow(unsafe_code)]
fn in_own_mounts(command: &mut std::process::Command, mounts: Vec<(CString, CString)>) {
    // SAFETY: unshare and mount are plain system calls; every string was made before the fork, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let check = |outcome: libc::c_int| if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
            let (nothing, none) = (std::ptr::null(), std::ptr::null());
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_SLAVE, none))?;
            for (ours, over) in &mounts {
                check(libc::mount(ours.as_ptr(), over.as_ptr(), nothing, libc::MS_BIND, none))?;
            }
            Ok(())
        });
    }
}

/// Waits until it takes connections. What QEMU can do it may be finding out still; callers then wait for their answers.
pub async fn ready(layout: &Layout, _settings: &Settings) -> Result<()> {
    let socket = socket(layout);
    for _ in 0..400 {
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("libvirtd does not answer at {} (its log: {})", socket.display(), layout.log_file("libvirt").display())
}

/// A libvirtd for as long as something is done with guests of a cloud that is down; none where one answers already.
pub async fn for_now(layout: &Layout, settings: &Settings) -> Result<Option<tokio::process::Child>> {
    if settings.libvirt_uri.is_some() || tokio::net::UnixStream::connect(socket(layout)).await.is_ok() {
        return Ok(None);
    }
    let child = tokio::process::Command::from(command(layout, settings)?).kill_on_drop(true).spawn().context("can't start libvirtd")?;
    ready(layout, settings).await?;
    Ok(Some(child))
}

/// Ends it again.
pub async fn end(mut libvirt: tokio::process::Child) {
    libvirt.id().into_iter().for_each(|pid| process::kill(pid, libc::SIGTERM));
    if tokio::time::timeout(Duration::from_secs(10), libvirt.wait()).await.is_err() {
        let _ = libvirt.kill().await;
    }
}

/// Guests that run under this cloud's libvirt, by process.
pub fn guests(layout: &Layout) -> Vec<process::Record> {
    let files = fs::read_dir(home(layout).join("run/qemu")).into_iter().flatten().flatten().map(|e| e.path());
    let pid_files = files.filter(|p| p.extension().is_some_and(|e| e == "pid"));
    pid_files
        .filter_map(|file| {
            let name = file.file_stem()?.to_str().filter(|n| n.starts_with("instance-"))?;
            let pid: u32 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
            // A file may outlive its process, and a number find another one.
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let is_it = arguments.split(|b| *b == 0).any(|a| a.starts_with(format!("guest={name}").as_bytes()));
            is_it.then(|| process::Record::of(name, pid)).flatten()
        })
        .collect()
}

/// Ends every guest as if the power failed.
pub fn end_guests(layout: &Layout) {
    let guests = guests(layout);
    guests.iter().for_each(|g| g.signal(libc::SIGTERM));
    for guest in &guests {
        if !guest.wait_gone(Duration::from_secs(5)) {
            guest.signal(libc::SIGKILL);
            guest.wait_gone(Duration::from_secs(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_data_directory_has_a_short_socket() {
        let near = Layout { data: "/var/lib/strata".into() };
        assert_eq!(uri(&near, &Settings::default()), "qemu+unix:///system?socket=/var/lib/strata/host/libvirt/run/libvirt-sock");
        let deep = Layout { data: format!("/{}", "deep/".repeat(30)).into() };
        assert!(socket(&deep).as_os_str().len() < 80, "{:?}", socket(&deep));
    }

    #[test]
    fn what_was_of_an_earlier_boot_is_forgotten() {
        let home = std::env::temp_dir().join(format!("strata-boots-{}", std::process::id()));
        fs::create_dir_all(home.join("run")).expect("made");
        fs::write(home.join("run/guest.pid"), "1").expect("written");
        forget_earlier_boot(&home).expect("the first start");
        forget_earlier_boot(&home).expect("the same boot");
        assert!(home.join("run").exists());
        fs::write(home.join("boot-id"), "another").expect("written");
        forget_earlier_boot(&home).expect("the first start after it");
        assert!(!home.join("run").exists());
        fs::remove_dir_all(&home).expect("it was made above");
    }

    #[tokio::test]
    async fn it_answers_in_its_own_directories_and_twice_beside_each_other() {
        if !User::am_root() || program().is_none() {
            return eprintln!("needs root and libvirtd: not run");
        }
        let data = std::env::temp_dir().join(format!("strata-libvirtd-{}", std::process::id()));
        let clouds: Vec<Layout> = ["a", "b"].iter().map(|name| Layout::new(&data.join(name)).expect("a path")).collect();
        let settings = Settings::default();
        let mut running = vec![];
        for cloud in &clouds {
            cloud.create().expect("directories");
            running.push(command(cloud, &settings).expect("a command").spawn().expect("it starts"));
        }
        let mut outcome = vec![];
        for cloud in &clouds {
            outcome.push(ready(cloud, &settings).await);
        }
        for child in &mut running {
            process::kill(child.id(), libc::SIGTERM);
        }
        for child in &mut running {
            let ended = child.wait().expect("it is ours");
            assert!(ended.success(), "{ended}");
        }
        outcome.into_iter().for_each(|o| o.expect("it answers"));
        let uuids: Vec<_> = clouds.iter().map(|c| host_uuid(&home(c)).expect("kept")).collect();
        assert!(uuids[0] != uuids[1] && uuids[0] == host_uuid(&home(&clouds[0])).expect("kept"));
        assert!(!Path::new("/etc/libvirt/libvirtd.conf").is_symlink() && guests(&clouds[0]).is_empty());
        fs::remove_dir_all(&data).expect("it was made above");
    }
}
