//! Devices and addresses by netlink: read in one dump, changed one attribute at a time, each change counted.

use crate::DataplaneError;
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeBooleanOptionFlags, BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strata_events::port::MacAddress;

// linux/netlink.h
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;

/// What a device is, as far as this host makes such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bridge,
    Tap,
    Veth,
    Other,
}

/// A device as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub kind: Kind,
    pub master: Option<u32>,
    pub up: bool,
    /// Somebody is at the other end; of a device that is up only.
    pub carrier: bool,
    pub mtu: u32,
    pub mac: Vec<u8>,
    /// The host itself may speak IPv6 on it.
    pub ipv6: bool,
    /// Of a bridge: its frames are shown to the packet filter, and it learns nothing from those that the filter is not shown.
    pub guarded: bool,
}

/// How often anything on the host was changed.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    made: AtomicU64,
    /// For tests: after so many changes this worker is as good as dead.
    fuse: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { made: AtomicU64::new(0), fuse: AtomicU64::new(u64::MAX) }
    }
}

impl Changes {
    /// Said before each change.
    pub fn one(&self) {
        if self.0.made.fetch_add(1, Ordering::Relaxed) >= self.0.fuse.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("the worker died"));
        }
    }
    pub fn count(&self) -> u64 {
        self.0.made.load(Ordering::Relaxed)
    }
    /// Lets so many more changes happen; whatever would do the next one breaks off. For tests.
    pub fn die_after(&self, changes: u64) {
        self.0.fuse.store(self.count().saturating_add(changes), Ordering::Relaxed);
    }
}

/// A namespace's devices.
#[derive(Clone)]
pub struct Netlink {
    handle: Handle,
    changes: Changes,
}

pub type Links = BTreeMap<String, Link>;

fn failed(what: impl std::fmt::Display) -> impl FnOnce(rtnetlink::Error) -> DataplaneError {
    move |e| DataplaneError::Failed(format!("{what}: {}", reason(&e)))
}

/// The kernel's own word where there is one.
fn reason(e: &rtnetlink::Error) -> String {
    match e {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

impl Netlink {
    /// Call inside the namespace that it shall be about, with a runtime entered.
    pub fn open(changes: Changes) -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle, changes })
    }

    pub async fn links(&self) -> Result<Links, DataplaneError> {
        let unreachable = |e| DataplaneError::Unavailable(format!("devices can't be listed: {}", reason(&e)));
        let mut found = Links::new();
        let mut all = self.handle.link().get().execute();
        while let Some(message) = all.try_next().await.map_err(unreachable)? {
            if let Some((name, link)) = read(&message) {
                found.insert(name, link);
            }
        }
        Ok(found)
    }

    /// The addresses of a device, without those that IPv6 gives itself on the link.
    pub async fn addresses(&self, index: u32) -> Result<BTreeSet<IpNet>, DataplaneError> {
        let unreachable = |e| DataplaneError::Unavailable(format!("addresses can't be listed: {}", reason(&e)));
        let mut found = BTreeSet::new();
        let mut all = self.handle.address().get().set_link_index_filter(index).execute();
        while let Some(message) = all.try_next().await.map_err(unreachable)? {
            let ip = message.attributes.iter().find_map(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None });
            if let Some(net) = ip.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok())
                && !matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
            {
                found.insert(net);
            }
        }
        Ok(found)
    }

    async fn add(&self, message: LinkMessage, name: &str) -> Result<(), DataplaneError> {
        self.changes.one();
        self.handle.link().add(message).execute().await.map_err(failed(format_args!("device {name} can't be made")))
    }
    async fn set(&self, message: LinkMessage, name: &str, what: &str) -> Result<(), DataplaneError> {
        self.changes.one();
        self.handle.link().set(message).execute().await.map_err(failed(format_args!("device {name} can't be {what}")))
    }

    /// A bridge on which guests' packets are shown to the packet filter, and which no tree of bridges delays.
    pub async fn add_bridge(&self, name: &str, mac: MacAddress, mtu: u32) -> Result<(), DataplaneError> {
        let bridge = guarded(LinkBridge::new(name))
            .down()
            .mtu(mtu)
            .address(mac.0.to_vec())
            .forward_delay(0)
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .nf_call_arptables(false);
        self.add(bridge.build(), name).await?;
        self.without_ipv6(name)
    }
    /// Makes a bridge that is there such a one.
    pub async fn guard(&self, name: &str) -> Result<(), DataplaneError> {
        self.changes.one();
        let bridge = guarded(LinkMessageBuilder::<LinkBridge>::new(name)).build();
        let change = self.handle.link().add(bridge).set_flags(REQUEST | ACK);
        change.execute().await.map_err(failed(format_args!("device {name} can't be shown to the packet filter")))
    }
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<(), DataplaneError> {
        self.add(LinkVeth::new(name, peer).down().build(), name).await?;
        self.without_ipv6(name)
    }
    /// The devices of guests carry their traffic, not the host's own announcements.
    pub fn without_ipv6(&self, name: &str) -> Result<(), DataplaneError> {
        let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        match std::fs::read_to_string(&file) {
            Ok(now) if now.trim() != "1" => {
                self.changes.one();
                std::fs::write(&file, "1").map_err(|e| DataplaneError::Failed(format!("{file}: {e}")))
            }
            _ => Ok(()), // so already, or a kernel without IPv6
        }
    }
    pub async fn delete(&self, name: &str, index: u32) -> Result<(), DataplaneError> {
        self.changes.one();
        self.handle.link().del(index).execute().await.map_err(failed(format_args!("device {name} can't be deleted")))
    }
    pub async fn set_up(&self, name: &str, index: u32, up: bool) -> Result<(), DataplaneError> {
        let message = LinkUnspec::new_with_index(index);
        let message = if up { message.up() } else { message.down() };
        self.set(message.build(), name, if up { "set up" } else { "set down" }).await
    }
    pub async fn set_mtu(&self, name: &str, index: u32, mtu: u32) -> Result<(), DataplaneError> {
        self.set(LinkUnspec::new_with_index(index).mtu(mtu).build(), name, "given its MTU").await
    }
    pub async fn set_mac(&self, name: &str, index: u32, mac: MacAddress) -> Result<(), DataplaneError> {
        self.set(LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build(), name, "given its MAC address").await
    }
    pub async fn set_master(&self, name: &str, index: u32, master: Option<u32>) -> Result<(), DataplaneError> {
        let message = LinkUnspec::new_with_index(index);
        let message = master.map_or_else(|| LinkUnspec::new_with_index(index).nocontroller(), |m| message.controller(m));
        self.set(message.build(), name, "put on its bridge").await
    }
    pub async fn move_to(&self, name: &str, index: u32, namespace: &std::fs::File) -> Result<(), DataplaneError> {
        self.set(LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd()).build(), name, "moved to its namespace").await
    }
    pub async fn add_address(&self, name: &str, index: u32, net: IpNet) -> Result<(), DataplaneError> {
        self.changes.one();
        let add = self.handle.address().add(index, net.addr(), net.prefix_len()).replace();
        add.execute().await.map_err(failed(format_args!("{name} can't be given the address {net}")))
    }
    pub async fn remove_address(&self, name: &str, index: u32, net: IpNet) -> Result<(), DataplaneError> {
        let unreachable = |e| DataplaneError::Unavailable(format!("addresses can't be listed: {}", reason(&e)));
        let mut all = self.handle.address().get().set_link_index_filter(index).execute();
        let mut found = vec![];
        while let Some(message) = all.try_next().await.map_err(unreachable)? {
            let same = message.attributes.iter().any(|a| matches!(a, AddressAttribute::Address(ip) if *ip == net.addr()));
            if same && message.header.prefix_len == net.prefix_len() {
                found.push(message);
            }
        }
        for message in found {
            self.changes.one();
            self.handle.address().del(message).execute().await.map_err(failed(format_args!("{net} can't be taken from {name}")))?;
        }
        Ok(())
    }
}

/// A bridge that shows its frames to the packet filter. Some it keeps for itself (LLDP's, sent to 01:80:c2:00:00:0e) and shows to
/// nobody: from those it must not learn where a MAC is, or a guest could draw its neighbour's traffic to itself.
fn guarded(bridge: LinkMessageBuilder<LinkBridge>) -> LinkMessageBuilder<LinkBridge> {
    bridge.no_linklocal_learn(true).nf_call_iptables(true).nf_call_ip6tables(true)
}

fn is_guarded(options: &[InfoBridge]) -> bool {
    // A kernel that can't show frames at all doesn't speak of it: ports that need it are refused when their rules are loaded.
    let unseen = |o: &InfoBridge| matches!(o, InfoBridge::NfCallIpTables(false) | InfoBridge::NfCallIp6Tables(false));
    let careful = |o: &InfoBridge| matches!(o, InfoBridge::MultiBoolOpt(b) if b.value.contains(BridgeBooleanOptionFlags::NoLinkLocalLearn));
    !options.iter().any(unseen) && options.iter().any(careful)
}

fn read(message: &LinkMessage) -> Option<(String, Link)> {
    let mut link = Link {
        index: message.header.index,
        kind: Kind::Other,
        master: None,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: vec![],
        ipv6: false,
        guarded: false,
    };
    let mut name = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(n) => name = Some(n.clone()),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|i| *i != 0),
            LinkAttribute::Address(mac) => link.mac = mac.clone(),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
                        LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tap,
                        LinkInfo::Kind(InfoKind::Veth) => link.kind = Kind::Veth,
                        LinkInfo::Data(InfoData::Bridge(options)) => link.guarded = is_guarded(options),
                        _ => {}
                    }
                }
            }
            LinkAttribute::AfSpecUnspec(families) => {
                let six = families.iter().flat_map(|f| if let AfSpecUnspec::Inet6(about) = f { about.as_slice() } else { &[] });
                link.ipv6 = six.into_iter().any(|about| matches!(about, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 == 0));
            }
            _ => {}
        }
    }
    Some((name?, link))
}
