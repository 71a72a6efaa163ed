//! Rows that pandas, DuckDB or Spark wrote -> samples of a new commit.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::called::{key_column, row_keys};
use super::join::is_on_top;
use super::labels::{LabelsAre, labels};
use super::view::KEY;
use super::{Change, Dataset, FileRef, Manifest, fault};
use crate::catalog::gaps::{List, Listed, Reading};
use crate::catalog::relabel::LABEL;
use crate::catalog::snapshot::OFFSET_COLUMN;
use crate::catalog::table::{Cells, Table};
use crate::catalog::{CatalogLimits, ColumnKind};
use crate::error::Fault;

/// What to add.
pub struct Adding<'a> {
    /// CSV, TSV, JSON Lines or Parquet.
    pub files: &'a [PathBuf],
    /// The directory that paths are relative to, or lie in; needed where the data set has none yet.
    pub root: Option<&'a Path>,
    /// The columns to take; all where empty.
    pub only: &'a [String],
    /// What `label` holds.
    pub labels: LabelsAre,
    /// Columns of samples that are known are joined to them.
    pub update: bool,
}

/// What was added.
#[derive(Debug, Clone)]
pub struct Added {
    /// The commit; the newest one where nothing was new.
    pub manifest: Manifest,
    /// Whether a commit was made.
    pub made: bool,
    /// Samples that are new.
    pub added: u64,
    /// Rows of samples that were there.
    pub known: u64,
    /// Of those, the ones whose columns were joined.
    pub updated: u64,
    /// Rows of samples that were removed, which stay so.
    pub removed_before: u64,
    /// Classes that are new.
    pub new_classes: Vec<String>,
    /// Columns without a value in any row of their file.
    pub empty: Vec<String>,
}

/// One file that was read.
struct Part {
    listed: Listed,
    keys: Vec<Vec<u8>>,
    /// By what its rows are called.
    called_by: Vec<String>,
}

impl Dataset {
    /// Adds rows of lists as samples, in one commit. Samples that are known, removed ones too, are not added again.
    ///
    /// # Errors
    /// Invalid: what is wrong with a list, by line; keys of another sort than the data set's; a column of another kind.
    /// What the storage says.
    pub fn add_rows(&self, adding: &Adding<'_>) -> Result<Added, Fault> {
        let head = self.head()?;
        let root = root(adding, &head)?;
        let samples = self.all_samples(&head)?;
        let called_by: Vec<_> = samples.called_by().into_iter().map(str::to_owned).collect();
        if !samples.is_empty() && called_by.is_empty() {
            let message = format!("the samples of {} have neither keys nor paths", self.place());
            return Err(Fault::invalid(message).hint("make the data set anew with a column named key"));
        }
        let parts: Result<Vec<_>, _> =
            adding.files.iter().map(|file| read(file, adding, &head, &root, &called_by)).collect();
        let parts = parts?;
        let mut added = None;
        let manifest = self.commit(|head| {
            let (next, done) = self.added_to(head, adding, &root, &parts)?;
            added = Some(Added { made: next.is_some(), ..done });
            Ok(next)
        })?;
        let added = added.expect("a commit asks at least once");
        Ok(Added { manifest, ..added })
    }

    fn added_to(
        &self,
        head: &Manifest,
        adding: &Adding<'_>,
        root: &str,
        parts: &[Part],
    ) -> Result<(Option<Manifest>, Added), Fault> {
        let samples = self.all_samples(head)?;
        check_called_alike(&samples, &parts[0])?;
        let mut known: HashSet<Vec<u8>> = samples.keys().map(Cow::into_owned).collect();
        let removed = self.keys_of(head.removed.iter())?;
        let mut next = Manifest { root: root.to_owned(), ..head.clone() };
        let mut done = Added {
            manifest: head.clone(),
            made: false,
            added: 0,
            known: 0,
            updated: 0,
            removed_before: 0,
            new_classes: Vec::new(),
            empty: parts.iter().flat_map(|part| part.listed.empty.clone()).collect(),
        };
        for part in parts {
            let rows = sorted_out(part, &mut known, &removed)?;
            done.added += rows.new.len() as u64;
            done.known += rows.known.len() as u64;
            done.removed_before += rows.removed;
            let joined: &[usize] = if adding.update { &rows.known } else { &[] };
            // Classes come in with the rows that are taken, and no others.
            let table = part.table(&[&rows.new, joined].concat(), &mut next, adding.labels)?;
            next.admit_columns(&table)?;
            let (new, known): (Vec<_>, Vec<_>) = (0..table.len()).partition(|&row| row < rows.new.len());
            if !new.is_empty() {
                let (samples, joined) = self.put_samples(&table.gather(&new))?;
                next.samples.push(samples);
                next.joined.extend(joined);
            }
            if !known.is_empty() {
                let files = self.put_known(part, &table.gather(&known), joined)?;
                if !is_on_top(&next, &files) {
                    done.updated += known.len() as u64;
                    next.joined.extend(files);
                }
            }
        }
        if done.added + done.updated == 0 {
            return Ok((None, done));
        }
        done.new_classes = next.classes[head.classes.len()..].to_vec();
        next.change = change(adding, &done);
        Ok((Some(next), done))
    }
}

impl Dataset {
    /// Stores the columns of these rows, whose samples are there.
    fn put_known(&self, part: &Part, table: &Table, rows: &[usize]) -> Result<Vec<FileRef>, Fault> {
        let keys: Vec<_> = rows.iter().map(|&row| part.keys[row].as_slice().into()).collect();
        let called_by = |name: &str| part.called_by.iter().any(|called| called == name);
        let cells: Vec<&Cells> =
            table.columns().iter().filter(|cells| !called_by(cells.column().name())).collect();
        self.put_columns(&keys, &cells)
    }
}

/// Rows of a list by what becomes of them.
struct Rows {
    new: Vec<usize>,
    known: Vec<usize>,
    removed: u64,
}

fn sorted_out(part: &Part, known: &mut HashSet<Vec<u8>>, removed: &HashSet<Vec<u8>>) -> Result<Rows, Fault> {
    let mut rows = Rows { new: Vec::new(), known: Vec::new(), removed: 0 };
    let mut met: HashMap<&[u8], usize> = HashMap::with_capacity(part.keys.len());
    for (row, key) in part.keys.iter().enumerate() {
        if let Some(first) = met.insert(key, row) {
            let (first, second) = (part.listed.place(first), part.listed.place(row));
            let key = String::from_utf8_lossy(key);
            let message = format!("{second} is called {key}, as {} {} is", first.unit, first.number);
            return Err(Fault::invalid(message).hint("keep one of the two, or give them different keys"));
        }
        if removed.contains(key) {
            rows.removed += 1;
        } else if known.contains(key) {
            rows.known.push(row);
        } else {
            rows.new.push(row);
        }
    }
    known.extend(rows.new.iter().map(|&row| part.keys[row].clone()));
    Ok(rows)
}

impl Part {
    /// These rows of it: columns that samples are called by first, with labels of the data set's classes.
    fn table(&self, rows: &[usize], next: &mut Manifest, are: LabelsAre) -> Result<Table, Fault> {
        let own = self.listed.table.gather(rows);
        let first = self.called_by.iter().filter_map(|name| own.column(name));
        let rest = own
            .columns()
            .iter()
            .filter(|cells| !self.called_by.iter().any(|name| name == cells.column().name()));
        let mut columns = Vec::new();
        for cells in first.chain(rest) {
            let names_classes =
                cells.column().name() == LABEL && next.kind_of(LABEL) != Some(ColumnKind::Text);
            let by_class = matches!(cells.column().kind(), ColumnKind::Text | ColumnKind::Int);
            columns.push(if names_classes && by_class {
                labels(cells, are, &mut next.classes)?
            } else {
                cells.clone()
            });
        }
        Ok(Table::with_columns(own.len(), columns))
    }
}

/// The directory that the data set's paths resolve beneath.
fn root(adding: &Adding<'_>, head: &Manifest) -> Result<String, Fault> {
    let Some(given) = adding.root else { return Ok(head.root.clone()) };
    let given = std::path::absolute(given).unwrap_or_else(|_| given.to_owned()).display().to_string();
    if head.root.is_empty() || Path::new(&head.root) == Path::new(&given) {
        return Ok(given);
    }
    Err(Fault::invalid(format!("the data set's paths lie beneath {}, not {given}", head.root))
        .hint("leave --root out, and write paths that are relative to that, or lie in it"))
}

fn read(
    file: &Path,
    adding: &Adding<'_>,
    head: &Manifest,
    root: &str,
    called_by: &[String],
) -> Result<Part, Fault> {
    let limits = CatalogLimits::default();
    let list = List::new(file, &limits).map_err(|error| fault(&error))?;
    let header = list.header().map_err(|error| fault(&error))?;
    let called_by = match called_by {
        [] => own_key(&header, list.name())?,
        names => names.to_vec(),
    };
    check_key_columns(&header, &called_by, list.name())?;
    let mut columns = called_by.clone();
    let others = if adding.only.is_empty() { &header[..] } else { adding.only };
    columns.extend(others.iter().filter(|name| !called_by.contains(name)).cloned());
    let kind = |name: &str, seen: ColumnKind| match head.kind_of(name) {
        _ if name == LABEL && adding.labels == LabelsAre::Names && list.is_untyped() => ColumnKind::Text,
        Some(ColumnKind::Int) if name == LABEL => seen,
        Some(known) => known,
        None if name == KEY && list.is_untyped() => ColumnKind::Text,
        None => seen,
    };
    let root = Some(Path::new(root)).filter(|root| !root.as_os_str().is_empty());
    let listed = list.read(&Reading { root, columns: &columns, kind: &kind, whole: &called_by });
    let listed = listed.map_err(|error| fault(&error))?;
    let keys = row_keys(&listed, &called_by[0])?;
    Ok(Part { listed, keys, called_by })
}

/// By what a list's rows are called, where the data set is empty.
fn own_key(header: &[String], list: &str) -> Result<Vec<String>, Fault> {
    let key = key_column(header, list)?;
    let offset = header.iter().find(|name| *name == OFFSET_COLUMN && key != KEY);
    Ok([key].into_iter().chain(offset.map(String::as_str)).map(str::to_owned).collect())
}

/// A column that would change what earlier samples are called may not come in later.
fn check_key_columns(header: &[String], called_by: &[String], list: &str) -> Result<(), Fault> {
    let has = |name: &str| header.iter().any(|column| column == name);
    if let Some(missing) = called_by.iter().find(|name| !has(name)) {
        let message =
            format!("samples are called by {missing}, which {list} lacks; it has {}", header.join(", "));
        return Err(Fault::invalid(message).hint(format!("rename its column of keys or paths to {missing}")));
    }
    let by_path = called_by[0] != KEY;
    let new = [KEY, OFFSET_COLUMN]
        .into_iter()
        .find(|name| by_path && has(name) && !called_by.iter().any(|called| called == name));
    match new {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "samples are called by {}, and a column {name} of {list} would rename them",
                called_by[0]
            );
            Err(Fault::invalid(message)
                .hint(format!("rename its column {name}, or leave it out with --only")))
        }
    }
}

/// Another writer may have made the first commit since the lists were read.
fn check_called_alike(samples: &Table, part: &Part) -> Result<(), Fault> {
    let theirs = samples.called_by();
    if samples.is_empty() || theirs == part.called_by {
        return Ok(());
    }
    Err(Fault::invalid(format!("another writer has just added samples called by {}", theirs.join(", ")))
        .hint("look at what came in with forebay dataset show, and add again"))
}

fn change(adding: &Adding<'_>, done: &Added) -> Change {
    let names = adding.files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy());
    let mut message = names.clone().take(3).collect::<Vec<_>>().join(", ");
    if adding.files.len() > 3 {
        let _ = write!(message, " and {} more", adding.files.len() - 3);
    }
    let counts = [
        ("added", done.added),
        ("known", done.known),
        ("updated", done.updated),
        ("removed_before", done.removed_before),
        ("new_classes", done.new_classes.len() as u64),
    ];
    let counts = counts
        .into_iter()
        .enumerate()
        .filter(|(at, (_, count))| *at == 0 || *count > 0)
        .map(|(_, (name, count))| (name.to_owned(), count))
        .collect();
    Change { verb: "add".to_owned(), message, counts }
}
