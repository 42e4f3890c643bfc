//! An instance's disks: the root disk as a copy-on-write overlay on the cached image, what else its flavor has, and the config
//! drive. Every format is fixed where a disk is made and where it is opened.

use super::home::Home;
use super::images::{Base, trouble};
use super::xml::Disk;
use super::{blocking, tool};
use crate::HypervisorError;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use strata_projections::plan::instance::InstancePlan;

const GIB: u64 = 1 << 30;

/// The size of the root disk in bytes: the flavor's, or the image's own for a flavor without; never less than the image needs.
pub fn root_size(flavor_gib: u64, base: Option<&Base>) -> Result<u64, HypervisorError> {
    let needed = base.map_or(0, |b| b.virtual_size);
    match flavor_gib.saturating_mul(GIB) {
        0 => Ok(needed),
        size if size < needed => Err(HypervisorError::Failed(format!(
            "Flavor's disk is too small for the requested image: the flavor has {flavor_gib} GiB, the image needs {}.",
            needed.div_ceil(GIB)
        ))),
        size => Ok(size),
    }
}

/// Makes the disks in a directory that is empty of them. The config drive comes apart: it is last and needs secrets.
pub async fn make(plan: &InstancePlan, home: &Home, base: Option<&Base>) -> Result<Vec<Disk>, HypervisorError> {
    let mut disks = vec![];
    let size = root_size(plan.size.disk, base)?;
    if base.is_some() || size > 0 {
        let root = home.root_disk();
        overlay(&root, base, size).await?;
        let under = base.map(|b| (b.path.to_string_lossy().into_owned(), b.format));
        disks.push(Disk { base: under, ..disk(&root, "qcow2") });
    }
    if plan.size.ephemeral > 0 {
        let file = home.file("ephemeral.raw");
        empty(&file, plan.size.ephemeral.saturating_mul(GIB))?;
        let make = ["-q".as_ref(), "-F".as_ref(), "-L".as_ref(), "ephemeral0".as_ref(), file.as_os_str()];
        tool::run("/sbin/mkfs.ext4", &make).await?;
        disks.push(disk(&file, "raw"));
    }
    if plan.size.swap > 0 {
        let file = home.file("swap.raw");
        empty(&file, plan.size.swap.saturating_mul(1 << 20))?;
        tool::run("/sbin/mkswap", &[file.as_os_str()]).await?;
        disks.push(disk(&file, "raw"));
    }
    Ok(disks)
}

pub fn disk(file: &Path, format: &'static str) -> Disk {
    Disk { file: file.to_string_lossy().into_owned(), format, read_only: false, base: None }
}

async fn overlay(file: &Path, base: Option<&Base>, size: u64) -> Result<(), HypervisorError> {
    let bytes = size.to_string();
    let mut arguments: Vec<&OsStr> = ["create", "-q", "-f", "qcow2"].iter().map(OsStr::new).collect();
    if let Some(base) = base {
        arguments.extend([OsStr::new("-F"), OsStr::new(base.format), OsStr::new("-b"), base.path.as_os_str()]);
    }
    arguments.extend([file.as_os_str(), OsStr::new(&bytes)]);
    tool::run("qemu-img", &arguments).await?;
    only_ours(file)
}

/// The directories on the way may be open to all (see `LibvirtConfig::shared`).
fn only_ours(file: &Path) -> Result<(), HypervisorError> {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).map_err(|e| trouble(file, &e))
}

fn empty(file: &Path, bytes: u64) -> Result<(), HypervisorError> {
    File::create(file).and_then(|f| f.set_len(bytes)).map_err(|e| trouble(file, &e))?;
    only_ours(file)
}

/// Puts the documents onto a disk as guests look for it: ISO 9660, labelled config-2.
pub async fn config_drive(home: &Home, files: &[(String, Vec<u8>)]) -> Result<Disk, HypervisorError> {
    let (tree, file) = (home.file("config"), home.file("config.iso"));
    let (below, files) = (tree.clone(), files.to_vec());
    let lay_out = move || {
        // User data are secret also while they lie there.
        std::fs::DirBuilder::new().mode(0o700).create(&below)?;
        for (name, content) in &files {
            // Ours, not a user's; yet nothing may ever be written beside the tree.
            if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(std::io::Error::other(format!("{name:?} can't be a file's name")));
            }
            let path = below.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, content)?;
        }
        Ok(())
    };
    blocking(lay_out).await?.map_err(|e| trouble(&tree, &e))?;
    let arguments = ["-quiet", "-J", "-r", "-V", "config-2", "-publisher", "Strata", "-o"].map(OsStr::new);
    let paths = [file.as_os_str(), tree.as_os_str()];
    let made = tool::run("genisoimage", &[&arguments[..], &paths[..]].concat()).await;
    // User data shall not lie around twice.
    std::fs::remove_dir_all(&tree).map_err(|e| trouble(&tree, &e))?;
    made?;
    only_ours(&file)?;
    Ok(Disk { read_only: true, ..disk(&file, "raw") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::tests::plan;
    use strata_image_format::{Format, inspect};

    fn base(virtual_size: u64) -> Base {
        Base { path: "/b".into(), format: "raw", virtual_size }
    }

    #[test]
    fn a_root_disk_is_as_large_as_the_flavor_says_and_never_smaller_than_the_image() {
        assert_eq!(root_size(0, Some(&base(5))), Ok(5));
        assert_eq!(root_size(1, Some(&base(5))), Ok(GIB));
        assert_eq!(root_size(1, Some(&base(GIB))), Ok(GIB));
        let Err(HypervisorError::Failed(why)) = root_size(1, Some(&base(GIB + 1))) else { panic!("it does not fit") };
        assert!(why.contains("1 GiB, the image needs 2"), "{why}");
        assert_eq!(root_size(2, None), Ok(2 * GIB));
    }

    #[tokio::test]
    async fn a_flavors_disks_are_made_with_fixed_formats() {
        let at = std::env::temp_dir().join(format!("strata-disks-{}", std::process::id()));
        let home = Home::of(&at, &plan().id);
        home.begin(0o700).expect("begin");
        // A guest may write a qcow2 header onto a raw disk: it stays the raw disk that it is.
        let image = at.join("base");
        std::fs::write(&image, [&b"QFI\xfb\0\0\0\x03"[..], &[0; 4096]].concat()).expect("write");
        let mut large = plan();
        (large.size.disk, large.size.ephemeral, large.size.swap) = (1, 1, 4);
        let base = Base { path: image, format: "raw", virtual_size: 4104 };
        let mut disks = make(&large, &home, Some(&base)).await.expect("made");
        disks.push(config_drive(&home, &[("openstack/latest/meta_data.json".into(), b"{}".to_vec())]).await.expect("made"));
        let formats: Vec<&str> = disks.iter().map(|d| d.format).collect();
        assert_eq!(formats, ["qcow2", "raw", "raw", "raw"]);
        let head = std::fs::read(home.root_disk()).expect("read");
        // It names its backing file and that file's format, which is why nobody has to guess.
        assert!(inspect(&head).is_err_and(|why| why.to_string().contains("backing")), "an overlay refers to its base");
        let iso = std::fs::read(home.file("config.iso")).expect("read");
        assert_eq!(inspect(&iso).expect("an image").format, Format::Iso);
        assert_eq!(&iso[0x8028..0x8030], b"config-2");
        assert!(!home.file("config").exists(), "the files are on the drive only");
        let outside = config_drive(&home, &[("../x".into(), vec![])]).await;
        assert!(outside.is_err(), "{outside:?}");
        std::fs::remove_dir_all(&at).expect("it was made above");
    }
}
