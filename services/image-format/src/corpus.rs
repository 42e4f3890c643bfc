//! Small images of every format, with the fields that the parsers read and nothing else; and the tricks that are played with
//! them. Made here byte by byte, for tests (feature `corpus`); no tool ever opens them.

pub const GIB: u64 = 1 << 30;
pub const EXTENT: &str = "RW 2097152 SPARSE \"disk.vmdk\"";

pub fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Header, reference counts, one block of them, L1: clusters of 64 KiB.
pub fn qcow2(version: u32) -> Vec<u8> {
    let mut image = vec![0; 3 * 65536 + 16];
    put(&mut image, 0, b"QFI\xfb");
    put(&mut image, 4, &version.to_be_bytes());
    put(&mut image, 20, &16u32.to_be_bytes());
    put(&mut image, 24, &GIB.to_be_bytes());
    put(&mut image, 36, &2u32.to_be_bytes());
    put(&mut image, 40, &(3u64 * 65536).to_be_bytes());
    put(&mut image, 48, &65536u64.to_be_bytes());
    put(&mut image, 56, &1u32.to_be_bytes());
    if version >= 3 {
        put(&mut image, 96, &4u32.to_be_bytes());
        put(&mut image, 100, &104u32.to_be_bytes());
    }
    image
}

/// A version 3 header with one extension.
pub fn qcow2_with_extension(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut image = qcow2(3);
    put(&mut image, 104, &kind.to_be_bytes());
    put(&mut image, 108, &(data.len() as u32).to_be_bytes());
    put(&mut image, 112, data);
    image
}

fn vmdk_header(directory: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    put(&mut sector, 0, b"KDMV");
    put(&mut sector, 4, &1u32.to_le_bytes());
    put(&mut sector, 12, &(GIB / 512).to_le_bytes());
    put(&mut sector, 20, &128u64.to_le_bytes());
    put(&mut sector, 28, &1u64.to_le_bytes());
    put(&mut sector, 36, &20u64.to_le_bytes());
    put(&mut sector, 44, &512u32.to_le_bytes());
    put(&mut sector, 56, &directory.to_le_bytes());
    sector
}

fn vmdk_of(directory: u64, descriptor: &str) -> Vec<u8> {
    let mut image = vmdk_header(directory);
    image.resize(64 * 1024, 0);
    put(&mut image, 512, descriptor.as_bytes());
    image
}

pub fn vmdk(kind: &str, extents: &str) -> Vec<u8> {
    vmdk_of(21, &format!("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n{extents}\n"))
}

pub fn vmdk_with_line(line: &str) -> Vec<u8> {
    vmdk_of(21, &format!("# Disk DescriptorFile\nversion=1\n{line}\ncreateType=\"monolithicSparse\"\n{EXTENT}\n"))
}

pub fn vmdk_stream() -> Vec<u8> {
    let mut image = vmdk("streamOptimized", EXTENT);
    put(&mut image, 56, &u64::MAX.to_le_bytes());
    image.extend([0; 512]);
    image.extend(vmdk_header(21));
    image.extend([0; 512]);
    image
}

fn vhd_footer(size: u64, kind: u32) -> Vec<u8> {
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 16, &512u64.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    put(&mut footer, 60, &kind.to_be_bytes());
    footer
}

pub fn vhd_fixed(size: u64) -> Vec<u8> {
    let mut image = vec![0; size as usize];
    image.extend(vhd_footer(size, 2));
    image
}

pub fn vhd_dynamic() -> Vec<u8> {
    vhd_sparse(3)
}

pub fn vhd_sparse(kind: u32) -> Vec<u8> {
    let mut image = vhd_footer(GIB, kind);
    image.resize(512 + 1024 + 4096, 0);
    put(&mut image, 512, b"cxsparse");
    put(&mut image, 512 + 16, &1536u64.to_be_bytes());
    put(&mut image, 512 + 28, &512u32.to_be_bytes());
    put(&mut image, 512 + 32, &(2u32 << 20).to_be_bytes());
    image.extend(vhd_footer(GIB, kind));
    image
}

const METADATA: [u8; 16] = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
const PARAMETERS: [u8; 16] = [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const SIZE: [u8; 16] = [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
pub const VHDX_METADATA_AT: usize = 2 << 20;

pub fn vhdx() -> Vec<u8> {
    let mut image = vec![0; 3 << 20];
    put(&mut image, 0, b"vhdxfile");
    put(&mut image, 64 << 10, b"head");
    put(&mut image, 128 << 10, b"head");
    for table in [192 << 10, 256 << 10] {
        put(&mut image, table, b"regi");
        put(&mut image, table + 8, &1u32.to_le_bytes());
        put(&mut image, table + 16, &METADATA);
        put(&mut image, table + 32, &(VHDX_METADATA_AT as u64).to_le_bytes());
        put(&mut image, table + 44, &1u32.to_le_bytes());
    }
    put(&mut image, VHDX_METADATA_AT, b"metadata");
    put(&mut image, VHDX_METADATA_AT + 10, &2u16.to_le_bytes());
    for (i, (guid, value)) in [(PARAMETERS, 32u64 << 20), (SIZE, GIB)].into_iter().enumerate() {
        let (entry, at) = (VHDX_METADATA_AT + 32 + i * 32, 65536 + i * 8);
        put(&mut image, entry, &guid);
        put(&mut image, entry + 16, &(at as u32).to_le_bytes());
        put(&mut image, VHDX_METADATA_AT + at, &value.to_le_bytes());
    }
    image
}

pub fn vdi() -> Vec<u8> {
    let mut image = vec![0; 8192];
    put(&mut image, 0, b"<<< QEMU VM Virtual Disk Image >>>\n");
    put(&mut image, 0x40, &0xbeda_107f_u32.to_le_bytes());
    put(&mut image, 0x4c, &1u32.to_le_bytes());
    put(&mut image, 0x154, &512u32.to_le_bytes());
    put(&mut image, 0x170, &GIB.to_le_bytes());
    put(&mut image, 0x178, &(1u32 << 20).to_le_bytes());
    put(&mut image, 0x180, &1024u32.to_le_bytes());
    image
}

pub fn iso() -> Vec<u8> {
    let mut image = vec![0; 40 * 1024];
    put(&mut image, 0x8000, b"\x01CD001\x01");
    image
}

pub fn all() -> Vec<Vec<u8>> {
    honest().into_iter().map(|(_, image)| image).collect()
}

/// One image of every format, as it is declared.
pub fn honest() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("qcow2", qcow2(2)),
        ("qcow2", qcow2(3)),
        ("vmdk", vmdk("monolithicSparse", EXTENT)),
        ("vmdk", vmdk_stream()),
        ("vhd", vhd_fixed(8192)),
        ("vhd", vhd_dynamic()),
        ("vhdx", vhdx()),
        ("vdi", vdi()),
        ("iso", iso()),
    ]
}

/// A copy with these bytes there.
pub fn with(mut image: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    put(&mut image, at, bytes);
    image
}

/// Tricks: what is declared, the bytes, and a part of the reason for which they must be refused.
pub fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let backed = with(with(qcow2(3), 8, &1024u64.to_be_bytes()), 16, &11u32.to_be_bytes());
    let mut dmg = vec![0; 4096];
    put(&mut dmg, 4096 - 512, b"koly");
    let mut polyglot = qcow2(3);
    polyglot.extend(vhd_fixed(0));
    vec![
        ("qcow2", with(backed.clone(), 1024, b"/etc/shadow"), "a backing file"),
        ("qcow2", with(backed, 1024, b"json:{\"driver\":\"nbd\"}"), "a backing file"),
        ("qcow2", with(qcow2(3), 72, &4u64.to_be_bytes()), "an external data file"),
        ("qcow2", qcow2_with_extension(0x4441_5441, b"/dev/sda"), "an external data file"),
        ("qcow2", with(qcow2(3), 72, &(1u64 << 40).to_be_bytes()), "an incompatible feature"),
        ("qcow2", with(qcow2(3), 32, &2u32.to_be_bytes()), "encrypted"),
        ("qcow2", with(qcow2(3), 36, &u32::MAX.to_be_bytes()), "L1 table is larger"),
        ("qcow2", with(qcow2(3), 56, &u32::MAX.to_be_bytes()), "reference count table"),
        ("qcow2", with(qcow2(3), 4, &1u32.to_be_bytes()), "obsolete version"),
        ("qcow2", qcow2(3)[..65536].to_vec(), "outside the file"),
        ("qcow2", polyglot, "is both a"),
        ("vmdk", vmdk("monolithicFlat", "RW 8 FLAT \"/etc/passwd\" 0"), "extent in another file"),
        ("vmdk", vmdk("monolithicSparse", "RW 8 SPARSE \"/etc/passwd\""), "extent in another file"),
        ("vmdk", vmdk_with_line("parentFileNameHint=\"/etc/passwd\""), "a parent disk"),
        ("vmdk", with(vmdk("monolithicSparse", EXTENT), 12, &[0; 8]), "a descriptor in place of data"),
        ("vmdk", b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n".to_vec(), "descriptor"),
        ("vhd", vhd_sparse(4), "a parent disk"),
        ("vdi", with(vdi(), 0x4c, &4u32.to_le_bytes()), "a parent disk"),
        ("vhdx", with(vhdx(), VHDX_METADATA_AT + 65536, &(2u64 << 32 | 32 << 20).to_le_bytes()), "a parent disk"),
        ("raw", with(vec![0; 4096], 0, b"LUKS\xba\xbe\0\x02"), "LUKS"),
        ("raw", with(vec![0; 4096], 0, b"QED\0"), "QED"),
        ("raw", dmg, "Apple"),
        ("raw", with(qcow2(3), 8, &1024u64.to_be_bytes()), "a backing file"),
        ("raw", qcow2(3), "declared as raw but its data is qcow2"),
        ("raw", vhd_fixed(4096), "declared as raw but its data is vhd"),
        ("qcow2", vec![0; 4096], "declared as qcow2 but its data is raw"),
        ("iso", qcow2(3), "declared as iso but its data is qcow2"),
    ]
}
