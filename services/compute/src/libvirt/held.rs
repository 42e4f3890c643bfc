//! Guests that QEMU stopped because the host could not take what they wrote: its disk is full, most likely. For their owners they
//! run; the operator is told, and they go on by themselves as soon as there is room. **Invariant: only a guest that QEMU
//! itself stopped is let go on, never one that somebody paused.**

use super::domain;
use super::home::Home;
use super::images::free_bytes;
use super::link::Link;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strata_events::{HostName, InstanceId};

/// With less than this, in bytes, a guest would stop again at once.
const ROOM: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(15);

/// See the module.
pub struct Held {
    link: Arc<Link>,
    host: HostName,
    instances: PathBuf,
    guests: Mutex<BTreeSet<InstanceId>>,
}

impl Held {
    pub fn new(link: Arc<Link>, host: HostName, instances: PathBuf) -> Self {
        Self { link, host, instances, guests: Mutex::default() }
    }

    fn guests(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of a guest.
    pub fn note(&self, id: &InstanceId, held: bool) {
        let news = if held { self.guests().insert(*id) } else { self.guests().remove(id) };
        if news && held {
            tracing::warn!(instance = %id, "stopped: the host can't take what it writes");
        } else if news {
            tracing::info!(instance = %id, "goes on");
        }
    }

    fn room(&self, id: &InstanceId) -> Option<u64> {
        free_bytes(Home::of(&self.instances, id).path()).ok()
    }

    /// For the operator.
    pub fn told(&self) -> Vec<String> {
        let guests = self.guests().clone();
        let why = |id: &InstanceId| match self.room(id) {
            Some(free) if free < ROOM => format!(
                "its host's disk is full ({} MiB are free under {}); make room, and it goes on by itself",
                free >> 20,
                self.instances.display()
            ),
            _ => format!("its disk under {} could not be written; it is let go on every few seconds", self.instances.display()),
        };
        guests.iter().map(|id| format!("server {id} stands still: {}", why(id))).collect()
    }

    /// Lets those go on for which there is room.
    pub async fn release(&self) {
        let guests = self.guests().clone();
        for id in guests.into_iter().filter(|id| self.room(id).is_none_or(|free| free >= ROOM)) {
            let host = self.host.clone();
            let released = self.link.call(LIMIT, move |connect| match domain::find(connect, &host, &id) {
                Ok(Some((domain, _))) => domain::release(&domain).map(Some),
                Ok(None) | Err(domain::Found::Foreign) => Ok(None),
                Err(domain::Found::Libvirt(e)) => Err(e),
            });
            match released.await {
                // Its going on is an event, and what is seen then is noted.
                Ok(Some(())) => {}
                Ok(None) => self.note(&id, false),
                Err(e) => tracing::warn!(instance = %id, error = %e, "can't be let go on"),
            }
        }
    }
}
