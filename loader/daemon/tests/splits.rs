//! `forebay dataset split` and `freeze` as a person runs them, on a data set that grows in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use forebay::catalog::dataset::{Dataset, Selection};
use forebay::catalog::{CatalogLimits, SourceSpec, open};
use serde_json::Value;

fn dataset(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("dataset").args(words).current_dir(folder).output().expect("it runs")
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&done(output)).expect("JSON")
}

/// Adds a source to the data set of `place`; its classes go on from those that are there.
fn add(place: &Path, spec: &SourceSpec) {
    let set = Dataset::create(place.to_str().expect("UTF-8")).expect("a data set");
    let snapshot = Arc::new(open(spec, &CatalogLimits::default()).expect("a source"));
    let committed = set.commit(|head| {
        let mut next = head.clone();
        let snapshot = snapshot.with_classes(&head.classes);
        next.classes = snapshot.class_map().map_or_else(Vec::new, |classes| classes.names().to_vec());
        next.samples.push(set.put(&snapshot)?);
        Ok(Some(next))
    });
    committed.expect("a commit");
}

/// Recordings `first..` of these speakers, ten each.
fn speech(place: &Path, first: usize, speakers: std::ops::Range<usize>) {
    let line = |speaker, n| {
        format!("{{\"key\":\"{speaker}/{n}.wav\",\"speaker\":\"s{speaker}\",\"label\":{}}}\n", n % 2)
    };
    let lines: String = speakers.flat_map(|s| (first..first + 10).map(move |n| line(s, n))).collect();
    add(place, &SourceSpec::Records { root: None, json_lines: lines.into_bytes(), columns: Vec::new() });
}

/// The samples of a side by speaker.
fn speakers(place: &Path, side: Option<&str>) -> BTreeMap<String, usize> {
    let set = Dataset::open(place.to_str().expect("UTF-8")).expect("a data set");
    let selection = Selection { split: side.map(str::to_owned), ..Selection::default() };
    let table = set.select(&set.head().expect("a commit"), &selection).expect("a selection");
    let speaker = table.column("speaker").expect("a column").column();
    let mut counts = BTreeMap::new();
    (0..table.len()).for_each(|row| *counts.entry(speaker.text(row as u64).to_owned()).or_insert(0) += 1);
    counts
}

#[test]
fn none_of_a_frozen_set_s_speakers_is_ever_trained_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("speech.forebay");
    speech(&place, 0, 0..20);
    let words =
        ["split", "speech", "main", "--holdout", "val=0.2,test=0.2", "--group-by", "speaker", "--salt", "1b"];
    let text = done(&dataset(dir.path(), &words));
    assert!(
        text.contains("commit 2: split main holding out val=0.2,test=0.2 of groups by speaker: "),
        "{text}"
    );
    assert!(text.contains("split=\"train\"") && text.contains("groups"), "{text}");
    let before = speakers(&place, Some("test"));
    let text = done(&dataset(dir.path(), &["freeze", "speech", "test-1", "--split", "test"]));
    assert!(text.contains(&format!("{} were on main:test until now", before.len() * 10)), "{text}");
    assert_eq!(speakers(&place, Some("test-1")), before);

    speech(&place, 10, 0..20);
    speech(&place, 20, 20..40);
    let later = ["split", "speech", "cv", "--folds", "2", "--group-by", "speaker", "--salt", "1b", "--json"];
    let report = json(&dataset(dir.path(), &later));
    assert_eq!(report["report"]["held_back"], before.len() * 20);
    assert_eq!(report["commit"]["verb"], "split");
    assert_eq!(speakers(&place, Some("test-1")), before, "the new samples of its speakers are not in it");
    for side in [None, Some("main:train"), Some("val"), Some("fold-0"), Some("not-fold-0")] {
        let met = speakers(&place, side);
        assert!(
            !met.is_empty() && met.keys().all(|speaker| !before.contains_key(speaker)),
            "{side:?}: {met:?}"
        );
    }
    assert_eq!(speakers(&place, Some("all")).values().sum::<usize>(), 600);
}

#[test]
fn a_new_class_shifts_no_old_one_and_moves_no_sample_to_another_side() {
    let dir = tempfile::tempdir().expect("a folder");
    let (photos, place) = (dir.path().join("photos"), dir.path().join("photos.forebay"));
    let made = |class: &str| {
        std::fs::create_dir_all(photos.join(class)).expect("a folder");
        (0..60)
            .for_each(|n| std::fs::write(photos.join(class).join(format!("{n}.jpg")), "").expect("a file"));
    };
    made("cats");
    made("dogs");
    let spec = SourceSpec::Folder { root: photos.clone(), extensions: None };
    add(&place, &spec);
    done(&dataset(dir.path(), &["split", "photos", "main", "--holdout", "val=0.3", "--salt", "2c"]));
    let val = |set: &Dataset| {
        let selection = Selection { split: Some("val".to_owned()), ..Selection::default() };
        let table = set.select(&set.head().expect("a commit"), &selection).expect("a selection");
        let label = table.column("label").expect("labels").column();
        let line =
            |(row, key): (usize, std::borrow::Cow<'_, [u8]>)| (key.into_owned(), label.int(row as u64));
        table.keys().enumerate().map(line).collect::<BTreeMap<_, _>>()
    };
    let set = Dataset::open(place.to_str().expect("UTF-8")).expect("a data set");
    let before = val(&set);

    std::fs::remove_dir_all(&photos).expect("removed");
    made("bears");
    add(&place, &spec);
    let after = val(&set);
    assert!(before.iter().all(|line| after.get(line.0) == Some(line.1)) && after.len() > before.len());
    let report =
        json(&dataset(dir.path(), &["split", "photos", "cv", "--folds", "2", "--salt", "2c", "--json"]));
    let classes = report["report"]["sides"][0]["classes"].as_object().expect("classes");
    assert_eq!(classes.keys().collect::<Vec<_>>(), ["bears", "cats", "dogs"]);
    assert_eq!(set.head().expect("a commit").classes, ["cats", "dogs", "bears"]);
}

#[test]
fn a_split_that_is_replaced_says_aloud_what_moves_and_a_tried_one_commits_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("speech.forebay");
    speech(&place, 0, 0..20);
    let split =
        |more: &[&str]| dataset(dir.path(), &[&["split", "speech", "main", "--holdout"], more].concat());
    let tried = done(&split(&["val=0.1", "--dry-run"]));
    assert!(tried.starts_with("only counted, nothing is committed"), "{tried}");
    let first = done(&split(&["val=0.1"]));
    assert!(first.starts_with("commit 2: split main holding out val=0.1: "), "{first}");
    assert!(done(&split(&["val=0.1"])).starts_with("split main is there already, as commit 2 has it"));
    let error = refused(&split(&["val=0.3"]));
    assert!(
        error.contains("there is a split main: holding out val=0.1") && error.contains("--replace"),
        "{error}"
    );
    let replaced = done(&split(&["val=0.3", "--replace"]));
    assert!(replaced.contains("SAMPLES CHANGED SIDES") && replaced.contains("train -> val"), "{replaced}");
}

#[test]
fn lists_name_keys_of_one_side_or_of_several() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("speech.forebay");
    speech(&place, 0, 0..4);
    std::fs::write(dir.path().join("val.txt"), "0/1.wav\n0/2.wav\n9/9.wav\n").expect("a list");
    std::fs::write(dir.path().join("sides.csv"), "key,side\ns1,test\ns2,val\n").expect("a list");
    let text = done(&dataset(dir.path(), &["split", "speech", "a", "--list", "val=val.txt"]));
    assert!(text.contains("1 names in the list are no sample's: 9/9.wav"), "{text}");
    done(&dataset(dir.path(), &["split", "speech", "b", "--list", "sides.csv", "--group-by", "speaker"]));
    assert_eq!(speakers(&place, Some("a:val")), [("s0".to_owned(), 2)].into());
    assert_eq!(speakers(&place, Some("test")), [("s1".to_owned(), 10)].into());
    let error = refused(&dataset(dir.path(), &["split", "speech", "c", "--list", "val.txt"]));
    assert!(error.contains("val.txt says no sides") && error.contains("--list val=FILE"), "{error}");
    let frozen = json(&dataset(dir.path(), &["freeze", "speech", "t", "--from", "val.txt", "--json"]));
    assert_eq!(
        (&frozen["report"]["samples"], &frozen["report"]["unmatched"][0]),
        (&2.into(), &"9/9.wav".into())
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_committed() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("speech.forebay");
    speech(&place, 0, 0..4);
    let cases: [(&[&str], &str); 7] = [
        (&["split", "speech", "m", "--holdout", "val=0.9,test=0.2"], "the sides make 1.1 of the samples"),
        (&["split", "speech", "m", "--column", "speakr"], "there is no column speakr"),
        (&["split", "speech", "m"], "--holdout"),
        (&["split", "speech", "m", "--folds", "2", "--folders"], "cannot be used with"),
        (&["split", "nowhere", "m", "--folds", "2"], "is no data set"),
        (&["freeze", "speech", "t", "--split", "vall"], "has no side vall"),
        (&["freeze", "speech", "t"], "--from"),
    ];
    for (words, wanted) in cases {
        let error = refused(&dataset(dir.path(), words));
        assert!(error.contains(wanted), "{words:?}: {error}");
    }
    let set = Dataset::open(place.to_str().expect("UTF-8")).expect("a data set");
    assert_eq!(set.head().expect("a commit").number, 1);
}
