//! `forebay bench --emulate` as a person runs it, on a few megabytes. Nothing here asserts a time, or that a busy
//! machine keeps an accelerator at work. The files of unet3d are too large to make here; its figures have unit tests.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn emulate(model: &str, accelerator: &str, dir: Option<&Path>, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["bench", "--emulate", model, "--accelerator", accelerator, "--seconds", "0.05"]);
    command.args(dir).args(words).output().expect("it runs")
}

fn report(model: &str, accelerator: &str, dir: &Path, words: &[&str]) -> Value {
    let output = emulate(model, accelerator, Some(dir), &[words, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["label"], "MLPerf-Storage-like, unverified");
    report
}

fn error(model: &str, accelerator: &str, dir: &Path, words: &[&str]) -> String {
    let output = emulate(model, accelerator, Some(dir), words);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

#[test]
fn files_that_are_samples_are_made_once_and_feed_every_accelerator() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = ["--emulate-gb", "0.02", "--accelerators", "2", "--runs", "2"];
    let report = report("retinanet", "b200", dir.path(), &words);
    let workload = &report["workload"];
    assert_eq!((&workload["batch"], &workload["sample_bytes"]), (&Value::from(24), &Value::from(322_957)));
    assert_eq!((&report["data"]["files"], &report["data"]["samples"]), (&Value::from(61), &Value::from(61)));
    let result = &report["result"];
    let runs = result["runs"].as_array().expect("runs");
    assert_eq!((&result["accelerators"], runs.len()), (&Value::from(2), 2));
    for run in runs {
        let (steps, reads) = (number(&run["steps"]), number(&run["reads"]));
        let whole_files = run["read_bytes"].as_u64().expect("bytes").is_multiple_of(322_957);
        assert!(steps >= 6.0, "three of each accelerator: {run}");
        assert!(reads > 0.0 && whole_files, "{run}");
        assert!(number(&run["utilisation"]) > 0.0 && number(&run["utilisation"]) <= 1.0, "{run}");
        assert!(number(&run["utilisation_low"]) <= number(&run["utilisation"]) + 1e-9);
    }
    let again = emulate("retinanet", "b200", Some(dir.path()), &["--runs", "1"]);
    let (text, said) = (String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(again.status.success() && said.is_empty(), "nothing is made again: {said}");
    for part in
        ["retinanet on b200: MLPerf-Storage-like, unverified", "61 samples", "note: the data is 0.00 times"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn records_of_a_container_are_read_by_their_range() {
    let dir = tempfile::tempdir().expect("a folder");
    let report = report("resnet50", "h100", dir.path(), &["--emulate-gb", "0.06", "--runs", "1"]);
    assert_eq!((&report["data"]["files"], &report["data"]["samples"]), (&Value::from(1), &Value::from(523)));
    let run = &report["result"]["runs"][0];
    let bytes = run["read_bytes"].as_u64().expect("bytes");
    assert!(bytes > 0 && bytes.is_multiple_of(114_660), "no frame, no neighbour: {run}");
    let notes = report["notes"].as_array().expect("notes").iter().map(Value::to_string).collect::<String>();
    assert!(notes.contains("by their byte range") && notes.contains("asks for 5 times"), "{notes}");
}

#[test]
fn cold_reads_are_the_same_samples_and_say_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = ["--emulate-gb", "0.02", "--runs", "1", "--cold"];
    let report = report("cosmoflow", "h100", dir.path(), &words);
    assert_eq!((&report["data"]["cold"], &report["data"]["samples"]), (&Value::from(true), &Value::from(7)));
    let result = &report["result"];
    assert!(number(&result["runs"][0]["reads"]) > 0.0);
    // A file system without a page cache to drop from (tmpfs) fetches nothing from storage.
    assert!(result["from_storage"].is_null() || number(&result["from_storage"]) >= 0.0);
}

#[test]
fn the_search_ends_at_what_the_data_allows_and_shows_every_step() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = ["--emulate-gb", "0.02", "--find-max", "--runs", "1"];
    let report = report("retinanet", "b200", dir.path(), &words);
    let search = &report["search"];
    assert_eq!(search["limit"], 2, "61 samples are two batches of 24");
    let trials = search["trials"].as_array().expect("trials");
    assert_eq!(trials[0]["accelerators"], 1);
    let most = number(&search["most"]);
    assert!(most <= 2.0 && trials.iter().all(|trial| number(&trial["accelerators"]) <= 2.0));
    assert_eq!(search["limited_by"].is_null(), most < 2.0, "{search}");
    assert_eq!(report["result"].is_null(), most == 0.0);
}

#[test]
fn what_cannot_work_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    let unknown = error("resnet50", "b200", dir.path(), &[]);
    assert!(
        unknown.contains("no step time of resnet50 on b200") && unknown.contains("a100, h100"),
        "{unknown}"
    );
    let small = error("unet3d", "h100", dir.path(), &["--emulate-gb", "0.01"]);
    assert!(small.contains("hold no sample") && small.contains("hint: raise --emulate-gb"), "{small}");
    let many = error("retinanet", "b200", dir.path(), &["--emulate-gb", "0.02", "--accelerators", "3"]);
    assert!(many.contains("3 accelerators are too many: the data has batches of 2"), "{many}");
    let stage = error("retinanet", "b200", dir.path(), &["--stage", "read"]);
    assert!(stage.contains("cannot be used with"), "{stage}");
    let both = error("retinanet", "b200", dir.path(), &["--find-max", "--accelerators", "2"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn without_a_folder_the_data_lies_in_the_cache() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["bench", "--emulate", "cosmoflow", "--accelerator", "a100", "--seconds", "0.05"]);
    command.args(["--emulate-gb", "0.006", "--runs", "1"]).env("XDG_CACHE_HOME", dir.path());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(dir.path().join("forebay/emulate/cosmoflow/0000/0000000.tfrecord").is_file());
}
