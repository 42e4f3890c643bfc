//! The NICs of a guest that is defined already: what it has, as text, and how it comes to have those of the plan. A running guest is
//! asked to let go of one, and may take its time; its definition has them from then on, so that the next start finds what is there.

use super::acts::SLOW;
use super::images::trouble;
use super::xml::{self, Buses};
use super::{LibvirtHypervisor, QUICK, blocking, domain};
use crate::HypervisorError;
use strata_projections::plan::instance::InstancePlan;
use virt_sys as sys;

/// The elements of a domain's NICs, in order.
fn elements(xml: &str) -> Vec<&str> {
    let (begin, end) = ("<interface ", "</interface>");
    let mut found = vec![];
    let mut rest = xml;
    while let Some(from) = rest.find(begin) {
        rest = &rest[from..];
        let Some(to) = rest.find(end) else { break };
        let (element, after) = rest.split_at(to + end.len());
        found.push(element);
        rest = after;
    }
    found
}

/// The tap of a NIC.
fn tap_of(element: &str) -> Option<&str> {
    let (_, after) = element.split_once("<target dev='")?;
    after.split('\'').next()
}

/// The taps of a domain's NICs, sorted.
pub fn taps(xml: &str) -> Vec<String> {
    let mut taps: Vec<String> = elements(xml).into_iter().filter_map(tap_of).map(str::to_owned).collect();
    taps.sort();
    taps
}

/// What a guest has now and what it will have when it next starts; none if that is not the same.
pub fn agreed(now: Option<Vec<String>>, next: Option<Vec<String>>) -> Option<Vec<String>> {
    match (now, next) {
        (Some(now), Some(next)) => (now == next).then_some(now),
        (now, next) => now.or(next),
    }
}

/// A definition of ours with the NICs of the plan in place of its own.
fn with_nics(kept: &str, plan: &InstancePlan, buses: Buses) -> String {
    let mut text = kept.to_owned();
    for element in elements(kept) {
        text = text.replacen(element, "", 1);
    }
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // They stand before what every guest has after them.
    let at = lines.iter().position(|line| line.trim_start().starts_with("<serial ")).unwrap_or(lines.len());
    let nics = xml::nics(plan, buses);
    lines.splice(at..at, nics.lines());
    lines.join("\n") + "\n"
}

impl LibvirtHypervisor {
    /// Gives a guest the NICs of the plan: at its next start, and if it runs now as soon as it lets go of what is not among them.
    pub(super) async fn wire(&self, plan: &InstancePlan) -> Result<(), HypervisorError> {
        let home = self.home(&plan.id);
        let buses = Buses::of(plan).map_err(HypervisorError::Failed)?;
        if let Some(kept) = home.defined().map_err(|e| trouble(home.path(), &e))? {
            let text = with_nics(&kept, plan, buses);
            if text != kept {
                self.effect()?;
                let defined = text.clone();
                self.on(&plan.id, QUICK, move |connect, _| virt::domain::Domain::define_xml(connect, &defined).map(|_| ())).await?;
                self.effect()?;
                let at = home.clone();
                blocking(move || at.define(&text)).await?.map_err(|e| trouble(home.path(), &e))?;
            }
        }
        let wanted: Vec<(String, String)> = plan.nics.iter().map(|n| (xml::tap(&n.port), xml::nic(n, buses))).collect();
        self.effect()?;
        let refused = self.on(&plan.id, SLOW, move |_, domain| domain.map_or(Ok(None), |d| plug(&d, &wanted))).await?;
        if let Some(why) = refused {
            // What was asked for besides shall not wait for it.
            tracing::warn!(instance = %plan.id, %why, "a NIC can't be plugged in or out just now; it is tried again");
        }
        Ok(())
    }
}

/// Plugs NICs into a running guest and asks it for those that it shall not have. What was refused last, if anything was.
fn plug(domain: &virt::domain::Domain, wanted: &[(String, String)]) -> Result<Option<String>, virt::error::Error> {
    if !domain::active(domain)? {
        return Ok(None);
    }
    let live = domain.get_xml_desc(0)?;
    let has = taps(&live);
    let mut refused = None;
    for (_, element) in wanted.iter().filter(|(tap, _)| !has.contains(tap)) {
        refused = domain.attach_device_flags(element, sys::VIR_DOMAIN_AFFECT_LIVE).err().map(|e| e.message().to_owned()).or(refused);
    }
    let extra = |element: &&str| tap_of(element).is_none_or(|tap| !wanted.iter().any(|(wanted, _)| wanted == tap));
    for element in elements(&live).into_iter().filter(extra) {
        refused = domain.detach_device_flags(element, sys::VIR_DOMAIN_AFFECT_LIVE).err().map(|e| e.message().to_owned()).or(refused);
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::tests::{nic, plan};

    fn with(nics: &[u128]) -> InstancePlan {
        InstancePlan { nics: nics.iter().map(|n| nic(*n)).collect(), ..plan() }
    }
    fn defined(nics: &[u128]) -> String {
        let plan = with(nics);
        let host = strata_events::HostName("h1".into());
        let around = xml::Surroundings {
            buses: Buses::of(&plan).expect("the usual ones"),
            host: &host,
            accelerator: xml::Accelerator::Qemu,
            console_log: std::path::Path::new("/log"),
            disks: &[],
        };
        xml::domain(&plan, &around)
    }

    #[test]
    fn a_definition_gets_the_nics_of_the_plan_and_keeps_the_rest() {
        let buses = Buses::of(&plan()).expect("the usual ones");
        for (from, to) in [(&[1][..], &[1, 2][..]), (&[1, 2], &[2]), (&[1], &[]), (&[], &[1]), (&[1, 2], &[3, 4])] {
            let text = with_nics(&defined(from), &with(to), buses);
            // Only room for more of them was counted when it was first written.
            let rest = |text: &str| text.lines().filter(|l| !l.contains("pcie-root-port")).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(rest(&text), rest(&defined(to)), "{from:?} to {to:?}");
            assert_eq!(with_nics(&text, &with(to), buses), text, "again");
        }
    }

    #[test]
    fn the_taps_are_read_from_what_libvirt_writes() {
        let live = "<devices>\n <interface type='ethernet'>\n <mac address='fa:16:3e:00:00:02'/>\n\
            <target dev='tapb' managed='no'/>\n<alias name='net1'/></interface>\n<interface type='ethernet'><target dev='tapa'/></interface>\
            <serial><target port='0'/></serial></devices>";
        assert_eq!(taps(live), ["tapa", "tapb"]);
        assert_eq!(taps("<interface type='ethernet'><target dev='tapa'"), Vec::<String>::new());
        let some = |t: &str| Some(vec![t.to_owned()]);
        assert_eq!(agreed(some("a"), some("a")), some("a"));
        assert_eq!(agreed(some("a"), some("b")), None);
        assert_eq!((agreed(None, some("b")), agreed(some("a"), None)), (some("b"), some("a")));
    }
}
