//! Data sets: what a person writes of one, and what lies in its place.

use std::cell::OnceCell;

use forebay::catalog::dataset::{Manifest, filter::rows};
use forebay::catalog::{CatalogLimits, ColumnKind, ColumnSpec, SourceSpec, Table, open};

/// A condition over a small table: what is selected is in it and in order, and no sample meets the opposite too.
pub fn filter(input: &[u8]) -> bool {
    thread_local!(static TABLE: OnceCell<Table> = const { OnceCell::new() });
    let Ok(condition) = str::from_utf8(input) else { return false };
    TABLE.with(|table| {
        let table = table.get_or_init(table_with_gaps);
        let selected = match rows(table, condition) {
            Ok(selected) => selected,
            Err(fault) => {
                assert!(fault.hint.is_some(), "what is refused has a cure: {fault}");
                return false;
            }
        };
        assert!(selected.is_sorted() && selected.iter().all(|&row| row < table.len()));
        // The longest and the deepest cannot be put into parentheses.
        if let Ok(others) = rows(table, &format!("not ({condition})")) {
            assert!(others.iter().all(|row| !selected.contains(row)), "{condition}: a sample meets both");
        }
        true
    })
}

/// Four samples with a column of each kind, the last two without some values.
fn table_with_gaps() -> Table {
    let column = |name: &str, kind| ColumnSpec { name: name.to_owned(), kind };
    let columns = vec![
        column("key", ColumnKind::Text),
        column("lang", ColumnKind::Text),
        column("width", ColumnKind::Int),
        column("height", ColumnKind::Int),
        column("score", ColumnKind::Float),
        column("box", ColumnKind::FloatVector { len: Some(2) }),
    ];
    let whole = br#"{"key":"a","lang":"en","width":256,"height":9223372036854775807,"score":0.1,"box":[1,2]}
{"key":"b","lang":"d\u00e9","width":-1,"height":9007199254740993,"score":-2.5,"box":[3,4]}"#;
    let short = br#"{"key":"c","lang":"","width":300}
{"key":"d","lang":"a%_'b","width":1}"#;
    let read = |json_lines: &[u8], columns: &[ColumnSpec]| {
        let (json_lines, columns) = (json_lines.to_vec(), columns.to_vec());
        let spec = SourceSpec::Records { root: None, json_lines, columns };
        Table::of(&open(&spec, &CatalogLimits::default()).expect("these are records"))
    };
    let mut table = read(whole, &columns);
    table.append(read(short, &columns[..3])).expect("the kinds are the same");
    table
}

/// A commit of a data set: what is read is written and read again as it was.
pub fn manifest(input: &[u8]) -> bool {
    let Ok(manifest) = Manifest::parse(1, input) else { return false };
    let written = serde_json::to_vec(&manifest).expect("names and numbers are JSON");
    assert_eq!(
        Manifest::parse(1, &written).as_ref(),
        Ok(&manifest),
        "a commit that changes when it is written"
    );
    true
}
