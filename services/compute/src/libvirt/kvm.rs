//! Whether guests run with KVM here. Capability lists lie on some machines (a nested or paravirtual /dev/kvm that firmware
//! survives and Linux does not), so a Linux kernel has to run: the host's own, which without a root file system ends in a
//! panic of its own making within a second or two. Where no kernel is at hand KVM is used only if the processor's own module drives it.
//! The answer is kept for as long as the machine is not booted anew and QEMU is not changed; where there was none in time (a busy
//! machine, perhaps), the next start of the worker asks again.

use super::home::write;
use super::xml::Accelerator;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtType {
    #[default]
    Auto,
    Kvm,
    /// Software only.
    Qemu,
}

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";
/// A guest that did not get that far is not run well by this KVM.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a kernel says once it has brought itself up: it then misses a root file system.
const ALIVE: [&str; 2] = ["VFS: ", "Run /init"];

#[derive(PartialEq, Serialize, Deserialize)]
struct Known {
    boot: String,
    emulator: (u64, i64),
    answer: Accelerator,
}

/// Finds out once; `state` is where the answer is kept.
pub async fn choose(wanted: VirtType, state: &Path) -> Accelerator {
    match wanted {
        VirtType::Kvm => return Accelerator::Kvm,
        VirtType::Qemu => return Accelerator::Qemu,
        VirtType::Auto => {}
    }
    if !Path::new("/dev/kvm").exists() {
        return Accelerator::Qemu;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let emulator = std::fs::metadata(EMULATOR).map_or((0, 0), |m| (m.ino(), m.mtime()));
    let file = state.join("accelerator.json");
    let known: Option<Known> = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
    if let Some(known) = known.filter(|k| k.boot == boot && k.emulator == emulator) {
        return known.answer;
    }
    let answer = match kernel() {
        Some(kernel) => {
            let Some(boots) = boots(&kernel).await else {
                tracing::warn!(kernel = %kernel.display(), "a probe guest with this machine's KVM says nothing in time; for now guests run in software");
                return Accelerator::Qemu;
            };
            if boots {
                Accelerator::Kvm
            } else {
                tracing::warn!(kernel = %kernel.display(), "a probe guest does not run with this machine's KVM; guests run in software");
                Accelerator::Qemu
            }
        }
        None if ["kvm_intel", "kvm_amd"].iter().any(|m| Path::new("/sys/module").join(m).exists()) => Accelerator::Kvm,
        None => {
            tracing::warn!("this machine's KVM is of an unknown kind and there is no kernel to try it with; guests run in software");
            Accelerator::Qemu
        }
    };
    if let Ok(json) = serde_json::to_vec(&Known { boot, emulator, answer })
        && let Err(e) = write(&file, &json)
    {
        tracing::warn!(error = %e, "can't keep what was found out about KVM");
    }
    answer
}

/// The newest kernel that the host boots itself.
fn kernel() -> Option<PathBuf> {
    let files = std::fs::read_dir("/boot").ok()?.flatten().map(|e| e.path());
    let mut kernels: Vec<PathBuf> =
        files.filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("vmlinuz"))).collect();
    kernels.sort();
    kernels.pop()
}

/// None: it takes too long to say.
async fn boots(kernel: &Path) -> Option<bool> {
    let mut command = tokio::process::Command::new(EMULATOR);
    command
        .args(["-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-no-reboot", "-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let Ok(child) = command.spawn() else { return Some(false) };
    match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stdout);
            Some(ALIVE.iter().any(|word| said.contains(word)))
        }
        Ok(Err(_)) => Some(false),
        Err(_) => None,
    }
}
