//! Batches that are written down, of any sizes: what a torch `batch_sampler` has made.

use std::ops::Range;
use std::sync::Arc;

use super::{Explicit, OrderError};
use crate::digest::DigestBuilder;
use crate::{Digest, ORDER_VERSION};

/// An explicit order cut into batches: a row is a whole batch. Cheap to clone.
///
/// A [`crate::Cut`] over [`Batches::rows`] with one row a rank hands batch `k * size + r` of an epoch to rank `r` in step
/// `k`. For batches that are all of one size, [`Explicit`] alone serves, under any cut.
#[derive(Debug, Clone)]
pub struct Batches {
    order: Explicit,
    /// Of each list, where its batches end.
    ends: Arc<[Box<[u64]>]>,
}

impl Batches {
    /// Cuts each list of an order into batches of the sizes given for it.
    ///
    /// # Errors
    /// [`OrderError::BatchSizes`] where a list's sizes do not add up to it or one is 0; [`OrderError::NoLists`] where
    /// there are not as many lists of sizes as lists.
    pub fn new(order: Explicit, sizes: &[Vec<u32>]) -> Result<Self, OrderError> {
        if sizes.len() != order.list_count() {
            return Err(OrderError::NoLists);
        }
        let ends_of = |(list, sizes): (usize, &Vec<u32>)| {
            let rows = order.list(list as u64).rows();
            let ends = running_sums(sizes);
            let (sum, empty) = (ends.last().copied().unwrap_or(0), sizes.iter().filter(|&&s| s == 0).count());
            if sum == rows && empty == 0 {
                Ok(ends)
            } else {
                Err(OrderError::BatchSizes { sum, empty, rows })
            }
        };
        let ends = sizes.iter().enumerate().map(ends_of).collect::<Result<_, _>>()?;
        Ok(Self { order, ends })
    }

    /// The order that is cut.
    pub fn order(&self) -> &Explicit {
        &self.order
    }

    /// Batches of an epoch.
    pub fn rows(&self, epoch: u64) -> u64 {
        self.ends_of(epoch).len() as u64
    }

    /// The positions in the epoch's list that batch `row` holds; `row` is below [`Batches::rows`].
    pub fn positions(&self, epoch: u64, row: u64) -> Range<u64> {
        let ends = self.ends_of(epoch);
        row.checked_sub(1).map_or(0, |before| ends[before as usize])..ends[row as usize]
    }

    /// The order digest of a job, as [`super::Order::digest`].
    pub fn digest(&self, snapshot: &Digest) -> Digest {
        let digest = DigestBuilder::new("order")
            .u64("order_version", ORDER_VERSION as u64)
            .field("snapshot", snapshot.as_bytes())
            .field("sampler", b"batches");
        let digest = self.order.digest_into(digest);
        let bytes = |ends: &[u64]| ends.iter().flat_map(|end| end.to_le_bytes()).collect::<Vec<u8>>();
        self.ends.iter().fold(digest, |digest, ends| digest.field("ends", &bytes(ends))).finish()
    }

    fn ends_of(&self, epoch: u64) -> &[u64] {
        &self.ends[(epoch % self.ends.len() as u64) as usize]
    }
}

fn running_sums(sizes: &[u32]) -> Box<[u64]> {
    let mut end = 0;
    let next = |&size: &u32| {
        end += size as u64;
        end
    };
    sizes.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::List;

    fn order(lists: &[&[u64]]) -> Explicit {
        Explicit::new(1, 10, lists.iter().map(|list| List::new(list)).collect()).expect("indices below 10")
    }

    #[test]
    fn batches_of_any_sizes_cover_the_list_in_order() {
        let batches = Batches::new(order(&[&[3, 1, 4, 1, 5], &[9, 2]]), &[vec![2, 3], vec![2]])
            .expect("sizes that fit");
        assert_eq!((0..3).map(|epoch| batches.rows(epoch)).collect::<Vec<_>>(), [2, 1, 2]);
        assert_eq!(
            (batches.positions(0, 0), batches.positions(2, 1), batches.positions(1, 0)),
            (0..2, 2..5, 0..2)
        );
    }

    #[test]
    fn sizes_that_do_not_cut_the_list_are_refused() {
        let refused =
            |sizes: &[Vec<u32>]| Batches::new(order(&[&[3, 1, 4]]), sizes).expect_err("no such batches");
        assert_eq!(refused(&[vec![2, 2]]), OrderError::BatchSizes { sum: 4, empty: 0, rows: 3 });
        assert_eq!(refused(&[vec![3, 0]]), OrderError::BatchSizes { sum: 3, empty: 1, rows: 3 });
        assert_eq!(refused(&[vec![]]), OrderError::BatchSizes { sum: 0, empty: 0, rows: 3 });
        assert_eq!(refused(&[]), OrderError::NoLists);
    }

    #[test]
    fn the_sizes_are_part_of_the_order_digest() {
        let digest = |sizes: &[Vec<u32>]| {
            Batches::new(order(&[&[3, 1, 4]]), sizes)
                .expect("sizes that fit")
                .digest(&Digest::from_bytes([1; 32]))
        };
        assert_ne!(digest(&[vec![1, 2]]), digest(&[vec![2, 1]]));
        assert_eq!(digest(&[vec![1, 2]]), digest(&[vec![1, 2]]));
    }
}
