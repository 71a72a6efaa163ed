//! Samples that were found -> a commit that adds those of them that never came in, and buries those that have gone.

mod compare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use super::{Change, Dataset, FileRef, KEY, Manifest};
use crate::catalog::bytes::ByteStrings;
use crate::catalog::class_map::ClassMap;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::found::Found;
use crate::catalog::relabel::LABEL;
use crate::catalog::snapshot::Snapshot;
use crate::catalog::table::Table;
use crate::error::Fault;
use compare::Compared;

/// Samples of one stored file: what a reader must hold at once, and what a writer that was stopped need not store again.
const FILE_ROWS: usize = 4 << 20;

/// The reason of a tombstone for a file that is no longer there.
const GONE: &str = "gone";

/// Keys of vanished files that are told by name.
const NAMED: usize = 20;

/// How a data set is grown.
#[derive(Debug, Clone, Default)]
pub struct Growth {
    /// The source, for the log.
    pub message: String,
    /// Whether samples whose files have gone are removed.
    pub prune: bool,
    /// Whether the data may have moved: the source's root becomes the data set's.
    pub new_root: bool,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Grown {
    /// The newest commit: the one that was made, or the one before where there was nothing to do.
    pub manifest: Manifest,
    /// Whether a commit was made.
    pub committed: bool,
    /// How many of the source's samples are what.
    pub counts: Counts,
    /// Some samples whose files have gone, by key.
    pub gone: Vec<String>,
    /// Classes that came in.
    pub new_classes: Vec<String>,
}

/// Samples by what became of them; the first four are of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Different samples in the source.
    pub found: u64,
    /// Of them, those that came in now.
    pub added: u64,
    /// Of them, those that had come in before.
    pub known: u64,
    /// Of them, those that were removed from the data set, and stay so.
    pub removed_before: u64,
    /// Lines of the source that name a sample again.
    pub repeated: u64,
    /// Samples of the data set whose files are no longer there; absent where the source is a list, which does not tell.
    pub missing: Option<u64>,
    /// Of them, those that were removed now.
    pub pruned: u64,
}

impl Dataset {
    /// Adds the samples that never came in, after those that are there. Classes go on from those that are there: a new
    /// one gets the next label, and no label changes. The samples come in with one commit, or not at all.
    ///
    /// # Errors
    /// Invalid: another root, columns that do not fit, a list that is to be pruned by. Else what the storage says.
    pub fn grow(&self, found: &Found, growth: &Growth) -> Result<Grown, Fault> {
        if growth.prune && !found.whole {
            return Err(Fault::invalid("a list does not tell what has gone").hint(
                "index the folder itself with --prune, or name the samples to remove: forebay dataset remove",
            ));
        }
        let mut compared = Compared::new(found)?;
        let (mut counts, mut gone, mut new_classes) = (Counts::default(), Vec::new(), Vec::new());
        let mut committed = false;
        let manifest = self.commit(|head| {
            check_root(self, head, found, growth)?;
            check_called_alike(head, &found.table)?;
            compared.with(self, head)?;
            let missing = compared.gone(&found.root)?;
            counts = compared.counts(missing.as_ref().map(Vec::len));
            gone = missing
                .iter()
                .flatten()
                .take(NAMED)
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .collect();
            let mut next = head.clone();
            next.root = utf8_root(found)?;
            new_classes = self.add(&mut next, found, &compared.new_rows())?;
            let buried = if growth.prune { self.bury(&missing.unwrap_or_default())? } else { None };
            counts.pruned = buried.as_ref().map_or(0, |file| file.rows);
            next.removed.extend(buried);
            next.change = change(growth, &counts);
            committed = head.number == 0 || differs(head, &next);
            Ok(committed.then_some(next))
        })?;
        Ok(Grown { manifest, committed, counts, gone, new_classes })
    }

    /// Stores the new samples, and takes their files, columns and classes in.
    fn add(&self, next: &mut Manifest, found: &Found, rows: &[usize]) -> Result<Vec<String>, Fault> {
        let (labels, new_classes) = labels_of(found, rows, &next.classes);
        next.classes.extend(new_classes.iter().cloned());
        if let (None, false) = (&labels, next.classes.is_empty()) {
            check_labels(&found.table, rows, next.classes.len())?;
        }
        for rows in rows.chunks(FILE_ROWS) {
            let table = found.table.gather(rows);
            next.admit_columns(&table)?;
            next.samples.push(self.put(&stored(table, labels.as_deref(), &next.classes)?)?);
        }
        Ok(new_classes)
    }

    /// Stores the tombstones of samples whose files have gone.
    fn bury(&self, keys: &[Vec<u8>]) -> Result<Option<FileRef>, Fault> {
        if keys.is_empty() {
            return Ok(None);
        }
        let texts = |name: &str, kind, of: &mut dyn Iterator<Item = &[u8]>| {
            let mut strings = ByteStrings::default();
            of.for_each(|text| strings.push(text));
            Column { name: name.to_owned(), kind, values: Values::Bytes(strings) }
        };
        // A file's name may be no UTF-8: a path may be anything.
        let columns = vec![
            texts(KEY, ColumnKind::Path, &mut keys.iter().map(Vec::as_slice)),
            texts("reason", ColumnKind::Text, &mut keys.iter().map(|_| GONE.as_bytes())),
        ];
        self.put(&assembled(columns, None)?).map(Some)
    }
}

fn utf8_root(found: &Found) -> Result<String, Fault> {
    let root = found.root().to_str().map(str::to_owned);
    root.ok_or_else(|| {
        Fault::invalid(format!("the path {} is not UTF-8", found.root().display())).hint("rename it")
    })
}

fn check_root(dataset: &Dataset, head: &Manifest, found: &Found, growth: &Growth) -> Result<(), Fault> {
    let root = found.root();
    if head.root.is_empty() || growth.new_root || root == std::path::Path::new(&head.root) {
        return Ok(());
    }
    let message =
        format!("the samples of {} lie in {}, not in {}", dataset.place(), head.root, root.display());
    Err(Fault::invalid(message).hint(format!(
        "index a folder that holds both, make another data set with --dataset, or add --new-root where the same data \
         has moved to {}",
        root.display()
    )))
}

/// Keys of one kind are told apart; a path beneath `image` and one beneath `audio` are not.
fn check_called_alike(head: &Manifest, table: &Table) -> Result<(), Fault> {
    let Some(first) = head.samples.first() else { return Ok(()) };
    let ours: Vec<_> = table.called_by().into_iter().map(str::to_owned).collect();
    let theirs = head.called_by(first);
    if theirs.iter().eq(ours.iter()) {
        return Ok(());
    }
    let words = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(" and ") };
    let message = format!(
        "samples of the data set are called by {}, those of the source by {}",
        words(&theirs),
        words(&ours)
    );
    let hint = match theirs.first() {
        Some(column) => format!(
            "give the column its name ({column}; for a folder: --column {column}), or make another data set with --dataset"
        ),
        None => "make another data set with --dataset".to_owned(),
    };
    Err(Fault::invalid(message).hint(hint))
}

/// The label in the data set of each class of the source, and the classes that it does not have yet: those with a sample
/// among the new ones, in the source's order.
fn labels_of(found: &Found, rows: &[usize], known: &[String]) -> (Option<Vec<i64>>, Vec<String>) {
    if found.classes.is_empty() {
        return (None, Vec::new());
    }
    let column = found.table.column(LABEL).expect("a source with classes has labels").column();
    let mut filled = vec![false; found.classes.len()];
    rows.iter().for_each(|&row| filled[column.int(row as u64) as usize] = true);
    let labels: HashMap<_, _> = known.iter().enumerate().map(|(label, name)| (name, label as i64)).collect();
    let mut new = Vec::new();
    let own = found.classes.iter().zip(filled).map(|(name, filled)| match labels.get(name) {
        Some(&label) => label,
        None if filled => {
            new.push(name.clone());
            (known.len() + new.len() - 1) as i64
        }
        None => -1,
    });
    (Some(own.collect()), new)
}

/// Labels of a list are taken as they stand, so each must be a class that there is.
fn check_labels(table: &Table, rows: &[usize], classes: usize) -> Result<(), Fault> {
    let Some(cells) = table.column(LABEL).filter(|cells| cells.column().kind() == ColumnKind::Int) else {
        return Ok(());
    };
    let out = |row: &&usize| !(0..classes as i64).contains(&cells.column().int(**row as u64));
    let Some(&row) = rows.iter().find(out) else { return Ok(()) };
    let message =
        format!("label {} where the data set has {classes} classes", cells.column().int(row as u64));
    Err(Fault::invalid(message).object(String::from_utf8_lossy(&table.key(row)).into_owned()).hint(
        "give the column another name, or number the classes as the data set does: forebay dataset show",
    ))
}

fn stored(table: Table, labels: Option<&[i64]>, classes: &[String]) -> Result<Snapshot, Fault> {
    let (mut columns, _gaps) = table.into_whole_columns();
    if let Some(labels) = labels {
        for column in &mut columns {
            if let (LABEL, Values::Ints(own)) = (column.name.as_str(), &mut column.values) {
                own.iter_mut().for_each(|label| *label = labels[*label as usize]);
            }
        }
    }
    assembled(columns, labels.map(|_| ClassMap::new(classes.to_vec())))
}

fn assembled(columns: Vec<Column>, classes: Option<ClassMap>) -> Result<Snapshot, Fault> {
    let unique = |_, _, _: &[u8]| unreachable!("each key was taken once");
    Snapshot::assemble(columns, classes, None, unique).map_err(|error| super::fault(&error))
}

fn change(growth: &Growth, counts: &Counts) -> Change {
    let mut told: BTreeMap<_, _> = [
        ("found", counts.found),
        ("added", counts.added),
        ("known", counts.known),
        ("removed_before", counts.removed_before),
        ("pruned", counts.pruned),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    told.extend(counts.missing.map(|missing| ("missing".to_owned(), missing)));
    Change { verb: "index".to_owned(), message: growth.message.clone(), counts: told }
}

/// Whether a commit would change anything but its own description.
fn differs(head: &Manifest, next: &Manifest) -> bool {
    *head != Manifest { change: head.change.clone(), ..next.clone() }
}
