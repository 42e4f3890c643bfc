//! Taps: made with the one call that makes them, and persistent, so that they wait for QEMU and outlive the worker.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;

/// Makes a tap for a virtio NIC: frames come with the header in which the guest leaves checksums and segments to the host.
#[allow(unsafe_code)]
pub fn create(name: &str) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long for a device")));
    }
    let tun = File::options().read(true).write(true).open("/dev/net/tun").map_err(|e| {
        io::Error::new(e.kind(), format!("/dev/net/tun can't be opened ({e}); load the tun module, or allow the device to this container"))
    })?;
    // SAFETY: ifreq is plain data for which zeros are a value.
    let mut ask: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    ask.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open and the request takes an ifreq.
    if unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut ask) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and the request takes a number.
    if unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETPERSIST, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
