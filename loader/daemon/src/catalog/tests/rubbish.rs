//! Nothing that a file may hold makes the catalogue panic; what it accepts, it can give out.

use proptest::collection::vec;
use proptest::prelude::*;

use super::parquet::seeds;
use super::*;

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

/// Opens the bytes with inferred and with every named kind, and touches all that comes out.
fn survives(name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    let limits = CatalogLimits::default();
    touch(open_list_at(dir.path(), name, &[], &limits));
    for kind in KINDS {
        touch(open_list_at(dir.path(), name, &[spec("path", kind)], &limits));
    }
}

fn touch(outcome: Result<Snapshot, CatalogError>) {
    let snapshot = match outcome {
        Ok(snapshot) => snapshot,
        Err(error) => return drop((chain(&error), error.hint(), error.kind())),
    };
    for row in 0..snapshot.len() {
        snapshot.key(row);
        snapshot.columns().iter().for_each(|column| touch_value(column, row));
    }
}

pub(super) fn touch_value(column: &Column, row: SampleIndex) {
    match column.kind() {
        ColumnKind::Path => drop(column.path(row).to_vec()),
        ColumnKind::Int => drop(column.int(row)),
        ColumnKind::Float | ColumnKind::Weight => drop(column.float(row)),
        ColumnKind::FloatVector { len } => assert_eq!(column.vector(row).len(), len.unwrap() as usize),
        ColumnKind::MultiHot { classes } => column.multi_hot(row, &mut vec![0; classes as usize]),
        ColumnKind::Text => drop(column.text(row).to_owned()),
        ColumnKind::Tokens => drop(column.tokens(row).to_vec()),
    }
}

const CSV: &[u8] = b"path,label,v\n\"a,b\",1,[1 2]\nb,-2.5,\"3;4\"\nc,nan,\n";
const JSON: &[u8] = b"{\"path\": \"a\", \"n\": 1, \"v\": [1, 2e3]}\n\n{\"path\": \"\\u00e4\", \"n\": -0.5, \"v\": [null, {}]}\n";

/// Overwrites bytes, cuts, and repeats a piece.
pub(super) fn mutate(seed: &[u8], edits: &[(usize, u8)], cut: usize, again: usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for &(at, byte) in edits {
        let at = at % bytes.len();
        bytes[at] = byte;
    }
    let piece = bytes[again % bytes.len()..].to_vec();
    bytes.truncate(bytes.len() - cut % 20.min(bytes.len()));
    if again.is_multiple_of(4) {
        bytes.extend(piece);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_list_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        for name in ["l.csv", "l.tsv", "l.jsonl", "l.parquet"] {
            survives(name, &bytes);
        }
    }

    #[test]
    fn a_damaged_text_list_is_a_list_or_an_error(
        edits in vec((any::<usize>(), any::<u8>()), 0..6), cut in any::<usize>(), again in any::<usize>(),
    ) {
        survives("l.csv", &mutate(CSV, &edits, cut, again));
        survives("l.jsonl", &mutate(JSON, &edits, cut, again));
    }

    #[test]
    fn a_damaged_parquet_file_is_a_list_or_an_error(
        which in any::<usize>(), edits in vec((any::<usize>(), any::<u8>()), 1..8),
    ) {
        let seeds = seeds();
        let seed = &seeds[which % seeds.len()];
        touch(open_list("l.parquet", mutate(seed, &edits, 0, 1), &[]));
        touch(open_list("l.parquet", mutate(seed, &edits, 0, 1), &[spec("tags", ColumnKind::MultiHot { classes: 9 })]));
        // Most of a small file is its footer; aim at the pages too.
        let early: Vec<_> = edits.iter().map(|&(at, byte)| (at % 600, byte)).collect();
        touch(open_list("l.parquet", mutate(seed, &early, 0, 1), &[]));
    }
}
