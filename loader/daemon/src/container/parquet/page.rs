//! One value of a page that is read whole: what a sample's bytes are where a column is compressed.
//!
//! Values of a compressed page have no place of their own in the file. A sample then names its page, header included, and
//! its number among the page's values; each sample costs the reading and inflating of a page.

use super::codec::Codec;
use super::header::{PageHeader, PageKind, page_header};

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

/// Which value of a page; what the column `NAME.row` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Among those that are not missing.
    pub index: u32,
    /// How the page is compressed.
    pub codec: Codec,
    /// Whether definition levels stand before the values in it.
    pub has_levels: bool,
}

impl Cell {
    /// For the column: never negative, since -1 says that the bytes themselves are named.
    pub fn to_int(self) -> i64 {
        i64::from(self.index) | i64::from(self.codec.number()) << 32 | i64::from(self.has_levels) << 40
    }

    /// From the column; `None` where the bytes themselves are named, or for what was never written.
    pub fn of_int(value: i64) -> Option<Self> {
        let codec = Codec::of_number((value >> 32 & 0xFF) as u8)?;
        (value >= 0 && value >> 41 == 0).then_some(Self {
            index: value as u32,
            codec,
            has_levels: value >> 40 & 1 == 1,
        })
    }
}

/// The value that `cell` names. `page`: its header and all behind it; `scratch`: for what is inflated.
///
/// # Errors
/// The page is not what it was when it was indexed, or damaged.
pub fn value<'a>(page: &'a [u8], cell: Cell, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], PageError> {
    let header = page_header(page).map_err(|_| damaged("it has no header"))?;
    let stored = &page[header.header_bytes..];
    if stored.len() as u64 != u64::from(header.stored_bytes) {
        return Err(damaged("its header tells of another length"));
    }
    if header.checksum.is_some_and(|checksum| checksum != crc32fast::hash(stored)) {
        return Err(damaged("it has not the checksum that was written with it"));
    }
    let values = inflated(&header, stored, cell.codec, scratch)?;
    let values = match header.kind {
        PageKind::Data { .. } if cell.has_levels => behind_levels(values)?.1,
        _ => values,
    };
    nth(values, cell.index).ok_or(damaged("it ends before the value"))
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
fn nth(mut values: &[u8], index: u32) -> Option<&[u8]> {
    for left in (0..=index).rev() {
        let (len, rest) = values.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        if left == 0 {
            return Some(value);
        }
        values = rest;
    }
    None
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
        Cell { index, codec, has_levels }
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
        for wrong in [-1, i64::MIN, 1 << 41, 200 << 32] {
            assert_eq!(Cell::of_int(wrong), None, "{wrong}");
        }
    }
}
