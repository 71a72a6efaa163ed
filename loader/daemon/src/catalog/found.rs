//! What a source has: the samples that a data set is to be grown by, before it is known which of them are new.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bytes::ByteStrings;
use super::column::{Column, ColumnKind, ColumnSpec, Values};
use super::error::CatalogError;
use super::fault::{CellFault, Unit};
use super::folder::{Extensions, class_folders, columns, empty_classes, find_classes};
use super::frames;
use super::limits::CatalogLimits;
use super::list::Naming;
use super::paths::PathRule;
use super::relabel::LABEL;
use super::scan::{Journal, Looking, scan};
use super::shards::{Shards, root_of};
use super::table::Table;
use super::{Format, SourceSpec, stamp};
use crate::storage::Root;

/// How samples are looked for.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What sample files' names end in, any case; `IMG_EXTENSIONS` for a folder and anything for a list of names where
    /// absent.
    pub extensions: Option<Vec<String>>,
    /// Whether the first folder of a path is the sample's class.
    pub classes: bool,
    /// Whether a sample is a folder of frames.
    pub frames: bool,
    /// The column of the paths.
    pub column: String,
    /// Whether each file's size and time of the last write are asked for: columns `size_bytes` and `mtime_ns`.
    pub stat: bool,
    /// What it may cost.
    pub limits: CatalogLimits,
}

/// Samples of a source, in its order.
#[derive(Debug)]
pub struct Found {
    pub(super) table: Table,
    /// Class names by label, sorted; a class without a sample may be among them.
    pub(super) classes: Vec<String>,
    pub(super) root: Base,
    /// Whether it is everything that there is, so that what is not in it has gone.
    pub(super) whole: bool,
    /// Class folders without a sample.
    pub empty_classes: Vec<String>,
}

/// Where the samples of a source lie.
#[derive(Debug)]
pub(super) enum Base {
    /// In a directory that can be looked into.
    Folder(Arc<Root>),
    /// Beneath the prefix of a bucket, as `s3://bucket/prefix`.
    Bucket(PathBuf),
}

impl Found {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The directory, or the prefix of a bucket, that paths resolve beneath.
    pub fn root(&self) -> &Path {
        match &self.root {
            Base::Folder(root) => root.path(),
            Base::Bucket(address) => address,
        }
    }

    /// Memory of all columns.
    pub fn heap_bytes(&self) -> usize {
        self.table.columns().iter().map(|cells| cells.column().heap_bytes()).sum()
    }
}

/// Lists a folder to the bottom.
///
/// * `found`: counts samples while they are found, for whoever watches.
/// * `journal`: what a listing that was stopped has read is not read again, and what this one reads is noted.
///
/// # Errors
/// [`CatalogError`]: a folder that can't be listed, links that leave it, no folder where classes are wanted.
pub fn find_in_folder(
    root: &Path,
    finding: &Finding,
    found: &AtomicU64,
    journal: Option<&Journal>,
) -> Result<Found, CatalogError> {
    let root = Root::open(root)?;
    let extensions = Extensions::new(finding.extensions.as_deref());
    if finding.frames {
        return clips(root, &extensions, finding, found);
    }
    let looking = Looking {
        root: &root,
        keep: &|name| extensions.fit(name),
        stat: finding.stat,
        earlier: None,
        // Sizes may change where no directory does.
        journal: journal.filter(|_| !finding.stat),
        now_ns: stamp::now_ns(),
        found,
        limits: &finding.limits,
    };
    let classes = if finding.classes { find_classes(&root)? } else { Vec::new() };
    let folders = if finding.classes { class_folders(&classes) } else { vec![(0, Vec::new())] };
    let listings = scan(&looking, folders)?;
    let empty = if finding.classes { empty_classes(&classes, &listings) } else { Vec::new() };
    let columns = columns(&finding.column, listings, None, finding.classes);
    if columns[0].len() == 0 {
        let root = root.path().display().to_string();
        return Err(CatalogError::NoSamples { root, extensions: extensions.0 });
    }
    let (table, root) = (Table::of_columns(columns), Base::Folder(root));
    Ok(Found { table, classes, root, whole: true, empty_classes: empty })
}

/// Lists folders of frames.
fn clips(
    root: Arc<Root>,
    extensions: &Extensions,
    finding: &Finding,
    found: &AtomicU64,
) -> Result<Found, CatalogError> {
    let looking =
        frames::Looking { root: &root, extensions, classes: finding.classes, found, limits: &finding.limits };
    let frames::Clips { columns, classes, empty_classes } = frames::find(&looking, &finding.column)?;
    if columns[0].len() == 0 {
        let root = root.path().display().to_string();
        return Err(CatalogError::NoSamples { root, extensions: extensions.0.clone() });
    }
    let (table, root) = (Table::of_columns(columns), Base::Folder(root));
    Ok(Found { table, classes, root, whole: true, empty_classes })
}

/// Takes a path a line, relative to the root or beneath it, and looks at none of them.
///
/// * `file`: what the lines are called in errors.
///
/// # Errors
/// [`CatalogError`]: a path that leaves the root, or has no folder where classes are wanted; no line at all.
pub fn find_by_names(
    root: &Path,
    (file, mut lines): (&str, impl BufRead),
    finding: &Finding,
    found: &AtomicU64,
) -> Result<Found, CatalogError> {
    let opened = Root::open(root)?;
    let naming = Naming { source: file.to_owned(), unit: Unit::Line };
    let (rule, extensions) =
        (PathRule::new(root), finding.extensions.as_deref().map(|given| Extensions::new(Some(given))));
    let (mut paths, mut labels, mut classes) = (ByteStrings::default(), Vec::new(), Classes::default());
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        let read =
            read.map_err(|source| CatalogError::Io { action: "read", path: file.to_owned(), source })?;
        if read == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() || extensions.as_ref().is_some_and(|extensions| !extensions.fit(text)) {
            continue;
        }
        let cell = |fault| naming.cell(number, &finding.column, fault);
        let path = rule.relative(text).map_err(cell)?;
        if finding.classes {
            labels.push(classes.label(&path).map_err(cell)?);
        }
        paths.push(&path);
        found.fetch_add(1, Ordering::Relaxed);
        if paths.len() as u64 > finding.limits.rows_max {
            return Err(CatalogError::TooManyRows {
                file: file.to_owned(),
                rows_max: finding.limits.rows_max,
            });
        }
    }
    if paths.len() == 0 {
        return Err(CatalogError::Empty { file: file.to_owned() });
    }
    Ok(listed(paths, classes, labels, finding, Base::Folder(opened)))
}

/// Takes the samples among files of a bucket, by their names beneath `address`. Files in no folder are of no class, and
/// no samples where classes are wanted.
///
/// # Errors
/// [`CatalogError`]: none of them is a sample; a class whose name is not UTF-8.
pub fn find_among(address: &str, names: &[Vec<u8>], finding: &Finding) -> Result<Found, CatalogError> {
    let extensions = Extensions::new(finding.extensions.as_deref());
    let (mut paths, mut labels, mut classes) = (ByteStrings::default(), Vec::new(), Classes::default());
    for name in names.iter().filter(|name| extensions.fit(name)) {
        if finding.classes {
            match classes.label(name) {
                Ok(label) => labels.push(label),
                Err(CellFault::NoClass { .. }) => continue,
                Err(_) => {
                    return Err(CatalogError::ClassName { path: String::from_utf8_lossy(name).into_owned() });
                }
            }
        }
        paths.push(name);
    }
    if paths.len() == 0 {
        return Err(CatalogError::NoSamples { root: address.to_owned(), extensions: extensions.0 });
    }
    Ok(listed(paths, classes, labels, finding, Base::Bucket(PathBuf::from(address))))
}

/// Samples that were told by their names.
fn listed(
    mut paths: ByteStrings,
    classes: Classes,
    mut labels: Vec<i64>,
    finding: &Finding,
    root: Base,
) -> Found {
    paths.shrink();
    let column = |name: &str, kind, values| Column { name: name.to_owned(), kind, values };
    let mut columns = vec![column(&finding.column, ColumnKind::Path, Values::Bytes(paths))];
    let names = classes.sorted(&mut labels);
    if finding.classes {
        columns.push(column(LABEL, ColumnKind::Int, Values::Ints(labels)));
    }
    let table = Table::of_columns(columns);
    Found { table, classes: names, root, whole: false, empty_classes: Vec::new() }
}

/// Takes a list with columns: CSV, JSON lines or Parquet.
///
/// # Errors
/// [`CatalogError`], as [`open`](super::open); a list whose samples have neither a key nor a path.
pub fn find_in_list(
    file: &Path,
    root: &Path,
    format: Option<Format>,
    columns: Vec<ColumnSpec>,
    limits: &CatalogLimits,
) -> Result<Found, CatalogError> {
    let spec = SourceSpec::List { file: file.to_owned(), root: root.to_owned(), format, columns };
    let snapshot = super::open(&spec, limits)?;
    let table = Table::of(&snapshot);
    if table.called_by().is_empty() {
        return Err(CatalogError::NoKey { file: file.display().to_string() });
    }
    let root = Root::open(root)?;
    let root = Base::Folder(root);
    Ok(Found { table, classes: Vec::new(), root, whole: false, empty_classes: Vec::new() })
}

/// Takes the samples in shards: [`SourceSpec::Shards`](super::SourceSpec::Shards) has what stands for what.
///
/// # Errors
/// [`CatalogError`], as [`open`](super::open).
pub fn find_in_shards(pattern: &str, limits: &CatalogLimits) -> Result<Found, CatalogError> {
    let patterns = vec![pattern.to_owned()];
    let shards = Shards { root: root_of(&patterns)?, patterns, format: None, columns: None };
    let root = Base::Folder(Root::open(&shards.root)?);
    let snapshot = super::open(&SourceSpec::Shards(shards), limits)?;
    let classes = snapshot.class_map().map_or_else(Vec::new, |map| map.names().to_vec());
    Ok(Found { table: Table::of(&snapshot), classes, root, whole: false, empty_classes: Vec::new() })
}

/// Classes in the order in which they came, until they are sorted.
#[derive(Default)]
struct Classes {
    labels: std::collections::HashMap<String, i64>,
}

impl Classes {
    /// The label of a path's first folder.
    fn label(&mut self, path: &[u8]) -> Result<i64, CellFault> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let end = path.iter().position(|&byte| byte == b'/');
        let end = end.ok_or_else(|| CellFault::NoClass { path: shown() })?;
        let class = str::from_utf8(&path[..end]).map_err(|_| CellFault::NotUtf8)?;
        // No class is copied that is known.
        if let Some(&label) = self.labels.get(class) {
            return Ok(label);
        }
        let next = self.labels.len() as i64;
        self.labels.insert(class.to_owned(), next);
        Ok(next)
    }

    /// All names, sorted, as a folder's are; `labels` follow.
    fn sorted(self, labels: &mut [i64]) -> Vec<String> {
        let mut names: Vec<_> = self.labels.into_iter().collect();
        names.sort_unstable();
        let mut now = vec![0; names.len()];
        for (label, (_, came)) in names.iter().enumerate() {
            now[*came as usize] = label as i64;
        }
        labels.iter_mut().for_each(|label| *label = now[*label as usize]);
        names.into_iter().map(|(name, _)| name).collect()
    }
}
