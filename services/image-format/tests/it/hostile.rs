//! The tricks, each with the reason that its author is told.

use strata_image_format::corpus::{self as make, EXTENT, put, with};
use strata_image_format::{Inspector, Refused, inspect};

#[track_caller]
fn refused(image: &[u8], reason: &str) {
    match inspect(image) {
        Err(why) => assert!(why.to_string().contains(reason), "refused for another reason: {why}"),
        Ok(found) => panic!("taken as {found:?}, should be refused: {reason}"),
    }
}

#[test]
fn qcow2_that_names_another_file() {
    let backed = with(make::qcow2(3), 8, &1024u64.to_be_bytes());
    let backed = with(with(backed, 16, &11u32.to_be_bytes()), 1024, b"/etc/shadow");
    refused(&backed, "backing file");
    refused(&with(make::qcow2(2), 8, &1024u64.to_be_bytes()), "backing file");
    refused(&with(make::qcow2(3), 16, &1u32.to_be_bytes()), "backing file");
    // CVE-2024-32498: the external data file, by its feature bit and by its name alone.
    refused(&with(make::qcow2(3), 72, &4u64.to_be_bytes()), "external data file");
    refused(&make::qcow2_with_extension(0x4441_5441, b"/dev/sda"), "external data file");
    refused(&make::qcow2_with_extension(0xE279_2ACA, b"raw"), "backing file");
    // A pseudo-protocol as backing file is a backing file.
    let json = with(with(make::qcow2(3), 8, &512u64.to_be_bytes()), 512, b"json:{\"driver\":\"nbd\"}");
    refused(&json, "backing file");
}

#[test]
fn qcow2_with_a_data_file_hidden_behind_other_extensions() {
    let mut image = make::qcow2_with_extension(0x6803_f857, &[7; 40]);
    put(&mut image, 112 + 40, &0x4441_5441u32.to_be_bytes());
    put(&mut image, 112 + 44, &8u32.to_be_bytes());
    refused(&image, "external data file");
}

#[test]
fn qcow2_with_tables_that_no_honest_image_has() {
    // CVE-2015-5162: tables that make a tool take all memory or days.
    refused(&with(make::qcow2(3), 36, &u32::MAX.to_be_bytes()), "L1 table is larger");
    refused(&with(make::qcow2(3), 56, &u32::MAX.to_be_bytes()), "reference count table is impossible");
    refused(&with(make::qcow2(3), 56, &0u32.to_be_bytes()), "reference count table is impossible");
    refused(&with(make::qcow2(3), 60, &u32::MAX.to_be_bytes()), "snapshots");
    refused(&with(make::qcow2(3), 24, &u64::MAX.to_be_bytes()), "too small for its virtual size");
    refused(&with(make::qcow2(3), 40, &(1u64 << 60).to_be_bytes()), "outside the file");
    refused(&with(make::qcow2(3), 48, &(1u64 << 60).to_be_bytes()), "outside the file");
    refused(&with(make::qcow2(3), 40, &u64::MAX.to_be_bytes()), "does not begin at a cluster");
    refused(&with(make::qcow2(3), 20, &0u32.to_be_bytes()), "cluster size");
    refused(&with(make::qcow2(3), 20, &63u32.to_be_bytes()), "cluster size");
    refused(&with(make::qcow2(3), 96, &31u32.to_be_bytes()), "reference counts are wider");
    refused(&with(make::qcow2(3), 100, &(1u32 << 20).to_be_bytes()), "header length is impossible");
    refused(&with(make::qcow2(3), 104, &[0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff]), "header extension is longer");
}

#[test]
fn qcow2_with_what_is_unknown_or_secret() {
    refused(&with(make::qcow2(3), 72, &(1u64 << 5).to_be_bytes()), "incompatible feature");
    refused(&with(make::qcow2(3), 72, &(1u64 << 63).to_be_bytes()), "incompatible feature");
    refused(&with(make::qcow2(3), 72, &2u64.to_be_bytes()), "marked corrupt");
    refused(&with(make::qcow2(3), 32, &1u32.to_be_bytes()), "encrypted");
    refused(&with(make::qcow2(3), 32, &2u32.to_be_bytes()), "encrypted");
    for version in [0u32, 1, 4, u32::MAX] {
        refused(&with(make::qcow2(3), 4, &version.to_be_bytes()), "unknown or obsolete version");
    }
}

#[test]
fn qcow2_that_ends_too_early() {
    let whole = make::qcow2(3);
    for length in [4, 8, 71, 100, 103, 512, 65536] {
        assert!(inspect(&whole[..length]).is_err(), "{length} bytes of it were taken");
    }
}

#[test]
fn vmdk_that_names_other_files() {
    // CVE-2022-47951 and its kin.
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "vmfs", "vmfsSparse", "fullDevice", "custom", ""] {
        refused(&make::vmdk(kind, EXTENT), "a type other than");
    }
    for extent in [
        "RW 2097152 FLAT \"/etc/passwd\" 0",
        "RW 2097152 SPARSE \"/etc/passwd\"",
        "RW 2097152 SPARSE \"../../x\"",
        "RW 2097152 SPARSE \"nbd:unix\"",
        "RW 2097152 SPARSE disk.vmdk",
        "RW 2097152 ZERO",
        "RDONLY 8 VMFSRDM \"x.vmdk\"",
    ] {
        refused(&make::vmdk("monolithicSparse", extent), "an extent in another file");
    }
    refused(&make::vmdk("monolithicSparse", &format!("{EXTENT}\nRW 8 FLAT \"/etc/passwd\" 0")), "extent");
    refused(&make::vmdk("monolithicSparse", &format!("{EXTENT}\n{EXTENT}")), "not exactly one extent");
    refused(&make::vmdk("monolithicSparse", ""), "not exactly one extent");
    refused(&make::vmdk_with_line("parentFileNameHint=\"/etc/passwd\""), "a parent disk");
    refused(&make::vmdk_with_line("  ParentFileNameHint = \"x\""), "a parent disk");
    refused(&make::vmdk_with_line("parentCID=12345678"), "a parent disk");
    refused(&make::vmdk_with_line("changeTrackPath=\"/x\""), "change tracking");
    refused(&make::vmdk_with_line("createType=\"monolithicFlat\""), "two types");
    refused(b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n", "descriptor that names its data");
    refused(b"\n  # disk descriptorfile\ncreateType=\"monolithicFlat\"\n", "descriptor that names its data");
}

#[test]
fn vmdk_that_says_two_things() {
    let capacity = |n: u64| with(make::vmdk("monolithicSparse", EXTENT), 12, &n.to_le_bytes());
    refused(&capacity(0), "a descriptor in place of data");
    refused(&capacity(u64::MAX), "capacity is impossible");
    let descriptor_at = with(make::vmdk("monolithicSparse", EXTENT), 28, &40u64.to_le_bytes());
    refused(&descriptor_at, "descriptor is not in the second sector");
    // The footer, which tools believe, must not point to a second descriptor.
    let stream = make::vmdk_stream();
    let footer = stream.len() - 1024;
    refused(&with(stream.clone(), footer + 28, &40u64.to_le_bytes()), "footer contradicts");
    refused(&with(stream.clone(), footer + 12, &0u64.to_le_bytes()), "footer contradicts");
    refused(&stream[..stream.len() - 512], "footer is missing");
    // A second descriptor behind the first one's end.
    let tail = with(make::vmdk("monolithicSparse", EXTENT), 4096, b"parentFileNameHint=\"/etc/passwd\"");
    refused(&tail, "more than its text");
}

#[test]
fn disks_with_a_parent() {
    refused(&make::vhd_sparse(4), "a parent disk");
    refused(&with(make::vhd_dynamic(), 512 + 40, &[1; 16]), "a parent disk");
    refused(&with(make::vhd_dynamic(), 512 + 576, b"W2ku"), "a parent disk");
    refused(&with(make::vdi(), 0x4c, &4u32.to_le_bytes()), "a parent disk");
    refused(&with(make::vdi(), 0x1b8, &[1; 16]), "a parent disk");
    let parent_flag = with(make::vhdx(), make::VHDX_METADATA_AT + 65536, &(2u64 << 32 | 32 << 20).to_le_bytes());
    refused(&parent_flag, "a parent disk");
    refused(&with(make::vhdx(), (64 << 10) + 48, &[9; 16]), "not closed cleanly");
    refused(&with(make::vhdx(), (256 << 10) + 32, &(3u64 << 20).to_le_bytes()), "region tables differ");
}

#[test]
fn formats_that_are_not_taken() {
    for (head, reason) in [
        (&b"QED\0"[..], "QED"),
        (b"LUKS\xba\xbe\0\x02", "LUKS"),
        (b"COWD", "VMware 3"),
        (b"WithouFreSpacExt", "Parallels"),
        (b"WithoutFreeSpace", "Parallels"),
        (b"Bochs Virtual HD Image", "Bochs"),
    ] {
        let mut image = vec![0; 4096];
        put(&mut image, 0, head);
        refused(&image, reason);
    }
    let mut dmg = vec![0; 4096];
    put(&mut dmg, 4096 - 512, b"koly");
    refused(&dmg, "Apple");
}

#[test]
fn two_formats_at_once() {
    let footer = make::vhd_fixed(0);
    for mut image in [make::qcow2(3), make::vmdk("monolithicSparse", EXTENT), make::vdi(), make::iso()] {
        image.extend(&footer);
        refused(&image, "is both a");
    }
    refused(&with(make::qcow2(3), 0x8001, b"CD001"), "is both a");
}

#[test]
fn a_disk_larger_than_any_is_refused() {
    let image = with(make::vdi(), 0x170, &(65u64 << 40).to_le_bytes());
    let image = with(with(image, 0x178, &u32::MAX.to_le_bytes()), 0x180, &17000u32.to_le_bytes());
    let mut image = image;
    image.resize(512 + 4 * 17000, 0);
    assert_eq!(inspect(&image), Err(Refused::TooLarge(65 << 40)));
}

#[test]
fn a_hopeless_upload_is_known_before_it_ends() {
    let mut image = with(make::qcow2(3), 72, &4u64.to_be_bytes());
    image.resize(400 * 1024, 0);
    let mut inspector = Inspector::new();
    inspector.eat(&image);
    assert!(matches!(inspector.hopeless(), Some(Refused::External(..))));
    let mut honest = Inspector::new();
    honest.eat(&make::qcow2(3));
    honest.eat(&[0; 200 * 1024]);
    assert_eq!(honest.hopeless(), None);
}
