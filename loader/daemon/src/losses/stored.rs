//! A ledger as a Parquet file: a line a sample, and beside them what it is the ledger of.
//!
//! `docs/decisions/0010-losses.md` has the columns. Numbers that are not there are NaN, which pandas takes for missing.

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};

use super::book::BookSource;
use super::{Book, Entry, Stat, Step};
use crate::container::parquet::Reader;
use crate::error::{Fault, Kind};

/// The version of the file's layout.
pub(super) const VERSION: u32 = 1;
/// The name of the header among the file's metadata.
const HEADER: &str = "forebay.losses";
/// Samples of a row group.
pub(super) const GROUP_SAMPLES: usize = 1 << 16;

const SCHEMA: &str = "message losses {
  required binary source (UTF8);
  required binary key (UTF8);
  required int64 sample;
  required int64 count;
  required double mean;
  required double max;
  required double last;
  required int64 nan;
  required int64 epoch;
  required int64 position;
  required double recent;
}";

/// What a file is the ledger of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) job_id: String,
    pub(super) order_digest: String,
    pub(super) content_digest: String,
    /// Of the daemon that wrote it.
    pub(super) instance: String,
    pub(super) written_unix_ms: u64,
    pub(super) sources: Vec<BookSource>,
    pub(super) steps: Vec<StoredStep>,
}

/// A step that stood out. Numbers that are no finite ones are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredStep {
    epoch: u64,
    first_row: u64,
    rows: u32,
    rank: u32,
    loss: Option<f64>,
    nan: u32,
    usual: f64,
    spread: f64,
    z: f64,
    worst: Vec<(String, Option<f32>)>,
}

impl From<Step<String>> for StoredStep {
    fn from(step: Step<String>) -> Self {
        let Step { epoch, first_row, rows, rank, loss, nan, usual, spread, z, worst } = step;
        let worst = worst.into_iter().map(|(key, loss)| (key, Some(loss).filter(|loss| loss.is_finite())));
        let worst = worst.collect();
        Self { epoch, first_row, rows, rank, loss, nan, usual, spread, z, worst }
    }
}

impl From<StoredStep> for Step<String> {
    fn from(step: StoredStep) -> Self {
        let StoredStep { epoch, first_row, rows, rank, loss, nan, usual, spread, z, worst } = step;
        let worst = worst.into_iter().map(|(key, loss)| (key, loss.unwrap_or(f32::NAN))).collect();
        Self { epoch, first_row, rows, rank, loss, nan, usual, spread, z, worst }
    }
}

/// Writes a whole file. `groups`: entries with their keys, a row group at a time.
pub(super) fn write<W: Write + Send>(
    to: W,
    header: &Header,
    groups: impl Iterator<Item = Vec<Entry>>,
) -> Result<W, ParquetError> {
    let text = serde_json::to_string(header).map_err(|error| ParquetError::External(error.into()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![KeyValue::new(HEADER.to_owned(), text)]));
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(to, schema, Arc::new(properties.build()))?;
    for entries in groups {
        let mut group = file.next_row_group()?;
        write_group(&mut group, header, &entries)?;
        group.close()?;
    }
    file.into_inner()
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    header: &Header,
    entries: &[Entry],
) -> Result<(), ParquetError> {
    let key = |entry: &Entry| ByteArray::from(entry.key.as_deref().unwrap_or_default());
    let source = |entry: &Entry| ByteArray::from(header.sources[entry.source as usize].name.as_str());
    texts(group, entries, source)?;
    texts(group, entries, key)?;
    ints(group, entries, |entry| entry.sample.unwrap_or_default())?;
    ints(group, entries, |entry| entry.stat.count.into())?;
    floats(group, entries, |stat| stat.mean().unwrap_or(f64::NAN))?;
    floats(group, entries, |stat| stat.max.into())?;
    floats(group, entries, |stat| stat.last.into())?;
    ints(group, entries, |entry| entry.stat.nan.into())?;
    ints(group, entries, |entry| entry.stat.epoch.into())?;
    ints(group, entries, |entry| entry.stat.position)?;
    floats(group, entries, |stat| stat.recent.into())
}

fn texts<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    entries: &[Entry],
    value: impl Fn(&Entry) -> ByteArray,
) -> Result<(), ParquetError> {
    let values: Vec<_> = entries.iter().map(value).collect();
    let mut column = group.next_column()?.expect("the schema has the column");
    column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
    column.close()
}

fn ints<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    entries: &[Entry],
    value: impl Fn(&Entry) -> u64,
) -> Result<(), ParquetError> {
    let values: Vec<_> = entries.iter().map(|entry| value(entry) as i64).collect();
    let mut column = group.next_column()?.expect("the schema has the column");
    column.typed::<Int64Type>().write_batch(&values, None, None)?;
    column.close()
}

fn floats<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    entries: &[Entry],
    value: impl Fn(&Stat) -> f64,
) -> Result<(), ParquetError> {
    let values: Vec<_> = entries.iter().map(|entry| value(&entry.stat)).collect();
    let mut column = group.next_column()?.expect("the schema has the column");
    column.typed::<DoubleType>().write_batch(&values, None, None)?;
    column.close()
}

/// Reads what a file is the ledger of.
///
/// # Errors
/// As [`read`].
pub(super) fn read_header(path: &Path) -> Result<Header, Fault> {
    guarded(path, |file| open(file).map(|(_, header)| header))
}

/// Reads a file. The parser may panic on a damaged one; that is an error like any other.
///
/// # Errors
/// NotFound or Denied where it can't be read; Corrupt where it is no ledger, naming it and the cure.
pub(super) fn read(path: &Path) -> Result<Book, Fault> {
    guarded(path, read_whole)
}

fn guarded<T>(path: &Path, parse: impl FnOnce(File) -> Result<T, String>) -> Result<T, Fault> {
    let name = || format!("ledger {}", path.display());
    let file = File::open(path).map_err(|error| {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        Fault::from_error(if denied { Kind::Denied } else { Kind::NotFound }, &error).context(name())
    })?;
    let parsed = catch_unwind(AssertUnwindSafe(|| parse(file)));
    let parsed = parsed.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
    parsed.map_err(|detail| {
        Fault::new(Kind::Corrupt, detail).context(name()).hint("it is no ledger of losses: move it elsewhere")
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the parser gave up").to_owned()
}

fn open(file: File) -> Result<(Reader<File>, Header), String> {
    let said = |error: ParquetError| error.to_string();
    let reader = Reader::new(file).map_err(said)?;
    let about = reader.metadata().file_metadata();
    let pairs = about.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let text = pairs.iter().find(|pair| pair.key == HEADER).and_then(|pair| pair.value.as_deref());
    let text = text.ok_or_else(|| format!("it has no {HEADER} in its metadata"))?;
    let header: Header = serde_json::from_str(text).map_err(|error| format!("{HEADER}: {error}"))?;
    if header.version != VERSION {
        return Err(format!("version {}, this program reads {VERSION}", header.version));
    }
    if about.schema() != &parse_message_type(SCHEMA).map_err(said)? {
        return Err("it has other columns than a ledger".to_owned());
    }
    Ok((reader, header))
}

fn read_whole(file: File) -> Result<Book, String> {
    let (reader, header) = open(file)?;
    let mut entries = Vec::new();
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).map_err(|_| "less than no rows".to_owned())?;
        read_group(&Columns { reader: &reader, group: number, rows }, &header, &mut entries)?;
    }
    Ok(Book {
        job_id: header.job_id,
        ledgers: 1,
        sources: header.sources,
        entries,
        steps: header.steps.into_iter().map(Step::from).collect(),
    })
}

fn read_group(column: &Columns<'_>, header: &Header, entries: &mut Vec<Entry>) -> Result<(), String> {
    let (sources, keys) = (column.texts(0)?, column.texts(1)?);
    let [samples, counts, nans, epochs, positions] =
        [column.ints(2)?, column.ints(3)?, column.ints(7)?, column.ints(8)?, column.ints(9)?];
    let [means, maxima, lasts, recents] =
        [column.floats(4)?, column.floats(5)?, column.floats(6)?, column.floats(10)?];
    for row in 0..column.rows {
        let source = header.sources.iter().position(|source| source.name.as_bytes() == sources[row].data());
        let source = source.ok_or_else(|| format!("row {row}: a source that the header does not name"))?;
        if samples[row] >= header.sources[source].samples {
            return Err(format!("row {row}: sample {} of {}", samples[row], header.sources[source].samples));
        }
        let small = |value: u64, name| u32::try_from(value).map_err(|_| format!("row {row}: {name} {value}"));
        let count = small(counts[row], "count")?;
        let stat = Stat {
            sum: if count == 0 { 0.0 } else { means[row] * f64::from(count) },
            position: positions[row],
            epoch: small(epochs[row], "epoch")?,
            count,
            nan: small(nans[row], "nan")?,
            max: maxima[row] as f32,
            last: lasts[row] as f32,
            recent: recents[row] as f32,
        };
        if !stat.is_seen() || !stat.sum.is_finite() {
            return Err(format!("row {row}: {stat:?}"));
        }
        let key = String::from_utf8_lossy(keys[row].data()).into_owned().into();
        let sample = Some(samples[row]);
        entries.push(Entry { source: source as u32, sample, key: Some(key), stat });
    }
    Ok(())
}

/// The columns of a row group, read whole.
struct Columns<'a> {
    reader: &'a Reader<File>,
    group: usize,
    rows: usize,
}

impl Columns<'_> {
    fn texts(&self, number: usize) -> Result<Vec<ByteArray>, String> {
        let ColumnReader::ByteArrayColumnReader(mut reader) = self.reader(number)? else {
            return Err("a column of another type".to_owned());
        };
        let mut values = Vec::new();
        self.whole(number, reader.read_records(self.rows, None, None, &mut values))?;
        Ok(values)
    }

    fn ints(&self, number: usize) -> Result<Vec<u64>, String> {
        let ColumnReader::Int64ColumnReader(mut reader) = self.reader(number)? else {
            return Err("a column of another type".to_owned());
        };
        let mut values = Vec::new();
        self.whole(number, reader.read_records(self.rows, None, None, &mut values))?;
        let whole = |value: i64| u64::try_from(value).map_err(|_| format!("column {number}: {value}"));
        values.into_iter().map(whole).collect()
    }

    fn floats(&self, number: usize) -> Result<Vec<f64>, String> {
        let ColumnReader::DoubleColumnReader(mut reader) = self.reader(number)? else {
            return Err("a column of another type".to_owned());
        };
        let mut values = Vec::new();
        self.whole(number, reader.read_records(self.rows, None, None, &mut values))?;
        Ok(values)
    }

    fn reader(&self, number: usize) -> Result<ColumnReader, String> {
        self.reader.column(self.group, number).map_err(|error| error.to_string())
    }

    fn whole(&self, number: usize, read: Result<(usize, usize, usize), ParquetError>) -> Result<(), String> {
        let (rows, ..) = read.map_err(|error| format!("column {number}: {error}"))?;
        if rows == self.rows {
            Ok(())
        } else {
            Err(format!("column {number} has {rows} of {} rows", self.rows))
        }
    }
}
