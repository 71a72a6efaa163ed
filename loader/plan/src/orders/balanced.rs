//! Classes of one selection in equal shares: a mixture whose sources are the classes.

use std::sync::Arc;

use super::mixture::{EpochLength, Mixture, MixtureSpec, Phase, Source};
use super::shares::check_count;
use super::{OrderError, Pick};
use crate::digest::DigestBuilder;
use crate::{Digest, SampleId, Sampler};

/// Every class as often as every other in each block of 1024 rows, to one row. Cheap to clone.
///
/// Each class goes through its samples in an order of its own and comes round again in a new one, so a small class
/// repeats and none of its samples comes twice before all have come. Keeps 8 bytes a sample.
#[derive(Debug, Clone)]
pub struct Balanced {
    mixture: Mixture,
    classes: Arc<Classes>,
}

#[derive(Debug)]
struct Classes {
    /// Samples by class, each class's in the order of the selection.
    members: Box<[u64]>,
    /// Where each class's begin.
    starts: Box<[u64]>,
    column: Digest,
}

impl Balanced {
    /// An order over the samples that `classes` names the class of; a class without samples takes no part.
    ///
    /// * `epoch`: [`EpochLength::Sum`] for as many rows as there are samples, rounded up to whole blocks;
    ///   [`EpochLength::OnePass`] counts the classes that take part, by rising number.
    ///
    /// # Errors
    /// [`OrderError::NoSources`] where there is no sample, [`OrderError::TooManySources`]; [`OrderError::EpochRows`] and
    /// [`OrderError::OnePass`].
    pub fn new(seed: u64, classes: &[u32], epoch: EpochLength) -> Result<Self, OrderError> {
        let mut members: Box<[u64]> = (0..classes.len() as u64).collect();
        members.sort_by_key(|&sample| classes[sample as usize]);
        let runs = members.chunk_by(|&a, &b| classes[a as usize] == classes[b as usize]);
        let counts: Vec<u64> = runs.map(|run| run.len() as u64).collect();
        check_count(counts.len())?;
        let starts = counts.iter().scan(0, |start, &count| Some(std::mem::replace(start, *start + count)));
        let (starts, weights) = (starts.collect(), vec![1.0; counts.len()]);
        let sources = counts.iter().map(|&rows| Source { rows, sampler: Sampler::Shuffled }).collect();
        let phases = vec![Phase { from_row: 0, weights }];
        let mixture = Mixture::new(&MixtureSpec { seed, sources, phases, epoch })?;
        Ok(Self { mixture, classes: Arc::new(Classes { members, starts, column: column_digest(classes) }) })
    }

    /// The mixture of classes inside; its source `s` is the `s`-th class that has samples, by rising number.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// Samples in the selection.
    pub fn samples(&self) -> u64 {
        self.classes.members.len() as u64
    }

    /// A pick of the mixture of classes as one of the selection.
    pub(super) fn member(&self, pick: Pick) -> Pick {
        let start = self.classes.starts[pick.source as usize];
        let sample = self.classes.members[(start + pick.sample.0) as usize];
        Pick { source: 0, sample: SampleId(sample), ..pick }
    }

    pub(super) fn digest_into(&self, digest: DigestBuilder) -> DigestBuilder {
        self.mixture.digest_into(digest.field("classes", self.classes.column.as_bytes()))
    }
}

/// Names a column of whole numbers, such as classes or lengths, by its values.
pub fn column_digest(values: &[u32]) -> Digest {
    let bytes = |part: &[u32]| part.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let digest = DigestBuilder::new("column").u64("rows", values.len() as u64);
    values.chunks(4096).fold(digest, |digest, part| digest.field("part", &bytes(part))).finish()
}
