//! Small numbers of one width: runs of one value and groups of eight packed bit by bit, as Parquet stores definition levels
//! and the numbers of dictionary entries.
//!
//! Source: Parquet's `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid".

/// The numbers in some bytes, as many as are asked for.
pub struct Hybrid<'a> {
    bytes: &'a [u8],
    width_bits: u32,
    /// Of the run in hand: how many are left, and the value, or the packed bytes and how many bits of them are used.
    run: Run<'a>,
}

enum Run<'a> {
    Same { left: u64, value: u32 },
    Packed { left: u64, bytes: &'a [u8], used_bits: usize },
}

impl<'a> Hybrid<'a> {
    /// * `width_bits`: of each number, at most 32.
    pub fn new(bytes: &'a [u8], width_bits: u32) -> Option<Self> {
        (width_bits <= 32).then_some(Self { bytes, width_bits, run: Run::Same { left: 0, value: 0 } })
    }

    fn next_run(&mut self) -> Option<()> {
        let (mut head, mut shift) = (0_u64, 0);
        loop {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            head |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
        let count = head >> 1;
        if head & 1 == 0 {
            let (value, rest) = self.bytes.split_at_checked(self.width_bits.div_ceil(8) as usize)?;
            self.bytes = rest;
            let value = value.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)) as u32;
            self.run = Run::Same { left: count, value };
        } else {
            // A last group may be cut where its rest would be padding.
            let len = usize::try_from(count.checked_mul(self.width_bits.into())?).ok()?.min(self.bytes.len());
            let (bytes, rest) = self.bytes.split_at(len);
            self.bytes = rest;
            self.run = Run::Packed { left: count.checked_mul(8)?, bytes, used_bits: 0 };
        }
        Some(())
    }
}

impl Iterator for Hybrid<'_> {
    type Item = u32;

    /// None where the bytes end or are damaged.
    fn next(&mut self) -> Option<u32> {
        let width = self.width_bits as usize;
        loop {
            match &mut self.run {
                Run::Same { left: 0, .. } | Run::Packed { left: 0, .. } => self.next_run()?,
                Run::Same { left, value } => {
                    *left -= 1;
                    return Some(*value);
                }
                Run::Packed { left, bytes, used_bits } => {
                    *left -= 1;
                    let (start, end) = (*used_bits, *used_bits + width);
                    *used_bits = end;
                    let held = bytes.get(start / 8..end.div_ceil(8))?;
                    let bits = held.iter().rev().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
                    return Some((bits >> (start % 8) & ((1 << width) - 1)) as u32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8], width_bits: u32, count: usize) -> Vec<u32> {
        Hybrid::new(bytes, width_bits).expect("a width").take(count).collect()
    }

    #[test]
    fn runs_and_packed_groups_give_their_numbers() {
        // The example of Encodings.md: 0 to 7 at 3 bits.
        assert_eq!(numbers(&[3, 0x88, 0xC6, 0xFA], 3, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(numbers(&[10, 1], 1, 5), [1; 5]);
        assert_eq!(numbers(&[6, 0x2C, 1, 3, 0x88, 0xC6, 0xFA], 9, 3), [300; 3]);
        assert_eq!(numbers(&[4, 1, 3, 0b0101_0101, 4, 0], 1, 12), [1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0]);
        assert_eq!(numbers(&[0xC8, 1, 7], 3, 200), [7; 100], "a length of two bytes");
        assert_eq!(numbers(&[5, 0xFF], 1, 16), [1; 8], "a group that is cut gives what is there");
        assert_eq!(numbers(&[20], 0, 10), [0; 10], "nothing is stored of numbers that are all 0");
    }

    #[test]
    fn damaged_bytes_end_it() {
        let endless = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        for (bytes, width_bits) in [(&[][..], 3), (&[10], 3), (&[0x80; 20], 3), (&endless, 32)] {
            assert!(numbers(bytes, width_bits, 5).is_empty(), "{bytes:?}");
        }
        assert!(Hybrid::new(&[], 33).is_none());
    }
}
