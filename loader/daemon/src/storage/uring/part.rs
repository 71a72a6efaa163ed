//! Memory that the kernel fills while nobody else may touch it.
#![allow(unsafe_code, reason = "the kernel is handed a pointer, which has no safe form")]

use std::mem;
use std::ops::Range;
use std::rc::Rc;

use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::storage::buf::ByteBuf;

/// Where in a buffer's memory the next read goes. tokio-uring owns it from submission until completion, also where the
/// future that asked is dropped in between; so the memory outlives every read that may still write to it.
///
/// Parts are cut from each other and have no byte in common, so several may be filled at the same time.
pub(super) struct Part {
    memory: Memory,
    /// The first byte that is still to be filled.
    at: *mut u8,
    left_bytes: usize,
    /// How much of that one read brings at most.
    pub(super) step_bytes: usize,
}

/// What keeps the bytes at `at`. Nobody reaches them through it: that would be a second way to what the kernel writes.
enum Memory {
    OfOne(ByteBuf),
    OfSeveral(Rc<ByteBuf>),
}

impl Part {
    /// A window of a buffer's memory.
    pub(super) fn of(mut bytes: ByteBuf, window: Range<usize>) -> Self {
        let left_bytes = window.len();
        // Once, before there are others: each further borrow of the memory would end what this pointer may do.
        let at = bytes.memory_mut()[window].as_mut_ptr();
        Self { memory: Memory::OfOne(bytes), at, left_bytes, step_bytes: left_bytes }
    }

    /// Bytes that are still to be filled.
    pub(super) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    /// So many more are filled.
    pub(super) fn skip(&mut self, count: usize) {
        assert!(count <= self.left_bytes, "the kernel brings no more than it was asked for");
        self.at = self.at.wrapping_add(count);
        self.left_bytes -= count;
    }

    /// Makes the next bytes, at most so many, a part of their own, and goes on behind them.
    pub(super) fn cut(&mut self, bytes_max: usize) -> Self {
        let before = mem::replace(&mut self.memory, Memory::OfOne(ByteBuf::default()));
        let shared = match before {
            Memory::OfOne(bytes) => Rc::new(bytes),
            Memory::OfSeveral(shared) => shared,
        };
        self.memory = Memory::OfSeveral(Rc::clone(&shared));
        let left_bytes = self.left_bytes.min(bytes_max);
        let piece =
            Self { memory: Memory::OfSeveral(shared), at: self.at, left_bytes, step_bytes: left_bytes };
        self.skip(left_bytes);
        piece
    }

    /// The buffer again; `None` while another part of it is left, which the kernel may be filling.
    pub(super) fn into_bytes(self) -> Option<ByteBuf> {
        match self.memory {
            Memory::OfOne(bytes) => Some(bytes),
            Memory::OfSeveral(shared) => Rc::into_inner(shared),
        }
    }

    fn next_bytes(&self) -> usize {
        self.left_bytes.min(self.step_bytes)
    }
}

// SAFETY: `left_bytes` bytes from `at` on lie on the heap in a `Vec` that `memory` keeps, so they stay where they are when
// this value is moved; nothing grows, shrinks or reads it before `into_bytes`, which ends this value and finds no other.
// All of it is initialised.
unsafe impl IoBuf for Part {
    fn stable_ptr(&self) -> *const u8 {
        self.at
    }

    fn bytes_init(&self) -> usize {
        self.next_bytes()
    }

    fn bytes_total(&self) -> usize {
        self.next_bytes()
    }
}

// SAFETY: as above; the pointer comes from an exclusive borrow of a window that holds these bytes, and those of no other
// part: `cut` gives each byte to one of two.
unsafe impl IoBufMut for Part {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.at
    }

    // SAFETY: there is nothing to note, since every byte was initialised before.
    unsafe fn set_init(&mut self, _init_bytes: usize) {}
}

#[cfg(test)]
impl Part {
    /// What the next read fills, for one that the kernel has no part in.
    pub(super) fn target(&mut self) -> &mut [u8] {
        // SAFETY: these bytes are initialised, stay where they are while this value lives, and belong to no other part.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.next_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits() -> ByteBuf {
        let mut bytes = ByteBuf::default();
        bytes.overwrite(10).unwrap().copy_from_slice(b"0123456789");
        bytes
    }

    #[test]
    fn a_part_points_into_its_window_and_no_further_and_moving_it_moves_no_byte() {
        let bytes = digits();
        let start = bytes.memory().as_ptr();
        let mut part = Part::of(bytes, 3..7);
        assert_eq!((part.stable_ptr(), part.bytes_total(), part.bytes_init()), (start.wrapping_add(3), 4, 4));
        part.step_bytes = 3;
        assert_eq!((part.bytes_total(), part.bytes_init()), (3, 3));
        part.skip(2);
        assert_eq!((part.bytes_total(), part.stable_ptr()), (2, start.wrapping_add(5)));
        let write_to = part.stable_mut_ptr();
        let moved = Box::new(part);
        assert_eq!(write_to.cast_const(), moved.stable_ptr());
        assert_eq!(&moved.into_bytes().expect("it is alone")[..], b"0123456789");
    }

    #[test]
    fn parts_that_are_cut_have_each_byte_once_and_the_last_of_them_gives_the_buffer_back() {
        let mut rest = Part::of(digits(), 1..9);
        let mut pieces: Vec<_> = std::iter::repeat_with(|| rest.cut(3)).take(4).collect();
        assert_eq!(rest.left_bytes(), 0);
        assert_eq!(pieces.iter().map(Part::left_bytes).collect::<Vec<_>>(), [3, 3, 2, 0]);
        for (piece, letter) in pieces.iter_mut().zip(*b"abcd") {
            piece.target().fill(letter);
        }
        let first = pieces.remove(0);
        drop(pieces);
        assert!(rest.into_bytes().is_none(), "one is still out");
        assert_eq!(&first.into_bytes().expect("the last one")[..], b"0aaabbbcc9");
    }
}
