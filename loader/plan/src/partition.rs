//! Which share of each batch is ours.

use crate::PlanError;

/// A data-parallel rank among `size` of them. Tensor, pipeline and context peers share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition {
    rank: u32,
    size: u32,
}

impl Partition {
    /// Everything for one consumer.
    pub const WHOLE: Self = Self { rank: 0, size: 1 };

    /// Rank `rank` of `size`.
    ///
    /// # Errors
    /// [`PlanError::Rank`] where `rank` is not below `size`.
    pub fn new(rank: u32, size: u32) -> Result<Self, PlanError> {
        if rank < size { Ok(Self { rank, size }) } else { Err(PlanError::Rank { rank, size }) }
    }

    /// This rank, from 0.
    pub fn rank(self) -> u32 {
        self.rank
    }

    /// How many ranks share each batch, at least 1.
    pub fn size(self) -> u32 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_below_its_size_and_a_size_of_zero_has_none() {
        assert_eq!(Partition::new(0, 1), Ok(Partition::WHOLE));
        assert_eq!(Partition::new(8, 8), Err(PlanError::Rank { rank: 8, size: 8 }));
        assert_eq!(Partition::new(0, 0), Err(PlanError::Rank { rank: 0, size: 0 }));
    }
}
