//! Several sources in stated ratios: which source, and which of its samples, stands in each row of a run.
//!
//! Rows are counted over the whole run and cut into blocks of [`BLOCK_ROWS`]. [`Shares`] says how many rows of each
//! source a block holds and how many came before it; a keyed permutation of the block says where they stand. The
//! `k`-th visit to a source of `n` samples takes place `k mod n` of the source's own epoch `k / n`, each of which has
//! a new order. Nothing is remembered, so any row is computed alone.
//!
//! Inside a block, the visits to a sequential source follow its rows, so that it really is gone through in order;
//! those to a shuffled source follow the slots, which is quicker to find and no less random.

use std::ops::Range;
use std::sync::Arc;

use super::shares::{BLOCK_ROWS, Shares, check_count, integer_weights};
use super::{OrderError, Pick};
use crate::digest::DigestBuilder;
use crate::order::check_rows;
use crate::{EpochPrf, Permutation, Purpose, SampleId, Sampler};

/// Blocks of a run are counted modulo this: 2^63 rows.
const BLOCKS_MAX: u64 = 1 << 53;

/// One of the sets of samples that a mixture draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// Samples in its selection: 1 to [`crate::ROWS_MAX`].
    pub rows: u64,
    /// How each of its own epochs goes through them.
    pub sampler: Sampler,
}

/// Weights that hold from a row on, until the next phase's.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// The first row they hold for, counted over the whole run: a multiple of [`BLOCK_ROWS`].
    pub from_row: u64,
    /// One a source, in any unit; zero for none.
    pub weights: Vec<f64>,
}

/// How many rows an epoch of a mixture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EpochLength {
    /// So many: a multiple of [`BLOCK_ROWS`].
    Rows(u64),
    /// As many as the first phase's weights need for one pass over this source, rounded up to whole blocks.
    OnePass(u32),
    /// As many as all sources have samples together, rounded up to whole blocks.
    Sum,
}

/// All that decides a mixture; checked by [`Mixture::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct MixtureSpec {
    /// The job's seed.
    pub seed: u64,
    /// The sources; their order counts.
    pub sources: Vec<Source>,
    /// The weights, from row 0 on; at least one phase.
    pub phases: Vec<Phase>,
    /// How long an epoch is.
    pub epoch: EpochLength,
}

/// A checked mixture. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mixture(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    seed: u64,
    sources: Box<[Source]>,
    phases: Box<[CheckedPhase]>,
    epoch_rows: u64,
    block_prf: EpochPrf,
    source_prf: EpochPrf,
}

/// The weights from `first_block` on.
#[derive(Debug)]
struct CheckedPhase {
    first_block: u64,
    weights: Box<[u64]>,
    shares: Shares,
    /// Rows of each source in all earlier phases.
    visits_before: Box<[u64]>,
}

/// Which row of one block has which slot; slots are laid in the order of the sources.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) number: u64,
    slots: Permutation,
}

impl Mixture {
    /// Checks a mixture and prepares its phases.
    ///
    /// # Errors
    /// [`OrderError::NoSources`] and [`OrderError::TooManySources`]; [`OrderError::Plan`] for a source without samples
    /// and for an epoch of too many rows; [`OrderError::PhaseStart`], [`OrderError::WeightCount`] and the errors of
    /// single weights; [`OrderError::EpochRows`], [`OrderError::OnePass`] for the length of an epoch.
    pub fn new(spec: &MixtureSpec) -> Result<Self, OrderError> {
        check_count(spec.sources.len())?;
        spec.sources.iter().try_for_each(|source| check_rows(source.rows))?;
        let phases = checked_phases(&spec.phases, spec.sources.len())?;
        let epoch_rows = epoch_rows(spec, &phases[0].weights)?;
        Ok(Self(Arc::new(Checked {
            seed: spec.seed,
            sources: spec.sources.clone().into(),
            phases,
            epoch_rows,
            block_prf: EpochPrf::new(spec.seed, Purpose::Block, 0),
            source_prf: EpochPrf::new(spec.seed, Purpose::Source, 0),
        })))
    }

    /// The sources, in order.
    pub fn sources(&self) -> &[Source] {
        &self.0.sources
    }

    /// Rows of every epoch: a multiple of [`BLOCK_ROWS`].
    pub fn epoch_rows(&self) -> u64 {
        self.0.epoch_rows
    }

    /// The job's seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A row of an epoch as a row of the run, as [`Phase::from_row`] counts them.
    pub fn run_row(&self, epoch: u64, position: u64) -> u64 {
        self.block_number(epoch, position) * BLOCK_ROWS + position % BLOCK_ROWS
    }

    /// What stands at `position` of an epoch, which is below [`Mixture::epoch_rows`].
    ///
    /// It makes the block's table anew, some 4 us, which is for single rows; [`super::Walker`] is for many.
    pub fn pick(&self, epoch: u64, position: u64) -> Pick {
        let block = self.block(self.block_number(epoch, position));
        let (source, nth) = self.source_at(&block, position % BLOCK_ROWS);
        let Source { rows, sampler } = self.0.sources[source];
        let visit = match sampler {
            Sampler::Sequential => self.visits_before(source as u32, self.run_row(epoch, position)),
            Sampler::Shuffled => self.visits_before_block(source, block.number) + nth,
        };
        let (source_epoch, place) = (visit / rows, visit % rows);
        let sample = match sampler {
            Sampler::Sequential => place,
            Sampler::Shuffled => self.source_order(source, source_epoch).forward(place),
        };
        Pick { source: source as u32, sample: SampleId(sample), source_epoch }
    }

    /// How many of the run's first `run_row` rows take a sample of `source`.
    pub fn visits_before(&self, source: u32, run_row: u64) -> u64 {
        let (block, within) = (self.block(run_row / BLOCK_ROWS % BLOCKS_MAX), run_row % BLOCK_ROWS);
        let slots = self.slots(source as usize, block.number);
        let in_block = slots.filter(|&slot| block.slots.inverse(slot) < within).count() as u64;
        self.visits_before_block(source as usize, block.number) + in_block
    }

    /// The row of the run at which `source` is visited for the `visit`-th time, from 0; `None` where it never is.
    ///
    /// A source's `visit` is `rows * source_epoch + place`: with [`Mixture::source_position`] one finds where a sample
    /// stands next.
    pub fn row_of_visit(&self, source: u32, visit: u64) -> Option<u64> {
        let before = |number| self.visits_before_block(source as usize, number);
        let (mut low, mut high) = (0, BLOCKS_MAX - 1);
        if before(high) <= visit {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if before(middle) <= visit { low = middle } else { high = middle }
        }
        let (block, nth) = (self.block(low), (visit - before(low)) as usize);
        let slots = self.slots(source as usize, low);
        let mut rows: Vec<u64> = slots.map(|slot| block.slots.inverse(slot)).collect();
        if self.0.sources[source as usize].sampler == Sampler::Sequential {
            rows.sort_unstable();
        }
        Some(low * BLOCK_ROWS + rows[nth])
    }

    /// The place at which a source's own epoch has `sample`, both in `0..rows` of the source.
    pub fn source_position(&self, source: u32, source_epoch: u64, sample: SampleId) -> u64 {
        match self.0.sources[source as usize].sampler {
            Sampler::Sequential => sample.0,
            Sampler::Shuffled => self.source_order(source as usize, source_epoch).inverse(sample.0),
        }
    }

    /// The block that holds a row of an epoch.
    pub(super) fn block_number(&self, epoch: u64, position: u64) -> u64 {
        let epoch_rows = self.0.epoch_rows;
        assert!(position < epoch_rows, "position {position} of an epoch of {epoch_rows} rows");
        let first = epoch.wrapping_mul(epoch_rows / BLOCK_ROWS);
        first.wrapping_add(position / BLOCK_ROWS) % BLOCKS_MAX
    }

    pub(super) fn block(&self, number: u64) -> Block {
        Block { number, slots: Permutation::table(BLOCK_ROWS, self.0.block_prf.rng(number, 0, 0)) }
    }

    /// The source at row `within` of a block, and its slot's place among the source's.
    pub(super) fn source_at(&self, block: &Block, within: u64) -> (usize, u64) {
        let (phase, index) = self.phase(block.number);
        phase.shares.source_of(block.slots.forward(within), index)
    }

    /// For each row of a block, how many rows of the same source stand before it in the block.
    pub(super) fn ranks(&self, block: &Block) -> Box<[u16]> {
        let mut counts = vec![0; self.0.sources.len()];
        let rank = |within| {
            let (source, _) = self.source_at(block, within);
            counts[source] += 1;
            counts[source] - 1
        };
        (0..BLOCK_ROWS).map(rank).collect()
    }

    /// Visits to a source before a block.
    pub(super) fn visits_before_block(&self, source: usize, number: u64) -> u64 {
        let (phase, index) = self.phase(number);
        phase.visits_before[source] + phase.shares.rows_before(source, index)
    }

    /// Rows of a source in a block.
    pub(super) fn quota(&self, source: usize, number: u64) -> u64 {
        let slots = self.slots(source, number);
        slots.end - slots.start
    }

    fn slots(&self, source: usize, number: u64) -> Range<u64> {
        let (phase, index) = self.phase(number);
        phase.shares.slots(source, index)
    }

    /// The order of one epoch of a shuffled source.
    pub(super) fn source_order(&self, source: usize, source_epoch: u64) -> Permutation {
        let rng = self.0.source_prf.rng(source_epoch, source as u32, 0);
        Permutation::small(self.0.sources[source].rows, rng)
    }

    /// Adds what decides the rows, but for the snapshots, to an order digest.
    pub(super) fn digest_into(&self, mut digest: DigestBuilder) -> DigestBuilder {
        let checked = &*self.0;
        digest = digest.u64("seed", checked.seed).u64("epoch_rows", checked.epoch_rows);
        digest = digest.u64("sources", checked.sources.len() as u64);
        for source in &checked.sources {
            digest = digest.field("sampler", source.sampler.as_str().as_bytes()).u64("rows", source.rows);
        }
        for phase in &checked.phases {
            let weights: Vec<u8> = phase.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            digest = digest.u64("first_block", phase.first_block).field("weights", &weights);
        }
        digest
    }

    /// The phase that a block belongs to, and the block's number in it.
    fn phase(&self, number: u64) -> (&CheckedPhase, u64) {
        let after = self.0.phases.partition_point(|phase| phase.first_block <= number);
        let phase = &self.0.phases[after - 1];
        (phase, number - phase.first_block)
    }
}

fn checked_phases(phases: &[Phase], sources: usize) -> Result<Box<[CheckedPhase]>, OrderError> {
    if phases.first().is_none_or(|phase| phase.from_row != 0) {
        return Err(OrderError::PhaseStart {
            from_row: phases.first().map(|phase| phase.from_row),
            after: None,
        });
    }
    let mut checked: Vec<CheckedPhase> = Vec::with_capacity(phases.len());
    for phase in phases {
        let next = checked_phase(phase, sources, checked.last())?;
        checked.push(next);
    }
    Ok(checked.into())
}

fn checked_phase(
    phase: &Phase,
    sources: usize,
    last: Option<&CheckedPhase>,
) -> Result<CheckedPhase, OrderError> {
    let after = last.map(|last| last.first_block * BLOCK_ROWS);
    let behind = after.is_none_or(|after| phase.from_row > after);
    if !behind || !phase.from_row.is_multiple_of(BLOCK_ROWS) || phase.from_row / BLOCK_ROWS >= BLOCKS_MAX {
        return Err(OrderError::PhaseStart { from_row: Some(phase.from_row), after });
    }
    if phase.weights.len() != sources {
        return Err(OrderError::WeightCount { expected: sources, given: phase.weights.len() });
    }
    let (weights, first_block) = (integer_weights(&phase.weights)?, phase.from_row / BLOCK_ROWS);
    let before = |source: usize| {
        last.map_or(0, |last| {
            last.visits_before[source] + last.shares.rows_before(source, first_block - last.first_block)
        })
    };
    let visits_before = (0..sources).map(before).collect();
    Ok(CheckedPhase { first_block, shares: Shares::new(&weights), weights, visits_before })
}

fn epoch_rows(spec: &MixtureSpec, weights: &[u64]) -> Result<u64, OrderError> {
    let rows = match spec.epoch {
        EpochLength::Rows(rows) if rows.is_multiple_of(BLOCK_ROWS) => rows as u128,
        EpochLength::Rows(rows) => return Err(OrderError::EpochRows { rows }),
        EpochLength::Sum => spec.sources.iter().map(|source| source.rows as u128).sum(),
        EpochLength::OnePass(source) => {
            let weight = weights.get(source as usize).copied().unwrap_or(0);
            if weight == 0 {
                return Err(OrderError::OnePass { source_index: source, sources: spec.sources.len() });
            }
            let total: u128 = weights.iter().map(|&weight| weight as u128).sum();
            (spec.sources[source as usize].rows as u128 * total).div_ceil(weight as u128)
        }
    };
    let rows = u64::try_from(rows.next_multiple_of(BLOCK_ROWS as u128)).unwrap_or(u64::MAX);
    check_rows(rows)?;
    Ok(rows)
}
