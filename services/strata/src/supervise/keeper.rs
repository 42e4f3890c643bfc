//! Keeps one process running: when it ends without being told, it is started again, ever more slowly while it keeps dying.

use crate::layout::Layout;
use crate::process::{Record, kill};
use anyhow::{Context, Result};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One that ran this long is taken to be healthy: its next death is the first.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long a process may take to end when told.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Keeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts the process, and from then on again whenever it ends. `stop_signal` is what ends it in good order.
    pub fn start(layout: &Layout, name: &str, stop_signal: i32, command: impl Fn() -> Result<Command> + 'static) -> Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let mut child = spawn(layout, name, &command)?;
        let (layout, name) = (layout.clone(), name.to_string());
        let task = tokio::task::spawn_local(async move {
            let mut pause = SHORTEST_PAUSE;
            loop {
                let begun = Instant::now();
                tokio::select! {
                    ended = child.wait() => tracing::warn!("{name} ended by itself ({}); starting it again", told(ended)),
                    _ = &mut stopped => return end(&layout, &name, stop_signal, child).await,
                }
                if begun.elapsed() > HEALTHY {
                    pause = SHORTEST_PAUSE;
                }
                child = loop {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {},
                        _ = &mut stopped => return Record::forget(&layout, &name),
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    match spawn(&layout, &name, &command) {
                        Ok(child) => break child,
                        Err(e) => tracing::error!("{name} can't be started: {e:#}"),
                    }
                };
            }
        });
        Ok(Self { stop, task })
    }

    /// Ends the process and waits until it is gone.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

fn spawn(layout: &Layout, name: &str, command: &impl Fn() -> Result<Command>) -> Result<Child> {
    let child = tokio::process::Command::from(command()?).spawn().with_context(|| format!("can't start {name}"))?;
    // Without it (the disk is full) the process is found by its mark: nothing to end it for, let alone to start a second one.
    if let Some(record) = child.id().and_then(|pid| Record::of(name, pid))
        && let Err(e) = record.keep(layout)
    {
        tracing::warn!("{name} runs, but can't be written down: {e:#}");
    }
    Ok(child)
}

fn told(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|e| e.to_string(), |status| status.to_string())
}

async fn end(layout: &Layout, name: &str, signal: i32, mut child: Child) {
    if let Some(pid) = child.id() {
        kill(pid, signal);
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            tracing::warn!("{name} does not end when told; killing it");
            let _ = child.kill().await;
        }
    }
    Record::forget(layout, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[tokio::test]
    async fn a_process_that_can_not_be_written_down_is_one_process_all_the_same() {
        let data = std::env::temp_dir().join(format!("strata-keeper-{}", std::process::id()));
        let layout = Layout::new(&data).expect("a path");
        layout.create().expect("directories");
        // As on a full disk.
        std::fs::remove_dir(layout.run().join("pids")).expect("it is empty");
        std::fs::write(layout.run().join("pids"), "").expect("written");
        let spec = layout.clone();
        let sleep = move || {
            let mut command = process::command(&spec, std::path::Path::new("sleep"), "test", libc::SIGTERM)?;
            command.arg("300");
            Ok(command)
        };
        tokio::task::LocalSet::new()
            .run_until(async {
                let keeper = Keeper::start(&layout, "test", libc::SIGTERM, sleep).expect("it runs");
                let first = process::of_cloud(&layout);
                assert_eq!(first.len(), 1, "{first:?}");
                first[0].signal(libc::SIGKILL);
                let until = Instant::now() + Duration::from_secs(10);
                while process::of_cloud(&layout).iter().all(|r| r.pid == first[0].pid) {
                    assert!(Instant::now() < until, "it is not started again");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // Several pauses later there still is one.
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(process::of_cloud(&layout).len(), 1);
                keeper.stop().await;
                assert_eq!(process::of_cloud(&layout), []);
            })
            .await;
        std::fs::remove_dir_all(&data).expect("it was made above");
    }
}
