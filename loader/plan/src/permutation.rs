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
        let mut rng = generator(len, &key);
        let kind = if len <= TABLE_LEN_MAX {
            Kind::Table(Arc::new(Table::shuffled(len as u32, &mut rng)))
        } else {
            Kind::Feistel(Feistel::new(len, &mut rng))
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
