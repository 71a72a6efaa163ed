//! Lists in which a value may be missing: what pandas, DuckDB, Spark and annotators write.
//!
//! Null, NaN, a field that a record lacks and an empty cell of CSV are no value; an empty text of JSON or Parquet is one.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Format;
use super::builder::Builder;
use super::column::{ColumnKind, ColumnSpec};
use super::csv::CsvRows;
use super::error::CatalogError;
use super::fault::{Place, Unit};
use super::json::JsonRows;
use super::limits::CatalogLimits;
use super::list::{Loading, Naming, Rows, check_names, check_present, format_of};
use super::parquet::{PANDAS_INDEX, Tables, guarded, reader};
use super::paths::PathRule;
use super::table::{Cells, Table};

/// A list that is there, of a format that is known.
pub struct List<'a> {
    file: PathBuf,
    format: Format,
    naming: Naming,
    limits: &'a CatalogLimits,
}

/// What to read of a list.
pub struct Reading<'a> {
    /// The directory that its paths are relative to, or lie in; it need not be there.
    pub root: Option<&'a Path>,
    /// The columns to read; at least one.
    pub columns: &'a [String],
    /// What to read a column as: by its name, and what it seems to be.
    pub kind: &'a dyn Fn(&str, ColumnKind) -> ColumnKind,
    /// The columns in which no value may be missing.
    pub whole: &'a [String],
}

/// What was read.
#[derive(Debug)]
pub struct Listed {
    /// Its rows, in order.
    pub table: Table,
    /// Columns without any value, which are not in the table.
    pub empty: Vec<String>,
    naming: Naming,
    numbers: Vec<u64>,
}

impl<'a> List<'a> {
    /// Looks at a list's name; nothing is read.
    ///
    /// # Errors
    /// [`CatalogError::UnknownFormat`]: by its extension.
    pub fn new(file: &Path, limits: &'a CatalogLimits) -> Result<Self, CatalogError> {
        let shown = file.display().to_string();
        let format = format_of(file).ok_or_else(|| CatalogError::UnknownFormat { file: shown.clone() })?;
        let unit = if format == Format::Parquet { Unit::Row } else { Unit::Line };
        Ok(Self { file: file.to_owned(), format, naming: Naming { source: shown, unit }, limits })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.naming.source
    }

    /// Whether its cells are characters whose type is a guess.
    pub fn is_untyped(&self) -> bool {
        matches!(self.format, Format::Csv | Format::Tsv)
    }

    /// The names of its columns, without the index that pandas adds; of JSON Lines, the first record's.
    ///
    /// # Errors
    /// It cannot be read, or two columns have one name.
    pub fn header(&self) -> Result<Vec<String>, CatalogError> {
        let names = match self.rows() {
            Some(rows) => rows.header()?,
            None => self.parquet(None, |tables| Ok(tables.names()))?,
        };
        check_names(self.name(), names.iter().map(String::as_str), self.limits)?;
        Ok(names.into_iter().filter(|name| !name.starts_with(PANDAS_INDEX)).collect())
    }

    /// Reads columns.
    ///
    /// # Errors
    /// What [`super::open`] says of a list, but for missing values outside of `whole`.
    pub fn read(&self, reading: &Reading<'_>) -> Result<Listed, CatalogError> {
        let header = self.header()?;
        reading.columns.iter().try_for_each(|name| check_present(self.name(), name, &header))?;
        check_names(self.name(), reading.columns.iter().map(String::as_str), self.limits)?;
        let paths = reading.root.map(PathRule::new);
        let loading = Loading { columns: &[], limits: self.limits, paths: paths.as_ref() };
        let (builders, numbers) = match self.rows() {
            Some(rows) => {
                let all = reading.columns.len() == header.len();
                let mut builders = loading.builders(reading, loading.infer(&*rows, reading.columns, all)?);
                let numbers = loading.fill_into(&*rows, &mut builders)?;
                (builders, numbers)
            }
            None => self.parquet(paths.as_ref(), |tables| {
                let mut builders = loading.builders(reading, tables.kinds(reading.columns)?);
                builders.iter_mut().try_for_each(|builder| tables.read_into(builder))?;
                let rows = builders[0].rows() as u64;
                Ok((builders, (0..rows).collect()))
            })?,
        };
        self.listed(builders, numbers)
    }

    fn listed(&self, builders: Vec<Builder<'_>>, numbers: Vec<u64>) -> Result<Listed, CatalogError> {
        if numbers.is_empty() {
            return Err(CatalogError::Empty { file: self.name().to_owned() });
        }
        let (mut columns, mut empty) = (Vec::<Cells>::new(), Vec::new());
        for builder in builders {
            let name = builder.name().to_owned();
            match builder.finish_cells() {
                Some(cells) => columns.push(cells),
                None => empty.push(name),
            }
        }
        let table = Table::with_columns(numbers.len(), columns);
        Ok(Listed { table, empty, naming: self.naming.clone(), numbers })
    }

    fn rows(&self) -> Option<Box<dyn Rows + '_>> {
        let naming = self.naming.clone();
        match self.format {
            Format::Csv => Some(Box::new(CsvRows::new(&self.file, b',', naming, self.limits))),
            Format::Tsv => Some(Box::new(CsvRows::new(&self.file, b'\t', naming, self.limits))),
            Format::Jsonl => Some(Box::new(JsonRows::of_file(&self.file, naming, self.limits))),
            Format::Parquet => None,
        }
    }

    fn parquet<T>(
        &self,
        paths: Option<&PathRule>,
        read: impl FnOnce(&Tables<'_, File>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let failed = |source| CatalogError::Io { action: "open", path: self.name().to_owned(), source };
        let opened = File::open(&self.file).map_err(failed)?;
        let loading = Loading { columns: &[], limits: self.limits, paths };
        guarded(&self.naming, || {
            read(&Tables { reader: reader(opened, &self.naming)?, naming: &self.naming, loading: &loading })
        })
    }
}

impl<'a> Loading<'a> {
    fn builders(&self, reading: &Reading<'_>, specs: Vec<ColumnSpec>) -> Vec<Builder<'a>> {
        let made = specs.into_iter().map(|spec| {
            let kind = (reading.kind)(&spec.name, spec.kind);
            let whole = reading.whole.contains(&spec.name);
            let builder = Builder::new(&ColumnSpec { kind, ..spec }, self.limits, self.paths);
            if whole { builder } else { builder.with_gaps() }
        });
        made.collect()
    }
}

impl Listed {
    /// Where a row stands in the list.
    pub fn place(&self, row: usize) -> Place {
        self.naming.row(self.numbers[row])
    }

    /// The list's name in messages.
    pub fn name(&self) -> &str {
        &self.naming.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, whole: &[&str]) -> Result<Listed, CatalogError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let limits = CatalogLimits::default();
        let list = List::new(&file, &limits)?;
        let whole: Vec<_> = whole.iter().map(|&name| name.to_owned()).collect();
        let (columns, kind) = (list.header()?, |_: &str, kind| kind);
        list.read(&Reading { root: Some(Path::new("/data")), columns: &columns, kind: &kind, whole: &whole })
    }

    #[test]
    fn empty_cells_nulls_nan_and_absent_fields_are_gaps_and_empty_texts_of_json_are_values() {
        let csv = read("l.csv", "image,n,t,v\na.jpg,1,,\n/data//b.jpg,,x,\n", &["image"]).unwrap();
        let (n, t) = (csv.table.column("n").unwrap(), csv.table.column("t").unwrap());
        assert_eq!((n.missing(), t.missing(), n.has(1), t.has(0)), (1, 1, false, false));
        assert_eq!(
            (csv.table.column("image").unwrap().column().path(1), t.column().text(1)),
            (&b"b.jpg"[..], "x")
        );
        assert_eq!((csv.empty, csv.numbers), (vec!["v".to_owned()], vec![2, 3]));
        let lines = "{\"key\":\"a\",\"t\":\"\",\"v\":null}\n{\"key\":\"b\",\"v\":[1,2]}\n{\"key\":\"c\"}\n";
        let json = read("l.jsonl", lines, &["key"]).unwrap();
        let (t, v) = (json.table.column("t").unwrap(), json.table.column("v").unwrap());
        assert_eq!((t.has(0), t.missing(), v.missing(), v.column().vector(1)), (true, 2, 2, &[1.0, 2.0][..]));
    }

    #[test]
    fn a_column_that_must_be_whole_is_named_with_the_line_where_it_is_not() {
        let error = read("l.csv", "key,n\na,1\n,2\n", &["key"]).map(drop);
        // An empty text is a text, so a key is asked for by its reader, not here; a number is not.
        assert!(error.is_ok());
        let error = read("l.csv", "key,n\n1,1\n,2\n", &["key"]).unwrap_err();
        assert!(error.to_string().ends_with("l.csv line 3, column key"), "{error}");
    }
}
