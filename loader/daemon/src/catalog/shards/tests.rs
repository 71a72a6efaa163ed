//! Shards made here, member by member: their columns, what is left out, what is kept, what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::catalog::{Column, ColumnKind};
use crate::decode::record::checksum;

type Members<'a> = &'a [(&'a str, &'a [u8])];

fn tar_of(members: Members<'_>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *data).unwrap();
    }
    archive.into_inner().unwrap()
}

fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut framed = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        framed.push(len as u8 | 0x80);
        len >>= 7;
    }
    framed.push(len as u8);
    framed.extend_from_slice(bytes);
    framed
}

/// A feature: its name, its list's number and the values as they stand in the list.
fn feature(name: &str, list: u8, values: &[u8]) -> Vec<u8> {
    message(1, &[message(1, name.as_bytes()), message(2, &message(list, values))].concat())
}

fn record_of(features: &[Vec<u8>]) -> Vec<u8> {
    let data = message(1, &features.concat());
    let length = (data.len() as u64).to_le_bytes();
    let sums = [checksum(&length), checksum(&data)].map(u32::to_le_bytes);
    [&length[..], &sums[0], &data, &sums[1]].concat()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn asked(&self, patterns: &[&str], columns: Option<&[&str]>) -> Shards {
        let root = self.0.path().to_str().unwrap();
        let patterns: Vec<_> = patterns.iter().map(|pattern| format!("{root}/{pattern}")).collect();
        let columns = columns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        Shards { root: root_of(&patterns).unwrap(), patterns, format: None, columns }
    }

    fn open(&self, patterns: &[&str], columns: Option<&[&str]>) -> Result<Snapshot, CatalogError> {
        open(&self.asked(patterns, columns), &CatalogLimits::default())
    }

    /// The bytes of a column of places.
    fn bytes(&self, snapshot: &Snapshot, name: &str, row: u64) -> Vec<u8> {
        let path = std::str::from_utf8(column(snapshot, name).path(row)).unwrap();
        let int = |end: &str| column(snapshot, &format!("{name}{end}")).int(row) as usize;
        let file = fs::read(self.0.path().join(path)).unwrap();
        assert_eq!(column(snapshot, SHARD_BYTES).int(row) as usize, file.len());
        file[int(".offset")..][..int(".length")].to_vec()
    }
}

fn column<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Column {
    snapshot.column(name).unwrap_or_else(|| panic!("no {name} among {:?}", names(snapshot)))
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.columns().iter().map(Column::name).collect()
}

fn keys(snapshot: &Snapshot) -> Vec<String> {
    (0..snapshot.len()).map(|row| String::from_utf8(snapshot.key(row).into_owned()).unwrap()).collect()
}

fn ints(column: &Column, rows: u64) -> Vec<i64> {
    (0..rows).map(|row| column.int(row)).collect()
}

#[test]
fn samples_of_several_archives_are_one_data_set_in_the_order_of_the_shards() {
    let place = Place::new();
    let first: Members<'_> = &[
        ("a/1.jpg", b"one"),
        ("a/1.cls", b"7\n"),
        ("a/1.txt", b"first"),
        ("a/2.png", b"two!"),
        ("a/2.cls", b"0"),
        ("a/2.txt", b""),
    ];
    place.put("x-0.tar", &tar_of(first));
    place.put("x-1.tar", &tar_of(&[("3.JPEG", b"three"), ("3.cls", b"12"), ("3.txt", "größer".as_bytes())]));
    let snapshot = place.open(&["x-{0..1}.tar"], None).unwrap();
    assert_eq!(keys(&snapshot), ["x-0.tar/a/1", "x-0.tar/a/2", "x-1.tar/3"]);
    let expected = ["key", "image", "image.offset", "image.length", "label", "txt", SHARD_BYTES];
    assert_eq!(names(&snapshot), expected);
    let images: Vec<_> = (0..3).map(|row| place.bytes(&snapshot, "image", row)).collect();
    assert_eq!(images, [&b"one"[..], b"two!", b"three"]);
    assert_eq!(ints(column(&snapshot, "label"), 3), [7, 0, 12]);
    assert_eq!(
        (0..3).map(|row| column(&snapshot, "txt").text(row)).collect::<Vec<_>>(),
        ["first", "", "größer"]
    );
    assert!(snapshot.class_map().is_none());
    let other = place.open(&["x-1.tar", "x-0.tar"], None).unwrap();
    assert_eq!(keys(&other), ["x-1.tar/3", "x-0.tar/a/1", "x-0.tar/a/2"]);
    assert_ne!(other.id(), snapshot.id());
}

#[test]
fn a_job_gets_the_columns_that_it_names_and_samples_need_no_others() {
    let place = Place::new();
    let members: Members<'_> = &[
        ("1.jpg", b"a"),
        ("1.seg.png", b"mask"),
        ("1.json", b"{}"),
        ("2.jpg", b"b"),
        ("2.seg.png", b"mask2"),
        ("3.jpg", b"c"),
        ("3.seg.png", b"mask3"),
    ];
    place.put("x.tar", &tar_of(members));
    let snapshot = place.open(&["x.tar"], Some(&["seg.png", "jpg"])).unwrap();
    assert_eq!(names(&snapshot)[..4], ["key", "seg.png", "seg.png.offset", "seg.png.length"]);
    assert_eq!(snapshot.len(), 3);
    assert_eq!(place.bytes(&snapshot, "seg.png", 2), b"mask3");
    assert_eq!(place.bytes(&snapshot, "jpg", 1), b"b");
    // By themselves, columns are what half of the samples have.
    assert_eq!(
        names(&place.open(&["x.tar"], None).unwrap())[1..5],
        ["image", "image.offset", "image.length", "seg.png"]
    );
    let error = place.open(&["x.tar"], Some(&["image", "label"])).unwrap_err();
    assert!(
        matches!(&error, CatalogError::MissingColumn { column, present, .. } if column == "label" && present.len() == 4),
        "{error}"
    );
    let error = place.open(&["x.tar"], Some(&["image", "json"])).unwrap_err();
    assert!(matches!(error, CatalogError::Incomplete { left: 2, total: 3, .. }), "{error}");
}

#[test]
fn a_few_samples_that_are_not_whole_are_left_out_and_many_are_an_error() {
    let archive = |bad: usize| {
        let mut members: Vec<(String, &[u8])> = Vec::new();
        for n in 0..20 {
            members.push((format!("{n:02}.jpg"), b"image"));
            match (n < bad, n % 2) {
                (true, 0) => {}
                (true, _) => {
                    members.extend([(format!("{n:02}.cls"), &b"1"[..]), (format!("{n:02}.cls"), b"2")]);
                }
                (false, _) => members.push((format!("{n:02}.cls"), b"3")),
            }
        }
        let members: Vec<_> = members.iter().map(|(name, data)| (name.as_str(), *data)).collect();
        tar_of(&members)
    };
    let place = Place::new();
    place.put("two.tar", &archive(2));
    place.put("three.tar", &archive(3));
    let snapshot = place.open(&["two.tar"], Some(&["image", "label"])).unwrap();
    assert_eq!((snapshot.len(), &keys(&snapshot)[0][..]), (18, "two.tar/02"));
    let error = place.open(&["three.tar"], Some(&["image", "label"])).unwrap_err();
    let CatalogError::Incomplete { left: 3, total: 20, named, .. } = &error else { panic!("{error}") };
    assert_eq!(named[0], "three.tar/01 has two members .cls");
    assert_eq!(named[1], "three.tar/00 has no cls");
}

#[test]
fn classes_may_be_names_and_other_numbers_stay_what_they_are() {
    let place = Place::new();
    place.put(
        "a.tar",
        &tar_of(&[
            ("1.jpg", b""),
            ("1.cls", b"dog"),
            ("1.index", b"5"),
            ("2.jpg", b""),
            ("2.cls", b"cat"),
            ("2.index", b"6"),
        ]),
    );
    place.put("b.tar", &tar_of(&[("3.jpg", b""), ("3.cls", b" eel\n"), ("3.index", b"7.5")]));
    let snapshot = place.open(&["*.tar"], None).unwrap();
    assert_eq!(snapshot.class_map().unwrap().names(), ["cat", "dog", "eel"]);
    assert_eq!(ints(column(&snapshot, "label"), 3), [1, 0, 2]);
    assert_eq!(column(&snapshot, "index").kind(), ColumnKind::Float);
    let named = place.open(&["*.tar"], Some(&["cls"])).unwrap();
    assert_eq!((column(&named, "cls").text(0), named.class_map()), ("dog", None));
}

#[test]
fn a_text_that_cannot_be_kept_is_an_error_only_where_it_is_wanted() {
    let place = Place::new();
    place.put("x.tar", &tar_of(&[("1.jpg", b""), ("1.txt", b"\xff"), ("1.json", &vec![b' '; 70_000])]));
    assert_eq!(place.open(&["x.tar"], Some(&["image"])).unwrap().len(), 1);
    // By themselves, the columns are those that can be.
    let usual = place.open(&["x.tar"], None).unwrap();
    assert!(
        usual.column("image").is_some() && usual.column("txt").is_none() && usual.column("json").is_none()
    );
    for field in ["txt", "json"] {
        let error = place.open(&["x.tar"], Some(&[field])).unwrap_err();
        assert!(matches!(&error, CatalogError::Unfit { sample, .. } if sample == "x.tar/1"), "{error}");
        assert!(error.hint().unwrap().contains("64 KiB"));
    }
}

#[test]
fn a_sample_that_comes_again_is_refused_by_its_key() {
    let place = Place::new();
    place.put("x.tar", &tar_of(&[("1.jpg", b""), ("2.jpg", b""), ("1.jpg", b"")]));
    let error = place.open(&["x.tar"], None).unwrap_err();
    assert!(matches!(&error, CatalogError::DuplicateKey { key, .. } if key == "x.tar/1"), "{error}");
}

#[test]
fn features_of_records_are_columns_and_images_stay_where_they_are() {
    let place = Place::new();
    let float =
        |values: &[f32]| message(1, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    let record = |n: u8| {
        record_of(&[
            feature("image/encoded", 1, &message(1, &[&[0xFF, 0xD8, n][..], &[n; 9000]].concat())),
            feature("image/class/label", 3, &message(1, &[n])),
            feature("image/filename", 1, &message(1, format!("n{n}.jpg").as_bytes())),
            feature("score", 2, &float(&[f32::from(n) / 2.0])),
            feature("box", 2, &float(&[0.0, 1.0, 2.0, f32::from(n)])),
            feature("many", 3, &message(1, &[1; 2])),
        ])
    };
    place.put("t-0.tfrecord", &[record(1), record(2)].concat());
    place.put("t-1.tfrecord", &record(3));
    let snapshot =
        place.open(&["t-*.tfrecord"], Some(&["image", "label", "score", "box", "image/filename"])).unwrap();
    assert_eq!(keys(&snapshot), ["t-0.tfrecord/0", "t-0.tfrecord/1", "t-1.tfrecord/0"]);
    assert_eq!(place.bytes(&snapshot, "image", 1), [&[0xFF, 0xD8, 2][..], &[2; 9000]].concat());
    assert_eq!(ints(column(&snapshot, "label"), 3), [1, 2, 3]);
    assert_eq!(column(&snapshot, "score").float(2).to_string(), "1.5");
    assert_eq!(column(&snapshot, "box").vector(1), [0.0, 1.0, 2.0, 2.0]);
    assert_eq!(column(&snapshot, "image/filename").text(0), "n1.jpg");
    let record = |end: &str| column(&snapshot, &format!("{RECORD}{end}")).int(1);
    assert_eq!(record(".offset"), 12 + record(".length") + 16, "both records are as long");
    let own = place.open(&["t-*.tfrecord"], Some(&["image/encoded"])).unwrap();
    assert_eq!(place.bytes(&own, "image/encoded", 0)[..3], [0xFF, 0xD8, 1]);
    let error = place.open(&["t-1.tfrecord"], Some(&["many"])).unwrap_err();
    assert!(matches!(&error, CatalogError::Unfit { sample, .. } if sample == "t-1.tfrecord/0"), "{error}");
}

#[test]
fn a_shard_that_is_cut_compressed_missing_or_of_no_known_kind_is_named() {
    let place = Place::new();
    let whole = tar_of(&[("1.jpg", &[1; 2000]), ("2.jpg", &[2; 2000])]);
    place.put("ok.tar", &whole);
    place.put("cut.tar", &whole[..3000]);
    place.put("zip.tar", b"\x1f\x8b\x08\0\0\0\0\0");
    place.put("x.zip", b"PK");
    for (patterns, words, hint) in [
        (&["{ok,cut}.tar"][..], "index the shard", "write or copy"),
        (&["zip.tar"], "index the shard", "gunzip"),
        (&["{ok,gone}.tar"], "open", "mounted"),
        (&["x.zip"], "format of the shard", "format="),
        (&["none-*.tar"], "finds no file", "mounted"),
    ] {
        let error = place.open(patterns, None).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{patterns:?}: {:?}", error.hint());
    }
}

fn old(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_shard_is_walked_once_as_long_as_it_stays_as_it_is() {
    let (place, cache) = (Place::new(), tempfile::tempdir().unwrap());
    let known = || Known::new(Some(cache.path()));
    let archive = |label: &[u8]| tar_of(&[("1.jpg", b"x"), ("1.cls", label), ("1.txt", b"")]);
    let paths = [place.put("a.tar", &archive(b"1")), place.put("b.tar", &archive(b"2"))];
    paths.iter().for_each(|path| old(path, 1_000_000_000));
    let shards = place.asked(&["*.tar"], None);
    let limits = CatalogLimits::default();
    let one = known();
    let first = one.open(&shards, &limits).unwrap();
    assert_eq!(one.walked(), 2);
    assert!(Arc::ptr_eq(&first, &one.open(&shards, &limits).unwrap()), "one in memory");
    // What was changed just now may change again in the same step of the clock: ctime is of now, so nothing was kept yet.
    let kept = fs::read_dir(cache.path().join("shards")).unwrap().flatten();
    assert_eq!(kept.filter(|entry| entry.path().extension().is_some_and(|end| end == "shard")).count(), 0);
    drop(first);
    let folder = cache.path().join("shards");
    let root = Root::open(place.0.path()).unwrap();
    for path in [b"a.tar", b"b.tar"] {
        let (file, seen) = walk::open(&root, path).unwrap();
        let settled = Seen { stamp: crate::catalog::stamp::Stamp { changed_ns: 1, ..seen.stamp }, ..seen };
        let found = walk::walk(&root, path, (file, seen), ShardFormat::Tar, &limits).unwrap();
        let real = place.0.path().join(std::str::from_utf8(path).unwrap()).canonicalize().unwrap();
        Folder(&folder).write(&real, settled, ShardFormat::Tar, &found);
        let back = Folder(&folder).read(&real, settled, ShardFormat::Tar, &limits).expect("it was kept");
        assert_eq!((back.places, back.table.len()), (found.places, found.table.len()));
        for (cells, other) in back.table.columns().iter().zip(found.table.columns()) {
            assert_eq!(format!("{cells:?}"), format!("{other:?}"));
        }
        let changed = Seen { bytes: seen.bytes + 512, ..settled };
        assert!(Folder(&folder).read(&real, changed, ShardFormat::Tar, &limits).is_none());
        let kept = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        kept.filter(|path| path.extension().is_some_and(|end| end == "shard"))
            .for_each(|path| fs::write(path, b"rubbish").unwrap());
        assert!(Folder(&folder).read(&real, settled, ShardFormat::Tar, &limits).is_none());
    }
}

#[test]
fn a_shard_that_changed_is_another_snapshot() {
    let place = Place::new();
    let path = place.put("a.tar", &tar_of(&[("1.jpg", b"x")]));
    let shards = place.asked(&["a.tar"], None);
    let known = Known::new(None);
    let limits = CatalogLimits::default();
    let first = known.open(&shards, &limits).unwrap();
    fs::write(&path, tar_of(&[("1.jpg", b"x"), ("2.jpg", b"y")])).unwrap();
    let second = known.open(&shards, &limits).unwrap();
    assert_eq!((first.len(), second.len(), known.walked()), (1, 2, 2));
}

#[test]
fn names_that_are_no_utf8_stay_apart() {
    let place = Place::new();
    let mut bytes = tar_of(&[("aa1.jpg", b"x"), ("bb1.jpg", b"y")]);
    for (at, name) in [(0, b"\xe4\xe4"), (1024, b"\xf6\xf6")] {
        bytes[at..at + 2].copy_from_slice(name);
        let mut header = tar::Header::from_byte_slice(&bytes[at..at + 512]).clone();
        header.set_cksum();
        bytes[at..at + 512].copy_from_slice(header.as_bytes());
    }
    place.put("x.tar", &bytes);
    assert_eq!(keys(&place.open(&["x.tar"], None).unwrap()), ["x.tar/\\xe4\\xe41", "x.tar/\\xf6\\xf61"]);
}
