//! The memory of a read, used again and again: capacity survives and is zeroed only once.

use std::collections::TryReserveError;
use std::ops::Deref;

/// A path and the bytes that were read from it.
#[derive(Debug, Default)]
pub struct ReadBuf {
    /// Relative to the root; any bytes but NUL.
    pub path: Vec<u8>,
    /// What was read.
    pub bytes: ByteBuf,
    /// Of the whole file, where that is known: one of another size has changed.
    pub file_bytes: Option<u64>,
}

impl ReadBuf {
    /// Points the buffer at another path and empties it; no memory is given back.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path.clear();
        self.path.extend_from_slice(path);
        self.bytes.clear();
        self.file_bytes = None;
    }
}

/// Bytes whose memory stays initialised while they are refilled.
///
/// A `Vec<u8>` would have to be zeroed before each safe read, or be read into its whole spare capacity, past the end
/// of the extent. This one remembers how much of it was ever written and shows only what was asked for.
#[derive(Debug, Default)]
pub struct ByteBuf {
    memory: Vec<u8>,
    len_bytes: usize,
}

impl ByteBuf {
    /// A buffer with room for `capacity_bytes`, zeroed now so that no read pays for it.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        Self { memory: vec![0; capacity_bytes], len_bytes: 0 }
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
        self.len_bytes = 0;
        if len_bytes > self.memory.len() {
            self.memory.try_reserve_exact(len_bytes - self.memory.len())?;
            self.memory.resize(len_bytes, 0);
        }
        self.len_bytes = len_bytes;
        Ok(&mut self.memory[..len_bytes])
    }
}

impl Deref for ByteBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len_bytes]
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
    fn another_path_empties_the_bytes() {
        let mut buf = ReadBuf::default();
        buf.bytes.overwrite(2).unwrap();
        buf.set_path(b"x");
        assert_eq!((&buf.path[..], buf.bytes.len()), (&b"x"[..], 0));
    }
}
