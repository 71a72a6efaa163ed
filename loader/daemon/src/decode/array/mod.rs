//! Arrays as numpy saves them, `.npy` files and members of `.npz` archives, to row-major little-endian in their place.
//!
//! The field says type and shape; a file of another is corrupt. Nothing of a file is run: objects are refused.

mod error;
mod inflate;
pub mod npy;
mod place;
mod zip;

use forebay_plan::DType;

pub use error::ArrayError;
use inflate::Inflater;
use npy::{Header, START_BYTES, data_offset, header};
use zip::{Member, member};

use crate::buffer::grown;

/// Bytes that are inflated at once: they stay in the second cache, and whole elements of any type.
const PIECE_BYTES: usize = 1 << 16;

/// What a field of arrays takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySpec {
    /// Type of the elements.
    pub dtype: DType,
    /// Lengths of the dimensions.
    pub dims: Vec<u32>,
    /// Of an archive; empty: its only one.
    pub member: String,
}

/// What decoding arrays needs; kept from one to the next.
#[derive(Default)]
pub struct ArrayScratch {
    inflater: Inflater,
    piece: Vec<u8>,
    /// An inflated array whose dimensions change their order.
    whole: Vec<u8>,
}

impl ArraySpec {
    /// Writes the array that `encoded` holds over `target`, which is as long as type and shape say.
    ///
    /// # Errors
    /// What is wrong with it; `target` may then be partly written.
    pub fn write(
        &self,
        encoded: &[u8],
        scratch: &mut ArrayScratch,
        target: &mut [u8],
    ) -> Result<(), ArrayError> {
        if !zip::is_archive(encoded) {
            self.check_no_member()?;
            return self.write_npy(encoded, target);
        }
        let member = member(encoded, &self.member)?;
        if member.is_deflated {
            return self.write_deflated(&member, scratch, target);
        }
        self.write_npy(member.stored, target)?;
        self.check_sum(&member, crc32fast::hash(member.stored))
    }

    fn write_npy(&self, file: &[u8], target: &mut [u8]) -> Result<(), ArrayError> {
        let offset = data_offset(file)?;
        let header = head_of(file, offset)?;
        self.check(&header, (file.len() - offset) as u64)?;
        place::place(&header, &file[offset..], target);
        Ok(())
    }

    /// Inflates piece by piece: the target may be shared memory, which is never read back.
    fn write_deflated(
        &self,
        member: &Member<'_>,
        scratch: &mut ArrayScratch,
        target: &mut [u8],
    ) -> Result<(), ArrayError> {
        let ArrayScratch { inflater, piece, whole } = scratch;
        let mut inflated = inflater.start(member.stored);
        let header = inflated_header(&mut inflated, piece)?;
        let head_bytes = inflated.total_bytes();
        self.check(&header, member.len_bytes.saturating_sub(head_bytes))?;
        if place::is_in_order(&header) {
            for target in target.chunks_mut(PIECE_BYTES) {
                let piece = grown(piece, target.len());
                inflated.fill(piece)?;
                place::place_piece(&header, piece, target);
            }
        } else {
            let whole = grown(whole, target.len());
            inflated.fill(whole)?;
            place::place(&header, whole, target);
        }
        let checksum = inflated.end()?;
        self.check_sum(member, checksum)
    }

    /// Type and shape are the field's, and there are as many bytes as they take.
    fn check(&self, header: &Header, found_bytes: u64) -> Result<(), ArrayError> {
        let is_same = header.dtype == self.dtype
            && header.shape.len() == self.dims.len()
            && header.shape.iter().zip(&self.dims).all(|(&found, &dim)| found == u64::from(dim));
        if !is_same {
            let dims: Vec<_> = self.dims.iter().map(|&dim| u64::from(dim)).collect();
            return Err(ArrayError::Other { found: header.words(), expected: words(self.dtype, &dims) });
        }
        let expected_bytes = header.data_bytes().unwrap_or(u64::MAX);
        if found_bytes != expected_bytes {
            return Err(ArrayError::Length { found_bytes, expected_bytes });
        }
        Ok(())
    }

    fn check_no_member(&self) -> Result<(), ArrayError> {
        if self.member.is_empty() {
            Ok(())
        } else {
            Err(ArrayError::NoArchive { member: self.member.clone() })
        }
    }

    fn check_sum(&self, member: &Member<'_>, found: u32) -> Result<(), ArrayError> {
        if found == member.checksum {
            return Ok(());
        }
        Err(ArrayError::Checksum { member: self.member.clone() })
    }
}

/// Whether the header of a file cannot be told from its first bytes, since it is an archive.
pub fn needs_whole(start: &[u8]) -> bool {
    zip::is_archive(start)
}

/// What the array in a file is, or the member of an archive. `encoded`: the beginning of a file, up to its elements at
/// least, or a whole archive.
///
/// # Errors
/// What is wrong with it, as far as that was looked at.
pub fn header_of(encoded: &[u8], wanted: &str) -> Result<Header, ArrayError> {
    if !zip::is_archive(encoded) {
        let spec = ArraySpec { dtype: DType::U8, dims: Vec::new(), member: wanted.to_owned() };
        spec.check_no_member()?;
        return head_of(encoded, data_offset(encoded)?);
    }
    let member = member(encoded, wanted)?;
    if !member.is_deflated {
        return head_of(member.stored, data_offset(member.stored)?);
    }
    inflated_header(&mut Inflater::default().start(member.stored), &mut Vec::new())
}

fn head_of(file: &[u8], offset: usize) -> Result<Header, ArrayError> {
    let head = file.get(..offset).ok_or(ArrayError::Header { detail: "the file ends inside of it" })?;
    header(head)
}

fn inflated_header(inflated: &mut inflate::Inflated<'_>, buffer: &mut Vec<u8>) -> Result<Header, ArrayError> {
    inflated.fill(grown(buffer, START_BYTES))?;
    let offset = data_offset(&buffer[..START_BYTES])?;
    if offset < START_BYTES {
        return Err(ArrayError::Header { detail: "it is shorter than any" });
    }
    inflated.fill(&mut grown(buffer, offset)[START_BYTES..])?;
    header(&buffer[..offset])
}

/// As in `float32 (3, 4)`: numpy's words.
fn words(dtype: DType, shape: &[u64]) -> String {
    let dims: Vec<_> = shape.iter().map(u64::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    format!("{} ({}{comma})", dtype.as_str(), dims.join(", "))
}

#[cfg(test)]
mod tests;
