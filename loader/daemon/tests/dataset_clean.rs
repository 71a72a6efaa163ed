//! `forebay dataset filter | verify | release | remove`, through the binary, on photographs with planted bad ones.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use forebay::catalog::dataset::{Dataset, Selection};
use forebay::catalog::{self, CatalogLimits, SourceSpec, Table};
use forebay::synth::{SynthOptions, SynthSize, synth};
use serde_json::{Value, json};

fn forebay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("dataset").args(args).output().expect("the binary runs")
}

/// What a verb answers with `--json`.
fn told(args: &[&str]) -> Value {
    let output = forebay(&[args, &["--json"]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn refused(args: &[&str]) -> String {
    let output = forebay(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Eight photographs in two classes, as a data set; `plant` puts more among them.
fn photos(dir: &Path, plant: impl FnOnce(&Path, &[u8])) -> (String, Dataset) {
    let directory = dir.join("made");
    let options =
        SynthOptions { directory, classes: 2, images: 10, seed: 3, size: SynthSize::Tiny, threads: Some(1) };
    synth(&options, |_, _| ()).expect("pictures");
    let root = dir.join("photos");
    for class in ["cat", "dog"] {
        fs::create_dir_all(root.join(class)).expect("a folder");
    }
    let mut number = 0;
    for class in fs::read_dir(dir.join("made/train")).expect("classes") {
        for file in fs::read_dir(class.expect("a class").path()).expect("pictures") {
            let name = format!("{}/{number}.jpg", if number % 2 == 0 { "cat" } else { "dog" });
            fs::copy(file.expect("a picture").path(), root.join(name)).expect("a copy");
            number += 1;
        }
    }
    let picture = fs::read(root.join("cat/0.jpg")).expect("a picture");
    plant(&root, &picture);
    let dataset = index(&root);
    (root.to_str().expect("UTF-8").to_owned(), dataset)
}

/// As `forebay index` would.
fn index(root: &Path) -> Dataset {
    let spec = SourceSpec::Folder { root: root.to_owned(), extensions: None };
    let snapshot = catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot");
    let dataset = Dataset::create(&format!("{}.forebay", root.display())).expect("a place");
    let made = dataset.commit(|head| {
        let mut next = head.clone();
        next.admit_columns(&Table::of(&snapshot))?;
        next.samples.push(dataset.put(&snapshot)?);
        root.to_str().expect("UTF-8").clone_into(&mut next.root);
        Ok(Some(next))
    });
    made.expect("a commit");
    dataset
}

fn keys(dataset: &Dataset, filter: Option<&str>) -> Vec<String> {
    let selection = Selection { filter: filter.map(str::to_owned), ..Selection::default() };
    let table = dataset.select(&dataset.head().expect("a commit"), &selection).expect("samples");
    table.keys().map(|key| String::from_utf8(key.into_owned()).expect("UTF-8")).collect()
}

fn named(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|one| one["key"].as_str().expect("a key")).collect()
}

fn plant_bad(root: &Path, picture: &[u8]) {
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("a file");
    write("cat/cut.jpg", &picture[..picture.len() / 2]);
    write("cat/empty.jpg", b"");
    write("dog/text.jpg", b"<html>404</html>");
    write("dog/misnamed.png", &[picture, b"not a copy"].concat());
    write("dog/gone.jpg", picture);
}

#[test]
fn corrupt_samples_go_into_quarantine_with_reasons_and_what_is_unavailable_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, dataset) = photos(dir.path(), plant_bad);
    fs::remove_file(Path::new(&place).join("dog/gone.jpg")).expect("it was there");
    let report = told(&["verify", &place]);
    assert_eq!(named(&report["corrupt"]), ["cat/cut.jpg", "cat/empty.jpg", "dog/text.jpg"]);
    assert_eq!(named(&report["unavailable"]), ["dog/gone.jpg"]);
    assert_eq!((&report["sound"], &report["files"]), (&json!(9), &json!({ "JPEG": 9 })));
    assert_eq!(report["commit"]["counts"], json!({ "corrupt": 3, "sound": 9 }));
    let left = keys(&dataset, None);
    assert!(left.contains(&"dog/misnamed.png".to_owned()) && left.contains(&"dog/gone.jpg".to_owned()));
    assert_eq!(left.len(), 10);
    assert_eq!(keys(&dataset, Some("content_blake3 is null")), ["dog/gone.jpg"]);
    assert!(!Path::new(&format!("{place}.forebay/verify.progress")).exists());

    let again = told(&["verify", &place]);
    assert_eq!((&again["verified"], &again["verified_before"]), (&json!(1), &json!(9)));
    assert_eq!(again["commit"], Value::Null, "nothing was found out, so nothing is committed");
    let output = forebay(&["verify", &place, "--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("dog/gone.jpg: open"), "the report is printed");
    let all = told(&["verify", &place, "--again"]);
    assert_eq!((&all["verified"], &all["changed"]), (&json!(10), &json!([])));
}

#[test]
fn a_mended_sample_is_released_and_verified_and_one_that_is_not_goes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, dataset) = photos(dir.path(), plant_bad);
    told(&["verify", &place]);
    let held = told(&["release", &place]);
    assert_eq!(named(&held["quarantine"]), ["cat/cut.jpg", "cat/empty.jpg", "dog/text.jpg"]);
    assert_eq!(held["quarantine"][1]["reason"], "it is empty");
    fs::copy(Path::new(&place).join("cat/0.jpg"), Path::new(&place).join("cat/empty.jpg")).expect("mended");
    let list = dir.path().join("list");
    fs::write(&list, "cat/empty.jpg\ncat/none.jpg\n").expect("a list");
    let released = told(&["release", &place, "dog/text.jpg", "--from", list.to_str().expect("UTF-8")]);
    assert_eq!(released["released"], json!(["cat/empty.jpg", "dog/text.jpg"]));
    assert_eq!(released["unknown"], json!(["cat/none.jpg"]));
    let report = told(&["verify", &place]);
    assert_eq!((&report["sound"], named(&report["corrupt"])), (&json!(1), vec!["dog/text.jpg"]));
    assert!(keys(&dataset, None).contains(&"cat/empty.jpg".to_owned()));
    told(&["release", &place, "--all"]);
    assert_eq!(keys(&dataset, None).len(), 13);
}

#[test]
fn copies_share_a_group_for_ever_and_go_into_quarantine_only_when_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, dataset) = photos(dir.path(), |root, picture| {
        fs::write(root.join("dog/same.jpg"), picture).expect("a copy");
    });
    let report = told(&["verify", &place, "--dedup"]);
    assert_eq!(report["copies"]["groups"], json!([["cat/0.jpg", "dog/same.jpg"]]));
    assert_eq!(report["copies"]["groups_with_different_labels"], 1);
    let table = dataset.table(&dataset.head().expect("a commit")).expect("samples");
    let group_of = |key: &str| {
        let row = table.keys().position(|found| &*found == key.as_bytes()).expect("it is there");
        table.column("dup_group").expect("a group").column().int(row as u64)
    };
    assert_eq!(table.column("dup_group").expect("a group").missing(), 0);
    assert_eq!(group_of("cat/0.jpg"), group_of("dog/same.jpg"));
    assert_ne!(group_of("cat/0.jpg"), group_of("cat/2.jpg"));
    assert_eq!(keys(&dataset, None).len(), 9, "nothing is dropped by default");

    // A copy that comes later joins the group of the first, whatever was removed meanwhile.
    let (before, root) = (group_of("cat/0.jpg"), Path::new(&place));
    told(&["remove", &place, "cat/0.jpg", "--reason", "law"]);
    fs::copy(root.join("dog/same.jpg"), root.join("cat/later.jpg")).expect("a copy");
    add(&dataset, root, "cat/later.jpg");
    let second = told(&["verify", &place, "--quarantine-copies"]);
    assert_eq!(second["copies"]["groups"], json!([["dog/same.jpg", "cat/later.jpg"]]));
    let held = told(&["release", &place]);
    assert_eq!(held["quarantine"], json!([{ "key": "cat/later.jpg", "reason": "copy of dog/same.jpg" }]));
    told(&["release", &place, "--all"]);
    let groups = keys(&dataset, Some(&format!("dup_group = {before}")));
    assert_eq!(groups, ["dog/same.jpg", "cat/later.jpg"]);
}

/// Adds one sample, as a later index would.
fn add(dataset: &Dataset, root: &Path, key: &str) {
    let json_lines = format!("{{\"image\":\"{key}\",\"label\":0}}").into_bytes();
    let spec = SourceSpec::Records { root: Some(root.to_owned()), json_lines, columns: Vec::new() };
    let snapshot = catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot");
    let made = dataset.commit(|head| {
        let mut next = head.clone();
        next.samples.push(dataset.put(&snapshot)?);
        Ok(Some(next))
    });
    made.expect("a commit");
}

#[test]
fn removed_samples_are_gone_from_the_next_commit_on_and_old_commits_keep_their_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, dataset) = photos(dir.path(), |_, _| ());
    let removed = told(&["remove", &place, "cat/0.jpg", "cat/none.jpg", "--reason", "ticket 1"]);
    assert_eq!((&removed["removed"], &removed["unknown"]), (&json!(["cat/0.jpg"]), &json!(["cat/none.jpg"])));
    assert!(!keys(&dataset, None).contains(&"cat/0.jpg".to_owned()));
    assert_eq!(dataset.table(&dataset.at(1).expect("a commit")).expect("samples").len(), 8);
    let again = forebay(&["remove", &place, "cat/0.jpg", "--reason", "ticket 1"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to remove: 1 were removed before"));
    assert_eq!(dataset.head().expect("a commit").number, 2);
    told(&["filter", &place, "--name", "cats", "--where", "image like 'cat/%'"]);
    let cats = told(&["remove", &place, "--where", "cats", "--reason", "no cats"]);
    assert_eq!(cats["removed"], json!(["cat/2.jpg", "cat/4.jpg", "cat/6.jpg"]));
    assert_eq!(keys(&dataset, None), ["dog/1.jpg", "dog/3.jpg", "dog/5.jpg", "dog/7.jpg"]);
    assert!(refused(&["remove", &place, "--reason", "x"]).contains("no sample is named"));
}

#[test]
fn a_condition_is_counted_recorded_named_and_forgotten() {
    let dir = tempfile::tempdir().expect("a folder");
    let (place, dataset) = photos(dir.path(), |_, _| ());
    let counted = forebay(&["filter", &place, "--where", "label = 1"]);
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "4 of 8 samples (50.0 %) meet label = 1\n");
    assert_eq!(told(&["filter", &place, "--where", "-1 < label"])["selected"], 8, "it begins like an option");
    let listed = forebay(&["filter", &place, "--where", "label = 1 and image > 'dog/2'", "--keys"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "dog/3.jpg\ndog/5.jpg\ndog/7.jpg\n");
    let made = told(&["filter", &place, "--where", "label = 1", "--name", "dogs"]);
    assert_eq!((&made["selected"], &made["commit"]["commit"]), (&json!(4), &json!(2)));
    assert_eq!(keys(&dataset, Some("dogs")).len(), 4);
    let other = refused(&["filter", &place, "--where", "label = 0", "--name", "dogs"]);
    assert!(other.contains("dogs is recorded as label = 1\nhint: "), "{other}");
    told(&["filter", &place, "--where", "label = 0", "--name", "dogs", "--replace"]);
    assert_eq!(told(&["filter", &place])["selections"][0]["where"], "label = 0");
    let wrong = refused(&["filter", &place, "--where", "labl = 0"]);
    assert!(wrong.contains("there is no column labl\n  labl = 0\n  ^^^^\nhint: "), "{wrong}");
    told(&["filter", &place, "--drop", "dogs"]);
    assert!(refused(&["filter", &place, "--drop", "dogs"]).contains("none is recorded"));
    let missing = Selection { filter: Some("dogs".to_owned()), ..Selection::default() };
    let fault = dataset.select(&dataset.head().expect("a commit"), &missing).expect_err("it is forgotten");
    assert!(fault.message.ends_with("has no recorded selection dogs"), "{fault}");
}
