//! A folder of class folders, in the order of torchvision's `ImageFolder`.
//!
//! As torchvision (`find_classes` and `make_dataset` of `torchvision.datasets.folder`): every folder in the root is a
//! class, hidden ones and links to folders too; classes sort by name; inside a class, folders sort by path and files by
//! name, at any depth; a class without a sample is an error. Files beside the class folders are not samples.
//!
//! Otherwise than torchvision: a folder that can't be read is an error (`os.walk` skips it in silence), so is a link
//! that leaves the root or leads back to a folder it lies in (torchvision would list it forty times), and so is a
//! class name that is not UTF-8.

use std::path::Path;
use std::sync::Arc;

use super::bytes::ByteStrings;
use super::class_map::ClassMap;
use super::column::{Column, ColumnKind, Values};
use super::error::CatalogError;
use super::limits::CatalogLimits;
use super::scan::{Entry, Listing, entries, scan};
use super::snapshot::Snapshot;
use crate::storage::Root;

/// torchvision's `IMG_EXTENSIONS`.
pub const IMG_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

pub(super) fn open(
    root: &Path,
    extensions: Option<&[String]>,
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let root = Root::open(root)?;
    let extensions =
        extensions.map_or_else(default_extensions, |given| given.iter().map(|ext| suffix(ext)).collect());
    let classes = find_classes(&root)?;
    let keep = |name: &[u8]| extensions.iter().any(|extension| ends_with_ignoring_case(name, extension));
    let listings = scan(&root, &classes, &keep, limits)?;
    check_filled(&classes, &listings, extensions)?;
    let columns = columns(listings);
    let unique = |_, _, _: &[u8]| unreachable!("a directory holds each name once");
    Snapshot::assemble(columns, Some(ClassMap::new(classes)), Some(root), unique)
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

fn find_classes(root: &Arc<Root>) -> Result<Vec<String>, CatalogError> {
    let mut classes = Vec::new();
    entries(root, b".", &mut |name, entry| {
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

fn check_filled(
    classes: &[String],
    listings: &[Listing],
    extensions: Vec<String>,
) -> Result<(), CatalogError> {
    let mut filled = vec![false; classes.len()];
    for listing in listings {
        filled[listing.class] |= listing.names.len() > 0;
    }
    let empty = classes.iter().zip(filled).filter(|(_, filled)| !filled);
    let classes: Vec<_> = empty.map(|(class, _)| class.clone()).collect();
    if classes.is_empty() { Ok(()) } else { Err(CatalogError::EmptyClasses { classes, extensions }) }
}

/// Joins the listings, each given up as soon as it is copied.
fn columns(listings: Vec<Listing>) -> Vec<Column> {
    let rows = listings.iter().map(|listing| listing.names.len()).sum();
    let path_bytes =
        |listing: &Listing| listing.names.parts().0.len() + listing.names.len() * (listing.dir.len() + 1);
    let mut paths = ByteStrings::with_capacity(rows, listings.iter().map(path_bytes).sum());
    let mut labels = Vec::with_capacity(rows);
    for Listing { class, dir, names, order } in listings {
        for &name in &order {
            paths.push_joined(&[&dir, b"/", names.get(name as usize)]);
            labels.push(class as i64);
        }
    }
    vec![
        Column { name: "image".to_owned(), kind: ColumnKind::Path, values: Values::Bytes(paths) },
        Column { name: "label".to_owned(), kind: ColumnKind::Int, values: Values::Ints(labels) },
    ]
}
