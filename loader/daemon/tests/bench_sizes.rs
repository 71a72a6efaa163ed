//! `forebay bench --size-for` as a person runs it, mostly on figures of an earlier run.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::Jpeg;
use jpeg_encoder::SamplingFactor;
use serde_json::{Value, json};

/// A bench of 1 ms a sample, 100 KB and 150 KB.
fn bench_json(dir: &Path) -> String {
    let stage = |stage: &str, per_s: f64, cpu: f64, encoded: f64, batch: f64| {
        json!({ "stage": stage, "forebay": { "per_second": { "median": per_s }, "cpu_s_per_1000": { "median": cpu },
            "encoded_gb_per_s": encoded, "batch_gb_per_s": batch } })
    };
    let report = json!({ "machine": { "processors": 4 }, "data": { "path": "w1" },
        "settings": { "transform": "train", "dtype": "uint8" },
        "stages": [stage("deliver", 50_000.0, 0.0, 0.0, 0.0), stage("whole", 4000.0, 1.0, 0.4, 0.6)] });
    let file = dir.join("bench.json");
    std::fs::write(&file, report.to_string()).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

fn size(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["bench", "--size-for"]).args(words).output().expect("it runs")
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn error(words: &[&str]) -> String {
    let output = size(words);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn an_earlier_bench_sizes_a_node_line_by_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = bench_json(dir.path());
    let shown = text(size(&["resnet50", "--gpus", "8", "--gpu", "h100", "--from", &from, "--cores", "70"]));
    for part in [
        "published  eight H100 trained on 56,080 images/s",
        "56,080/s x 1.000 ms / 0.8",
        "= 71 cores",
        "= 5.61 GB/s",
        "NO, 71 cores",
        "14,286 samples/s: yes, 18 cores",
        "assumed    the loader may have 80 %",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let dgx = text(size(&["resnet50", "--gpu", "h100", "--from", &from]));
    assert!(dgx.contains("112 cores (a DGX H100 by its data sheet) suffice"), "{dgx}");
    let json =
        text(size(&["resnet50", "--gpus", "2", "--samples-per-second", "400", "--from", &from, "--json"]));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let need = &json["needs"][0];
    assert_eq!(
        (&json["schema"], &need["samples_per_s"]),
        (&Value::from("forebay size 1"), &Value::from(800.0))
    );
    assert_eq!(
        (&need["cores"], &need["slots"], &need["suffices"]),
        (&Value::from(1), &Value::from(8), &Value::Null)
    );
    assert_eq!(need["demand"]["basis"], "given");
}

#[test]
fn retinanet_says_that_its_files_are_larger_than_the_measured_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let shown = text(size(&["retinanet", "--gpu", "b200", "--from", &bench_json(dir.path())]));
    assert!(
        shown.contains("the published ones of retinanet 323 KB: with those, GB/s are 3.2 times"),
        "{shown}"
    );
    assert!(shown.contains("1,920,000 bytes"), "{shown}");
}

#[test]
fn a_folder_is_measured_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let class = dir.path().join("cat");
    std::fs::create_dir_all(&class).expect("a folder");
    for number in 0..4 {
        let jpeg = Jpeg::rgb(40 + number, 30, SamplingFactor::F_2_2).encode();
        std::fs::write(class.join(format!("{number}.jpg")), jpeg).expect("a file");
    }
    let path = dir.path().to_str().expect("UTF-8");
    let shown =
        text(size(&["resnet50", "--gpu", "a100", "--rows", "4", "--rounds", "1", "--batch", "2", path]));
    assert!(shown.contains("bench ") && shown.contains("a DGX A100 trained on 26,700 images/s"), "{shown}");
}

#[test]
fn stored_bytes_are_measured_by_an_emulation() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_str().expect("UTF-8");
    let words = ["cosmoflow", "--gpu", "h100", "--emulate-gb", "0.02", "--seconds", "0.05", path];
    let refused = error(&words);
    assert!(refused.contains("--emulate"), "its options belong to --emulate: {refused}");
    let emulated = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["bench", "--emulate", "cosmoflow", "--accelerator", "h100", "--emulate-gb", "0.02"])
        .args(["--runs", "1", "--seconds", "0.05", "--json", path])
        .output()
        .expect("it runs");
    std::fs::write(dir.path().join("cosmo.json"), &emulated.stdout).expect("a file");
    let here = text(size(&["cosmoflow", "--gpu", "h100", "--seconds", "0.05", path]));
    let file = dir.path().join("cosmo.json");
    let there = text(size(&["cosmoflow", "--gpu", "h100", "--from", file.to_str().expect("UTF-8")]));
    for shown in [here, there] {
        assert!(shown.contains("2,828,486 bytes") && shown.contains("6.47 GB/s"), "{shown}");
        assert!(shown.contains("assumed    nothing is decoded"), "{shown}");
    }
}

#[test]
fn what_is_not_known_lists_what_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = bench_json(dir.path());
    let unknown = error(&["resnet50", "--gpu", "b200", "--from", &from]);
    assert!(unknown.contains("hint: give --gpu a100 or --gpu h100 or --samples-per-second"), "{unknown}");
    let other = error(&["unet3d", "--gpu", "b200", "--from", &from]);
    assert!(other.contains("says nothing about unet3d") && other.contains("--emulate unet3d"), "{other}");
    let missing = error(&["resnet50", "--gpu", "h100", "--from", "missing.json"]);
    assert!(
        missing.contains("read missing.json: No such file") && missing.contains("hint: make one"),
        "{missing}"
    );
    let both = error(&["resnet50", "--gpu", "h100", "--from", &from, "/data"]);
    assert!(both.contains("cannot be used with"), "{both}");
}
