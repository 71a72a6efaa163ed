//! The order of an epoch: which sample stands in which row.

use std::fmt;
use std::str::FromStr;

use crate::digest::DigestBuilder;
use crate::prf::epoch_key;
use crate::{Digest, EpochPrf, Permutation, PlanError, Purpose};

/// Version of everything that turns a seed into an order and into draws. Part of the order digest.
pub const ORDER_VERSION: u32 = 1;
/// The most rows an epoch may have: 2^48, so that no sum of positions overflows.
pub const ROWS_MAX: u64 = 1 << 48;
/// How many other samples are tried in the place of a corrupt one before the run fails.
pub const SUBSTITUTE_ATTEMPTS_MAX: u32 = 8;

/// A sample by its row in a snapshot's selection, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId(pub u64);

/// How an epoch goes through the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampler {
    /// In the snapshot's order, the same every epoch.
    Sequential,
    /// In an order drawn from seed and epoch by a keyed [`Permutation`].
    Shuffled,
}

impl Sampler {
    /// The name in configurations, messages and digests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Shuffled => "shuffled",
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Sampler {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        match name {
            "sequential" => Ok(Self::Sequential),
            "shuffled" => Ok(Self::Shuffled),
            _ => Err(PlanError::unknown_name("sampler", name, "sequential, shuffled")),
        }
    }
}

/// All that decides the order of every epoch of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderSpec {
    /// How an epoch goes through the selection.
    pub sampler: Sampler,
    /// The job's seed; every draw derives from it.
    pub seed: u64,
    /// Samples in the snapshot's selection, which is also the rows of an epoch: 1 to [`ROWS_MAX`].
    pub rows: u64,
}

impl OrderSpec {
    /// Checks the number of rows.
    ///
    /// # Errors
    /// [`PlanError::NoRows`] and [`PlanError::TooManyRows`] where `rows` is not 1 to [`ROWS_MAX`].
    pub fn new(sampler: Sampler, seed: u64, rows: u64) -> Result<Self, PlanError> {
        check_rows(rows)?;
        Ok(Self { sampler, seed, rows })
    }

    /// The order of one epoch. Up to 2^16 rows this shuffles a table (under 1 ms); above it is a few hashes.
    pub fn epoch(&self, epoch: u64) -> EpochOrder {
        let permutation = match self.sampler {
            Sampler::Sequential => None,
            Sampler::Shuffled => {
                Some(Permutation::new(self.rows, epoch_key(self.seed, Purpose::Shuffle, epoch)))
            }
        };
        let substitutes = EpochPrf::new(self.seed, Purpose::Substitute, epoch);
        EpochOrder { epoch, rows: self.rows, permutation, substitutes }
    }

    /// The order digest of a job: equal where every row of every epoch holds the same sample of the same snapshot.
    pub fn digest(&self, snapshot: &Digest) -> Digest {
        DigestBuilder::new("order")
            .u64("order_version", ORDER_VERSION as u64)
            .field("snapshot", snapshot.as_bytes())
            .field("sampler", self.sampler.as_str().as_bytes())
            .u64("seed", self.seed)
            .u64("rows", self.rows)
            .finish()
    }
}

/// The order of one epoch: a bijection between its positions and the samples, both `0..rows`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    epoch: u64,
    rows: u64,
    permutation: Option<Permutation>,
    substitutes: EpochPrf,
}

impl EpochOrder {
    /// Which epoch this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many positions, and samples, there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sample that stands at `position`, which is below [`EpochOrder::rows`].
    pub fn sample(&self, position: u64) -> SampleId {
        assert!(position < self.rows, "position {position} of an epoch of {} rows", self.rows);
        SampleId(self.permutation.as_ref().map_or(position, |permutation| permutation.forward(position)))
    }

    /// The position at which `sample` stands; `sample` is below [`EpochOrder::rows`].
    pub fn position(&self, sample: SampleId) -> u64 {
        assert!(sample.0 < self.rows, "sample {} of an epoch of {} rows", sample.0, self.rows);
        self.permutation.as_ref().map_or(sample.0, |permutation| permutation.inverse(sample.0))
    }

    /// The sample to try at `position` when the row's own is corrupt: any other, each as likely.
    ///
    /// * `attempt`: 1 to [`SUBSTITUTE_ATTEMPTS_MAX`]; different attempts draw independently, so on a tiny set two
    ///   of them may name the same sample.
    ///
    /// Where there is no other sample (`rows == 1`) it is the row's own.
    pub fn substitute(&self, position: u64, attempt: u32) -> SampleId {
        let own = self.sample(position);
        if self.rows == 1 {
            return own;
        }
        let skip = 1 + self.substitutes.rng(position, 0, attempt).below(self.rows - 1);
        SampleId((own.0 + skip) % self.rows)
    }
}

/// Checks a number of rows at the edge.
pub(crate) fn check_rows(rows: u64) -> Result<(), PlanError> {
    match rows {
        0 => Err(PlanError::NoRows),
        1..=ROWS_MAX => Ok(()),
        _ => Err(PlanError::TooManyRows { rows, rows_max: ROWS_MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffled(rows: u64) -> EpochOrder {
        OrderSpec::new(Sampler::Shuffled, 7, rows).expect("rows in range").epoch(3)
    }

    #[test]
    fn sequential_keeps_the_order_of_the_snapshot_in_every_epoch() {
        let spec = OrderSpec::new(Sampler::Sequential, 7, 10).expect("rows in range");
        for epoch in [0, 5] {
            let order = spec.epoch(epoch);
            assert!((0..10).all(|p| order.sample(p) == SampleId(p) && order.position(SampleId(p)) == p));
        }
    }

    #[test]
    fn shuffled_holds_every_sample_once_and_finds_each_again() {
        let order = shuffled(1000);
        let mut samples: Vec<_> = (0..1000).map(|p| order.sample(p)).collect();
        assert!(samples.iter().enumerate().all(|(p, &s)| order.position(s) == p as u64));
        samples.sort_unstable();
        assert!(samples.iter().enumerate().all(|(i, s)| s.0 == i as u64));
    }

    #[test]
    fn another_epoch_or_another_seed_is_another_order() {
        let spec = OrderSpec::new(Sampler::Shuffled, 7, 1000).expect("rows in range");
        let head = |order: EpochOrder| (0..1000).map(|p| order.sample(p)).collect::<Vec<_>>();
        assert_ne!(head(spec.epoch(0)), head(spec.epoch(1)));
        assert_ne!(head(spec.epoch(0)), head(OrderSpec { seed: 8, ..spec }.epoch(0)));
    }

    #[test]
    fn a_substitute_is_never_the_rows_own_sample_and_reaches_all_others() {
        let order = shuffled(5);
        for position in 0..5 {
            let mut seen = [false; 5];
            for attempt in 1..=200 {
                seen[order.substitute(position, attempt).0 as usize] = true;
            }
            let own = order.sample(position).0 as usize;
            assert!((0..5).all(|sample| seen[sample] == (sample != own)), "{own}: {seen:?}");
        }
    }

    #[test]
    fn the_only_sample_substitutes_itself() {
        assert_eq!(shuffled(1).substitute(0, 1), SampleId(0));
    }

    #[test]
    fn no_rows_and_too_many_rows_are_refused() {
        let of = |rows| OrderSpec::new(Sampler::Shuffled, 0, rows);
        assert_eq!(of(0), Err(PlanError::NoRows));
        assert_eq!(of(ROWS_MAX + 1), Err(PlanError::TooManyRows { rows: ROWS_MAX + 1, rows_max: ROWS_MAX }));
        let last = of(ROWS_MAX).expect("the most there may be").epoch(0);
        assert_eq!(last.position(last.sample(ROWS_MAX - 1)), ROWS_MAX - 1);
    }

    #[test]
    fn every_field_and_the_snapshot_are_part_of_the_order_digest() {
        let (snapshot, spec) =
            (Digest::from_bytes([1; 32]), OrderSpec { sampler: Sampler::Shuffled, seed: 1, rows: 2 });
        let base = spec.digest(&snapshot);
        assert_ne!(base, spec.digest(&Digest::from_bytes([2; 32])));
        assert_ne!(base, OrderSpec { sampler: Sampler::Sequential, ..spec }.digest(&snapshot));
        assert_ne!(base, OrderSpec { seed: 2, ..spec }.digest(&snapshot));
        assert_ne!(base, OrderSpec { rows: 3, ..spec }.digest(&snapshot));
    }

    #[test]
    fn a_sampler_reads_back_from_its_name() {
        for sampler in [Sampler::Sequential, Sampler::Shuffled] {
            assert_eq!(sampler.to_string().parse(), Ok(sampler));
        }
        assert!(matches!("random".parse::<Sampler>(), Err(PlanError::UnknownName { what: "sampler", .. })));
    }

    #[test]
    #[should_panic(expected = "position 5 of an epoch of 5 rows")]
    fn a_position_behind_the_epoch_is_refused() {
        shuffled(5).sample(5);
    }
}
