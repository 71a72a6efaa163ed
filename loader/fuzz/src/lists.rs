//! Lists of samples in files: the columns that are found can be read whole, and the same file is the same snapshot.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use forebay::catalog::{
    self, CatalogError, CatalogLimits, Column, ColumnKind, ColumnSpec, Format, Snapshot, SourceSpec,
};

/// Small, so that an input can reach each.
pub const LIMITS: CatalogLimits = CatalogLimits {
    rows_max: 4096,
    line_bytes_max: 2048,
    columns_max: 32,
    text_bytes_max: 512,
    vector_len_max: 64,
    tokens_max: 64,
    scan_threads: NonZeroUsize::MIN,
};

const KINDS: [ColumnKind; 9] = [
    ColumnKind::Path,
    ColumnKind::Int,
    ColumnKind::Float,
    ColumnKind::FloatVector { len: None },
    ColumnKind::FloatVector { len: Some(2) },
    ColumnKind::MultiHot { classes: 4 },
    ColumnKind::Weight,
    ColumnKind::Text,
    ColumnKind::Tokens,
];

/// Comma-separated; also with tabs where the input has one.
pub fn csv(input: &[u8]) -> bool {
    list(input, Format::Csv) | (input.contains(&b'\t') && list(input, Format::Tsv))
}

/// JSON Lines, from a file and as a client sends them.
pub fn jsonl(input: &[u8]) -> bool {
    let records = SourceSpec::Records { root: None, json_lines: input.to_vec(), columns: Vec::new() };
    let accepted = catalog::open(&records, &LIMITS).map(|snapshot| touch(&snapshot)).is_ok();
    list(input, Format::Jsonl) | accepted
}

/// Parquet.
pub fn parquet(input: &[u8]) -> bool {
    list(input, Format::Parquet)
}

/// Runs `check` with an empty folder, which is gone afterwards. In memory where TMPDIR is.
pub fn in_folder<T>(check: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder can be made in TMPDIR");
    check(folder.path())
}

fn list(input: &[u8], format: Format) -> bool {
    in_folder(|folder| {
        let file = folder.join("list");
        fs::write(&file, input).expect("our own folder");
        let open = |columns: Vec<ColumnSpec>| {
            let (file, root) = (file.clone(), folder.to_owned());
            told(catalog::open(&SourceSpec::List { file, root, format: Some(format), columns }, &LIMITS))
        };
        let Some(first) = open(Vec::new()) else { return false };
        let again = open(Vec::new()).expect("it opened a moment ago");
        assert_eq!(first.id(), again.id(), "equal content has one name");
        let stored = first.to_parquet().expect("any snapshot can be stored");
        let stored = Snapshot::from_parquet("stored", stored.into(), Some(&first.digest()), None, &LIMITS);
        assert_eq!(stored.expect("it is what was stored").id(), first.id());
        // Its length picks the kind, so that an input is nothing but the list.
        let name = first.columns()[0].name().to_owned();
        let _ = open(vec![ColumnSpec { name, kind: KINDS[input.len() % KINDS.len()] }]);
        super::specs::is_a_job(Arc::new(first));
        true
    })
}

/// Every error has words; a snapshot gives out all that it holds.
fn told(outcome: Result<Snapshot, CatalogError>) -> Option<Snapshot> {
    match outcome {
        Ok(snapshot) => {
            touch(&snapshot);
            Some(snapshot)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let _ = (error.kind(), error.hint());
            None
        }
    }
}

/// Reads every cell and key.
pub fn touch(snapshot: &Snapshot) {
    assert!((1..=LIMITS.rows_max).contains(&snapshot.len()));
    for row in 0..snapshot.len() {
        let _ = snapshot.key(row);
        snapshot.columns().iter().for_each(|column| touch_value(column, row));
    }
}

fn touch_value(column: &Column, row: u64) {
    match column.kind() {
        ColumnKind::Path => assert!(!column.path(row).is_empty()),
        ColumnKind::Int => drop(column.int(row)),
        ColumnKind::Float | ColumnKind::Weight => drop(column.float(row)),
        ColumnKind::FloatVector { len } => assert_eq!(Some(column.vector(row).len() as u32), len),
        ColumnKind::MultiHot { classes } => column.multi_hot(row, &mut vec![0; classes as usize]),
        ColumnKind::Text => assert!(column.text(row).len() <= column.text_bytes_max()),
        ColumnKind::Tokens => assert!(column.tokens(row).len() <= LIMITS.tokens_max as usize),
    }
}
