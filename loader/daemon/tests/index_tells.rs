//! `forebay index` as a person runs it: what it prints, what it refuses, and that the data stays as it was.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn forebay(words: &[&str]) -> Output {
    // No journals in the cache of whoever runs the tests.
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(words).env("FOREBAY_CACHE_DIR", "").output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn told(words: &[&str]) -> Value {
    let output = forebay(&[words, &["--json"]].concat());
    let told = serde_json::from_slice(&output.stdout);
    told.unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

fn refused(words: &[&str]) -> String {
    let output = forebay(words);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
    text(&output.stderr).to_owned()
}

/// A PNG of which only the header is whole.
fn png(width: u8) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0".to_vec();
    bytes.extend([width, 0, 0, 0, 7, 8, 2, 0, 0, 0]);
    bytes
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(root.join(name).parent().expect("a folder")).expect("a folder");
    fs::write(root.join(name), bytes).expect("a file");
}

/// Everything beneath a folder: path, inode, size, and all times but that of the last access.
fn tree(root: &Path) -> Vec<(String, u64, u64, i64, i64)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let stat = folder.metadata().expect("it is there");
        found.push((utf8(&folder).to_owned(), stat.ino(), stat.size(), stat.mtime_nsec(), stat.ctime_nsec()));
        for entry in fs::read_dir(&folder).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            let stat = path.metadata().expect("it is there");
            if path.is_dir() {
                folders.push(path);
            } else {
                let (path, times) = (utf8(&path).to_owned(), (stat.mtime_nsec(), stat.ctime_nsec()));
                found.push((path, stat.ino(), stat.size(), times.0, times.1));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_folder_is_indexed_grown_measured_and_never_written_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("photos");
    write(&root, "cats/1.png", &png(3));
    write(&root, "dogs/1.png", &png(5));
    let before = tree(&root);
    let first = forebay(&["index", utf8(&root)]);
    let shown = text(&first.stdout);
    assert!(
        shown.contains("2 added, 0 known") && shown.contains("new classes, from label 0 on: cats, dogs"),
        "{shown}"
    );
    assert!(shown.ends_with(&format!("commit 1 of {}.forebay\n", root.display())), "{shown}");
    write(&root, "ants/1.png", b"no picture");
    let added = tree(&root);
    let second = told(&["index", utf8(&root), "--measure"]);
    assert_eq!(tree(&root), added);
    assert!(
        before.iter().skip(1).all(|entry| added.contains(entry)),
        "but for the root, nothing else changed"
    );
    assert_eq!([&second["counts"]["added"], &second["counts"]["known"]], [1, 2]);
    assert_eq!((&second["new_classes"][0], &second["classes"]), (&"ants".into(), &3.into()));
    let measured = &second["measured"];
    assert_eq!([&measured["read"], &measured["unreadable"], &measured["known"]], [2, 1, 0]);
    assert_eq!(measured["some_unreadable"]["ants/1.png"], "neither JPEG, PNG nor WAV");
    assert_eq!(second["commit"], 3, "the sample, then the sizes");
    let third = told(&["index", utf8(&root), "--measure"]);
    assert_eq!([&third["measured"]["read"], &third["measured"]["known"]], [0, 2]);
    assert_eq!((&third["committed"], &third["commit"]), (&false.into(), &3.into()));
}

#[test]
fn clips_are_indexed_once_grown_by_what_is_new_and_measured_by_their_first_frame() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("videos");
    (1..=12).for_each(|number| write(&root, &format!("run/a/{number:04}.png"), &png(3)));
    write(&root, "jump/b/0001.png", b"no picture");
    let first = told(&["index", utf8(&root), "--frames"]);
    assert_eq!([&first["counts"]["added"], &first["classes"]], [2, 2]);
    (1..=3).for_each(|number| write(&root, &format!("run/c/f{number}.png"), &png(5)));
    // A data set of clips knows by itself what a sample is.
    let second = told(&["index", utf8(&root), "--measure"]);
    assert_eq!([&second["counts"]["added"], &second["counts"]["known"]], [1, 2]);
    assert_eq!([&second["measured"]["read"], &second["measured"]["unreadable"]], [2, 1]);
    assert_eq!(second["measured"]["some_unreadable"]["jump/b"], "neither JPEG, PNG nor WAV");
    let place = format!("{}.forebay", root.display());
    let keys = |condition: &str| {
        let output = forebay(&["dataset", "files", &place, "--where", condition, "--keys"]);
        text(&output.stdout).to_owned()
    };
    assert_eq!(keys("frames = 12 and width = 3 and height = 7"), "run/a\n");
    assert_eq!(keys("frames < 12 and width = 5"), "run/c\n");
    assert!(refused(&["index", utf8(&root), "--frames", "--stat"]).contains("--stat"));
    write(&root, "run/d/notes.txt", b"");
    assert!(refused(&["index", utf8(&root)]).contains("found no frame in run/d"));
    let photos = dir.path().join("photos");
    write(&photos, "cats/1.png", &png(3));
    told(&["index", utf8(&photos)]);
    assert!(refused(&["index", utf8(&photos), "--frames"]).contains("and no clips"));
}

#[test]
fn names_come_from_standard_input_without_a_look() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, place) = (dir.path().join("data"), dir.path().join("set"));
    fs::create_dir(&root).expect("a folder");
    fs::create_dir(&place).expect("an empty place is one too");
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["index", utf8(&root), "--from", "-", "--no-classes", "--dataset", utf8(&place), "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(b"not/there.wav\nx.wav\nx.wav\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!([&told["counts"]["added"], &told["counts"]["repeated"]], [2, 1]);
    assert_eq!(told["counts"]["missing"], Value::Null);
}

#[test]
fn what_cannot_be_indexed_is_told_with_the_cure_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("photos");
    assert!(
        refused(&["index", utf8(&root)]).contains("hint: check the spelling, and that it is mounted here")
    );
    fs::create_dir(&root).expect("a folder");
    assert!(refused(&["index", utf8(&root)]).contains("--no-classes"));
    let empty = refused(&["index", utf8(&root), "--no-classes"]);
    assert!(
        empty.contains("holds no file whose name ends in one of .jpg") && empty.contains("--extensions"),
        "{empty}"
    );
    write(&root, "a/1.jpg", b"");
    let inside = root.join("set");
    let inside = refused(&["index", utf8(&root), "--dataset", utf8(&inside)]);
    assert!(inside.contains("would lie in the data") && inside.contains("--dataset PLACE"), "{inside}");
    write(dir.path(), "file", b"");
    let place = dir.path().join("file/set");
    let unwritable = refused(&["index", utf8(&root), "--dataset", utf8(&place)]);
    assert!(unwritable.contains("make the folder") && unwritable.contains("--dataset PLACE"), "{unwritable}");
    assert!(refused(&["index", "s3://bucket/data"]).contains("hint: "));
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "the data and the file: {left:?}");
    assert_eq!(fs::read_dir(&root).expect("it is there").count(), 1);
}

#[test]
fn a_list_with_columns_grows_a_data_set_and_cannot_tell_what_has_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let list = dir.path().join("list.csv");
    write(dir.path(), "list.csv", b"path,label\na.wav,3\nb.wav,1\n");
    assert_eq!(told(&["index", utf8(&list)])["counts"]["added"], 2);
    write(dir.path(), "list.csv", b"path,label\nb.wav,1\nc.wav,0\n");
    let again = told(&["index", utf8(&list)]);
    assert_eq!([&again["counts"]["added"], &again["counts"]["known"]], [1, 1]);
    assert!(refused(&["index", utf8(&list), "--prune"]).contains("a list does not tell what has gone"));
    write(dir.path(), "nameless.csv", b"label\n3\n");
    assert!(refused(&["index", utf8(&dir.path().join("nameless.csv"))]).contains("add a column `key`"));
}

#[test]
fn texts_are_measured_by_their_bytes_and_token_files_by_their_tokens() {
    let dir = tempfile::tempdir().expect("a folder");
    let (texts, tokens) = (dir.path().join("texts"), dir.path().join("tokens"));
    write(&texts, "a/1.txt", "h\u{e9}llo".as_bytes());
    write(&texts, "a/2.txt", b"\xff\xfe");
    let told_of = |root: &Path, more: &[&str]| {
        told(&[&["index", utf8(root), "--no-classes", "--measure"], more].concat())
    };
    let measured = told_of(&texts, &["--extensions", "txt"]);
    assert_eq!([&measured["measured"]["read"], &measured["measured"]["unreadable"]], [1, 1]);
    write(&tokens, "1.bin", &[0; 10]);
    write(&tokens, "2.bin", &[0; 7]);
    let measured = told_of(&tokens, &["--extensions", "bin", "--tokens", "uint16"]);
    assert_eq!([&measured["measured"]["read"], &measured["measured"]["unreadable"]], [1, 1]);
    let why = "7 bytes are no whole number of tokens of 2 bytes";
    assert_eq!(measured["measured"]["some_unreadable"]["2.bin"], why);
    let count = |root: &Path, condition: &str| {
        let output = forebay(&["dataset", "files", utf8(root), "--keys", "--where", condition]);
        text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(count(&texts, "text_bytes = 6"), ["a/1.txt"]);
    assert_eq!(count(&tokens, "tokens = 5"), ["1.bin"]);
    assert!(refused(&["index", utf8(&tokens), "--tokens", "uint16"]).contains("--measure"));
}

fn shard(root: &Path, name: &str, samples: &[&str]) {
    let mut archive = tar::Builder::new(Vec::new());
    for sample in samples {
        for (ending, bytes) in [("jpg", sample.as_bytes()), ("cls", b"1")] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, format!("{sample}.{ending}"), bytes).expect("memory");
        }
    }
    write(root, name, &archive.into_inner().expect("memory"));
}

#[test]
fn shards_are_indexed_by_a_pattern_and_grow_a_data_set() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("set");
    let pattern = format!("{}/x-*.tar", dir.path().display());
    shard(dir.path(), "x-0.tar", &["a", "b"]);
    assert!(refused(&["index", &pattern]).contains("--dataset PLACE"));
    assert_eq!(told(&["index", &pattern, "--dataset", utf8(&place)])["counts"]["added"], 2);
    shard(dir.path(), "x-1.tar", &["c"]);
    let again = told(&["index", &pattern, "--dataset", utf8(&place)]);
    assert_eq!([&again["counts"]["added"], &again["counts"]["known"]], [1, 2]);
    let measured = told(&["index", &pattern, "--dataset", utf8(&place), "--measure"]);
    assert_eq!(measured["measured"]["unreadable"].as_u64(), Some(3), "each is looked at, and no image");
    let verified = told(&["dataset", "verify", utf8(&place)]);
    assert_eq!([&verified["verified"], &verified["sound"]], [3, 0], "though they are called so");
    write(dir.path(), "x-2.tar", b"\x1f\x8b\x08\0");
    let words = refused(&["index", &pattern, "--dataset", utf8(&place)]);
    assert!(
        words.contains("x-2.tar") && words.contains("compressed (gzip)") && words.contains("gunzip"),
        "{words}"
    );
}
