//! `forebay ingest` from and to buckets: whole, verified, known again, and with a cure for what goes wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod s3;

const FILES: [(&str, &str); 5] = [
    ("cats/1.jpg", "one"),
    ("cats/2.jpg", "two"),
    ("dogs/\u{e9}t\u{e9} #1 100%.jpg", "a name that URLs escape"),
    ("dogs/empty.jpg", ""),
    ("labels.csv", "image,label\n"),
];

/// A folder outside, an S3 and the commands that go between them.
struct Trial {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Trial {
    fn new(fault_every: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("s3")).expect("made");
        let env = s3::serve(&dir.path().join("s3"), fault_every).env();
        let trial = Self { dir, env };
        for (name, text) in FILES {
            trial.write(&format!("usb/{name}"), text.as_bytes());
        }
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn object(&self, name: &str) -> PathBuf {
        self.path("s3").join(s3::BUCKET).join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn run_with(&self, words: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(words).current_dir(self.dir.path());
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(self.env.clone()).envs(env.iter().copied()).output().expect("forebay runs")
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run_with(words, &[]);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[track_caller]
    fn ingest(&self, source: &str, target: &str, more: &[&str]) -> Value {
        let words = [&["ingest", source, target, "--json"], more].concat();
        serde_json::from_str(&self.ok(&words)).expect("JSON")
    }

    #[track_caller]
    fn error(&self, words: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run_with(words, env);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("\nhint: "), "{said}");
        said
    }
}

/// Files of a folder by name, with what they hold.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("beneath it").to_str().expect("UTF-8").to_owned();
                found.push((name, fs::read(path).expect("a file")));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

fn counts(report: &Value) -> [u64; 3] {
    ["files", "copied", "known"].map(|name| report[name].as_u64().expect("a count"))
}

#[test]
fn a_folder_goes_to_a_bucket_to_another_and_back_and_second_runs_change_nothing() {
    let trial = Trial::new(0);
    let wanted = tree(&trial.path("usb"));
    for (source, target) in [
        ("usb", "s3://state/photos"),
        ("s3://state/photos", "s3://state/deep/copy"),
        ("s3://state/deep/copy", "back"),
    ] {
        let report = trial.ingest(source, target, &[]);
        assert_eq!(counts(&report), [5, 5, 0], "{target}");
        assert_eq!(report["checksums"], 4, "of the four samples");
        let place = format!("{target}.forebay");
        let keys = trial.ok(&["dataset", "files", &place, "--keys"]);
        let samples = FILES.iter().map(|(name, _)| *name).filter(|name| *name != "labels.csv");
        assert_eq!(keys.lines().collect::<BTreeSet<_>>(), samples.collect(), "{target}");
        assert_eq!(counts(&trial.ingest(source, target, &["--verify"])), [5, 0, 5], "{target}");
        let log: Value =
            serde_json::from_str(&trial.ok(&["dataset", "log", &place, "--json"])).expect("JSON");
        assert_eq!(
            log.as_array().expect("commits").len(),
            2,
            "the samples, their checksums, and nothing more"
        );
    }
    assert_eq!(tree(&trial.object("photos")), wanted);
    assert_eq!(tree(&trial.path("back")), wanted);
    // One more comes, and only it is copied.
    trial.write("usb/cats/3.jpg", b"three");
    assert_eq!(counts(&trial.ingest("usb", "s3://state/photos", &[])), [6, 1, 5]);
    assert_eq!(counts(&trial.ingest("s3://state/photos", "back", &[])), [6, 1, 5]);
}

#[test]
fn what_is_in_a_bucket_is_said_not_to_be_readable_yet() {
    let trial = Trial::new(0);
    let said = trial.ok(&["ingest", "usb", "s3://state/photos"]);
    assert!(said.contains("samples are read from folders as yet, not from a bucket"), "{said}");
    assert!(said.contains("forebay.Dataset(\"s3://state/photos.forebay\", root="), "{said}");
    assert!(said.contains("verified: sha256 of each request, by the store"), "{said}");
    let report = trial.ingest("usb", "s3://state/alone", &["--no-index"]);
    assert_eq!((&report["readable"], &report["index"]), (&false.into(), &Value::Null));
    assert!(!trial.object("alone.forebay").exists());
    let said = trial.ok(&["ingest", "s3://state/photos", "back", "--verify"]);
    assert!(!said.contains("as yet") && said.contains("verified: blake3 of what was read"), "{said}");
    let refused = trial.error(&["dataset", "verify", "s3://state/photos.forebay"], &[]);
    assert!(refused.contains("s3://state/photos"), "{refused}");
}

#[test]
fn requests_that_fail_or_lose_their_answers_are_sent_again() {
    let trial = Trial::new(3);
    assert_eq!(counts(&trial.ingest("usb", "s3://state/photos", &["--verify"])), [5, 5, 0]);
    assert_eq!(tree(&trial.object("photos")), tree(&trial.path("usb")));
}

#[test]
fn a_large_file_goes_in_parts_and_comes_back_whole() {
    let trial = Trial::new(0);
    let large: Vec<u8> =
        (0..(9_u32 << 20) / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    trial.write("usb/cats/large.jpg", &large);
    let exact = vec![7; 8 << 20];
    trial.write("usb/cats/exact.jpg", &exact);
    assert_eq!(counts(&trial.ingest("usb", "s3://state/photos", &["--verify"])), [7, 7, 0]);
    assert!(fs::read(trial.object("photos/cats/large.jpg")).expect("there") == large);
    assert_eq!(counts(&trial.ingest("s3://state/photos", "s3://state/copy", &[])), [7, 7, 0]);
    assert_eq!(counts(&trial.ingest("s3://state/copy", "back", &[])), [7, 7, 0]);
    assert!(fs::read(trial.path("back/cats/large.jpg")).expect("there") == large);
    assert_eq!(counts(&trial.ingest("usb", "s3://state/photos", &[])), [7, 0, 7], "known by its time");
}

#[test]
fn a_large_file_that_fails_takes_its_parts_back_and_the_others_are_copied() {
    let trial = Trial::new(0);
    trial.write("usb/cats/refused.jpg", &vec![7; 9 << 20]);
    let error = trial.error(&["ingest", "usb", "s3://state/photos"], &[]);
    assert!(
        error.contains("1 of 6 files were not copied:") && error.contains("usb/cats/refused.jpg: "),
        "{error}"
    );
    assert!(
        error.contains("AccessDenied") && error.contains("run it again: what was copied is known"),
        "{error}"
    );
    let left =
        |folder: &Path| fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
    let parts: Vec<_> =
        left(&trial.path("s3")).filter(|name| name.to_string_lossy().contains("part")).collect();
    assert!(parts.is_empty(), "parts are left: {parts:?}");
    fs::rename(trial.path("usb/cats/refused.jpg"), trial.path("usb/cats/taken.jpg")).expect("renamed");
    assert_eq!(counts(&trial.ingest("usb", "s3://state/photos", &[])), [6, 1, 5]);
}

#[test]
fn an_object_that_differs_stops_all_unless_it_is_to_be_replaced() {
    let trial = Trial::new(0);
    fs::create_dir_all(trial.object("photos/cats")).expect("made");
    fs::write(trial.object("photos/cats/2.jpg"), "other").expect("written");
    let error = trial.error(&["ingest", "usb", "s3://state/photos"], &[]);
    assert!(error.contains("1 file already there and different:"), "{error}");
    assert!(error.contains("usb/cats/2.jpg (3 bytes) and s3://state/photos/cats/2.jpg (5 bytes)"), "{error}");
    assert_eq!(tree(&trial.object("photos")).len(), 1, "nothing was copied");
    let report = trial.ingest("usb", "s3://state/photos", &["--replace"]);
    assert_eq!((&report["copied"], &report["replaced"]), (&5.into(), &1.into()));
    // What somebody else put there, of equal bytes, is read and known.
    fs::create_dir_all(trial.object("theirs/cats")).expect("made");
    fs::write(trial.object("theirs/cats/2.jpg"), "two").expect("written");
    assert_eq!(counts(&trial.ingest("usb", "s3://state/theirs", &[])), [5, 4, 1]);
}

#[test]
fn bytes_that_changed_in_the_bucket_are_found_when_they_are_read() {
    let trial = Trial::new(0);
    trial.ingest("usb", "s3://state/photos", &[]);
    fs::write(trial.object("photos/cats/2.jpg"), "owt").expect("written");
    assert_eq!(
        counts(&trial.ingest("usb", "s3://state/photos", &[])),
        [5, 0, 5],
        "size and time are what they were"
    );
    let error = trial.error(&["ingest", "s3://state/photos", "back", "--no-index"], &[]);
    assert!(
        error.contains("photos/cats/2.jpg: it is not what was written: its blake3 is another"),
        "{error}"
    );
    assert!(!trial.path("back/cats/2.jpg").exists());
    let error = trial.error(&["ingest", "usb", "s3://state/photos", "--verify"], &[]);
    assert!(error.contains("1 file already there and different:"), "{error}");
    trial.ingest("usb", "s3://state/photos", &["--verify", "--replace"]);
    assert_eq!(fs::read(trial.object("photos/cats/2.jpg")).expect("there"), b"two", "it is mended");
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_with_its_cure() {
    let trial = Trial::new(0);
    for (words, env, says) in [
        (["usb", "s3://nowhere/photos"], vec![], "there is no such bucket"),
        (["s3://nowhere/photos", "back"], vec![], "there is no such bucket"),
        (["s3://state/nothing", "back"], vec![], "holds no files"),
        (["usb", "s3://state/photos"], vec![("AWS_SECRET_ACCESS_KEY", "wrong")], "refuses these credentials"),
        (["usb", "s3://state"], vec![], "there is no place beside it"),
        (["s3://state/a", "s3://state/a/b"], vec![], "lie in each other"),
        (["nowhere", "s3://state/photos"], vec![], "open the source"),
    ] {
        let error = trial.error(&["ingest", words[0], words[1]], &env);
        assert!(error.contains(says), "{words:?}: {error}");
    }
    let inside = ["ingest", "usb", "s3://state/photos", "--dataset", "s3://state/photos/set"];
    assert!(trial.error(&inside, &[]).contains("would lie in the data"));
    assert!(!trial.path("back").exists());
}

#[test]
fn without_credentials_it_is_said_what_to_set() {
    let mut trial = Trial::new(0);
    trial.env.retain(|(name, _)| !name.contains("KEY"));
    // Where a machine of a cloud would be asked for its role, nobody listens.
    let nobody = [("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")];
    let error = trial.error(&["ingest", "usb", "s3://state/photos"], &nobody);
    assert!(error.contains("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{error}");
}

#[test]
#[cfg(debug_assertions)]
fn an_ingest_killed_at_every_request_goes_on_where_it_was() {
    use std::os::unix::process::ExitStatusExt as _;

    let trial = Trial::new(0);
    trial.write("usb/cats/large.jpg", &vec![3; 9 << 20]);
    for place in 1..200 {
        let target = format!("s3://state/death-{place}");
        let words = ["ingest", "usb", &target, "--jobs", "1", "--no-index"];
        let output = trial.run_with(&words, &[("FOREBAY_DIE_AT_WRITE", &place.to_string())]);
        if output.status.success() {
            assert!(place > 13, "{place} places: five files, and one in parts");
            return;
        }
        assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
        let left = trial.object(&format!("death-{place}"));
        let there = if left.exists() { tree(&left) } else { Vec::new() };
        assert!(there.iter().all(|file| tree(&trial.path("usb")).contains(file)), "what is there is whole");
        let report = trial.ingest("usb", &target, &["--jobs", "1", "--no-index"]);
        let known = there.len() as u64;
        assert_eq!(counts(&report), [6, 6 - known, known], "place {place}: what was copied is known");
        assert_eq!(tree(&left), tree(&trial.path("usb")), "place {place}");
    }
    panic!("more than 200 places");
}
