//! The library's reader of Parquet files, given only what it can go through in as many steps as there are bytes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::ColumnDescPtr;

use super::footer::check_footer;
use super::header::{HeaderError, PageHeader, page_header};
use super::{HEADER_BYTES, PAGE_BYTES_MAX, delta};

/// Behind the footer: its length and [`MAGIC`].
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";

/// A Parquet file, or one in memory.
pub struct Reader<R: ChunkReader + 'static> {
    library: SerializedFileReader<Shared<R>>,
    source: Shared<R>,
    checked: RefCell<Checked>,
}

/// The columns of row groups whose pages were looked at.
#[derive(Default)]
struct Checked {
    /// Where each begins and ends.
    columns: HashSet<(u64, u64)>,
    /// Of all of them. They lie side by side: together no longer than the file.
    bytes: u64,
}

impl<R: ChunkReader + 'static> Reader<R> {
    /// Reads the footer.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn new(source: R) -> Result<Self> {
        let source = Shared(Arc::new(source));
        if let Some(footer) = source.footer()? {
            check_footer(&footer).map_err(|_| damaged("its footer is damaged"))?;
        }
        let library = SerializedFileReader::new(source.clone())?;
        Ok(Self { library, source, checked: RefCell::default() })
    }

    /// What the footer says.
    pub fn metadata(&self) -> &ParquetMetaData {
        self.library.metadata()
    }

    /// The values of a leaf column in a row group.
    ///
    /// # Errors
    /// There is no such, it cannot be read, or a page has no header.
    pub fn column(&self, group: usize, leaf: usize) -> Result<ColumnReader> {
        let group = self.library.get_row_group(group)?;
        let Some(column) = group.metadata().columns().get(leaf) else {
            return Err(damaged("a row group lacks a column"));
        };
        self.check_pages(column)?;
        let pages =
            CheckedPages { pages: group.get_column_page_reader(leaf)?, about: column.column_descr_ptr() };
        Ok(get_column_reader(column.column_descr_ptr(), Box::new(pages)))
    }

    /// Goes through the headers of a column's pages, once.
    fn check_pages(&self, column: &ColumnChunkMetaData) -> Result<()> {
        let first = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let (Ok(first), Ok(len)) = (u64::try_from(first), u64::try_from(column.compressed_size())) else {
            return Err(damaged("a column has a negative place"));
        };
        let end = first.saturating_add(len).min(self.source.len());
        let mut checked = self.checked.borrow_mut();
        if first >= end || !checked.columns.insert((first, end)) {
            return Ok(());
        }
        checked.bytes += end - first;
        if checked.bytes > self.source.len() {
            return Err(damaged("its columns lie over each other"));
        }
        let mut at = first;
        while at < end {
            let header = self.source.header(at, end)?;
            if header.page_bytes > PAGE_BYTES_MAX {
                return Err(damaged(&format!("the page at byte {at} announces more than 256 MiB")));
            }
            at += header.header_bytes as u64 + u64::from(header.stored_bytes);
        }
        Ok(())
    }
}

/// What the library reads, and what is looked at before.
struct Shared<R>(Arc<R>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Length> Length for Shared<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for Shared<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> Result<R::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}

impl<R: ChunkReader> Shared<R> {
    /// The footer, where the file ends like one that has a footer; the library has the words for one that does not.
    fn footer(&self) -> Result<Option<Bytes>> {
        let Some(tail_at) = self.len().checked_sub(TAIL_BYTES as u64) else { return Ok(None) };
        let tail = self.get_bytes(tail_at, TAIL_BYTES)?;
        let (len, magic) = tail.split_at(4);
        let len = len.first_chunk().map_or(0, |&len| u32::from_le_bytes(len));
        match tail_at.checked_sub(len.into()) {
            Some(at) if magic == MAGIC => self.get_bytes(at, len as usize).map(Some),
            _ => Ok(None),
        }
    }

    fn header(&self, at: u64, end: u64) -> Result<PageHeader> {
        for bytes in HEADER_BYTES {
            let len = (end - at).min(bytes as u64);
            match page_header(&self.get_bytes(at, len as usize)?) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Short) if len < end - at => {}
                Err(_) => break,
            }
        }
        Err(damaged(&format!("the page at byte {at} has no header")))
    }
}

/// Pages, of which each has as many values as the library would make room for.
struct CheckedPages {
    pages: Box<dyn PageReader>,
    about: ColumnDescPtr,
}

impl CheckedPages {
    fn check(&self, page: &Page) -> Result<()> {
        let holds = match page {
            // A value takes a byte at least, a number as many as it has: the library makes room for all before it reads one.
            Page::DictionaryPage { buf, num_values, .. } => {
                *num_values as usize <= buf.len() / self.value_bytes()
            }
            Page::DataPage { buf, num_values, encoding, .. } => {
                let behind =
                    |at: usize| Some(at + 4 + u32::from_le_bytes(*buf.get(at..)?.first_chunk()?) as usize);
                let mut at = Some(0);
                for level_max in [self.about.max_rep_level(), self.about.max_def_level()] {
                    at = if level_max > 0 { at.and_then(behind) } else { at };
                }
                let values = at.and_then(|at| buf.get(at..));
                values.is_none_or(|values| holds_values(values, *encoding, *num_values))
            }
            Page::DataPageV2 {
                buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let values = buf.get(levels as usize..);
                values.is_none_or(|values| holds_values(values, *encoding, *num_values))
            }
        };
        if holds { Ok(()) } else { Err(damaged("a page announces more values than it has")) }
    }

    /// Of a value as a dictionary has it, at least.
    fn value_bytes(&self) -> usize {
        match self.about.physical_type() {
            Type::BOOLEAN => 1,
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => self.about.type_length().max(1) as usize,
        }
    }
}

fn holds_values(bytes: &[u8], encoding: Encoding, values: u32) -> bool {
    let lists = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => 0,
    };
    delta::are_no_longer(bytes, lists, values.into())
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

fn damaged(detail: &str) -> ParquetError {
    ParquetError::General(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const ROWS: usize = 3000;

    /// A name a row, none for every seventh.
    fn names() -> Vec<ByteArray> {
        let rows = (0..ROWS).filter(|row| row % 7 != 6);
        rows.map(|row| format!("images/{:04}-{}.jpg", row / 3, "x".repeat(row % 5)).into_bytes().into())
            .collect()
    }

    fn written(properties: WriterProperties) -> Vec<u8> {
        let schema = parse_message_type("message s { optional binary name (UTF8); }").unwrap();
        let mut file = SerializedFileWriter::new(Vec::new(), schema.into(), properties.into()).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let present: Vec<i16> = (0..ROWS).map(|row| i16::from(row % 7 != 6)).collect();
        column.typed::<ByteArrayType>().write_batch(&names(), Some(&present), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.into_inner().unwrap()
    }

    fn read(file: Vec<u8>) -> Result<Vec<ByteArray>> {
        let reader = Reader::new(Bytes::from(file))?;
        assert_eq!(reader.metadata().file_metadata().num_rows(), ROWS as i64);
        let ColumnReader::ByteArrayColumnReader(mut column) = reader.column(0, 0)? else { panic!("strings") };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        while column.read_records(500, Some(&mut levels), None, &mut values)?.0 > 0 {}
        Ok(values)
    }

    #[test]
    fn every_way_to_write_strings_is_read() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for encoding in [
                None,
                Some(Encoding::PLAIN),
                Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
                Some(Encoding::DELTA_BYTE_ARRAY),
            ] {
                for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
                    let properties = WriterProperties::builder().set_writer_version(version);
                    let properties =
                        properties.set_compression(compression).set_data_page_row_count_limit(700);
                    let properties = properties.set_write_batch_size(100);
                    let properties = match encoding {
                        Some(encoding) => properties.set_dictionary_enabled(false).set_encoding(encoding),
                        None => properties,
                    };
                    let read = read(written(properties.build()));
                    assert_eq!(read.unwrap(), names(), "{version:?}, {encoding:?}, {compression}");
                }
            }
        }
    }

    #[test]
    fn lengths_that_announce_more_than_the_page_has_are_told() {
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        let properties = properties.set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY).build();
        let mut file = written(properties);
        // Blocks of 128 in four parts, 2572 lengths.
        let at = file.windows(5).position(|window| window == [0x80, 1, 4, 0x8C, 0x14]).expect("the list");
        file[at + 3..at + 8].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
        assert!(read(file).unwrap_err().to_string().contains("announces more values than it has"));
    }

    #[test]
    fn a_footer_that_would_be_counted_through_is_damaged() {
        let footer = [0xC9, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0];
        let file = [MAGIC, &footer, &(footer.len() as u32).to_le_bytes(), MAGIC].concat();
        assert!(Reader::new(Bytes::from(file)).err().unwrap().to_string().contains("footer is damaged"));
    }
}
