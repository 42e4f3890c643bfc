//! Names the fold: a hash of the sources that decide what state a log folds to. A snapshot made by another fold is not
//! taken, the log is folded instead, so a changed `apply` can't leave stale state behind.

use std::path::{Path, PathBuf};

fn main() {
    let mut files = vec![];
    for dir in ["../../../events/src", "../../../projections/src/cloud"] {
        println!("cargo::rerun-if-changed={dir}");
        collect(Path::new(dir), &mut files);
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for file in files {
        for byte in std::fs::read(&file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=STRATA_FOLD={hash:016x}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
