//! Taps: made with the one call that makes them, and persistent, so that they wait for QEMU and outlive the worker.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;

/// The header before each frame of a virtio 1 NIC: virtio_net_hdr_v1 (virtio 1.2, 5.1.6).
static HEADER: libc::c_int = 12;

/// Makes a tap for a virtio NIC: frames come with the header in which the guest leaves checksums and segments to the host.
#[allow(unsafe_code)]
pub fn create(name: &str) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun").map_err(|e| {
        io::Error::new(e.kind(), format!("/dev/net/tun can't be opened ({e}); load the tun module, or allow the device to this container"))
    })?;
    attach(&tun, name, true)?;
    // SAFETY: the descriptor is open and the request takes a number.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETPERSIST, 1) })
}

/// Gives a tap to a process that has opened /dev/net/tun as this descriptor, and whose tap is there no more. Without `offloads`
/// its frames have no header before them. Segments and checksums are left to the host again when the guest next starts its NIC.
#[allow(unsafe_code)]
pub fn give(name: &str, pid: u32, descriptor: RawFd, offloads: bool) -> io::Result<()> {
    // SAFETY: both calls take numbers only, and return a descriptor that nobody else has.
    let (process, tun) = unsafe {
        let process = owned(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        let tun = owned(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0))?;
        (process, tun)
    };
    drop(process);
    attach(&tun, name, offloads)?;
    if offloads {
        // SAFETY: the descriptor is open and the request takes a pointer to an int.
        done(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETVNETHDRSZ, &raw const HEADER) })?;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn attach(tun: &impl AsRawFd, name: &str, offloads: bool) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long for a device")));
    }
    // SAFETY: ifreq is plain data for which zeros are a value.
    let mut ask: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ask.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let header = if offloads { libc::IFF_VNET_HDR } else { 0 };
    ask.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | header) as libc::c_short;
    // SAFETY: the descriptor is open and the request takes an ifreq.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut ask) })
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// # Safety
/// `answer` is what a system call answered that opens a descriptor.
#[allow(unsafe_code)]
unsafe fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(answer) {
        // SAFETY: as the caller says.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
