//! Whole sources: what opens, what it holds, and what each wrong one is called.

mod figures;
mod folder;
mod identity;
mod lists;
mod parquet;
mod rubbish;
mod stored;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A directory with empty files at these paths; a path that ends in `/` is a directory.
fn dir_of(paths: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        let at = dir.path().join(path);
        let is_dir = path.ends_with('/');
        fs::create_dir_all(if is_dir { &at } else { at.parent().unwrap() }).unwrap();
        if !is_dir {
            fs::write(at, "").unwrap();
        }
    }
    dir
}

fn open_folder(root: &Path) -> Result<Snapshot, CatalogError> {
    open(&SourceSpec::Folder { root: root.to_owned(), extensions: None }, &CatalogLimits::default())
}

fn spec(name: &str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name: name.to_owned(), kind }
}

/// Opens a list of this text under this name; it lies in its own root.
fn open_list(name: &str, text: impl AsRef<[u8]>, columns: &[ColumnSpec]) -> Result<Snapshot, CatalogError> {
    open_list_within(name, text, columns, &CatalogLimits::default())
}

fn open_list_within(
    name: &str,
    text: impl AsRef<[u8]>,
    columns: &[ColumnSpec],
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    open_list_at(dir.path(), name, columns, limits)
}

fn open_list_at(
    dir: &Path,
    name: &str,
    columns: &[ColumnSpec],
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let (file, root) = (dir.join(name), dir.to_owned());
    open(&SourceSpec::List { file, root, format: None, columns: columns.to_vec() }, limits)
}

fn open_records(lines: &str, root: Option<&str>) -> Result<Snapshot, CatalogError> {
    let root = root.map(PathBuf::from);
    let json_lines = lines.as_bytes().to_vec();
    open(&SourceSpec::Records { root, json_lines, columns: Vec::new() }, &CatalogLimits::default())
}

/// The error and its causes, as `main` prints them.
fn chain(error: &CatalogError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Checks that the error's chain ends in `text`, whatever directory it names before.
#[track_caller]
fn assert_says(outcome: Result<Snapshot, CatalogError>, text: &str) {
    let error = outcome.expect_err("the source is wrong");
    let chain = chain(&error);
    assert!(chain.ends_with(text), "says {chain:?}");
}

fn paths(snapshot: &Snapshot, column: &str) -> Vec<String> {
    let column = snapshot.column(column).expect("the column is there");
    (0..snapshot.len()).map(|row| String::from_utf8(column.path(row).to_vec()).unwrap()).collect()
}

fn kinds(snapshot: &Snapshot) -> Vec<(&str, ColumnKind)> {
    snapshot.columns().iter().map(|column| (column.name(), column.kind())).collect()
}
