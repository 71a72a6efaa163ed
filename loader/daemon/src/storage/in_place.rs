//! Reads straight to where their bytes end up, of what is in the page cache.
//!
//! Saves the copy out of a read's buffer. Only of what is in memory: a read that waits may hang, or be raced by a second
//! one, and its place would be held by whoever the kernel keeps.

use super::error::StorageError;
use super::whole::{Source, Wanted, read_fully};
use super::{Desk, Read};

/// Reads to its place what may go there. `None`: not all of that is in memory, or it may not; nothing is said of the file.
pub(super) fn read<T>(
    source: &impl Source,
    wanted: &Wanted,
    read: &mut Read<T>,
    desk: &dyn Desk<T>,
) -> Option<Result<(), StorageError>> {
    if !read.root.has_nowait_reads() {
        return None;
    }
    let mut fill = |target: &mut [u8]| {
        let got = read_fully(|target, at| source.read_now_at(target, at), target, wanted.offset_bytes);
        got == Ok(wanted.len_bytes)
    };
    if !desk.in_place(read, wanted.len_bytes, &mut fill) {
        return None;
    }
    read.buf.placed_bytes = wanted.len_bytes;
    Some(wanted.check(&read.root, &read.buf.path, wanted.len_bytes, || source.stamp()))
}
