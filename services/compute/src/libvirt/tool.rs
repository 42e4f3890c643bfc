//! Tools that read what strangers made (qemu-img, genisoimage): run with limits on time, memory, CPU and files, without a
//! shell, and with their complaint as the error.

use crate::HypervisorError;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What qemu-img may use: enough for any honest image.
const ADDRESS_SPACE: u64 = 1 << 30;
const CPU_SECONDS: u64 = 30;
const LIMIT: Duration = Duration::from_secs(60);
/// Of its complaint, in bytes.
const COMPLAINT: usize = 400;

/// Runs a tool to its end.
pub async fn run(program: &str, arguments: &[&OsStr]) -> Result<(), HypervisorError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    limit(&mut command);
    let running = command.spawn().map_err(|e| HypervisorError::Failed(format!("The host can't run {program}: {e}.")))?;
    let done = tokio::time::timeout(LIMIT, running.wait_with_output()).await;
    let output = match done {
        Ok(output) => output.map_err(|e| HypervisorError::Unavailable(format!("{program}: {e}")))?,
        Err(_) => return Err(HypervisorError::Failed(format!("{program} took longer than {} s on the host.", LIMIT.as_secs()))),
    };
    if output.status.success() {
        return Ok(());
    }
    let mut complaint = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if complaint.contains("No space left on device") || complaint.contains("Disk quota exceeded") {
        return Err(super::images::full(program));
    }
    complaint.truncate(complaint.floor_char_boundary(COMPLAINT));
    Err(HypervisorError::Failed(format!("{program} failed on the host ({}): {complaint}", output.status)))
}

#[allow(unsafe_code)]
fn limit(command: &mut Command) {
    // SAFETY: setrlimit is async-signal-safe and reads only the value on its stack.
    unsafe {
        command.pre_exec(|| {
            let most = |resource, n| {
                let limit = libc::rlimit { rlim_cur: n, rlim_max: n };
                if libc::setrlimit(resource, &limit) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            most(libc::RLIMIT_AS, ADDRESS_SPACE)?;
            most(libc::RLIMIT_CPU, CPU_SECONDS)?;
            most(libc::RLIMIT_CORE, 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_that_fails_says_why() {
        assert_eq!(run("true", &[]).await, Ok(()));
        let Err(HypervisorError::Failed(why)) = run("ls", &["/nowhere at all".as_ref()]).await else { panic!("it should fail") };
        assert!(why.contains("/nowhere at all") && why.starts_with("ls failed"), "{why}");
        assert!(matches!(run("no-such-program-anywhere", &[]).await, Err(HypervisorError::Failed(_))));
    }
}
