//! The whole machine loses its power, and a cloud that is wiped.

use crate::lab::{Lab, SOON, up};
use crate::wait::eventually;
use serde_json::json;

#[test]
fn a_power_cut_loses_nothing_and_a_wipe_leaves_nothing() {
    let mut lab = Lab::start();
    let ids = ["one", "two"].map(|name| lab.create(name, json!({})).id);
    for guest in ids.iter().map(|id| lab.guest(id)) {
        guest.wait_ready(1);
    }
    lab.guest(&ids[0]).ssh("echo mine > /state/file && sync");

    lab.machine.cut_power();
    lab.machine.power_on();
    let lab = lab.watched();
    up(&lab.machine, &lab.data);
    for guest in ids.iter().map(|id| lab.guest(id)) {
        eventually("the server says how it is", SOON, || {
            let server = guest.try_show()?;
            let settled = server["OS-EXT-STS:task_state"].is_null() && matches!(server["status"].as_str(), Some("SHUTOFF" | "ACTIVE"));
            let true_to_life = (server["status"] == "ACTIVE") == guest.qemu().is_some();
            if settled && true_to_life { Ok(()) } else { Err(format!("{server}")) }
        });
        if guest.show()["status"] == "SHUTOFF" {
            guest.act(json!({"os-start": null}));
        }
        guest.wait_ready(2);
        guest.wait_status("ACTIVE", SOON);
    }
    assert_eq!(lab.guest(&ids[0]).ssh("cat /state/file"), "mine");
    lab.is_well();

    // With its guests running.
    lab.tool(&["down", "--wipe"]);
    assert_eq!(lab.remains(), Vec::<String>::new());
    assert!(!lab.data.exists(), "{} is left", lab.data.display());
    let filter = lab.machine.sh("nft list ruleset");
    assert_eq!(filter, "", "rules are left");
    let others: Vec<_> = lab.machine.processes().into_iter().filter(|(pid, _)| *pid != 1).collect();
    assert_eq!(others, [], "processes are left");
}
