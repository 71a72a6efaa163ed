//! Picks of many rows of one epoch: what neighbouring rows of a mixture share is computed once.

use super::mixture::{Block, Mixture, Source};
use super::{BLOCK_ROWS, EpochPicks, Pick};
use crate::{Permutation, SampleId, Sampler};

/// [`EpochPicks::pick`] for a caller with many rows, best in rising order. Made by [`EpochPicks::walker`].
///
/// It keeps the running block, and of each source the running order: 190 bytes a source, so one walker a session does
/// better than one a batch. Orders without sources pass through. What it returns never depends on what it was asked
/// before.
#[derive(Debug, Clone)]
pub struct Walker {
    picks: EpochPicks,
    kept: Option<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    mixture: Mixture,
    block: Option<Block>,
    /// Rows of the same source earlier in the block, for sequential sources; made when the first one comes.
    ranks: Option<Box<[u16]>>,
    sources: Vec<KeptSource>,
}

#[derive(Debug, Clone, Default)]
struct KeptSource {
    /// A block, and the visits before it.
    visits: Option<(u64, u64)>,
    /// A source epoch, and the order of it.
    order: Option<(u64, Permutation)>,
}

impl Walker {
    pub(super) fn new(picks: EpochPicks) -> Self {
        let kept = picks.mixture().map(|mixture| Kept {
            mixture: mixture.clone(),
            block: None,
            ranks: None,
            sources: vec![KeptSource::default(); mixture.sources().len()],
        });
        Self { picks, kept }
    }

    /// What stands at `position`: the same as [`EpochPicks::pick`].
    pub fn pick(&mut self, position: u64) -> Pick {
        let Some(kept) = &mut self.kept else { return self.picks.pick(position) };
        let inner = self.picks.mixture_position(position);
        self.picks.member(kept.pick(self.picks.epoch(), inner))
    }
}

impl Kept {
    fn pick(&mut self, epoch: u64, position: u64) -> Pick {
        let number = self.mixture.block_number(epoch, position);
        if self.block.as_ref().is_none_or(|block| block.number != number) {
            (self.block, self.ranks) = (Some(self.mixture.block(number)), None);
        }
        let block = self.block.as_ref().expect("just made");
        let (source, nth) = self.mixture.source_at(block, position % BLOCK_ROWS);
        let before = self.visits_before(source, number);
        let Source { rows, sampler } = self.mixture.sources()[source];
        let (source_epoch, sample) = match sampler {
            Sampler::Sequential => {
                let visit = before + self.rank(position % BLOCK_ROWS);
                (visit / rows, visit % rows)
            }
            Sampler::Shuffled => {
                let visit = before + nth;
                (visit / rows, self.shuffled(source, visit / rows, visit % rows))
            }
        };
        Pick { source: source as u32, sample: SampleId(sample), source_epoch }
    }

    /// Visits to a source before the block: from the block before it by one addition, else anew.
    fn visits_before(&mut self, source: usize, number: u64) -> u64 {
        let before = match self.sources[source].visits {
            Some((at, before)) if at == number => return before,
            Some((at, before)) if at + 1 == number => before + self.mixture.quota(source, at),
            _ => self.mixture.visits_before_block(source, number),
        };
        self.sources[source].visits = Some((number, before));
        before
    }

    fn rank(&mut self, within: u64) -> u64 {
        let block = self.block.as_ref().expect("made for the row before its rank is asked for");
        self.ranks.get_or_insert_with(|| self.mixture.ranks(block))[within as usize] as u64
    }

    fn shuffled(&mut self, source: usize, source_epoch: u64, place: u64) -> u64 {
        let kept = &mut self.sources[source].order;
        if kept.as_ref().is_none_or(|(epoch, _)| *epoch != source_epoch) {
            *kept = Some((source_epoch, self.mixture.source_order(source, source_epoch)));
        }
        kept.as_ref().expect("just put there").1.forward(place)
    }
}
