//! Every order that a job may have, over one or several sources, under one type.
//!
//! An [`Order`] is checked once and named by a digest; [`Order::epoch`] gives the [`EpochPicks`] of one epoch, which
//! say what stands in any row. Orders whose rows hold several samples, or that look at lengths, are made of these by
//! [`crate::windows`].

mod alias;
mod balanced;
mod batches;
mod error;
mod explicit;
mod mixture;
mod repeated;
mod shares;
mod walker;
mod weighted;

#[cfg(test)]
mod tests;

pub use alias::WEIGHTS_MAX;
pub use balanced::{Balanced, column_digest};
pub use batches::Batches;
pub use error::OrderError;
pub use explicit::{Explicit, List};
pub use mixture::{EpochLength, Mixture, MixtureSpec, Phase, Source};
pub use repeated::Repeated;
pub use shares::{BLOCK_ROWS, SOURCES_MAX};
pub use walker::Walker;
pub use weighted::{Weighted, inverse_class_weights};

use crate::digest::DigestBuilder;
use crate::{Digest, EpochOrder, EpochPrf, ORDER_VERSION, OrderSpec, Purpose, SampleId};

/// What stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pick {
    /// Which source of the job, from 0.
    pub source: u32,
    /// Which sample of it.
    pub sample: SampleId,
    /// How often the source, or the sample's class, was gone through before; 0 where nothing is gone through.
    pub source_epoch: u64,
}

/// The order of a job's rows: which sample of which source, in every epoch. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Order {
    /// One source, in its order or shuffled, each sample once an epoch.
    Single(OrderSpec),
    /// Several sources in stated ratios.
    Mixture(Mixture),
    /// One source, its classes in equal shares.
    Balanced(Balanced),
    /// One source, drawn by weight with replacement.
    Weighted(Weighted),
    /// One source, in an order that is given.
    Explicit(Explicit),
    /// Any of these, each row several times.
    Repeated(Repeated),
}

impl Order {
    /// The name in configurations, messages and digests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Single(spec) => spec.sampler.as_str(),
            Self::Mixture(_) => "mixture",
            Self::Balanced(_) => "balanced",
            Self::Weighted(_) => "weighted",
            Self::Explicit(_) => "explicit",
            Self::Repeated(_) => "repeated",
        }
    }

    /// The job's seed.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Single(spec) => spec.seed,
            Self::Mixture(mixture) => mixture.seed(),
            Self::Balanced(balanced) => balanced.mixture().seed(),
            Self::Weighted(weighted) => weighted.seed,
            Self::Explicit(explicit) => explicit.seed(),
            Self::Repeated(repeated) => repeated.inner().seed(),
        }
    }

    /// How many sources picks name: as many snapshots belong to the order.
    pub fn sources(&self) -> usize {
        match self {
            Self::Mixture(mixture) => mixture.sources().len(),
            Self::Repeated(repeated) => repeated.inner().sources(),
            Self::Single(_) | Self::Balanced(_) | Self::Weighted(_) | Self::Explicit(_) => 1,
        }
    }

    /// Rows of an epoch, which a [`crate::Cut`] needs. Only explicit orders have epochs of different lengths.
    pub fn rows(&self, epoch: u64) -> u64 {
        match self {
            Self::Single(spec) => spec.rows,
            Self::Mixture(mixture) => mixture.epoch_rows(),
            Self::Balanced(balanced) => balanced.mixture().epoch_rows(),
            Self::Weighted(weighted) => weighted.rows,
            Self::Explicit(explicit) => explicit.list(epoch).rows(),
            Self::Repeated(repeated) => repeated.rows(repeated.inner().rows(epoch)),
        }
    }

    /// Rows of the longest epoch.
    fn rows_max(&self) -> u64 {
        match self {
            Self::Explicit(explicit) => {
                (0..explicit.list_count() as u64).map(|epoch| explicit.list(epoch).rows()).max().unwrap_or(0)
            }
            Self::Repeated(repeated) => repeated.rows(repeated.inner().rows_max()),
            _ => self.rows(0),
        }
    }

    /// Whether each sample of the one source comes exactly once in every epoch.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Single(_))
    }

    /// What stands in the rows of an epoch. Cheap for all orders but a shuffled one of up to 2^16 rows (under 1 ms).
    pub fn epoch(&self, epoch: u64) -> EpochPicks {
        let kind = match self {
            Self::Single(spec) => Kind::Single(spec.epoch(epoch)),
            Self::Mixture(mixture) => Kind::Mixture(mixture.clone()),
            Self::Balanced(balanced) => Kind::Balanced(balanced.clone()),
            Self::Weighted(weighted) => {
                Kind::Weighted(weighted.clone(), EpochPrf::new(weighted.seed, Purpose::Weighted, epoch))
            }
            Self::Explicit(explicit) => Kind::Explicit(explicit.clone()),
            Self::Repeated(repeated) => {
                Kind::Repeated(repeated.clone(), Box::new(repeated.inner().epoch(epoch)))
            }
        };
        let substitutes = EpochPrf::new(self.seed(), Purpose::Substitute, epoch);
        EpochPicks { epoch, rows: self.rows(epoch), kind, substitutes }
    }

    /// The order digest of a job: equal where every row of every epoch holds the same sample of the same snapshots.
    ///
    /// * `snapshots`: one a source, in their order. For [`Order::Single`] this is [`OrderSpec::digest`].
    ///
    /// # Errors
    /// [`OrderError::Snapshots`] where there are not as many as sources.
    pub fn digest(&self, snapshots: &[Digest]) -> Result<Digest, OrderError> {
        if snapshots.len() != self.sources() {
            return Err(OrderError::Snapshots { expected: self.sources(), given: snapshots.len() });
        }
        let digest = DigestBuilder::new("order").u64("order_version", ORDER_VERSION as u64);
        let digest =
            snapshots.iter().fold(digest, |digest, snapshot| digest.field("snapshot", snapshot.as_bytes()));
        let digest = digest.field("sampler", self.name().as_bytes());
        Ok(match self {
            Self::Single(spec) => return Ok(spec.digest(&snapshots[0])),
            Self::Mixture(mixture) => mixture.digest_into(digest),
            Self::Balanced(balanced) => balanced.digest_into(digest),
            Self::Weighted(weighted) => weighted.digest_into(digest),
            Self::Explicit(explicit) => explicit.digest_into(digest),
            Self::Repeated(repeated) => {
                let inner = repeated.inner().digest(snapshots)?;
                let digest = digest.u64("times", repeated.times() as u64);
                let digest = digest.u64("window_rows", repeated.window_rows() as u64);
                // No epoch has 0 rows, so 0 stands for all.
                digest.u64("rows", repeated.rows_wanted().unwrap_or(0)).field("inner", inner.as_bytes())
            }
        }
        .finish())
    }
}

/// The one name for the snapshots of a job's sources, for [`crate::State`]: that of a single one is its own.
pub fn joint_snapshot(snapshots: &[Digest]) -> Digest {
    if let [only] = snapshots {
        return *only;
    }
    let digest = DigestBuilder::new("snapshots");
    snapshots.iter().fold(digest, |digest, snapshot| digest.field("snapshot", snapshot.as_bytes())).finish()
}

/// What stands in each row of one epoch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EpochPicks {
    epoch: u64,
    rows: u64,
    kind: Kind,
    substitutes: EpochPrf,
}

#[derive(Debug, Clone)]
enum Kind {
    Single(EpochOrder),
    Mixture(Mixture),
    Balanced(Balanced),
    Weighted(Weighted, EpochPrf),
    Explicit(Explicit),
    Repeated(Repeated, Box<EpochPicks>),
}

impl EpochPicks {
    /// Which epoch this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many positions there are, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What stands at `position`, which is below [`EpochPicks::rows`].
    pub fn pick(&self, position: u64) -> Pick {
        assert!(position < self.rows, "position {position} of an epoch of {} rows", self.rows);
        let single = |sample| Pick { source: 0, sample: SampleId(sample), source_epoch: 0 };
        match &self.kind {
            Kind::Single(order) => Pick { source_epoch: self.epoch, ..single(order.sample(position).0) },
            Kind::Mixture(mixture) => mixture.pick(self.epoch, position),
            Kind::Balanced(balanced) => balanced.member(balanced.mixture().pick(self.epoch, position)),
            Kind::Weighted(weighted, prf) => single(weighted.draw(prf, position)),
            Kind::Explicit(explicit) => single(explicit.list(self.epoch).index(position)),
            Kind::Repeated(repeated, inner) => inner.pick(repeated.inner_row(position, inner.rows).0),
        }
    }

    /// The same for many rows, with what neighbours share computed once.
    pub fn walker(&self) -> Walker {
        Walker::new(self.clone())
    }

    /// What to try at `position` when the row's own sample is corrupt: another of the same source, and of the same
    /// class where classes are balanced.
    ///
    /// * `attempt`: 1 to [`crate::SUBSTITUTE_ATTEMPTS_MAX`]; each draws independently.
    ///
    /// Drawn by weight where rows are; another row's of the list where that is given. It is the row's own sample where
    /// there is no other, or where chance or a repeated index names it again. All repetitions of a row share theirs.
    pub fn substitute(&self, position: u64, attempt: u32) -> Pick {
        let mut rng = self.substitutes.rng(position, 0, attempt);
        let mut other = |own: u64, count: u64| match count {
            0..=1 => own,
            _ => (own + 1 + rng.below(count - 1)) % count,
        };
        let of_class = |mixture: &Mixture, other: &mut dyn FnMut(u64, u64) -> u64| {
            let own = mixture.pick(self.epoch, position);
            let rows = mixture.sources()[own.source as usize].rows;
            Pick { sample: SampleId(other(own.sample.0, rows)), ..own }
        };
        match &self.kind {
            Kind::Single(order) => {
                Pick { sample: order.substitute(position, attempt), ..self.pick(position) }
            }
            Kind::Mixture(mixture) => of_class(mixture, &mut other),
            Kind::Balanced(balanced) => balanced.member(of_class(balanced.mixture(), &mut other)),
            Kind::Weighted(weighted, _) => {
                let own = self.pick(position);
                Pick { sample: SampleId(weighted.redraw(&mut rng, own.sample.0)), ..own }
            }
            Kind::Explicit(_) => self.pick(other(position, self.rows)),
            Kind::Repeated(repeated, inner) => {
                inner.substitute(repeated.inner_row(position, inner.rows).0, attempt)
            }
        }
    }

    /// The mixture at the bottom, where there is one.
    fn mixture(&self) -> Option<&Mixture> {
        match &self.kind {
            Kind::Mixture(mixture) => Some(mixture),
            Kind::Balanced(balanced) => Some(balanced.mixture()),
            Kind::Repeated(_, inner) => inner.mixture(),
            Kind::Single(_) | Kind::Weighted(..) | Kind::Explicit(_) => None,
        }
    }

    /// The row of the mixture at the bottom that stands at `position`.
    fn mixture_position(&self, position: u64) -> u64 {
        assert!(position < self.rows, "position {position} of an epoch of {} rows", self.rows);
        match &self.kind {
            Kind::Repeated(repeated, inner) => {
                inner.mixture_position(repeated.inner_row(position, inner.rows).0)
            }
            _ => position,
        }
    }

    /// A pick of the mixture at the bottom as one of this order's.
    fn member(&self, pick: Pick) -> Pick {
        match &self.kind {
            Kind::Balanced(balanced) => balanced.member(pick),
            Kind::Repeated(_, inner) => inner.member(pick),
            _ => pick,
        }
    }
}
