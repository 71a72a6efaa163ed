//! Fields of tokens: lists of a column, or stretches of files, as rows of one length.

use forebay_plan::DType;
use forebay_plan::orders::Pick;

use super::fields::FieldMaker;
use super::rows::PartPlan;
use super::{Job, JobSource};
use crate::catalog::{ColumnKind, Snapshot};
use crate::decode::raw;
use crate::decode::tokens::{self, StoredToken, TokenError};
use crate::transform::SampleError;

/// Writes the tokens of samples, or of parts of them.
pub struct TokensMaker {
    pub(super) column: usize,
    pub(super) dtype: DType,
    pub(super) pad: i64,
    /// A sample that the row has no room for is corrupt, instead of cut.
    pub(super) fail_on_long: bool,
    /// Where the column holds paths; else it holds the tokens.
    pub(super) file: Option<TokenFile>,
}

/// How files hold tokens.
#[derive(Clone, Copy)]
pub struct TokenFile {
    /// As what.
    pub(super) stored: StoredToken,
    /// Columns of a sample's first token in its file and of their number, where it is not the whole of it.
    pub(super) extent: Option<(usize, usize)>,
}

impl TokensMaker {
    /// Number of the column of lists or paths.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Whether the column holds paths of files, which must be read.
    pub fn reads(&self) -> bool {
        self.file.is_some()
    }

    /// How many tokens a sample has, where columns say it; `None` where only its file does.
    pub fn count(&self, snapshot: &Snapshot, sample: u64) -> Option<u64> {
        match self.file {
            None => Some(snapshot.columns()[self.column].tokens(sample).len() as u64),
            Some(TokenFile { extent: Some((_, length)), .. }) => {
                Some(snapshot.columns()[length].int(sample) as u64)
            }
            Some(TokenFile { extent: None, .. }) => None,
        }
    }

    /// `(offset_bytes, len_bytes)` of what must be read of a sample's file for a row of `row_bytes`; all of it where
    /// absent.
    pub fn extent(&self, snapshot: &Snapshot, sample: u64, row_bytes: u64) -> Option<(u64, u64)> {
        let TokenFile { stored, extent } = self.file?;
        let capacity = row_bytes / self.dtype.size_bytes();
        let (offset, length) = extent?;
        let value = |column: usize| snapshot.columns()[column].int(sample) as u64;
        let size = stored.size_bytes();
        Some((value(offset) * size, value(length).min(capacity) * size))
    }

    /// The same for a part of a sample in a packed row. A whole sample that is a whole file is read as such, so that a
    /// file of another length is found out; of a split one only the piece.
    pub fn extent_of_part(&self, job: &Job, part: &PartPlan) -> Option<(u64, u64)> {
        let TokenFile { stored, extent } = self.file?;
        let (start, len, size) = (u64::from(part.start), u64::from(part.len), stored.size_bytes());
        let snapshot = job.snapshot(part.pick.source);
        match extent {
            Some((offset, _)) => {
                let offset = snapshot.columns()[offset].int(part.pick.sample.0) as u64;
                Some(((offset + start) * size, len * size))
            }
            None if job.order.length(part.pick) == Some(part.len) => None,
            None => Some((start * size, len * size)),
        }
    }

    /// How many tokens of a sample a row of `row_bytes` holds. `encoded`: its file's bytes, where it has one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn held(
        &self,
        snapshot: &Snapshot,
        sample: u64,
        encoded: Option<&[u8]>,
        row_bytes: u64,
    ) -> Result<u32, TokenError> {
        let capacity = row_bytes / self.dtype.size_bytes();
        let found = match self.file.zip(encoded) {
            Some((file, encoded)) => file.stored.count(encoded)?,
            None => snapshot.columns()[self.column].tokens(sample).len() as u64,
        };
        if found > capacity && self.fail_on_long {
            return Err(TokenError::TooMany { found, capacity });
        }
        Ok(found.min(capacity) as u32)
    }

    /// Writes a sample over its row, and padding behind it. `encoded`: its file's bytes, where it has one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn write(
        &self,
        snapshot: &Snapshot,
        sample: u64,
        encoded: Option<&[u8]>,
        target: &mut [u8],
    ) -> Result<(), TokenError> {
        let count = self.held(snapshot, sample, encoded, target.len() as u64)? as usize;
        let (held, rest) = target.split_at_mut(count * self.dtype.size_bytes() as usize);
        if let Some((TokenFile { stored, .. }, encoded)) = self.file.zip(encoded) {
            stored.write(&encoded[..count * stored.size_bytes() as usize], self.dtype, held)?;
        } else {
            let list = snapshot.columns()[self.column].tokens(sample);
            tokens::write_list(&list[..count], self.dtype, held);
        }
        self.pad(rest);
        Ok(())
    }

    /// Writes a part of a sample behind the first `filled` tokens of its row. `encoded`: the bytes of
    /// [`TokensMaker::extent_of_part`].
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn write_part(
        &self,
        snapshot: &Snapshot,
        part: &PartPlan,
        filled: u32,
        encoded: Option<&[u8]>,
        row: &mut [u8],
    ) -> Result<(), TokenError> {
        let size = self.dtype.size_bytes() as usize;
        let target = &mut row[filled as usize * size..][..part.len as usize * size];
        let Some((file, encoded)) = self.file.zip(encoded) else {
            let list = &snapshot.columns()[self.column].tokens(part.pick.sample.0)[part.start as usize..];
            tokens::write_list(&list[..part.len as usize], self.dtype, target);
            return Ok(());
        };
        let (found, expected) = (file.stored.count(encoded)?, u64::from(part.len));
        if found != expected {
            return Err(TokenError::OtherLength { expected, found });
        }
        file.stored.write(encoded, self.dtype, target)
    }

    /// Fills the rest of a row, or all of it.
    pub fn pad(&self, rest: &mut [u8]) {
        tokens::fill(self.pad, self.dtype, rest);
    }

    /// The first sample of a source for which `wrong` holds of its number and count, where columns say that.
    pub(super) fn find(&self, source: &JobSource, wrong: impl Fn(u64, u64) -> bool) -> Option<(u64, u64)> {
        let counts = (0..source.snapshot.len())
            .map_while(|sample| Some((sample, self.count(&source.snapshot, sample)?)));
        counts.into_iter().find(|&(sample, count)| wrong(sample, count))
    }
}

impl Job {
    /// How many tokens or bytes of a sample its row in field number `field` holds. `encoded`: its file there, where it
    /// has one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn held(&self, field: usize, pick: Pick, encoded: Option<&[u8]>) -> Result<u32, SampleError> {
        let plan = &self.fields[field];
        let row_bytes = plan.spec.sample_bytes().expect("its layout was made");
        match plan.maker(pick.source) {
            FieldMaker::Tokens(tokens) => {
                let encoded = encoded.filter(|_| tokens.reads());
                Ok(tokens.held(self.snapshot(pick.source), pick.sample.0, encoded, row_bytes)?)
            }
            FieldMaker::Raw { place } => {
                let read = encoded.expect("raw bytes are read");
                let (snapshot, sample, mut page) = (self.snapshot(pick.source), pick.sample.0, Vec::new());
                let len_bytes = place.payload(snapshot, sample, read, &mut page)?.len() as u64;
                raw::check(len_bytes, row_bytes)?;
                Ok(len_bytes as u32)
            }
            _ => unreachable!("a length is planned for tokens and raw bytes"),
        }
    }

    /// How many files are read for the fields before one.
    pub fn files_before(&self, field: usize, source: u32) -> usize {
        self.fields[..field].iter().map(|field| field.maker(source).reads_a_row()).sum()
    }
}

/// What a field of a packed row says of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedIds {
    /// Each token's place in its part, from 0; 0 in padding.
    Positions(DType),
    /// The number of each token's part, from 0; -1 in padding. int32.
    Segments,
    /// Where each part begins, then the end of the last to the end of the field. int32.
    Boundaries,
}

impl PackedIds {
    /// Writes what `parts` say over all of `target`.
    pub fn write(self, parts: &[PartPlan], target: &mut [u8]) {
        match self {
            Self::Positions(DType::I32) => {
                let (places, _) = target.as_chunks_mut();
                let ids = parts.iter().flat_map(|part| 0..part.len as i32).chain(std::iter::repeat(0));
                places.iter_mut().zip(ids).for_each(|(place, id)| *place = id.to_ne_bytes());
            }
            Self::Positions(_) => {
                let (places, _) = target.as_chunks_mut();
                let ids = parts.iter().flat_map(|part| 0..i64::from(part.len)).chain(std::iter::repeat(0));
                places.iter_mut().zip(ids).for_each(|(place, id)| *place = id.to_ne_bytes());
            }
            Self::Segments => {
                let (mut rest, mut number) = (target, 0_i32);
                for part in parts {
                    let (segment, behind) = rest.split_at_mut(part.len as usize * size_of::<i32>());
                    segment.as_chunks_mut().0.fill(number.to_ne_bytes());
                    (rest, number) = (behind, number + 1);
                }
                rest.as_chunks_mut().0.fill((-1_i32).to_ne_bytes());
            }
            Self::Boundaries => {
                let (places, _) = target.as_chunks_mut();
                let mut end = 0_u32;
                for (index, place) in places.iter_mut().enumerate() {
                    *place = end.to_ne_bytes();
                    end += parts.get(index).map_or(0, |part| part.len);
                }
            }
        }
    }
}

/// Whether a column can be a field of tokens.
pub(super) fn can_hold_tokens(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Tokens | ColumnKind::Path)
}

#[cfg(test)]
mod tests {
    use forebay_plan::SampleId;
    use forebay_plan::orders::Pick;

    use super::*;

    fn parts(lens: &[u32]) -> Vec<PartPlan> {
        let pick = Pick { source: 0, sample: SampleId(0), source_epoch: 0 };
        lens.iter().map(|&len| PartPlan { position: 0, pick, start: 0, len }).collect()
    }

    fn ints(bytes: &[u8]) -> Vec<i32> {
        bytes.as_chunks().0.iter().map(|&bytes| i32::from_ne_bytes(bytes)).collect()
    }

    fn written(ids: PackedIds, lens: &[u32], count: usize) -> Vec<i32> {
        let mut target = vec![0xAA; count * 4];
        ids.write(&parts(lens), &mut target);
        ints(&target)
    }

    #[test]
    fn ids_restart_in_each_part_and_padding_belongs_to_none() {
        assert_eq!(written(PackedIds::Positions(DType::I32), &[3, 2], 7), [0, 1, 2, 0, 1, 0, 0]);
        assert_eq!(written(PackedIds::Segments, &[3, 2], 7), [0, 0, 0, 1, 1, -1, -1]);
        assert_eq!(written(PackedIds::Segments, &[7], 7), [0; 7]);
        let mut wide = [0xAA; 5 * 8];
        PackedIds::Positions(DType::I64).write(&parts(&[2, 2]), &mut wide);
        assert_eq!(wide, [0_i64, 1, 0, 1, 0].map(i64::to_ne_bytes).concat()[..]);
    }

    #[test]
    fn boundaries_are_where_parts_begin_and_then_the_end_again_and_again() {
        assert_eq!(written(PackedIds::Boundaries, &[3, 2], 5), [0, 3, 5, 5, 5]);
        assert_eq!(written(PackedIds::Boundaries, &[3, 2], 3), [0, 3, 5]);
        assert_eq!(written(PackedIds::Boundaries, &[], 3), [0, 0, 0]);
    }
}
