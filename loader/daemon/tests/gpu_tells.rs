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
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source);
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
    has(&found[1], "ok", &["cuda:0", "GPU-fa102030-4050-6070-8090-a0b0c0d0e0f0", "Fake GPU 0", "80 GiB at 0000:1b:00.0"]);
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
