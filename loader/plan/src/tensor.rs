//! What one field of a sample looks like in a batch, declared before the run.

use crate::{DType, MemoryOrder, PlanError};

/// The most dimensions a sample's tensor may have.
pub const DIMS_MAX: usize = 8;

/// One tensor of a batch, described by one sample's share of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Name in the batch: 1 to 64 characters of `[A-Za-z0-9._:-]`.
    pub name: String,
    /// Type of each element.
    pub dtype: DType,
    /// Lengths of a sample's dimensions, outermost first; none for a scalar. At most [`DIMS_MAX`], none zero.
    pub dims: Vec<u32>,
    /// How they lie in memory.
    pub order: MemoryOrder,
}

impl TensorSpec {
    /// Refuses a spec that no batch can hold, whatever the number of rows.
    ///
    /// # Errors
    /// [`PlanError::TensorName`], [`PlanError::TooManyDims`], [`PlanError::EmptyDim`], [`PlanError::ChannelsLast`].
    pub fn check(&self) -> Result<(), PlanError> {
        if !is_plain_name(&self.name, 64) {
            return Err(PlanError::TensorName { name: self.name.chars().take(64).collect() });
        }
        let (name, count) = (self.name.clone(), self.dims.len());
        if count > DIMS_MAX {
            return Err(PlanError::TooManyDims { name, count, count_max: DIMS_MAX });
        }
        if let Some(dim_index) = self.dims.iter().position(|&dim| dim == 0) {
            return Err(PlanError::EmptyDim { name, dim_index });
        }
        if self.order == MemoryOrder::ChannelsLast && !(3..=4).contains(&count) {
            return Err(PlanError::ChannelsLast { name, count });
        }
        Ok(())
    }

    /// Elements of one sample, or `None` where they overflow 64 bits.
    pub fn sample_elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1_u64, |elements, &dim| elements.checked_mul(dim as u64))
    }

    /// Bytes of one sample, or `None` where they overflow 64 bits.
    pub fn sample_bytes(&self) -> Option<u64> {
        self.sample_elements()?.checked_mul(self.dtype.size_bytes())
    }

    /// Bytes from one element to the next along each of `dims`, or `None` where they overflow 64 bits.
    ///
    /// Channels-last `[C, H, W]` gives `[s, W * C * s, C * s]` for elements of `s` bytes; with views before them,
    /// `[V, C, H, W]`, each view is such an image, and they lie one after the other.
    pub fn strides_bytes(&self) -> Option<Vec<u64>> {
        let mut strides = vec![0; self.dims.len()];
        let mut stride = self.dtype.size_bytes();
        for dim_index in self.innermost_first() {
            strides[dim_index] = stride;
            stride = stride.checked_mul(self.dims[dim_index] as u64)?;
        }
        Some(strides)
    }

    fn innermost_first(&self) -> Vec<usize> {
        match (self.order, self.dims.len()) {
            (MemoryOrder::ChannelsLast, 3) => vec![0, 2, 1],
            (MemoryOrder::ChannelsLast, 4) => vec![1, 3, 2, 0],
            (_, count) => (0..count).rev().collect(),
        }
    }
}

/// Whether a name has 1 to `chars_max` characters of `[A-Za-z0-9._:-]`.
pub(crate) fn is_plain_name(name: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dims: &[u32], order: MemoryOrder) -> TensorSpec {
        TensorSpec { name: name.into(), dtype: DType::F32, dims: dims.into(), order }
    }

    #[test]
    fn a_scalar_has_one_element_and_an_image_the_product_of_its_dims() {
        assert_eq!(spec("label", &[], MemoryOrder::RowMajor).sample_bytes(), Some(4));
        assert_eq!(spec("image", &[3, 224, 224], MemoryOrder::RowMajor).sample_bytes(), Some(602_112));
    }

    #[test]
    fn strides_follow_the_memory_and_not_the_dims() {
        let strides = |order| spec("image", &[3, 5, 7], order).strides_bytes();
        assert_eq!(strides(MemoryOrder::RowMajor), Some(vec![140, 28, 4]));
        assert_eq!(strides(MemoryOrder::ChannelsLast), Some(vec![4, 84, 12]));
        assert_eq!(spec("label", &[], MemoryOrder::RowMajor).strides_bytes(), Some(vec![]));
    }

    #[test]
    fn the_views_of_an_image_lie_one_after_the_other_each_in_its_own_order() {
        let strides = |order| spec("image", &[2, 3, 5, 7], order).strides_bytes();
        assert_eq!(strides(MemoryOrder::RowMajor), Some(vec![420, 140, 28, 4]));
        assert_eq!(strides(MemoryOrder::ChannelsLast), Some(vec![420, 4, 84, 12]));
    }

    #[test]
    fn sizes_that_overflow_are_none() {
        let huge = spec("huge", &[u32::MAX; 3], MemoryOrder::RowMajor);
        assert_eq!((huge.sample_elements(), huge.sample_bytes(), huge.strides_bytes()), (None, None, None));
    }

    #[test]
    fn a_spec_that_no_batch_can_hold_says_why() {
        let row_major = |name: &str, dims: &[u32]| spec(name, dims, MemoryOrder::RowMajor).check();
        for name in ["", "a b", "é", &"x".repeat(65)] {
            assert!(matches!(row_major(name, &[]), Err(PlanError::TensorName { .. })), "{name}");
        }
        let (name, nine) = (String::from("x"), [1; DIMS_MAX + 1]);
        let too_many = PlanError::TooManyDims { name: name.clone(), count: 9, count_max: 8 };
        assert_eq!(row_major("x", &nine), Err(too_many));
        assert_eq!(row_major("x", &[3, 0]), Err(PlanError::EmptyDim { name: name.clone(), dim_index: 1 }));
        let channels_last = spec("x", &[3, 5], MemoryOrder::ChannelsLast).check();
        assert_eq!(channels_last, Err(PlanError::ChannelsLast { name: name.clone(), count: 2 }));
        let channels_last = spec("x", &[2, 2, 3, 5, 5], MemoryOrder::ChannelsLast).check();
        assert_eq!(channels_last, Err(PlanError::ChannelsLast { name, count: 5 }));
        assert_eq!(row_major("x.y:z-1_"[..7].into(), &nine[1..]), Ok(()));
    }
}
