//! Where each tensor, and each sample in it, lies in a slot: known before anything is read.

use std::collections::HashSet;

use crate::digest::DigestBuilder;
use crate::{Digest, PlanError, TensorSpec};

/// The most tensors a batch may hold.
pub const TENSORS_MAX: usize = 64;
/// The most bytes a slot may have: 2^40.
pub const SLOT_BYTES_MAX: u64 = 1 << 40;
/// Tensors begin at multiples of a cache line, which is also the widest vector load.
const TENSOR_ALIGN_BYTES: u64 = 64;
/// Slots end at multiples of a page, so that each can be registered and advised on its own.
const SLOT_ALIGN_BYTES: u64 = 4096;

/// Where one tensor lies in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorPlace {
    /// From the start of the slot; a multiple of 64.
    pub offset_bytes: u64,
    /// From one sample to the next, which is a sample's size.
    pub stride_bytes: u64,
    /// Of all samples of a whole batch.
    pub len_bytes: u64,
}

impl TensorPlace {
    /// Where sample `row` of the batch begins, from the start of the slot.
    pub fn sample_offset_bytes(&self, row: u32) -> u64 {
        self.offset_bytes + self.stride_bytes * row as u64
    }
}

/// The places of all tensors of a batch of up to `rows` rows. A smaller batch uses the first samples of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLayout {
    specs: Vec<TensorSpec>,
    places: Vec<TensorPlace>,
    rows: u32,
    slot_bytes: u64,
}

impl BatchLayout {
    /// Places tensors one after the other, in the order declared.
    ///
    /// # Errors
    /// [`PlanError::EmptyBatch`] without rows; [`PlanError::NoTensors`], [`PlanError::TooManyTensors`],
    /// [`PlanError::DuplicateTensor`] for the set; those of [`TensorSpec::check`] for each;
    /// [`PlanError::SlotTooLarge`] above [`SLOT_BYTES_MAX`].
    pub fn new(specs: Vec<TensorSpec>, rows: u32) -> Result<Self, PlanError> {
        if rows == 0 {
            return Err(PlanError::EmptyBatch);
        }
        check_set(&specs)?;
        let mut end_bytes = 0;
        let places = specs.iter().map(|spec| place(spec, rows, &mut end_bytes)).collect::<Result<_, _>>()?;
        Ok(Self { specs, places, rows, slot_bytes: end_bytes.next_multiple_of(SLOT_ALIGN_BYTES) })
    }

    /// The tensors as declared.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Where each lies, in the order declared.
    pub fn tensors(&self) -> &[TensorPlace] {
        &self.places
    }

    /// Rows of a whole batch.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of a slot for a whole batch; a multiple of 4096.
    pub fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// Names the layout: equal where every tensor has the same name, type, dimensions and place.
    pub fn digest(&self) -> Digest {
        let start = DigestBuilder::new("layout").u64("rows", self.rows as u64);
        let tensors = self.specs.iter().zip(&self.places).fold(start, |builder, (spec, place)| {
            let dims: Vec<u8> = spec.dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
            builder
                .field("name", spec.name.as_bytes())
                .field("dtype", spec.dtype.as_str().as_bytes())
                .field("dims", &dims)
                .field("order", spec.order.as_str().as_bytes())
                .u64("offset_bytes", place.offset_bytes)
        });
        tensors.finish()
    }
}

fn check_set(specs: &[TensorSpec]) -> Result<(), PlanError> {
    if specs.is_empty() {
        return Err(PlanError::NoTensors);
    }
    if specs.len() > TENSORS_MAX {
        return Err(PlanError::TooManyTensors { count: specs.len(), count_max: TENSORS_MAX });
    }
    let mut names = HashSet::new();
    specs.iter().try_for_each(|spec| {
        spec.check()?;
        let new = names.insert(spec.name.as_str());
        if new { Ok(()) } else { Err(PlanError::DuplicateTensor { name: spec.name.clone() }) }
    })
}

/// Places one tensor behind `end_bytes`, which moves behind it; never above the limit, so sums cannot overflow.
fn place(spec: &TensorSpec, rows: u32, end_bytes: &mut u64) -> Result<TensorPlace, PlanError> {
    let offset_bytes = end_bytes.next_multiple_of(TENSOR_ALIGN_BYTES);
    let fitting = |bytes: &u64| *bytes <= SLOT_BYTES_MAX - offset_bytes;
    let place = spec.sample_bytes().and_then(|stride_bytes| {
        let len_bytes = stride_bytes.checked_mul(rows as u64).filter(fitting)?;
        Some(TensorPlace { offset_bytes, stride_bytes, len_bytes })
    });
    let place = place
        .ok_or_else(|| PlanError::SlotTooLarge { name: spec.name.clone(), slot_bytes_max: SLOT_BYTES_MAX })?;
    *end_bytes = place.offset_bytes + place.len_bytes;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DType, MemoryOrder};

    fn spec(name: &str, dtype: DType, dims: &[u32]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, dims: dims.into(), order: MemoryOrder::RowMajor }
    }

    #[test]
    fn images_and_labels_lie_one_after_the_other_on_cache_lines() {
        let specs = vec![spec("image", DType::U8, &[3, 5, 5]), spec("label", DType::I64, &[])];
        let layout = BatchLayout::new(specs.clone(), 3).expect("a small batch");
        let image = TensorPlace { offset_bytes: 0, stride_bytes: 75, len_bytes: 225 };
        let label = TensorPlace { offset_bytes: 256, stride_bytes: 8, len_bytes: 24 };
        assert_eq!(layout.tensors(), [image, label]);
        assert_eq!((layout.slot_bytes(), layout.rows(), layout.specs()), (4096, 3, &specs[..]));
        assert_eq!(label.sample_offset_bytes(2), 272);
    }

    #[test]
    fn a_batch_that_cannot_be_laid_out_says_why() {
        let byte = |name: &str| spec(name, DType::U8, &[]);
        let many = |count: usize| (0..count).map(|i| byte(&i.to_string())).collect::<Vec<_>>();
        assert_eq!(BatchLayout::new(many(1), 0), Err(PlanError::EmptyBatch));
        assert_eq!(BatchLayout::new(vec![], 1), Err(PlanError::NoTensors));
        assert!(BatchLayout::new(many(64), 1).is_ok());
        assert_eq!(
            BatchLayout::new(many(65), 1),
            Err(PlanError::TooManyTensors { count: 65, count_max: TENSORS_MAX })
        );
        let twice = BatchLayout::new(vec![byte("a"), byte("b"), byte("a")], 1);
        assert_eq!(twice, Err(PlanError::DuplicateTensor { name: "a".into() }));
        assert!(matches!(BatchLayout::new(vec![byte("")], 1), Err(PlanError::TensorName { .. })));
    }

    #[test]
    fn a_slot_may_be_as_large_as_the_limit_and_no_larger() {
        let half = |name: &str| spec(name, DType::U8, &[1 << 20, 1 << 19]);
        let full = BatchLayout::new(vec![half("a"), half("b")], 1).expect("2^40 bytes");
        assert_eq!(full.slot_bytes(), SLOT_BYTES_MAX);
        let over = PlanError::SlotTooLarge { name: "c".into(), slot_bytes_max: SLOT_BYTES_MAX };
        let more = vec![half("a"), half("b"), spec("c", DType::U8, &[])];
        assert_eq!(BatchLayout::new(more, 1), Err(over.clone()));
        assert_eq!(BatchLayout::new(vec![spec("c", DType::F64, &[u32::MAX; 8])], u32::MAX), Err(over));
    }

    #[test]
    fn every_part_of_a_spec_and_the_rows_change_the_layout_digest() {
        let base = spec("a", DType::I32, &[1, 2, 3]);
        let digest = |spec: TensorSpec, rows| BatchLayout::new(vec![spec], rows).expect("small").digest();
        let digests = [
            digest(base.clone(), 1),
            digest(base.clone(), 2),
            digest(TensorSpec { name: "b".into(), ..base.clone() }, 1),
            digest(TensorSpec { dtype: DType::F32, ..base.clone() }, 1),
            digest(TensorSpec { dims: vec![1, 3, 2], ..base.clone() }, 1),
            digest(TensorSpec { order: MemoryOrder::ChannelsLast, ..base.clone() }, 1),
        ];
        assert_eq!(HashSet::from(digests).len(), digests.len());
        assert_eq!(digests[0], digest(base, 1));
    }

    proptest! {
        #[test]
        fn tensors_never_overlap_and_never_leave_the_slot(
            shapes in prop::collection::vec((prop::sample::select(&DType::ALL[..]), prop::collection::vec(1_u32..40, 0..5)), 1..20),
            rows in 1_u32..300,
        ) {
            let specs = shapes.iter().enumerate().map(|(i, (dtype, dims))| spec(&i.to_string(), *dtype, dims));
            let layout = BatchLayout::new(specs.collect(), rows).expect("far below the limit");
            let mut end_bytes = 0;
            for place in layout.tensors() {
                prop_assert!(place.offset_bytes >= end_bytes && place.offset_bytes % 64 == 0);
                prop_assert_eq!(place.sample_offset_bytes(rows), place.offset_bytes + place.len_bytes);
                end_bytes = place.offset_bytes + place.len_bytes;
            }
            prop_assert!(layout.slot_bytes() >= end_bytes && layout.slot_bytes() < end_bytes + 4096);
            prop_assert_eq!(layout.slot_bytes() % 4096, 0);
        }
    }
}
