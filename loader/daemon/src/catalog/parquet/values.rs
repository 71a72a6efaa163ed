//! Decodes the values of one Parquet column and gives them out row by row.

use ::parquet::basic::Type as Physical;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::schema::types::ColumnDescriptor;

use super::not_readable;
use super::types::{is_unsigned, is_whole, type_name};
use crate::catalog::cell::Cell;
use crate::catalog::error::CatalogError;
use crate::catalog::list::{Naming, unsupported};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 4096;

/// Takes a row's number in its row group and its value.
pub(super) type Push<'a> = &'a mut dyn FnMut(u64, &Cell<'_>) -> Result<(), CatalogError>;

pub(super) fn read_any(
    column: ColumnReader,
    about: &ColumnDescriptor,
    rows: u64,
    naming: &Naming,
    push: Push<'_>,
) -> Result<u64, CatalogError> {
    let unsigned = is_unsigned(about);
    if !is_whole(about) && matches!(about.physical_type(), Physical::INT32 | Physical::INT64) {
        return Err(unsupported(naming, about.path().parts()[0].as_str(), &type_name(about)));
    }
    match column {
        ColumnReader::BoolColumnReader(reader) => {
            read(reader, about, rows, naming, |&value| Cell::Bool(value), push)
        }
        ColumnReader::Int32ColumnReader(reader) => {
            read(reader, about, rows, naming, |&value| int32(value, unsigned), push)
        }
        ColumnReader::Int64ColumnReader(reader) => {
            read(reader, about, rows, naming, |&value| int64(value, unsigned), push)
        }
        ColumnReader::FloatColumnReader(reader) => {
            read(reader, about, rows, naming, |&value| Cell::Float(f64::from(value)), push)
        }
        ColumnReader::DoubleColumnReader(reader) => {
            read(reader, about, rows, naming, |&value| Cell::Float(value), push)
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            read(reader, about, rows, naming, |value| Cell::Text(value.data().into()), push)
        }
        ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
            Err(unsupported(naming, about.path().parts()[0].as_str(), &type_name(about)))
        }
    }
}

fn int32(value: i32, unsigned: bool) -> Cell<'static> {
    Cell::Int(if unsigned { i64::from(value as u32) } else { i64::from(value) })
}

/// An unsigned value past i64 would turn negative; as a float it is refused where an integer is needed.
fn int64(value: i64, unsigned: bool) -> Cell<'static> {
    if unsigned && value < 0 { Cell::Float(value as u64 as f64) } else { Cell::Int(value) }
}

/// Decodes batch after batch and gives each row's value to `push`; returns how many rows there were.
fn read<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    about: &ColumnDescriptor,
    rows: u64,
    naming: &Naming,
    cell: impl Fn(&T::T) -> Cell<'_>,
    push: Push<'_>,
) -> Result<u64, CatalogError> {
    let (mut defs, mut reps, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut row = 0;
    while row < rows {
        defs.clear();
        reps.clear();
        values.clear();
        let wanted = BATCH_ROWS.min((rows - row) as usize);
        let levels = (about.max_def_level() > 0).then_some(&mut defs);
        let repeats = (about.max_rep_level() > 0).then_some(&mut reps);
        let read = reader.read_records(wanted, levels, repeats, &mut values);
        let (records, _, _) = read.map_err(|source| not_readable(naming, source))?;
        if records == 0 {
            break;
        }
        let mut cells = values.iter().map(&cell);
        if about.max_rep_level() > 0 {
            push_lists(about, &defs, &reps, &mut cells, |offset, cell| push(row + offset, cell))?;
        } else {
            push_flat(about, records, &defs, &mut cells, |offset, cell| push(row + offset, cell))?;
        }
        row += records as u64;
    }
    Ok(row)
}

fn push_flat(
    about: &ColumnDescriptor,
    records: usize,
    defs: &[i16],
    cells: &mut dyn Iterator<Item = Cell<'_>>,
    mut push: impl FnMut(u64, &Cell<'_>) -> Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    for offset in 0..records {
        let present = defs.get(offset).is_none_or(|&def| def == about.max_def_level());
        let cell = if present { cells.next().unwrap_or(Cell::Missing) } else { Cell::Missing };
        push(offset as u64, &cell)?;
    }
    Ok(())
}

/// Puts lists together again. A repetition level of 0 starts a row; the definition level tells a null list, an empty
/// one, a null inside and a value apart (Dremel encoding, Parquet's `Encodings.md`).
fn push_lists(
    about: &ColumnDescriptor,
    defs: &[i16],
    reps: &[i16],
    cells: &mut dyn Iterator<Item = Cell<'_>>,
    mut push: impl FnMut(u64, &Cell<'_>) -> Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    let (value_def, element_def) = (about.max_def_level(), about.repeated_ancestor_def_level());
    let mut list = None;
    let mut offset = 0;
    for (&def, &rep) in defs.iter().zip(reps) {
        if rep == 0
            && let Some(done) = list.replace(Ok(Vec::new()))
        {
            push(offset, &list_cell(done))?;
            offset += 1;
        }
        let element = match def {
            def if def == value_def => cells.next().unwrap_or(Cell::Missing),
            def if def >= element_def => Cell::Missing,
            def if def == element_def - 1 => continue,
            _ => Cell::Missing,
        };
        if let Some(open) = &mut list {
            add(open, &element);
        }
    }
    list.map_or(Ok(()), |done| push(offset, &list_cell(done)))
}

/// A list so far, or what makes it no list of numbers.
type List = Result<Vec<f64>, Cell<'static>>;

fn add(list: &mut List, element: &Cell<'_>) {
    let Ok(numbers) = list else { return };
    match element {
        Cell::Int(value) => numbers.push(*value as f64),
        Cell::Float(value) => numbers.push(*value),
        Cell::Missing => *list = Err(Cell::Missing),
        _ => *list = Err(Cell::Other("a list of other things than numbers")),
    }
}

fn list_cell(list: List) -> Cell<'static> {
    list.map_or_else(|other| other, Cell::Numbers)
}
