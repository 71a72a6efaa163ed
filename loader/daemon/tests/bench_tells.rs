//! `forebay bench` as a person runs it, on a handful of small images. Nothing here asserts a time.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::Jpeg;
use jpeg_encoder::SamplingFactor;
use serde_json::Value;

fn images(root: &Path, count: u32) {
    for number in 0..count {
        let class = root.join(["cat", "dog"][number as usize % 2]);
        std::fs::create_dir_all(&class).expect("a folder");
        let jpeg = Jpeg::rgb(40 + number, 30, SamplingFactor::F_2_2).encode();
        std::fs::write(class.join(format!("{number}.jpg")), jpeg).expect("a file");
    }
}

fn bench(path: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("bench").arg(path).args(words).output().expect("it runs")
}

fn report(path: &Path, words: &[&str]) -> Value {
    let output = bench(path, words);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn error(path: &Path, words: &[&str]) -> String {
    let output = bench(path, words);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn stages(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().expect("stages");
    stages.iter().map(|stage| stage["stage"].as_str().expect("a name")).collect()
}

#[test]
fn every_stage_measures_the_rows_that_were_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    images(dir.path(), 12);
    let words = ["--rows", "16", "--rounds", "2", "--batch", "4", "--threads", "2", "--json"];
    let report = report(dir.path(), &words);
    assert_eq!(stages(&report), ["read", "decode", "deliver", "whole"]);
    for stage in report["stages"].as_array().expect("stages") {
        assert_eq!(stage["rows"], 16, "{stage}");
        assert_eq!(stage["rounds"].as_array().expect("rounds").len(), 2);
        for key in ["measures", "beside", "unit", "ratio", "cpu_ratio"] {
            assert!(!stage[key].is_null(), "{key} of {stage}");
        }
        for side in ["forebay", "bare"] {
            assert!(stage[side]["per_second"]["median"].as_f64().expect("a rate") > 0.0, "{stage}");
            assert!(stage[side]["cpu_s_per_1000"]["median"].is_number());
        }
    }
    let whole = &report["stages"][3]["forebay"];
    assert!(whole["encoded_gb_per_s"].as_f64() > Some(0.0) && whole["batch_gb_per_s"].as_f64() > Some(0.0));
    assert!(report["consumer"]["batch_time"]["p99_us"].as_f64() > Some(0.0));
    assert!(report["consumer"]["wait"]["compute"].is_number());
    assert!(report["peak_memory_bytes"].as_u64() > Some(0));
    assert!(
        ["read", "decode", "deliver", "processors"]
            .contains(&report["verdict"]["binds"].as_str().expect("one"))
    );
    assert_eq!((&report["data"]["samples"], &report["data"]["warmed"]), (&Value::from(12), &Value::from(12)));
}

#[test]
fn one_stage_several_consumers_and_small_data_work_too() {
    let dir = tempfile::tempdir().expect("a folder");
    images(dir.path(), 3);
    let read = report(dir.path(), &["--stage", "read", "--rows", "5", "--rounds", "1", "--json"]);
    assert_eq!(stages(&read), ["read"]);
    assert_eq!((&read["stages"][0]["rows"], &read["verdict"]), (&Value::from(5), &Value::Null));
    let words =
        ["--consumers", "2", "--rows", "6", "--rounds", "1", "--dtype", "float32", "--transform", "eval"];
    let whole = report(dir.path(), &[&words[..], &["--json"]].concat());
    assert!(whole["stages"][3]["rows"].as_u64() >= Some(6), "a batch of 256 holds all there is");
}

#[test]
fn the_reading_loop_is_measured_beside_itself_and_a_cold_turn_reads_each_file_once() {
    let dir = tempfile::tempdir().expect("a folder");
    images(dir.path(), 6);
    let floor = report(dir.path(), &["--stage", "read-floor", "--rows", "5", "--rounds", "1", "--json"]);
    assert_eq!((stages(&floor), &floor["stages"][0]["rows"]), (vec!["read-floor"], &Value::from(5)));
    for stage in ["read", "read-floor"] {
        let cold = report(dir.path(), &["--stage", stage, "--cold", "--rounds", "2", "--json"]);
        assert_eq!(
            (&cold["stages"][0]["rows"], &cold["data"]["warmed"]),
            (&Value::from(12), &Value::from(0))
        );
        assert_eq!(cold["settings"]["cold"], true);
    }
    for words in [&["--cold"][..], &["--cold", "--stage", "decode"]] {
        assert!(error(dir.path(), words).contains("--stage read"), "{words:?}");
    }
}

#[test]
fn a_list_with_a_path_column_is_measured_as_a_folder_is() {
    let dir = tempfile::tempdir().expect("a folder");
    images(dir.path(), 2);
    let list = dir.path().join("list.csv");
    std::fs::write(&list, "path,score\ncat/0.jpg,1\ndog/1.jpg,2\n").expect("a file");
    let report = report(&list, &["--stage", "decode", "--rows", "4", "--rounds", "1", "--json"]);
    assert_eq!(
        (&report["data"]["samples"], &report["stages"][0]["rows"]),
        (&Value::from(2), &Value::from(4))
    );
    std::fs::write(&list, "score\n1\n2\n").expect("a file");
    let error = error(&list, &["--rows", "1"]);
    assert!(
        error.contains("no path column among score") && error.contains("hint: call the column"),
        "{error}"
    );
}

/// The header of a member of a tar archive.
fn header(name: &str, len: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let sized = format!("{len:011o}");
    for (at, text) in
        [(0, name), (100, "0000644"), (124, &sized), (148, "        "), (156, "0"), (257, "ustar")]
    {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[263..265].copy_from_slice(b"00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[test]
fn samples_inside_of_one_large_file_are_read_by_their_extents() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut file, mut encoded_bytes) = (Vec::new(), 0);
    let mut list = vec!["key,image,image.offset,image.length".to_owned()];
    for side in [30, 40, 50] {
        let jpeg = Jpeg::rgb(side, side, SamplingFactor::F_2_2).encode();
        list.push(format!("{side},all.tar,{},{}", file.len() + 512, jpeg.len()));
        file.extend_from_slice(&header(&format!("{side}.jpg"), jpeg.len()));
        file.extend_from_slice(&jpeg);
        encoded_bytes += jpeg.len();
        file.resize(file.len().next_multiple_of(512), 0);
    }
    file.extend_from_slice(&[0; 1024]);
    std::fs::write(dir.path().join("all.tar"), &file).expect("a file");
    std::fs::write(dir.path().join("all.csv"), list.join("\n")).expect("a file");
    let words = ["--rows", "3", "--rounds", "1", "--json"];
    for (name, stage) in
        [("csv", "read"), ("csv", "decode"), ("csv", "floor"), ("tar", "read"), ("tar", "decode")]
    {
        let path = dir.path().join(format!("all.{name}"));
        let report = report(&path, &[&["--stage", stage][..], &words].concat());
        let (rows, bare) = (&report["stages"][0]["rows"], &report["stages"][0]["bare"]);
        let number = |value: &Value| value.as_f64().expect("a number");
        let mean = 1e9 * number(&bare["encoded_gb_per_s"]) / number(&bare["per_second"]["median"]);
        assert_eq!((rows, (3.0 * mean).round() as usize), (&Value::from(3), encoded_bytes), "{name} {stage}");
    }
}

#[test]
fn the_table_names_what_binds_and_what_to_change() {
    let dir = tempfile::tempdir().expect("a folder");
    images(dir.path(), 4);
    let output = bench(dir.path(), &["--rows", "4", "--rounds", "1", "--batch", "2"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in ["forebay / bare", "CPU s / 1000", "p50", "peak memory", "what binds: ", "change first: "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(output.stderr.is_empty(), "progress is for terminals");
}

#[test]
fn data_that_is_not_there_is_a_clear_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = error(&dir.path().join("missing"), &[]);
    assert!(
        missing.contains("missing: No such file") && missing.contains("hint: check the spelling"),
        "{missing}"
    );
    let empty = error(dir.path(), &[]);
    assert!(empty.contains("hint: give a folder that holds one folder a class"), "{empty}");
    let unknown = error(dir.path(), &["--stage", "decoded"]);
    assert!(unknown.contains("possible values: all, read, decode, deliver"), "{unknown}");
}
