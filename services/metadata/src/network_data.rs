//! `network_data.json`: links, the networks on them, and DNS.

use serde_json::{Value, json};
use strata_projections::plan::instance::InstancePlan;

pub(crate) fn document(plan: &InstancePlan) -> Value {
    let links = plan.nics.iter().map(|nic| {
        json!({
            "id": format!("tap{}", nic.port.to_string().get(..11).unwrap_or_default()),
            "vif_id": nic.port,
            "type": "bridge",
            "mtu": nic.mtu,
            "ethernet_mac_address": nic.mac.to_string(),
        })
    });
    json!({"links": links.collect::<Vec<_>>(), "networks": [], "services": []})
}
