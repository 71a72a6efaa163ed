//! Binary columns of Parquet files: where the bytes of each row's value lie.
//!
//! Of a column that is not compressed each value has an extent of its own, and finding it costs a look at the four bytes
//! before it. Of a compressed one the extent is the value's page, or of a large page the blocks that Snappy made of it, and
//! which value of these it is says a [`Cell`]. A dictionary page serves all rows that name its entries.

mod checked;
mod chunk;
mod codec;
mod delta;
mod footer;
mod header;
mod levels;
mod page;
mod reader;
mod snappy;
mod thrift;

use super::{ContainerError, ReadAt, Window};
pub use checked::damaged_pages;
pub use chunk::Chunk;
pub use codec::Codec;
use header::{HeaderError, PageHeader, PageKind, page_header};
use levels::Hybrid;
pub use page::{Cell, PageError, nth, value, values};
use page::{PAGE_BYTES_MAX, PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY, behind_levels, inflated};
pub use reader::Reader;
use snappy::BLOCK_BYTES;

/// A header carries the smallest and largest value of its page, maybe.
const HEADER_BYTES: [usize; 4] = [256, 4 << 10, 64 << 10, 1 << 20];
/// A page is taken apart into its blocks where it is larger than this: else reading it costs little more.
const WHOLE_PAGE_BYTES: u32 = 2 * BLOCK_BYTES as u32;
/// Entries of a dictionary: writers give it up at a megabyte.
const ENTRIES_MAX: u32 = 1 << 22;

/// Where the bytes of a value lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of the value, or of its page.
    pub offset: u64,
    /// Of the value, or of its page.
    pub len: u64,
    /// Which value of the page, where it is one.
    pub cell: Option<Cell>,
}

/// Goes through the pages of a chunk, and gives the place of each row's value in order; none where it is missing.
///
/// # Errors
/// The pages are damaged, or encoded in a way in which values have no place.
pub fn places<R: ReadAt>(
    window: &mut Window<R>,
    chunk: &Chunk,
    place: &mut dyn FnMut(Option<Place>),
) -> Result<(), ContainerError> {
    let mut pages = Pages { window, chunk, dictionary: Dictionary::None, place };
    let (mut at, mut rows) = (chunk.offset, 0);
    while rows < chunk.rows {
        let header = pages.header(at)?;
        let end = at + header.header_bytes as u64 + u64::from(header.stored_bytes);
        if end > chunk.offset.saturating_add(chunk.len) {
            return Err(damaged(at, "it reaches behind its column"));
        }
        rows += pages.page(at, &header, end)?;
        if rows > chunk.rows {
            return Err(damaged(at, "it has more rows than its row group"));
        }
        at = end;
    }
    Ok(())
}

/// What rows name by number.
enum Dictionary {
    None,
    /// The places of its entries.
    Entries(Vec<Place>),
    /// Its page, and how many entries that has.
    Page {
        offset: u64,
        len: u64,
        entries: u32,
    },
}

struct Pages<'a, R> {
    window: &'a mut Window<R>,
    chunk: &'a Chunk,
    dictionary: Dictionary,
    place: &'a mut dyn FnMut(Option<Place>),
}

/// What was read of a data page.
struct Opened {
    /// Definition levels, where some values may be missing.
    levels: Option<Vec<u8>>,
    /// The numbers of dictionary entries, where values are such.
    numbers: Option<Vec<u8>>,
    /// Where the values begin, where the page is not compressed.
    values_at: Option<u64>,
}

/// A page that Snappy compressed, block by block.
struct Blocks {
    /// Where each block begins in the file, and where the last ends.
    starts: Vec<u64>,
    /// The page, and how far its values were gone through.
    page: Vec<u8>,
    at: usize,
}

impl Blocks {
    /// The next value's place: the blocks that it lies in.
    fn next(&mut self) -> Option<Place> {
        let len = u32::from_le_bytes(*self.page.get(self.at..)?.first_chunk::<4>()?);
        let (first, end) = (self.at + 4, self.at + 4 + len as usize);
        if end > self.page.len() {
            return None;
        }
        self.at = end;
        let (block, skip) = (first / BLOCK_BYTES, first % BLOCK_BYTES);
        // What is empty lies in no block.
        let block = block.min(self.starts.len() - 2);
        let offset = self.starts[block];
        let behind = end.div_ceil(BLOCK_BYTES).max(block + 1);
        let cell = Some(Cell::InBlocks { skip: skip as u16, len });
        Some(Place { offset, len: self.starts[behind] - offset, cell })
    }
}

impl<R: ReadAt> Pages<'_, R> {
    fn header(&mut self, at: u64) -> Result<PageHeader, ContainerError> {
        for bytes in HEADER_BYTES {
            let held = self.window.get(at, bytes)?;
            let is_all = held.len() < bytes;
            match page_header(held) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Short) if !is_all => {}
                Err(HeaderError::Short) => return Err(damaged(at, "the file ends inside of its header")),
                Err(HeaderError::Damaged) => return Err(damaged(at, "it has no header")),
            }
        }
        Err(damaged(at, "its header is longer than a megabyte"))
    }

    /// Gives the places of a page's rows, and how many those are.
    fn page(&mut self, at: u64, header: &PageHeader, end: u64) -> Result<u64, ContainerError> {
        let (rows, encoding, nulls, level_encoding) = match header.kind {
            PageKind::Other => return Ok(0),
            PageKind::Dictionary { values, encoding } => {
                self.read_dictionary(at, header, end, values, encoding)?;
                return Ok(0);
            }
            PageKind::Data { values, encoding, level_encoding, nulls } => {
                (values, encoding, nulls, level_encoding)
            }
            PageKind::Data2 { values, encoding, nulls, .. } => (values, encoding, Some(nulls.into()), RLE),
        };
        let is_numbered = match encoding {
            PLAIN => false,
            PLAIN_DICTIONARY | RLE_DICTIONARY => true,
            _ => return Err(ContainerError::Encoding { at, encoding }),
        };
        let has_nulls = self.chunk.level_max > 0 && !self.chunk.has_no_nulls && nulls != Some(0);
        if has_nulls && level_encoding != RLE {
            return Err(ContainerError::Encoding { at, encoding: level_encoding });
        }
        let opened = self.open(at, header, end, has_nulls, is_numbered)?;
        let mut levels = opened.levels.as_deref().and_then(|levels| Hybrid::new(levels, self.width()));
        let mut numbers = opened.numbers.as_deref().map(numbers_of);
        let (mut index, mut value_at) = (0, opened.values_at);
        let mut blocks =
            if is_numbered || value_at.is_some() { None } else { self.blocks(at, header, end, rows)? };
        for _ in 0..rows {
            if let Some(levels) = &mut levels {
                let level = levels.next().ok_or(damaged(at, "it ends inside of its levels"))?;
                if level != self.chunk.level_max {
                    (self.place)(None);
                    continue;
                }
            }
            let place = match (&mut numbers, &mut value_at) {
                (Some(numbers), _) => {
                    let number = numbers.as_mut().and_then(Iterator::next);
                    self.entry(at, number.ok_or(damaged(at, "it ends before the last of its rows"))?)?
                }
                (None, Some(value_at)) => self.next_plain(at, value_at, end)?,
                (None, None) if blocks.is_some() => {
                    let place = blocks.as_mut().and_then(Blocks::next);
                    place.ok_or(damaged(at, "it ends before the last of its rows"))?
                }
                (None, None) => {
                    let has_levels = matches!(header.kind, PageKind::Data { .. }) && self.chunk.level_max > 0;
                    let cell = Cell::InPage { index, codec: self.chunk.codec, has_levels };
                    Place { offset: at, len: end - at, cell: Some(cell) }
                }
            };
            index += 1;
            (self.place)(Some(place));
        }
        Ok(rows.into())
    }

    /// The width of a level in bits.
    fn width(&self) -> u32 {
        u32::BITS - self.chunk.level_max.leading_zeros()
    }

    /// A value with its length before it, and goes behind it.
    fn next_plain(&mut self, page: u64, at: &mut u64, end: u64) -> Result<Place, ContainerError> {
        let short = || damaged(page, "it ends before the last of its rows");
        let len = *self.window.get(*at, 4)?.first_chunk::<4>().ok_or_else(short)?;
        let (offset, len) = (*at + 4, u64::from(u32::from_le_bytes(len)));
        if offset + len > end {
            return Err(short());
        }
        *at = offset + len;
        Ok(Place { offset, len, cell: None })
    }

    fn entry(&self, page: u64, number: u32) -> Result<Place, ContainerError> {
        let outside = || damaged(page, "it names an entry that its dictionary has not");
        match &self.dictionary {
            Dictionary::None => Err(damaged(page, "it needs a dictionary, and there is none")),
            Dictionary::Entries(entries) => entries.get(number as usize).copied().ok_or_else(outside),
            Dictionary::Page { offset, len, entries } if number < *entries => {
                let cell = Cell::InPage { index: number, codec: self.chunk.codec, has_levels: false };
                Ok(Place { offset: *offset, len: *len, cell: Some(cell) })
            }
            Dictionary::Page { .. } => Err(outside()),
        }
    }

    fn read_dictionary(
        &mut self,
        at: u64,
        header: &PageHeader,
        end: u64,
        entries: u32,
        encoding: i32,
    ) -> Result<(), ContainerError> {
        if encoding != PLAIN && encoding != PLAIN_DICTIONARY {
            return Err(ContainerError::Encoding { at, encoding });
        }
        if entries > ENTRIES_MAX {
            let (found, max) = (entries.into(), ENTRIES_MAX.into());
            return Err(ContainerError::TooMuch { what: "the dictionary", at, found, max });
        }
        if let Some(mut blocks) = self.blocks(at, header, end, entries)? {
            let found: Option<Vec<_>> = (0..entries).map(|_| blocks.next()).collect();
            let found = found.ok_or(damaged(at, "it ends before the last of its entries"))?;
            self.dictionary = Dictionary::Entries(found);
            return Ok(());
        }
        if self.chunk.codec != Codec::Plain {
            self.dictionary = Dictionary::Page { offset: at, len: end - at, entries };
            return Ok(());
        }
        let (mut value_at, mut found) = (at + header.header_bytes as u64, Vec::new());
        for _ in 0..entries {
            found.push(self.next_plain(at, &mut value_at, end)?);
        }
        self.dictionary = Dictionary::Entries(found);
        Ok(())
    }

    /// Reads a large page that Snappy compressed, and takes it apart; none where it is another, or not to be taken apart.
    fn blocks(
        &mut self,
        at: u64,
        header: &PageHeader,
        end: u64,
        values: u32,
    ) -> Result<Option<Blocks>, ContainerError> {
        if self.chunk.codec != Codec::Snappy || header.page_bytes <= WHOLE_PAGE_BYTES || values < 2 {
            return Ok(None);
        }
        let (before, has_levels) = match header.kind {
            PageKind::Data2 { is_compressed: false, .. } => return Ok(None),
            PageKind::Data2 { level_bytes, repetition_bytes, .. } => {
                (u64::from(level_bytes) + u64::from(repetition_bytes), false)
            }
            PageKind::Data { .. } => (0, self.chunk.level_max > 0),
            _ => (0, false),
        };
        let start = at + header.header_bytes as u64;
        let stored = self.bytes(at, start, end - start)?;
        let broken = |_| damaged(at, "it is not compressed as the file says");
        let mut page = Vec::new();
        let len = inflated(header, &stored, Codec::Snappy, &mut page).map_err(broken)?.len();
        let Some(starts) = stored.get(before as usize..).and_then(|stream| snappy::blocks(stream, len))
        else {
            return Ok(None);
        };
        let starts = starts.into_iter().map(|inside| start + before + inside as u64).collect();
        let levels = if has_levels { 4 + behind_levels(&page).map_err(broken)?.0.len() } else { 0 };
        Ok(Some(Blocks { starts, page, at: levels }))
    }

    /// Reads what of a data page is needed to tell its places: nothing, mostly.
    fn open(
        &mut self,
        at: u64,
        header: &PageHeader,
        end: u64,
        has_nulls: bool,
        is_numbered: bool,
    ) -> Result<Opened, ContainerError> {
        let start = at + header.header_bytes as u64;
        let (levels_at, level_bytes, is_compressed) = match header.kind {
            PageKind::Data2 { level_bytes, repetition_bytes, is_compressed, .. } => (
                start + u64::from(repetition_bytes),
                level_bytes.into(),
                is_compressed && self.chunk.codec != Codec::Plain,
            ),
            _ if self.chunk.codec != Codec::Plain => (start, 0, true),
            _ if self.chunk.level_max == 0 => (start, 0, false),
            _ => {
                let len = self.window.get(start, 4)?.first_chunk::<4>().copied();
                let len = len.ok_or(damaged(at, "it ends inside of its levels"))?;
                (start + 4, u64::from(u32::from_le_bytes(len)), false)
            }
        };
        let values_at = levels_at + level_bytes;
        if values_at > end {
            return Err(damaged(at, "it ends inside of its levels"));
        }
        let is_second = matches!(header.kind, PageKind::Data2 { .. });
        if !is_compressed {
            let levels = if has_nulls { Some(self.bytes(at, levels_at, level_bytes)?) } else { None };
            let numbers = if is_numbered { Some(self.bytes(at, values_at, end - values_at)?) } else { None };
            return Ok(Opened { levels, numbers, values_at: Some(values_at) });
        }
        let mut levels = None;
        if has_nulls && is_second {
            levels = Some(self.bytes(at, levels_at, level_bytes)?);
        }
        let mut numbers = None;
        if is_numbered || (has_nulls && !is_second) {
            let stored = self.bytes(at, start, end - start)?;
            let mut scratch = Vec::new();
            let broken = |_| damaged(at, "it is not compressed as the file says");
            let page = inflated(header, &stored, self.chunk.codec, &mut scratch).map_err(broken)?;
            let (own, values) = if is_second || self.chunk.level_max == 0 {
                (None, page)
            } else {
                behind_levels(page).map(|(levels, values)| (Some(levels), values)).map_err(broken)?
            };
            levels = levels.or_else(|| own.filter(|_| has_nulls).map(<[u8]>::to_vec));
            numbers = is_numbered.then(|| values.to_vec());
        }
        Ok(Opened { levels, numbers, values_at: None })
    }

    /// Bytes of the page at `page`, all of them.
    fn bytes(&mut self, page: u64, at: u64, len: u64) -> Result<Vec<u8>, ContainerError> {
        if len > u64::from(PAGE_BYTES_MAX) {
            let max = PAGE_BYTES_MAX.into();
            return Err(ContainerError::TooMuch { what: "the page", at: page, found: len, max });
        }
        let bytes = self.window.get(at, len as usize)?;
        if bytes.len() as u64 == len {
            Ok(bytes.to_vec())
        } else {
            Err(damaged(page, "the file ends inside of it"))
        }
    }
}

/// The numbers of dictionary entries: their width in bits stands before them.
fn numbers_of(bytes: &[u8]) -> Option<Hybrid<'_>> {
    let (&width, rest) = bytes.split_first()?;
    Hybrid::new(rest, width.into())
}

fn damaged(at: u64, detail: &'static str) -> ContainerError {
    ContainerError::Page { at, detail }
}

#[cfg(test)]
mod tests;
