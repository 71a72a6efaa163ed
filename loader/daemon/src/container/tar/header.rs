//! One header of 512 bytes: POSIX's `ustar`, GNU's variety, or that of 1979.

use std::ops::Range;

const NAME: Range<usize> = 0..100;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: Range<usize> = 257..263;
const PREFIX: Range<usize> = 345..500;

/// What an entry's header says by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    /// POSIX's `typeflag`.
    pub(super) kind: u8,
}

impl Header {
    /// * `block`: not all zeros.
    pub(super) fn parse(block: &[u8; 512]) -> Result<Self, &'static str> {
        let said = number(&block[CHECKSUM]).ok_or("its checksum is no number")?;
        if !sums(block).contains(&said) {
            return Err("its checksum is another");
        }
        let size = number(&block[SIZE]).ok_or("its size is no number")?;
        let name = text(&block[NAME]);
        // GNU keeps times where POSIX has the beginning of a long path.
        let prefix = if &block[MAGIC] == b"ustar\0" { text(&block[PREFIX]) } else { &[] };
        let name = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
        Ok(Self { name, size, kind: block[KIND] })
    }
}

/// The sum of all bytes, those of the checksum taken as spaces; old programs took bytes as signed.
fn sums(block: &[u8; 512]) -> [u64; 2] {
    let bytes = || block[..CHECKSUM.start].iter().chain(&[b' '; 8]).chain(&block[CHECKSUM.end..]);
    let unsigned = bytes().map(|&byte| u64::from(byte)).sum();
    let signed: i64 = bytes().map(|&byte| i64::from(byte as i8)).sum();
    [unsigned, u64::try_from(signed).unwrap_or(unsigned)]
}

/// Up to the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and up to a zero or space, or, behind a set first bit, an integer in base 256. An empty
/// field is 0.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    let digits = field.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii();
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A negative one, whose second bit is set too, is no size.
fn base_256(field: &[u8]) -> Option<u64> {
    let first = field[0] & 0x7F;
    let mut rest = field[1..].iter();
    let sum = rest.try_fold(u64::from(first), |sum, &byte| Some(sum.checked_mul(256)? + u64::from(byte)))?;
    (first & 0x40 == 0 && i64::try_from(sum).is_ok()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_never_negative() {
        assert_eq!(number(b"00000001750\0"), Some(1000));
        assert_eq!(number(b"      1750 \0"), Some(1000));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"777777777777"), Some((1 << 36) - 1));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\x01"), Some((2 << 32) + 1));
        for field in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"[..],
            b"\x80\0\0\0\xff\0\0\0\0\0\0\0",
            b"12x4\0",
        ] {
            assert_eq!(number(field), None, "{field:?}");
        }
        assert_eq!(number(&[b'\xbf'; 12]), None, "it does not fit 64 bits");
        assert_eq!(number(b"00000000009\0"), None, "9 is no octal digit");
    }
}
