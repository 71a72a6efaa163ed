//! Samples that are columns alone: no file is read for them.

use std::sync::Arc;

use forebay_arena::SampleMut;
use forebay_plan::orders::Pick;

use super::make::{finish_sample, hashed, note, tally, write_source};
use super::pack;
use crate::buffer::grown;
use crate::job::FieldMaker;
use crate::prefetch::BatchWork;
use crate::trace::Verdict;

/// Makes a sample that is columns alone, at once.
pub(super) fn make_without_reading(work: &Arc<BatchWork>, mut sample: SampleMut) {
    let planned = work.planned(sample.index());
    let pick = work.part(sample.index()).pick;
    if work.job.order.packed_capacity().is_some() {
        pack::make_of_lists(work, &mut sample);
    } else {
        fields_of_columns(work, pick, &mut sample);
    }
    note(work, sample.index(), pick, 0, Verdict::Made, Vec::new());
    finish_sample(work, sample, planned.valid);
}

/// Writes fields that need no file.
fn fields_of_columns(work: &BatchWork, pick: Pick, sample: &mut SampleMut) {
    const CHECKED: &str = "a list in a column was checked when it was loaded";
    let (mut hash, mut own) = (hashed(work, sample.index(), true), Vec::new());
    let (snapshot, number) = (work.job.snapshot(pick.source), pick.sample.0);
    for (index, field) in work.job.fields.iter().enumerate() {
        let slot = sample.part_mut(index);
        let len_bytes = slot.len();
        let target = if hash.is_some() { grown(&mut own, len_bytes) } else { slot };
        match field.maker(pick.source) {
            FieldMaker::Value(value) => value.write(snapshot, number, target),
            FieldMaker::Source => write_source(pick.source, target),
            FieldMaker::Tokens(tokens) => tokens.write(snapshot, number, None, target).expect(CHECKED),
            FieldMaker::Length { of } => {
                let count = work.job.held(*of, pick, None).expect(CHECKED);
                target.copy_from_slice(&count.to_ne_bytes());
            }
            FieldMaker::Image { .. }
            | FieldMaker::DeviceNumbers
            | FieldMaker::Clip { .. }
            | FieldMaker::Raw { .. }
            | FieldMaker::Array { .. }
            | FieldMaker::Stored(_)
            | FieldMaker::Packed(_) => {
                unreachable!("it reads a file, or is of packed rows")
            }
        }
        if let Some(hash) = &mut hash {
            hash.tensor(&own[..len_bytes]);
            sample.part_mut(index).copy_from_slice(&own[..len_bytes]);
        }
    }
    tally(work, sample.index(), hash);
}
