//! Lists of samples by key, as the files of a commit hold them: what was removed and why, what was found out of each.

use super::view::KEY;
use super::{Dataset, Manifest, fault};
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::{CatalogError, Snapshot};
use crate::error::Fault;

/// The column that says why a sample was removed or quarantined.
pub const REASON: &str = "reason";

/// The column of what verified samples hold: the first 32 hexadecimal digits of the BLAKE3 hash of their bytes.
pub const CONTENT: &str = "content_blake3";

/// Bytes of a reason; decoders may be talkative.
const REASON_BYTES_MAX: usize = 500;

/// Samples and why: columns `key` and `reason`.
///
/// # Errors
/// Invalid: a key that comes twice.
pub fn reasons<'a>(list: impl Iterator<Item = (&'a [u8], &'a str)> + Clone) -> Result<Snapshot, Fault> {
    keyed_texts(REASON, list.map(|(key, reason)| (key, shortened(reason))))
}

/// Samples and a text of each.
///
/// # Errors
/// Invalid: a key that comes twice.
pub fn keyed_texts<'a>(
    name: &str,
    list: impl Iterator<Item = (&'a [u8], &'a str)> + Clone,
) -> Result<Snapshot, Fault> {
    let values = Values::Bytes(strings(list.clone().map(|(_, text)| text.as_bytes())));
    keyed(list.map(|(key, _)| key), Column { name: name.to_owned(), kind: ColumnKind::Text, values })
}

/// Samples and a whole number of each.
///
/// # Errors
/// Invalid: a key that comes twice.
pub fn keyed_ints<'a>(
    name: &str,
    list: impl Iterator<Item = (&'a [u8], i64)> + Clone,
) -> Result<Snapshot, Fault> {
    let values = Values::Ints(list.clone().map(|(_, int)| int).collect());
    keyed(list.map(|(key, _)| key), Column { name: name.to_owned(), kind: ColumnKind::Int, values })
}

fn keyed<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone, column: Column) -> Result<Snapshot, Fault> {
    // Only paths may be no UTF-8.
    let is_text = keys.clone().all(|key| str::from_utf8(key).is_ok());
    let kind = if is_text { ColumnKind::Text } else { ColumnKind::Path };
    let keys = Column { name: KEY.to_owned(), kind, values: Values::Bytes(strings(keys)) };
    Snapshot::assemble(vec![keys, column], None, None, |first, second, key| CatalogError::Damaged {
        file: "a list of samples".to_owned(),
        detail: format!("samples {first} and {second} have the key {}", String::from_utf8_lossy(key)),
    })
    .map_err(|error| fault(&error))
}

fn strings<'a>(all: impl Iterator<Item = &'a [u8]>) -> ByteStrings {
    let mut strings = ByteStrings::default();
    all.for_each(|string| strings.push(string));
    strings
}

fn shortened(reason: &str) -> &str {
    let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|&end| reason.is_char_boundary(end));
    &reason[..end.expect("0 is a boundary")]
}

impl Dataset {
    /// The samples that are in quarantine and why, in the order in which they came there, each once.
    ///
    /// # Errors
    /// As [`Dataset::get`].
    pub fn quarantine(&self, manifest: &Manifest) -> Result<Vec<(Vec<u8>, String)>, Fault> {
        let (mut list, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for file in &manifest.quarantined {
            let snapshot = self.get(file, None)?;
            let reason = snapshot.column(REASON).filter(|column| column.kind() == ColumnKind::Text);
            for row in 0..snapshot.len() {
                let key = snapshot.key(row).into_owned();
                if seen.insert(key.clone()) {
                    list.push((key, reason.map_or_else(String::new, |reason| reason.text(row).to_owned())));
                }
            }
        }
        Ok(list)
    }
}
