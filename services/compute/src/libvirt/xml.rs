//! The domain's XML, a pure function of the plan and of what the host is. **Invariants: the same plan on the same host gives
//! the same text; whatever a user wrote (names) stays text; every disk's format is fixed, so that nothing that a guest
//! writes to it makes it another.**

use std::fmt::Write;
use std::path::Path;
use strata_events::{HostName, PortId};
use strata_projections::plan::instance::{InstancePlan, Nic};

/// The namespace of our metadata: a domain without it is not ours and is left alone.
pub const NAMESPACE: &str = "https://strata.cloud/xmlns/libvirt/instance/1.0";
/// The most NICs and disks that can be plugged in later without a restart.
const SPARE_PORTS: usize = 6;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    Kvm,
    /// Software (TCG).
    Qemu,
}

/// A disk of the guest, in order: vda, vdb, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub file: String,
    pub format: &'static str,
    pub read_only: bool,
    /// What it is a copy-on-write overlay of: file and format.
    pub base: Option<(String, &'static str)>,
}

/// What else the text depends on.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    pub buses: Buses,
    pub host: &'a HostName,
    pub accelerator: Accelerator,
    pub console_log: &'a Path,
    pub disks: &'a [Disk],
}

/// How disks and NICs are plugged in, as the image's properties ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buses {
    disk: &'static str,
    nic: &'static str,
}

impl Buses {
    /// Of hw_disk_bus and hw_vif_model. What this machine type can't do is said in words.
    pub fn of(plan: &InstancePlan) -> Result<Self, String> {
        let wish = |name: &str| plan.image.as_ref().and_then(|i| i.properties.get(name)).and_then(|v| v.as_str());
        let one_of = |name: &str, known: &[&'static str]| match wish(name) {
            None => Ok(known[0]),
            Some(wished) => known
                .iter()
                .copied()
                .find(|k| *k == wished)
                .ok_or_else(|| format!("The image's property {name}={wished} is not supported here; use one of {}.", known.join(", "))),
        };
        Ok(Self {
            disk: one_of("hw_disk_bus", &["virtio", "sata", "scsi"])?,
            nic: one_of("hw_vif_model", &["virtio", "e1000e", "e1000", "rtl8139"])?,
        })
    }
    /// What the guest calls its first disk, without the letter.
    fn prefix(self) -> &'static str {
        if self.disk == "virtio" { "vd" } else { "sd" }
    }
}

/// The name that libvirt and `virsh` show.
pub fn name(plan: &InstancePlan) -> String {
    format!("instance-{}", plan.id)
}

/// The tap that the network worker makes for a port.
pub fn tap(port: &PortId) -> String {
    let id = port.to_string();
    format!("tap{}", id.get(..11).unwrap_or(&id))
}

/// The definition of a domain.
pub fn domain(plan: &InstancePlan, around: &Surroundings<'_>) -> String {
    let mut x = Text::default();
    let (kind, kvm) = match around.accelerator {
        Accelerator::Kvm => ("kvm", true),
        Accelerator::Qemu => ("qemu", false),
    };
    x.open(format_args!("domain type='{kind}'"));
    x.leaf("name", &name(plan));
    x.leaf("uuid", &plan.id.to_string());
    // libvirt takes no line breaks there.
    x.leaf("title", &plan.name.replace(char::is_control, "?"));
    x.open("metadata");
    x.line(format_args!("{}", Owner::of(plan, around.host).element()));
    x.close("metadata");
    x.line(format_args!("<memory unit='MiB'>{}</memory>", plan.size.ram));
    x.line(format_args!("<vcpu>{}</vcpu>", plan.size.vcpus));
    system(&mut x, plan, kvm);
    x.open("devices");
    controllers(&mut x, plan, around);
    for (n, disk) in around.disks.iter().enumerate() {
        drive(&mut x, n, disk, around.buses);
    }
    interfaces(&mut x, &plan.nics, around.buses);
    let log = escape(&around.console_log.to_string_lossy());
    x.open("serial type='pty'");
    // Appending, so that a log that was shortened goes on at its end.
    x.line(format_args!("<log file='{log}' append='on'/>"));
    x.line(format_args!("<target type='isa-serial' port='0'/>"));
    x.close("serial");
    x.line(format_args!("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"));
    x.line(format_args!("<memballoon model='virtio'/>"));
    x.close("devices");
    x.close("domain");
    x.0
}

/// Of one NIC, as it is plugged in.
pub fn nic(nic: &Nic, buses: Buses) -> String {
    let mut x = Text::default();
    interfaces(&mut x, std::slice::from_ref(nic), buses);
    x.0
}

/// Of all NICs, as they stand in a domain.
pub fn nics(plan: &InstancePlan, buses: Buses) -> String {
    let mut x = Text(String::new(), 2);
    interfaces(&mut x, &plan.nics, buses);
    x.0
}

fn interfaces(x: &mut Text, nics: &[Nic], buses: Buses) {
    for nic in nics {
        x.open("interface type='ethernet'");
        x.line(format_args!("<mac address='{}'/>", escape(&nic.mac.to_string())));
        x.line(format_args!("<target dev='{}' managed='no'/>", tap(&nic.port)));
        x.line(format_args!("<model type='{}'/>", buses.nic));
        x.line(format_args!("<mtu size='{}'/>", nic.mtu));
        x.line(format_args!("<rom enabled='no'/>"));
        x.close("interface");
    }
}

fn system(x: &mut Text, plan: &InstancePlan, kvm: bool) {
    // Guests know OpenStack by these names (cloud-init reads the product's).
    x.open("sysinfo type='smbios'");
    x.open("system");
    for (entry, value) in [
        ("manufacturer", "OpenStack Foundation"),
        ("product", "OpenStack Nova"),
        ("version", concat!("Strata ", env!("CARGO_PKG_VERSION"))),
        ("serial", &plan.id.to_string()),
        ("uuid", &plan.id.to_string()),
        ("family", "Virtual Machine"),
    ] {
        x.line(format_args!("<entry name='{entry}'>{}</entry>", escape(value)));
    }
    x.close("system");
    x.close("sysinfo");
    x.line(format_args!("<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/><smbios mode='sysinfo'/></os>"));
    let vcpus = plan.size.vcpus;
    if kvm {
        x.line(format_args!("<features><acpi/><apic/></features>"));
        x.line(format_args!("<cpu mode='host-model'><topology sockets='{vcpus}' cores='1' threads='1'/></cpu>"));
        x.open("clock offset='utc'");
        x.line(format_args!("<timer name='pit' tickpolicy='delay'/>"));
        x.line(format_args!("<timer name='rtc' tickpolicy='catchup'/>"));
        x.line(format_args!("<timer name='hpet' present='no'/>"));
        x.close("clock");
    } else {
        // What translated code is kept in is the largest part of a small guest's memory; qemu64 is the cheapest to emulate.
        x.line(format_args!("<features><acpi/><apic/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>"));
        x.line(format_args!(
            "<cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model><topology sockets='{vcpus}' cores='1' threads='1'/></cpu>"
        ));
        x.line(format_args!("<clock offset='utc'/>"));
    }
    x.line(format_args!("<on_poweroff>destroy</on_poweroff>"));
    x.line(format_args!("<on_reboot>restart</on_reboot>"));
    x.line(format_args!("<on_crash>destroy</on_crash>"));
    // A guest that sleeps by itself could not be woken through the API.
    x.line(format_args!("<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>"));
}

fn controllers(x: &mut Text, plan: &InstancePlan, around: &Surroundings<'_>) {
    x.line(format_args!("<controller type='usb' model='none'/>"));
    x.line(format_args!("<controller type='pci' index='0' model='pcie-root'/>"));
    if around.buses.disk == "scsi" {
        x.line(format_args!("<controller type='scsi' index='0' model='virtio-scsi'/>"));
    }
    // One for each device (random numbers and balloon among them), and some for what is plugged in later.
    for _ in 0..around.disks.len() + plan.nics.len() + 2 + SPARE_PORTS {
        x.line(format_args!("<controller type='pci' model='pcie-root-port'/>"));
    }
}

fn drive(x: &mut Text, n: usize, disk: &Disk, buses: Buses) {
    // At most a root disk, an ephemeral one, swap and the config drive: one letter is enough.
    let letter = char::from(b'a' + (n % 26) as u8);
    x.open("disk type='file' device='disk'");
    x.line(format_args!("<driver name='qemu' type='{}'{}/>", disk.format, if disk.read_only { "" } else { " discard='unmap'" }));
    x.line(format_args!("<source file='{}'/>", escape(&disk.file)));
    if let Some((file, format)) = &disk.base {
        // Said in full, so that nobody has to look into the files for what they are made of.
        x.open("backingStore type='file'");
        x.line(format_args!("<format type='{format}'/>"));
        x.line(format_args!("<source file='{}'/>", escape(file)));
        x.line(format_args!("<backingStore/>"));
        x.close("backingStore");
    }
    x.line(format_args!("<target dev='{}{letter}' bus='{}'/>", buses.prefix(), buses.disk));
    if disk.read_only {
        x.line(format_args!("<readonly/>"));
    }
    x.close("disk");
}

/// What our metadata say of a domain: whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub host: String,
    pub generation: u32,
    pub project: String,
    pub name: String,
}

impl Owner {
    pub fn of(plan: &InstancePlan, host: &HostName) -> Self {
        Self { host: host.0.clone(), generation: plan.generation, project: plan.project.to_string(), name: plan.name.clone() }
    }

    pub fn element(&self) -> String {
        format!(
            "<strata:instance xmlns:strata='{NAMESPACE}' host='{}' generation='{}' project='{}' name='{}'/>",
            escape(&self.host),
            self.generation,
            escape(&self.project),
            escape(&self.name)
        )
    }

    /// From the XML of a whole domain; none if our element is not there.
    pub fn in_domain(xml: &str) -> Option<Self> {
        let begin = xml.find("<strata:instance ")?;
        let (element, namespace) = (&xml[begin..], format!("xmlns:strata='{NAMESPACE}'"));
        if element.find('>').is_some_and(|end| element[..end].contains(&namespace)) { Self::in_element(element) } else { None }
    }

    /// From the element that libvirt answers with when it is asked for our namespace: it then leaves prefix and namespace away.
    pub fn in_element(element: &str) -> Option<Self> {
        let attributes = attributes(&element[..element.find('>')?]);
        let of = |name: &str| attributes.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        let generation = of("generation")?.parse().ok()?;
        Some(Self { host: of("host")?, generation, project: of("project")?, name: of("name")? })
    }
}

/// `name='value'` pairs of one element, without its angle brackets.
fn attributes(element: &str) -> Vec<(&str, String)> {
    let mut found = vec![];
    let mut rest = element;
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].trim_end().rsplit(char::is_whitespace).next().unwrap_or_default();
        let after = rest[equals + 1..].trim_start();
        let Some(quote) = after.chars().next().filter(|q| matches!(q, '\'' | '"')) else { return found };
        let Some(end) = after[1..].find(quote) else { return found };
        found.push((name, unescape(&after[1..1 + end])));
        rest = &after[end + 2..];
    }
    found
}

/// Text as it may stand between tags and in attributes. What XML can't carry becomes a question mark.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // Parsers turn bare white space in attributes into blanks.
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find(';') else { break };
        let entity = &rest[at + 1..at + end];
        let number = match entity.strip_prefix('#') {
            Some(hex) if hex.starts_with('x') => u32::from_str_radix(&hex[1..], 16).ok(),
            Some(decimal) => decimal.parse().ok(),
            None => None,
        };
        match entity {
            "amp" => out.push('&'),
            "lt" => out.push('<'),
            "gt" => out.push('>'),
            "apos" => out.push('\''),
            "quot" => out.push('"'),
            _ => out.push(number.and_then(char::from_u32).unwrap_or('?')),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out
}

/// Indented lines.
#[derive(Default)]
struct Text(String, usize);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{:width$}{line}", "", width = self.1 * 2);
    }
    fn open(&mut self, tag: impl std::fmt::Display) {
        self.line(format_args!("<{tag}>"));
        self.1 += 1;
    }
    fn close(&mut self, tag: &str) {
        self.1 -= 1;
        self.line(format_args!("</{tag}>"));
    }
    fn leaf(&mut self, tag: &str, text: &str) {
        self.line(format_args!("<{tag}>{}</{tag}>", escape(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::tests::{nic, plan};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn disk(file: &str, format: &'static str, read_only: bool) -> Disk {
        Disk { file: file.into(), format, read_only, base: None }
    }

    /// Compares with the file of this name; `STRATA_BLESS=1` writes it.
    fn snapshot(name: &str, text: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/xml").join(name);
        if std::env::var_os("STRATA_BLESS").is_some() {
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("can be made");
            std::fs::write(&file, text).expect("can be written");
        }
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, known, "{} differs; STRATA_BLESS=1 writes it", file.display());
    }

    #[test]
    fn the_text_is_as_it_was() {
        let host = HostName("h1".into());
        let log = Path::new("/var/lib/strata/host/instances/i/console.log");
        let root = [disk("/var/lib/strata/host/instances/i/disk.qcow2", "qcow2", false)];
        let buses = Buses::of(&plan()).expect("the usual ones");
        let mut around = Surroundings { buses, host: &host, accelerator: Accelerator::Qemu, console_log: log, disks: &root };
        let one = InstancePlan { nics: vec![nic(1)], ..plan() };
        snapshot("tcg.xml", &domain(&one, &around));
        around.accelerator = Accelerator::Kvm;
        snapshot("kvm.xml", &domain(&one, &around));
        let all = [
            root[0].clone(),
            disk("/d/ephemeral.qcow2", "qcow2", false),
            Disk { base: Some(("/d/base".into(), "raw")), ..disk("/d/swap.qcow2", "qcow2", false) },
            disk("/d/config.iso", "raw", true),
        ];
        around.disks = &all;
        let mut large = InstancePlan { nics: vec![nic(1), nic(2)], name: "a <b> & 'c'\u{7}".into(), generation: 3, ..plan() };
        large.size.vcpus = 4;
        large.size.ram = 4096;
        snapshot("large.xml", &domain(&large, &around));
    }

    #[test]
    fn an_image_says_how_its_disks_and_nics_are_plugged_in() {
        let with = |name: &str, value: &str| {
            let mut plan = InstancePlan { nics: vec![nic(1)], ..plan() };
            let properties = [(name.to_string(), value.into())].into_iter().collect();
            plan.image = Some(strata_projections::plan::instance::PlannedImage {
                id: strata_events::ImageId(Uuid::nil()),
                disk_format: "raw".into(),
                checksum: String::new(),
                sha512: String::new(),
                size: 0,
                properties,
            });
            plan
        };
        let host = HostName("h1".into());
        let root = [disk("/d/disk.qcow2", "qcow2", false)];
        let text = |plan: &InstancePlan| {
            let buses = Buses::of(plan)?;
            let around = Surroundings { buses, host: &host, accelerator: Accelerator::Qemu, console_log: Path::new("/c"), disks: &root };
            Ok::<_, String>(domain(plan, &around))
        };
        let scsi = text(&with("hw_disk_bus", "scsi")).expect("known");
        assert!(scsi.contains("<target dev='sda' bus='scsi'/>") && scsi.contains("virtio-scsi"), "{scsi}");
        assert!(text(&with("hw_vif_model", "e1000e")).expect("known").contains("<model type='e1000e'/>"));
        let refused = text(&with("hw_vif_model", "x'/><evil>"));
        assert!(refused.is_err_and(|why| why.contains("use one of virtio, e1000e")));
    }

    #[test]
    fn a_tap_has_the_name_that_the_network_worker_gives_it() {
        assert_eq!(tap(&nic(1).port), "tap11112223-33");
    }

    #[test]
    fn a_domain_of_somebody_else_is_not_ours() {
        assert_eq!(Owner::in_domain("<domain><name>x</name></domain>"), None);
        assert_eq!(Owner::in_domain("<strata:instance xmlns:strata='else' host='h1' generation='1' project='p' name='n'/>"), None);
        assert_eq!(Owner::in_domain("<strata:instance "), None);
        assert_eq!(Owner::in_element("<instance host='h1'/>"), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(host in "[a-z0-9.-]{1,40}", generation: u32, name in "\\PC{0,80}") {
            let owner = Owner { host, generation, project: "p".into(), name };
            prop_assert_eq!(Owner::in_domain(&owner.element()), Some(owner.clone()));
            let bare = owner.element().replace("strata:instance", "instance").replace(&format!("xmlns:strata='{NAMESPACE}' "), "");
            prop_assert_eq!(Owner::in_element(&bare), Some(owner));
        }
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}") {
            let _ = Owner::in_element(&text);
            let _ = Owner::in_element(&format!("<instance {text}>"));
            let _ = Owner::in_domain(&format!("<strata:instance {text}>"));
        }
        #[test]
        fn a_users_words_stay_text(name in any::<String>()) {
            let host = HostName("h1".into());
            let buses = Buses { disk: "virtio", nic: "virtio" };
            let around = Surroundings { buses, host: &host, accelerator: Accelerator::Qemu, console_log: Path::new("/c"), disks: &[] };
            let text = domain(&InstancePlan { name, ..plan() }, &around);
            let tags = |t: &str| t.matches('<').count();
            prop_assert_eq!(tags(&text), tags(&domain(&plan(), &around)));
        }
    }
}
