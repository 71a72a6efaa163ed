//! The memory of a read, used again and again: capacity survives and is zeroed only once.

use std::collections::TryReserveError;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::spare::SpareBuffers;

/// Reads past the page cache begin and end at multiples of this, in the file and in memory: every device takes it.
pub(super) const BLOCK_BYTES: usize = 4096;

/// A path and the bytes that were read from it.
#[derive(Debug, Default)]
pub struct ReadBuf {
    /// Relative to the root; any bytes but NUL.
    pub path: Vec<u8>,
    /// What was read.
    pub bytes: ByteBuf,
    /// Of the whole file, where that is known: one of another size has changed.
    pub file_bytes: Option<u64>,
    /// How many bytes went [to their place](super::Desk::in_place) and are not here.
    pub(super) placed_bytes: u64,
    /// Where memory is taken from once the length of a read is known; from the allocator where absent.
    pub(super) spare: Option<Arc<SpareBuffers>>,
}

impl ReadBuf {
    /// Points the buffer at another path and empties it; no memory is given back.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path.clear();
        self.path.extend_from_slice(path);
        self.clear();
        self.file_bytes = None;
    }

    /// Bytes that were read, here or to their place.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.placed_bytes
    }

    /// Whether they went to their place and are not here.
    pub fn is_placed(&self) -> bool {
        self.placed_bytes > 0
    }

    /// Nothing is read yet.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.placed_bytes = 0;
    }

    /// Sees to it that there is memory for `len_bytes`, as far as somebody keeps some: asked for when the bytes are about to
    /// come, so that reads which wait in a queue, or for an answer, hold none.
    pub(super) fn make_room(&mut self, len_bytes: u64) {
        let Some(spare) = &self.spare else { return };
        if (self.bytes.capacity() as u64) < len_bytes {
            let small = std::mem::replace(&mut self.bytes, spare.bytes(len_bytes));
            spare.put_bytes(small);
        }
    }
}

/// Bytes whose memory stays initialised while they are refilled.
///
/// A `Vec<u8>` would have to be zeroed before each safe read, or be read into its whole spare capacity, past the end
/// of the extent. This one remembers how much of it was ever written and shows only what was asked for.
#[derive(Debug, Default)]
pub struct ByteBuf {
    memory: Vec<u8>,
    /// Where in the memory the content begins.
    start: usize,
    len_bytes: usize,
}

impl ByteBuf {
    /// A buffer with room for `capacity_bytes`, zeroed now so that no read pays for it.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        Self { memory: vec![0; capacity_bytes], start: 0, len_bytes: 0 }
    }

    /// What fits without another allocation.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Shows nothing; keeps the memory.
    pub fn clear(&mut self) {
        self.len_bytes = 0;
    }

    /// Makes the content `len_bytes` long and lends it to be overwritten; what it holds until then is arbitrary.
    ///
    /// # Errors
    /// When the memory can't be had; the content is then empty.
    pub fn overwrite(&mut self, len_bytes: usize) -> Result<&mut [u8], TryReserveError> {
        self.grow(len_bytes)?;
        (self.start, self.len_bytes) = (0, len_bytes);
        Ok(&mut self.memory[..len_bytes])
    }

    /// As [`overwrite`](Self::overwrite), for a read of whole blocks: where in the memory they go. The content begins
    /// `head_bytes`, less than a block, into the first of them.
    ///
    /// # Errors
    /// When the memory can't be had; the content is then empty.
    pub(super) fn overwrite_blocks(
        &mut self,
        head_bytes: usize,
        len_bytes: usize,
    ) -> Result<Range<usize>, TryReserveError> {
        let blocks_bytes = (head_bytes + len_bytes).next_multiple_of(BLOCK_BYTES);
        self.grow(blocks_bytes + BLOCK_BYTES)?;
        let first = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        (self.start, self.len_bytes) = (first + head_bytes, len_bytes);
        Ok(first..first + blocks_bytes)
    }

    /// All of the memory, the content and what lies around it.
    #[cfg(test)]
    pub(super) fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// All of the memory, to be overwritten.
    pub(super) fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Empties the content and makes room; zeroes only what was never there.
    fn grow(&mut self, bytes: usize) -> Result<(), TryReserveError> {
        (self.start, self.len_bytes) = (0, 0);
        if bytes > self.memory.len() {
            self.memory.try_reserve_exact(bytes - self.memory.len())?;
            self.memory.resize(bytes, 0);
        }
        Ok(())
    }
}

impl Deref for ByteBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..][..self.len_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_read_after_a_larger_one_shows_only_its_own_bytes_and_keeps_the_memory() {
        let mut bytes = ByteBuf::default();
        bytes.overwrite(100).unwrap().fill(7);
        bytes.overwrite(3).unwrap().copy_from_slice(b"abc");
        assert_eq!(&bytes[..], b"abc");
        assert_eq!(bytes.capacity(), 100);
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error_and_leaves_the_buffer_empty() {
        let mut bytes = ByteBuf::with_capacity(8);
        bytes.overwrite(8).unwrap();
        assert!(bytes.overwrite(usize::MAX).is_err());
        assert!(bytes.is_empty());
    }

    #[test]
    fn blocks_are_aligned_and_the_content_begins_inside_of_them() {
        let mut bytes = ByteBuf::with_capacity(7);
        for (head, len, blocks) in [(0, 0, 0), (0, 4096, 1), (1, 4096, 2), (4095, 1, 1), (4095, 10_000, 4)] {
            let window = bytes.overwrite_blocks(head, len).unwrap();
            assert_eq!(window.len(), blocks * BLOCK_BYTES);
            assert!(bytes.memory()[window.start..].as_ptr().addr().is_multiple_of(BLOCK_BYTES));
            for (at, byte) in bytes.memory_mut()[window].iter_mut().enumerate() {
                *byte = (at % 251) as u8;
            }
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == ((at + head) % 251) as u8));
            assert_eq!(bytes.len(), len);
        }
        bytes.overwrite(3).unwrap().copy_from_slice(b"abc");
        assert_eq!(&bytes[..], b"abc", "the next read begins at the start again");
    }

    #[test]
    fn another_path_empties_the_bytes() {
        let mut buf = ReadBuf::default();
        buf.bytes.overwrite(2).unwrap();
        buf.set_path(b"x");
        assert_eq!((&buf.path[..], buf.bytes.len()), (&b"x"[..], 0));
    }
}
