//! Writes columns into a Parquet file in memory.

use std::sync::Arc;

use ::parquet::basic::{
    Compression, ConvertedType, Encoding, LogicalType, Repetition, Type as Physical, ZstdLevel,
};
use ::parquet::column::writer::ColumnWriterImpl;
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::{ColumnPath, Type, TypePtr};

use crate::catalog::column::{Column, ColumnKind, Values};

/// Rows of a row group: what a reader must hold at once of a column.
pub const GROUP_ROWS: usize = 1 << 20;

/// Values that are converted at once.
const BATCH: usize = 1 << 14;

/// The bytes of a file with these columns of `rows` values each, and one pair of metadata.
pub fn to_parquet(
    columns: &[Column],
    rows: usize,
    group_rows: usize,
    about: (&str, String),
) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("snapshot").with_fields(fields).build()?;
    let mut file =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties(columns, about)?))?;
    for first in (0..rows).step_by(group_rows) {
        let rows = first..rows.min(first + group_rows);
        let mut group = file.next_row_group()?;
        for column in columns {
            let mut writer = group.next_column()?.expect("the schema has a leaf a column");
            write(&mut writer, column, rows.clone())?;
            writer.close()?;
        }
        group.close()?;
    }
    file.into_inner()
}

/// Compressed; paths, mostly sorted, by what they share with the one before, other columns by Parquet's defaults.
fn properties(columns: &[Column], about: (&str, String)) -> Result<WriterProperties, ParquetError> {
    let pair = KeyValue::new(about.0.to_owned(), about.1);
    let common = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![pair]));
    let paths = columns.iter().filter(|column| column.kind() == ColumnKind::Path);
    let properties = paths.fold(common, |properties, column| {
        let path = ColumnPath::new(vec![column.name().to_owned()]);
        properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
    });
    Ok(properties.build())
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let required = |name: &str, physical| {
        let leaf = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        leaf.build().map(Arc::new)
    };
    match &column.values {
        // A path may be no UTF-8; then the column is plain bytes.
        Values::Bytes(strings) if (0..strings.len()).all(|row| str::from_utf8(strings.get(row)).is_ok()) => {
            let leaf = Type::primitive_type_builder(column.name(), Physical::BYTE_ARRAY)
                .with_repetition(Repetition::REQUIRED)
                .with_logical_type(Some(LogicalType::String));
            leaf.build().map(Arc::new)
        }
        Values::Bytes(_) => required(column.name(), Physical::BYTE_ARRAY),
        Values::Ints(_) => required(column.name(), Physical::INT64),
        Values::Floats(_) => required(column.name(), Physical::FLOAT),
        Values::Vectors { .. } => list(column.name(), required("element", Physical::FLOAT)?),
        Values::MultiHot { .. } | Values::Tokens { .. } => {
            list(column.name(), required("element", Physical::INT32)?)
        }
    }
}

/// The three-level list of Parquet's `LogicalTypes.md`, with nothing null.
fn list(name: &str, element: TypePtr) -> Result<TypePtr, ParquetError> {
    let inner =
        Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]);
    let outer = Type::group_type_builder(name)
        .with_repetition(Repetition::REQUIRED)
        .with_converted_type(ConvertedType::LIST)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(inner.build()?)]);
    outer.build().map(Arc::new)
}

fn write(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    rows: std::ops::Range<usize>,
) -> Result<(), ParquetError> {
    match &column.values {
        Values::Bytes(strings) => {
            flat(writer.typed::<ByteArrayType>(), rows, |row| ByteArray::from(strings.get(row).to_vec()))
        }
        Values::Ints(ints) => flat(writer.typed::<Int64Type>(), rows, |row| ints[row]),
        Values::Floats(floats) => flat(writer.typed::<FloatType>(), rows, |row| floats[row]),
        Values::Vectors { len, numbers } => {
            lists(writer.typed::<FloatType>(), rows, |row| numbers[row * len..][..*len].iter().copied())
        }
        Values::MultiHot { .. } => lists(writer.typed::<Int32Type>(), rows, |row| {
            column.classes(row as u64).iter().map(|&class| class as i32)
        }),
        Values::Tokens { .. } => {
            lists(writer.typed::<Int32Type>(), rows, |row| column.tokens(row as u64).iter().copied())
        }
    }
}

fn flat<T: DataType>(
    writer: &mut ColumnWriterImpl<'_, T>,
    rows: std::ops::Range<usize>,
    value: impl Fn(usize) -> T::T,
) -> Result<(), ParquetError> {
    for first in rows.clone().step_by(BATCH) {
        let values: Vec<_> = (first..rows.end.min(first + BATCH)).map(&value).collect();
        writer.write_batch(&values, None, None)?;
    }
    Ok(())
}

/// Repetition level 0 begins a row; definition level 0 is an empty list, 1 a value (Dremel encoding).
fn lists<T: DataType, I: Iterator<Item = T::T>>(
    writer: &mut ColumnWriterImpl<'_, T>,
    rows: std::ops::Range<usize>,
    list: impl Fn(usize) -> I,
) -> Result<(), ParquetError> {
    let (mut values, mut defs, mut reps) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows.clone() {
        let before = values.len();
        values.extend(list(row));
        let added = values.len() - before;
        defs.extend(std::iter::repeat_n(i16::from(added > 0), added.max(1)));
        reps.extend((0..added.max(1)).map(|place| i16::from(place > 0)));
        if defs.len() >= BATCH || row + 1 == rows.end {
            writer.write_batch(&values, Some(&defs), Some(&reps))?;
            values.clear();
            defs.clear();
            reps.clear();
        }
    }
    Ok(())
}
