//! The header of a Parquet page, in Thrift's compact protocol.
//!
//! Source: `parquet.thrift` (PageHeader). Fields that say nothing of where bytes lie are skipped, unknown ones too; a known one
//! of another type is damage, since readers differ in the bytes that they take for it.

use super::thrift::{Compact, FALSE, I32, I64, STRUCT, TRUE};

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// What is in the page.
    pub kind: PageKind,
    /// Of the header itself: the page's bytes begin behind it.
    pub header_bytes: usize,
    /// Of the page as it is stored.
    pub stored_bytes: u32,
    /// Of the page behind its compression.
    pub page_bytes: u32,
    /// CRC-32 of the page as it is stored, where the writer made one.
    pub checksum: Option<u32>,
}

/// The kinds of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Levels and values, compressed together.
    Data {
        /// Rows of a flat column, nulls too.
        values: u32,
        /// Of the values.
        encoding: i32,
        /// Of the definition levels.
        level_encoding: i32,
        /// Rows without a value, where the writer counted them.
        nulls: Option<u64>,
    },
    /// Levels as they are, and values that may be compressed behind them.
    Data2 {
        /// Rows of a flat column, nulls too.
        values: u32,
        /// Of the values.
        encoding: i32,
        /// Rows without a value.
        nulls: u32,
        /// Of the definition levels.
        level_bytes: u32,
        /// Of the repetition levels before them.
        repetition_bytes: u32,
        /// Whether the values are compressed.
        is_compressed: bool,
    },
    /// The values that data pages name by number.
    Dictionary {
        /// How many.
        values: u32,
        /// Of the values.
        encoding: i32,
    },
    /// Something that no reader needs.
    Other,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// They end inside of it.
    Short,
    /// They are something else.
    Damaged,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
/// More bytes are needed, or these are no header.
pub fn page_header(bytes: &[u8]) -> Result<PageHeader, HeaderError> {
    let (mut kind, mut page_bytes, mut stored_bytes, mut checksum) = (None, None, None, None);
    let (mut data, mut data2, mut dictionary) = (None, None, None);
    let mut thrift = Compact { bytes, at: 0 };
    thrift.fields(0, |thrift, field| {
        match field {
            (1, I32) => kind = Some(thrift.int()?),
            (2, I32) => page_bytes = Some(thrift.size()?),
            (3, I32) => stored_bytes = Some(thrift.size()?),
            (4, I32) => checksum = Some(thrift.int()? as u32),
            (5, STRUCT) => data = Some(data_page(thrift)?),
            (7, STRUCT) => dictionary = Some(dictionary_page(thrift)?),
            (8, STRUCT) => data2 = Some(data_page_2(thrift)?),
            (1..=5 | 7 | 8, _) => return Err(HeaderError::Damaged),
            (6, kind) if kind != STRUCT => return Err(HeaderError::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let kind = match (kind, data, dictionary, data2) {
        (Some(0), Some(data), _, _) | (Some(3), _, _, Some(data)) => data,
        (Some(2), _, Some(dictionary), _) => dictionary,
        (Some(1 | 4..), ..) => PageKind::Other,
        _ => return Err(HeaderError::Damaged),
    };
    let (Some(page_bytes), Some(stored_bytes)) = (page_bytes, stored_bytes) else {
        return Err(HeaderError::Damaged);
    };
    Ok(PageHeader { kind, header_bytes: thrift.at, stored_bytes, page_bytes, checksum })
}

fn data_page(thrift: &mut Compact<'_>) -> Result<PageKind, HeaderError> {
    let (mut values, mut encoding, mut level_encoding, mut nulls) = (None, None, None, None);
    thrift.fields(1, |thrift, field| {
        match field {
            (1, I32) => values = Some(thrift.size()?),
            (2, I32) => encoding = Some(thrift.int()? as i32),
            (3, I32) => level_encoding = Some(thrift.int()? as i32),
            (4, I32) => return Ok(false),
            (5, STRUCT) => nulls = null_count(thrift)?,
            (1..=5, _) => return Err(HeaderError::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let all = values.zip(encoding).zip(level_encoding).ok_or(HeaderError::Damaged)?;
    let ((values, encoding), level_encoding) = all;
    Ok(PageKind::Data { values, encoding, level_encoding, nulls })
}

fn null_count(thrift: &mut Compact<'_>) -> Result<Option<u64>, HeaderError> {
    let mut nulls = None;
    thrift.fields(2, |thrift, field| {
        if field != (3, I64) {
            return Ok(false);
        }
        nulls = u64::try_from(thrift.int()?).ok();
        Ok(true)
    })?;
    Ok(nulls)
}

fn dictionary_page(thrift: &mut Compact<'_>) -> Result<PageKind, HeaderError> {
    let (mut values, mut encoding) = (None, None);
    thrift.fields(1, |thrift, field| {
        match field {
            (1, I32) => values = Some(thrift.size()?),
            (2, I32) => encoding = Some(thrift.int()? as i32),
            (3, TRUE | FALSE) => {}
            (1..=3, _) => return Err(HeaderError::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (values, encoding) = values.zip(encoding).ok_or(HeaderError::Damaged)?;
    Ok(PageKind::Dictionary { values, encoding })
}

fn data_page_2(thrift: &mut Compact<'_>) -> Result<PageKind, HeaderError> {
    let mut sizes = [None; 4];
    let (mut encoding, mut is_compressed) = (None, true);
    thrift.fields(1, |thrift, field| {
        match field {
            (1, I32) => sizes[0] = Some(thrift.size()?),
            (2, I32) => sizes[1] = Some(thrift.size()?),
            (4, I32) => encoding = Some(thrift.int()? as i32),
            (5, I32) => sizes[2] = Some(thrift.size()?),
            (6, I32) => sizes[3] = Some(thrift.size()?),
            (7, TRUE | FALSE) => is_compressed = field.1 == TRUE,
            (3, I32) | (8, STRUCT) => return Ok(false),
            (1..=8, _) => return Err(HeaderError::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let ([Some(values), Some(nulls), Some(level_bytes), Some(repetition_bytes)], Some(encoding)) =
        (sizes, encoding)
    else {
        return Err(HeaderError::Damaged);
    };
    Ok(PageKind::Data2 { values, encoding, nulls, level_bytes, repetition_bytes, is_compressed })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::thrift::BINARY;
    use super::*;

    /// A struct's fields, by number, type and what is encoded of them.
    pub fn encoded(fields: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut last) = (Vec::new(), 0);
        for (id, kind, value) in fields {
            out.push((id - last) << 4 | kind);
            out.extend(value);
            last = *id;
        }
        out.push(0);
        out
    }

    pub fn int(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        let mut out = Vec::new();
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    }

    fn data_header() -> Vec<u8> {
        let text = [&[3][..], b"max"].concat();
        let statistics = encoded(&[(1, BINARY, text), (3, I64, int(2)), (4, I64, int(9))]);
        let data = [
            (1, I32, int(300)),
            (2, I32, int(0)),
            (3, I32, int(3)),
            (4, I32, int(3)),
            (5, STRUCT, statistics),
        ];
        let all = [
            (1, I32, int(0)),
            (2, I32, int(70_000)),
            (3, I32, int(4000)),
            (4, I32, int(-1)),
            (5, STRUCT, encoded(&data)),
        ];
        encoded(&all)
    }

    #[test]
    fn each_kind_of_page_says_what_is_in_it() {
        let data = data_header();
        let header = page_header(&data).expect("a header");
        let kind = PageKind::Data { values: 300, encoding: 0, level_encoding: 3, nulls: Some(2) };
        let checksum = Some(u32::MAX);
        assert_eq!(
            header,
            PageHeader { kind, header_bytes: data.len(), stored_bytes: 4000, page_bytes: 70_000, checksum }
        );
        let dictionary = encoded(&[(1, I32, int(5)), (2, I32, int(2)), (3, FALSE, vec![])]);
        let all = encoded(&[(1, I32, int(2)), (2, I32, int(1)), (3, I32, int(2)), (7, STRUCT, dictionary)]);
        assert_eq!(
            page_header(&all).expect("a header").kind,
            PageKind::Dictionary { values: 5, encoding: 2 }
        );
        let data2 = [(1, 9), (2, 1), (3, 9), (4, 0), (5, 4), (6, 0)].map(|(id, value)| (id, I32, int(value)));
        let data2 = encoded(&[&data2[..], &[(7, FALSE, vec![])]].concat());
        let all = encoded(&[(1, I32, int(3)), (2, I32, int(1)), (3, I32, int(2)), (8, STRUCT, data2)]);
        let kind = PageKind::Data2 {
            values: 9,
            encoding: 0,
            nulls: 1,
            level_bytes: 4,
            repetition_bytes: 0,
            is_compressed: false,
        };
        assert_eq!(page_header(&all).expect("a header").kind, kind);
        let index = encoded(&[(1, I32, int(1)), (2, I32, int(1)), (3, I32, int(2))]);
        assert_eq!(page_header(&index).expect("a header").kind, PageKind::Other);
    }

    #[test]
    fn a_header_that_is_cut_asks_for_more_and_one_that_is_none_is_damaged() {
        let whole = data_header();
        for len in 0..whole.len() {
            assert_eq!(page_header(&whole[..len]), Err(HeaderError::Short), "{len} bytes");
        }
        let negative = encoded(&[(1, I32, int(0)), (2, I32, int(-5))]);
        let lacking = encoded(&[(1, I32, int(0)), (2, I32, int(5)), (3, I32, int(5))]);
        let nested = [&[0x1C; 20][..], &[0; 21]].concat();
        for damaged in [
            &negative,
            &lacking,
            &nested,
            &vec![0x1D],
            &vec![0x15; 1],
            &vec![0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0],
        ] {
            assert!(page_header(damaged).is_err(), "{damaged:?}");
        }
    }
}
