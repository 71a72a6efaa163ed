//! A permutation of at most 2^16 elements as two tables, there and back.

use crate::RowRng;

/// Both directions of a shuffle: 4 bytes an element.
#[derive(Debug)]
pub(super) struct Table {
    forward: Box<[u16]>,
    inverse: Box<[u16]>,
}

impl Table {
    /// Shuffles `0..len` from the last element down, one draw an element. `len` is at most 2^16.
    ///
    /// Source: Durstenfeld, "Algorithm 235: Random permutation" (1964).
    pub(super) fn shuffled(len: u32, rng: &mut RowRng) -> Self {
        let mut forward: Box<[u16]> = (0..len).map(|i| i as u16).collect();
        for last in (1..forward.len()).rev() {
            forward.swap(last, rng.below(last as u64 + 1) as usize);
        }
        let mut inverse = vec![0; forward.len()].into_boxed_slice();
        for (i, &j) in forward.iter().enumerate() {
            inverse[j as usize] = i as u16;
        }
        Self { forward, inverse }
    }

    pub(super) fn forward(&self, i: u64) -> u64 {
        self.forward[i as usize] as u64
    }

    pub(super) fn inverse(&self, j: u64) -> u64 {
        self.inverse[j as usize] as u64
    }
}
