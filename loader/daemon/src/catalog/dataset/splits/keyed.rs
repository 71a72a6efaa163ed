//! Lists of keys, and what goes with each, as files of a data set.

use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::dataset::KEY;
use crate::catalog::snapshot::Snapshot;
use crate::error::Fault;

/// A snapshot of a column `key` and maybe one more, sorted by key, so that equal sets are equal files.
///
/// * `lines`: a key and its word; a key that comes twice with one word counts once.
/// * `with`: the name of the words' column; absent: there is none.
///
/// # Errors
/// Invalid: one key with two words.
pub(super) fn snapshot(mut lines: Vec<(Vec<u8>, String)>, with: Option<&str>) -> Result<Snapshot, Fault> {
    lines.sort_unstable();
    lines.dedup();
    let (mut keys, mut words) = (ByteStrings::default(), ByteStrings::default());
    for (key, word) in &lines {
        keys.push(key);
        words.push(word.as_bytes());
    }
    // Names of files need not be UTF-8.
    let is_text = lines.iter().all(|(key, _)| str::from_utf8(key).is_ok());
    let kind = if is_text { ColumnKind::Text } else { ColumnKind::Path };
    let mut columns = vec![Column { name: KEY.to_owned(), kind, values: Values::Bytes(keys) }];
    columns.extend(with.map(|name| Column {
        name: name.to_owned(),
        kind: ColumnKind::Text,
        values: Values::Bytes(words),
    }));
    let twice = |_, _, key: &[u8]| crate::catalog::CatalogError::Damaged {
        file: "the list".to_owned(),
        detail: format!("it has {:?} twice, with different words", String::from_utf8_lossy(key)),
    };
    Snapshot::assemble(columns, None, None, twice).map_err(|error| {
        let first = lines.windows(2).find(|pair| pair[0].0 == pair[1].0);
        let Some([(key, one), (_, other)]) = first else { return crate::catalog::dataset::fault(&error) };
        let key = String::from_utf8_lossy(key);
        Fault::invalid(format!("the list has {key:?} on side {one} and on side {other}"))
            .hint("a sample is on one side")
    })
}
