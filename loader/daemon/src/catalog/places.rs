//! Where the bytes of a column of files lie, sample by sample: in a file of their own, or in one that holds many; and what
//! of it must be read to have them.

use super::column::{Column, ColumnKind};
use super::shards::{RECORD, SHARD_BYTES};
use super::snapshot::Snapshot;
use super::table::{Cells, Table};
use crate::container::parquet::{self, Cell, PageError};
use crate::decode::record::{self, FOOT_BYTES, RecordError};
use crate::storage::{Head, Opened, ReadBuf, Root, StorageError, head};

/// A record or page must be read whole for one value in it; a longer one is refused.
const CONTAINER_BYTES_MAX: u64 = 1 << 30;

/// A column of paths, with the columns beside it that say which bytes of each file are meant.
///
/// These are the same that a job goes by: whole numbers `NAME.offset` and `NAME.length`, `tfrecord.offset` and
/// `tfrecord.length`, `NAME.row` and `shard_bytes`. Samples may lack them: they have files of their own.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    path: Marked<'a>,
    extent: Option<Pair<'a>>,
    record: Option<Pair<'a>>,
    cell: Option<Marked<'a>>,
    file_bytes: Option<Marked<'a>>,
}

/// A column, and which samples have a value in it.
#[derive(Clone, Copy)]
struct Marked<'a> {
    column: &'a Column,
    present: Option<&'a [bool]>,
}

#[derive(Clone, Copy)]
struct Pair<'a> {
    offset: Marked<'a>,
    length: Marked<'a>,
}

/// Where the bytes of one sample lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The file, relative to the root.
    pub path: &'a [u8],
    /// (offset, length) of the value in the file, or of the page that it is in; all of the file where absent.
    extent: Option<(u64, u64)>,
    /// (offset, length) of the record that the value is a part of.
    record: Option<(u64, u64)>,
    /// Which value of a page it is.
    cell: Option<Cell>,
    /// How large the file has to be.
    file_bytes: Option<u64>,
}

/// Why a value could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Its bytes did not arrive: says nothing about the sample.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// They arrived, and the record is not what was written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// They arrived, and the page is not what was written.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl<'a> Places<'a> {
    /// By a column of paths of a table; `None`: there is none of that name.
    pub fn of_table(table: &'a Table, name: &str) -> Option<Self> {
        Self::new(name, |name| table.column(name).map(Marked::of))
    }

    /// The same of a snapshot.
    pub fn of_snapshot(snapshot: &'a Snapshot, name: &str) -> Option<Self> {
        Self::new(name, |name| snapshot.column(name).map(|column| Marked { column, present: None }))
    }

    fn new(name: &str, find: impl Fn(&str) -> Option<Marked<'a>>) -> Option<Self> {
        let path = find(name).filter(|marked| marked.column.kind() == ColumnKind::Path)?;
        let ints = |name: String| find(&name).filter(|marked| marked.column.kind() == ColumnKind::Int);
        let pair = |name: &str| {
            let (offset, length) = (ints(format!("{name}.offset"))?, ints(format!("{name}.length"))?);
            Some(Pair { offset, length })
        };
        let extent = pair(name);
        let beside = |marked: Option<Marked<'a>>| marked.filter(|_| extent.is_some());
        Some(Self {
            path,
            extent,
            record: extent.and_then(|_| pair(RECORD)),
            cell: beside(ints(format!("{name}.row"))),
            file_bytes: beside(ints(SHARD_BYTES.to_owned())),
        })
    }

    /// Whether any sample may lie in a file that holds many.
    pub fn are_in_shards(&self) -> bool {
        self.extent.is_some()
    }

    /// Where a sample's bytes lie; `None`: it has none in this column.
    pub fn of(&self, row: usize) -> Option<Location<'a>> {
        let path = self.path.has(row).then(|| self.path.column.path(row as u64))?;
        let Some(extent) = self.extent.and_then(|pair| pair.of(row)) else {
            return Some(Location::own_file(path));
        };
        Some(Location {
            path,
            extent: Some(extent),
            record: self.record.and_then(|pair| pair.of(row)),
            cell: self.cell.and_then(|marked| Cell::of_int(marked.int(row)?)),
            file_bytes: self.file_bytes.and_then(|marked| marked.whole(row)),
        })
    }
}

impl<'a> Marked<'a> {
    fn of(cells: &'a Cells) -> Self {
        Self { column: cells.column(), present: cells.present() }
    }

    fn has(&self, row: usize) -> bool {
        self.present.is_none_or(|present| present[row])
    }

    fn int(&self, row: usize) -> Option<i64> {
        self.has(row).then(|| self.column.int(row as u64))
    }

    /// A place that is negative lies behind the end of every file.
    fn whole(&self, row: usize) -> Option<u64> {
        self.int(row).map(|number| u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl Pair<'_> {
    fn of(self, row: usize) -> Option<(u64, u64)> {
        self.offset.whole(row).zip(self.length.whole(row))
    }
}

impl<'a> Location<'a> {
    /// A whole file.
    pub fn own_file(path: &'a [u8]) -> Self {
        Self { path, extent: None, record: None, cell: None, file_bytes: None }
    }

    /// The part of the file that holds the value's own bytes and nothing else, as (offset, length); `None`: all of it, or
    /// they have no place of their own.
    pub fn own_extent(&self) -> Option<(u64, u64)> {
        self.extent.filter(|_| self.cell.is_none())
    }

    /// Whether the bytes can be had only with a record or page that says whether they are what was written.
    pub fn is_checked(&self) -> bool {
        self.record.is_some() || self.cell.is_some()
    }

    /// The part of the file that is looked at for it, page or record included; `None`: all of it.
    pub fn read_extent(&self) -> Option<(u64, u64)> {
        match (self.cell, self.record) {
            (None, Some((offset, len))) => Some((offset, len.saturating_add(FOOT_BYTES))),
            _ => self.extent,
        }
    }

    /// The value among the bytes of [`read_extent`](Self::read_extent), where these are no page.
    fn value<'b>(&self, read: &'b [u8]) -> Result<&'b [u8], ValueError> {
        match self.record.zip(self.extent) {
            Some(((start, _), (offset, len))) => Ok(record::value(read, offset.wrapping_sub(start), len)?),
            None => Ok(read),
        }
    }
}

/// Reads values one after another, each whole. What serves several of them is read once: the record of two fields, the
/// page of many rows.
pub struct Values<'a> {
    opened: Opened<'a>,
    buf: ReadBuf,
    /// The part of a file that `buf` holds.
    held: Option<(u64, u64)>,
    /// For what is inflated of a page.
    scratch: Vec<u8>,
    /// The values of the page that `buf` holds, once they are asked for: hundreds of images may be in one.
    page: Option<Vec<u8>>,
}

impl<'a> Values<'a> {
    /// Nothing is read yet.
    pub fn new(root: &'a Root) -> Self {
        let (buf, scratch) = (ReadBuf::default(), Vec::new());
        Self { opened: Opened::new(root), buf, held: None, scratch, page: None }
    }

    /// A value, whole; records and pages are held to their checksums.
    ///
    /// * `limit_bytes`: of a value that has a place of its own.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn get(&mut self, place: &Location<'_>, limit_bytes: u64) -> Result<&[u8], ValueError> {
        let extent = place.read_extent();
        let limit_bytes = if place.is_checked() { CONTAINER_BYTES_MAX } else { limit_bytes };
        self.read(place, extent, limit_bytes)?;
        let Self { buf, scratch, page, .. } = self;
        match place.cell {
            None => place.value(&buf.bytes),
            Some(cell @ Cell::InBlocks { .. }) => Ok(parquet::value(&buf.bytes, cell, scratch)?),
            Some(Cell::InPage { index, codec, has_levels }) => {
                if page.is_none() {
                    *page = Some(parquet::values(&buf.bytes, codec, has_levels, scratch)?.to_vec());
                }
                Ok(parquet::nth(page.as_deref().unwrap_or_default(), index)?)
            }
        }
    }

    /// A part of a value that has a place of its own, or of a file.
    ///
    /// # Errors
    /// As any read.
    pub fn part(&mut self, place: &Location<'_>, (offset, len): (u64, u64)) -> Result<&[u8], StorageError> {
        let from = place.own_extent().map_or(0, |(from, _)| from);
        self.read(place, Some((from.saturating_add(offset), len)), len)?;
        Ok(&self.buf.bytes)
    }

    /// The first bytes of a value, `len_max` at most, and how long it is. Nothing else is read where it has a place of its
    /// own; its record is not held to its checksum then.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn start(&mut self, place: &Location<'_>, len_max: u64) -> Result<Head, ValueError> {
        let Some((offset, len)) = place.extent else {
            return Ok(head(self.opened.root(), place.path, len_max)?);
        };
        if place.cell.is_some() {
            let value = self.get(place, len_max)?;
            let bytes = value[..value.len().min(len_max as usize)].to_vec();
            return Ok(Head { bytes, file_bytes: value.len() as u64 });
        }
        self.read(place, Some((offset, len.min(len_max))), len_max)?;
        Ok(Head { bytes: self.buf.bytes.to_vec(), file_bytes: len })
    }

    fn read(
        &mut self,
        place: &Location<'_>,
        extent: Option<(u64, u64)>,
        limit_bytes: u64,
    ) -> Result<(), StorageError> {
        if extent.is_some() && self.held == extent && self.buf.path == place.path {
            return Ok(());
        }
        (self.held, self.page) = (None, None);
        self.buf.set_path(place.path);
        self.buf.file_bytes = place.file_bytes;
        self.opened.read(&mut self.buf, extent, limit_bytes)?;
        self.held = extent;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogLimits, SourceSpec, open};

    fn table(lines: &str) -> Table {
        let json_lines = lines.as_bytes().to_vec();
        let spec = SourceSpec::Records { root: Some("/".into()), json_lines, columns: Vec::new() };
        Table::of(&open(&spec, &CatalogLimits::default()).expect("records"))
    }

    #[test]
    fn files_members_and_records_stand_side_by_side_in_one_column() {
        let mut all = table(r#"{"key":"a","image":"a.jpg"}"#);
        let member = r#"{"key":"b","image":"b.tar","image.offset":3,"image.length":4,"shard_bytes":9}"#;
        all.append(table(member)).expect("kinds agree");
        let record = r#"{"key":"c","image":"c.tfrecord","image.offset":4,"image.length":2,"shard_bytes":99,"tfrecord.offset":2,"tfrecord.length":5}"#;
        all.append(table(record)).expect("kinds agree");
        let places = Places::of_table(&all, "image").expect("a column of paths");
        assert!(places.are_in_shards() && Places::of_table(&all, "image.offset").is_none());
        let of = |row| places.of(row).expect("each has a file");
        assert_eq!((of(0).path, of(0).read_extent(), of(0).file_bytes), (&b"a.jpg"[..], None, None));
        assert_eq!((of(1).read_extent(), of(1).file_bytes), (Some((3, 4)), Some(9)));
        assert_eq!((of(2).read_extent(), of(2).own_extent()), (Some((2, 9)), Some((4, 2))));
        assert_eq!([0, 1, 2].map(|row| of(row).is_checked()), [false, false, true]);
    }

    #[test]
    fn values_come_whole_and_begin_without_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut framed = b"tag:data;".to_vec();
        framed.extend(record::checksum(b"tag:data;").to_le_bytes());
        std::fs::write(dir.path().join("r"), [&b"HEAD"[..], &framed].concat()).expect("a file");
        std::fs::write(dir.path().join("own"), b"whole file").expect("a file");
        let own = Location::own_file(b"own");
        let value = Location { extent: Some((8, 4)), record: Some((4, 9)), ..Location::own_file(b"r") };
        let root = Root::open(dir.path()).expect("it is there");
        let mut values = Values::new(&root);
        assert_eq!(values.get(&value, 1).expect("a sound record"), b"data");
        assert_eq!(values.get(&own, 99).expect("a file"), b"whole file");
        let start = values.start(&own, 5).expect("a file");
        assert_eq!((&start.bytes[..], start.file_bytes), (&b"whole"[..], 10));
        framed[0] ^= 1;
        std::fs::write(dir.path().join("r"), [&b"HEAD"[..], &framed].concat()).expect("a file");
        let start = values.start(&value, 2).expect("the header alone");
        assert_eq!((&start.bytes[..], start.file_bytes), (&b"da"[..], 4));
        assert!(matches!(values.get(&value, 1), Err(ValueError::Record(_))));
        let replaced = Location { file_bytes: Some(7), ..value };
        assert!(matches!(
            Values::new(&root).get(&replaced, 1),
            Err(ValueError::Storage(StorageError::OtherSize { .. }))
        ));
    }
}
