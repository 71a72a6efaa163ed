//! Loads lists and records: which columns, of which kinds, and what to call a row that is wrong.

use std::collections::HashSet;
use std::path::Path;

use super::builder::Builder;
use super::cell::Cell;
use super::class_map::ClassMap;
use super::column::{Column, ColumnSpec};
use super::csv::CsvRows;
use super::error::CatalogError;
use super::fault::{CellFault, Place, Unit};
use super::infer::{Seen, with_clips};
use super::json::JsonRows;
use super::limits::CatalogLimits;
use super::paths::PathRule;
use super::snapshot::Snapshot;
use super::{Format, parquet};
use crate::storage::Root;

/// Names the rows of a source in errors.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    pub(super) source: String,
    pub(super) unit: Unit,
}

impl Naming {
    pub(super) fn row(&self, number: u64) -> Place {
        Place { source: self.source.clone(), unit: self.unit, number, column: None }
    }

    pub(super) fn cell(&self, number: u64, column: &str, source: CellFault) -> CatalogError {
        CatalogError::Cell { place: Place { column: Some(column.to_owned()), ..self.row(number) }, source }
    }
}

/// Called with a row's number, as its source counts, and its cells in the order of the wanted columns.
pub(super) type Visit<'a> = &'a mut dyn FnMut(u64, &[Cell<'_>]) -> Result<(), CatalogError>;

/// The columns to read.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [String],
    /// Whether a row with other columns is wrong.
    pub(super) all: bool,
}

/// A source that gives its rows one after the other, as often as asked.
pub(super) trait Rows {
    fn naming(&self) -> &Naming;
    /// The names of all columns.
    fn header(&self) -> Result<Vec<String>, CatalogError>;
    /// Visits each row; a column that a row lacks is [`Cell::Missing`].
    fn for_each(&self, wanted: &Wanted<'_>, visit: Visit<'_>) -> Result<(), CatalogError>;
}

/// What every list is loaded with.
pub(super) struct Loading<'a> {
    pub(super) columns: &'a [ColumnSpec],
    pub(super) limits: &'a CatalogLimits,
    pub(super) paths: Option<&'a PathRule>,
}

pub(super) fn open(
    file: &Path,
    root: &Path,
    format: Option<Format>,
    columns: &[ColumnSpec],
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let unknown = || CatalogError::UnknownFormat { file: file.display().to_string() };
    let format = format.or_else(|| format_of(file)).ok_or_else(unknown)?;
    let opened = Root::open(root)?;
    let paths = PathRule::new(root);
    let loading = Loading { columns, limits, paths: Some(&paths) };
    let unit = if format == Format::Parquet { Unit::Row } else { Unit::Line };
    let naming = Naming { source: file.display().to_string(), unit };
    let table = match format {
        Format::Csv => loading.rows(&CsvRows::new(file, b',', naming.clone(), limits))?,
        Format::Tsv => loading.rows(&CsvRows::new(file, b'\t', naming.clone(), limits))?,
        Format::Jsonl => loading.rows(&JsonRows::of_file(file, naming.clone(), limits))?,
        Format::Parquet => parquet::load(file, &naming, &loading)?,
    };
    table.snapshot(naming, None, Some(opened))
}

pub(super) fn open_records(
    root: Option<&Path>,
    json_lines: &[u8],
    columns: &[ColumnSpec],
    limits: &CatalogLimits,
) -> Result<Snapshot, CatalogError> {
    let opened = root.map(Root::open).transpose()?;
    let paths = root.map(PathRule::new);
    let naming = Naming { source: "records".to_owned(), unit: Unit::Record };
    let loading = Loading { columns, limits, paths: paths.as_ref() };
    loading.rows(&JsonRows::of_memory(json_lines, naming.clone(), limits))?.snapshot(naming, None, opened)
}

pub(super) fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "parquet" | "pq" => Some(Format::Parquet),
        _ => None,
    }
}

/// Loaded columns, and the number by which the source counts each row where that is not its index.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) numbers: Vec<u64>,
}

impl Table {
    pub(super) fn snapshot(
        self,
        naming: Naming,
        class_map: Option<ClassMap>,
        root: Option<std::sync::Arc<Root>>,
    ) -> Result<Snapshot, CatalogError> {
        if self.columns.first().is_none_or(|column| column.len() == 0) {
            return Err(CatalogError::Empty { file: naming.source });
        }
        let number = |row: usize| self.numbers.get(row).copied().unwrap_or(row as u64);
        let duplicate = |first: usize, second: usize, key: &[u8]| CatalogError::DuplicateKey {
            place: naming.row(number(second)),
            first: number(first),
            key: String::from_utf8_lossy(key).into_owned(),
        };
        Snapshot::assemble(self.columns, class_map, root, duplicate)
    }
}

impl Loading<'_> {
    /// Loads a source of rows: once to learn the kinds where none are given, once for the values.
    fn rows(&self, rows: &dyn Rows) -> Result<Table, CatalogError> {
        let header = rows.header()?;
        let source = &rows.naming().source;
        check_names(source, header.iter().map(String::as_str), self.limits)?;
        let specs =
            if self.columns.is_empty() { self.infer(rows, &header, true)? } else { self.columns.to_vec() };
        check_names(source, specs.iter().map(|spec| spec.name.as_str()), self.limits)?;
        for spec in &specs {
            check_present(source, &spec.name, &header)?;
        }
        self.fill(rows, &specs)
    }

    /// The kinds of these columns, after all rows; `all`: whether a row with others is wrong.
    pub(super) fn infer(
        &self,
        rows: &dyn Rows,
        header: &[String],
        all: bool,
    ) -> Result<Vec<ColumnSpec>, CatalogError> {
        let mut seen = vec![Seen::default(); header.len()];
        let mut count = 0;
        rows.for_each(&Wanted { names: header, all }, &mut |_, cells| {
            count += 1;
            self.check_rows(rows.naming(), count)?;
            seen.iter_mut().zip(cells).for_each(|(seen, cell)| *seen = seen.and(cell));
            Ok(())
        })?;
        let specs = header.iter().zip(seen).map(|(name, seen)| {
            let unsupported =
                || unsupported(rows.naming(), name, "objects or lists of other things than numbers");
            Ok(ColumnSpec { name: name.clone(), kind: seen.kind(name).ok_or_else(unsupported)? })
        });
        specs.collect::<Result<_, _>>().map(with_clips)
    }

    fn fill(&self, rows: &dyn Rows, specs: &[ColumnSpec]) -> Result<Table, CatalogError> {
        let mut builders: Vec<_> =
            specs.iter().map(|spec| Builder::new(spec, self.limits, self.paths)).collect();
        let numbers = self.fill_into(rows, &mut builders)?;
        Ok(Table { columns: builders.into_iter().map(Builder::finish).collect(), numbers })
    }

    /// Gives every row to the builders; returns the rows' numbers.
    pub(super) fn fill_into(
        &self,
        rows: &dyn Rows,
        builders: &mut [Builder<'_>],
    ) -> Result<Vec<u64>, CatalogError> {
        let names: Vec<_> = builders.iter().map(|builder| builder.name().to_owned()).collect();
        let mut numbers = Vec::new();
        rows.for_each(&Wanted { names: &names, all: false }, &mut |number, cells| {
            numbers.push(number);
            self.check_rows(rows.naming(), numbers.len() as u64)?;
            for (builder, cell) in builders.iter_mut().zip(cells) {
                builder.push(cell).map_err(|fault| rows.naming().cell(number, builder.name(), fault))?;
            }
            Ok(())
        })?;
        Ok(numbers)
    }

    pub(super) fn check_rows(&self, naming: &Naming, rows: u64) -> Result<(), CatalogError> {
        let rows_max = self.limits.rows_max;
        if rows > rows_max {
            return Err(CatalogError::TooManyRows { file: naming.source.clone(), rows_max });
        }
        Ok(())
    }
}

pub(super) fn unsupported(naming: &Naming, column: &str, found: &str) -> CatalogError {
    CatalogError::UnsupportedColumn {
        file: naming.source.clone(),
        column: column.into(),
        found: found.into(),
    }
}

pub(super) fn check_present(source: &str, column: &str, present: &[String]) -> Result<(), CatalogError> {
    if present.iter().any(|name| name == column) {
        return Ok(());
    }
    Err(CatalogError::MissingColumn {
        file: source.to_owned(),
        column: column.to_owned(),
        present: present.to_vec(),
    })
}

pub(super) fn check_names<'a>(
    source: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
    limits: &CatalogLimits,
) -> Result<(), CatalogError> {
    let (columns, columns_max) = (names.len(), limits.columns_max);
    if columns > columns_max {
        return Err(CatalogError::TooManyColumns { file: source.to_owned(), columns, columns_max });
    }
    let mut met = HashSet::new();
    for name in names {
        if !met.insert(name) {
            return Err(CatalogError::DuplicateColumn { place: source.to_owned(), column: name.to_owned() });
        }
    }
    Ok(())
}
