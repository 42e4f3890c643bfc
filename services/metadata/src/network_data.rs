//! `network_data.json`: links, the networks on them, and DNS.

use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;
use strata_projections::plan::instance::{InstancePlan, Nic};
use strata_projections::plan::subnet::PlannedSubnet;

pub(crate) fn document(plan: &InstancePlan) -> Value {
    let mut networks = vec![];
    let mut services: Vec<Value> = vec![];
    let mut links = vec![];
    for nic in &plan.nics {
        let link = format!("tap{}", nic.port.to_string().get(..11).unwrap_or_default());
        links.push(json!({
            "id": link,
            "vif_id": nic.port,
            "type": "bridge",
            "mtu": nic.mtu,
            "ethernet_mac_address": nic.mac.to_string(),
        }));
        for (subnet, address) in addresses(nic) {
            networks.push(network(nic, subnet, address, &link, networks.len()));
            for service in dns(subnet) {
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
    }
    json!({"links": links, "networks": networks, "services": services})
}

/// The NIC's addresses with their subnets.
fn addresses(nic: &Nic) -> impl Iterator<Item = (&PlannedSubnet, IpAddr)> {
    nic.fixed_ips.iter().filter_map(|f| Some((nic.subnets.iter().find(|s| s.id == f.subnet)?, f.ip)))
}

fn dns(subnet: &PlannedSubnet) -> Vec<Value> {
    subnet.dns_nameservers.iter().map(|ip| json!({"type": "dns", "address": ip})).collect()
}

fn network(nic: &Nic, subnet: &PlannedSubnet, address: IpAddr, link: &str, number: usize) -> Value {
    let id = format!("network{number}");
    let version = if address.is_ipv4() { 4 } else { 6 };
    if subnet.enable_dhcp && version == 4 {
        return json!({"id": id, "type": "ipv4_dhcp", "link": link, "network_id": nic.network});
    }
    let kind = match (version, subnet.enable_dhcp, &subnet.ipv6_address_mode) {
        (6, true, Some(mode)) => format!("ipv6_{mode}"),
        (6, true, None) => "ipv6_dhcp".into(),
        _ => format!("ipv{version}"),
    };
    let any: IpNet = if version == 4 { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
    let default = subnet.gateway.map(|gateway| route(any, gateway));
    let others = subnet.host_routes.iter().map(|r| route(r.destination, r.nexthop));
    json!({
        "id": id,
        "type": kind,
        "link": link,
        "ip_address": address,
        "netmask": subnet.cidr.netmask(),
        "routes": default.into_iter().chain(others).collect::<Vec<_>>(),
        "network_id": nic.network,
        "services": dns(subnet),
    })
}

fn route(to: IpNet, via: IpAddr) -> Value {
    json!({"network": to.network(), "netmask": to.netmask(), "gateway": via})
}
