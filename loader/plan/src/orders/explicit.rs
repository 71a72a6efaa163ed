//! An order that is written down: the indices that a sampler of somebody else's has made.

use std::sync::Arc;

use super::OrderError;
use crate::Digest;
use crate::digest::DigestBuilder;
use crate::order::check_rows;

/// Lists of samples, one an epoch: any torch `sampler` or `batch_sampler`. Cheap to clone.
///
/// Epoch `e` takes list `e` modulo their number, so a single list comes again every epoch. A sampler that draws anew
/// each epoch is either drawn ahead, one list an epoch, or is a new order each epoch.
#[derive(Debug, Clone)]
pub struct Explicit {
    seed: u64,
    samples: u64,
    lists: Arc<[List]>,
}

/// One epoch's samples, 4 or 8 bytes each.
#[derive(Debug, Clone)]
pub struct List {
    indices: Indices,
    digest: Digest,
}

#[derive(Debug, Clone)]
enum Indices {
    Narrow(Box<[u32]>),
    Wide(Box<[u64]>),
}

impl List {
    /// Keeps indices in 4 bytes each where all fit, else in 8. Negative ones have no place here: count from 0.
    pub fn new(indices: &[u64]) -> Self {
        let digest = DigestBuilder::new("list").u64("rows", indices.len() as u64);
        let bytes = |part: &[u64]| part.iter().flat_map(|index| index.to_le_bytes()).collect::<Vec<u8>>();
        let digest = indices.chunks(4096).fold(digest, |digest, part| digest.field("part", &bytes(part)));
        let narrow: Result<_, _> = indices.iter().map(|&index| u32::try_from(index)).collect();
        let indices = narrow.map_or_else(|_| Indices::Wide(indices.into()), Indices::Narrow);
        Self { indices, digest: digest.finish() }
    }

    /// Names the list by its indices, however they are kept.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Rows of its epoch.
    pub fn rows(&self) -> u64 {
        match &self.indices {
            Indices::Narrow(indices) => indices.len() as u64,
            Indices::Wide(indices) => indices.len() as u64,
        }
    }

    /// The index at `position`, which is below [`List::rows`].
    pub fn index(&self, position: u64) -> u64 {
        match &self.indices {
            Indices::Narrow(indices) => indices[position as usize] as u64,
            Indices::Wide(indices) => indices[position as usize],
        }
    }
}

impl Explicit {
    /// Checks lists over a selection of `samples`.
    ///
    /// * `seed`: the job's; substitutes and augmentation derive from it, the order does not.
    ///
    /// # Errors
    /// [`OrderError::NoLists`]; [`OrderError::Plan`] for an empty list; [`OrderError::IndexBeyond`].
    pub fn new(seed: u64, samples: u64, lists: Vec<List>) -> Result<Self, OrderError> {
        if lists.is_empty() {
            return Err(OrderError::NoLists);
        }
        for (list_index, list) in lists.iter().enumerate() {
            check_rows(list.rows())?;
            let beyond = (0..list.rows()).find(|&at| list.index(at) >= samples);
            if let Some(at) = beyond {
                let (list, index) = (list_index, list.index(at));
                return Err(OrderError::IndexBeyond { list, at: at as usize, index, samples });
            }
        }
        Ok(Self { seed, samples, lists: lists.into() })
    }

    /// The list that an epoch takes.
    pub fn list(&self, epoch: u64) -> &List {
        &self.lists[(epoch % self.lists.len() as u64) as usize]
    }

    /// The job's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many lists there are.
    pub fn list_count(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn digest_into(&self, digest: DigestBuilder) -> DigestBuilder {
        let digest =
            digest.u64("seed", self.seed).u64("samples", self.samples).u64("lists", self.lists.len() as u64);
        self.lists.iter().fold(digest, |digest, list| digest.field("list", list.digest.as_bytes()))
    }
}
