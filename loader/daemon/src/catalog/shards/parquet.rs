//! Rows of a Parquet file as samples: of its binary columns the places of their values, of all others the values.

use std::fs::File;
use std::path::Path;

use ::parquet::basic::{ConvertedType, Type as Physical};
use ::parquet::schema::types::SchemaDescriptor;
use rustix::fs::OFlags;

use super::sheet::{Indexed, LENGTH, Left, NAME, OFFSET, ROW, Unfit};
use crate::catalog::builder::Builder;
use crate::catalog::bytes::ByteStrings;
use crate::catalog::column::{Column, ColumnKind, Values};
use crate::catalog::error::CatalogError;
use crate::catalog::fault::Unit;
use crate::catalog::limits::CatalogLimits;
use crate::catalog::list::{Loading, Naming, check_names};
use crate::catalog::parquet::{PANDAS_INDEX, Tables, damaged, guarded, reader};
use crate::catalog::table::{Cells, Table};
use crate::container::Window;
use crate::container::parquet::{self as container, Cell, Chunk, places};
use crate::error::with_causes;
use crate::storage::Root;

/// The field of a struct that holds the bytes of images and sounds: what Hugging Face's `datasets` writes.
const BYTES: &str = "bytes";

/// What a Parquet file begins with.
const MAGIC: &[u8] = b"PAR1";

/// Rows of a Parquet file. A column that no kind can hold is told where a job wants it.
pub(super) fn parquet(
    file: File,
    bytes: u64,
    shown: &str,
    limits: &CatalogLimits,
) -> Result<Indexed, CatalogError> {
    let naming = Naming { source: shown.to_owned(), unit: Unit::Row };
    guarded(&naming, || {
        let again = file.try_clone();
        let again =
            again.map_err(|source| CatalogError::Io { action: "open", path: shown.to_owned(), source })?;
        let loading = Loading { columns: &[], limits, paths: None };
        let tables = Tables { reader: reader(again, &naming)?, naming: &naming, loading: &loading };
        let rows = u64::try_from(tables.reader.metadata().file_metadata().num_rows());
        let rows = rows.map_err(|_| damaged(&naming, "a negative number of rows"))?;
        loading.check_rows(&naming, rows)?;
        Shard { tables, window: Window::new(file, bytes), rows: rows as usize, limits }.read(shown)
    })
}

/// Whether a Parquet file has samples' bytes in its cells; one that has none is a list.
///
/// # Errors
/// [`CatalogError`]: it cannot be read, or is no Parquet file.
pub fn holds_cells(file: &Path) -> Result<bool, CatalogError> {
    let naming = Naming { source: file.display().to_string(), unit: Unit::Row };
    let opened = File::open(file);
    let opened =
        opened.map_err(|source| CatalogError::Io { action: "open", path: naming.source.clone(), source })?;
    guarded(&naming, || {
        let reader = reader(opened, &naming)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let mut names = schema.columns().iter().map(|column| &column.path().parts()[0]);
        Ok(names.any(|name| binary_leaf(schema, name).is_some()))
    })
}

/// Where pages of a Parquet file begin and end that do not have the checksum which was written with them; none in a file of
/// another kind.
///
/// # Errors
/// [`CatalogError`]: it cannot be read, or is no Parquet file any more though it begins like one.
pub fn damaged_pages(root: &Root, path: &[u8]) -> Result<Vec<(u64, u64)>, CatalogError> {
    let naming = Naming { source: root.display(path), unit: Unit::Row };
    let io = |action, source| CatalogError::Io { action, path: root.display(path), source };
    let opened = root.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
    let file = File::from(opened.map_err(|errno| io("open", errno.into()))?);
    let bytes = file.metadata().map_err(|error| io("stat", error))?.len();
    let again = file.try_clone().map_err(|error| io("open", error))?;
    let mut window = Window::new(again, bytes);
    let start = window.get(0, MAGIC.len());
    if start.map_err(|source| CatalogError::Container { file: root.display(path), source })? != MAGIC {
        return Ok(Vec::new());
    }
    guarded(&naming, || {
        let (reader, mut found) = (reader(file, &naming)?, Vec::new());
        for group in reader.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            // A chunk that is compressed in a way that is not read holds no sample.
            for chunk in group.columns().iter().filter_map(|column| Chunk::of(column, rows).ok()) {
                container::damaged_pages(&mut window, &chunk, &mut |first, end| found.push((first, end)));
            }
        }
        Ok(found)
    })
}

struct Shard<'a> {
    tables: Tables<'a, File>,
    window: Window<File>,
    rows: usize,
    limits: &'a CatalogLimits,
}

impl Shard<'_> {
    fn read(mut self, shown: &str) -> Result<Indexed, CatalogError> {
        let names = self.tables.names();
        check_names(shown, names.iter().map(String::as_str), self.limits)?;
        let (mut cells, mut fields, mut unfit) = (vec![self.numbers()], Vec::new(), Vec::new());
        for name in names.into_iter().filter(|name| !name.starts_with(PANDAS_INDEX) && name != NAME) {
            let schema = self.tables.reader.metadata().file_metadata().schema_descr();
            match binary_leaf(schema, &name) {
                Some(leaf) => {
                    cells.extend(self.places(leaf, &name)?);
                    fields.push(name);
                }
                None => match self.values(&name) {
                    Ok(found) => cells.extend(found),
                    Err(error) => {
                        let (sample, why) = ("0".to_owned(), with_causes(&error));
                        unfit.push(Unfit { field: name, sample, why });
                    }
                },
            }
        }
        let table = Table::with_columns(self.rows, cells);
        Ok(Indexed { table, places: fields, left: Left::default(), unfit })
    }

    /// The rows' numbers, which samples are called by.
    fn numbers(&self) -> Cells {
        let mut names = ByteStrings::default();
        (0..self.rows).for_each(|row| names.push(row.to_string().as_bytes()));
        names.shrink();
        let values = Values::Bytes(names);
        Cells::spread(Column { name: NAME.to_owned(), kind: ColumnKind::Text, values }, None)
    }

    /// A column of values. Paths are texts: they lead to nothing beside the file.
    fn values(&self, name: &str) -> Result<Option<Cells>, CatalogError> {
        let mut specs = self.tables.kinds(&[name.to_owned()])?;
        let Some(mut spec) = specs.pop() else { return Ok(None) };
        if spec.kind == ColumnKind::Path {
            spec.kind = ColumnKind::Text;
        }
        let mut builder = Builder::new(&spec, self.limits, None).with_gaps();
        self.tables.read_into(&mut builder)?;
        Ok(builder.finish_cells())
    }

    /// Where the values of a binary column lie.
    fn places(&mut self, leaf: usize, name: &str) -> Result<Vec<Cells>, CatalogError> {
        let file = self.tables.naming.source.clone();
        let refused = |source| CatalogError::Container { file: file.clone(), source };
        let (mut present, mut found) = (Vec::with_capacity(self.rows), [const { Vec::new() }; 3]);
        let mut any_cell = false;
        for group in self.tables.reader.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            let chunk = Chunk::of(group.column(leaf), rows).map_err(refused)?;
            let mut push = |place: Option<crate::container::parquet::Place>| {
                present.push(place.is_some());
                let Some(place) = place else { return };
                any_cell |= place.cell.is_some();
                found[0].push(place.offset as i64);
                found[1].push(place.len as i64);
                found[2].push(place.cell.map_or(-1, Cell::to_int));
            };
            places(&mut self.window, &chunk, &mut push).map_err(refused)?;
        }
        if present.len() != self.rows {
            return Err(damaged(self.tables.naming, "its row groups have other rows than the footer says"));
        }
        let ends = [OFFSET, LENGTH, ROW].into_iter().take(if any_cell { 3 } else { 2 });
        Ok(ends
            .zip(found)
            .map(|(end, ints)| {
                let column = Column {
                    name: format!("{name}{end}"),
                    kind: ColumnKind::Int,
                    values: Values::Ints(ints),
                };
                Cells::spread(column, Some(present.clone()))
            })
            .collect())
    }
}

/// The leaf of a column of bytes that are no text: one of its own, or one called `bytes` in a struct.
fn binary_leaf(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    (0..schema.num_columns()).find(|&leaf| {
        let column = schema.column(leaf);
        let path = column.path().parts();
        let is_it = path.len() == 1 || (path.len() == 2 && path[1] == BYTES);
        is_it
            && path[0] == name
            && column.physical_type() == Physical::BYTE_ARRAY
            && column.max_rep_level() == 0
            && column.converted_type() == ConvertedType::NONE
            && column.logical_type_ref().is_none()
    })
}
