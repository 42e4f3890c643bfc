//! Where a network's guests knock.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use strata_events::NetworkId;
use strata_events::port::MacAddress;

/// Where guests look for their metadata.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), 80);

/// Opens doors. Blocking calls.
pub trait Doors: Send + Sync + 'static {
    /// The door of a network.
    fn open(&self, network: &NetworkId) -> io::Result<Door>;
    /// What tells its place from all others, also from the one that had its name before.
    fn place(&self, network: &NetworkId) -> io::Result<u64>;
}

/// An open door.
#[derive(Debug)]
pub struct Door {
    pub listener: TcpListener,
    /// Who is behind which address, if it is known.
    pub neighbours: Option<Neighbours>,
    pub place: u64,
}

impl Door {
    /// A door in the network namespace of the calling thread.
    pub fn here(place: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(ADDRESS)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, neighbours: Some(Neighbours(File::open("/proc/thread-self/net/arp")?)), place })
    }
}

/// The kernel's table of neighbours in one network namespace: it shows that of the thread that opened it, whoever reads it.
#[derive(Debug)]
pub struct Neighbours(File);

impl Neighbours {
    /// The MAC behind an address; none: nothing is known.
    pub fn mac(&self, ip: IpAddr) -> Option<MacAddress> {
        let mut table = vec![];
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = self.0.read_at(&mut buffer, table.len() as u64) {
            table.extend_from_slice(&buffer[..read]);
        }
        resolved(&String::from_utf8_lossy(&table), ip)
    }
}

/// Lines are `address type flags mac mask device`; flag 2 says that the MAC is known.
fn resolved(table: &str, ip: IpAddr) -> Option<MacAddress> {
    let mut lines = table.lines().skip(1).map(|l| l.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|l| l.first().and_then(|a| a.parse().ok()) == Some(ip))?;
    let flags = u32::from_str_radix(line.get(2)?.strip_prefix("0x")?, 16).ok()?;
    if flags & 2 == 0 { None } else { line.get(3)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_known_when_the_kernel_resolved_it() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.5         0x1         0x2         fa:16:3e:00:00:05     *        ns-1\n\
                     10.0.0.6         0x1         0x0         00:00:00:00:00:00     *        ns-1\n";
        let mac = |ip: &str| resolved(table, ip.parse().expect("an address"));
        assert_eq!(mac("10.0.0.5"), Some(MacAddress([0xfa, 0x16, 0x3e, 0, 0, 5])));
        assert_eq!(mac("10.0.0.6"), None);
        assert_eq!(mac("10.0.0.7"), None);
        assert_eq!(resolved("", "10.0.0.5".parse().expect("an address")), None);
    }

    #[test]
    fn the_kernels_own_table_can_be_read() {
        let neighbours = Neighbours(File::open("/proc/thread-self/net/arp").expect("Linux has it"));
        assert_eq!(neighbours.mac("0.0.0.0".parse().expect("an address")), None);
    }
}
