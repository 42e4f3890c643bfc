//! `strata down --guests`, with what a cloud leaves running.

use crate::lab::{Lab, SOON};
use serde_json::json;

#[test]
fn guests_are_shut_down_also_when_the_cloud_is_down_and_has_no_hypervisor_any_more() {
    let lab = Lab::start();
    let lab = lab.watched();
    let guests = ["runs", "paused"].map(|name| lab.create(name, json!({})));
    for guest in &guests {
        guest.wait_ready(1);
    }
    guests[1].act(json!({"pause": null}));
    guests[1].wait_status("PAUSED", SOON);
    lab.tool(&["down"]);
    assert!(guests.iter().all(|g| g.qemu().is_some()), "`strata down` leaves guests running");
    lab.tool(&["up", "--simulated", "1"]);
    let said = lab.tool(&["down", "--guests"]);
    assert!(said.contains("shutting 2 guests down"), "{said}");
    for guest in &guests {
        assert_eq!(guest.qemu(), None, "{said}");
        let log = std::fs::read_to_string(lab.data.join("host/instances").join(&guest.id).join("console.log")).expect("its console");
        assert!(log.contains("GUEST-POWEROFF"), "it was asked: {log}");
    }
    let left: Vec<_> = lab.machine.processes().into_iter().filter(|(_, line)| line.contains("libvirtd")).collect();
    assert_eq!(left, [], "the libvirtd that did it is left");
}
