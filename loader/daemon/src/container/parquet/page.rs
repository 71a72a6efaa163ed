//! One value of a page that is read whole: what a sample's bytes are where a column is compressed.
//!
//! Values of a compressed page have no place of their own in the file. A sample then names its page, header included, and
//! its number among the page's values, and costs the reading and inflating of that page; or, of a large page that Snappy
//! compressed, the blocks of 64 KiB that it lies in.

use super::codec::Codec;
use super::header::{PageHeader, PageKind, page_header};
use super::snappy::{self, BLOCK_BYTES};

/// A page is inflated into memory whole; writers make pages of a megabyte, or of one larger value.
pub const PAGE_BYTES_MAX: u32 = 256 << 20;

/// Values one behind the other, each with its length before it.
pub const PLAIN: i32 = 0;
/// Numbers of dictionary entries, and in old files the entries themselves.
pub const PLAIN_DICTIONARY: i32 = 2;
/// Runs: of levels.
pub const RLE: i32 = 3;
/// Numbers of dictionary entries.
pub const RLE_DICTIONARY: i32 = 8;

/// Why a page does not give the value that a sample is: a verdict on complete bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Parquet page is damaged: {detail}")]
pub struct PageError {
    detail: &'static str,
}

/// What of the bytes at a place a value is; what the column `NAME.row` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// They are a page with its header.
    InPage {
        /// Which value of the page, among those that are not missing.
        index: u32,
        /// How the page is compressed.
        codec: Codec,
        /// Whether definition levels stand before the values in it.
        has_levels: bool,
    },
    /// They are blocks of a page that Snappy compressed.
    InBlocks {
        /// Bytes before the value in the first of them.
        skip: u16,
        /// Of the value.
        len: u32,
    },
}

/// In the byte of the codec: [`Cell::InBlocks`].
const BLOCKS: u8 = 0x80;

impl Cell {
    /// For the column: never negative, since -1 says that the bytes themselves are named.
    pub fn to_int(self) -> i64 {
        let (low, kind, high) = match self {
            Self::InPage { index, codec, has_levels } => (index, codec.number(), u16::from(has_levels)),
            Self::InBlocks { skip, len } => (len, BLOCKS, skip),
        };
        i64::from(low) | i64::from(kind) << 32 | i64::from(high) << 40
    }

    /// From the column; `None` where the bytes themselves are named, or for what was never written.
    pub fn of_int(value: i64) -> Option<Self> {
        if !(0..1 << 56).contains(&value) {
            return None;
        }
        let (low, kind, high) = (value as u32, (value >> 32) as u8, (value >> 40) as u16);
        match (Codec::of_number(kind), high) {
            (Some(codec), 0 | 1) => Some(Self::InPage { index: low, codec, has_levels: high == 1 }),
            (None, skip) if kind == BLOCKS && low <= PAGE_BYTES_MAX => {
                Some(Self::InBlocks { skip, len: low })
            }
            _ => None,
        }
    }
}

/// The value that `cell` names. `page`: its header and all behind it, or blocks of it; `scratch`: for what is inflated.
///
/// # Errors
/// The page is not what it was when it was indexed, or damaged.
pub fn value<'a>(page: &'a [u8], cell: Cell, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], PageError> {
    match cell {
        Cell::InPage { index, codec, has_levels } => nth(values(page, codec, has_levels, scratch)?, index),
        Cell::InBlocks { skip, len } => in_blocks(page, skip.into(), len as usize, scratch),
    }
}

/// All values of a page, one behind the other, for [`nth`]. `page`: its header and all behind it; `scratch`: for what is
/// inflated.
///
/// # Errors
/// As [`value`].
pub fn values<'a>(
    page: &'a [u8],
    codec: Codec,
    has_levels: bool,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], PageError> {
    let header = page_header(page).map_err(|_| damaged("it has no header"))?;
    let stored = &page[header.header_bytes..];
    if stored.len() as u64 != u64::from(header.stored_bytes) {
        return Err(damaged("its header tells of another length"));
    }
    if header.checksum.is_some_and(|checksum| checksum != crc32fast::hash(stored)) {
        return Err(damaged("it has not the checksum that was written with it"));
    }
    let values = inflated(&header, stored, codec, scratch)?;
    match header.kind {
        PageKind::Data { .. } if has_levels => Ok(behind_levels(values)?.1),
        _ => Ok(values),
    }
}

fn in_blocks<'a>(
    blocks: &[u8],
    skip: usize,
    len: usize,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], PageError> {
    let end = skip + len;
    let out = crate::buffer::grown(scratch, end.next_multiple_of(BLOCK_BYTES));
    let made = snappy::inflate(blocks, out).ok_or(damaged("it is not compressed as the file says"))?;
    out[..made].get(skip..end).ok_or(damaged("it ends before the value"))
}

/// The levels and values of a page of the first version, together; of any other the values alone.
///
/// # Errors
/// They are not compressed so, or not as long as the header says.
pub fn inflated<'a>(
    header: &PageHeader,
    stored: &'a [u8],
    codec: Codec,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], PageError> {
    let (before, is_compressed) = match header.kind {
        PageKind::Data2 { level_bytes, repetition_bytes, is_compressed, .. } => {
            (u64::from(level_bytes) + u64::from(repetition_bytes), is_compressed)
        }
        _ => (0, true),
    };
    let values = usize::try_from(before).ok().and_then(|before| stored.get(before..));
    let values = values.ok_or(damaged("it ends inside of its levels"))?;
    if codec == Codec::Plain || !is_compressed {
        return Ok(values);
    }
    let len = u64::from(header.page_bytes)
        .checked_sub(before)
        .ok_or(damaged("its levels are longer than itself"))?;
    if len > u64::from(PAGE_BYTES_MAX) {
        return Err(damaged("it announces more than 256 MiB"));
    }
    if codec.announced(values).is_some_and(|announced| announced != len) {
        return Err(damaged("it is not compressed as the file says"));
    }
    let out = crate::buffer::grown(scratch, len as usize);
    codec.inflate(values, out).ok_or(damaged("it is not compressed as the file says"))?;
    Ok(out)
}

/// The definition levels of a page of the first version, whose length stands before them, and what lies behind.
///
/// # Errors
/// The page ends inside of them.
pub fn behind_levels(page: &[u8]) -> Result<(&[u8], &[u8]), PageError> {
    let split = |page: &'_ [u8]| {
        let (len, rest) = page.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        (rest.len() >= len).then_some(len)
    };
    let len = split(page).ok_or(damaged("it ends inside of its levels"))?;
    Ok(page[4..].split_at(len))
}

/// Value number `index` of those that lie one behind the other.
///
/// # Errors
/// They end before it.
pub fn nth(mut values: &[u8], index: u32) -> Result<&[u8], PageError> {
    let mut next = || {
        let (len, rest) = values.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        values = rest;
        Some(value)
    };
    let mut value = next();
    for _ in 0..index {
        if value.is_none() {
            break;
        }
        value = next();
    }
    value.ok_or(damaged("it ends before the value"))
}

fn damaged(detail: &'static str) -> PageError {
    PageError { detail }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::{encoded, int};
    use super::*;

    const I32: u8 = 5;
    const STRUCT: u8 = 12;

    fn plain(values: &[&[u8]]) -> Vec<u8> {
        values.iter().flat_map(|value| [&(value.len() as u32).to_le_bytes(), *value].concat()).collect()
    }

    /// A page of the first version.
    fn page(stored: &[u8], page_bytes: usize, checksum: Option<u32>) -> Vec<u8> {
        let data = encoded(&[(1, I32, int(3)), (2, I32, int(0)), (3, I32, int(3)), (4, I32, int(3))]);
        let mut fields =
            vec![(1, I32, int(0)), (2, I32, int(page_bytes as i64)), (3, I32, int(stored.len() as i64))];
        fields.extend(checksum.map(|sum| (4, I32, int(i64::from(sum as i32)))));
        fields.push((5, STRUCT, data));
        [encoded(&fields), stored.to_vec()].concat()
    }

    fn cell(index: u32, codec: Codec, has_levels: bool) -> Cell {
        Cell::InPage { index, codec, has_levels }
    }

    #[test]
    fn a_value_comes_out_of_a_page_of_each_codec() {
        let values = plain(&[b"one", b"", b"three"]);
        let levels = [&[2, 0, 0, 0, 6, 1][..], &values].concat();
        for (page_bytes, has_levels) in [(values, false), (levels, true)] {
            let snappy = snap::raw::Encoder::new().compress_vec(&page_bytes).expect("memory takes it");
            let zstd = zstd::bulk::compress(&page_bytes, 1).expect("memory takes it");
            for (codec, stored) in
                [(Codec::Plain, &page_bytes), (Codec::Snappy, &snappy), (Codec::Zstd, &zstd)]
            {
                let page = page(stored, page_bytes.len(), Some(crc32fast::hash(stored)));
                let mut scratch = Vec::new();
                for (index, expected) in [(0, &b"one"[..]), (1, b""), (2, b"three")] {
                    assert_eq!(
                        value(&page, cell(index, codec, has_levels), &mut scratch),
                        Ok(expected),
                        "{codec:?}"
                    );
                }
                let error = value(&page, cell(3, codec, has_levels), &mut scratch).expect_err("three values");
                assert!(error.to_string().contains("ends before the value"), "{error}");
            }
        }
    }

    #[test]
    fn a_page_that_is_damaged_is_named_with_what_shows_it() {
        let values = plain(&[b"one"]);
        let snappy = snap::raw::Encoder::new().compress_vec(&values).expect("memory takes it");
        let says = |page: &[u8], cell: Cell, says: &str| {
            let error = value(page, cell, &mut Vec::new()).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        };
        let sound = page(&snappy, values.len(), None);
        says(&sound[..3], cell(0, Codec::Snappy, false), "no header");
        says(&sound[..sound.len() - 1], cell(0, Codec::Snappy, false), "another length");
        says(&page(&snappy, values.len(), Some(1)), cell(0, Codec::Snappy, false), "checksum");
        says(&page(&snappy, values.len() + 1, None), cell(0, Codec::Snappy, false), "not compressed as");
        says(&sound, cell(0, Codec::Zstd, false), "not compressed as");
        says(&page(&snappy, 300 << 20, None), cell(0, Codec::Snappy, false), "256 MiB");
        says(&page(b"\xff\xff\xff\xff", 4, None), cell(0, Codec::Plain, true), "inside of its levels");
        says(&page(b"\xff\0\0\0", 4, None), cell(0, Codec::Plain, false), "ends before the value");
    }

    #[test]
    fn a_cell_is_a_number_of_a_column_and_minus_one_is_none() {
        for codec in [Codec::Plain, Codec::Snappy, Codec::Zstd] {
            for has_levels in [false, true] {
                let cell = cell(u32::MAX - 7, codec, has_levels);
                assert_eq!(Cell::of_int(cell.to_int()), Some(cell));
            }
        }
        let blocks = Cell::InBlocks { skip: 65_535, len: PAGE_BYTES_MAX };
        assert_eq!(Cell::of_int(blocks.to_int()), Some(blocks));
        for wrong in [-1, i64::MIN, 1 << 41, 200 << 32, 1 << 56, blocks.to_int() + 1] {
            assert_eq!(Cell::of_int(wrong), None, "{wrong}");
        }
    }
}
