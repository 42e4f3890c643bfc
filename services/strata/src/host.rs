//! This machine as a host of a cloud: joining, and the two worker processes that make it one, `strata worker compute` and
//! `strata worker network`. Both have the host's credentials and no others: no way to the database, no other host's data.

use crate::layout::{Layout, write_private};
use crate::supervise::nats;
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::PathBuf;
use strata_conductor::Context;
use strata_credentials::AccountKey;
use strata_events::host::Inventory;
use strata_events::{Actor, HostName};
use strata_worker::Identity;
use strata_writer::nats::{JoinAsk, invite};
use strata_writer::{Conductor, Options as WriterOptions, now};

/// How a machine joins a cloud that runs elsewhere.
#[derive(Debug, Clone, clap::Args)]
pub struct JoinOptions {
    /// The cloud's address, http(s)://HOST:PORT; needed once
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The name that the machine was invited as; needed once
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The file that holds the token of `strata host invite`; needed once
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The availability zone [nova]
    #[arg(long, value_name = "ZONE", default_value = "")]
    pub zone: String,
    /// The authority (PEM) whose certificate the cloud shows, if the machine doesn't trust it anyway
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Where the identity lies.
pub fn file(layout: &Layout) -> PathBuf {
    layout.host().join("identity.json")
}

/// The identity of this machine, once it has joined.
pub fn identity(layout: &Layout) -> Result<Option<Identity>> {
    let file = file(layout);
    match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display())).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("can't read {}", file.display())),
    }
}

pub fn keep(layout: &Layout, identity: &Identity) -> Result<()> {
    write_private(&file(layout), &serde_json::to_vec(identity)?)
}

/// The identity of this machine; it joins if it has none yet.
pub async fn joined(layout: &Layout, options: &JoinOptions, inventory: Inventory) -> Result<Identity> {
    if let Some(identity) = identity(layout)? {
        return Ok(identity);
    }
    let (Some(endpoint), Some(name), Some(token_file)) = (&options.endpoint, &options.name, &options.token_file) else {
        bail!("this machine has not joined a cloud yet: give --endpoint, --name and --token-file (`strata host invite NAME` makes one)")
    };
    let token = std::fs::read_to_string(token_file).with_context(|| format!("can't read {}", token_file.display()))?;
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()));
    let ca = options.ca.as_ref().map(read).transpose()?;
    let (seed, public_key) = strata_credentials::new_host_key()?;
    let body = serde_json::json!({"host": {
        "token": token.trim(), "host": name, "public_key": public_key, "zone": options.zone, "inventory": inventory,
    }});
    let answer = strata_worker::http::post(endpoint, ca.as_deref(), "/strata/v1/hosts", &body).await?;
    let field =
        |name: &str| answer["host"][name].as_str().map(str::to_string).with_context(|| format!("the answer has no {name}: {answer}"));
    let identity = Identity {
        host: HostName(name.clone()),
        nats_url: field("nats_url")?,
        jwt: field("jwt")?,
        seed,
        api_url: endpoint.clone(),
        api_ca: ca,
    };
    keep(layout, &identity)?;
    out!("joined as {name}");
    Ok(identity)
}

/// Makes the cloud's own machine a host of it, under the machine's name. It was invited and joins in one go.
pub async fn enrol(layout: &Layout) -> Result<()> {
    let settings = layout.settings()?;
    let (nats_url, api_url) = (nats::url(&settings), settings.endpoint());
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()));
    // A certificate that signed itself is its own authority; one that was signed is checked up to it.
    let api_ca = settings.tls_cert.as_ref().map(read).transpose()?;
    if let Some(kept) = identity(layout)? {
        let moved = Identity { nats_url, api_url, api_ca, ..kept.clone() };
        if (&moved.nats_url, &moved.api_url, &moved.api_ca) != (&kept.nats_url, &kept.api_url, &kept.api_ca) {
            keep(layout, &moved)?;
        }
        return Ok(());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = HostName::parse(name.trim()).unwrap_or_else(|_| HostName("host-1".into()));
    let account = nats::account_key(layout, &settings)?;
    let log = crate::serve::connect(layout, &settings).await?;
    let conductor = Conductor::start(log, WriterOptions { react: false, ..WriterOptions::default() }).await?;
    let identity = admit(&conductor, &account, &nats_url, &host, inventory(layout)).await;
    let identity = identity.with_context(|| format!("host {host} can't join"))?;
    keep(layout, &Identity { api_url, api_ca, ..identity })
}

/// What the machine has, as far as can be said without its hypervisor, whose worker says it more exactly.
pub fn inventory(layout: &Layout) -> Inventory {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Inventory {
        vcpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        memory: kib.unwrap_or_default() / 1024,
        disk: disk(&layout.data).unwrap_or_default(),
        hypervisor_type: "QEMU".into(),
        hypervisor_version: 0,
        cpu_arch: std::env::consts::ARCH.into(),
        host_ip: "127.0.0.1".into(),
    }
}

/// The size of the file system that holds a path, in GiB.
#[allow(unsafe_code)]
fn disk(path: &std::path::Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statvfs is plain data, for which zeros are valid, and is filled in by the call.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live through the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut found) } != 0 {
        return None;
    }
    Some((found.f_blocks * found.f_frsize) >> 30)
}

/// Invited and joined in one go: nobody else sees the token.
pub async fn admit(conductor: &Conductor, account: &AccountKey, url: &str, host: &HostName, inventory: Inventory) -> Result<Identity> {
    let (seed, public_key) = strata_credentials::new_host_key()?;
    let token = invite(conductor, context()?, host, 60).await.map_err(|e| anyhow!("{e}"))?;
    let ask = JoinAsk { token, host: host.to_string(), public_key, zone: String::new(), inventory };
    let joined = strata_writer::nats::join(conductor, account, url, context()?, ask).await.map_err(|e| anyhow!("{e}"))?;
    Ok(Identity { host: joined.host, nats_url: joined.nats_url, jwt: joined.jwt, seed, api_url: String::new(), api_ca: None })
}

/// For commands that an operator gives on the machine itself.
pub fn context() -> Result<Context> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("the kernel gives no random bytes: {e}"))?;
    let request = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(Context { now: now(), actor: Actor::service("cli"), request_id: format!("req-{request}"), caused_by: None })
}
