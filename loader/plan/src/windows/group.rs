//! Groups the samples of one window by length. Pure arithmetic over a slice of lengths.

use std::collections::BTreeSet;

use crate::orders::OrderError;
use crate::{Permutation, RowRng};

/// The most pieces that the samples of a window are cut into.
const PIECES_MAX: u64 = 1 << 26;

/// A sample of a window, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which sample of the window.
    pub at: u32,
    pub start: u32,
    pub len: u32,
}

/// Rows of pieces. Those of a row stand by rising `at`.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pieces: Vec<Piece>,
    /// Where each row's pieces end.
    ends: Vec<u32>,
}

impl Groups {
    /// How many rows there are.
    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    pub(super) fn row(&self, row: u32) -> &[Piece] {
        let begin = row.checked_sub(1).map_or(0, |before| self.ends[before as usize]);
        &self.pieces[begin as usize..self.ends[row as usize] as usize]
    }

    /// Rows of one sample, in batches of similar length.
    ///
    /// A batch keeps its samples in their order, so that no rank gets the short ones. A batch that is not full comes
    /// last, and holds middling lengths as often as extreme ones.
    pub(super) fn bucketed(lengths: &[u32], batch_rows: u32, rng: Option<RowRng>) -> Self {
        let mut by_length: Vec<u32> = (0..lengths.len() as u32).collect();
        by_length.sort_by_key(|&at| lengths[at as usize]);
        let (batch_rows, short_rows) = (batch_rows as usize, lengths.len() % batch_rows as usize);
        let whole = (lengths.len() / batch_rows) as u64;
        let mut rng = rng;
        // The short batch is cut out of the sorted samples before one of the whole ones, or behind them.
        let short_at = rng.as_mut().map_or(whole, |rng| rng.below(whole + 1)) as usize * batch_rows;
        let mut short: Vec<u32> = by_length.drain(short_at..short_at + short_rows).collect();
        let mut batches: Vec<&mut [u32]> = by_length.chunks_mut(batch_rows).collect();
        batches.iter_mut().for_each(|batch| batch.sort_unstable());
        short.sort_unstable();
        batches.sort_unstable_by_key(|batch| batch[0]);
        let batches = shuffled(batches.len() as u32, rng).map(|batch| &*batches[batch as usize]);
        let order = batches.chain([short.as_slice()]).flatten();
        let pieces: Vec<Piece> = order.map(|&at| Piece { at, start: 0, len: lengths[at as usize] }).collect();
        Self { ends: (1..=pieces.len() as u32).collect(), pieces }
    }

    /// Rows of at most `capacity` tokens and `documents_max` pieces, longer samples split, those of length 0 nowhere.
    ///
    /// # Errors
    /// [`OrderError::TooManyPieces`].
    pub(super) fn packed(
        lengths: &[u32],
        capacity: u32,
        documents_max: u32,
        rng: Option<RowRng>,
    ) -> Result<Self, OrderError> {
        let pieces: u64 = lengths.iter().map(|len| len.div_ceil(capacity) as u64).sum();
        if pieces > PIECES_MAX {
            return Err(OrderError::TooManyPieces { pieces, pieces_max: PIECES_MAX });
        }
        let of_sample = |(at, &len): (usize, &u32)| {
            let starts = (0..len).step_by(capacity as usize);
            starts.map(move |start| Piece { at: at as u32, start, len: capacity.min(len - start) })
        };
        let pieces: Vec<Piece> = lengths.iter().enumerate().flat_map(of_sample).collect();
        let bins = best_fit_decreasing(&pieces, capacity, documents_max);
        Ok(Self::by_group(&pieces, &bins, rng))
    }

    /// Rows of samples of similar length: at most `samples_max`, and `tokens` when padded to the longest, which no
    /// sample exceeds alone.
    pub(super) fn budgeted(lengths: &[u32], tokens: u32, samples_max: u32, rng: Option<RowRng>) -> Self {
        let piece = |(at, &len): (usize, &u32)| Piece { at: at as u32, start: 0, len };
        let pieces: Vec<Piece> = lengths.iter().enumerate().map(piece).collect();
        let mut groups = vec![0; pieces.len()];
        let (mut group, mut room) = (0, None);
        for at in longest_first(&pieces) {
            // The first of a group is its longest, and decides how many fit.
            let fit = || (tokens / pieces[at as usize].len.max(1)).min(samples_max);
            if room == Some(0) {
                (group, room) = (group + 1, None);
            }
            groups[at as usize] = group;
            room = Some(room.unwrap_or_else(fit) - 1);
        }
        Self::by_group(&pieces, &groups, rng)
    }

    /// Rows from the number of each piece's group; rows are shuffled, or stand by their first piece.
    fn by_group(pieces: &[Piece], groups: &[u32], rng: Option<RowRng>) -> Self {
        let count = groups.iter().max().map_or(0, |&last| last as usize + 1);
        let mut members = vec![0_u32; count];
        groups.iter().for_each(|&group| members[group as usize] += 1);
        // Groups by their first piece, so that how they were numbered does not matter.
        let mut first: Vec<u32> = Vec::with_capacity(count);
        let mut seen = vec![false; count];
        for &group in groups {
            if !std::mem::replace(&mut seen[group as usize], true) {
                first.push(group);
            }
        }
        let (mut ends, mut next, mut end) = (Vec::with_capacity(count), vec![0; count], 0);
        for row in shuffled(count as u32, rng) {
            let group = first[row as usize] as usize;
            next[group] = end;
            end += members[group];
            ends.push(end);
        }
        let mut placed = vec![Piece { at: 0, start: 0, len: 0 }; pieces.len()];
        for (&piece, &group) in pieces.iter().zip(groups) {
            placed[next[group as usize] as usize] = piece;
            next[group as usize] += 1;
        }
        Self { pieces: placed, ends }
    }
}

/// The bin of each piece: from the longest down, each goes where it leaves the least room, or into a new bin.
fn best_fit_decreasing(pieces: &[Piece], capacity: u32, pieces_max: u32) -> Vec<u32> {
    let (mut bins, mut count) = (vec![0; pieces.len()], 0);
    let mut held: Vec<u32> = Vec::new();
    // Bins by the room they have left, those that are full left out.
    let mut room: BTreeSet<(u32, u32)> = BTreeSet::new();
    for at in longest_first(pieces) {
        let len = pieces[at as usize].len;
        let best = room.range((len, 0)..).next().copied();
        let (left, bin) = best.unwrap_or((capacity, count));
        room.remove(&(left, bin));
        if best.is_none() {
            count += 1;
            held.push(0);
        }
        held[bin as usize] += 1;
        if left > len && held[bin as usize] < pieces_max {
            room.insert((left - len, bin));
        }
        bins[at as usize] = bin;
    }
    bins
}

/// The places of pieces from the longest to the shortest, equal ones in their order.
fn longest_first(pieces: &[Piece]) -> impl Iterator<Item = u32> {
    let key = |(at, piece): (usize, &Piece)| ((u32::MAX - piece.len) as u64) << 32 | at as u64;
    let mut keys: Vec<u64> = pieces.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u32)
}

/// `0..count` in the order that a generator draws, or as it is.
fn shuffled(count: u32, rng: Option<RowRng>) -> impl Iterator<Item = u32> {
    let permutation = rng.map(|rng| Permutation::small(count as u64, rng));
    (0..count)
        .map(move |i| permutation.as_ref().map_or(i, |permutation| permutation.forward(i as u64) as u32))
}
