//! Makes devices: bridge, namespace and veth of a network, taps of its ports.

use super::{Host, Outcome, blocking};
use crate::DataplaneError;
use crate::linux::state::Tap;
use crate::linux::wanted::{self, Setting, Step};
use crate::linux::{holder, names, netns, tap};
use strata_events::{InstanceId, NetworkId, PortId};

/// A step that leaves another to do is not the last; more than these means that something undoes them.
const ROUNDS: usize = 12;

impl Host {
    /// Makes a port's devices and its network's, until no step is left.
    pub async fn make(&mut self, id: &PortId, open: bool) -> Outcome<()> {
        let Some(plug) = self.ports.get(id).map(|p| p.plug.clone()) else { return Ok(()) };
        let network = plug.network;
        for _ in 0..ROUNDS {
            let links = self.root.links().await?;
            let inside = self.look_inside(&network).await?;
            let Some(view) = self.view(&network) else { return Ok(()) };
            let mut steps = wanted::network(&network, view, &links, &inside)?;
            steps.extend(wanted::port(id, &plug, &links, open)?);
            if let Some(reality) = &mut self.reality {
                reality.links = links;
                reality.inside.insert(network, inside);
            }
            self.judge_anew();
            if steps.is_empty() {
                return if open { self.hand_over(id).await } else { Ok(()) };
            }
            for step in steps {
                tracing::debug!(port = %id, ?step, "changes");
                if matches!(step, Step::AddTap { .. }) {
                    self.is_lost(id)?;
                }
                self.step(&network, step).await?;
            }
        }
        Err(DataplaneError::Failed(format!("port {id}: what is made here is undone by something else on this host")))
    }

    /// Notes that a port's tap, if there ever was one, is there no more. Before the new one is made: a worker that dies in
    /// between leaves the note to the next one.
    fn is_lost(&mut self, id: &PortId) -> Outcome<()> {
        match self.ports.get_mut(id) {
            Some(port) if port.tap == Tap::Made || port.done => {
                (port.done, port.tap) = (false, Tap::Lost);
                self.state.put_port(id, port)
            }
            _ => Ok(()),
        }
    }

    /// Gives a guest that goes on holding a tap which was taken away the new one. It notices only that nothing came for a while.
    async fn hand_over(&mut self, id: &PortId) -> Outcome<()> {
        let Some(port) = self.ports.get(id).filter(|p| p.tap == Tap::Lost) else { return Ok(()) };
        let Ok(device) = port.plug.device_id.parse::<InstanceId>() else { return Ok(()) };
        let (mac, name) = (port.plug.mac, names::tap(id));
        if self.root.links().await?.get(&name).is_some_and(|l| l.carrier) {
            return Ok(());
        }
        let changes = self.changes.clone();
        let give = move || {
            let Some(holder) = holder::find(&device, mac) else { return Ok(()) };
            changes.one();
            tap::give(&name, holder.pid, holder.descriptor, holder.offloads).map_err(|e| {
                let advice = "reboot the server hard to connect it again";
                DataplaneError::Failed(format!(
                    "its tap {name} was taken away and can't be given back to the running guest ({e}): {advice}"
                ))
            })?;
            tracing::info!(tap = name, pid = holder.pid, "a running guest was given its new tap");
            Ok(())
        };
        blocking(give).await
    }

    async fn step(&mut self, network: &NetworkId, step: Step) -> Outcome<()> {
        let path = names::namespace(&self.config.netns_dir, network);
        let about = |e: std::io::Error, what: &str| DataplaneError::Failed(format!("{what}: {e}"));
        match step {
            Step::AddBridge { name, mac, mtu } => self.root.add_bridge(&name, mac, mtu).await,
            Step::AddTap { name } => {
                self.changes.one();
                tap::create(&name).map_err(|e| about(e, &format!("tap {name} can't be made")))?;
                self.root.without_ipv6(&name)
            }
            Step::AddNamespace => {
                self.changes.one();
                netns::create(&path).map_err(|e| about(e, &format!("the namespace {} can't be made", path.display())))
            }
            Step::AddVeth { name, peer } => self.root.add_veth(&name, &peer).await,
            Step::Delete { name, index } => self.root.delete(&name, index).await,
            Step::MoveInside { name, index } => {
                let namespace = std::fs::File::open(&path).map_err(|e| about(e, "the namespace can't be opened"))?;
                self.root.move_to(&name, index, &namespace).await
            }
            Step::Set { inside, name, index, what } => {
                let within = self.networks.get(network).and_then(|n| n.inside.as_ref()).map(|(_, netlink, _)| netlink);
                let netlink = if inside { within.unwrap_or(&self.root) } else { &self.root };
                match what {
                    Setting::Mtu(mtu) => netlink.set_mtu(&name, index, mtu).await,
                    Setting::Mac(mac) => netlink.set_mac(&name, index, mac).await,
                    Setting::Up(up) => netlink.set_up(&name, index, up).await,
                    Setting::Master(master) => netlink.set_master(&name, index, Some(master)).await,
                    Setting::Address(net) => netlink.add_address(&name, index, net).await,
                    Setting::NoAddress(net) => netlink.remove_address(&name, index, net).await,
                    Setting::NoIpv6 => self.root.without_ipv6(&name),
                    Setting::Guarded => self.root.guard(&name).await,
                }
            }
        }
    }
}
