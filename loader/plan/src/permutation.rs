//! A keyed permutation of `0..len` with its inverse: exact and small as a table, computed where a table is too big.

mod feistel;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::RowRng;
use crate::digest::DigestBuilder;
use feistel::Feistel;
use table::Table;

/// The longest permutation that is kept as a table: 65,536 elements, two tables of 128 KiB.
pub const TABLE_LEN_MAX: u64 = 1 << 16;
/// The longest permutation that [`Permutation::small`] keeps as a table. A Feistel network of so many elements
/// shows nothing in the chi-squares of `tests.rs`, where it does below 11.
const SMALL_TABLE_LEN_MAX: u64 = 64;

/// One of the orders of `0..len`, chosen by a key. Cheap to clone, the same on every machine.
///
/// Up to [`TABLE_LEN_MAX`] elements it is a Fisher-Yates shuffle, every order of which the key's generator can
/// reach; above, a Feistel network of 12 rounds, which needs no memory and no time to set up.
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Table(Arc<Table>),
    Feistel(Feistel<12>),
}

impl Permutation {
    /// The permutation of `0..len` that `key` chooses. The same key gives unrelated ones for different lengths.
    pub fn new(len: u64, key: [u8; 32]) -> Self {
        Self::from_rng(len, &mut generator(len, &key), TABLE_LEN_MAX)
    }

    /// The permutation that a generator's next numbers choose, for callers who make very many of them: a table up to
    /// [`SMALL_TABLE_LEN_MAX`] elements, so that one costs no more than some hundred nanoseconds, whatever its length.
    pub(crate) fn small(len: u64, mut rng: RowRng) -> Self {
        Self::from_rng(len, &mut rng, SMALL_TABLE_LEN_MAX)
    }

    /// The permutation that a generator's next numbers choose, as a table whatever its length, which is at most
    /// [`TABLE_LEN_MAX`]: 4 ns an element to make and 1 to look up, so for callers who need most of it.
    pub(crate) fn table(len: u64, mut rng: RowRng) -> Self {
        Self::from_rng(len, &mut rng, TABLE_LEN_MAX)
    }

    fn from_rng(len: u64, rng: &mut RowRng, table_len_max: u64) -> Self {
        let kind = if len <= table_len_max {
            Kind::Table(Arc::new(Table::shuffled(len as u32, rng)))
        } else {
            Kind::Feistel(Feistel::new(len, rng))
        };
        Self { len, kind }
    }

    /// How many elements are permuted.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether an epoch is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where element `i` goes. `i` is below [`Permutation::len`].
    pub fn forward(&self, i: u64) -> u64 {
        assert!(i < self.len, "element {i} of a permutation of {}", self.len);
        match &self.kind {
            Kind::Table(table) => table.forward(i),
            Kind::Feistel(feistel) => feistel.forward(i),
        }
    }

    /// Which element goes to `j`: `inverse(forward(i)) == i`. `j` is below [`Permutation::len`].
    pub fn inverse(&self, j: u64) -> u64 {
        assert!(j < self.len, "place {j} of a permutation of {}", self.len);
        match &self.kind {
            Kind::Table(table) => table.inverse(j),
            Kind::Feistel(feistel) => feistel.inverse(j),
        }
    }
}

/// The generator that shuffles the table or draws the round keys: its state is a BLAKE3 hash of key and length.
fn generator(len: u64, key: &[u8; 32]) -> RowRng {
    let digest = DigestBuilder::new("permutation").field("key", key).u64("len", len).finish();
    let (words, _) = digest.as_bytes().as_chunks::<8>();
    RowRng::from_state([0, 1, 2, 3].map(|i: usize| u64::from_le_bytes(words[i])))
}
