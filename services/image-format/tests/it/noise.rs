//! Whatever the bytes are: an answer, no panic, little memory.

use proptest::prelude::*;
use strata_image_format::corpus as make;
use strata_image_format::{Inspector, inspect};

fn some_image() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(make::all())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn noise_gives_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..4096), at in 0usize..10) {
        let _ = inspect(&bytes);
        // And behind each magic, so that the parsers are reached.
        let magics: [&[u8]; 10] = [b"QFI\xfb\0\0\0\x03", b"QFI\xfb\0\0\0\x02", b"KDMV", b"conectix", b"vhdxfile", b"koly", b"# Disk DescriptorFile",
            b"QED\0", b"LUKS\xba\xbe", b"CD001"];
        let mut image = magics[at].to_vec();
        image.extend(&bytes);
        let _ = inspect(&image);
    }

    #[test]
    fn an_honest_image_with_bytes_changed_gives_an_answer(
        mut image in some_image(),
        changes in prop::collection::vec((0usize..2048, any::<u8>()), 1..16),
        keep in 0.0f64..1.0,
        cut in 1usize..100_000,
    ) {
        for (at, byte) in changes {
            if let Some(b) = image.get_mut(at) { *b = byte; }
        }
        let _ = inspect(&image);
        image.truncate((image.len() as f64 * keep) as usize);
        let whole = inspect(&image);
        let mut pieces = Inspector::new();
        image.chunks(cut).for_each(|c| pieces.eat(c));
        prop_assert_eq!(pieces.finish(), whole);
    }

    #[test]
    fn a_field_of_a_header_set_to_an_extreme_gives_an_answer(
        mut image in some_image(), at in 0usize..1024, value in prop::sample::select(vec![0u64, 1, u32::MAX as u64, 1 << 31, 1 << 63, u64::MAX]), le in any::<bool>(),
    ) {
        let bytes = if le { value.to_le_bytes() } else { value.to_be_bytes() };
        make::put(&mut image, at, &bytes);
        let _ = inspect(&image);
    }
}
