//! What may be asked of a network. Invariants: a segment (VNI, VLAN, untagged physical network) has one live owner; a network
//! that ports are on stays.

use super::distributed::goes_with_its_network;
use super::tags::{self, TagChange};
use crate::{Class, Command, Context, Decision, Refusal, events};
use ipnet::IpNet;
use std::sync::Arc;
use strata_events::network::{NetworkAttributes, NetworkEvent, Segment};
use strata_events::port::PortEvent;
use strata_events::subnet::SubnetEvent;
use strata_events::{Event, NetworkId, ProjectId};
use strata_projections::Cloud;
use strata_projections::cloud::network::{MAX_VNI, Network};

/// What of a 1500-byte physical network is left inside VXLAN over IPv4.
pub const VXLAN_MTU: u16 = 1450;
pub const PHYSICAL_MTU: u16 = 1500;
const FIRST_VNI: u32 = 1;

/// Whose networks a question may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// An admin's: every network.
    All,
    /// Those that a project owns, or that are shared or external.
    Project(ProjectId),
}

impl Scope {
    pub fn sees(&self, network: &Network) -> bool {
        match self {
            Scope::All => true,
            Scope::Project(project) => network.project == *project || network.is_common(),
        }
    }
    /// The network, if it exists in this scope.
    pub fn network<'a>(&self, cloud: &'a Cloud, id: &NetworkId) -> Result<&'a Arc<Network>, Refusal> {
        cloud.networks.get(id).filter(|n| self.sees(n)).ok_or_else(|| not_found(id))
    }
}

pub fn not_found(id: &NetworkId) -> Refusal {
    Refusal::not_found("Network", id).with_kind("NetworkNotFound")
}

/// `Invalid input for operation: …`, Neutron's general no.
pub fn invalid_input(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Class::Invalid, "InvalidInput", format!("Invalid input for operation: {why}."))
}

/// Refuses what would pass a quota. `more` is how many are asked for beyond what the cloud counts.
pub fn within_quota(cloud: &Cloud, project: &ProjectId, resource: &str, used: u32, more: u64) -> Result<(), Refusal> {
    if cloud.quotas.admits(project, &format!("network.{resource}"), used.into(), more) {
        return Ok(());
    }
    Err(Refusal::new(Class::OverQuota, "OverQuota", format!("Quota exceeded for resources: ['{resource}'].")))
}

/// If a client named the revision that it knows, it must be the present one.
pub fn same_revision(wanted: Option<u32>, now: u32) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != now => Err(Refusal::new(
            Class::Conflict,
            "RevisionNumberConstraintFailed",
            format!("Constrained to {wanted}, but current revision is {now}"),
        )),
        _ => Ok(()),
    }
}

/// What segment is wanted; naming one is for admins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedSegment {
    /// A VXLAN with a free VNI, or this one.
    Vxlan(Option<u32>),
    Flat(String),
    /// A VLAN with a free tag, or this one.
    Vlan(String, Option<u16>),
}

/// Makes a network.
#[derive(Debug, Clone)]
pub struct CreateNetwork {
    pub id: NetworkId,
    pub project: ProjectId,
    pub segment: WantedSegment,
    /// None: what the segment carries.
    pub mtu: Option<u16>,
    /// Its MTU is decided here.
    pub attributes: NetworkAttributes,
}

impl Command for CreateNetwork {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        within_quota(cloud, &self.project, "network", cloud.networks.count(&self.project), 1)?;
        for zone in &self.attributes.availability_zone_hints {
            if !cloud.hosts.values().any(|h| h.zone == *zone) {
                return Err(Refusal::not_found("AvailabilityZone", zone).with_kind("AvailabilityZoneNotFound"));
            }
        }
        let segment = segment(cloud, &self.segment)?;
        let mtu = checked_mtu(&segment, self.mtu)?;
        let attributes = NetworkAttributes { mtu, ..self.attributes.clone() };
        Ok(events![NetworkEvent::NetworkCreated { id: self.id, project: self.project, segment, attributes }])
    }
}

fn segment(cloud: &Cloud, wanted: &WantedSegment) -> Result<Segment, Refusal> {
    let taken = |kind, what: String| Refusal::new(Class::Conflict, kind, format!("Unable to create the network. {what} is in use."));
    let none_left = || {
        Refusal::new(
            Class::Unavailable,
            "NoNetworkAvailable",
            "Unable to create the network. No tenant network is available for allocation.",
        )
    };
    Ok(match wanted {
        WantedSegment::Vxlan(None) => Segment::Vxlan { vni: cloud.networks.free_vni(FIRST_VNI).ok_or_else(none_left)? },
        WantedSegment::Vxlan(Some(vni)) => {
            if !(FIRST_VNI..=MAX_VNI).contains(vni) {
                return Err(invalid_input(format_args!("segmentation_id out of range ({FIRST_VNI} through {MAX_VNI})")));
            }
            if cloud.networks.owner_of_vni(*vni).is_some() {
                return Err(taken("TunnelIdInUse", format!("The tunnel ID {vni}")));
            }
            Segment::Vxlan { vni: *vni }
        }
        WantedSegment::Flat(physical) => {
            if cloud.networks.owner_of_physical(physical, None).is_some() {
                return Err(Refusal::new(
                    Class::Conflict,
                    "FlatNetworkInUse",
                    format!("Unable to create the flat network. Physical network {physical} is in use."),
                ));
            }
            Segment::Flat { physical_network: physical.clone() }
        }
        WantedSegment::Vlan(physical, vlan) => {
            let free = |vlan: &u16| cloud.networks.owner_of_physical(physical, Some(*vlan)).is_none();
            let vlan = match vlan {
                None => (1..=4094).find(free).ok_or_else(none_left)?,
                Some(vlan) if !(1..=4094).contains(vlan) => return Err(invalid_input("segmentation_id out of range (1 through 4094)")),
                Some(vlan) if !free(vlan) => return Err(taken("VlanIdInUse", format!("The VLAN {vlan} on physical network {physical}"))),
                Some(vlan) => *vlan,
            };
            Segment::Vlan { physical_network: physical.clone(), vlan }
        }
    })
}

fn checked_mtu(segment: &Segment, wanted: Option<u16>) -> Result<u16, Refusal> {
    let most = if matches!(segment, Segment::Vxlan { .. }) { VXLAN_MTU } else { PHYSICAL_MTU };
    match wanted {
        None | Some(0) => Ok(most),
        Some(mtu) if mtu > most => Err(invalid_input(format_args!("Requested MTU is too big, maximum is {most}"))),
        Some(mtu) => Ok(mtu),
    }
}

/// Whether frames of this size can carry the subnet's version of IP at all (RFC 791, RFC 8200).
pub(super) fn carries(mtu: u16, cidr: &IpNet) -> Result<(), Refusal> {
    let (version, least) = if matches!(cidr, IpNet::V4(_)) { (4, 68) } else { (6, 1280) };
    if mtu >= least {
        return Ok(());
    }
    let message = format!("The network's MTU of {mtu} is below the minimum of {least} that its IPv{version} subnet {cidr} needs.");
    Err(Refusal::new(Class::Conflict, "NetworkMTUSubnetConflict", message))
}

/// Changes what is given.
#[derive(Debug, Clone, Default)]
pub struct NetworkChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub admin_state_up: Option<bool>,
    pub shared: Option<bool>,
    pub external: Option<bool>,
    pub is_default: Option<bool>,
    pub port_security_enabled: Option<bool>,
    pub mtu: Option<u16>,
    pub tags: Option<TagChange>,
}

/// Changes a network.
#[derive(Debug, Clone)]
pub struct UpdateNetwork {
    pub id: NetworkId,
    pub changes: NetworkChanges,
    pub revision: Option<u32>,
}

impl Command for UpdateNetwork {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let network = cloud.networks.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, network.revision)?;
        let (old, ask) = (&network.attributes, self.changes.clone());
        let attributes = NetworkAttributes {
            name: ask.name.unwrap_or_else(|| old.name.clone()),
            description: ask.description.unwrap_or_else(|| old.description.clone()),
            admin_state_up: ask.admin_state_up.unwrap_or(old.admin_state_up),
            shared: ask.shared.unwrap_or(old.shared),
            external: ask.external.unwrap_or(old.external),
            is_default: ask.is_default.unwrap_or(old.is_default),
            port_security_enabled: ask.port_security_enabled.unwrap_or(old.port_security_enabled),
            mtu: match ask.mtu {
                Some(mtu) => {
                    let mtu = checked_mtu(&network.segment, Some(mtu))?;
                    cloud.subnets.on_network(&self.id).try_for_each(|s| carries(mtu, &s.cidr))?;
                    mtu
                }
                None => old.mtu,
            },
            dns_domain: old.dns_domain.clone(),
            availability_zone_hints: old.availability_zone_hints.clone(),
            tags: tags::changed(&old.tags, ask.tags.as_ref())?,
        };
        if old.shared && !attributes.shared && used_by_others(cloud, network) {
            return Err(Refusal::new(
                Class::Conflict,
                "InvalidSharedSetting",
                format!("Unable to reconfigure sharing settings for network {}. Multiple tenants are using it.", old.name),
            ));
        }
        if attributes == *old { Ok(vec![]) } else { Ok(events![NetworkEvent::NetworkUpdated { id: self.id, attributes }]) }
    }
}

fn used_by_others(cloud: &Cloud, network: &Network) -> bool {
    cloud.ports.on_network(&network.id).any(|p| p.project != network.project)
        || cloud.subnets.on_network(&network.id).any(|s| s.project != network.project)
}

/// Deletes a network with its subnets; nothing may be plugged in.
#[derive(Debug, Clone)]
pub struct DeleteNetwork {
    pub id: NetworkId,
    pub revision: Option<u32>,
}

impl Command for DeleteNetwork {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let network = cloud.networks.get(&self.id).ok_or_else(|| not_found(&self.id))?;
        same_revision(self.revision, network.revision)?;
        if cloud.ports.on_network(&self.id).any(|p| !goes_with_its_network(p)) {
            return Err(Refusal::new(
                Class::Conflict,
                "NetworkInUse",
                format!("Unable to complete operation on network {}. There are one or more ports still in use on the network.", self.id),
            ));
        }
        let ports = cloud.ports.on_network(&self.id).map(|p| Event::from(PortEvent::PortDeleted { id: p.id }));
        let subnets = cloud.subnets.on_network(&self.id).map(|s| Event::from(SubnetEvent::SubnetDeleted { id: s.id }));
        Ok(ports.chain(subnets).chain([NetworkEvent::NetworkDeleted { id: self.id }.into()]).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::given;
    use uuid::Uuid;

    pub const ALICE: ProjectId = ProjectId(Uuid::from_u128(0xa));
    pub const BOB: ProjectId = ProjectId(Uuid::from_u128(0xb));

    pub fn create(n: u128) -> CreateNetwork {
        CreateNetwork {
            id: NetworkId(Uuid::from_u128(n)),
            project: ALICE,
            segment: WantedSegment::Vxlan(None),
            mtu: None,
            attributes: NetworkAttributes {
                name: format!("net{n}"),
                description: String::new(),
                admin_state_up: true,
                shared: false,
                external: false,
                is_default: false,
                port_security_enabled: true,
                mtu: 0,
                dns_domain: String::new(),
                availability_zone_hints: vec![],
                tags: vec![],
            },
        }
    }
    fn vni(cloud: &Cloud, n: u128) -> u32 {
        match cloud.networks.get(&NetworkId(Uuid::from_u128(n))).map(|n| n.segment.clone()) {
            Some(Segment::Vxlan { vni }) => vni,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_lowest_free_vni_is_given_and_given_again_when_free() {
        let cloud = given([]).and(create(1)).and(create(2)).and(create(3)).cloud;
        assert_eq!([1, 2, 3].map(|n| vni(&cloud, n)), [1, 2, 3]);
        let cloud = crate::testing::on(cloud).and(DeleteNetwork { id: NetworkId(Uuid::from_u128(2)), revision: None }).and(create(4)).cloud;
        assert_eq!(vni(&cloud, 4), 2);
    }

    #[test]
    fn a_vni_has_one_owner() {
        let seven = |n| CreateNetwork { segment: WantedSegment::Vxlan(Some(7)), ..create(n) };
        given([]).and(seven(1)).when(seven(2)).refused(Class::Conflict, "The tunnel ID 7 is in use.");
        given([]).when(CreateNetwork { segment: WantedSegment::Vxlan(Some(1 << 24)), ..create(1) }).refused(Class::Invalid, "out of range");
    }

    #[test]
    fn vxlan_carries_1450_bytes() {
        let cloud = given([]).when(create(1)).accepted();
        assert_eq!(cloud.networks.mtu(&NetworkId(Uuid::from_u128(1))), 1450);
        given([]).when(CreateNetwork { mtu: Some(1500), ..create(1) }).refused(Class::Invalid, "maximum is 1450");
    }

    #[test]
    fn the_network_past_the_quota_is_refused() {
        let given = (1..=100).fold(given([]), |g, n| g.and(create(n)));
        given.when(create(101)).refused(Class::OverQuota, "Quota exceeded for resources: ['network'].");
    }

    #[test]
    fn an_update_that_changes_nothing_is_no_event_and_a_stale_revision_is_refused() {
        let id = NetworkId(Uuid::from_u128(1));
        let rename = |revision| UpdateNetwork { id, changes: NetworkChanges { name: Some("net1".into()), ..Default::default() }, revision };
        given([]).and(create(1)).when(rename(None)).then([]);
        given([]).and(create(1)).when(rename(Some(9))).refused(Class::Conflict, "current revision is 1");
    }
}
