//! Memory that the kernel fills while nobody else may touch it.
#![allow(unsafe_code, reason = "the kernel is handed a pointer, which has no safe form")]

use std::ops::Range;

use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::storage::buf::ByteBuf;

/// A buffer, and where in its memory the next read goes. tokio-uring owns it from submission until completion, also where
/// the future that asked is dropped in between.
pub(super) struct Part {
    pub(super) bytes: ByteBuf,
    /// Of the buffer's memory: what is still to be filled.
    pub(super) window: Range<usize>,
    /// How much of that one read brings at most.
    pub(super) step_bytes: usize,
}

// SAFETY: the bytes lie on the heap in a `Vec` that this value owns, so they stay where they are when it is moved; nothing
// here grows or shrinks it. All of it is initialised.
unsafe impl IoBuf for Part {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes.memory()[self.window.clone()].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.window.len().min(self.step_bytes)
    }

    fn bytes_total(&self) -> usize {
        self.window.len().min(self.step_bytes)
    }
}

// SAFETY: as above; the pointer comes from an exclusive borrow of the window's bytes and spans no more than they do.
unsafe impl IoBufMut for Part {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.memory_mut()[self.window.clone()].as_mut_ptr()
    }

    // SAFETY: there is nothing to note, since every byte was initialised before.
    unsafe fn set_init(&mut self, _init_bytes: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_points_into_its_window_and_no_further_and_moving_it_moves_no_byte() {
        let mut bytes = ByteBuf::default();
        bytes.overwrite(10).unwrap().copy_from_slice(b"0123456789");
        let start = bytes.memory().as_ptr();
        let mut part = Part { bytes, window: 3..7, step_bytes: 3 };
        assert_eq!((part.stable_ptr(), part.bytes_total(), part.bytes_init()), (start.wrapping_add(3), 3, 3));
        part.step_bytes = 5;
        assert_eq!((part.bytes_total(), part.bytes_init()), (4, 4));
        let write_to = part.stable_mut_ptr();
        let moved = Box::new(part);
        assert_eq!(write_to.cast_const(), moved.stable_ptr());
        assert_eq!(&moved.bytes[..], b"0123456789");
    }
}
