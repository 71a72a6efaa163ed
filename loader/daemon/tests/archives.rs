//! Archives that real programs write: every file of them is found with its bytes, whatever the format.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::catalog::{self, CatalogLimits, Shards, SourceSpec, root_of};
use forebay::container::ContainerError;
use forebay::container::tar::Tar;
use forebay::decode::record;

/// Names up to and over what v7, ustar and GNU hold, and sizes around a block.
fn files() -> BTreeMap<String, Vec<u8>> {
    let long = |parts: usize| "folder-abc/".repeat(parts);
    let sizes = [0, 1, 511, 512, 513, 70_000];
    let names = [
        "a.jpg".to_owned(),
        "größe ü.txt".to_owned(),
        format!("{}{}.seg.png", long(1), "n".repeat(70)),
        format!("{}b.json", long(12)),
        format!("{}c.jpg", long(20)),
        format!("{}.jpg", "n".repeat(150)),
    ];
    let made =
        names.into_iter().zip(sizes).enumerate().map(|(seed, (name, size))| {
            (name, (0..size).map(|byte: usize| (byte * 7 + seed) as u8).collect())
        });
    made.collect()
}

fn write_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    std::os::unix::fs::symlink("a.jpg", folder.join("soft.jpg")).expect("a link");
    fs::hard_link(folder.join("a.jpg"), folder.join("z-hard.jpg")).expect("a link");
}

/// All members with their bytes, and how many links were passed over.
fn walk(archive: &Path) -> Result<(BTreeMap<String, Vec<u8>>, u64), ContainerError> {
    let bytes = fs::read(archive).expect("it was written");
    let mut tar = Tar::new(File::open(archive).expect("it was written"), bytes.len() as u64);
    let mut found = BTreeMap::new();
    while let Some(member) = tar.next_member()? {
        let name = String::from_utf8(member.name).expect("ours are UTF-8");
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        let data = bytes[member.offset as usize..][..member.len as usize].to_vec();
        assert!(found.insert(name, data).is_none(), "each comes once");
    }
    Ok((found, tar.passed().links))
}

/// Whether a program is there; says so where it is not.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: no {program} here; the fixtures hold what it writes");
    }
    there
}

fn run(command: &mut Command) {
    let output = command.output().expect("it was there a moment ago");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes an archive of `files` by each of `formats` and walks it.
fn holds(program: &str, formats: &[&str], files: &BTreeMap<String, Vec<u8>>) {
    if !is_there(program) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (data, archive) = (dir.path().join("data"), dir.path().join("x.tar"));
    write_files(&data, files);
    for format in formats {
        run(Command::new(program)
            .arg("-cf")
            .arg(&archive)
            .arg(format!("--format={format}"))
            .arg("-C")
            .arg(&data)
            .arg("."));
        let (found, links) = walk(&archive).unwrap_or_else(|error| panic!("{program} {format}: {error}"));
        // Which of two names of one file is the link is the program's choice.
        let renamed = |(name, bytes): (&String, &Vec<u8>)| {
            let name = if found.contains_key(name) { name.clone() } else { "z-hard.jpg".to_owned() };
            (name, bytes.clone())
        };
        assert_eq!(found, files.iter().map(renamed).collect(), "{program} {format}");
        assert_eq!(links, 2, "{program} {format}");
    }
}

#[test]
fn gnu_tar_is_read_in_each_of_its_formats() {
    holds("tar", &["gnu", "oldgnu", "posix"], &files());
    // These two hold no longer names.
    let short: BTreeMap<_, _> = files().into_iter().filter(|(name, _)| name.len() < 90).collect();
    assert_eq!(short.len(), 3);
    holds("tar", &["v7", "ustar"], &short);
}

#[test]
fn bsdtar_is_read_in_each_of_its_formats() {
    holds("bsdtar", &["pax", "gnutar"], &files());
    let short: BTreeMap<_, _> =
        files().into_iter().filter(|(name, _)| name.len() < 90 && name.is_ascii()).collect();
    holds("bsdtar", &["v7", "ustar"], &short);
}

#[test]
fn a_sparse_file_is_refused_by_name() {
    if !is_there("tar") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("x.tar");
    File::create(dir.path().join("holes.bin"))
        .and_then(|file| file.set_len(1 << 20))
        .expect("a file of holes");
    for format in ["gnu", "posix"] {
        let command = &mut Command::new("tar");
        run(command
            .arg("-S")
            .arg("-cf")
            .arg(&archive)
            .arg(format!("--format={format}"))
            .arg("-C")
            .arg(dir.path())
            .arg("holes.bin"));
        let error = walk(&archive).expect_err("its bytes do not lie in one piece");
        assert!(
            error.to_string().contains("holes.bin") || error.to_string().contains("GNUSparseFile"),
            "{error}"
        );
        assert!(matches!(error, ContainerError::Unreadable { .. }), "{error}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archives").join(name)
}

/// `tests/archives/make.sh` says how they were made.
#[test]
fn the_archives_that_are_kept_here_hold_what_was_put_in() {
    let names: Vec<_> =
        fs::read_dir(fixture("")).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    let archives: Vec<_> =
        names.iter().filter(|path| path.extension().is_some_and(|ending| ending == "tar")).collect();
    assert!(archives.len() >= 4, "{names:?}");
    for archive in archives {
        let (found, _) = walk(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
        let long = format!("{}b.jpg", "folder/".repeat(30));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.cls", "a.jpg", &long], "{}", archive.display());
        assert_eq!((&found["a.cls"][..], found["a.jpg"].len(), found[&long].len()), (&b"7\n"[..], 600, 1));
    }
}

/// `tests/archives/make_tfrecord.py` says how it was made.
#[test]
fn what_tensorflow_wrote_is_read_by_its_features() {
    let file = fixture("tensorflow.tfrecord");
    let patterns = vec![file.to_str().expect("UTF-8").to_owned()];
    let root = root_of(&patterns).expect("an absolute path");
    let names = ["image", "label", "image/filename", "score", "box"].map(str::to_owned);
    let shards = Shards { root, patterns, format: None, columns: Some(names.to_vec()) };
    let snapshot = catalog::open(&SourceSpec::Shards(shards), &CatalogLimits::default()).expect("a snapshot");
    assert_eq!(snapshot.len(), 3);
    let (bytes, column) =
        (fs::read(&file).expect("it is there"), |name: &str| snapshot.column(name).expect("a column"));
    for row in 0..3 {
        let number = row as u8;
        let (at, len) = (column("image.offset").int(row) as usize, column("image.length").int(row) as usize);
        let image = [&[0xFF, 0xD8, number][..], &vec![number; 300 * row as usize]].concat();
        assert_eq!(bytes[at..at + len], image);
        assert_eq!(column("label").int(row), row as i64 * 500 - 1);
        assert_eq!(column("image/filename").text(row), format!("größe-{row}.jpg"));
        assert_eq!(column("score").float(row).to_string(), (row as f32 / 4.0).to_string());
        assert_eq!(column("box").vector(row), [0.0, 1.0, 2.0, row as f32]);
        let (start, size) =
            (column("tfrecord.offset").int(row) as usize, column("tfrecord.length").int(row) as usize);
        let value = record::value(&bytes[start..start + size + 4], (at - start) as u64, len as u64);
        assert_eq!(value, Ok(&image[..]), "the checksum is TensorFlow's");
    }
}
