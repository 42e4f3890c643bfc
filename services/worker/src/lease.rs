//! The right to start things, which the conductor gives for a few seconds at a time. It counts from the moment of asking, so
//! however late the answer comes, the host stops before the conductor thinks that it has.

use crate::link::Link;
use std::time::Duration;
use strata_projections::report::{Lease as Granted, LeaseRequest, subject};
use tokio::sync::watch;
use tokio::time::Instant;

/// See the module.
pub(crate) struct Lease {
    until: watch::Sender<Option<Instant>>,
}
impl Default for Lease {
    fn default() -> Self {
        Self { until: watch::channel(None).0 }
    }
}

impl Lease {
    pub fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }
    pub fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }
    fn granted(&self, asked_at: Instant, granted: &Granted) {
        self.until.send_replace(Some(asked_at + Duration::from_millis(granted.millis)));
    }
}

/// Renews it for ever, three times in its length.
pub(crate) async fn keep(link: &Link, lease: &Lease) {
    let subject = subject(&link.host, "lease");
    let mut connected = link.connected.clone();
    let mut sequence = 0;
    loop {
        sequence += 1;
        connected.borrow_and_update();
        let body = serde_json::to_vec(&LeaseRequest { sequence, role: link.role }).unwrap_or_else(|e| unreachable!("plain data: {e}"));
        let asked_at = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(2), link.client.request(subject.clone(), body.into())).await;
        let granted = answer.ok().and_then(Result::ok).and_then(|m| serde_json::from_slice::<Granted>(&m.payload).ok());
        let pause = match granted {
            Some(granted) => {
                lease.granted(asked_at, &granted);
                Duration::from_millis(granted.millis / 3)
            }
            None => Duration::from_millis(500),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = connected.changed() => {}
        }
    }
}
