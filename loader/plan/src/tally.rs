//! Digests of rows that were delivered, added up: the same for every cut of an epoch into ranks, batches and restarts.
//!
//! A row has two digests: which sample the plan puts there, and which bytes it became. Both hold the row's position, so
//! their sums modulo 2^256 are equal where every row is, in whatever order and by whomever the rows were added.
//! Sums show accidents, not forgery: who may choose rows freely can make two sets of equal sum.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::{Digest, PlanError};

/// The keys of the two hashes, so that no digest of one kind is ever one of the other.
static ORDER_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key("forebay/v1 tally order", &[]));
static CONTENT_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("forebay/v1 tally content", &[]));

/// A sum of row digests modulo 2^256; shown as 64 hexadecimal digits, the highest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum([u64; 4]);

/// What some rows of an epoch add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many rows of the epoch; one that is a batch counts once.
    pub rows: u64,
    /// Over [`OrderRow`]s.
    pub order: RowSum,
    /// Over [`ContentRow`]s.
    pub content: RowSum,
}

/// The place of a row in its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Which row of the epoch.
    pub position: u64,
    /// Which sample of it, from 0, where a row is a whole batch; else 0.
    pub nth: u32,
}

/// Which sample, or samples, the plan puts in a row. Keeps its memory from row to row.
#[derive(Debug, Default)]
pub struct OrderRow {
    bytes: Vec<u8>,
}

/// The bytes that a row became.
pub struct ContentRow(blake3::Hasher);

impl RowSum {
    /// Adds the digest of one row.
    pub fn add(&mut self, digest: [u8; 32]) {
        let (words, _) = digest.as_chunks::<8>();
        let mut carry = false;
        for (sum, word) in self.0.iter_mut().zip(words) {
            let (added, first) = sum.overflowing_add(u64::from_le_bytes(*word));
            let (added, second) = added.overflowing_add(u64::from(carry));
            (*sum, carry) = (added, first || second);
        }
    }

    /// 32 bytes, the lowest first.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// The sum of [`RowSum::to_bytes`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }
}

impl fmt::Display for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl FromStr for RowSum {
    type Err = PlanError;

    /// Reads 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut bytes = *text.parse::<Digest>()?.as_bytes();
        bytes.reverse();
        Ok(Self::from_bytes(bytes))
    }
}

impl Tally {
    /// Adds one row, or one sample of a row that is a batch.
    pub fn add(&mut self, place: RowPlace, order: [u8; 32], content: [u8; 32]) {
        self.rows += u64::from(place.nth == 0);
        self.order.add(order);
        self.content.add(content);
    }

    /// Adds what others have counted.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.order.add(other.order.to_bytes());
        self.content.add(other.content.to_bytes());
    }
}

impl OrderRow {
    /// Begins a row.
    pub fn begin(&mut self, place: RowPlace) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&place.position.to_le_bytes());
        self.bytes.extend_from_slice(&place.nth.to_le_bytes());
    }

    /// Adds a sample by its stable key, or `len` of it from `start` on, in units of the length column; rows that are
    /// samples have one, and 0 for both.
    pub fn part(&mut self, source: u32, key: &[u8], start: u32, len: u32) {
        for number in [source, start, len, key.len() as u32] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
    }

    /// The row's digest.
    pub fn finish(&self) -> [u8; 32] {
        *blake3::keyed_hash(&ORDER_KEY, &self.bytes).as_bytes()
    }
}

impl ContentRow {
    /// Begins a row; `valid` is false where a corrupt sample was masked.
    pub fn new(place: RowPlace, valid: bool) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&CONTENT_KEY);
        hasher.update(&place.position.to_le_bytes());
        hasher.update(&place.nth.to_le_bytes());
        hasher.update(&[u8::from(valid)]);
        Self(hasher)
    }

    /// Adds the row's bytes of the next tensor, as they lie in memory.
    pub fn tensor(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a tensor of zeros, as masked rows have.
    pub fn zeros(&mut self, len_bytes: usize) {
        const ZEROS: [u8; 1024] = [0; 1024];
        self.0.update(&(len_bytes as u64).to_le_bytes());
        let mut left = len_bytes;
        while left > 0 {
            let some = left.min(ZEROS.len());
            self.0.update(&ZEROS[..some]);
            left -= some;
        }
    }

    /// The row's digest.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order_row(position: u64, key: &str) -> [u8; 32] {
        let mut row = OrderRow::default();
        row.begin(RowPlace { position, nth: 0 });
        row.part(0, key.as_bytes(), 0, 0);
        row.finish()
    }

    fn content_row(position: u64, valid: bool, tensors: &[&[u8]]) -> [u8; 32] {
        let mut row = ContentRow::new(RowPlace { position, nth: 0 }, valid);
        tensors.iter().for_each(|bytes| row.tensor(bytes));
        row.finish()
    }

    proptest! {
        #[test]
        fn a_sum_is_the_same_for_every_order_and_every_split(
            rows in prop::collection::vec(any::<[u8; 32]>(), 1..40), seed in any::<u64>(), cut in 0_usize..40
        ) {
            let sum = |rows: &[[u8; 32]]| {
                let place = RowPlace { position: 0, nth: 0 };
                rows.iter().fold(Tally::default(), |mut sum, row| { sum.add(place, *row, *row); sum })
            };
            let whole = sum(&rows);
            let mut other = rows.clone();
            other.rotate_left(seed as usize % rows.len());
            let (first, second) = other.split_at(cut.min(rows.len()));
            let mut parts = sum(second);
            parts.merge(&sum(first));
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn a_sum_reads_back_from_its_bytes_and_its_digits(bytes in any::<[u8; 32]>()) {
            let sum = RowSum::from_bytes(bytes);
            prop_assert_eq!(sum.to_bytes(), bytes);
            prop_assert_eq!(sum.to_string().parse(), Ok(sum));
        }
    }

    #[test]
    fn a_sum_carries_through_all_256_bits_and_begins_anew_behind_them() {
        let mut sum = RowSum::from_bytes([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(one);
        assert_eq!(sum, RowSum::default());
        let mut half = RowSum::from_bytes([0xff; 32]);
        half.add([0xff; 32]);
        assert_eq!(half.to_string(), format!("{}e", "f".repeat(63)));
    }

    #[test]
    fn digits_stand_highest_first_as_a_person_writes_a_number() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (0x2a, 0x80);
        assert_eq!(RowSum::from_bytes(bytes).to_string(), format!("80{}2a", "0".repeat(60)));
        assert!("2A".parse::<RowSum>().is_err());
    }

    #[test]
    fn rows_differ_by_place_by_sample_and_by_every_byte() {
        let orders = [order_row(0, "a"), order_row(1, "a"), order_row(0, "b"), order_row(0, "")];
        let contents = [
            content_row(0, true, &[b"ab", b"c"]),
            content_row(1, true, &[b"ab", b"c"]),
            content_row(0, false, &[b"ab", b"c"]),
            content_row(0, true, &[b"a", b"bc"]),
            content_row(0, true, &[b"ab"]),
            content_row(0, true, &[b"ab", b"d"]),
        ];
        let all: std::collections::HashSet<_> = orders.iter().chain(&contents).collect();
        assert_eq!(all.len(), orders.len() + contents.len());
    }

    #[test]
    fn two_rows_that_change_places_change_the_sum() {
        let sum = |rows: [[u8; 32]; 2]| {
            rows.iter().fold(RowSum::default(), |mut sum, row| {
                sum.add(*row);
                sum
            })
        };
        assert_ne!(sum([order_row(0, "a"), order_row(1, "b")]), sum([order_row(0, "b"), order_row(1, "a")]));
    }

    #[test]
    fn the_parts_of_a_packed_row_and_of_a_batch_have_their_places() {
        let row = |nth: u32, parts: &[(u32, &[u8], u32, u32)]| {
            let mut row = OrderRow::default();
            row.begin(RowPlace { position: 7, nth });
            parts.iter().for_each(|&(source, key, start, len)| row.part(source, key, start, len));
            row.finish()
        };
        let rows = [
            row(0, &[(0, b"a", 0, 5), (0, b"b", 0, 3)]),
            row(0, &[(0, b"b", 0, 3), (0, b"a", 0, 5)]),
            row(0, &[(0, b"a", 0, 4), (0, b"b", 0, 3)]),
            row(0, &[(0, b"a", 1, 5), (0, b"b", 0, 3)]),
            row(0, &[(1, b"a", 0, 5), (0, b"b", 0, 3)]),
            row(1, &[(0, b"a", 0, 5), (0, b"b", 0, 3)]),
        ];
        let all: std::collections::HashSet<_> = rows.iter().collect();
        assert_eq!(all.len(), rows.len());
    }

    #[test]
    fn a_masked_row_is_the_row_of_its_zeros() {
        let mut zeros = ContentRow::new(RowPlace { position: 3, nth: 0 }, false);
        zeros.zeros(2500);
        assert_eq!(zeros.finish(), content_row(3, false, &[&[0; 2500]]));
    }

    #[test]
    fn the_digests_of_a_row_never_change_with_a_release() {
        let hex = |digest: [u8; 32]| Digest::from_bytes(digest).short();
        assert_eq!(hex(order_row(5, "ant/1.jpg")), "b96a59bc1f1e");
        assert_eq!(hex(content_row(5, true, &[b"pixels", &7_i64.to_le_bytes()])), "f44c0cab1169");
    }
}
