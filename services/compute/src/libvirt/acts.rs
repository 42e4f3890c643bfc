//! What the worker may ask of a hypervisor, as libvirt does it. **Invariant: before each change stands an `effect`, at which a
//! test lets the worker die: whatever was done until then, asking again completes it.**

use super::home;
use super::images::{self, trouble};
use super::xml::{self, Surroundings};
use super::{LibvirtHypervisor, QUICK, blocking, disks, domain, wiring};
use crate::{Applied, Domain, Hypervisor, HypervisorError, Lease};
use std::sync::PoisonError;
use std::time::Duration;
use strata_events::InstanceId;
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_projections::plan::instance::InstancePlan;

/// What starts or ends a QEMU process.
pub(super) const SLOW: Duration = Duration::from_secs(60);
/// Saving or restoring a guest's memory: longer than the conductor waits for the largest.
const MEMORY: Duration = Duration::from_secs(1800);

impl Hypervisor for LibvirtHypervisor {
    async fn list(&self) -> Result<Vec<Domain>, HypervisorError> {
        let host = self.config.host.clone();
        let known = self.link.call(QUICK, move |connect| {
            let mut ours = vec![];
            for domain in connect.list_all_domains(0)? {
                // One that went meanwhile is nobody's.
                if domain::owner(&domain).is_ok_and(|o| o.is_some_and(|o| o.host == host.0)) {
                    ours.push(InstanceId(domain.get_uuid()?));
                }
            }
            Ok(ours)
        });
        let mut ids = known.await?;
        let kept = home::all(&self.instances).map_err(|e| trouble(&self.instances, &e))?;
        ids.extend(kept.into_iter().filter(|id| self.kept(id).is_ok_and(|o| o.is_some())));
        ids.sort();
        ids.dedup();
        let mut domains = vec![];
        for id in ids {
            domains.extend(self.find(&id).await?);
        }
        Ok(domains)
    }

    async fn find(&self, id: &InstanceId) -> Result<Option<Domain>, HypervisorError> {
        let home = self.home(id);
        let here = self.kept(id)?;
        let there = self.on(id, QUICK, |_, domain| {
            let Some(domain) = domain else { return Ok(None) };
            let now = if domain::active(&domain)? { Some(wiring::taps(&domain.get_xml_desc(0)?)) } else { None };
            Ok(domain::owner(&domain)?.zip(Some((domain::state(&domain)?, now))))
        });
        // What libvirt has decides which generation runs; without it the instance is stopped, and can be put back.
        let (generation, ((power, held), now)) = match (there.await?, here) {
            (Some((owner, state)), _) => (owner.generation, state),
            (None, Some(owner)) => (owner.generation, ((Power::Stopped, false), None)),
            (None, None) => return Ok(None),
        };
        self.held.note(id, held);
        let next = home.defined().map_err(|e| trouble(home.path(), &e))?.map(|text| wiring::taps(&text));
        Ok(Some(Domain { id: *id, generation, power, applied: home.applied(), nics: wiring::agreed(now, next) }))
    }

    async fn define(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        let home = self.home(&plan.id);
        if self.kept(&plan.id)?.is_some_and(|o| o.generation == plan.generation) {
            return Ok(());
        }
        let base = match &plan.image {
            Some(image) => Some(self.images.base(image, false).await?),
            None => None,
        };
        // Too small a flavor and unknown devices are said before anything is made.
        let buses = xml::Buses::of(plan).map_err(HypervisorError::Failed)?;
        disks::root_size(plan.size.disk, base.as_ref())?;
        self.effect()?;
        self.begin(&home).await?;
        self.effect()?;
        let mut disks = match disks::make(plan, &home, base.as_ref()).await {
            // Perhaps it can't be read because it was damaged since: it is read in full, and made again.
            Err(HypervisorError::Failed(_)) if let Some(image) = &plan.image => {
                let base = self.images.base(image, true).await?;
                self.begin(&home).await?;
                disks::make(plan, &home, Some(&base)).await?
            }
            other => other?,
        };
        if plan.config_drive {
            self.effect()?;
            disks.push(self.config_drive(plan, &home).await?);
        }
        let around = Surroundings {
            buses,
            host: &self.config.host,
            accelerator: self.accelerator().await,
            console_log: &home.console_log(),
            disks: &disks,
        };
        let text = xml::domain(plan, &around);
        if let Some(image) = plan.image.clone() {
            self.effect()?;
            let at = home.clone();
            blocking(move || at.note_base(&image)).await?.map_err(|e| trouble(home.path(), &e))?;
        }
        self.effect()?;
        let (at, kept) = (home.clone(), text.clone());
        blocking(move || at.define(&kept)).await?.map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        // An older definition of the same id is replaced.
        self.on(&plan.id, QUICK, move |connect, _| virt::domain::Domain::define_xml(connect, &text).map(|_| ())).await
    }

    async fn wire(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        LibvirtHypervisor::wire(self, plan).await
    }

    async fn start(&self, id: &InstanceId, lease: Lease<'_>) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        if self.power(id).await? == Some(Power::Running) {
            return Ok(());
        }
        self.create(id, SLOW, lease).await
    }

    async fn shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        if !matches!(self.power(id).await?, Some(Power::Running)) {
            self.forget_asking(id);
            return Ok(());
        }
        if self.press(id).await? {
            // Its end wakes whoever looks again.
            return Err(HypervisorError::NotYet);
        }
        tracing::info!(instance = %id, "did not shut down in time; it is powered off");
        self.forget_asking(id);
        self.change(id, SLOW, domain::destroy).await
    }

    async fn power_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        match self.power(id).await? {
            Some(Power::Running | Power::Paused) => self.change(id, SLOW, domain::destroy).await,
            Some(Power::Suspended) => self.change(id, QUICK, |d| d.managed_save_remove(0).map(|_| ())).await,
            Some(Power::Stopped | Power::Crashed) | None => Ok(()),
        }
    }

    async fn reboot(&self, id: &InstanceId, hard: bool, lease: Lease<'_>) -> Result<(), HypervisorError> {
        // Stopped by itself, it is found stopped with a reboot to do, and is started.
        if !hard && self.power(id).await? == Some(Power::Running) && self.press(id).await? {
            return Err(HypervisorError::NotYet);
        }
        self.power_off(id).await?;
        self.start(id, lease).await
    }

    async fn pause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, SLOW, |d| {
            let paused = || Ok(domain::power(d)? == Power::Paused);
            if paused()? { Ok(()) } else { domain::settled(d.suspend(), paused) }
        })
        .await
    }

    async fn unpause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, SLOW, |d| {
            let runs = || Ok(domain::power(d)? == Power::Running);
            if runs()? { Ok(()) } else { domain::settled(d.resume(), runs) }
        })
        .await
    }

    async fn suspend(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        let home = self.home(id);
        let text = home.defined().map_err(|e| trouble(home.path(), &e))?;
        self.effect()?;
        let done = self.on(id, MEMORY, move |connect, domain| domain.map(|d| domain::save(connect, &d, text.as_deref())).transpose());
        done.await?.ok_or_else(|| HypervisorError::Failed("The host's hypervisor does not know the server any more.".into()))
    }

    async fn resume(&self, id: &InstanceId, lease: Lease<'_>) -> Result<(), HypervisorError> {
        self.create(id, MEMORY, lease).await
    }

    async fn mark(&self, id: &InstanceId, applied: Applied) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        let home = self.home(id);
        if home.applied() == Some(applied) {
            return Ok(());
        }
        self.effect()?;
        let at = home.clone();
        blocking(move || at.apply(applied)).await?.map_err(|e| trouble(home.path(), &e))
    }

    async fn destroy(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.forget_asking(id);
        self.unplugged.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.held.note(id, false);
        let known = self.on(id, QUICK, |_, domain| domain.map(|d| domain::active(&d)).transpose()).await?;
        if known == Some(true) {
            self.effect()?;
            self.on(id, SLOW, |_, domain| domain.map_or(Ok(()), |d| domain::destroy(&d))).await?;
        }
        if known.is_some() {
            self.effect()?;
            self.on(id, QUICK, |_, domain| domain.map_or(Ok(()), |d| domain::remove(&d))).await?;
        }
        let home = self.home(id);
        if !home.exists() {
            return Ok(());
        }
        self.effect()?;
        // QEMU's messages, which a private libvirt keeps beside us.
        let messages = self.config.state_dir.join(format!("libvirt/log/qemu/instance-{id}.log"));
        let at = home.clone();
        let removed = move || {
            let _ = std::fs::remove_file(messages);
            at.remove()
        };
        blocking(removed).await?.map_err(|e| trouble(home.path(), &e))
    }

    fn troubles(&self) -> Vec<String> {
        self.held.told()
    }

    async fn inventory(&self) -> Result<Inventory, HypervisorError> {
        // Asked in passing: nobody waits long for it.
        let (node, version) =
            self.link.call(Duration::from_secs(3), |connect| Ok((connect.get_node_info()?, connect.get_hyp_version()?))).await?;
        let disk = images::file_system(&self.instances).map_err(|e| trouble(&self.instances, &e))?;
        Ok(Inventory {
            vcpus: node.cpus,
            memory: node.memory / 1024,
            disk: disk.f_blocks.saturating_mul(disk.f_frsize) >> 30,
            hypervisor_type: "QEMU".into(),
            hypervisor_version: version.into(),
            cpu_arch: node.model,
            host_ip: self.config.host_ip.clone(),
        })
    }

    async fn changed(&self) -> Option<InstanceId> {
        self.link.events().next().await
    }
}
