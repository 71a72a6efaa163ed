//! `forebay dataset join`, `add`, `log`, `show`, `diff` and `files` on a folder of photographs, as people type them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A folder of two classes, indexed.
struct Photos {
    dir: tempfile::TempDir,
}

impl Photos {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for path in ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"] {
            let path = dir.path().join("photos").join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        let photos = Self { dir };
        photos.ok(&["index", "photos"]);
        photos
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn run(&self, words: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let output = command.args(words).current_dir(self.dir.path()).output().expect("forebay runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let (ok, out, error) = self.run(words);
        assert!(ok, "{words:?}: {error}");
        out
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.ok(&words)).expect("JSON")
    }

    #[track_caller]
    fn error(&self, words: &[&str]) -> String {
        let (ok, out, error) = self.run(words);
        assert!(!ok && error.contains("\nhint: "), "{words:?}: {out}{error}");
        error
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.dir.path()).join(name).display().to_string()
    }
}

#[test]
fn labels_are_joined_and_what_matched_nothing_is_counted_listed_and_written() {
    let photos = Photos::new();
    photos.write("labels.csv", "image,label\ncats/1.jpg,wolf\nbirds/9.jpg,emu\n");
    let out =
        photos.ok(&["dataset", "join", "photos", "--labels", "labels.csv", "--list-unmatched", "rest.csv"]);
    let expected = "label: 1 value for 1 sample\n\
                    new classes: wolf\n\
                    no sample for 1 row: birds/9.jpg\n\
                    no row for 2 samples: cats/2.jpg, dogs/1.jpg\n\
                    commit 2: join label of labels.csv: 1 matched, 1 new classes, 1 rows without sample, 2 samples without row\n";
    assert_eq!(out, expected);
    let rest = fs::read_to_string(photos.path("rest.csv")).expect("written");
    assert_eq!(
        rest,
        "what,key\nrow without sample,birds/9.jpg\nsample without row,cats/2.jpg\nsample without row,dogs/1.jpg\n"
    );
    let again = photos.json(&["dataset", "join", "photos", "--labels", "labels.csv"]);
    assert_eq!((again["made"].clone(), again["commit"]["commit"].clone()), (false.into(), 2.into()));
    let strict =
        photos.error(&["dataset", "join", "photos", "--columns", "labels.csv", "--as", "name", "--strict"]);
    assert!(strict.contains("1 rows of labels.csv have no sample and 2 samples have no row"), "{strict}");
    let neither = photos.run(&["dataset", "join", "photos"]);
    assert!(!neither.0 && neither.2.contains("--labels"), "{}", neither.2);
}

#[test]
fn rows_are_added_and_the_log_what_is_shown_and_the_difference_say_so() {
    let photos = Photos::new();
    photos.write("new.jsonl", "{\"image\":\"dogs/1.jpg\",\"score\":1}\n{\"image\":\"dogs/2.jpg\",\"score\":null,\"label\":\"dogs\"}\n");
    // The first record has no label, so the columns are named.
    photos.error(&["dataset", "add", "photos", "new.jsonl"]);
    photos.write("new.jsonl", "{\"image\":\"dogs/1.jpg\",\"score\":1,\"label\":\"emu\"}\n{\"image\":\"dogs/2.jpg\",\"score\":2.5,\"label\":\"dogs\"}\n");
    let added = photos.json(&["dataset", "add", "photos", "new.jsonl"]);
    assert_eq!(
        (added["added"].clone(), added["known"].clone(), added["made"].clone()),
        (1.into(), 1.into(), true.into())
    );
    let log = photos.json(&["dataset", "log", "photos"]);
    assert_eq!((log[0]["verb"].clone(), log[1]["verb"].clone()), ("add".into(), "index".into()));
    assert_eq!(photos.ok(&["dataset", "log", "photos", "-n", "1"]).lines().count(), 1);
    let shown = photos.json(&["dataset", "show", "photos"]);
    assert_eq!((shown["samples"].clone(), shown["classes"][1]["samples"].clone()), (4.into(), 2.into()));
    let score = shown["columns"].as_array().expect("columns").iter().find(|column| column["name"] == "score");
    assert_eq!(score.expect("it came in")["missing"], 3);
    assert_eq!(photos.json(&["dataset", "show", "photos", "--at", "1"])["samples"], 3);
    assert!(photos.ok(&["dataset", "show", "photos"]).contains("classes      2: cats 2, dogs 2\n"));
    let diff = photos.json(&["dataset", "diff", "photos"]);
    assert_eq!((diff["added"][0].clone(), diff["columns"][0].clone()), ("dogs/2.jpg".into(), "score".into()));
    let first = photos.json(&["dataset", "diff", "photos", "0", "1"]);
    assert_eq!(first["added"].as_array().expect("keys").len(), 3);
    let backwards = photos.error(&["dataset", "diff", "photos", "2", "1"]);
    assert!(backwards.contains("commit 2 comes after commit 1"), "{backwards}");
    photos.error(&["dataset", "show", "photos", "--at", "9"]);
}

#[test]
fn files_keys_and_one_parquet_are_had_of_any_commit() {
    let photos = Photos::new();
    photos.write("score.csv", "image,score\ncats/1.jpg,0.5\n");
    photos.ok(&["dataset", "join", "photos", "--columns", "score.csv"]);
    let files = photos.json(&["dataset", "files", "photos"]);
    assert_eq!(files.as_array().expect("files").len(), 2);
    for file in files.as_array().expect("files") {
        assert!(Path::new(file["path"].as_str().expect("a path")).exists(), "{file}");
    }
    assert_eq!(photos.ok(&["dataset", "files", "photos", "--keys"]), "cats/1.jpg\ncats/2.jpg\ndogs/1.jpg\n");
    photos.ok(&["dataset", "files", "photos", "--parquet", "all.parquet"]);
    // What was written can be added to another data set.
    photos.ok(&["index", "photos", "--dataset", "other"]);
    let known = photos.json(&["dataset", "add", "other", "all.parquet", "--update"]);
    assert_eq!((known["added"].clone(), known["updated"].clone()), (0.into(), 3.into()));
    let files = photos.json(&["dataset", "files", "photos", "--at", "1"]);
    assert_eq!(files.as_array().expect("files").len(), 1);
    let sql = photos.ok(&["dataset", "files", "photos", "--sql"]);
    assert!(sql.contains("j0.\"score\" AS \"score\"") && sql.contains("LEFT JOIN"), "{sql}");
    photos.error(&["dataset", "files", "photos", "--where", "score > 0"]);
}
