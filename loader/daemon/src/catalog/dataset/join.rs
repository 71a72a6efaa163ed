//! Columns that come in a list of their own, by key: labels, predictions, scores.
//!
//! They lie over what a sample has: its newest value wins, and a sample that the list does not name keeps its own.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use super::called::{Called, key_column, row_keys};
use super::labels::{LabelsAre, labels};
use super::view::KEY;
use super::{Change, Dataset, FileRef, Manifest, fault};
use crate::catalog::gaps::{List, Listed, Reading};
use crate::catalog::relabel::LABEL;
use crate::catalog::snapshot::OFFSET_COLUMN;
use crate::catalog::table::{Cells, Table};
use crate::catalog::{CatalogError, CellFault, ColumnKind};
use crate::error::Fault;

/// What to join.
pub struct Joining<'a> {
    /// CSV, TSV, JSON Lines or Parquet.
    pub file: &'a Path,
    /// The column that names samples; absent: `key`, else the first that is named as paths are.
    pub key: Option<&'a str>,
    /// The columns to take; all where empty.
    pub only: &'a [String],
    /// What columns are to be called: `OLD=NEW`, or `NEW` where there is one.
    pub names: &'a [String],
    /// One column holds labels, and becomes `label` where it is not named otherwise.
    pub labels: Option<LabelsAre>,
    /// Samples and rows are called by file name without extension.
    pub by_stem: bool,
    /// A row without a sample, or a sample without a row, is an error.
    pub strict: bool,
    /// Tell what would be done, and do nothing.
    pub dry_run: bool,
}

/// What was joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The commit; the newest one where all was there already.
    pub manifest: Manifest,
    /// Whether a commit was made.
    pub made: bool,
    /// Rows that were joined.
    pub matched: u64,
    /// Rows about samples that were removed.
    pub removed: u64,
    /// What rows without a sample call it, in order.
    pub unknown: Vec<Vec<u8>>,
    /// Samples without a row, in order.
    pub without: Vec<Vec<u8>>,
    /// Columns and how many values each of them got.
    pub columns: Vec<(String, u64)>,
    /// Classes that are new.
    pub new_classes: Vec<String>,
}

/// One column on its way in.
struct Take {
    from: String,
    to: String,
}

/// A list that was read, and what of it goes where.
struct Source<'a> {
    joining: &'a Joining<'a>,
    listed: Listed,
    keys: Vec<Vec<u8>>,
    takes: Vec<Take>,
}

impl Dataset {
    /// Joins columns of a list to the samples that it names, as a commit.
    ///
    /// # Errors
    /// Invalid: what is wrong with the list, by line; two rows of one sample; a column of another kind; no row that names
    /// a sample. What the storage says.
    pub fn join(&self, joining: &Joining<'_>) -> Result<Joined, Fault> {
        let source = read(joining, &self.head()?)?;
        let mut joined = None;
        let manifest = self.commit(|head| {
            let (next, done) = self.joined_to(head, &source)?;
            joined = Some(Joined { made: next.is_some(), ..done });
            Ok(next)
        })?;
        let joined = joined.expect("a commit asks at least once");
        Ok(Joined { manifest, ..joined })
    }

    fn joined_to(&self, head: &Manifest, source: &Source<'_>) -> Result<(Option<Manifest>, Joined), Fault> {
        let samples = self.all_samples(head)?;
        self.check_called(&samples)?;
        let matched = self.matched(head, &samples, source)?;
        let mut classes = head.classes.clone();
        let mut columns = Vec::new();
        for take in &source.takes {
            let Some(cells) = source.listed.table.column(&take.from) else { continue };
            let cells = cells.gather(matched.rows.iter().map(|&row| Some(row))).named(&take.to);
            columns.push(match source.joining.labels {
                Some(are) => labels(&cells, are, &mut classes)?,
                None => plain(cells, &classes)?,
            });
        }
        let mut next = Manifest { classes, ..head.clone() };
        let table = Table::with_columns(matched.rows.len(), columns);
        next.admit_columns(&table).map_err(|error| error.hint(OTHER_NAME))?;
        let cells: Vec<_> = table.columns().iter().collect();
        let dry_run = source.joining.dry_run;
        let files = if dry_run { Vec::new() } else { self.put_columns(&matched.keys, &cells)? };
        let new_classes = next.classes[head.classes.len()..].to_vec();
        let values = |cells: &Cells| (table.len() - cells.missing()) as u64;
        let columns: Vec<_> =
            table.columns().iter().map(|cells| (cells.column().name().to_owned(), values(cells))).collect();
        let joined = Joined {
            manifest: head.clone(),
            made: false,
            matched: matched.rows.len() as u64,
            removed: matched.removed,
            unknown: matched.unknown,
            without: matched.without,
            columns,
            new_classes,
        };
        if dry_run || is_on_top(head, &files) && joined.new_classes.is_empty() {
            return Ok((None, joined));
        }
        next.joined.extend(files);
        next.change = change(source, &joined);
        Ok((Some(next), joined))
    }

    /// Rows are joined by key, so samples must have one.
    fn check_called(&self, samples: &Table) -> Result<(), Fault> {
        if samples.is_empty() {
            return Err(Fault::invalid(format!("{} holds no samples", self.place()))
                .hint("add some first: forebay index, or forebay dataset add"));
        }
        if samples.called_by().is_empty() {
            return Err(Fault::invalid(format!(
                "the samples of {} have neither keys nor paths",
                self.place()
            ))
            .hint("make the data set anew with a column named key"));
        }
        Ok(())
    }

    fn matched<'t>(
        &self,
        head: &Manifest,
        samples: &'t Table,
        source: &Source<'_>,
    ) -> Result<Matched<'t>, Fault> {
        let joining = source.joining;
        let root = Some(Path::new(&head.root)).filter(|_| !head.root.is_empty());
        let keys: Vec<_> = samples.keys().collect();
        let called = Called::new(keys.iter(), root, joining.by_stem);
        let removed = self.keys_of(head.removed.iter())?;
        let quarantined = self.keys_of(head.quarantined.iter())?;
        let mut by_sample: Vec<Option<usize>> = vec![None; keys.len()];
        let mut matched = Matched::default();
        for (row, key) in source.keys.iter().enumerate() {
            let found = called
                .find(key)
                .map_err(|two| doubled_stem(&source.listed, row, [&keys[two.0], &keys[two.1]]))?;
            let Some(sample) = found else {
                matched.unknown.push(key.clone());
                continue;
            };
            if let Some(first) = by_sample[sample].replace(row) {
                return Err(doubled_row(&source.listed, first, row, &keys[sample]));
            }
            if removed.contains(&*keys[sample]) {
                matched.removed += 1;
            } else {
                matched.rows.push(row);
                matched.keys.push(keys[sample].clone());
            }
        }
        let without = keys.iter().zip(&by_sample).filter(|(key, row)| {
            row.is_none() && !removed.contains(&***key) && !quarantined.contains(&***key)
        });
        matched.without = without.map(|(key, _)| key.to_vec()).collect();
        check_matched(&matched, source, &keys)?;
        Ok(matched)
    }
}

/// Which rows are about which samples.
#[derive(Default)]
struct Matched<'t> {
    /// Rows of the list, and beside each its sample's key.
    rows: Vec<usize>,
    keys: Vec<Cow<'t, [u8]>>,
    removed: u64,
    unknown: Vec<Vec<u8>>,
    without: Vec<Vec<u8>>,
}

const OTHER_NAME: &str = "join it under another name: --as NAME";

/// Reads the columns that are asked for, each as the kind that the data set has under its new name.
fn read<'a>(joining: &'a Joining<'a>, head: &Manifest) -> Result<Source<'a>, Fault> {
    let limits = crate::catalog::CatalogLimits::default();
    let list = List::new(joining.file, &limits).map_err(|error| fault(&error))?;
    let header = list.header().map_err(|error| fault(&error))?;
    let key = joining.key.map_or_else(|| key_column(&header, list.name()), Ok)?;
    let takes = takes(joining, &header, key, list.name())?;
    let mut columns: Vec<_> =
        [key.to_owned()].into_iter().chain(takes.iter().map(|take| take.from.clone())).collect();
    let offset = header.iter().find(|name| *name == OFFSET_COLUMN && key != KEY);
    columns.extend(offset.cloned());
    let kind = |name: &str, seen: ColumnKind| match takes.iter().find(|take| take.from == name) {
        None if name == key && (list.is_untyped() || seen == ColumnKind::Path) => ColumnKind::Text,
        None => seen,
        Some(_) if joining.labels == Some(LabelsAre::Names) && list.is_untyped() => ColumnKind::Text,
        // Names are told apart from indexes where the classes are known.
        Some(take) if joining.labels.is_some() || take.to == LABEL => seen,
        Some(take) => head.kind_of(&take.to).unwrap_or(seen),
    };
    let root = Some(Path::new(&head.root)).filter(|_| !head.root.is_empty());
    let whole = [key.to_owned(), OFFSET_COLUMN.to_owned()];
    let listed = list.read(&Reading { root, columns: &columns, kind: &kind, whole: &whole });
    let listed = listed.map_err(|error| match &error {
        CatalogError::Cell { source: CellFault::WrongType { .. }, .. } => {
            fault(&error).hint(format!("mend the value, or {OTHER_NAME}"))
        }
        _ => fault(&error),
    })?;
    if takes.iter().all(|take| listed.empty.contains(&take.from)) {
        let message = format!("no row of {} has a value in {}", listed.name(), listed.empty.join(", "));
        return Err(Fault::invalid(message).hint("name columns that have some: --only COLUMN"));
    }
    let keys = row_keys(&listed, key)?;
    Ok(Source { joining, listed, keys, takes })
}

/// Which columns go in under which names.
fn takes(joining: &Joining<'_>, header: &[String], key: &str, list: &str) -> Result<Vec<Take>, Fault> {
    let others = || header.iter().filter(|name| *name != key && (key == KEY || *name != OFFSET_COLUMN));
    let from: Vec<String> = match (joining.only, joining.labels) {
        ([], None) => others().cloned().collect(),
        ([], Some(_)) => match others().find(|name| *name == LABEL) {
            Some(label) => vec![label.clone()],
            None => others().cloned().collect(),
        },
        (only, _) => only.to_vec(),
    };
    if joining.labels.is_some() && from.len() > 1 {
        let message = format!("{list} has the columns {}: which one holds the labels", from.join(", "));
        return Err(Fault::invalid(message).hint("name it: --only COLUMN"));
    }
    if from.is_empty() {
        return Err(
            Fault::invalid(format!("{list} has no column beside {key}")).hint("add the values to join")
        );
    }
    let mut takes: Vec<_> = from.into_iter().map(|from| Take { to: from.clone(), from }).collect();
    if joining.labels.is_some() {
        LABEL.clone_into(&mut takes[0].to);
    }
    joining.names.iter().try_for_each(|name| rename(&mut takes, name))?;
    let mut met = HashSet::new();
    for Take { to, .. } in &takes {
        if to == KEY || to == OFFSET_COLUMN || to.is_empty() {
            return Err(Fault::invalid(format!("a column cannot be joined as {to:?}, which names samples"))
                .hint(OTHER_NAME));
        }
        if !met.insert(to) {
            return Err(Fault::invalid(format!("two columns of {list} would be called {to}"))
                .hint("rename one: --as OLD=NEW"));
        }
    }
    Ok(takes)
}

fn rename(takes: &mut [Take], name: &str) -> Result<(), Fault> {
    let (from, to) = match (name.split_once('='), &*takes) {
        (Some((from, to)), _) => (from.to_owned(), to),
        (None, [one]) => (one.from.clone(), name),
        (None, _) => {
            let message = format!("{} columns cannot all be called {name}", takes.len());
            return Err(Fault::invalid(message).hint("say which: --as OLD=NEW"));
        }
    };
    let take = takes.iter_mut().find(|take| take.from == from);
    let take = take.ok_or_else(|| Fault::invalid(format!("--as {name}: no column {from} is joined")))?;
    to.clone_into(&mut take.to);
    Ok(())
}

/// A column `label` is the classes' wherever there are any.
fn plain(cells: Cells, classes: &[String]) -> Result<Cells, Fault> {
    if cells.column().name() != LABEL || classes.is_empty() {
        return Ok(cells);
    }
    if cells.column().kind() != ColumnKind::Int {
        return Err(Fault::invalid("the data set has classes, and the column label names them").hint(
            "join class names with --labels FILE, or other values under another name: --as label=NAME",
        ));
    }
    labels(&cells, LabelsAre::Auto, &mut classes.to_vec())
}

fn check_matched(matched: &Matched<'_>, source: &Source<'_>, keys: &[Cow<'_, [u8]>]) -> Result<(), Fault> {
    let list = source.listed.name();
    if matched.rows.is_empty() {
        let (row, sample) = (shown(&source.keys[0]), shown(&keys[0]));
        let message = format!("no row of {list} names a sample: rows are called {row}, samples {sample}");
        return Err(Fault::invalid(message).hint(
            "name the column of keys with --key, or match names without folder and extension with --stem",
        ));
    }
    let (unknown, without) = (matched.unknown.len(), matched.without.len());
    if source.joining.strict && unknown + without > 0 {
        let example = matched.unknown.first().or(matched.without.first()).expect("there is one");
        let message = format!(
            "{unknown} rows of {list} have no sample and {without} samples have no row, {} the first",
            shown(example)
        );
        return Err(Fault::invalid(message).hint("nothing was joined: mend the list, or leave --strict out"));
    }
    Ok(())
}

/// Whether the newest values of the columns are those of these very files.
pub(super) fn is_on_top(head: &Manifest, files: &[FileRef]) -> bool {
    let covers = |later: &FileRef, file: &FileRef| {
        later.columns.iter().any(|column| column != KEY && file.columns.contains(column))
    };
    files.iter().all(|file| {
        let at = head.joined.iter().rposition(|joined| joined.digest == file.digest);
        at.is_some_and(|at| !head.joined[at + 1..].iter().any(|later| covers(later, file)))
    })
}

fn change(source: &Source<'_>, joined: &Joined) -> Change {
    let columns: Vec<_> = joined.columns.iter().map(|(name, _)| name.as_str()).collect();
    let file = source.joining.file.file_name().unwrap_or_default().to_string_lossy();
    let counts = [
        ("matched", joined.matched),
        ("rows_without_sample", joined.unknown.len() as u64),
        ("samples_without_row", joined.without.len() as u64),
        ("new_classes", joined.new_classes.len() as u64),
    ];
    Change {
        verb: "join".to_owned(),
        message: format!("{} of {file}", columns.join(", ")),
        counts: counts
            .into_iter()
            .enumerate()
            .filter(|(at, (_, count))| *at == 0 || *count > 0)
            .map(|(_, (name, count))| (name.to_owned(), count))
            .collect(),
    }
}

fn doubled_row(listed: &Listed, first: usize, second: usize, key: &[u8]) -> Fault {
    let (first, second) = (listed.place(first), listed.place(second));
    let message = format!("{second} is about {}, as {} {} is", shown(key), first.unit, first.number);
    Fault::invalid(message).hint(
        "keep one of the two; several label sets of a sample are joined one after the other, with --as NAME",
    )
}

fn doubled_stem(listed: &Listed, row: usize, two: [&[u8]; 2]) -> Fault {
    let message = format!("{} may be about {} or {}", listed.place(row), shown(two[0]), shown(two[1]));
    Fault::invalid(message).hint("write whole paths into the list, and leave --stem out")
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
