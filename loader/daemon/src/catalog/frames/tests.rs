use std::fs;
use std::path::Path;

use super::super::{CatalogError, CatalogLimits, FrameNames, Snapshot, SourceSpec, open};
use crate::catalog::{Column, ColumnKind};

fn touch(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
}

fn frames(root: &Path, classes: bool) -> Result<Snapshot, CatalogError> {
    let spec = SourceSpec::Frames { root: root.to_owned(), extensions: None, classes };
    open(&spec, &CatalogLimits::default())
}

/// Key, names of frames, and label of each sample.
fn told(snapshot: &Snapshot) -> Vec<(String, String, Option<i64>)> {
    let row = |row| {
        let label = snapshot.column("label").map(|label| label.int(row));
        let key = String::from_utf8(snapshot.key(row).into_owned()).unwrap();
        (key, snapshot.column("clip.frames").unwrap().text(row).to_owned(), label)
    };
    (0..snapshot.len()).map(row).collect()
}

#[test]
fn a_clip_is_a_folder_of_frames_in_natural_order_and_its_class_the_first_folder() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["run/b/f10.jpg", "run/b/f9.jpg", "run/b/notes.txt", "run/a/1.png", "jump/deep/x/001.JPG"];
    touch(dir.path(), &files);
    touch(dir.path(), &["README.md"]);
    let snapshot = frames(dir.path(), true).unwrap();
    let row = |key: &str, names: &str, label| (key.to_owned(), names.to_owned(), Some(label));
    let expected =
        [row("jump/deep/x", "001.JPG", 0), row("run/a", "1.png", 1), row("run/b", "f{9..10}.jpg", 1)];
    assert_eq!(told(&snapshot), expected);
    assert_eq!(snapshot.class_map().unwrap().names(), ["jump", "run"]);
    let kinds: Vec<_> = snapshot.columns().iter().map(Column::kind).collect();
    assert_eq!(kinds, [ColumnKind::Path, ColumnKind::Text, ColumnKind::Int]);
}

#[test]
fn without_classes_clips_lie_at_any_depth_and_have_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["b/1.jpg", "a/c/1.jpg", "a/c/2.jpg"]);
    let snapshot = frames(dir.path(), false).unwrap();
    let row = |key: &str, names: &str| (key.to_owned(), names.to_owned(), None);
    assert_eq!(told(&snapshot), [row("a/c", "{1..2}.jpg"), row("b", "1.jpg")]);
    assert!(snapshot.class_map().is_none());
}

#[test]
fn a_stored_snapshot_is_the_one_that_it_was_and_a_clip_more_or_a_frame_less_is_another() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["c/a/1.jpg", "c/a/2.jpg", "c/b/1.jpg"]);
    let first = frames(dir.path(), true).unwrap();
    let bytes = first.to_parquet().unwrap();
    let read = Snapshot::from_parquet("s", bytes.into(), None, None, &CatalogLimits::default()).unwrap();
    assert_eq!((read.id(), told(&read)), (first.id(), told(&first)));
    fs::remove_file(dir.path().join("c/a/2.jpg")).unwrap();
    let fewer = frames(dir.path(), true).unwrap().id();
    touch(dir.path(), &["c/a/2.jpg", "c/c/1.jpg"]);
    let more = frames(dir.path(), true).unwrap().id();
    assert!(fewer != first.id() && more != first.id() && more != fewer);
}

#[test]
fn a_long_clip_takes_no_more_memory_than_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    for (clip, frames) in [("c/long", 3000), ("c/short", 10)] {
        fs::create_dir_all(dir.path().join(clip)).unwrap();
        (1..=frames).for_each(|number| touch(dir.path(), &[&format!("{clip}/{number:06}.jpg")]));
    }
    let snapshot = frames(dir.path(), true).unwrap();
    assert!(snapshot.heap_bytes() < 150, "{} bytes", snapshot.heap_bytes());
    let names = FrameNames::parse(snapshot.column("clip.frames").unwrap().text(0)).unwrap();
    assert_eq!(names.len(), 3000);
}

#[test]
fn what_is_no_folder_of_clips_is_refused_with_the_cure() {
    let said = |files: &[&str], folders: &[&str], classes| {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), files);
        folders.iter().for_each(|folder| fs::create_dir_all(dir.path().join(folder)).unwrap());
        let error = frames(dir.path(), classes).unwrap_err();
        let root = dir.path().display().to_string();
        (error.to_string().replace(&root, "ROOT"), error.hint().unwrap_or_default())
    };
    let (message, hint) = said(&["c/b/1.jpg", "c/z/notes.txt"], &["c/a"], true);
    assert!(message.starts_with("found no frame in c/a, c/z; supported"), "{message}");
    assert!(hint.contains("remove the empty folders"), "{hint}");
    let (message, hint) = said(&["c/1.jpg"], &[], true);
    assert_eq!(message, "ROOT/c holds frames itself, as 1.jpg, and should hold a folder a clip");
    assert!(hint.contains("classes=False") && hint.contains("forebay.Folder"), "{hint}");
    assert!(said(&["1.jpg"], &["c"], false).0.starts_with("ROOT"), "frames in the root are in no clip");
    assert!(said(&["c/b/1.jpg"], &["empty"], true).0.contains("the classes empty;"));
    assert!(said(&["1.txt"], &[], true).0.contains("couldn't find any class folder"));
    assert!(said(&["1.txt"], &[], false).0.contains("holds no file whose name ends in one of"));
}

#[test]
fn a_frame_whose_name_is_no_text_and_names_that_take_too_much_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["c/a/x.jpg", "c/a/y.jpg"]);
    let limits = CatalogLimits { text_bytes_max: 10, ..CatalogLimits::default() };
    let spec = SourceSpec::Frames { root: dir.path().to_owned(), extensions: None, classes: true };
    let error = open(&spec, &limits).unwrap_err();
    assert!(error.to_string().ends_with("c/a take 11 bytes, the limit is 10"), "{error}");
    assert!(error.hint().unwrap().contains("number the frames"));
    fs::write(dir.path().join("c/a").join(std::ffi::OsStr::from_bytes(b"\xff.jpg")), b"").unwrap();
    let error = open(&spec, &CatalogLimits::default()).unwrap_err();
    assert!(error.to_string().ends_with("has a name that is not UTF-8"), "{error}");
    let few = CatalogLimits { rows_max: 1, ..CatalogLimits::default() };
    fs::remove_dir_all(dir.path().join("c/a")).unwrap();
    touch(dir.path(), &["c/b/1.jpg", "c/d/1.jpg"]);
    assert!(open(&spec, &few).unwrap_err().to_string().ends_with("has more than 1 samples"));
}
