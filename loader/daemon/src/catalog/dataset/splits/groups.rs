//! What samples are held apart by: their own keys, or the groups that they belong to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalog::column::ColumnKind;
use crate::catalog::dataset::{Dataset, FileRef, KEY, Manifest};
use crate::catalog::table::{Cells, Table};
use crate::error::{Fault, Kind};

/// Which samples go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grouping {
    /// The columns of text, paths or whole numbers: samples that agree in all of them are a group.
    pub columns: Vec<String>,
    /// What becomes of a sample that lacks one of them.
    pub ungrouped: Ungrouped,
}

/// Where a sample without a group belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Ungrouped {
    /// On no side until its group is known, so that it can never have been on the wrong one.
    Wait,
    /// A group of its own, called by its key.
    Alone,
}

/// The groups of a table's samples.
pub(super) struct Groups<'a> {
    table: &'a Table,
    columns: Vec<Cow<'a, Cells>>,
    ungrouped: Ungrouped,
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.columns.join(","))
    }
}

impl<'a> Groups<'a> {
    /// * `grouping`: `None`: every sample is a group of its own.
    ///
    /// # Errors
    /// Invalid: no such column, or one whose values name nothing. What the storage says.
    pub(super) fn open(
        dataset: &Dataset,
        manifest: &Manifest,
        table: &'a Table,
        grouping: Option<&Grouping>,
    ) -> Result<Self, Fault> {
        let names = grouping.map_or(&[][..], |grouping| &grouping.columns);
        let columns = names.iter().map(|name| first_values(dataset, manifest, table, name));
        let ungrouped = grouping.map_or(Ungrouped::Alone, |grouping| grouping.ungrouped);
        Ok(Self { table, columns: columns.collect::<Result<_, _>>()?, ungrouped })
    }

    /// The same with the values that were joined last.
    ///
    /// # Errors
    /// Invalid: no such column, or one whose values name nothing.
    pub(super) fn newest(table: &'a Table, grouping: Option<&Grouping>) -> Result<Self, Fault> {
        let names = grouping.map_or(&[][..], |grouping| &grouping.columns);
        let column = |name: &String| {
            let cells = table.column(name).ok_or_else(|| no_column(table, name))?;
            check_names(cells).map(|()| Cow::Borrowed(cells))
        };
        let ungrouped = grouping.map_or(Ungrouped::Alone, |grouping| grouping.ungrouped);
        Ok(Self { table, columns: names.iter().map(column).collect::<Result<_, _>>()?, ungrouped })
    }

    /// What a sample goes by; `None`: it waits for its group to be known.
    ///
    /// A group of one column is called by the column's value and a sample alone by its key, with nothing put before
    /// either: so a sample stays on its side when it is found to be the first of a group that is called by its key.
    pub(super) fn of(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        match self.columns.as_slice() {
            [] => Some(self.table.key(row)),
            _ => self.known(row).or_else(|| match self.ungrouped {
                Ungrouped::Wait => None,
                Ungrouped::Alone => Some(self.table.key(row)),
            }),
        }
    }

    fn known(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        if let [column] = self.columns.as_slice() {
            return value(column, row);
        }
        let mut name = Vec::new();
        for column in &self.columns {
            // With its length before it, so that no two lists of values make one name.
            let value = value(column, row)?;
            name.extend_from_slice(format!("{}:", value.len()).as_bytes());
            name.extend_from_slice(&value);
        }
        Some(Cow::Owned(name))
    }

    /// Whether a group may have several samples.
    pub(super) fn are_many(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Samples that lack a group.
    pub(super) fn ungrouped(&self) -> usize {
        if self.columns.is_empty() {
            return 0;
        }
        (0..self.table.len()).filter(|&row| self.columns.iter().any(|column| !column.has(row))).count()
    }
}

/// What stands in a column of text, paths or whole numbers.
pub(super) fn value(cells: &Cells, row: usize) -> Option<Cow<'_, [u8]>> {
    if !cells.has(row) {
        return None;
    }
    let column = cells.column();
    Some(match column.bytes(row) {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Owned(column.int(row as u64).to_string().into_bytes()),
    })
}

/// A column with the value that each sample got first, where several were joined over each other.
///
/// A value that is joined later must not move a sample to another side, so for splits the first one counts.
///
/// # Errors
/// Invalid: no such column, or one whose values name nothing. What the storage says.
pub(super) fn first_values<'a>(
    dataset: &Dataset,
    manifest: &Manifest,
    table: &'a Table,
    name: &str,
) -> Result<Cow<'a, Cells>, Fault> {
    let newest = table.column(name).ok_or_else(|| no_column(table, name))?;
    check_names(newest)?;
    let has = |file: &&FileRef| file.columns.iter().any(|column| column == name);
    let samples: Vec<_> = manifest.samples.iter().filter(has).collect();
    let joined: Vec<_> = manifest.joined.iter().filter(has).collect();
    if joined.is_empty() || (joined.len() == 1 && samples.is_empty()) {
        return Ok(Cow::Borrowed(newest));
    }
    let mut first = table.clone();
    first.retain_key_and(|_| false);
    if first.column(name).is_some() {
        return Ok(Cow::Borrowed(newest));
    }
    for file in joined.into_iter().rev().chain(samples) {
        lay_over(dataset, &mut first, file, name)?;
    }
    let made = first.column(name).ok_or_else(|| no_column(table, name))?;
    Ok(Cow::Owned(made.clone()))
}

fn lay_over(dataset: &Dataset, table: &mut Table, file: &FileRef, name: &str) -> Result<(), Fault> {
    let added = Table::of(&dataset.get(file, None)?);
    let Some(cells) = added.column(name) else { return Ok(()) };
    let rows: HashMap<_, _> = added.keys().enumerate().map(|(row, key)| (key, row)).collect();
    let from: Vec<_> = table.keys().map(|key| rows.get(&key).copied()).collect();
    table
        .lay_over(cells, &from)
        .map_err(|error| Fault::from_error(Kind::Corrupt, &error).object(dataset.path_of(file)))
}

fn check_names(cells: &Cells) -> Result<(), Fault> {
    let column = cells.column();
    match column.kind() {
        ColumnKind::Text | ColumnKind::Path | ColumnKind::Int => Ok(()),
        kind => Err(Fault::invalid(format!(
            "column {} is {}: samples go by text, paths or whole numbers",
            column.name(),
            kind.name()
        ))
        .hint("join a column that names what a sample belongs to")),
    }
}

/// The error for a column that is not there, with those that are.
pub(super) fn no_column(table: &Table, name: &str) -> Fault {
    let names: Vec<_> =
        table.columns().iter().map(|cells| cells.column().name()).filter(|&own| own != KEY).collect();
    Fault::invalid(format!("there is no column {name}"))
        .hint(format!("there are: {}; `forebay dataset join` adds others", names.join(", ")))
}
