//! Real processes that die at every single write: the last good commit is readable, and the next writer succeeds.
//!
//! `src/crash.rs` ends the binary where `FOREBAY_DIE_AT_WRITE` says, in builds with debug assertions alone; a release
//! build has no places to die at, and none of these tests.
#![cfg(debug_assertions)]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod s3;

/// More places than any of these commands has.
const PLACES_MAX: u32 = 400;

/// A folder `now` in which a command is run again and again, and `before`, what it looks like each time.
struct Trial {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Trial {
    fn new(setup: &[&[&str]]) -> Self {
        let trial = Self { dir: tempfile::tempdir().expect("a folder"), env: Vec::new() };
        for number in 0..6 {
            trial.write(&format!("photos/{}/{number}.jpg", ["cats", "dogs"][number % 2]), "picture");
        }
        trial.write(
            "labels.csv",
            "image,label,score\ncats/0.jpg,wolf,1\ndogs/1.jpg,fox,2\ncats/2.jpg,cats,\n",
        );
        for words in setup {
            trial.ok(words);
        }
        copy(&trial.now(), &trial.before());
        trial
    }

    fn now(&self) -> PathBuf {
        self.dir.path().join("now")
    }

    fn before(&self) -> PathBuf {
        self.dir.path().join("before")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.now().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn restore(&self) {
        fs::remove_dir_all(self.now()).expect("it was there");
        copy(&self.before(), &self.now());
    }

    fn run(&self, words: &[&str], die_at: u32) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(words).current_dir(self.now()).envs(self.env.clone());
        command.env("FOREBAY_CACHE_DIR", self.dir.path().join("cache"));
        if die_at > 0 {
            command.env("FOREBAY_DIE_AT_WRITE", die_at.to_string());
        }
        command.output().expect("forebay runs")
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) {
        let output = self.run(words, 0);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs the command until it has died at every place once; `look` at what each death left.
    fn die_everywhere(&self, words: &[&str], mut look: impl FnMut(u32)) -> u32 {
        for place in 1..PLACES_MAX {
            self.restore();
            let output = self.run(words, place);
            if output.status.success() {
                return place - 1;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.signal(), Some(9), "place {place}: {said}");
            look(place);
        }
        panic!("{words:?} has more than {PLACES_MAX} places");
    }

    /// What the newest commit says, but for when and by whom; nothing where there is none.
    fn head(&self) -> Option<Value> {
        let folder = fs::read_dir(self.now().join("photos.forebay/manifests")).ok()?;
        let names = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let newest = names.filter(|name| !name.starts_with('.')).max()?;
        let text = fs::read(self.now().join("photos.forebay/manifests").join(newest)).expect("a manifest");
        let mut manifest: Value = serde_json::from_slice(&text).expect("a whole manifest");
        for name in ["nonce", "written_unix_ms", "by"] {
            manifest.as_object_mut().expect("an object").remove(name).expect("every manifest says so");
        }
        Some(manifest)
    }

    /// Reads everything that the newest commit names.
    #[track_caller]
    fn read_all(&self, place: &str) {
        self.ok(&["dataset", "files", place, "--parquet", "all.parquet"]);
        fs::remove_file(self.now().join("all.parquet")).expect("it was made");
    }

    /// Dies at every write of a commit.
    fn commit_everywhere(&self, words: &[&str]) -> u32 {
        let before = self.head();
        self.ok(words);
        let after = self.head().expect("a commit");
        assert_ne!(before.as_ref(), Some(&after), "there is something to write");
        let (mut kept, mut made) = (0, 0);
        let places = self.die_everywhere(words, |place| {
            let left = self.head();
            if left == before {
                kept += 1;
            } else {
                assert_eq!(left.as_ref(), Some(&after), "place {place}: neither what was nor what is to be");
                made += 1;
            }
            if left.is_some() {
                self.read_all("photos");
            }
            self.ok(words);
            assert_eq!(self.head().as_ref(), Some(&after), "place {place}: the next writer");
            self.read_all("photos");
        });
        assert!(kept > 0 && made > 0, "it dies before its commit and behind it: {kept}, {made}");
        places
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// All files of a folder with what they hold.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.push((entry.path(), fs::read(entry.path()).expect("a file")));
        }
    }
    found.sort();
    found
}

const INDEX: &[&str] = &["index", "photos"];

#[test]
fn an_index_killed_at_every_write_leaves_no_data_set_or_a_whole_one() {
    let places = Trial::new(&[]).commit_everywhere(INDEX);
    assert!(places >= 20, "{places} places: the mark, the file, the manifest");
}

#[test]
fn an_index_of_more_killed_at_every_write_leaves_the_commit_before_or_its_own() {
    let trial = Trial::new(&[INDEX]);
    trial.write("photos/ants/1.jpg", "picture");
    fs::remove_file(trial.now().join("photos/cats/0.jpg")).expect("it was there");
    fs::remove_dir_all(trial.before()).expect("it was there");
    copy(&trial.now(), &trial.before());
    let places = trial.commit_everywhere(&["index", "photos", "--prune"]);
    assert!(places >= 15, "{places} places: a file of samples, one of tombstones, the manifest");
}

#[test]
fn a_join_killed_at_every_write_leaves_the_commit_before_or_its_own() {
    let places = Trial::new(&[INDEX]).commit_everywhere(&[
        "dataset",
        "join",
        "photos",
        "--labels",
        "labels.csv",
        "--as",
        "kind",
    ]);
    assert!(places >= 10, "{places} places: the file, the manifest");
}

#[test]
fn a_split_killed_at_every_write_leaves_the_commit_before_or_its_own() {
    let salt = "0123456789abcdef0123456789abcdef";
    let split = ["dataset", "split", "photos", "main", "--holdout", "val=0.5", "--salt", salt];
    let places = Trial::new(&[INDEX]).commit_everywhere(&split);
    assert!(places >= 5, "{places} places: the manifest");
}

/// Exports whole and then killed at every write: what goes on comes to the same bytes. Gives how many writes there are.
fn export_killed_everywhere(trial: &Trial, format: &str) -> u32 {
    let export =
        ["dataset", "export", "photos", "out", "--format", format, "--shard-samples", "4", "--jobs", "1"];
    trial.restore();
    trial.ok(&export);
    let wanted = tree(&trial.now().join("out"));
    let head = trial.head();
    trial.die_everywhere(&export, |place| {
        assert_eq!(trial.head(), head, "an export commits nothing");
        trial.read_all("photos");
        trial.ok(&export);
        assert_eq!(tree(&trial.now().join("out")), wanted, "{format}, place {place}");
    })
}

#[test]
fn an_export_killed_at_every_write_goes_on_to_the_same_bytes() {
    let trial = Trial::new(&[INDEX]);
    for format in ["webdataset", "files"] {
        let places = export_killed_everywhere(&trial, format);
        assert!(places >= 6, "{format}: {places} places");
    }
}

#[test]
fn an_export_of_clips_killed_at_every_frame_goes_on_to_the_same_bytes() {
    let trial = Trial::new(&[&["index", "photos", "--frames", "--no-classes"]]);
    let places = export_killed_everywhere(&trial, "files");
    assert!(places >= 2 * 6, "{places} places: two of each frame");
}

#[test]
fn an_index_into_a_bucket_killed_at_every_put_leaves_no_data_set_or_a_whole_one() {
    let bucket = tempfile::tempdir().expect("a folder");
    let mut trial = Trial::new(&[]);
    trial.env = s3::serve(bucket.path(), 0).env();
    // A prefix a death: a bucket is not put back to what it was.
    for place in 1..PLACES_MAX {
        let set = format!("s3://{}/death-{place}", s3::BUCKET);
        let index = ["index", "photos", "--dataset", &set];
        let output = trial.run(&index, place);
        let manifest = bucket.path().join(s3::BUCKET).join(format!("death-{place}/manifests/00000001.json"));
        if manifest.exists() {
            trial.read_all(&set);
        }
        if output.status.success() {
            assert!(place > 8, "{place} places: the marks, the file, the manifest");
            return;
        }
        assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
        trial.ok(&index);
        trial.read_all(&set);
    }
    panic!("more than {PLACES_MAX} places");
}
