//! The difference between a plan and a domain, as actions. Invariants: an older generation than the domain's changes nothing,
//! without a lease nothing starts (6); what is as planned gives no action (10).

use crate::{Applied, Domain};
use strata_events::instance::Power;
use strata_projections::cloud::instance::Wanted;
use strata_projections::plan::instance::InstancePlan;

/// One step at the hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Define,
    /// Give it the plan's NICs.
    Wire,
    Start,
    Shutdown,
    PowerOff,
    Reboot {
        hard: bool,
    },
    Pause,
    Unpause,
    Suspend,
    Resume,
    /// Note that the plan was carried out this far.
    Mark(Applied),
    Destroy,
}

impl Action {
    /// Whether after it more runs than before: only with a lease.
    pub fn starts_something(self) -> bool {
        matches!(self, Action::Start | Action::Unpause | Action::Resume | Action::Reboot { .. })
    }
}

/// The taps of the NICs that a plan wants, sorted.
pub fn taps(plan: &InstancePlan) -> Vec<String> {
    let mut taps: Vec<String> = plan.nics.iter().map(|n| crate::libvirt::tap(&n.port)).collect();
    taps.sort();
    taps
}

/// Whether a domain has other NICs than it shall. A saved memory goes on only with those that it was saved with; what is not
/// plugged yet is waited for.
pub fn is_miswired(plan: &InstancePlan, domain: &Domain) -> bool {
    let settled = domain.generation == plan.generation && plan.wanted != Wanted::Absent && plan.ready;
    settled && domain.power != Power::Suspended && domain.nics.as_ref() != Some(&taps(plan))
}

/// What to do, in order.
pub fn converge(plan: &InstancePlan, domain: Option<&Domain>, lease: bool) -> Vec<Action> {
    let wire = domain.filter(|d| is_miswired(plan, d)).map(|_| Action::Wire);
    wire.into_iter().chain(bring_about(plan, domain, lease)).collect()
}

fn bring_about(plan: &InstancePlan, domain: Option<&Domain>, lease: bool) -> Vec<Action> {
    match domain {
        Some(domain) if domain.generation > plan.generation => vec![],
        Some(_) if plan.wanted == Wanted::Absent => vec![Action::Destroy],
        // Something may be left of a definition that was cut off.
        None if plan.wanted == Wanted::Absent => vec![Action::Destroy],
        // It left this host and came back: the disk is of before.
        Some(domain) if domain.generation < plan.generation => {
            let mut actions = vec![Action::Destroy];
            actions.extend(bring_about(plan, None, lease));
            actions
        }
        None if !plan.ready || !lease => vec![],
        None => {
            let mut actions = vec![Action::Define];
            actions.extend(bring(plan, Power::Stopped, 0));
            actions.push(mark(plan));
            actions
        }
        Some(domain) if domain.applied.is_some_and(|a| a.asks == plan.asks) => vec![],
        Some(domain) => {
            let mut actions = bring(plan, domain.power, domain.applied.map_or(0, |a| a.reboots));
            if actions.iter().any(|a| a.starts_something()) && !(lease && plan.ready) {
                return vec![];
            }
            actions.push(mark(plan));
            actions
        }
    }
}

fn mark(plan: &InstancePlan) -> Action {
    Action::Mark(Applied { reboots: plan.reboots, asks: plan.asks })
}

/// From a power state to the wanted one.
fn bring(plan: &InstancePlan, power: Power, reboots: u32) -> Vec<Action> {
    use Action::{Pause, PowerOff, Reboot, Resume, Shutdown, Start, Suspend, Unpause};
    let rebooted = reboots >= plan.reboots;
    match (plan.wanted, power) {
        (Wanted::Running, Power::Running) if rebooted => vec![],
        (Wanted::Running, Power::Running) => vec![Reboot { hard: plan.reboot_hard }],
        (Wanted::Running, Power::Stopped | Power::Crashed) => vec![Start],
        (Wanted::Running, Power::Paused) if rebooted => vec![Unpause],
        (Wanted::Running, Power::Suspended) if rebooted => vec![Resume],
        (Wanted::Running, Power::Paused | Power::Suspended) => vec![PowerOff, Start],
        (Wanted::Stopped, Power::Running) => vec![Shutdown],
        (Wanted::Stopped, Power::Paused | Power::Suspended) => vec![PowerOff],
        (Wanted::Stopped, Power::Stopped | Power::Crashed) => vec![],
        (Wanted::Paused, Power::Running) => vec![Pause],
        (Wanted::Paused, Power::Paused) => vec![],
        (Wanted::Paused, Power::Suspended) => vec![Resume, Pause],
        (Wanted::Suspended, Power::Running) => vec![Suspend],
        (Wanted::Suspended, Power::Paused) => vec![Unpause, Suspend],
        (Wanted::Suspended, Power::Suspended) => vec![],
        // What does not run can't be paused or suspended: the observation says so.
        (Wanted::Paused | Wanted::Suspended, Power::Stopped | Power::Crashed) => vec![],
        (Wanted::Absent, _) => vec![Action::Destroy],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::tests::plan;

    fn domain(power: Power, applied: Option<Applied>) -> Domain {
        Domain { id: plan().id, generation: 1, power, applied, nics: Some(taps(&plan())) }
    }
    fn applied(asks: u32) -> Option<Applied> {
        Some(Applied { reboots: 0, asks })
    }
    fn asked(wanted: Wanted, asks: u32) -> InstancePlan {
        InstancePlan { wanted, asks, ..plan() }
    }

    #[test]
    fn a_new_server_is_defined_started_and_noted_once_its_ports_are_there() {
        let built = vec![Action::Define, Action::Start, Action::Mark(Applied { reboots: 0, asks: 0 })];
        assert_eq!(converge(&plan(), None, true), built);
        assert_eq!(converge(&InstancePlan { ready: false, ..plan() }, None, true), []);
    }

    #[test]
    fn without_a_lease_nothing_starts_but_what_shall_stop_stops() {
        assert_eq!(converge(&plan(), None, false), []);
        assert_eq!(converge(&asked(Wanted::Running, 1), Some(&domain(Power::Stopped, applied(0))), false), []);
        let stopped = converge(&asked(Wanted::Stopped, 1), Some(&domain(Power::Running, applied(0))), false);
        assert_eq!(stopped, [Action::Shutdown, Action::Mark(Applied { reboots: 0, asks: 1 })]);
        assert_eq!(converge(&asked(Wanted::Absent, 1), Some(&domain(Power::Running, applied(0))), false), [Action::Destroy]);
    }

    #[test]
    fn an_older_generation_changes_nothing_and_a_newer_one_begins_afresh() {
        let newer = Domain { generation: 2, ..domain(Power::Running, applied(0)) };
        for wanted in [Wanted::Running, Wanted::Stopped, Wanted::Absent] {
            assert_eq!(converge(&asked(wanted, 5), Some(&newer), true), [], "{wanted:?}");
        }
        let replaced = converge(&InstancePlan { generation: 2, ..plan() }, Some(&domain(Power::Running, applied(0))), true);
        assert_eq!(replaced[..3], [Action::Destroy, Action::Define, Action::Start]);
    }

    #[test]
    fn nics_that_differ_are_made_those_of_the_plan_before_anything_starts() {
        let wired = InstancePlan { nics: vec![crate::simulated::tests::nic(1)], ..plan() };
        let has = |power| domain(power, applied(0));
        assert_eq!(converge(&wired, Some(&has(Power::Running)), false), [Action::Wire]);
        assert_eq!(
            converge(&InstancePlan { asks: 1, ..wired.clone() }, Some(&has(Power::Stopped)), true)[..2],
            [Action::Wire, Action::Start]
        );
        assert_eq!(converge(&InstancePlan { ready: false, ..wired.clone() }, Some(&has(Power::Running)), true), [], "not plugged yet");
        assert_eq!(converge(&wired, Some(&has(Power::Suspended)), true), [], "its memory knows the old ones");
        assert_eq!(converge(&wired, Some(&Domain { nics: Some(taps(&wired)), ..has(Power::Running) }), true), []);
        assert_eq!(converge(&wired, Some(&Domain { nics: None, ..has(Power::Running) }), true), [Action::Wire], "it has not let go yet");
    }

    #[test]
    fn what_is_as_planned_is_left_alone_whatever_happened_to_it() {
        for power in [Power::Running, Power::Stopped, Power::Paused, Power::Crashed] {
            assert_eq!(converge(&asked(Wanted::Running, 3), Some(&domain(power, applied(3))), true), [], "{power:?}");
        }
    }

    #[test]
    fn a_guest_that_shut_down_is_started_only_when_someone_asks() {
        let off = domain(Power::Stopped, applied(0));
        assert_eq!(converge(&asked(Wanted::Running, 0), Some(&off), true), []);
        assert_eq!(converge(&asked(Wanted::Running, 1), Some(&off), true)[0], Action::Start);
    }

    #[test]
    fn a_build_that_was_cut_off_goes_on() {
        assert_eq!(converge(&plan(), Some(&domain(Power::Stopped, None)), true)[0], Action::Start);
        assert_eq!(converge(&plan(), Some(&domain(Power::Running, None)), true), [Action::Mark(Applied { reboots: 0, asks: 0 })]);
    }

    #[test]
    fn a_reboot_happens_once() {
        let ask = InstancePlan { reboots: 1, reboot_hard: true, ..asked(Wanted::Running, 1) };
        let done = Applied { reboots: 1, asks: 1 };
        assert_eq!(converge(&ask, Some(&domain(Power::Running, applied(0))), true), [Action::Reboot { hard: true }, Action::Mark(done)]);
        assert_eq!(converge(&ask, Some(&domain(Power::Running, Some(done))), true), []);
        assert_eq!(converge(&ask, Some(&domain(Power::Paused, applied(0))), true)[..2], [Action::PowerOff, Action::Start]);
    }

    #[test]
    fn every_wish_is_reached_from_every_state_that_allows_it_and_then_left_alone() {
        for wanted in [Wanted::Running, Wanted::Stopped, Wanted::Paused, Wanted::Suspended] {
            for power in [Power::Running, Power::Paused, Power::Stopped, Power::Suspended, Power::Crashed] {
                let actions = converge(&asked(wanted, 1), Some(&domain(power, applied(0))), true);
                assert_eq!(actions.last(), Some(&Action::Mark(Applied { reboots: 0, asks: 1 })), "{wanted:?} from {power:?}");
                assert_eq!(converge(&asked(wanted, 1), Some(&domain(power, applied(1))), true), [], "{wanted:?} from {power:?}");
            }
        }
    }
}
