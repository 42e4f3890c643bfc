//! Single calls to libvirt about one domain, as they run on a thread that may block. **Invariant: a domain that does not carry
//! our metadata with this host's name is never changed, nor does anyone learn of it.**

use super::xml::{NAMESPACE, Owner};
use strata_events::instance::Power;
use strata_events::{HostName, InstanceId};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

/// The domain of this instance, if libvirt has one. An error says that it has one which is not ours.
pub fn find(connect: &Connect, host: &HostName, id: &InstanceId) -> Result<Option<(Domain, Owner)>, Found> {
    let domain = match Domain::lookup_by_uuid(connect, id.0) {
        Ok(domain) => domain,
        Err(e) if e.code() == ErrorNumber::NoDomain => return Ok(None),
        Err(e) => return Err(Found::Libvirt(e)),
    };
    match owner(&domain) {
        Ok(Some(owner)) if owner.host == host.0 => Ok(Some((domain, owner))),
        Ok(_) => Err(Found::Foreign),
        // It went while we looked.
        Err(e) if e.code() == ErrorNumber::NoDomain => Ok(None),
        Err(e) => Err(Found::Libvirt(e)),
    }
}

/// Why a domain can't be had.
#[derive(Debug)]
pub enum Found {
    Libvirt(Error),
    /// One with this id is there, and it is somebody else's.
    Foreign,
}

/// What our metadata say; none if there are none.
pub fn owner(domain: &Domain) -> Result<Option<Owner>, Error> {
    match domain.get_metadata(sys::VIR_DOMAIN_METADATA_ELEMENT as i32, Some(NAMESPACE), 0) {
        Ok(element) => Ok(Owner::in_element(&element)),
        Err(e) if e.code() == ErrorNumber::NoDomainMetadata => Ok(None),
        Err(e) => Err(e),
    }
}

/// What it does at this moment.
pub fn power(domain: &Domain) -> Result<Power, Error> {
    Ok(state(domain)?.0)
}

/// What it does at this moment, and whether QEMU holds it because the host could not take what it wrote.
pub fn state(domain: &Domain) -> Result<(Power, bool), Error> {
    let (state, reason) = domain.get_state()?;
    if state == sys::VIR_DOMAIN_PAUSED && reason as u32 == sys::VIR_DOMAIN_PAUSED_IOERROR {
        return Ok((Power::Running, true));
    }
    let power = match state {
        // Nobody is starting it any more: whoever looks has no call of its own under way. libvirtd died in the middle, and such a
        // guest never runs; asked to resume it, libvirt waits for ever.
        sys::VIR_DOMAIN_PAUSED if reason as u32 == sys::VIR_DOMAIN_PAUSED_STARTING_UP => Power::Crashed,
        sys::VIR_DOMAIN_PAUSED => Power::Paused,
        sys::VIR_DOMAIN_SHUTOFF if saved(domain)? => Power::Suspended,
        sys::VIR_DOMAIN_SHUTOFF if reason as u32 == sys::VIR_DOMAIN_SHUTOFF_CRASHED => Power::Crashed,
        sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_NOSTATE => Power::Stopped,
        sys::VIR_DOMAIN_CRASHED => Power::Crashed,
        // Running, blocked on something, or on its way down.
        _ => Power::Running,
    };
    Ok((power, false))
}

/// Lets it go on, if it is held.
pub fn release(domain: &Domain) -> Result<(), Error> {
    let free = || Ok(!state(domain)?.1);
    if free()? { Ok(()) } else { settled(domain.resume(), free) }
}

/// Whether its memory is saved, to go on from.
fn saved(domain: &Domain) -> Result<bool, Error> {
    match domain.has_managed_save(0) {
        Err(e) if e.code() == ErrorNumber::NoDomain => Ok(false),
        other => other,
    }
}

/// Done already is done.
pub fn settled<T>(done: Result<T, Error>, so_already: impl FnOnce() -> Result<bool, Error>) -> Result<(), Error> {
    match done {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain) => {
            if so_already()? {
                Ok(())
            } else {
                Err(e)
            }
        }
        Err(e) => Err(e),
    }
}

pub fn start(domain: &Domain) -> Result<(), Error> {
    if active(domain)? && power(domain)? == Power::Crashed {
        destroy(domain)?;
    }
    settled(domain.create(), || domain.is_active())
}

pub fn destroy(domain: &Domain) -> Result<(), Error> {
    settled(domain.destroy(), || Ok(!active(domain)?))
}

/// A domain that is gone is not active.
pub fn active(domain: &Domain) -> Result<bool, Error> {
    match domain.is_active() {
        Err(e) if e.code() == ErrorNumber::NoDomain => Ok(false),
        other => other,
    }
}

/// Saves its memory to disk and ends it.
pub fn save(connect: &Connect, domain: &Domain, definition: Option<&str>) -> Result<(), Error> {
    let saved = || Ok(power(domain)? == Power::Suspended);
    if saved()? {
        return Ok(());
    }
    if let Some(xml) = definition
        && !domain.is_persistent()?
    {
        // Somebody undefined it while it ran; a domain without a definition can't be saved.
        Domain::define_xml(connect, xml)?;
    }
    settled(domain.managed_save(0), saved)
}

/// Ends it and removes its definition and all that libvirt keeps of it.
pub fn remove(domain: &Domain) -> Result<(), Error> {
    if active(domain)? {
        destroy(domain)?;
    }
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    match domain.undefine_flags(all) {
        Err(e) if e.code() != ErrorNumber::NoDomain => Err(e),
        _ => Ok(()),
    }
}
