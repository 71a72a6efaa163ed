//! A commit -> the samples that are in it, with everything known of each; and those of them that a job is after.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::splits::{self, Part};
use super::{Dataset, FileRef, Manifest, filter};
use crate::catalog::class_map::ClassMap;
use crate::catalog::column::ColumnKind;
use crate::catalog::snapshot::Snapshot;
use crate::catalog::table::{Cells, KindsDiffer, Table};
use crate::catalog::{RECORD, SHARD_BYTES};
use crate::error::{Fault, Kind};
use crate::storage::Root;

/// The column of keys in joined files and lists of keys.
pub const KEY: &str = "key";

/// Which samples of a data set are wanted; by default all that are not removed, quarantined or held back by a frozen set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// A side of a split, a frozen set, or `all`: `docs/splits.md` has the rules.
    pub split: Option<String>,
    /// A condition on columns, or the name of a recorded one.
    pub filter: Option<String>,
    /// A nested part of what is left.
    pub part: Part,
}

impl Dataset {
    /// Everything that is in a commit: samples in the order in which they came, joined columns over them, without
    /// those that were removed or are in quarantine.
    ///
    /// # Errors
    /// What the storage says; Corrupt: files that do not fit each other.
    pub fn table(&self, manifest: &Manifest) -> Result<Table, Fault> {
        let mut table = self.all_samples(manifest)?;
        let gone = self.keys_of(manifest.removed.iter().chain(&manifest.quarantined))?;
        if !gone.is_empty() {
            let kept: Vec<_> = table
                .keys()
                .enumerate()
                .filter(|(_, key)| !gone.contains(key.as_ref()))
                .map(|(row, _)| row)
                .collect();
            table = table.gather(&kept);
        }
        for file in &manifest.joined {
            self.lay_over(&mut table, file)?;
        }
        Ok(table)
    }

    /// All samples that ever came in, removed ones too, without joined columns.
    ///
    /// # Errors
    /// As [`Dataset::table`].
    pub fn all_samples(&self, manifest: &Manifest) -> Result<Table, Fault> {
        let mut table = Table::default();
        for file in &manifest.samples {
            let added = Table::of(&self.get(file, None)?);
            table.append(added).map_err(|error| self.unfit(file, &error))?;
        }
        Ok(table)
    }

    /// The keys in files that have a column of them.
    ///
    /// # Errors
    /// As [`Dataset::table`].
    pub fn keys_of<'a>(&self, files: impl Iterator<Item = &'a FileRef>) -> Result<HashSet<Vec<u8>>, Fault> {
        let mut keys = HashSet::new();
        for file in files {
            let snapshot = self.get(file, None)?;
            keys.extend((0..snapshot.len()).map(|row| snapshot.key(row).into_owned()));
        }
        Ok(keys)
    }

    fn lay_over(&self, table: &mut Table, file: &FileRef) -> Result<(), Fault> {
        let joined = Table::of(&self.get(file, None)?);
        let rows: HashMap<_, _> = joined.keys().enumerate().map(|(row, key)| (key, row)).collect();
        let from: Vec<_> = table.keys().map(|key| rows.get(&key).copied()).collect();
        for cells in joined.columns().iter().filter(|cells| cells.column().name() != KEY) {
            table.lay_over(cells, &from).map_err(|error| self.unfit(file, &error))?;
        }
        Ok(())
    }

    fn unfit(&self, file: &FileRef, error: &KindsDiffer) -> Fault {
        Fault::from_error(Kind::Corrupt, error)
            .object(self.path_of(file))
            .hint("the data set's files do not fit each other: was one of them changed by hand?")
    }

    /// The samples of a selection.
    ///
    /// # Errors
    /// Invalid: a split, column or condition that does not exist or makes no sense. As [`Dataset::table`].
    pub fn select(&self, manifest: &Manifest, selection: &Selection) -> Result<Table, Fault> {
        let mut table = self.table(manifest)?;
        if let Some(rows) = splits::rows(self, manifest, &table, selection.split.as_deref())? {
            table = table.gather(&rows);
        }
        if let Some(text) = &selection.filter {
            table = table.gather(&filter::rows(&table, self.condition(manifest, text)?)?);
        }
        match splits::part(&table, &selection.part)? {
            Some(rows) => Ok(table.gather(&rows)),
            None => Ok(table),
        }
    }

    /// A condition as it stands, or the recorded one of that name.
    fn condition<'a>(&self, manifest: &'a Manifest, text: &'a str) -> Result<&'a str, Fault> {
        match manifest.selections.get(text) {
            Some(condition) => Ok(condition),
            None if filter::is_name(text) => {
                let named: Vec<_> = manifest.selections.keys().map(String::as_str).collect();
                let there = if named.is_empty() { "there is none".to_owned() } else { named.join(", ") };
                let message = format!("{} has no recorded selection {text}", self.place());
                Err(Fault::new(Kind::NotFound, message).hint(format!(
                    "recorded: {there}; record it with: forebay dataset filter PLACE --name {text} --where CONDITION"
                )))
            }
            None => Ok(text),
        }
    }

    /// The snapshot that a job is made of. Columns in which a sample lacks a value are not in it.
    ///
    /// * `root`: the directory that paths resolve beneath.
    /// * `columns`: those that the job is after, beside what samples are called by; all where `None`. So what is joined
    ///   later and not asked for does not change the snapshot's name.
    ///
    /// # Errors
    /// As [`Dataset::select`]; Invalid: nothing is left, or a column that is asked for has gaps.
    pub fn snapshot(
        &self,
        manifest: &Manifest,
        selection: &Selection,
        columns: Option<&[String]>,
        root: Option<Arc<Root>>,
    ) -> Result<Snapshot, Fault> {
        let mut table = self.select(manifest, selection)?;
        if table.is_empty() {
            return Err(Fault::invalid(format!("no sample of {} is left by {selection}", self.place()))
                .hint("forebay dataset show tells how many samples each split has"));
        }
        settle_places(&mut table, self.place())?;
        if let Some(columns) = columns {
            let wanted = |name: &str| columns.iter().any(|column| column == name);
            table.retain_key_and(|name| wanted(name));
            check_whole(&table, columns)?;
        }
        let classes = Some(manifest.classes.clone()).filter(|classes| !classes.is_empty()).map(ClassMap::new);
        let (columns, _gaps) = table.into_whole_columns();
        let made = Snapshot::assemble(columns, classes, root, |first, second, key| {
            crate::catalog::CatalogError::Damaged {
                file: self.place().to_owned(),
                detail: format!("samples {first} and {second} have the key {}", String::from_utf8_lossy(key)),
            }
        });
        made.map(|snapshot| snapshot.of_commit(manifest.number)).map_err(|error| super::fault(&error))
    }
}

/// Says of each sample in a file that holds many where it lies there. A column of places with gaps would be left out, and
/// the whole file be taken for the sample.
///
/// # Errors
/// Invalid: some samples lie in such files, and others do not; some in TFRecord files, whose records are checked.
fn settle_places(table: &mut Table, place: &str) -> Result<(), Fault> {
    let paths = table.columns().iter().map(Cells::column).filter(|column| column.kind() == ColumnKind::Path);
    let names: Vec<_> = paths.map(|column| column.name().to_owned()).collect();
    let of = |name: &str| [".offset", ".length", ".row"].map(|end| format!("{name}{end}"));
    let mut all: Vec<_> = names.iter().map(String::as_str).chain([RECORD]).flat_map(of).collect();
    all.push(SHARD_BYTES.to_owned());
    // Of samples that were left out.
    let is_idle = |name: &str| table.column(name).is_some_and(|cells| cells.missing() == table.len());
    all.retain(|name| is_idle(name));
    table.retain_only(|name| !all.iter().any(|idle| idle == name));
    for name in names {
        // -1 says that the bytes at the place are the value: another shard may have pages.
        table.fill_ints(&format!("{name}.row"), -1);
        let lacking = |of: &str| {
            let offset = format!("{of}.offset");
            table.column(&offset).is_some_and(|cells| cells.missing() > 0).then_some(offset)
        };
        let in_shards = table.column(&format!("{name}.offset")).is_some();
        let (what, offset) = match (lacking(&name), lacking(RECORD)) {
            (Some(offset), _) => ("in shards and others in files of their own", offset),
            (None, Some(offset)) if in_shards => ("in TFRecord files and others in other shards", offset),
            _ => continue,
        };
        if table.column(&name).is_some_and(|cells| cells.missing() == 0) {
            return Err(Fault::invalid(format!("some samples of {place} lie {what}")).hint(format!(
                "take one kind at a time, where='\"{offset}\" is not null' and where='\"{offset}\" is null': they may be two \
                 sources of a job"
            )));
        }
    }
    Ok(())
}

fn check_whole(table: &Table, columns: &[String]) -> Result<(), Fault> {
    for name in columns {
        let Some(cells) = table.column(name).filter(|cells| cells.missing() > 0) else { continue };
        let first = (0..table.len()).find(|&row| !cells.has(row)).expect("some are missing");
        let key = String::from_utf8_lossy(&table.key(first)).into_owned();
        let message =
            format!("column {name} has no value for {} of {} samples", cells.missing(), table.len());
        return Err(Fault::invalid(message).object(key).hint(format!(
            "join the missing values, measure them with `forebay index --measure`, or select where=\"{name} is not null\""
        )));
    }
    Ok(())
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = Vec::new();
        words.extend(self.split.iter().map(|split| format!("split {split:?}")));
        words.extend(self.filter.iter().map(|filter| format!("where {filter:?}")));
        if self.part != Part::default() {
            words.push(self.part.to_string());
        }
        f.write_str(if words.is_empty() { "no selection" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}
