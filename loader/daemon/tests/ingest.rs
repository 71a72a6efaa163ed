//! `forebay ingest` from folder to folder: whole, verified, known again, never over another's file unasked.

use std::fs::{self, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// A folder outside with photographs of two classes and a list beside them.
struct Outside {
    dir: tempfile::TempDir,
}

const FILES: [(&str, &str); 4] =
    [("cats/1.jpg", "one"), ("cats/2.jpg", "two"), ("dogs/1.jpg", "one"), ("labels.csv", "image,label\n")];

impl Outside {
    fn new() -> Self {
        let outside = Self { dir: tempfile::tempdir().expect("a folder") };
        for (name, text) in FILES {
            outside.write(&format!("usb/{name}"), text);
        }
        outside
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, as if yesterday.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        let file = fs::File::options().write(true).open(path).expect("it is there");
        file.set_times(FileTimes::new().set_modified(yesterday)).expect("set");
    }

    fn run(&self, words: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let output = command.args(words).current_dir(self.dir.path()).output().expect("forebay runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    fn ingest(&self, more: &[&str]) -> Value {
        let (ok, out, error) = self.run(&[&["ingest", "usb", "photos", "--json"], more].concat());
        assert!(ok, "{error}");
        serde_json::from_str(&out).expect("JSON")
    }

    #[track_caller]
    fn error(&self, words: &[&str]) -> String {
        let (ok, out, error) = self.run(words);
        assert!(!ok && error.contains("\nhint: "), "{out}{error}");
        error
    }

    fn keys(&self) -> String {
        self.run(&["dataset", "files", "photos", "--keys"]).1
    }
}

/// All files of a folder with what they hold, hidden ones too.
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

#[test]
fn a_folder_comes_in_whole_with_times_and_checksums_and_a_second_run_changes_nothing() {
    let outside = Outside::new();
    let first = outside.ingest(&[]);
    let counts = |report: &Value| {
        ["files", "copied", "known", "checksums"].map(|name| report[name].as_u64().expect("a count"))
    };
    assert_eq!(counts(&first), [4, 4, 0, 3]);
    for (name, text) in FILES {
        assert_eq!(fs::read_to_string(outside.path(&format!("photos/{name}"))).expect("copied"), text);
    }
    let modified = |name: &str| fs::metadata(outside.path(name)).expect("there").modified().expect("a time");
    assert_eq!(modified("usb/cats/1.jpg"), modified("photos/cats/1.jpg"));
    assert_eq!(outside.keys(), "cats/1.jpg\ncats/2.jpg\ndogs/1.jpg\n");
    let (_, rows, _) = outside.run(&["dataset", "files", "photos", "--parquet", "all.parquet", "--json"]);
    assert!(rows.contains("\"columns\": 3"), "{rows}");
    let (_, log, _) = outside.run(&["dataset", "log", "photos", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&log).expect("JSON").as_array().expect("commits").len(), 2);
    let before = [tree(&outside.path("photos")), tree(&outside.path("photos.forebay"))];
    let again = outside.ingest(&["--verify"]);
    assert_eq!(counts(&again), [4, 0, 4, 0]);
    assert_eq!(before, [tree(&outside.path("photos")), tree(&outside.path("photos.forebay"))]);
}

#[test]
fn what_a_stopped_run_left_is_gone_on_with_and_its_checksums_are_kept_too() {
    let outside = Outside::new();
    fs::create_dir_all(outside.path("photos/cats")).expect("made");
    fs::write(outside.path("photos/cats/.ingest-0123"), "hal").expect("written");
    fs::copy(outside.path("usb/cats/1.jpg"), outside.path("photos/cats/1.jpg")).expect("copied");
    // Equal bytes of another time are read and known.
    let report = outside.ingest(&[]);
    assert_eq!(
        (report["copied"].clone(), report["known"].clone(), report["checksums"].clone()),
        (3.into(), 1.into(), 3.into())
    );
    // What may still be written by somebody stays for a day, and is no sample.
    assert!(outside.path("photos/cats/.ingest-0123").exists());
    assert_eq!(outside.keys(), "cats/1.jpg\ncats/2.jpg\ndogs/1.jpg\n");
    let old = fs::File::options().write(true).open(outside.path("photos/cats/.ingest-0123")).expect("there");
    old.set_times(FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(200_000)))
        .expect("set");
    outside.write("usb/cats/3.jpg", "three");
    outside.ingest(&[]);
    assert!(!outside.path("photos/cats/.ingest-0123").exists());
}

#[test]
fn files_that_are_known_by_size_and_time_alone_are_read_for_their_checksums() {
    let outside = Outside::new();
    outside.ingest(&["--no-index"]);
    let report = outside.ingest(&[]);
    assert_eq!((report["known"].clone(), report["checksums"].clone()), (4.into(), 3.into()));
    outside.write("sums.csv", &format!("image,blake3\ncats/2.jpg,{}\n", blake3::hash(b"two")));
    let (_, joined, _) = outside.run(&["dataset", "join", "photos", "--columns", "sums.csv"]);
    let (_, diff, _) = outside.run(&["dataset", "diff", "photos", "--json"]);
    assert!(joined.contains("commit 3") && diff.contains("\"values\": {}"), "{joined}{diff}");
}

#[test]
fn a_file_that_differs_stops_all_before_a_byte_is_copied_unless_it_is_to_be_replaced() {
    let outside = Outside::new();
    outside.write("photos/cats/2.jpg", "other");
    let error = outside.error(&["ingest", "usb", "photos"]);
    assert!(error.contains("1 file already there and different:"), "{error}");
    assert!(
        error.contains("usb/cats/2.jpg (3 bytes) and ") && error.contains("photos/cats/2.jpg (5 bytes)"),
        "{error}"
    );
    assert_eq!(tree(&outside.path("photos")).len(), 1);
    assert!(!outside.path("photos.forebay").exists());
    let report = outside.ingest(&["--replace"]);
    assert_eq!((report["copied"].clone(), report["replaced"].clone()), (4.into(), 1.into()));
    assert_eq!(fs::read_to_string(outside.path("photos/cats/2.jpg")).expect("there"), "two");
}

#[test]
fn verifying_reads_what_size_and_time_do_not_tell() {
    let outside = Outside::new();
    outside.ingest(&[]);
    let path = outside.path("photos/cats/1.jpg");
    let modified = fs::metadata(&path).expect("there").modified().expect("a time");
    fs::write(&path, "eno").expect("written");
    let file = fs::File::options().write(true).open(&path).expect("there");
    file.set_times(FileTimes::new().set_modified(modified)).expect("set");
    assert_eq!(outside.ingest(&[])["known"], 4);
    let error = outside.error(&["ingest", "usb", "photos", "--verify"]);
    assert!(error.contains("1 file already there and different"), "{error}");
    let report = outside.ingest(&["--verify", "--replace"]);
    assert_eq!((report["copied"].clone(), report["known"].clone()), (1.into(), 3.into()));
}

#[test]
fn links_are_followed_and_what_is_no_file_is_counted() {
    let outside = Outside::new();
    symlink("1.jpg", outside.path("usb/cats/4.jpg")).expect("a link");
    symlink("cats", outside.path("usb/wolves")).expect("a link");
    symlink("..", outside.path("usb/dogs/loop")).expect("a link");
    symlink("nowhere", outside.path("usb/dogs/broken.jpg")).expect("a link");
    let report = outside.ingest(&["--no-index"]);
    assert_eq!(report["copied"], 8);
    let passed = report["passed_over"].as_array().expect("names");
    assert_eq!(passed.len(), 2, "{passed:?}");
    assert_eq!(fs::read_to_string(outside.path("photos/wolves/4.jpg")).expect("copied"), "one");
    assert!(!outside.path("photos.forebay").exists());
}

#[test]
fn folders_that_are_not_there_hold_nothing_or_lie_in_each_other_are_refused() {
    let outside = Outside::new();
    fs::create_dir(outside.path("empty")).expect("made");
    for (source, target, says) in [
        ("nowhere", "photos", "open the source"),
        ("empty", "photos", "holds no files"),
        ("usb", "usb/photos", "lie in each other"),
        ("usb/cats", "usb", "lie in each other"),
        ("usb", "usb", "lie in each other"),
        ("usb/labels.csv", "photos", "is no folder"),
    ] {
        let error = outside.error(&["ingest", source, target]);
        assert!(error.contains(says), "{error}");
    }
    assert!(!outside.path("photos").exists());
    // Without class folders there is nothing that an index would find by itself.
    let error = outside.error(&["ingest", "usb/cats", "flat"]);
    assert!(error.contains("all files are in") && error.contains("--no-classes"), "{error}");
    let (ok, out, error) = outside.run(&["ingest", "usb/cats", "flat", "--no-classes"]);
    assert!(ok && out.starts_with("2 files: 0 copied, 2 known"), "{out}{error}");
}
