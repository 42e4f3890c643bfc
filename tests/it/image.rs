//! Images, as the real client uses them: what goes in comes out, byte for byte.

use crate::client::column;
use crate::cloud::shared;
use std::path::PathBuf;
use std::process::Command;

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("strata-it-{}-{name}", std::process::id()))
}

/// A small qcow2 image, made by qemu-img.
pub fn qcow2(name: &str) -> PathBuf {
    let path = file(name);
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&path).arg("16M").status();
    assert!(made.is_ok_and(|s| s.success()), "qemu-img makes an image (apt-get install qemu-utils)");
    path
}

#[test]
fn images_are_uploaded_listed_changed_saved_and_deleted() {
    let mut admin = shared().client("strata-admin");
    let raw = file("raw.img");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&raw, &bytes).unwrap();
    let created = admin.json(&format!(
        "image create it-raw --disk-format raw --container-format bare --public --property os_distro=tiny --file {}",
        raw.display()
    ));
    assert_eq!(created["status"], "active", "{created}");
    assert_eq!(created["size"], bytes.len());
    let qcow = qcow2("a.qcow2");
    let created = admin.json(&format!("image create it-qcow2 --disk-format qcow2 --min-disk 1 --file {}", qcow.display()));
    assert_eq!(created["status"], "active", "{created}");

    let names = column(&admin.json("image list"), "Name");
    assert!(names.contains(&"it-raw".into()) && names.contains(&"it-qcow2".into()), "{names:?}");
    admin.ok("image set it-raw --property os_version=2 --tag small --min-ram 64");
    let shown = admin.json("image show it-raw");
    assert_eq!(shown["min_ram"], 64);
    assert_eq!(shown["tags"][0], "small");
    assert!(shown.to_string().contains("os_version"), "{shown}");

    let saved = file("saved.img");
    admin.ok(&format!("image save it-raw --file {}", saved.display()));
    assert!(std::fs::read(&saved).unwrap() == bytes, "the saved image differs from the uploaded one");

    // A member of another project sees the public one and not the private one.
    let mut demo = shared().client("strata-demo");
    let names = column(&demo.json("image list"), "Name");
    assert!(names.contains(&"it-raw".into()) && !names.contains(&"it-qcow2".into()), "{names:?}");

    admin.ok("image delete it-raw it-qcow2");
    admin.fails("image show it-raw", "No Image found");
    for path in [raw, qcow, saved] {
        let _ = std::fs::remove_file(path);
    }
}
