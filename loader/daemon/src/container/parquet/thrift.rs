//! Thrift's compact protocol, as far as Parquet's headers and footers use it.
//!
//! Source: Thrift's `thrift-compact-protocol.md`. What is read takes no longer than its bytes are many: nothing counts more
//! elements than can follow, and no element takes nothing.

use super::header::HeaderError;

/// Structs and lists inside of each other that are skipped.
const DEPTH_MAX: u32 = 8;

pub const TRUE: u8 = 1;
pub const FALSE: u8 = 2;
pub const BYTE: u8 = 3;
pub const I16: u8 = 4;
pub const I32: u8 = 5;
pub const I64: u8 = 6;
pub const DOUBLE: u8 = 7;
pub const BINARY: u8 = 8;
pub const LIST: u8 = 9;
pub const SET: u8 = 10;
pub const STRUCT: u8 = 12;

/// A reader of the compact protocol.
pub struct Compact<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl Compact<'_> {
    /// Goes through a struct, its fields by number and type; what `visit` does not take is skipped.
    pub fn fields(
        &mut self,
        depth: u32,
        mut visit: impl FnMut(&mut Self, (i64, u8)) -> Result<bool, HeaderError>,
    ) -> Result<(), HeaderError> {
        let mut id = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            let (delta, kind) = (i64::from(head >> 4), head & 0xF);
            id = if delta == 0 { self.int()? } else { id + delta };
            if i16::try_from(id).is_err() {
                return Err(HeaderError::Damaged);
            }
            if !visit(self, (id, kind))? {
                self.skip(kind, depth + 1)?;
            }
        }
    }

    /// Goes behind a value of a type.
    pub fn skip(&mut self, kind: u8, depth: u32) -> Result<(), HeaderError> {
        if depth > DEPTH_MAX {
            return Err(HeaderError::Damaged);
        }
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.advance(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.advance(8),
            BINARY => {
                let len = self.varint()?;
                self.advance(len)
            }
            LIST | SET => self.list(|thrift, kind| thrift.skip(kind, depth + 1)),
            STRUCT => self.fields(depth, |_, _| Ok(false)),
            _ => Err(HeaderError::Damaged),
        }
    }

    /// Goes through a list. Of booleans nothing in Parquet has one, and readers differ in the bytes that such take.
    pub fn list(
        &mut self,
        mut element: impl FnMut(&mut Self, u8) -> Result<(), HeaderError>,
    ) -> Result<(), HeaderError> {
        let head = self.byte()?;
        let count = if head >> 4 == 0xF { self.varint()? } else { u64::from(head >> 4) };
        let kind = head & 0xF;
        if count > 0 && matches!(kind, TRUE | FALSE) {
            return Err(HeaderError::Damaged);
        }
        (0..count).try_for_each(|_| element(self, kind))
    }

    fn byte(&mut self) -> Result<u8, HeaderError> {
        let byte = *self.bytes.get(self.at).ok_or(HeaderError::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn advance(&mut self, len: u64) -> Result<(), HeaderError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        self.at = end.filter(|&end| end <= self.bytes.len()).ok_or(HeaderError::Short)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, HeaderError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(HeaderError::Damaged)
    }

    /// Zigzag: the lowest bit is the sign.
    pub fn int(&mut self) -> Result<i64, HeaderError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn size(&mut self) -> Result<u32, HeaderError> {
        u32::try_from(self.int()?).map_err(|_| HeaderError::Damaged)
    }
}
