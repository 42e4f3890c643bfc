//! A hypervisor that keeps its domains in memory, and in files when asked to, so that a restarted worker finds them as it
//! would find real ones. Booting takes as long as set, and as many starts fail as set: the dice are seeded.

use crate::{Applied, Domain, Hypervisor, HypervisorError, Lease};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strata_events::InstanceId;
use strata_events::host::Inventory;
use strata_events::instance::Power;
use strata_projections::plan::instance::InstancePlan;
use tokio::sync::Notify;

/// How a simulated hypervisor behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub boot_time: Duration,
    /// How many of a hundred starts fail.
    pub failures_percent: u8,
    pub seed: u64,
    /// Where the domains outlive the process, a file each.
    pub directory: Option<PathBuf>,
    pub inventory: Inventory,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            boot_time: Duration::ZERO,
            failures_percent: 0,
            seed: 1,
            directory: None,
            inventory: Inventory {
                vcpus: 64,
                memory: 256 * 1024,
                disk: 4096,
                hypervisor_type: "simulated".into(),
                hypervisor_version: 1_000_000,
                cpu_arch: "x86_64".into(),
                host_ip: "127.0.0.1".into(),
            },
        }
    }
}

/// See the module.
pub struct SimulatedHypervisor {
    options: Options,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    domains: BTreeMap<InstanceId, Domain>,
    dice: u64,
    by_itself: Vec<InstanceId>,
}

impl SimulatedHypervisor {
    /// With the domains that the directory holds, if there is one.
    pub fn open(options: Options) -> std::io::Result<Self> {
        let mut domains = BTreeMap::new();
        if let Some(directory) = &options.directory {
            std::fs::create_dir_all(directory)?;
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                // What a crash left half written was never said to be there.
                if path.extension().is_some_and(|e| e == "json") {
                    let domain: Domain = serde_json::from_slice(&std::fs::read(&path)?)?;
                    domains.insert(domain.id, domain);
                }
            }
        }
        let inner = Inner { domains, dice: options.seed, by_itself: vec![] };
        Ok(Self { options, inner: Mutex::new(inner), changed: Notify::new() })
    }

    /// What a guest or a fault does by itself: the domain is in this state from now on.
    pub fn happen(&self, id: &InstanceId, power: Power) {
        let mut inner = self.lock();
        if let Some(domain) = inner.domains.get_mut(id) {
            domain.power = power;
            inner.by_itself.push(*id);
        }
        drop(inner);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a domain, and its file before anyone can see it.
    fn change(&self, id: &InstanceId, f: impl FnOnce(&mut Inner) -> Result<(), HypervisorError>) -> Result<(), HypervisorError> {
        let mut inner = self.lock();
        let before = inner.domains.get(id).cloned();
        f(&mut inner)?;
        if let Some(directory) = &self.options.directory {
            let file = directory.join(format!("{id}.json"));
            let written = match inner.domains.get(id) {
                Some(domain) => {
                    let draft = directory.join(format!("{id}.new"));
                    serde_json::to_vec(domain)
                        .map_err(std::io::Error::from)
                        .and_then(|json| std::fs::write(&draft, json))
                        .and_then(|()| std::fs::rename(&draft, &file))
                }
                None => std::fs::remove_file(&file).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }),
            };
            if let Err(e) = written {
                match before {
                    Some(domain) => inner.domains.insert(*id, domain),
                    None => inner.domains.remove(id),
                };
                return Err(HypervisorError::Unavailable(format!("{}: {e}", file.display())));
            }
        }
        Ok(())
    }

    fn set(&self, id: &InstanceId, f: impl FnOnce(&mut Domain)) -> Result<(), HypervisorError> {
        self.change(id, |inner| match inner.domains.get_mut(id) {
            Some(domain) => {
                f(domain);
                Ok(())
            }
            None => Err(HypervisorError::Failed(format!("There is no domain {id}."))),
        })
    }

    async fn boot(&self) -> Result<(), HypervisorError> {
        if !self.options.boot_time.is_zero() {
            tokio::time::sleep(self.options.boot_time).await;
        }
        let mut inner = self.lock();
        // Knuth's MMIX generator: good enough for dice, and the same with every run.
        inner.dice = inner.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (inner.dice >> 33) % 100 < u64::from(self.options.failures_percent) {
            return Err(HypervisorError::Failed("The simulated hypervisor let this start fail, as it was told to.".into()));
        }
        Ok(())
    }
}

impl Hypervisor for SimulatedHypervisor {
    async fn list(&self) -> Result<Vec<Domain>, HypervisorError> {
        Ok(self.lock().domains.values().cloned().collect())
    }
    async fn find(&self, id: &InstanceId) -> Result<Option<Domain>, HypervisorError> {
        Ok(self.lock().domains.get(id).cloned())
    }
    async fn define(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        self.change(&plan.id, |inner| {
            let (generation, nics) = (plan.generation, Some(crate::converge::taps(plan)));
            let domain = Domain { id: plan.id, generation, power: Power::Stopped, applied: None, nics };
            inner.domains.entry(plan.id).or_insert(domain);
            Ok(())
        })
    }
    async fn wire(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        self.set(&plan.id, |d| d.nics = Some(crate::converge::taps(plan)))
    }
    async fn start(&self, id: &InstanceId, _: Lease<'_>) -> Result<(), HypervisorError> {
        self.boot().await?;
        self.set(id, |d| d.power = Power::Running)
    }
    async fn shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Stopped)
    }
    async fn power_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Stopped)
    }
    async fn reboot(&self, id: &InstanceId, _hard: bool, _: Lease<'_>) -> Result<(), HypervisorError> {
        self.boot().await?;
        self.set(id, |d| d.power = Power::Running)
    }
    async fn pause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Paused)
    }
    async fn unpause(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Running)
    }
    async fn suspend(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Suspended)
    }
    async fn resume(&self, id: &InstanceId, _: Lease<'_>) -> Result<(), HypervisorError> {
        self.set(id, |d| d.power = Power::Running)
    }
    async fn mark(&self, id: &InstanceId, applied: Applied) -> Result<(), HypervisorError> {
        self.set(id, |d| d.applied = Some(applied))
    }
    async fn destroy(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.change(id, |inner| {
            inner.domains.remove(id);
            Ok(())
        })
    }
    async fn inventory(&self) -> Result<Inventory, HypervisorError> {
        Ok(self.options.inventory.clone())
    }
    async fn changed(&self) -> Option<InstanceId> {
        loop {
            if let Some(id) = self.lock().by_itself.pop() {
                return Some(id);
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Compute, Settled};
    use std::sync::Arc;
    use strata_events::instance::Size;
    use strata_projections::cloud::instance::Wanted;
    use strata_projections::report::Report;

    pub(crate) fn nic(n: u128) -> strata_projections::plan::instance::Nic {
        strata_projections::plan::instance::Nic {
            port: strata_events::PortId(uuid::Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_0000 + (n << 96))),
            network: strata_events::NetworkId(uuid::Uuid::nil()),
            mac: "fa:16:3e:00:00:01".parse().expect("a MAC"),
            mtu: 1450,
            fixed_ips: vec![],
            subnets: vec![],
            dns_domain: String::new(),
        }
    }
    pub(crate) fn plan() -> InstancePlan {
        InstancePlan {
            id: InstanceId(uuid::Uuid::max()),
            generation: 1,
            wanted: Wanted::Running,
            ready: true,
            reboots: 0,
            reboot_hard: false,
            asks: 0,
            name: "hello".into(),
            hostname: "hello".into(),
            project: strata_events::ProjectId(uuid::Uuid::nil()),
            user: strata_events::UserId(uuid::Uuid::nil()),
            size: Size {
                flavor: "1".into(),
                name: "m1.nano".into(),
                vcpus: 1,
                ram: 64,
                disk: 1,
                ephemeral: 0,
                swap: 0,
                extra_specs: BTreeMap::new(),
            },
            image: None,
            image_gone: None,
            key_name: None,
            public_key: None,
            metadata: BTreeMap::new(),
            config_drive: false,
            user_data: None,
            nics: vec![],
            zone: "nova".into(),
            launch_index: 0,
            reservation: "r-1".into(),
            security_groups: vec![],
        }
    }
    fn is(power: Power, asks: u32) -> Option<Report> {
        Some(Report::Instance { id: plan().id, generation: 1, power, reboots: 0, asks })
    }
    fn host(options: Options) -> Compute<SimulatedHypervisor> {
        Compute::new(Arc::new(SimulatedHypervisor::open(options).unwrap_or_else(|e| panic!("{e}"))))
    }

    #[tokio::test]
    async fn a_server_lives_and_dies() {
        let compute = host(Options::default());
        assert_eq!(compute.settle(&plan(), &|| true).await, Settled { report: is(Power::Running, 0), again: false, gone: false });
        let stop = InstancePlan { wanted: Wanted::Stopped, asks: 1, ..plan() };
        assert_eq!(compute.settle(&stop, &|| true).await.report, is(Power::Stopped, 1));
        let delete = InstancePlan { wanted: Wanted::Absent, asks: 2, ..plan() };
        let absent = Some(Report::InstanceAbsent { id: plan().id, generation: 1 });
        assert_eq!(compute.settle(&delete, &|| true).await, Settled { report: absent.clone(), again: false, gone: true });
        assert_eq!(compute.settle(&delete, &|| true).await.report, absent, "said again, it is answered again");
        assert!(compute.hypervisor().list().await.is_ok_and(|l| l.is_empty()));
    }

    #[tokio::test]
    async fn a_late_plan_of_an_older_generation_starts_nothing() {
        let compute = host(Options::default());
        compute.settle(&InstancePlan { generation: 2, ready: false, ..plan() }, &|| true).await;
        compute.settle(&plan(), &|| true).await;
        assert!(compute.hypervisor().list().await.is_ok_and(|l| l.is_empty()));
    }

    #[tokio::test]
    async fn a_server_whose_image_was_deleted_gets_no_empty_disk() {
        let compute = host(Options::default());
        let image_gone = Some(strata_events::ImageId(uuid::Uuid::from_u128(7)));
        let settled = compute.settle(&InstancePlan { image_gone, ..plan() }, &|| true).await;
        let Some(Report::InstanceFailed { reason, .. }) = settled.report else { panic!("{settled:?}") };
        assert!(reason.contains("was deleted before the server was built"), "{reason}");
        assert!(compute.hypervisor().list().await.is_ok_and(|l| l.is_empty()));
        // One that was built from it goes on.
        compute.settle(&plan(), &|| true).await;
        assert_eq!(compute.settle(&InstancePlan { image_gone, ..plan() }, &|| true).await.report, is(Power::Running, 0));
    }

    #[tokio::test]
    async fn without_a_lease_it_waits() {
        let compute = host(Options::default());
        assert_eq!(compute.settle(&plan(), &|| false).await, Settled { report: None, again: true, gone: false });
        assert!(compute.hypervisor().list().await.is_ok_and(|l| l.is_empty()));
    }

    #[tokio::test]
    async fn a_start_that_fails_is_said_and_leaves_room_for_another() {
        let compute = host(Options { failures_percent: 100, ..Options::default() });
        let settled = compute.settle(&plan(), &|| true).await;
        assert!(matches!(settled.report, Some(Report::InstanceFailed { asks: 0, .. })) && settled.again, "{settled:?}");
        let clean = compute.settle(&InstancePlan { wanted: Wanted::Absent, ..plan() }, &|| true).await;
        assert!(clean.gone);
    }

    #[tokio::test]
    async fn a_restarted_worker_finds_its_domains_and_changes_nothing() {
        let directory = std::env::temp_dir().join(format!("strata-simulated-{}", std::process::id()));
        let options = Options { directory: Some(directory.clone()), ..Options::default() };
        host(options.clone()).settle(&plan(), &|| true).await;
        let file = directory.join(format!("{}.json", plan().id));
        let before = std::fs::metadata(&file).and_then(|m| m.modified()).unwrap_or_else(|e| panic!("{e}"));
        let restarted = host(options);
        assert_eq!(restarted.settle(&plan(), &|| true).await.report, is(Power::Running, 0));
        assert_eq!(std::fs::metadata(&file).and_then(|m| m.modified()).ok(), Some(before), "nothing was written");
        restarted.settle(&InstancePlan { wanted: Wanted::Absent, ..plan() }, &|| true).await;
        assert_eq!(std::fs::read_dir(&directory).map(|d| d.count()).ok(), Some(0), "nothing is left");
        let _ = std::fs::remove_dir_all(directory);
    }
}
