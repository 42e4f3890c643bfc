//! What a network's namespace is for: the dnsmasq in it, told what the ports here need, and no more of it once none is left.

use super::{Host, Outcome, blocking, digest};
use crate::DataplaneError;
use crate::linux::link::Kind;
use crate::linux::state::NetworkState;
use crate::linux::wanted::{self, Inside};
use crate::linux::{dhcp, names, netns, process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strata_events::NetworkId;
use strata_projections::plan::port::PlannedPlug;

impl Host {
    /// Whether dnsmasq runs where it shall, with what it shall know.
    pub(super) fn is_served(&self, id: &NetworkId) -> bool {
        let (Some(view), Some(network)) = (self.view(id), self.networks.get(id)) else { return false };
        if !wanted::is_served(view) {
            return network.dnsmasq.is_none();
        }
        let Some(inside) = self.reality.as_ref().and_then(|r| r.inside.get(id)) else { return false };
        let (files, conf) = self.dhcp(id, view, inside);
        let current = network.dnsmasq.as_ref().is_some_and(|d| d.conf == conf);
        current && network.state.read == digest_of(&files) && stand(&self.state.network(id), &files)
    }

    /// What dnsmasq is told. The place where it listens is part of it: one that was started in a namespace or on a device that is
    /// there no more still runs, and serves nobody.
    fn dhcp(&self, id: &NetworkId, view: &PlannedPlug, inside: &Inside) -> (dhcp::Files, PathBuf) {
        let directory = self.state.network(id);
        let ports = self.ports.iter().map(|(id, p)| (id, &p.plug)).filter(|(_, p)| p.network == *id);
        let mut files = dhcp::files(id, view, ports, &directory);
        let device = inside.links.get(&names::namespace_end(id)).map_or(0, |link| link.index);
        let (of, namespace) = inside.namespace.unwrap_or_default();
        files.conf.push_str(&format!("# for namespace {of}:{namespace}, device {device}\n"));
        let conf = directory.join(format!("dnsmasq-{}.conf", &digest(files.conf.as_bytes())[..12]));
        (files, conf)
    }

    /// Brings a network's dnsmasq to what the ports here need.
    pub(super) async fn serve(&mut self, id: &NetworkId) -> Outcome<()> {
        let inside = self.look_inside(id).await?;
        let Some(view) = self.view(id) else { return Ok(()) };
        let directory = self.state.network(id);
        if !wanted::is_served(view) {
            return self.stop(id).await;
        }
        let (files, conf) = self.dhcp(id, view, &inside);
        let read = digest_of(&files);
        let whole = stand(&directory, &files);
        let Some(network) = self.networks.get_mut(id) else { return Ok(()) };
        self.state.write(&conf, files.conf.as_bytes())?;
        self.state.write(&directory.join("hosts"), files.hosts.as_bytes())?;
        self.state.write(&directory.join("options"), files.options.as_bytes())?;
        let running = process::running(&directory);
        let begin_anew = dhcp::has_to_forget(&network.state.leases, &files.leases);
        let mut state = network.state.clone();
        match &running[..] {
            [one] if one.conf == conf && !begin_anew => {
                if state.read != read || !whole {
                    process::reload(one, &self.changes);
                }
                network.dnsmasq = Some(one.clone());
                state.leases.extend(&files.leases);
            }
            _ => {
                let namespace = names::namespace(&self.config.netns_dir, id);
                let (changes, at, conf) = (self.changes.clone(), directory.clone(), conf.clone());
                let started = blocking(move || {
                    process::stop(&at, &changes)?;
                    process::start(&namespace, &conf, &changes)?;
                    Ok(process::running(&at))
                });
                network.dnsmasq = started.await?.into_iter().next();
                state.leases = files.leases;
            }
        }
        state.read = read;
        self.judge_anew();
        let Some(network) = self.networks.get_mut(id) else { return Ok(()) };
        if state != network.state {
            network.state = state;
            self.state.put_network(id, &network.state)?;
        }
        self.without_old(id, Some(&conf))
    }

    /// Configurations from before.
    fn without_old(&self, id: &NetworkId, but: Option<&PathBuf>) -> Outcome<()> {
        let entries = std::fs::read_dir(self.state.network(id)).into_iter().flatten().flatten().map(|e| e.path());
        let old = |p: &PathBuf| p.extension().is_some_and(|e| e == "conf") && Some(p) != but;
        entries.filter(old).try_for_each(|p| self.state.remove(&p))
    }

    /// Ends a network's dnsmasq and removes its namespace.
    pub(super) async fn stop(&mut self, id: &NetworkId) -> Outcome<()> {
        let directory = self.state.network(id);
        let changes = self.changes.clone();
        blocking(move || process::stop(&directory, &changes)).await?;
        if let Some(network) = self.networks.get_mut(id) {
            network.dnsmasq = None;
            if let Some((_, _, watch)) = network.inside.take() {
                watch.abort();
            }
            if network.state.read != String::new() {
                network.state = NetworkState { zone: network.state.zone, leases: BTreeMap::new(), read: String::new() };
                self.state.put_network(id, &network.state)?;
            }
        }
        self.without_old(id, None)?;
        let near = names::host_end(id);
        if let Some(link) = self.root.links().await?.get(&near).filter(|l| l.kind == Kind::Veth) {
            self.root.delete(&near, link.index).await?;
        }
        let path = names::namespace(&self.config.netns_dir, id);
        if path.exists() {
            self.changes.one();
            netns::remove(&path).map_err(|e| DataplaneError::Failed(format!("{} can't be removed: {e}", path.display())))?;
        }
        self.reality = None;
        Ok(())
    }
}

/// Whether the files that dnsmasq reads again are as they were written.
fn stand(directory: &Path, files: &dhcp::Files) -> bool {
    let is = |name: &str, text: &str| std::fs::read(directory.join(name)).is_ok_and(|now| now == text.as_bytes());
    is("hosts", &files.hosts) && is("options", &files.options)
}

fn digest_of(files: &dhcp::Files) -> String {
    digest(format!("{}\0{}", files.hosts, files.options).as_bytes())
}
