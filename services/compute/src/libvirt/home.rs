//! What a host keeps of one instance: a directory with its disks, its console log, and two small files.
//!
//! - `domain.xml` is written last when an instance is defined and removed last when it is destroyed: **as long as it is there
//!   the instance is defined here**, whatever libvirt has; and libvirt's definition can be put back from it.
//! - `applied.json` says how much of the plan was carried out, `base.json` which image lies under the root disk.
//!
//! Each is replaced as a whole and is on the disk before the next step begins.

use super::xml::Owner;
use crate::Applied;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strata_events::InstanceId;
use strata_projections::plan::instance::PlannedImage;

#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    pub fn of(instances: &Path, id: &InstanceId) -> Self {
        Home(instances.join(id.to_string()))
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    pub fn root_disk(&self) -> PathBuf {
        self.file("disk.qcow2")
    }
    pub fn console_log(&self) -> PathBuf {
        self.file("console.log")
    }
    fn definition(&self) -> PathBuf {
        self.file("domain.xml")
    }

    pub fn exists(&self) -> bool {
        self.0.symlink_metadata().is_ok()
    }
    /// An empty directory, whatever a cut-off attempt left in it.
    pub fn begin(&self, mode: u32) -> Result<()> {
        self.remove()?;
        DirBuilder::new().recursive(true).mode(mode).create(&self.0)
    }

    /// The domain's XML, if it is defined here.
    pub fn defined(&self) -> Result<Option<String>> {
        match fs::read_to_string(self.definition()) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
    /// Whose it is according to its definition.
    pub fn owner(&self) -> Result<Option<Owner>> {
        Ok(self.defined()?.as_deref().and_then(Owner::in_domain))
    }
    pub fn define(&self, xml: &str) -> Result<()> {
        // The disks that it names are there before it is.
        for entry in fs::read_dir(&self.0)?.flatten() {
            File::open(entry.path())?.sync_all()?;
        }
        write(&self.definition(), xml.as_bytes())
    }

    /// None: nothing was said, or not legibly, which a new mark makes good.
    pub fn applied(&self) -> Option<Applied> {
        read(&self.file("applied.json"))
    }
    pub fn apply(&self, applied: Applied) -> Result<()> {
        // Of an instance whose directory somebody removed while it ran.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        write(&self.file("applied.json"), &serde_json::to_vec(&applied)?)
    }
    pub fn base(&self) -> Option<PlannedImage> {
        read(&self.file("base.json"))
    }
    /// Before it is defined, which makes it durable.
    pub fn note_base(&self, image: &PlannedImage) -> Result<()> {
        let mut out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(self.file("base.json"))?;
        out.write_all(&serde_json::to_vec(image)?)
    }

    /// Removes all of it, the definition last: cut off, it is still known to be there.
    pub fn remove(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let definition = self.definition();
        for entry in entries {
            let (path, kind) = entry.and_then(|e| Ok((e.path(), e.file_type()?)))?;
            if path == definition {
                continue;
            }
            let removed = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone(removed)?;
        }
        gone(fs::remove_file(&definition))?;
        gone(fs::remove_dir(&self.0))
    }
}

/// The instances that have a directory here.
pub fn all(instances: &Path) -> Result<Vec<InstanceId>> {
    let entries = match fs::read_dir(instances) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(e),
    };
    Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

fn gone(removed: Result<()>) -> Result<()> {
    removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Replaces a file as a whole, durably; only its owner reads it.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let draft = file.with_extension("new");
    let mut out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&draft, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_defined_from_the_last_step_on_and_until_the_last() {
        let at = std::env::temp_dir().join(format!("strata-home-{}", std::process::id()));
        let home = Home::of(&at, &InstanceId(uuid::Uuid::nil()));
        home.begin(0o700).expect("begin");
        fs::write(home.root_disk(), "disk").expect("write");
        assert_eq!((home.defined().expect("read"), home.applied()), (None, None));
        home.define("<domain/>").expect("define");
        let applied = Applied { reboots: 1, asks: 2 };
        home.apply(applied).expect("apply");
        assert_eq!((home.defined().expect("read").as_deref(), home.applied()), (Some("<domain/>"), Some(applied)));
        fs::write(home.file("applied.json"), "{").expect("write");
        assert_eq!(home.applied(), None, "what is illegible was not said");
        assert_eq!(all(&at).expect("list"), [InstanceId(uuid::Uuid::nil())]);
        home.remove().expect("remove");
        home.remove().expect("and again");
        assert!(!home.exists());
        fs::remove_dir_all(&at).expect("it was made above");
    }
}
