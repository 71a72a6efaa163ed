//! Where the bytes of a field lie: a file of its own, or an extent of one that holds many samples.

use crate::catalog::{Column, ColumnKind, FRAMES, RECORD, SHARD_BYTES, Snapshot};
use crate::container::parquet::{self, Cell};
use crate::decode::record::{self, FOOT_BYTES};
use crate::error::Fault;
use crate::transform::SampleError;

/// A path column, and the columns beside it that say which bytes of the file are meant.
///
/// Beside a path column `NAME` these are the whole numbers `NAME.offset` and `NAME.length`, in bytes; all of the file where
/// they are not there. `shard_bytes` says how large the file is, and `tfrecord.offset` and `tfrecord.length` in which record
/// of a TFRecord file the bytes lie, which is then read whole and held to its checksum. `NAME.row` says that they are a page of
/// a Parquet file, and which of its values is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    column: usize,
    extent: Option<Pair>,
    record: Option<Pair>,
    /// Which value of a page the bytes are, where they are a page.
    cell: Option<usize>,
    file_bytes: Option<usize>,
}

/// Numbers of the columns of an offset and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    offset: usize,
    length: usize,
}

impl Located {
    /// By path column number `column`.
    ///
    /// # Errors
    /// Invalid: a place that is negative.
    pub(super) fn of(snapshot: &Snapshot, column: usize) -> Result<Self, Fault> {
        let extent = Pair::of(snapshot, snapshot.columns()[column].name())?;
        let beside = |find: fn(&Snapshot) -> Result<Option<Pair>, Fault>| match extent {
            Some(_) => find(snapshot),
            None => Ok(None),
        };
        let record = beside(|snapshot| Pair::of(snapshot, RECORD))?;
        let file_bytes = extent.and_then(|_| ints(snapshot, SHARD_BYTES));
        let row = format!("{}.row", snapshot.columns()[column].name());
        let cell = extent.and_then(|_| ints(snapshot, &row));
        Ok(Self { column, extent, record, cell, file_bytes })
    }

    /// Whether what is read are the bytes, with no checksum to hold them to and nothing to inflate.
    pub fn is_plain(&self) -> bool {
        self.record.is_none() && self.cell.is_none()
    }

    /// Number of the path column.
    pub fn column(&self) -> usize {
        self.column
    }

    /// `(offset_bytes, len_bytes)` of what must be read of a sample's file; all of it where absent.
    pub fn extent(&self, snapshot: &Snapshot, sample: u64) -> Option<(u64, u64)> {
        match self.record {
            Some(record) => {
                let (offset, len) = record.at(snapshot, sample);
                Some((offset, len.saturating_add(FOOT_BYTES)))
            }
            None => self.value(snapshot, sample),
        }
    }

    /// `(offset_bytes, len_bytes)` of the value itself in its file; all of it where absent.
    pub fn value(&self, snapshot: &Snapshot, sample: u64) -> Option<(u64, u64)> {
        self.extent.map(|extent| extent.at(snapshot, sample))
    }

    /// How large a sample's file must be, where that is known.
    pub fn file_bytes(&self, snapshot: &Snapshot, sample: u64) -> Option<u64> {
        self.file_bytes.map(|column| snapshot.columns()[column].int(sample) as u64)
    }

    /// The field's own bytes among those that were read.
    ///
    /// * `page`: for what is inflated.
    ///
    /// # Errors
    /// The record or page that they lie in is damaged.
    pub fn payload<'a>(
        &self,
        snapshot: &Snapshot,
        sample: u64,
        read: &'a [u8],
        page: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SampleError> {
        let cell = self.cell.and_then(|column| Cell::of_int(snapshot.columns()[column].int(sample)));
        if let Some(cell) = cell {
            return Ok(parquet::value(read, cell, page)?);
        }
        let Some((record, extent)) = self.record.zip(self.extent) else { return Ok(read) };
        let ((start, _), (offset, len)) = (record.at(snapshot, sample), extent.at(snapshot, sample));
        Ok(record::value(read, offset.wrapping_sub(start), len)?)
    }

    /// Whether the lengths of places are those of values, and not of the pages that they lie in.
    pub fn has_lengths(&self) -> bool {
        self.extent.is_some() && self.cell.is_none()
    }
}

impl Pair {
    fn of(snapshot: &Snapshot, name: &str) -> Result<Option<Self>, Fault> {
        let columns =
            ints(snapshot, &format!("{name}.offset")).zip(ints(snapshot, &format!("{name}.length")));
        let Some((offset, length)) = columns else { return Ok(None) };
        for column in [offset, length].map(|column| &snapshot.columns()[column]) {
            if let Some(row) = (0..snapshot.len()).find(|&row| column.int(row) < 0) {
                let key = String::from_utf8_lossy(&snapshot.key(row)).into_owned();
                let message = format!("column {}: {} for sample {key}", column.name(), column.int(row));
                return Err(Fault::invalid(message).hint("offsets and lengths are bytes, 0 or more"));
            }
        }
        Ok(Some(Self { offset, length }))
    }

    fn at(self, snapshot: &Snapshot, sample: u64) -> (u64, u64) {
        let value = |column: usize| snapshot.columns()[column].int(sample) as u64;
        (value(self.offset), value(self.length))
    }
}

/// Whether a column only says where the bytes of another lie, or in which files.
pub(crate) fn is_of_places(snapshot: &Snapshot, column: &Column) -> bool {
    let is_path = |name: &str| snapshot.column(name).is_some_and(|column| column.kind() == ColumnKind::Path);
    let field = [".offset", ".length", ".row"].iter().find_map(|end| column.name().strip_suffix(end));
    if column.kind() == ColumnKind::Text {
        return column.name().strip_suffix(FRAMES).is_some_and(is_path);
    }
    column.kind() == ColumnKind::Int
        && (field.is_some_and(|field| field == RECORD || is_path(field)) || column.name() == SHARD_BYTES)
}

/// The number of a column of whole numbers.
pub(super) fn ints(snapshot: &Snapshot, name: &str) -> Option<usize> {
    let is = |column: &Column| column.name() == name && column.kind() == ColumnKind::Int;
    snapshot.columns().iter().position(is)
}

#[cfg(test)]
mod tests {
    use crate::catalog::{self, CatalogLimits, SourceSpec};

    use super::*;

    fn located(line: &str) -> Result<(Snapshot, Located), Fault> {
        let root = Some(std::env::temp_dir());
        let json_lines = line.as_bytes().to_vec();
        let spec = SourceSpec::Records { root, json_lines, columns: Vec::new() };
        let snapshot = catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot");
        let column = snapshot.columns().iter().position(|column| column.name() == "image").expect("a column");
        Located::of(&snapshot, column).map(|located| (snapshot, located))
    }

    #[test]
    fn a_path_alone_is_a_whole_file_and_with_both_columns_an_extent() {
        let (snapshot, place) = located(r#"{"image":"a.jpg","image.offset":7}"#).unwrap();
        assert_eq!((place.extent(&snapshot, 0), place.file_bytes(&snapshot, 0)), (None, None));
        let line = r#"{"image":"a.tar","image.offset":512,"image.length":9,"shard_bytes":10240}"#;
        let (snapshot, place) = located(line).unwrap();
        assert_eq!(place.extent(&snapshot, 0), Some((512, 9)));
        assert_eq!(place.file_bytes(&snapshot, 0), Some(10_240));
        assert_eq!(place.payload(&snapshot, 0, b"anything", &mut Vec::new()), Ok(&b"anything"[..]));
    }

    #[test]
    fn a_value_of_a_record_is_read_with_all_of_it() {
        let line = r#"{"image":"a.tfrecord","image.offset":16,"image.length":4,"tfrecord.offset":12,"tfrecord.length":9}"#;
        let (snapshot, place) = located(line).unwrap();
        assert_eq!(place.extent(&snapshot, 0), Some((12, 13)));
        assert_eq!(place.value(&snapshot, 0), Some((16, 4)));
        let mut read = b"tag:data;".to_vec();
        read.extend(record::checksum(b"tag:data;").to_le_bytes());
        assert_eq!(place.payload(&snapshot, 0, &read, &mut Vec::new()), Ok(&b"data"[..]));
        read[0] ^= 1;
        assert!(place.payload(&snapshot, 0, &read, &mut Vec::new()).is_err());
    }

    #[test]
    fn negative_places_are_refused_by_name() {
        let fault = located(r#"{"image":"a.tar","image.offset":-1,"image.length":9}"#).unwrap_err();
        assert!(fault.message.contains("image.offset") && fault.message.contains("a.tar"), "{fault}");
    }
}
