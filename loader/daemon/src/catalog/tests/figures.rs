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
