//! Names what snapshots and the read schema were made by: a hash of the sources that decide what a log folds to, and of
//! those that decide how that is shown. What another build made is made again, so a changed `apply` leaves no stale state.

use std::path::{Path, PathBuf};

fn main() {
    name("STRATA_FOLD", &["../../../events/src", "../../../projections/src/cloud"]);
    name("STRATA_READ", &["../../../projections/src/read", "../../../schema/read"]);
}

fn name(variable: &str, dirs: &[&str]) {
    let mut files = vec![];
    for dir in dirs {
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
    println!("cargo::rustc-env={variable}={hash:016x}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
