//! Sampling with replacement by weight: each row draws for itself.

use std::sync::Arc;

use super::OrderError;
use super::alias::AliasTable;
use crate::digest::DigestBuilder;
use crate::order::check_rows;
use crate::{Digest, EpochPrf, RowRng};

/// How often a substitute is drawn again where it is the row's own sample.
const REDRAWS: u32 = 16;

/// Rows that each draw a sample by weight, torch's `WeightedRandomSampler` with replacement. Cheap to clone.
///
/// A row's draw is the PRF's at its position, so it depends on no other row. Without replacement there is no such
/// form: make the list outside and give it as [`super::Explicit`].
#[derive(Debug, Clone)]
pub struct Weighted {
    pub(super) seed: u64,
    pub(super) rows: u64,
    table: Arc<AliasTable>,
    weights: Digest,
}

impl Weighted {
    /// An order of `rows` rows an epoch over the samples that `weights` has one each for.
    ///
    /// It takes O(n) time and keeps 8 bytes a sample. A chance is exact to 2^-33 of an even share.
    ///
    /// # Errors
    /// [`OrderError::Plan`] where `rows` is out of range, [`OrderError::TooManyWeights`], [`OrderError::Weight`],
    /// [`OrderError::WeightTooSmall`] and [`OrderError::NoWeight`].
    pub fn new(seed: u64, weights: &[f64], rows: u64) -> Result<Self, OrderError> {
        check_rows(rows)?;
        let table = Arc::new(AliasTable::new(weights)?);
        Ok(Self { seed, rows, table, weights: weights_digest(weights) })
    }

    /// Samples there are weights for.
    pub fn samples(&self) -> u64 {
        self.table.len()
    }

    pub(super) fn draw(&self, prf: &EpochPrf, position: u64) -> u64 {
        self.table.draw(prf.draw(position, 0, 0))
    }

    /// Another sample by weight; `own` again only where nearly all weight is on it.
    pub(super) fn redraw(&self, rng: &mut RowRng, own: u64) -> u64 {
        let mut draws = (0..REDRAWS).map(|_| self.table.draw(rng.next_u64()));
        draws.find(|&sample| sample != own).unwrap_or(own)
    }

    pub(super) fn digest_into(&self, digest: DigestBuilder) -> DigestBuilder {
        digest
            .u64("seed", self.seed)
            .u64("rows", self.rows)
            .u64("samples", self.samples())
            .field("weights", self.weights.as_bytes())
    }
}

/// The weights with which every class comes as often as every other: 1 over the samples of its class, a sample.
///
/// * `classes`: the class of each sample. Classes without a sample do not matter.
///
/// For [`Weighted`], where a class has its share on average and a sample may come twice; [`super::Balanced`] gives it in
/// every block, each sample once before any comes again.
pub fn inverse_class_weights(classes: &[u32]) -> Vec<f64> {
    let mut counts = std::collections::BTreeMap::<u32, u64>::new();
    classes.iter().for_each(|class| *counts.entry(*class).or_default() += 1);
    classes.iter().map(|class| 1.0 / counts[class] as f64).collect()
}

/// Names weights by their bits.
fn weights_digest(weights: &[f64]) -> Digest {
    let bytes = |part: &[f64]| part.iter().flat_map(|weight| weight.to_le_bytes()).collect::<Vec<u8>>();
    // In parts, so that a hundred million weights need no copy of themselves.
    let digest = DigestBuilder::new("weights").u64("samples", weights.len() as u64);
    weights.chunks(4096).fold(digest, |digest, part| digest.field("part", &bytes(part))).finish()
}
