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
    columns: &[Nullable<'_>],
    rows: usize,
    group_rows: usize,
    about: (&str, String),
) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(Nullable::field).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("snapshot").with_fields(fields).build()?;
    let mut file =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties(columns, about)?))?;
    for first in (0..rows).step_by(group_rows) {
        let rows = first..rows.min(first + group_rows);
        let mut group = file.next_row_group()?;
        for column in columns {
            let mut writer = group.next_column()?.expect("the schema has a leaf a column");
            column.write(&mut writer, rows.clone())?;
            writer.close()?;
        }
        group.close()?;
    }
    file.into_inner()
}

/// Compressed; paths, mostly sorted, by what they share with the one before, other columns by Parquet's defaults.
fn properties(columns: &[Nullable<'_>], about: (&str, String)) -> Result<WriterProperties, ParquetError> {
    let pair = KeyValue::new(about.0.to_owned(), about.1);
    let common = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![pair]));
    let columns = columns.iter().map(|nullable| nullable.column);
    let paths = columns.filter(|column| column.kind() == ColumnKind::Path);
    let properties = paths.fold(common, |properties, column| {
        let path = ColumnPath::new(vec![column.name().to_owned()]);
        properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
    });
    Ok(properties.build())
}

/// Values, and which rows have none.
#[derive(Clone, Copy)]
pub struct Nullable<'a> {
    pub column: &'a Column,
    /// Absent: all rows have a value.
    pub present: Option<&'a [bool]>,
}

impl Nullable<'_> {
    fn field(&self) -> Result<TypePtr, ParquetError> {
        let name = self.column.name();
        match &self.column.values {
            // A path may be no UTF-8; then the column is plain bytes.
            Values::Bytes(strings) => {
                let is_text = (0..strings.len()).all(|row| str::from_utf8(strings.get(row)).is_ok());
                self.leaf(name, Physical::BYTE_ARRAY, is_text.then_some(LogicalType::String))
            }
            Values::Ints(_) | Values::Count(_) => self.leaf(name, Physical::INT64, None),
            Values::Floats(_) => self.leaf(name, Physical::FLOAT, None),
            Values::Vectors { .. } => self.list(name, Physical::FLOAT),
            Values::MultiHot { .. } | Values::Tokens { .. } => self.list(name, Physical::INT32),
        }
    }

    fn leaf(
        &self,
        name: &str,
        physical: Physical,
        logical: Option<LogicalType>,
    ) -> Result<TypePtr, ParquetError> {
        let leaf = Type::primitive_type_builder(name, physical).with_repetition(self.repetition());
        leaf.with_logical_type(logical).build().map(Arc::new)
    }

    /// The three-level list of Parquet's `LogicalTypes.md`, with nothing null inside.
    fn list(&self, name: &str, element: Physical) -> Result<TypePtr, ParquetError> {
        let element = Type::primitive_type_builder("element", element).with_repetition(Repetition::REQUIRED);
        let inner = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(element.build()?)]);
        let outer = Type::group_type_builder(name)
            .with_repetition(self.repetition())
            .with_converted_type(ConvertedType::LIST)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(inner.build()?)]);
        outer.build().map(Arc::new)
    }

    fn repetition(&self) -> Repetition {
        if self.present.is_some() { Repetition::OPTIONAL } else { Repetition::REQUIRED }
    }

    fn has(&self, row: usize) -> bool {
        self.present.is_none_or(|present| present[row])
    }

    fn write(
        &self,
        writer: &mut SerializedColumnWriter<'_>,
        rows: std::ops::Range<usize>,
    ) -> Result<(), ParquetError> {
        let column = self.column;
        match &column.values {
            Values::Bytes(strings) => self.flat(writer.typed::<ByteArrayType>(), rows, |row| {
                ByteArray::from(strings.get(row).to_vec())
            }),
            Values::Ints(_) | Values::Count(_) => {
                self.flat(writer.typed::<Int64Type>(), rows, |row| column.int(row as u64))
            }
            Values::Floats(floats) => self.flat(writer.typed::<FloatType>(), rows, |row| floats[row]),
            Values::Vectors { len, numbers } => self
                .lists(writer.typed::<FloatType>(), rows, |row| numbers[row * len..][..*len].iter().copied()),
            Values::MultiHot { .. } => self.lists(writer.typed::<Int32Type>(), rows, |row| {
                column.classes(row as u64).iter().map(|&class| class as i32)
            }),
            Values::Tokens { .. } => {
                self.lists(writer.typed::<Int32Type>(), rows, |row| column.tokens(row as u64).iter().copied())
            }
        }
    }

    /// Definition level 0 is null, 1 a value; a column without nulls has no levels.
    fn flat<T: DataType>(
        &self,
        writer: &mut ColumnWriterImpl<'_, T>,
        rows: std::ops::Range<usize>,
        value: impl Fn(usize) -> T::T,
    ) -> Result<(), ParquetError> {
        for first in rows.clone().step_by(BATCH) {
            let batch = first..rows.end.min(first + BATCH);
            let values: Vec<_> = batch.clone().filter(|&row| self.has(row)).map(&value).collect();
            let defs = self.present.map(|_| batch.map(|row| i16::from(self.has(row))).collect::<Vec<_>>());
            writer.write_batch(&values, defs.as_deref(), None)?;
        }
        Ok(())
    }

    /// Repetition level 0 begins a row; the definition level counts from null, where rows may be null, to an empty list
    /// and to a value (Dremel encoding).
    fn lists<T: DataType, I: Iterator<Item = T::T>>(
        &self,
        writer: &mut ColumnWriterImpl<'_, T>,
        rows: std::ops::Range<usize>,
        list: impl Fn(usize) -> I,
    ) -> Result<(), ParquetError> {
        let empty = i16::from(self.present.is_some());
        let (mut values, mut defs, mut reps) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows.clone() {
            let before = values.len();
            if self.has(row) {
                values.extend(list(row));
            }
            let added = values.len() - before;
            let def = if self.has(row) { empty + i16::from(added > 0) } else { 0 };
            defs.extend(std::iter::repeat_n(def, added.max(1)));
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
}
