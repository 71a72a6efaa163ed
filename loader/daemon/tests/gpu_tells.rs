//! `forebay doctor` and `forebay bench --host-to-device` over a libcuda of our own, which plays GPUs that there are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The fake in a folder, under every name that it may be loaded by.
struct Fake {
    folder: TempDir,
}

impl Fake {
    /// `None`, with the reason said, on a machine without a C compiler: the JPEG decoder in C needs one, `pure` does not.
    fn build(flags: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/fake.c");
        let library = folder.path().join("libcuda.so.1");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .arg(source);
        match command.args(flags).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: no C compiler {compiler}");
                return None;
            }
            Err(error) => panic!("{compiler}: {error}"),
            Ok(built) => assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr)),
        }
        // Where a machine has the real one by its other name, this stands before it.
        std::os::unix::fs::symlink(&library, folder.path().join("libcuda.so")).expect("a link");
        Some(Self { folder })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn forebay(&self, words: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(words).env("LD_LIBRARY_PATH", self.folder.path()).env("FAKE_CUDA_LOG", self.log());
        command.env_remove("FOREBAY_SOCKET").env_remove("CUDA_VISIBLE_DEVICES");
        command.envs(settings.iter().copied()).output().expect("it runs")
    }

    /// What the doctor finds of GPUs.
    fn findings(&self, settings: &[(&str, &str)]) -> Vec<Value> {
        let output = self.forebay(&["doctor", "--json"], settings);
        let findings: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let is_cuda = |finding: &Value| finding["id"].as_str().is_some_and(|id| id.starts_with("gpu.cuda"));
        findings.into_iter().filter(is_cuda).collect()
    }

    /// The lines of the log that begin so.
    fn logged(&self, call: &str) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(call)).count()
    }
}

fn has(finding: &Value, level: &str, words: &[&str]) {
    assert_eq!(finding["level"], level, "{finding}");
    for words in words {
        assert!(finding.to_string().contains(words), "{words}: {finding}");
    }
}

#[test]
fn two_devices_are_told_by_uuid_and_a_part_of_a_gpu_as_one() {
    let Some(fake) = Fake::build(&[]) else { return };
    let found = fake.findings(&[]);
    has(&found[0], "ok", &["CUDA 12.4, 2 devices"]);
    has(
        &found[1],
        "ok",
        &["cuda:0", "GPU-fa102030-4050-6070-8090-a0b0c0d0e0f0", "Fake GPU 0", "80 GiB at 0000:1b:00.0"],
    );
    has(&found[2], "ok", &["cuda:1", "MIG-19112131-4151-6171-8191-a1b1c1d1e1f1", "0000:1c:00.0"]);
    assert_eq!((found.len(), fake.logged("retain")), (3, 0), "looking for devices makes no context");
}

#[test]
fn a_cuda_that_does_not_start_is_a_finding_with_its_cure() {
    let Some(fake) = Fake::build(&[]) else { return };
    let refused = [
        ("cuInit:100", "CUDA_ERROR_NO_DEVICE (100), no CUDA-capable device", "CUDA_VISIBLE_DEVICES"),
        ("cuInit:803", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "different versions"),
        ("cuInit:35", "CUDA_ERROR_INSUFFICIENT_DRIVER", "newer driver"),
        // A code that the bindings do not list, of a driver newer than they are.
        ("cuInit:4711", "an unknown error (4711)", "nvidia-smi"),
        ("cuDeviceGetCount:2", "CUDA_ERROR_OUT_OF_MEMORY", "memory"),
    ];
    for (fail, found, cure) in refused {
        let findings = fake.findings(&[("FAKE_CUDA_FAIL", fail)]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        has(&findings[0], "warn", &[found, cure]);
    }
    has(&fake.findings(&[("FAKE_CUDA_VERSION", "11030")])[0], "warn", &["speaks CUDA 11.3", "11.4", "470"]);
    has(&fake.findings(&[("FAKE_CUDA_DEVICES", "0")])[0], "warn", &["0 devices", "CUDA_VISIBLE_DEVICES"]);
}

#[test]
fn a_library_that_lacks_a_function_is_told_and_is_no_panic() {
    let Some(fake) = Fake::build(&["-DOLD"]) else { return };
    has(&fake.findings(&[])[0], "warn", &["libcuda has no cuDeviceGetUuid_v2", "older than CUDA 11.4"]);
}

#[test]
fn a_device_that_vanishes_is_told_and_the_other_is_there() {
    let Some(fake) = Fake::build(&[]) else { return };
    for (code, cure) in [("46", "exclusively"), ("719", "lost")] {
        let found = fake.findings(&[("FAKE_CUDA_FAIL", &format!("cuDeviceGetUuid:{code}:1"))]);
        has(&found[1], "warn", &["cuda:0", "cuDeviceGetUuid", cure]);
        has(&found[2], "ok", &["cuda:1", "MIG-"]);
    }
}

const COPY: [&str; 7] = ["bench", "--host-to-device", "--batch", "3", "--rows", "24", "--json"];

#[test]
fn copies_from_slots_stand_beside_plain_pinned_memory_and_everything_is_given_back() {
    let Some(fake) = Fake::build(&[]) else { return };
    let output = fake.forebay(&COPY, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["schema"], "forebay bench host-to-device 1");
    assert_eq!(report["gpu"]["uuid"], "GPU-fa102030-4050-6070-8090-a0b0c0d0e0f0");
    let (batch_bytes, slots) = (3 * 224 * 224 * 3, 4);
    let settings = &report["settings"];
    assert_eq!(settings["batch_bytes"], batch_bytes);
    assert_eq!(
        (&settings["slots"], &settings["rounds"], &settings["laps"]),
        (&4.into(), &3.into(), &1.into())
    );
    for side in ["slots", "plain", "unpinned"] {
        assert_eq!(report[side]["rounds"].as_array().expect("rounds").len(), 3, "{report}");
        assert!(report[side]["gb_per_s"]["low"].as_f64().expect("a rate") > 0.0, "{report}");
    }
    for ratio in ["ratio", "unpinned_ratio"] {
        assert!(report[ratio]["median"].as_f64().expect("a ratio") > 0.0, "{report}");
    }
    for (taken, given, times) in [
        ("retain", "release", 1),
        ("stream", "unstream", 1),
        ("alloc", "free", slots),
        ("hostalloc", "hostfree", 1),
        ("register", "unregister", 1),
    ] {
        assert_eq!((fake.logged(taken), fake.logged(given)), (times, times), "{taken}");
    }
    assert_eq!(fake.logged("unmapped"), 0, "an arena is unregistered before it is unmapped");
    let log = std::fs::read_to_string(fake.log()).expect("a log");
    assert!(log.trim_end().ends_with("release (nil) 1"), "the context goes last: {log}");
}

#[test]
fn the_gpu_is_named_by_number_uuid_or_address() {
    let Some(fake) = Fake::build(&[]) else { return };
    let uuid = |gpu: &str| {
        let output = fake.forebay(&[&COPY[..2], &[gpu], &COPY[2..]].concat(), &[]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        report["gpu"]["uuid"].as_str().expect("a UUID").to_owned()
    };
    let part = "MIG-19112131-4151-6171-8191-a1b1c1d1e1f1";
    for gpu in ["cuda:1", "1", part, "00000000:1C:00.0"] {
        assert_eq!(uuid(gpu), part, "{gpu}");
    }
    for gpu in ["cuda:2", "GPU-00000000-0000-0000-0000-000000000000", "gpu one"] {
        let said = refused(&fake, gpu, &[]);
        assert!(said.contains(&format!("no GPU {gpu}")) && said.contains("cuda:0 GPU-fa10"), "{said}");
    }
}

/// What is said of a copy that fails: whatever was taken before is given back.
fn refused(fake: &Fake, gpu: &str, settings: &[(&str, &str)]) -> String {
    let _ = std::fs::remove_file(fake.log());
    let output = fake.forebay(&[&COPY[..2], &[gpu], &COPY[2..]].concat(), settings);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    for (taken, given) in
        [("retain", "release"), ("alloc", "free"), ("hostalloc", "hostfree"), ("register", "unregister")]
    {
        assert_eq!(fake.logged(taken), fake.logged(given), "{taken}: {settings:?}");
    }
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_call_that_fails_is_an_error_with_its_cure_and_what_was_taken_is_given_back() {
    let Some(fake) = Fake::build(&[]) else { return };
    for (fail, words) in [
        ("cuDevicePrimaryCtxRetain:46", "CUDA_ERROR_DEVICE_UNAVAILABLE"),
        ("cuCtxSetCurrent:719", "cuCtxSetCurrent"),
        ("cuStreamCreate:2", "cuStreamCreate: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuMemHostRegister:2", "limit of locked memory"),
        ("cuMemHostAlloc:2", "cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY"),
        // The third of four buffers, the fifth of many copies: the device vanishes half-way.
        ("cuMemAlloc:2:3", "who holds it"),
        ("cuMemcpyHtoDAsync:719:5", "context is lost"),
        ("cuStreamSynchronize:719:2", "context is lost"),
        ("cuMemcpyDtoH:719:1", "cuMemcpyDtoH"),
    ] {
        let said = refused(&fake, "cuda:0", &[("FAKE_CUDA_FAIL", fail)]);
        assert!(
            said.contains("error: ") && said.contains(words) && said.contains("\nhint: "),
            "{fail}: {said}"
        );
    }
    let said = refused(&fake, "cuda:0", &[("FAKE_CUDA_FAIL", "cuMemHostRegister:2")]);
    assert!(said.contains("LimitMEMLOCK=infinity"), "{said}");
    let flipped = refused(&fake, "cuda:0", &[("FAKE_CUDA_FLIP", "1")]);
    assert!(flipped.contains("came back changed") && flipped.contains("first at 225792"), "{flipped}");
}

#[test]
fn without_a_driver_the_bench_says_so() {
    let Some(fake) = Fake::build(&[]) else { return };
    let said = refused(&fake, "cuda:0", &[("FAKE_CUDA_DEVICES", "0")]);
    assert!(said.contains("CUDA shows no GPU to this process"), "{said}");
    let said = refused(&fake, "cuda:0", &[("FAKE_CUDA_VERSION", "10020")]);
    assert!(said.contains("speaks CUDA 10.2") && said.contains("470"), "{said}");
}
