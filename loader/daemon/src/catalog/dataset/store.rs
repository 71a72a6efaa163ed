//! Stores a table with gaps as files without: columns that every sample has together, the others by key.
//!
//! A file of the data set is a snapshot, in which every sample has every value. Columns that lack the same values go
//! into one file of their own, of those samples alone.

use std::borrow::Cow;
use std::collections::HashSet;

use super::join::is_on_top;
use super::view::KEY;
use super::{Change, Dataset, FileRef, Manifest, fault};
use crate::catalog::CatalogError;
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::snapshot::Snapshot;
use crate::catalog::table::{Cells, Table};
use crate::error::Fault;

/// Columns that have values for the same samples.
struct Alike<'a> {
    /// Those samples; `None`: all.
    present: Option<&'a [bool]>,
    columns: Vec<&'a Cells>,
}

impl Dataset {
    /// Stores new samples.
    ///
    /// * returns: the file of samples, and those of columns that only some of them have.
    ///
    /// # Errors
    /// As [`Dataset::put`]; Invalid: two samples of one key.
    pub(super) fn put_samples(&self, table: &Table) -> Result<(FileRef, Vec<FileRef>), Fault> {
        let whole: Vec<_> = table.columns().iter().filter(|cells| cells.present().is_none()).collect();
        let samples = whole.into_iter().map(|cells| cells.column().clone()).collect();
        let samples = self.put(&assemble(samples)?)?;
        let some: Vec<_> = table.columns().iter().filter(|cells| cells.present().is_some()).collect();
        let keys: Vec<_> = table.keys().collect();
        Ok((samples, self.put_columns(&keys, &some)?))
    }

    /// Joins a text to each of some samples, as a commit; keys of no sample are passed over.
    ///
    /// * returns: the commit, or the newest one where all was there already.
    ///
    /// # Errors
    /// Invalid: a column of that name and another kind. What the storage says.
    pub fn join_texts(
        &self,
        name: &str,
        texts: &[(Vec<u8>, String)],
        change: &Change,
    ) -> Result<Manifest, Fault> {
        self.commit(|head| {
            let samples = self.all_samples(head)?;
            let known: HashSet<_> = samples.keys().collect();
            let texts: Vec<_> = texts.iter().filter(|(key, _)| known.contains(key.as_slice())).collect();
            let keys: Vec<Cow<'_, [u8]>> = texts.iter().map(|(key, _)| key.as_slice().into()).collect();
            let mut table = Table::with_columns(keys.len(), Vec::new());
            table.set_texts(name, texts.iter().map(|(_, text)| Some(text.as_str())));
            let mut next = Manifest { change: change.clone(), ..head.clone() };
            next.admit_columns(&table)?;
            let files = self.put_columns(&keys, &table.columns().iter().collect::<Vec<_>>())?;
            if is_on_top(head, &files) {
                return Ok(None);
            }
            next.joined.extend(files);
            Ok(Some(next))
        })
    }

    /// Stores columns of samples that are in the data set.
    ///
    /// * `keys`: what the samples are called, as long as the columns.
    ///
    /// # Errors
    /// As [`Dataset::put`].
    pub(super) fn put_columns(
        &self,
        keys: &[Cow<'_, [u8]>],
        columns: &[&Cells],
    ) -> Result<Vec<FileRef>, Fault> {
        let stored = alike(columns).into_iter().filter_map(|alike| {
            let has = |row: &usize| alike.present.is_none_or(|present| present[*row]);
            let rows: Vec<_> = (0..keys.len()).filter(has).collect();
            if rows.is_empty() {
                return None;
            }
            let gathered = alike.columns.iter().map(|cells| cells.gather(rows.iter().map(|&row| Some(row))));
            let keys = key_column(rows.iter().map(|&row| &*keys[row]));
            let columns = [keys].into_iter().chain(gathered.map(|cells| cells.column));
            Some(assemble(columns.collect()).and_then(|snapshot| self.put(&snapshot)))
        });
        stored.collect()
    }
}

fn alike<'a>(columns: &[&'a Cells]) -> Vec<Alike<'a>> {
    let mut groups: Vec<Alike<'a>> = Vec::new();
    for &cells in columns {
        match groups.iter_mut().find(|group| group.present == cells.present()) {
            Some(group) => group.columns.push(cells),
            None => groups.push(Alike { present: cells.present(), columns: vec![cells] }),
        }
    }
    groups
}

/// Keys as text; as paths where one of them is a path that is not UTF-8, which no text holds.
fn key_column<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Column {
    let (mut strings, mut kind) = (ByteStrings::default(), ColumnKind::Text);
    for key in keys {
        if str::from_utf8(key).is_err() {
            kind = ColumnKind::Path;
        }
        strings.push(key);
    }
    Column { name: KEY.to_owned(), kind, values: Values::Bytes(strings) }
}

fn assemble(columns: Vec<Column>) -> Result<Snapshot, Fault> {
    Snapshot::assemble(columns, None, None, |first, second, key| CatalogError::Damaged {
        file: "what is to be stored".to_owned(),
        detail: format!("rows {first} and {second} have the key {}", String::from_utf8_lossy(key)),
    })
    .map_err(|error| fault(&error))
}
