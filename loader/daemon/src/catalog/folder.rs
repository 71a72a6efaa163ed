//! A folder of class folders, in the order of torchvision's `ImageFolder`.
//!
//! As torchvision (`find_classes` and `make_dataset` of `torchvision.datasets.folder`): every folder in the root is a
//! class, hidden ones and links to folders too; classes sort by name; inside a class, folders sort by path and files by
//! name, at any depth; a class without a sample is an error. Files beside the class folders are not samples.
//!
//! Otherwise than torchvision: a folder that can't be read is an error (`os.walk` skips it in silence), so is a link
//! that leaves the root or leads back to a folder it lies in (torchvision would list it forty times), and so is a
//! class name that is not UTF-8.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::bytes::ByteStrings;
use super::class_map::ClassMap;
use super::column::{Column, ColumnKind, Values};
use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::relabel::LABEL;
use super::scan::{Earlier, Entry, Listing, Looking, Names, entries, is_settled, open_dir, scan};
use super::snapshot::Snapshot;
use super::stamp::{self, Stamp};
use crate::storage::Root;

/// torchvision's `IMG_EXTENSIONS`.
pub const IMG_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// The column of a folder's paths.
pub(super) const IMAGE: &str = "image";

pub(super) fn open(
    root: &Path,
    extensions: Option<&[String]>,
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let root = Root::open(root)?;
    let listing = list_classes(&root, &Extensions::new(extensions), limits, None, stamp::now_ns())?;
    listing.snapshot(root, None)
}

/// A folder of class folders, listed.
pub(super) struct ClassFolder {
    pub(super) classes: Vec<String>,
    pub(super) listings: Vec<Listing>,
    /// The folder itself.
    pub(super) stamp: Stamp,
    pub(super) settled: bool,
}

/// What was known of a folder when it was listed before.
pub(super) struct Known<'a> {
    pub(super) classes: &'a [String],
    pub(super) stamp: Stamp,
    pub(super) settled: bool,
    pub(super) dirs: &'a Earlier,
}

/// Lists a folder of class folders; every class has a sample.
pub(super) fn list_classes(
    root: &Arc<Root>,
    extensions: &Extensions,
    limits: &CatalogLimits,
    known: Option<&Known<'_>>,
    now_ns: i64,
) -> Result<ClassFolder, CatalogError> {
    let opened = open_dir(root, b"")?;
    let same = known.filter(|known| known.settled && known.stamp == opened.stamp);
    let (classes, settled) = match same {
        Some(known) => (known.classes.to_vec(), true),
        None => (find_classes(root)?, is_settled(&opened, now_ns)),
    };
    let looking = Looking {
        root,
        keep: &|name| extensions.fit(name),
        stat: false,
        earlier: known.map(|known| known.dirs),
        journal: None,
        now_ns,
        found: &AtomicU64::new(0),
        limits,
    };
    let listings = scan(&looking, class_folders(&classes))?;
    let empty = empty_classes(&classes, &listings);
    if !empty.is_empty() {
        return Err(CatalogError::EmptyClasses { classes: empty, extensions: extensions.0.clone() });
    }
    Ok(ClassFolder { classes, listings, stamp: opened.stamp, settled })
}

impl ClassFolder {
    /// The samples; `kept` holds the paths of an earlier listing's rows.
    pub(super) fn snapshot(self, root: Arc<Root>, kept: Option<&Column>) -> Result<Snapshot, CatalogError> {
        let columns = columns(IMAGE, self.listings, kept, true);
        let unique = |_, _, _: &[u8]| unreachable!("a directory holds each name once");
        Snapshot::assemble(columns, Some(ClassMap::new(self.classes)), Some(root), unique)
    }
}

/// What the names of sample files end in, in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extensions(pub(super) Vec<String>);

impl Extensions {
    /// [`IMG_EXTENSIONS`] where none are given.
    pub(super) fn new(given: Option<&[String]>) -> Self {
        Self(given.map_or_else(default_extensions, |given| given.iter().map(|ext| suffix(ext)).collect()))
    }

    pub(super) fn fit(&self, name: &[u8]) -> bool {
        self.0.iter().any(|extension| ends_with_ignoring_case(name, extension))
    }
}

fn default_extensions() -> Vec<String> {
    IMG_EXTENSIONS.iter().map(|&extension| extension.to_owned()).collect()
}

/// `JPG`, `.jpg` and `jpg` mean the same.
fn suffix(extension: &str) -> String {
    format!(".{}", extension.trim_start_matches('.').to_lowercase())
}

fn ends_with_ignoring_case(name: &[u8], extension: &str) -> bool {
    let start = name.len().checked_sub(extension.len());
    start.is_some_and(|start| name[start..].eq_ignore_ascii_case(extension.as_bytes()))
}

/// The names of the folders in the root, sorted.
pub(super) fn find_classes(root: &Arc<Root>) -> Result<Vec<String>, CatalogError> {
    let mut classes = Vec::new();
    let opened = open_dir(root, b"")?;
    entries(root, b"", &opened.fd, &mut |name, entry| {
        if entry == Entry::Folder {
            let not_utf8 = |_| CatalogError::ClassName { path: root.display(name) };
            classes.push(String::from_utf8(name.to_vec()).map_err(not_utf8)?);
        }
        Ok(())
    })?;
    if classes.is_empty() {
        return Err(CatalogError::NoClasses { root: root.path().display().to_string() });
    }
    classes.sort_unstable();
    Ok(classes)
}

/// Where the samples of each class begin.
pub(super) fn class_folders(classes: &[String]) -> Vec<(usize, Vec<u8>)> {
    classes.iter().enumerate().map(|(class, name)| (class, name.as_bytes().to_vec())).collect()
}

/// The classes without a sample.
pub(super) fn empty_classes(classes: &[String], listings: &[Listing]) -> Vec<String> {
    let mut filled = vec![false; classes.len()];
    for listing in listings {
        filled[listing.class] |= listing.names.len() > 0;
    }
    let empty = classes.iter().zip(filled).filter(|(_, filled)| !filled);
    empty.map(|(class, _)| class.clone()).collect()
}

/// Joins the listings, each given up as soon as it is copied: paths, labels where they are wanted, and size and time
/// where they were asked for.
///
/// * `kept`: the paths of the earlier listing whose rows are kept.
pub(super) fn columns(
    path: &str,
    listings: Vec<Listing>,
    kept: Option<&Column>,
    labels: bool,
) -> Vec<Column> {
    let rows = listings.iter().map(|listing| listing.names.len()).sum();
    let bytes = listings.iter().map(|listing| path_bytes(listing, kept)).sum();
    let mut paths = ByteStrings::with_capacity(rows, bytes);
    let mut classes = Vec::with_capacity(if labels { rows } else { 0 });
    let (mut sizes, mut times) = (Vec::new(), Vec::new());
    for Listing { class, dir, names, .. } in listings {
        if labels {
            classes.extend(std::iter::repeat_n(class as i64, names.len()));
        }
        match names {
            Names::Kept(rows) => push_kept(&mut paths, kept, rows),
            Names::Listed { names, order, stats } => {
                let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
                for &name in &order {
                    paths.push_joined(&[&dir, slash, names.get(name as usize)]);
                }
                sizes.extend(order.iter().filter_map(|&name| Some(stats.get(name as usize)?.0)));
                times.extend(order.iter().filter_map(|&name| Some(stats.get(name as usize)?.1)));
            }
        }
    }
    let ints = |name: &str, ints| Column {
        name: name.to_owned(),
        kind: ColumnKind::Int,
        values: Values::Ints(ints),
    };
    let mut columns =
        vec![Column { name: path.to_owned(), kind: ColumnKind::Path, values: Values::Bytes(paths) }];
    columns.extend(labels.then(|| ints(LABEL, classes)));
    if !sizes.is_empty() {
        columns.extend([ints("size_bytes", sizes), ints("mtime_ns", times)]);
    }
    columns
}

fn path_bytes(listing: &Listing, kept: Option<&Column>) -> usize {
    match &listing.names {
        Names::Listed { names, .. } => names.parts().0.len() + names.len() * (listing.dir.len() + 1),
        Names::Kept(rows) => kept.map_or(0, |kept| rows.clone().map(|row| kept.path(row as u64).len()).sum()),
    }
}

fn push_kept(paths: &mut ByteStrings, kept: Option<&Column>, rows: Range<usize>) {
    let kept = kept.expect("rows are kept of an earlier listing alone");
    rows.for_each(|row| paths.push(kept.path(row as u64)));
}
