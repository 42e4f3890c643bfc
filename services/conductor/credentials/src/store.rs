//! The authority on disk. Keys are made once and kept; everything else is written from them, and only when it differs.

use crate::{Authority, CredentialError};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What [`write`] has put where.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `nats-server -c` this.
    pub config: PathBuf,
    /// What another server's configuration must `include` to trust the same authority.
    pub trust: PathBuf,
    /// For the control plane's clients (`ConnectOptions::with_credentials_file`).
    pub control_plane: PathBuf,
    /// The seed with which a conductor admits hosts.
    pub account_key: PathBuf,
}

/// Makes `dir` hold a server's configuration and the credentials that fit it. Existing keys and credentials are kept, so that
/// hosts stay admitted; all are readable by their owner only. Run again, it changes nothing.
pub fn write(dir: &Path, port: u16, jetstream_store: &Path) -> Result<Paths, CredentialError> {
    std::fs::create_dir_all(dir).map_err(|source| CredentialError::File { path: dir.into(), source })?;
    let authority = authority(dir)?;
    let paths = Paths {
        config: dir.join("nats-server.conf"),
        trust: dir.join("trust.conf"),
        control_plane: dir.join("control-plane.creds"),
        account_key: dir.join("account.nk"),
    };
    let revoked = revoked(dir)?;
    put(&paths.config, &authority.server_config(port, jetstream_store, &revoked)?)?;
    put(&paths.trust, &authority.trust(&revoked)?)?;
    if read(&paths.control_plane)?.is_none() {
        put(&paths.control_plane, &authority.account_key()?.control_plane()?.to_file_text())?;
    }
    Ok(paths)
}

/// Notes which users' keys the server must refuse from now on, these and no others: [`write()`] puts it into the configuration,
/// which a running server reads again on SIGHUP.
pub fn revoke(dir: &Path, keys: &BTreeSet<String>) -> Result<(), CredentialError> {
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    put(&dir.join(REVOKED), &lines)
}

/// One public key a line.
const REVOKED: &str = "revoked";

fn revoked(dir: &Path) -> Result<BTreeSet<String>, CredentialError> {
    let lines = read(&dir.join(REVOKED))?.unwrap_or_default();
    Ok(lines.lines().filter(|key| crate::check_user_key(key).is_ok()).map(str::to_owned).collect())
}

fn authority(dir: &Path) -> Result<Authority, CredentialError> {
    let files = ["operator.nk", "system.nk", "account.nk"].map(|name| dir.join(name));
    let kept = [read(&files[0])?, read(&files[1])?, read(&files[2])?];
    if let [Some(operator), Some(system), Some(account)] = &kept {
        return Authority::from_seeds([operator, system, account]);
    }
    // A run that was cut off in between left some of the three: nothing was signed with them yet.
    let made = Authority::generate();
    for (file, seed) in files.iter().zip(made.seeds()?) {
        put(file, &seed)?;
    }
    Ok(made)
}

fn read(path: &Path) -> Result<Option<String>, CredentialError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::File { path: path.into(), source }),
    }
}

/// Replaces a file as a whole, so that a crash leaves the old one or the new one.
fn put(path: &Path, text: &str) -> Result<(), CredentialError> {
    if read(path)?.as_deref() == Some(text) {
        return Ok(());
    }
    // Of this process alone: another one may be writing the same.
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, path));
    written.map_err(|source| CredentialError::File { path: path.into(), source })
}
