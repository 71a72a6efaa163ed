//! A listing that is killed goes on where it was: directories that it had read, and that are as they were, are not read
//! again.
//!
//! `src/crash.rs` ends the binary where `FOREBAY_DIE_AT_WRITE` says, in builds with debug assertions alone.
#![cfg(debug_assertions)]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

/// Class folders, each with one more folder in it.
const CLASSES: u64 = 6;

struct Trial {
    dir: tempfile::TempDir,
}

impl Trial {
    /// Made long enough ago for its times to be believed (`catalog/stamp.rs`).
    fn new() -> Self {
        let trial = Self { dir: tempfile::tempdir().expect("a folder") };
        for class in 0..CLASSES {
            for name in ["1.jpg", "2.jpg", "deep/3.jpg"] {
                trial.write(&format!("photos/class{class}/{name}"));
            }
        }
        std::thread::sleep(Duration::from_millis(2100));
        trial
    }

    fn write(&self, name: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    }

    /// * `die_at`: the directory before whose note the process is killed; 0: none.
    fn index(&self, die_at: u64, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["index", "photos", "--json", "--threads", "1"]).args(more).current_dir(self.dir.path());
        command.env("FOREBAY_CACHE_DIR", self.dir.path().join("cache"));
        if die_at > 0 {
            command.env("FOREBAY_DIE_AT_WRITE", die_at.to_string());
        }
        command.output().expect("forebay runs")
    }

    fn killed(&self, at: u64) {
        let output = self.index(at, &[]);
        assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!self.dir.path().join("photos.forebay").exists(), "it died before there was a data set");
    }

    #[track_caller]
    fn told(&self, more: &[&str]) -> Value {
        let output = self.index(0, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn left(&self) -> usize {
        let entries = fs::read_dir(self.dir.path().join("cache"));
        entries.map_or(0, |entries| entries.flatten().filter(|entry| is_journal(&entry.path())).count())
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "journal")
}

fn listing(told: &Value) -> [u64; 3] {
    ["directories", "samples", "directories_read"]
        .map(|name| told["listing"][name].as_u64().expect("a count"))
}

#[test]
fn a_listing_killed_anywhere_lists_only_the_rest() {
    let trial = Trial::new();
    for noted in [1, 5, 2 * CLASSES - 1] {
        trial.killed(noted + 1);
        assert_eq!(trial.left(), 1);
        let told = trial.told(&[]);
        let [directories, _, read] = listing(&told);
        assert_eq!((directories, read), (noted, 2 * CLASSES - noted), "killed behind {noted}");
        assert_eq!(told["counts"]["found"], 3 * CLASSES);
        assert_eq!(trial.left(), 0, "what is committed needs no journal");
        fs::remove_dir_all(trial.dir.path().join("photos.forebay")).expect("it was made");
    }
    assert_eq!(listing(&trial.told(&[])), [0, 0, 2 * CLASSES]);
}

#[test]
fn a_listing_killed_twice_goes_on_twice_and_finds_what_changed_since() {
    let trial = Trial::new();
    trial.killed(4);
    trial.killed(4);
    trial.write("photos/class0/new.jpg");
    trial.write("photos/class9/1.jpg");
    let told = trial.told(&[]);
    let [directories, _, read] = listing(&told);
    assert_eq!(
        (directories + read, told["counts"]["found"].as_u64()),
        (2 * CLASSES + 1, Some(3 * CLASSES + 2))
    );
    assert_eq!(directories, 5, "three and three, but for the one that has a new file");
    assert_eq!(told["new_classes"].as_array().map(Vec::len), Some(7));
}

#[test]
fn what_else_is_looked_for_is_a_listing_of_its_own_and_sizes_are_asked_for_anew() {
    let trial = Trial::new();
    trial.killed(8);
    let png = trial.index(0, &["--extensions", "png"]);
    assert!(!png.status.success(), "there are none");
    assert_eq!(trial.left(), 1, "that of the other listing stays");
    assert_eq!(trial.told(&["--stat"])["listing"], Value::Null);
}
