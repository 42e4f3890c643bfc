//! Hears of what changes on the host by itself: the kernel tells of devices, addresses and packet filter; dnsmasq and the names
//! of namespaces are looked at every two seconds, everything every half minute.

use super::link::{Changes, Netlink};
use super::netns;
use crate::DataplaneError;
use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;

/// That something changed, and whether it was the packet filter: that one is dear to list.
#[derive(Default)]
pub(super) struct Stir {
    some: Notify,
    filter: AtomicBool,
}

impl Stir {
    pub async fn heard(&self) {
        self.some.notified().await;
    }
    /// Whether the packet filter was changed since this was last asked.
    pub fn of_filter(&self) -> bool {
        self.filter.swap(false, Ordering::Relaxed)
    }
}

fn unavailable(e: impl std::fmt::Display) -> DataplaneError {
    DataplaneError::Unavailable(format!("the kernel's announcements can't be heard: {e}"))
}

/// Tells when a device or an address changes in the namespace of the caller.
fn devices(stir: Arc<Stir>) -> std::io::Result<AbortHandle> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    let watch = async move {
        let hear = async {
            while messages.next().await.is_some() {
                stir.some.notify_one();
            }
        };
        tokio::join!(connection, hear);
        drop(handle);
    };
    Ok(tokio::spawn(watch).abort_handle())
}

/// Tells when the packet filter changes in the namespace of the caller.
fn filter(stir: Arc<Stir>) -> std::io::Result<AbortHandle> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    socket.socket_mut().add_membership(NFNLGRP_NFTABLES)?;
    let watch = async move {
        loop {
            // A buffer that ran over is news too.
            if socket.recv_from_full().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            stir.filter.store(true, Ordering::Relaxed);
            stir.some.notify_one();
        }
    };
    Ok(tokio::spawn(watch).abort_handle())
}

/// Watches the host itself.
pub(super) fn host(stir: &Arc<Stir>) -> Result<Vec<AbortHandle>, DataplaneError> {
    Ok(vec![devices(stir.clone()).map_err(unavailable)?, filter(stir.clone()).map_err(unavailable)?])
}

/// Opens a namespace for reading and changing, and watches it.
pub(super) fn enter(path: &Path, changes: Changes, stir: Arc<Stir>) -> Result<(Netlink, AbortHandle), DataplaneError> {
    let runtime = tokio::runtime::Handle::current();
    let opened = netns::in_namespace(path, || {
        let _entered = runtime.enter();
        Ok::<_, std::io::Error>((Netlink::open(changes)?, devices(stir)?))
    });
    opened.and_then(|inner| inner).map_err(|e| DataplaneError::Unavailable(format!("{}: {e}", path.display())))
}
