//! Files that list keys: a key a line, or a table with a column of them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::catalog::dataset::fault;
use crate::catalog::{CatalogLimits, Column, ColumnKind, Snapshot, SourceSpec, open};
use crate::error::{Fault, Kind};

/// The column of sides.
const SIDE: &str = "side";

/// A key and, where the file says one, its side.
pub(super) type Listed = (Vec<u8>, Option<String>);

/// Reads a list: CSV, TSV, JSON Lines or Parquet with a column `key` (or a path) and maybe `side`; anything else is text
/// with a key a line, and maybe a tab and its side.
///
/// # Errors
/// NotFound: no such file. Invalid, naming what is wrong in it.
pub(super) fn read(file: &Path) -> Result<Vec<Listed>, Fault> {
    let is_table = file.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| {
        let extension = extension.to_ascii_lowercase();
        ["csv", "tsv", "jsonl", "ndjson", "parquet", "pq"].contains(&extension.as_str())
    });
    if is_table { table(file) } else { text(file) }
}

fn table(file: &Path) -> Result<Vec<Listed>, Fault> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let spec = SourceSpec::List {
        file: file.to_owned(),
        root: folder.to_owned(),
        format: None,
        columns: Vec::new(),
    };
    let list = open(&spec, &CatalogLimits::default()).map_err(|error| fault(&error))?;
    if list.key(0).as_ref() == b"0" && list.column("key").is_none() {
        let names: Vec<_> = list.columns().iter().map(Column::name).collect();
        return Err(Fault::invalid(format!("{} has no column key", file.display()))
            .hint(format!("it has {}: call that of the keys so", names.join(", "))));
    }
    (0..list.len()).map(|row| Ok((list.key(row).into_owned(), side(&list, row, file)?))).collect()
}

fn side(list: &Snapshot, row: u64, file: &Path) -> Result<Option<String>, Fault> {
    let Some(column) = list.column(SIDE) else { return Ok(None) };
    match column.kind() {
        ColumnKind::Text => Ok(Some(column.text(row).to_owned())),
        ColumnKind::Int => Ok(Some(column.int(row).to_string())),
        kind => Err(Fault::invalid(format!("column side of {} is {}", file.display(), kind.name()))
            .hint("sides are names, such as val")),
    }
}

fn text(file: &Path) -> Result<Vec<Listed>, Fault> {
    let failed = |error: std::io::Error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Invalid };
        Fault::from_error(kind, &error).context(format!("read {}", file.display()))
    };
    let mut listed = Vec::new();
    for line in BufReader::new(File::open(file).map_err(failed)?).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            continue;
        }
        let (key, side) = match line.iter().position(|&byte| byte == b'\t') {
            Some(tab) => (&line[..tab], Some(String::from_utf8_lossy(&line[tab + 1..]).into_owned())),
            None => (line, None),
        };
        listed.push((key.to_vec(), side));
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, content: &str) -> Result<Vec<Listed>, Fault> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), content).unwrap();
        read(&dir.path().join(name))
    }

    #[test]
    fn keys_stand_in_lines_or_in_a_column() {
        let plain: Vec<Listed> = vec![(b"a,1.jpg".to_vec(), None), (b"b.jpg".to_vec(), None)];
        let sided: Vec<Listed> =
            vec![(b"7".to_vec(), Some("val".into())), (b"8".to_vec(), Some("test".into()))];
        assert_eq!(listed("keys.txt", "a,1.jpg\n\nb.jpg\r\n").unwrap(), plain);
        assert_eq!(listed("keys.txt", "7\tval\n8\ttest").unwrap(), sided);
        assert_eq!(listed("keys.csv", "key,side\n7,val\n8,test\n").unwrap(), sided);
        assert_eq!(listed("keys.jsonl", "{\"path\":\"a,1.jpg\"}\n{\"path\":\"b.jpg\"}\n").unwrap(), plain);
    }

    #[test]
    fn a_table_without_keys_says_what_it_has_and_a_file_that_is_not_there_its_name() {
        let error = listed("keys.csv", "name,side\na,val\n").unwrap_err();
        assert!(error.message.ends_with("has no column key"), "{error:?}");
        assert_eq!(error.hint.unwrap(), "it has name, side: call that of the keys so");
        assert!(listed("keys.csv", "key,side\na,1.5\n").unwrap_err().message.contains("is float"));
        let none = read(Path::new("/nowhere/keys.txt")).unwrap_err();
        assert_eq!((none.kind, none.message.as_str()), (Kind::NotFound, "read /nowhere/keys.txt"));
    }
}
