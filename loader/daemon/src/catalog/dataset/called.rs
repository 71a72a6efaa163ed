//! What a list calls samples -> the samples of a data set.

use std::collections::HashMap;
use std::path::Path;

use super::view::KEY;
use crate::catalog::column::{Column, ColumnKind};
use crate::catalog::gaps::Listed;
use crate::catalog::paths::PathRule;
use crate::catalog::snapshot::OFFSET_COLUMN;
use crate::catalog::table::Cells;
use crate::error::Fault;

/// The column of a list that names samples, where nobody says which: `key`, else the first that is named as paths are.
///
/// # Errors
/// Invalid: there is none.
pub(super) fn key_column<'a>(header: &'a [String], list: &str) -> Result<&'a str, Fault> {
    let named = |wanted: &str| header.iter().find(|name| *name == wanted);
    let is_path = |name: &&String| crate::catalog::infer::kind_of_text(name) == ColumnKind::Path;
    let found = named(KEY).or_else(|| header.iter().find(is_path));
    found.map(String::as_str).ok_or_else(|| {
        let message =
            format!("no column of {list} says which sample a row is about; it has {}", header.join(", "));
        Fault::invalid(message).hint("name the column of keys or paths: --key COLUMN")
    })
}

/// What each row of a list calls its sample: a text or path, a whole number, with `@offset` behind a path where the
/// list has such a column.
///
/// # Errors
/// Invalid: a column of another kind, or an empty cell.
pub(super) fn row_keys(listed: &Listed, column: &str) -> Result<Vec<Vec<u8>>, Fault> {
    let cells = listed.table.column(column);
    let cells =
        cells.ok_or_else(|| Fault::invalid(format!("column {column} of {} is empty", listed.name())))?;
    let by = cells.column();
    let offset = listed.table.column(OFFSET_COLUMN).map(Cells::column);
    let offset = offset.filter(|offset| column != KEY && offset.kind() == ColumnKind::Int);
    let keys = (0..listed.table.len()).map(|row| {
        let key = text_of(by, row).filter(|key| !key.is_empty()).ok_or_else(|| {
            Fault::invalid(format!("{}, column {column}: no key", listed.place(row)))
                .hint("keys are texts, paths or whole numbers: fill it in, or leave the row out")
        })?;
        Ok(match offset {
            Some(offset) => [key.as_slice(), b"@", offset.int(row as u64).to_string().as_bytes()].concat(),
            None => key,
        })
    });
    keys.collect()
}

fn text_of(column: &Column, row: usize) -> Option<Vec<u8>> {
    match column.kind() {
        ColumnKind::Int => Some(column.int(row as u64).to_string().into_bytes()),
        _ => column.bytes(row).map(<[u8]>::to_vec),
    }
}

/// Finds samples by what lists call them.
pub(super) struct Called {
    rows: HashMap<Vec<u8>, usize>,
    /// Samples whose stem another one has, by that stem.
    doubled: HashMap<Vec<u8>, (usize, usize)>,
    paths: PathRule,
    by_stem: bool,
}

impl Called {
    /// * `keys`: of the samples, by row.
    /// * `root`: absolute paths that lie in it are found.
    /// * `by_stem`: `a/b/c.jpg`, `c.png` and `c` mean the same.
    pub(super) fn new<K: AsRef<[u8]>>(
        keys: impl Iterator<Item = K>,
        root: Option<&Path>,
        by_stem: bool,
    ) -> Self {
        let (mut rows, mut doubled) = (HashMap::new(), HashMap::new());
        for (row, key) in keys.enumerate() {
            let key = key.as_ref();
            let key = if by_stem { stem(key) } else { key };
            if let Some(first) = rows.insert(key.to_vec(), row) {
                doubled.insert(key.to_vec(), (first, row));
            }
        }
        Self { rows, doubled, paths: root.map_or_else(PathRule::without_root, PathRule::new), by_stem }
    }

    /// The sample that is called so, if any.
    ///
    /// # Errors
    /// The two samples that are, by their stem.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<usize>, (usize, usize)> {
        if self.by_stem {
            let stem = stem(key);
            return self.doubled.get(stem).map_or(Ok(self.rows.get(stem).copied()), |&two| Err(two));
        }
        let as_path = || self.rows.get(&*self.paths.relative(key).ok()?);
        Ok(self.rows.get(key).or_else(as_path).copied())
    }
}

/// The last part of a path, without its extension.
fn stem(key: &[u8]) -> &[u8] {
    let name = key.rsplit(|&byte| byte == b'/').next().unwrap_or(key);
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_every_way_to_write_its_path() {
        let called = Called::new(["cats/1.jpg", "7"].iter(), Some(Path::new("/data")), false);
        for key in ["cats/1.jpg", "./cats//1.jpg", "/data/cats/1.jpg"] {
            assert_eq!(called.find(key.as_bytes()), Ok(Some(0)), "{key}");
        }
        assert_eq!(
            (called.find(b"7"), called.find(b"1"), called.find(b"/else/cats/1.jpg")),
            (Ok(Some(1)), Ok(None), Ok(None))
        );
    }

    #[test]
    fn a_stem_is_the_name_without_folder_and_extension_and_must_be_unique() {
        let called = Called::new(["a/1.jpg", "b/2.x.jpg", "c/.hid", "a/3.jpg", "b/3.png"].iter(), None, true);
        assert_eq!(
            (called.find(b"1"), called.find(b"1.png"), called.find(b"2.x")),
            (Ok(Some(0)), Ok(Some(0)), Ok(None))
        );
        assert_eq!(
            (called.find(b"q/2.x.png"), called.find(b".hid"), called.find(b"3")),
            (Ok(Some(1)), Ok(Some(2)), Err((3, 4)))
        );
    }
}
