//! Images as honest tools write them, and images as nobody should: made here byte by byte, never opened by any tool.

#![allow(clippy::unwrap_used)]

mod hostile;
mod noise;

use strata_image_format::corpus as make;
use strata_image_format::{Format, Found, MAX_KEPT, Refused, inspect};

fn found(format: Format, virtual_size: u64) -> Result<Found, Refused> {
    Ok(Found { format, virtual_size })
}

#[test]
fn honest_images_are_recognised_with_their_virtual_size() {
    assert_eq!(inspect(&make::qcow2(3)), found(Format::Qcow2, make::GIB));
    assert_eq!(inspect(&make::qcow2(2)), found(Format::Qcow2, make::GIB));
    assert_eq!(inspect(&make::vmdk("monolithicSparse", make::EXTENT)), found(Format::Vmdk, make::GIB));
    assert_eq!(inspect(&make::vmdk_stream()), found(Format::Vmdk, make::GIB));
    assert_eq!(inspect(&make::vhd_fixed(64 * 1024)), found(Format::Vhd, 64 * 1024));
    assert_eq!(inspect(&make::vhd_dynamic()), found(Format::Vhd, make::GIB));
    assert_eq!(inspect(&make::vhdx()), found(Format::Vhdx, make::GIB));
    assert_eq!(inspect(&make::vdi()), found(Format::Vdi, make::GIB));
    assert_eq!(inspect(&make::iso()), found(Format::Iso, make::iso().len() as u64));
}

#[test]
fn what_has_no_structure_of_its_own_is_raw_also_with_a_partition_table() {
    assert_eq!(inspect(b""), found(Format::Raw, 0));
    assert_eq!(inspect(&[0; 4096]), found(Format::Raw, 4096));
    let mut disk = vec![0u8; 4096];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[512..520].copy_from_slice(b"EFI PART");
    assert_eq!(inspect(&disk), found(Format::Raw, 4096));
    let mut hybrid = make::iso();
    hybrid[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(inspect(&hybrid), found(Format::Iso, hybrid.len() as u64));
}

#[test]
fn the_answer_does_not_depend_on_how_the_bytes_are_cut() {
    for image in make::all() {
        let whole = inspect(&image);
        for size in [1, 7, 511, 512, 513, 1535, 1536, 1537, 65536] {
            let mut inspector = strata_image_format::Inspector::new();
            // One by one would take long for the larger ones, and says nothing new past the head.
            let size = if image.len() > 1 << 20 { size.max(4093) } else { size };
            image.chunks(size).for_each(|c| inspector.eat(c));
            assert_eq!(inspector.length(), image.len() as u64);
            assert_eq!(inspector.finish(), whole, "in pieces of {size}");
        }
    }
}

#[test]
fn only_the_declared_format_is_taken() {
    let raw = inspect(&[0; 512]).unwrap();
    let qcow2 = inspect(&make::qcow2(3)).unwrap();
    for name in ["raw", "ami", "ari", "aki"] {
        assert_eq!(raw.is_declared(name), Ok(()));
        assert!(matches!(qcow2.is_declared(name), Err(Refused::Mismatch { found: Format::Qcow2, .. })), "qcow2 as {name}");
    }
    assert_eq!(qcow2.is_declared("qcow2"), Ok(()));
    for name in ["qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso"] {
        assert!(raw.is_declared(name).is_err(), "raw as {name}");
    }
    for name in ["ploop", "qed", "luks", "gpt", ""] {
        assert!(matches!(raw.is_declared(name), Err(Refused::Unknown(_))), "{name}");
    }
}

#[test]
fn little_is_kept_of_a_long_image() {
    let mut inspector = strata_image_format::Inspector::new();
    let chunk = vec![0xa5; 1 << 20];
    for _ in 0..64 {
        inspector.eat(&chunk);
    }
    let debug_bytes = format!("{inspector:?}").matches("165").count();
    assert!(debug_bytes <= MAX_KEPT, "{debug_bytes} bytes kept, more than {MAX_KEPT}");
}

#[test]
fn every_trick_of_the_corpus_is_refused_as_what_it_is_declared() {
    for (declared, image, reason) in make::hostile() {
        match inspect(&image).and_then(|found| found.is_declared(declared)) {
            Err(why) => assert!(why.to_string().contains(reason), "{reason}: refused for another reason: {why}"),
            Ok(()) => panic!("taken: {reason}"),
        }
    }
    for (declared, image) in make::honest() {
        assert_eq!(inspect(&image).and_then(|found| found.is_declared(declared)), Ok(()), "{declared}");
    }
}
