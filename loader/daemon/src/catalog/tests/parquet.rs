use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/tests/fixtures").join(name);
    fs::read(path).unwrap()
}

fn open_fixture(name: &str, columns: &[ColumnSpec]) -> Result<Snapshot, CatalogError> {
    open_list(name, fixture(name), columns)
}

#[test]
fn a_file_written_by_pandas_with_its_defaults_opens() {
    let snapshot = open_fixture("pandas.parquet", &[]).unwrap();
    let expected = [
        ("file_name", ColumnKind::Path),
        ("label", ColumnKind::Int),
        ("score", ColumnKind::Float),
        ("good", ColumnKind::Int),
        ("caption", ColumnKind::Text),
        ("lang", ColumnKind::Text),
        ("vector", ColumnKind::FloatVector { len: Some(2) }),
        ("weight", ColumnKind::Float),
    ];
    assert_eq!(kinds(&snapshot), expected);
    assert_eq!(paths(&snapshot, "file_name"), ["a/1.jpg", "a/2.jpg", "b/3.jpg"]);
    assert_eq!(snapshot.column("caption").unwrap().text(2), "drei Äpfel");
    assert_eq!(snapshot.column("lang").unwrap().text(2), "de");
    assert_eq!(snapshot.column("vector").unwrap().vector(2), [5.0, 6.0]);
    assert_eq!((0..3).map(|row| snapshot.column("good").unwrap().int(row)).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn lists_of_indexes_can_be_read_as_multi_hot_or_as_tokens() {
    let columns = [spec("tags", ColumnKind::MultiHot { classes: 4 }), spec("weight", ColumnKind::Weight)];
    let snapshot = open_fixture("ragged.parquet", &columns).unwrap();
    let tags = snapshot.column("tags").unwrap();
    assert_eq!((tags.classes(0), tags.classes(1), tags.classes(2)), (&[0, 3][..], &[][..], &[2][..]));
    let tokens = open_fixture("ragged.parquet", &[spec("tags", ColumnKind::Tokens)]).unwrap();
    let tokens = tokens.column("tags").unwrap();
    assert_eq!((tokens.tokens(0), tokens.tokens(1), tokens.tokens(2)), (&[0, 3][..], &[][..], &[2][..]));
    assert_says(open_fixture("ragged.parquet", &[]), "row 1, column tags: the value is missing");
}

#[test]
fn several_row_groups_and_batches_make_one_column() {
    let snapshot = open_fixture("zstd.parquet", &[]).unwrap();
    assert_eq!(snapshot.len(), 9000);
    for row in [0, 3999, 4000, 4095, 4096, 8192, 8999] {
        let name = format!("{row:05}.wav");
        assert_eq!(snapshot.column("path").unwrap().path(row), name.as_bytes());
        assert_eq!(snapshot.column("small").unwrap().int(row), row as i64 % 200);
        assert_eq!(snapshot.column("big").unwrap().int(row), i64::MAX - row as i64);
        assert_eq!(snapshot.column("vector").unwrap().vector(row), [row as f32, row as f32 + 0.5]);
    }
}

#[test]
fn nulls_are_missing_values_with_their_row() {
    assert_says(open_fixture("null.parquet", &[]), "null.parquet row 1, column path: the value is missing");
    assert_says(open_fixture("null_inside.parquet", &[]), "row 1, column vector: the value is missing");
    assert_says(open_fixture("null_list.parquet", &[]), "row 1, column vector: the value is missing");
    assert_says(open_fixture("empty.parquet", &[]), "empty.parquet lists no samples");
}

#[test]
fn what_no_kind_can_hold_is_named_with_its_type() {
    let wrong =
        |name: &str, kind, says: &str| assert_says(open_fixture("odd.parquet", &[spec(name, kind)]), says);
    wrong("time", ColumnKind::Int, "holds INT64 (Timestamp)");
    wrong("day", ColumnKind::Int, "holds INT32 (Date)");
    wrong("money", ColumnKind::Float, "(Decimal)");
    wrong("image", ColumnKind::Path, "holds several values a row");
    wrong(
        "names",
        ColumnKind::Text,
        "row 0, column names: expected text, found a list of other things than numbers",
    );
    assert_says(open_fixture("odd.parquet", &[]), "(Timestamp)");
    assert_says(
        open_fixture("unsigned.parquet", &[]),
        "row 0, column big: expected an integer, found 18446744073709552000",
    );
    assert_eq!(open_fixture("odd.parquet", &[spec("bytes", ColumnKind::Text)]).unwrap().len(), 1);
}

#[test]
fn an_unknown_compression_and_a_file_that_is_no_parquet_are_errors_with_a_hint() {
    for (name, bytes) in [("gzip.parquet", fixture("gzip.parquet")), ("text.parquet", b"path\na\n".to_vec())]
    {
        let error = open_list(name, bytes, &[]).unwrap_err();
        assert!(matches!(error, CatalogError::Parquet { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("snappy"));
    }
}

#[test]
fn limits_hold_for_parquet_too() {
    let limits = CatalogLimits { rows_max: 8999, ..CatalogLimits::default() };
    let outcome = open_list_within("zstd.parquet", fixture("zstd.parquet"), &[], &limits);
    assert_says(outcome, "zstd.parquet has more than 8999 samples");
    let limits = CatalogLimits { columns_max: 3, ..CatalogLimits::default() };
    let outcome = open_list_within("zstd.parquet", fixture("zstd.parquet"), &[], &limits);
    assert_says(outcome, "zstd.parquet has 4 columns, the limit is 3");
}

#[test]
fn a_missing_column_is_named_beside_those_there_are() {
    assert_says(
        open_fixture("null.parquet", &[spec("x", ColumnKind::Int)]),
        "null.parquet has no column x; it has path, label",
    );
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    ["pandas.parquet", "ragged.parquet", "odd.parquet", "null_inside.parquet"].map(fixture).to_vec()
}
