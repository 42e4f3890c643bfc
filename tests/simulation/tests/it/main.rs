//! Some hundred schedules, the same ones every time. More of them: `ops/test --simulate N`.

use std::collections::BTreeMap;
use strata_simulation::Simulation;

#[test]
fn every_schedule_converges_and_keeps_the_invariants() {
    let mut counts = BTreeMap::new();
    for seed in 1..=200 {
        let mut simulation = Simulation::new(seed);
        if let Err(why) = simulation.run(400) {
            panic!("seed {seed}: {why}");
        }
        for (event, n) in simulation.counts() {
            *counts.entry(event).or_insert(0) += n;
        }
    }
    // A simulation in which nothing happens proves nothing.
    for event in [
        "InstanceStarted",
        "InstanceDeleted",
        "InstanceUnplaceable",
        "InstanceOperationDone",
        "InstancePowerObserved",
        "PortPlugged",
        "PortUnplugged",
        "InstanceUpdated",
        "SubnetUpdated",
        "SecurityGroupRuleAdded",
        "SecurityGroupRuleRemoved",
    ] {
        assert!(counts.get(event).is_some_and(|n| *n > 100), "{event} hardly ever happened: {counts:#?}");
    }
}
