//! What hangs, instead of dying: it is said within half a minute, and all goes on once it answers again.

use crate::faults::ground;
use crate::lab::SOON;
use crate::wait::eventually;
use serde_json::json;

#[test]
fn a_libvirt_that_hangs_is_said_to_the_operator_and_to_who_waits_for_it() {
    let ground = ground();
    let lab = ground.watched();
    let (victim, ping) = (ground.victim(), ground.witness().ping());
    let process = victim.qemu();
    let libvirt = lab.pid("libvirt").expect("it runs");
    lab.machine.sh(&format!("kill -STOP {libvirt}"));
    let waiting = lab.create("waiting", json!({}));
    eventually("the operator is told", SOON, || {
        let said = lab.tool(&["status"]);
        if said.contains("its compute worker: ") && said.contains("does not answer") { Ok(()) } else { Err(said) }
    });
    eventually("so is the user", SOON, || {
        let server = waiting.try_show()?;
        let fault = server["fault"]["message"].as_str().unwrap_or_default();
        if server["status"] == "ERROR" && fault.contains("libvirt") { Ok(()) } else { Err(format!("{} {fault}", server["status"])) }
    });
    lab.machine.sh(&format!("kill -CONT {libvirt}"));
    let tap = waiting.tap();
    waiting.delete();
    waiting.wait_gone();
    lab.is_gone(&waiting.id, &tap);
    lab.is_well();
    victim.wait_status("ACTIVE", SOON);
    assert_eq!(victim.qemu(), process, "the guest was started anew");
    ping.lost_nothing("a libvirt that hangs");
}
