//! What `forebay bench` makes of its figures: JSON with a schema, a page, a comparison; and its own data and storage.
//! Nothing here asserts a time.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Jpeg;
use jpeg_encoder::SamplingFactor;
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Four images in two class folders, and room beside them.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for number in 0..4 {
            let class = dir.path().join("data").join(["cat", "dog"][number % 2]);
            std::fs::create_dir_all(&class).expect("a folder");
            let jpeg = Jpeg::rgb(40, 30, SamplingFactor::F_2_2).encode();
            std::fs::write(class.join(format!("{number}.jpg")), jpeg).expect("a file");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the bench with no programs in its PATH but those of ours.
    fn bench(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.arg("bench").args(words).current_dir(self.dir.path());
        command.env("PATH", self.path("bin")).env("XDG_CACHE_HOME", self.path("cache"));
        command.output().expect("it runs")
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.bench(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Puts a program of ours where fio is looked for.
    fn fio(&self, body: &str) {
        std::fs::create_dir_all(self.path("bin")).expect("a folder");
        let file = self.path("bin/fio");
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }

    /// Runs it, keeps its JSON in a file, and gives the file's name.
    fn kept(&self, name: &str, words: &[&str]) -> Value {
        let report = self.json(words);
        std::fs::write(self.path(name), report.to_string()).expect("a file");
        report
    }

    fn error(&self, words: &[&str]) -> String {
        let output = self.bench(words);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

/// A fio that measures nothing.
const FIO: &str = r#"[ "$1" = --version ] && echo fio-0.0 ||
    echo '{"jobs":[{"error":0,"read":{"iops":1000,"bw_bytes":4096000,"clat_ns":{"percentile":{}}}}]}'"#;

const QUICK: [&str; 8] = ["data", "--rows", "4", "--rounds", "2", "--batch", "2", "--consumers=2"];

/// Every key of a value, lists by their first entry.
fn keys(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| keys(&format!("{name}.{key}"), value, found));
        }
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            keys(&format!("{name}[]"), &list[0], found);
        }
        _ => found.push(name.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn the_keys_of_the_json_change_only_with_its_schema() {
    let place = Place::new();
    let storage =
        ["--storage", "--storage-bytes", "64KiB", "--storage-sizes", "4KiB", "--storage-depths", "2"];
    // By name, since io_uring, which is measured beside it otherwise, is not everywhere.
    let words = [&QUICK[..], &["--stage", "all", "--engine", "threads"], &storage].concat();
    place.fio(FIO);
    place.kept("before.json", &words);
    let report = place.json(&[&words[..], &["--compare", "before.json", "--force"]].concat());
    let mut found = Vec::new();
    keys("", &report, &mut found);
    found.sort();
    let kept = include_str!("snapshots/bench_keys.txt");
    assert_eq!(found.join("\n"), kept.trim(), "a changed key is a changed schema");
    assert_eq!(report["schema"], "forebay bench 2");
}

#[test]
fn several_consumers_are_told_by_the_slowest_and_the_fastest() {
    let place = Place::new();
    let report = place.json(&QUICK);
    let consumer = &report["consumer"];
    let rate = |key: &str| consumer[key]["median"].as_f64().expect("a rate");
    assert_eq!(consumer["consumers"], 2);
    assert!(0.0 < rate("slowest_per_second") && rate("slowest_per_second") <= rate("fastest_per_second"));
    let table = String::from_utf8(place.bench(&QUICK).stdout).expect("UTF-8");
    assert!(table.contains("2 consumers at once: the slowest "), "{table}");
    assert_eq!(consumer["batch_time"]["twentieths_us"].as_array().map(Vec::len), Some(21));
}

#[test]
fn the_page_is_one_file_with_every_part() {
    let place = Place::new();
    let output = place.bench(&[&QUICK[..], &["--html", "report.html"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("report: report.html"));
    let page = std::fs::read_to_string(place.path("report.html")).expect("a page");
    for part in
        ["What binds", "Each stage beside its ceiling", "What the consumer saw", "Circumstances", "<svg"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("forebay bench data --rows 4"), "the command that repeats it");
    let error = place.error(&[&QUICK[..], &["--html", "missing/report.html"]].concat());
    assert!(error.contains("missing/report.html") && error.contains("hint: "), "{error}");
}

#[test]
fn a_run_is_compared_with_one_of_the_same_settings_alone() {
    let place = Place::new();
    let read = ["data", "--stage", "read", "--rows", "4", "--rounds", "2"];
    let mut before = place.kept("before.json", &read);
    let compared = place.json(&[&read[..], &["--compare", "before.json"]].concat());
    let line = &compared["comparison"]["lines"][0];
    assert_eq!((&line["what"], &line["unit"]), (&Value::from("read"), &Value::from("samples")));
    assert!(line["rate"]["low"].as_f64() <= line["rate"]["high"].as_f64());
    let table = place.bench(&[&read[..], &["--compare", "before.json"]].concat());
    assert!(String::from_utf8_lossy(&table.stdout).contains("now / before, 95 %"));

    let other = [&read[..], &["--batch", "8", "--compare", "before.json"]].concat();
    let error = place.error(&other);
    assert!(error.contains("settings.batch was 256, is 8") && error.contains("--force"), "{error}");
    let forced = place.json(&[&other[..], &["--force"]].concat());
    assert_eq!(forced["comparison"]["differs"][0], "settings.batch was 256, is 8");

    before["data"]["samples"] = 5.into();
    std::fs::write(place.path("other.json"), before.to_string()).expect("a file");
    assert!(place.error(&[&read[..], &["--compare", "other.json"]].concat()).contains("data.samples was 5"));
    let deliver = ["data", "--stage", "deliver", "--rows", "4", "--compare", "before.json"];
    assert!(place.error(&deliver).contains("nothing in common"));
}

#[test]
fn a_rate_far_below_the_earlier_one_fails_where_that_was_asked_for() {
    let place = Place::new();
    let read = ["data", "--stage", "read", "--rows", "4", "--rounds", "2"];
    let mut before = place.kept("before.json", &read);
    for round in before["stages"][0]["rounds"].as_array_mut().expect("rounds") {
        round["forebay_per_second"] = 1e15.into();
    }
    std::fs::write(place.path("fast.json"), before.to_string()).expect("a file");
    let told = place.bench(&[&read[..], &["--compare", "fast.json"]].concat());
    assert!(told.status.success(), "a comparison alone never fails");
    let failed = place.bench(&[&read[..], &["--compare", "fast.json", "--fail-below", "0.95"]].concat());
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stdout).contains("FAILED: "), "the table comes all the same");
}

#[test]
fn synthetic_data_is_made_once_and_kept() {
    let place = Place::new();
    let words = ["--synthetic", "tiny", "--stage", "read", "--rows", "4", "--rounds", "1"];
    let first = place.bench(&words);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(first.status.success() && said(&first).contains("drawing 1000 pictures"), "{}", said(&first));
    let second = place.bench(&words);
    assert!(second.status.success() && !said(&second).contains("drawing"), "{}", said(&second));
    assert!(said(&second).contains("cache/forebay/bench-tiny-1000"));
    let report = place.json(&words);
    assert_eq!((&report["data"]["samples"], &report["settings"]["synthetic"]), (&800.into(), &"tiny".into()));
}

#[test]
fn reading_alone_takes_any_folder_of_files() {
    let place = Place::new();
    let raw = place.path("raw/deep");
    std::fs::create_dir_all(&raw).expect("a folder");
    std::fs::write(place.path("raw/a.npy"), [1; 100]).expect("a file");
    std::fs::write(raw.join("b.bin"), [2; 300]).expect("a file");
    let report = place.json(&["raw", "--stage", "read", "--rows", "2", "--rounds", "1"]);
    assert_eq!((&report["data"]["samples"], &report["stages"][0]["rows"]), (&2.into(), &2.into()));
    std::fs::remove_dir_all(&raw).expect("there");
    let error = place.error(&["raw", "--rows", "2"]);
    assert!(error.contains("--stage read takes any folder of files"), "{error}");
    std::fs::remove_file(place.path("raw/a.npy")).expect("there");
    assert!(place.error(&["raw", "--stage", "read"]).contains("holds no file"));
}

const STORAGE: [&str; 10] = [
    "--storage",
    "--storage-bytes",
    "64KiB",
    "--storage-sizes",
    "512B,4KiB",
    "--storage-depths",
    "1,4",
    "--rounds",
    "1",
    "--seconds=0.1",
];

fn leftovers(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".forebay-bench")).collect()
}

#[test]
fn storage_is_measured_at_every_size_and_depth_and_left_as_it_was() {
    let place = Place::new();
    let report = place.json(&[&["data"], &STORAGE[..]].concat());
    let cells = report["storage"]["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 8, "two layouts, two sizes, two depths");
    for cell in cells {
        for side in ["forebay", "bare"] {
            assert!(cell[side]["per_second"]["median"].as_f64() > Some(0.0), "{cell}");
            assert!(cell[side]["p50_us"].as_f64() <= cell[side]["p99_us"].as_f64(), "{cell}");
        }
    }
    assert!(report["stages"].as_array().is_some_and(Vec::is_empty), "no stage was asked for");
    assert!(report["storage"]["fio"]["missing"].as_str().expect("why").contains("apt install fio"));
    let uring = |cell: &Value| cell["uring"]["per_second"]["median"].as_f64() > Some(0.0);
    let why = report["storage"]["no_uring"].as_str();
    assert!(cells.iter().all(|cell| uring(cell) == why.is_none()), "both engines, or why not: {why:?}");
    let directory = report["settings"]["storage"]["directory"].as_str().expect("a place");
    assert!(!directory.contains("/data/"), "never among class folders: {directory}");
    assert!(leftovers(place.dir.path()).is_empty() && leftovers(&place.path("data")).is_empty());
    let table = String::from_utf8(place.bench(&[&["data"], &STORAGE[..]].concat()).stdout).expect("UTF-8");
    for part in ["small files: ", "one large file: ", "page cache", "no figures of fio", "best: ", "set: "] {
        assert!(table.contains(part), "{part} in {table}");
    }
}

#[test]
fn fio_stands_beside_ours_where_it_is_installed_and_its_failure_is_told() {
    let place = Place::new();
    let words = [&["data"], &STORAGE[..]].concat();
    place.fio(FIO);
    let told = place.json(&words);
    assert_eq!(told["storage"]["fio"]["version"], "fio-0.0");
    assert_eq!(told["storage"]["cells"][0]["fio"]["per_second"]["median"], 1000.0);
    assert!(told["storage"]["cells"][0]["ratio_to_fio"]["median"].as_f64() > Some(0.0));
    place.fio("[ \"$1\" = --version ] && echo fio-0.0 || { echo 'fio: no such engine' >&2; exit 1; }");
    let told = place.json(&words);
    assert!(told["storage"]["fio"]["missing"].as_str().expect("why").contains("no such engine"));
    assert!(told["storage"]["cells"][0]["fio"].is_null());
}

#[test]
fn an_interrupted_run_leaves_no_test_files() {
    let place = Place::new();
    let words: Vec<_> = STORAGE[..9].iter().copied().chain(["--seconds", "3600"]).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["bench", "data"]).args(words).current_dir(place.dir.path()).env("PATH", "");
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let child = command.spawn().expect("it runs");
    while leftovers(place.dir.path()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("ours");
    let output = child.wait_with_output().expect("it ends");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped; test files were removed"));
    assert!(leftovers(place.dir.path()).is_empty());
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_cure() {
    let place = Place::new();
    let too_small = ["data", "--storage", "--storage-bytes", "4KiB", "--storage-sizes", "4KiB"];
    assert!(place.error(&too_small).contains("--storage-bytes 4GiB"));
    let error = place.error(&["missing", "--storage"]);
    assert!(error.contains("missing") && error.contains("hint: check the spelling"), "{error}");
    let error = place.error(&[&QUICK[..], &["--compare", "missing.json"]].concat());
    assert!(error.contains("missing.json") && error.contains("hint: give the file"), "{error}");
}
