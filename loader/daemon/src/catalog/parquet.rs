//! Columns of a Parquet file: flat ones, and lists of numbers.

mod types;
mod values;

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::ChunkReader;
use ::parquet::schema::types::SchemaDescriptor;

use self::types::{is_flat, kind_of, type_name};
use self::values::read_any;
use super::builder::Builder;
use super::cell::Cell;
use super::column::ColumnSpec;
use super::error::CatalogError;
use super::infer::with_clips;
use super::list::{Loading, Naming, Table, check_names, check_present, unsupported};
use crate::container::parquet::Reader;

/// pandas stores a row index that is no plain range under such a name.
pub(super) const PANDAS_INDEX: &str = "__index_level_";

/// Loads the columns of a file.
///
/// The parser may panic on a damaged file; that is caught here and is an error like any other.
pub(super) fn load(file: &Path, naming: &Naming, loading: &Loading<'_>) -> Result<Table, CatalogError> {
    let opened = File::open(file).map_err(|source| CatalogError::Io {
        action: "open",
        path: naming.source.clone(),
        source,
    })?;
    guarded(naming, || Tables { reader: reader(opened, naming)?, naming, loading }.load())
}

/// Reads the footer of a file, which may lie in memory.
pub(super) fn reader<R: ChunkReader + 'static>(
    source: R,
    naming: &Naming,
) -> Result<Reader<R>, CatalogError> {
    Reader::new(source).map_err(|source| not_readable(naming, source))
}

/// Runs what may panic on a damaged file.
pub(super) fn guarded<T>(
    naming: &Naming,
    parse: impl FnOnce() -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let outcome = catch_unwind(AssertUnwindSafe(parse));
    outcome.unwrap_or_else(|panic| Err(damaged(naming, &panic_text(panic.as_ref()))))
}

pub(super) fn damaged(naming: &Naming, detail: &str) -> CatalogError {
    CatalogError::Damaged { file: naming.source.clone(), detail: detail.to_owned() }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the parser gave up").to_owned()
}

/// An opened file and what is wanted of it.
pub(super) struct Tables<'a, R: ChunkReader + 'static> {
    pub(super) reader: Reader<R>,
    pub(super) naming: &'a Naming,
    pub(super) loading: &'a Loading<'a>,
}

impl<R: ChunkReader + 'static> Tables<'_, R> {
    pub(super) fn load(&self) -> Result<Table, CatalogError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let names = self.names();
        check_names(&self.naming.source, names.iter().map(String::as_str), self.loading.limits)?;
        let specs = self.specs(schema, &names)?;
        check_names(&self.naming.source, specs.iter().map(|spec| spec.name.as_str()), self.loading.limits)?;
        let mut columns = Vec::with_capacity(specs.len());
        for spec in &specs {
            check_present(&self.naming.source, &spec.name, &names)?;
            let mut builder = Builder::new(spec, self.loading.limits, self.loading.paths);
            self.read_into(&mut builder)?;
            columns.push(builder.finish());
        }
        if columns.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
            return Err(damaged(self.naming, "its columns are not equally long"));
        }
        Ok(Table { columns, numbers: Vec::new() })
    }

    /// The names of all columns.
    pub(super) fn names(&self) -> Vec<String> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect()
    }

    /// The kinds of these columns.
    pub(super) fn kinds(&self, names: &[String]) -> Result<Vec<ColumnSpec>, CatalogError> {
        self.specs(self.reader.metadata().file_metadata().schema_descr(), names)
    }

    /// Reads the builder's column.
    pub(super) fn read_into(&self, builder: &mut Builder<'_>) -> Result<(), CatalogError> {
        let leaf = self.leaf(self.reader.metadata().file_metadata().schema_descr(), builder.name())?;
        self.read_column(leaf, builder)
    }

    /// The job's columns, or all of them but the index that pandas adds.
    fn specs(&self, schema: &SchemaDescriptor, names: &[String]) -> Result<Vec<ColumnSpec>, CatalogError> {
        if !self.loading.columns.is_empty() {
            return Ok(self.loading.columns.to_vec());
        }
        let wanted = names.iter().filter(|name| !name.starts_with(PANDAS_INDEX));
        let specs = wanted.map(|name| {
            let leaf = self.leaf(schema, name)?;
            let kind = kind_of(&schema.column(leaf), name);
            let kind =
                kind.ok_or_else(|| unsupported(self.naming, name, &type_name(&schema.column(leaf))))?;
            Ok(ColumnSpec { name: name.clone(), kind })
        });
        specs.collect::<Result<_, _>>().map(with_clips)
    }

    /// The one leaf of a top-level column.
    fn leaf(&self, schema: &SchemaDescriptor, name: &str) -> Result<usize, CatalogError> {
        let of_column = |&leaf: &usize| schema.get_column_root(leaf).name() == name;
        let mut leaves = (0..schema.num_columns()).filter(of_column);
        match (leaves.next(), leaves.next()) {
            (Some(leaf), None) if is_flat(&schema.column(leaf)) => Ok(leaf),
            (Some(leaf), None) => Err(unsupported(self.naming, name, &type_name(&schema.column(leaf)))),
            _ => Err(unsupported(self.naming, name, "several values a row")),
        }
    }

    fn read_column(&self, leaf: usize, builder: &mut Builder<'_>) -> Result<(), CatalogError> {
        let mut first_row = 0;
        let schema = self.reader.metadata().file_metadata().schema_descr();
        for (number, group) in self.reader.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows());
            let rows = rows.map_err(|_| damaged(self.naming, "a negative number of rows"))?;
            self.loading.check_rows(self.naming, rows.saturating_add(first_row))?;
            let column = self.reader.column(number, leaf);
            let column = column.map_err(|source| not_readable(self.naming, source))?;
            let name = builder.name().to_owned();
            let descriptor = schema.column(leaf);
            let mut push = |row: u64, cell: &Cell<'_>| {
                builder.push(cell).map_err(|fault| self.naming.cell(first_row + row, &name, fault))
            };
            let rows_read = read_any(column, &descriptor, rows, self.naming, &mut push)?;
            if rows_read != rows {
                return Err(damaged(self.naming, "a column is shorter than its row group"));
            }
            first_row += rows;
        }
        Ok(())
    }
}

fn not_readable(naming: &Naming, source: ParquetError) -> CatalogError {
    CatalogError::Parquet { file: naming.source.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Unit;
    use super::*;

    #[test]
    fn a_panic_of_the_parser_is_a_damaged_file() {
        let naming = Naming { source: "l.parquet".to_owned(), unit: Unit::Row };
        let error =
            guarded(&naming, || -> Result<(), CatalogError> { panic!("index out of range") }).unwrap_err();
        assert_eq!(error.to_string(), "l.parquet is damaged: index out of range");
        assert!(error.hint().is_some());
    }
}
