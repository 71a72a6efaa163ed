//! What a large source costs; `cargo test --release -p forebay figures -- --ignored --nocapture --test-threads 1`.
//!
//! Makes its million files in `/dev/shm` and removes them.

use std::fmt::Write;
use std::time::Instant;

use super::*;

const CLASSES: usize = 1000;
const FILES_A_CLASS: usize = 1000;

/// A figure of `/proc/self/status`, in MB.
fn status_mb(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

fn measure(what: &str, open: impl FnOnce() -> Snapshot) {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, start) = (status_mb("VmRSS"), Instant::now());
    let snapshot = open();
    let (seconds, rows) = (start.elapsed().as_secs_f64(), snapshot.len() as f64);
    println!(
        "{what}: {rows} samples in {seconds:.2} s ({:.2} million/s), columns {:.1} MB, process +{:.1} MB, peak +{:.1} MB",
        rows / seconds / 1e6,
        snapshot.heap_bytes() as f64 / 1e6,
        status_mb("VmRSS") - before,
        status_mb("VmHWM") - before,
    );
}

fn name(class: usize, file: usize) -> String {
    format!("n{class:08}/n{class:08}_{file:05}.JPEG")
}

#[test]
#[ignore = "makes a million files"]
fn how_long_does_a_million_files_take() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    for class in 0..CLASSES {
        fs::create_dir(dir.path().join(format!("n{class:08}"))).unwrap();
        (0..FILES_A_CLASS)
            .for_each(|file| drop(fs::File::create(dir.path().join(name(class, file))).unwrap()));
    }
    measure("folder", || open_folder(dir.path()).unwrap());
    measure("folder again", || open_folder(dir.path()).unwrap());
}

#[test]
#[ignore = "writes a list of a million"]
fn how_long_does_a_list_of_a_million_take() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let rows = (0..CLASSES).flat_map(|class| (0..FILES_A_CLASS).map(move |file| (name(class, file), class)));
    let (mut csv, mut json) = (String::from("path,label\n"), String::new());
    for (path, class) in rows {
        writeln!(csv, "{path},{class}").unwrap();
        writeln!(json, "{{\"path\": \"{path}\", \"label\": {class}}}").unwrap();
    }
    for (file, text) in [("list.csv", csv), ("list.jsonl", json)] {
        fs::write(dir.path().join(file), text).unwrap();
        let (file, root) = (dir.path().join(file), dir.path().to_owned());
        let source = SourceSpec::List { file: file.clone(), root, format: None, columns: vec![] };
        measure(&file.display().to_string(), || open(&source, &CatalogLimits::default()).unwrap());
    }
}

#[test]
#[ignore = "stores a snapshot of a million"]
fn how_large_is_a_stored_snapshot_of_a_million_and_how_long_does_it_take() {
    let mut lines = String::from("path,label\n");
    for class in 0..CLASSES {
        let mut file = 0;
        for index in 0..FILES_A_CLASS {
            // Numbers with gaps that nobody can foretell, as ImageNet's files have (Vigna's splitmix64).
            let mut gap = ((class * FILES_A_CLASS + index) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            gap = (gap ^ (gap >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            file += 1 + ((gap ^ (gap >> 27)) % 20) as usize;
            writeln!(lines, "{},{class}", name(class, file)).unwrap();
        }
    }
    let snapshot = open_list("list.csv", lines, &[]).unwrap();
    let start = Instant::now();
    let bytes = snapshot.to_parquet().unwrap();
    let (written, start) = (start.elapsed().as_secs_f64(), Instant::now());
    let megabytes = bytes.len() as f64 / 1e6;
    let limits = CatalogLimits::default();
    Snapshot::from_parquet("x", bytes.into(), Some(&snapshot.digest()), None, &limits).unwrap();
    let read = start.elapsed().as_secs_f64();
    println!("{} samples: {megabytes:.1} MB, written in {written:.2} s, read in {read:.2} s", snapshot.len());
}
