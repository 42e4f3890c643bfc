//! The host's disk is full under a guest that runs.

use crate::lab::{Lab, SOON};
use crate::wait::eventually;

#[test]
fn a_guest_whose_hosts_disk_is_full_stands_still_is_said_to_and_goes_on_by_itself() {
    let lab = Lab::prepared(|machine, data| {
        let instances = data.join("host/instances");
        machine.sh(&format!("mkdir -p {0} && mount -t tmpfs -o size=128m tmpfs {0}", instances.display()));
    });
    let lab = lab.watched();
    let guest = lab.boot("writer");
    guest.answers();
    let process = guest.qemu();
    let filler = lab.data.join("host/instances/filler");
    lab.machine.sh(&format!("dd if=/dev/zero of={} bs=64k status=none 2> /dev/null || true", filler.display()));
    guest.ssh("(dd if=/dev/urandom of=/dev/vda bs=1M seek=512 count=32 conv=fsync && echo yes > /tmp/wrote) > /dev/null 2>&1 &");
    eventually("it stands still, and the operator is told why", SOON, || {
        let said = lab.tool(&["status"]);
        let still = lab.virsh(&format!("domstate --reason {}", guest.id));
        let told = said.contains(&format!("server {} stands still", guest.id)) && said.contains("disk is full");
        if told && still.contains("I/O error") { Ok(()) } else { Err(format!("{still}\n{said}")) }
    });
    // For its owner it runs, as on any other cloud.
    guest.wait_status("ACTIVE", SOON);
    lab.machine.sh(&format!("rm {}", filler.display()));
    lab.is_well();
    guest.answers();
    eventually("what it was writing is written", SOON, || match guest.try_ssh("cat /tmp/wrote") {
        Ok(said) if said == "yes" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    guest.wait_status("ACTIVE", SOON);
    assert_eq!(guest.qemu(), process, "it was started anew");
}
