//! The extensions that work, by which clients and test suites know what to try. Source: compute api-ref, "Extensions
//! (extensions) (DEPRECATED)".

use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/extensions", list, Rule::token("os_compute_api:extensions"));
    r.get("/v2.1/extensions/{alias}", show, Rule::token("os_compute_api:extensions"));
}

const EXTENSIONS: &[(&str, &str, &str)] = &[
    ("NMN", "Multinic", "Several networks a server."),
    ("OS-DCF", "DiskConfig", "Disk management of a server."),
    ("OS-EXT-AZ", "ExtendedAvailabilityZone", "The availability zone of a server."),
    ("OS-EXT-IPS", "ExtendedIps", "The type of an address."),
    ("OS-EXT-IPS-MAC", "ExtendedIpsMac", "The MAC address of an address."),
    ("OS-EXT-SRV-ATTR", "ExtendedServerAttributes", "The host of a server."),
    ("OS-EXT-STS", "ExtendedStatus", "The states of a server."),
    ("OS-FLV-DISABLED", "FlavorDisabled", "Whether a flavor is disabled."),
    ("OS-FLV-EXT-DATA", "FlavorExtraData", "The ephemeral disk of a flavor."),
    ("OS-SCH-HNT", "SchedulerHints", "Hints to the scheduler."),
    ("OS-SRV-USG", "ServerUsage", "When a server was launched."),
    ("os-admin-actions", "AdminActions", "Resetting a server's state."),
    ("os-attach-interfaces", "AttachInterfaces", "Plugging ports in and out."),
    ("os-availability-zone", "AvailabilityZone", "Availability zones."),
    ("os-config-drive", "ConfigDrive", "Config drives."),
    ("os-extended-volumes", "ExtendedVolumes", "The volumes of a server."),
    ("os-flavor-access", "FlavorAccess", "Who may use a flavor."),
    ("os-flavor-extra-specs", "FlavorExtraSpecs", "Extra specs of flavors."),
    ("os-flavor-manage", "FlavorManage", "Making and deleting flavors."),
    ("os-flavor-rxtx", "FlavorRxtx", "The rxtx factor of a flavor."),
    ("os-hypervisors", "Hypervisors", "Hypervisors."),
    ("os-instance-actions", "InstanceActions", "What was asked of a server."),
    ("os-keypairs", "Keypairs", "Key pairs."),
    ("os-lock-server", "LockServer", "Locking servers."),
    ("os-multiple-create", "MultipleCreate", "Several servers in one call."),
    ("os-pause-server", "PauseServer", "Pausing servers."),
    ("os-quota-class-sets", "QuotaClasses", "The quotas of projects that have none of their own."),
    ("os-quota-sets", "Quotas", "Quotas of projects."),
    ("os-security-groups", "SecurityGroups", "The security groups of a server."),
    ("os-server-groups", "ServerGroups", "Server groups."),
    ("os-server-start-stop", "ServerStartStop", "Starting and stopping servers."),
    ("os-services", "Services", "Compute services."),
    ("os-suspend-server", "SuspendServer", "Suspending servers."),
    ("os-user-data", "UserData", "User data."),
    ("os-used-limits", "UsedLimits", "How much of the limits is used."),
];

fn view((alias, name, description): &(&str, &str, &str)) -> Value {
    json!({
        "alias": alias, "name": name, "description": description, "links": [], "updated": "2014-12-03T00:00:00Z",
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
    })
}

async fn list(_: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "extensions": EXTENSIONS.iter().map(view).collect::<Vec<_>>() })))
}

async fn show(ctx: Ctx) -> Reply {
    let alias = ctx.param("alias");
    match EXTENSIONS.iter().find(|(a, _, _)| *a == alias) {
        Some(extension) => Ok(Answer::ok(&json!({ "extension": view(extension) }))),
        None => Err(Fault::not_found(format!("There is no extension with the alias {alias}."))),
    }
}
