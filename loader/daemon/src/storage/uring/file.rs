//! A file that a ring reads, through the page cache or past it.
#![allow(unsafe_code, reason = "a descriptor that tokio-uring owns is borrowed for `fstat` and `fcntl`")]

use std::cell::Cell;
use std::collections::TryReserveError;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio_uring::fs::File;

use super::part::Part;
use crate::storage::buf::{BLOCK_BYTES, ByteBuf};
use crate::storage::file::{OpenFile, stamp_of};
use crate::storage::whole::{Stamp, Wanted};

/// The bytes that arrived, or what the system said of the read; or no memory for them.
type Outcome = Result<Result<u64, Errno>, TryReserveError>;

/// An open file of one ring.
pub(super) struct RingFile {
    file: File,
    is_direct: Cell<bool>,
}

impl RingFile {
    /// Takes an opened file over; it is read past the page cache if it has `direct_from_bytes`, where that is said and
    /// its file system can.
    pub(super) fn new(opened: OpenFile, direct_from_bytes: Option<u64>) -> Result<Self, Errno> {
        let large = direct_from_bytes.is_some_and(|from| opened.size_bytes() >= from);
        let fd = opened.into_fd();
        let is_direct = large && rustix::fs::fcntl_setfl(&fd, OFlags::DIRECT).is_ok();
        if !is_direct {
            // It was opened NONBLOCK; io_uring would give up on a read that has to wait, instead of waiting.
            rustix::fs::fcntl_setfl(&fd, OFlags::empty())?;
        }
        Ok(Self { is_direct: Cell::new(is_direct), ..Self::of(fd) })
    }

    /// A descriptor whose reads wait, through the page cache.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self { file: File::from_std(fd.into()), is_direct: Cell::new(false) }
    }

    /// Its size and time now.
    pub(super) fn stamp(&self) -> Result<Stamp, Errno> {
        rustix::fs::fstat(self.fd()).map(|stat| stamp_of(&stat))
    }

    /// Fills the buffer with what is wanted; how many bytes of it arrived.
    pub(super) async fn read(&self, bytes: &mut ByteBuf, wanted: &Wanted) -> Outcome {
        if self.is_direct.get() {
            let got = self.read_blocks(bytes, wanted).await?;
            if got != Err(Errno::INVAL) {
                return Ok(got);
            }
            // Its file system, or its device, takes no such reads after all.
            self.is_direct.set(false);
            if let Err(errno) = rustix::fs::fcntl_setfl(self.fd(), OFlags::empty()) {
                return Ok(Err(errno));
            }
        }
        let len_bytes = wanted.len_bytes as usize;
        bytes.overwrite(len_bytes)?;
        Ok(self.read_window(bytes, 0..len_bytes, wanted.offset_bytes).await.map(|got| got as u64))
    }

    /// The same in whole blocks, which begin and end around what is wanted.
    async fn read_blocks(&self, bytes: &mut ByteBuf, wanted: &Wanted) -> Outcome {
        let head_bytes = wanted.offset_bytes % BLOCK_BYTES as u64;
        let window = bytes.overwrite_blocks(head_bytes as usize, wanted.len_bytes as usize)?;
        let got = self.read_window(bytes, window, wanted.offset_bytes - head_bytes).await;
        Ok(got.map(|got| (got as u64).saturating_sub(head_bytes).min(wanted.len_bytes)))
    }

    /// Fills a window of the buffer's memory; goes on after short reads, and stops early only at the end of the file.
    pub(super) async fn read_window(
        &self,
        bytes: &mut ByteBuf,
        window: Range<usize>,
        offset_bytes: u64,
    ) -> Result<usize, Errno> {
        let start = window.start;
        let mut part = Part { bytes: mem::take(bytes), window };
        let mut outcome = Ok(());
        while !part.window.is_empty() {
            let done_bytes = part.window.start - start;
            // A direct read that ends inside of a block has come to the end of the file.
            if self.is_direct.get() && !done_bytes.is_multiple_of(BLOCK_BYTES) {
                break;
            }
            let (got, back) = self.file.read_at(part, offset_bytes + done_bytes as u64).await;
            part = back;
            match got.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
                Ok(0) => break,
                Ok(count) => part.window.start += count,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    outcome = Err(errno);
                    break;
                }
            }
        }
        let got_bytes = part.window.start - start;
        *bytes = part.bytes;
        outcome.map(|()| got_bytes)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the file keeps its descriptor open for as long as it lives, which the borrow does not outlast.
        unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) }
    }
}
