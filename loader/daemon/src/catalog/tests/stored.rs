//! A stored snapshot comes back whole, or not at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use forebay_plan::Digest;
use proptest::collection::vec;
use proptest::prelude::*;

use super::rubbish::{mutate, touch_value};
use super::*;

const EVERY_KIND: &str = "key,image,label,score,vector,tags,weight,text,caption\n\
                          b,./x/1.jpg,-3,0.5,\"1 nan\",\"0 3\",0,7 -100,\n\
                          a,x/2.jpg,9223372036854775807,-0,\"-inf 4\",,1e-40,[],\"drei Äpfel, \"\"rot\"\"\"\n\
                          c,y.jpg,0,inf,\"5 6\",\"2\",2.5,2147483647, \n";

fn every_kind() -> Snapshot {
    let columns = [
        spec("key", ColumnKind::Text),
        spec("image", ColumnKind::Path),
        spec("label", ColumnKind::Int),
        spec("score", ColumnKind::Float),
        spec("vector", ColumnKind::FloatVector { len: None }),
        spec("tags", ColumnKind::MultiHot { classes: 4 }),
        spec("weight", ColumnKind::Weight),
        spec("text", ColumnKind::Tokens),
        spec("caption", ColumnKind::Text),
    ];
    open_list("list.csv", EVERY_KIND, &columns).unwrap()
}

fn read(bytes: Vec<u8>, id: &Digest) -> Result<Snapshot, CatalogError> {
    Snapshot::from_parquet("snapshots/x.parquet", bytes.into(), Some(id), None, &CatalogLimits::default())
}

#[track_caller]
fn assert_comes_back(snapshot: &Snapshot) {
    let read = read(snapshot.to_parquet().unwrap(), &snapshot.digest()).unwrap();
    assert_same(&read, snapshot);
}

#[track_caller]
fn assert_same(read: &Snapshot, snapshot: &Snapshot) {
    assert_eq!(read.id(), snapshot.id());
    assert_eq!(kinds(read), kinds(snapshot));
    assert_eq!(read.class_map(), snapshot.class_map());
    for row in 0..snapshot.len() {
        assert_eq!(read.key(row), snapshot.key(row));
        read.columns().iter().for_each(|column| touch_value(column, row));
    }
}

#[test]
fn every_kind_of_column_comes_back_with_the_same_name_and_keys() {
    let snapshot = every_kind();
    assert_comes_back(&snapshot);
    let read = read(snapshot.to_parquet().unwrap(), &snapshot.digest()).unwrap();
    assert_eq!(read.column("caption").unwrap().text(1), "drei Äpfel, \"rot\"");
    assert_eq!(read.column("tags").unwrap().classes(0), [0, 3]);
    let text = read.column("text").unwrap();
    assert_eq!([text.tokens(0), text.tokens(1), text.tokens(2)], [&[7, -100][..], &[], &[i32::MAX]]);
    assert_eq!(read.column("label").unwrap().int(1), i64::MAX);
    assert_eq!(read.column("score").unwrap().float(1).to_bits(), (-0f32).to_bits());
    assert!(read.column("vector").unwrap().vector(0)[1].is_nan());
    assert_eq!(read.key(0).as_ref(), b"b");
}

#[test]
fn a_folder_keeps_its_classes_and_file_names_that_are_no_utf8() {
    let dir = dir_of(&["cats/1.jpg", "dogs/1.jpg"]);
    fs::write(dir.path().join("dogs").join(OsStr::from_bytes(b"\xff\xfe.jpg")), "").unwrap();
    let snapshot = open_folder(dir.path()).unwrap();
    assert_eq!(snapshot.class_map().unwrap().names(), ["cats", "dogs"]);
    assert_comes_back(&snapshot);
}

#[test]
fn rows_come_back_over_several_row_groups_and_batches() {
    let lines: Vec<_> = (0..40_000u32)
        .map(|row| {
            let tags: Vec<_> = (0..row % 4).collect();
            format!("{{\"path\": \"{row:06}.jpg\", \"v\": [{row}, 1], \"tags\": {tags:?}}}")
        })
        .collect();
    let columns = [
        spec("path", ColumnKind::Path),
        spec("v", ColumnKind::FloatVector { len: Some(2) }),
        spec("tags", ColumnKind::MultiHot { classes: 4 }),
    ];
    let snapshot = open_list("list.jsonl", lines.join("\n"), &columns).unwrap();
    for group_rows in [1 << 20, 40_000, 17_000, 999] {
        let bytes = snapshot.to_parquet_in_groups(group_rows).unwrap();
        assert_same(&read(bytes, &snapshot.digest()).unwrap(), &snapshot);
    }
}

#[test]
fn another_snapshot_under_the_name_is_refused_with_both_names() {
    let (one, other) = (every_kind(), open_list("list.csv", "path\na.jpg\n", &[]).unwrap());
    let (holds, asked) = (other.digest(), one.digest());
    let says =
        format!("x.parquet is damaged: it holds the snapshot {}, not {}", holds.short(), asked.short());
    assert_says(read(other.to_parquet().unwrap(), &asked), &says);
}

#[test]
fn a_file_that_is_no_stored_snapshot_says_so() {
    let list =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/tests/fixtures/pandas.parquet"));
    assert_says(read(list.unwrap(), &every_kind().digest()), "is damaged: it is no stored snapshot");
    assert!(read(Vec::new(), &every_kind().digest()).is_err());
}

#[test]
fn labels_that_the_class_map_does_not_have_are_refused() {
    for (list, says) in [
        ("path,label\na.jpg,1\nb.jpg,2\n", "is damaged: it has the label 2 and 2 classes"),
        ("path,label\na.jpg,-1\n", "is damaged: it has the label -1 and 2 classes"),
        ("path,label\na.jpg,0.5\n", "labels that are no whole numbers"),
    ] {
        let columns = open_list("list.csv", list, &[]).unwrap().columns().to_vec();
        let classes = ClassMap::new(vec!["cats".to_owned(), "dogs".to_owned()]);
        let made = Snapshot::assemble(columns, Some(classes), None, |_, _, _: &[u8]| unreachable!("unique"));
        let made = made.unwrap();
        assert_says(read(made.to_parquet().unwrap(), &made.digest()), says);
    }
}

#[test]
fn more_rows_than_the_limit_are_refused() {
    let snapshot = every_kind();
    let limits = CatalogLimits { rows_max: 2, ..CatalogLimits::default() };
    let bytes = snapshot.to_parquet().unwrap().into();
    let outcome = Snapshot::from_parquet("x.parquet", bytes, Some(&snapshot.digest()), None, &limits);
    assert_says(outcome, "x.parquet has more than 2 samples");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_still_holds_the_snapshot(
        edits in vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
        again in any::<usize>(),
    ) {
        let snapshot = every_kind();
        let bytes = mutate(&snapshot.to_parquet().unwrap(), &edits, cut, again);
        match read(bytes, &snapshot.digest()) {
            Ok(read) => assert_same(&read, &snapshot),
            Err(error) => prop_assert!(error.hint().is_some(), "{error}"),
        }
    }

    #[test]
    fn any_records_come_back(
        texts in vec(".{0,20}", 1..40),
        number in any::<i64>(),
        float in any::<f32>().prop_filter("NaN counts as missing", |float| !float.is_nan()),
    ) {
        let lines: Vec<_> = texts.iter().enumerate().map(|(row, text)| {
            let float = if float.is_finite() { float } else { 0.0 };
            serde_json::json!({"text": text, "n": number.wrapping_add(row as i64), "f": float}).to_string()
        }).collect();
        assert_comes_back(&open_records(&lines.join("\n"), None).unwrap());
    }
}
