//! Packed rows: documents end to end, one after the other, and then what says which token belongs to which.

use forebay_arena::SampleMut;
use forebay_plan::ContentRow;

use super::make::{hashed, tally};
use crate::decode::tokens::TokenError;
use crate::job::{FieldMaker, Job, PartPlan};
use crate::prefetch::BatchWork;

/// A packed row while its parts come in: in its slot or, where its bytes are to be hashed, in memory of its own first,
/// since a slot is never read back.
pub(super) struct Row<'a> {
    job: &'a Job,
    sample: &'a mut SampleMut,
    /// All fields one after the other; empty where they are written to the slot at once.
    own: &'a mut Vec<u8>,
}

impl<'a> Row<'a> {
    /// The row of `sample`, at its first part or at a later one. `own`: the same for all parts, empty at the first.
    pub(super) fn new(
        job: &'a Job,
        sample: &'a mut SampleMut,
        own: &'a mut Vec<u8>,
        is_hashed: bool,
    ) -> Self {
        if is_hashed && own.is_empty() {
            own.resize((0..job.fields.len()).map(|field| sample.part_mut(field).len()).sum(), 0);
        }
        Self { job, sample, own }
    }

    /// Writes one part behind the first `filled` tokens. `files`: what was read for it, in the order of the fields.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub(super) fn write_part<'f>(
        &mut self,
        part: &PartPlan,
        filled: u32,
        mut files: impl Iterator<Item = &'f [u8]>,
    ) -> Result<(), TokenError> {
        let job = self.job;
        let snapshot = job.snapshot(part.pick.source);
        for (index, field) in job.fields.iter().enumerate() {
            let FieldMaker::Tokens(tokens) = field.maker(part.pick.source) else { continue };
            let encoded = if tokens.reads() { files.next() } else { None };
            tokens.write_part(snapshot, part, filled, encoded, self.field(index))?;
        }
        Ok(())
    }

    /// Writes all that stands beside the tokens of `parts`, the row's, and hashes the row where that was asked for.
    pub(super) fn finish(mut self, parts: &[PartPlan], mut hash: Option<ContentRow>) -> Option<ContentRow> {
        let count: u32 = parts.iter().map(|part| part.len).sum();
        for (index, field) in self.job.fields.iter().enumerate() {
            let target = self.field(index);
            match &field.makers[0] {
                FieldMaker::Tokens(tokens) => {
                    let end_bytes = count as usize * field.spec.dtype.size_bytes() as usize;
                    tokens.pad(&mut target[end_bytes..]);
                }
                FieldMaker::Length { .. } => target.copy_from_slice(&count.to_ne_bytes()),
                FieldMaker::Packed(ids) => ids.write(parts, target),
                FieldMaker::Image { .. }
                | FieldMaker::DeviceNumbers
                | FieldMaker::Clip { .. }
                | FieldMaker::Raw { .. }
                | FieldMaker::Stored(_)
                | FieldMaker::Array { .. }
                | FieldMaker::Value(_)
                | FieldMaker::Source => unreachable!("packed rows are made of tokens alone"),
            }
        }
        let mut rest = &self.own[..];
        for index in 0..self.job.fields.len() {
            let Some(hash) = &mut hash else { break };
            let slot = self.sample.part_mut(index);
            let (made, behind) = rest.split_at(slot.len());
            hash.tensor(made);
            slot.copy_from_slice(made);
            rest = behind;
        }
        hash
    }

    fn field(&mut self, index: usize) -> &mut [u8] {
        if self.own.is_empty() {
            return self.sample.part_mut(index);
        }
        let start = (0..index).map(|before| self.sample.part_mut(before).len()).sum();
        let len = self.sample.part_mut(index).len();
        &mut self.own[start..][..len]
    }
}

/// Makes a row whose parts are lists in columns, which nothing must be read for.
pub(super) fn make_of_lists(work: &BatchWork, sample: &mut SampleMut) {
    let (index, mut own, mut filled) = (sample.index(), Vec::new(), 0);
    let (parts, hash) = (work.rows.parts(index), hashed(work, index, true));
    let mut row = Row::new(&work.job, sample, &mut own, hash.is_some());
    for part in parts {
        let written = row.write_part(part, filled, std::iter::empty());
        written.expect("a list in a column was checked when it was loaded");
        filled += part.len;
    }
    tally(work, index, row.finish(parts, hash));
}
