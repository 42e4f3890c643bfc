//! A worker may die before any of its changes: the next one completes what it began, and what shall go goes wholly.

use crate::lab::*;
use crate::{LONG, nothing_left};
use std::sync::Arc;
use strata_events::PortId;
use strata_network::{Dataplane, DataplaneError, Found, LinuxDataplane};
use strata_projections::plan::group::GroupPlan;
use strata_projections::plan::port::PlannedPlug;

#[derive(Clone)]
enum Step {
    Have(PortId, Box<PlannedPlug>),
    /// And these ports look whether anything is left to do, as all do when a worker starts.
    Members(GroupPlan, Vec<(PortId, PlannedPlug)>),
    Without(PortId),
}

impl Step {
    async fn take(&self, dataplane: &LinuxDataplane) -> Result<(), DataplaneError> {
        match self {
            Step::Have(id, plug) => dataplane.update(id, plug).await,
            Step::Members(group, ports) => {
                dataplane.members(group).await?;
                for (id, plug) in ports {
                    if dataplane.find(id).await? != Found::Whole(Box::new(plug.clone())) {
                        dataplane.update(id, plug).await?;
                    }
                }
                Ok(())
            }
            Step::Without(id) => dataplane.unplug(id).await,
        }
    }
    async fn is_done(&self, dataplane: &LinuxDataplane) -> bool {
        match self {
            Step::Have(id, plug) => dataplane.find(id).await == Ok(Found::Whole(plug.clone())),
            Step::Members(_, ports) => dataplane.find(&ports[0].0).await == Ok(Found::Whole(Box::new(ports[0].1.clone()))),
            Step::Without(id) => dataplane.find(id).await == Ok(Found::Nothing),
        }
    }
}

/// Takes a step with workers of which each lives one change longer than the one before it. How many died.
async fn outlive(lab: &Lab, step: &Step) -> u64 {
    for changes in 0..60 {
        let dataplane = Arc::new(lab.open());
        dataplane.die_after(changes);
        let (worker, asked) = (dataplane.clone(), step.clone());
        let took = tokio::spawn(async move { asked.take(&worker).await }).await;
        if matches!(took, Ok(Ok(()))) {
            assert!(step.is_done(&dataplane).await, "after {changes} deaths");
            return changes;
        }
    }
    panic!("it never comes to an end");
}

#[test]
fn a_worker_that_dies_before_any_change_is_made_good_by_the_next() {
    on_a_host("crashes", |lab| async move {
        let have = |n, plug| Step::Have(port_id(n), Box::new(plug));
        let mut open = plug(1, 11);
        open.rules.push(tcp(80));
        open.mtu = 1400;
        let members = GroupPlan { id: GROUP, members: vec!["10.0.0.12/32".parse().unwrap()] };
        let mut deaths = outlive(&lab, &have(11, plug(1, 11))).await;
        deaths += outlive(&lab, &have(12, plug(1, 12))).await;
        deaths += outlive(&lab, &have(11, open.clone())).await;
        let ports = vec![(port_id(11), open), (port_id(12), plug(1, 12))];
        deaths += outlive(&lab, &Step::Members(members, ports)).await;
        let (a, b) = (Guest::with_address(11), Guest::with_address(12));
        a.echo(7);
        assert!(b.echoed(ip(11), 7, LONG), "what was made by so many works");
        drop((a, b));
        deaths += outlive(&lab, &Step::Without(port_id(12))).await;
        deaths += outlive(&lab, &Step::Without(port_id(11))).await;
        assert!(deaths > 20, "only {deaths} workers died");
        assert!(nothing_left(&lab), "{}{}{}", run("ip -o link"), run("ls /run/netns"), run("nft list ruleset"));
    });
}

#[test]
fn a_port_whose_making_was_cut_off_anywhere_goes_wholly() {
    on_a_host("cut", |lab| async move {
        for changes in 0..60 {
            let dataplane = Arc::new(lab.open());
            dataplane.die_after(changes);
            let worker = dataplane.clone();
            let made = tokio::spawn(async move { worker.plug(&port_id(11), &plug(1, 11)).await }).await;
            drop(dataplane);
            let next = lab.open();
            next.unplug(&port_id(11)).await.unwrap();
            assert_eq!(next.find(&port_id(11)).await, Ok(Found::Nothing), "after {changes} changes");
            assert!(
                nothing_left(&lab),
                "after {changes} changes: {}{}{}",
                run("ip -o link"),
                run("ls /run/netns"),
                run("nft list ruleset")
            );
            if matches!(made, Ok(Ok(()))) {
                return assert!(changes > 10, "it takes more than {changes} changes to make a port");
            }
        }
        panic!("a port takes fewer changes than that");
    });
}
