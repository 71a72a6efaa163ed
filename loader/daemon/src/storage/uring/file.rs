//! A file that a ring reads, through the page cache or past it.
#![allow(unsafe_code, reason = "a descriptor that tokio-uring owns is borrowed for `fstat` and `preadv2`")]

use std::cell::{Cell, OnceCell};
use std::collections::TryReserveError;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::buf::fixed::FixedBuf;
use tokio_uring::fs::File;

use super::part::Part;
use super::past_cache::FileId;
use super::pieces::{Pieces, Reading};
use crate::storage::buf::{BLOCK_BYTES, ByteBuf};
use crate::storage::file::{OpenFile, expect_parts, stamp_of};
use crate::storage::whole::{Source, Stamp, Wanted};

/// The bytes that arrived, or what the system said of the read; or no memory for them.
type Outcome = Result<Result<u64, Errno>, TryReserveError>;

/// An open file of one ring.
pub(super) struct RingFile {
    file: File,
    /// The same file, opened to be read past the page cache; none where its file system can't.
    direct: OnceCell<Option<File>>,
    /// Whether the device, or the file system, refused such a read after all.
    refused: Cell<bool>,
    /// Whether the kernel was told not to read ahead.
    in_parts: Cell<bool>,
    id: FileId,
    size_bytes: u64,
}

impl RingFile {
    /// Takes an opened file over.
    pub(super) fn new(opened: OpenFile) -> Result<Self, Errno> {
        let fd = opened.into_fd();
        // It was opened NONBLOCK; io_uring would give up on a read that has to wait, instead of waiting.
        rustix::fs::fcntl_setfl(&fd, OFlags::empty())?;
        Self::of(fd)
    }

    /// A descriptor whose reads wait.
    pub(super) fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self {
            file: File::from_std(fd.into()),
            direct: OnceCell::new(),
            refused: Cell::new(false),
            in_parts: Cell::new(false),
            id: FileId { device: stat.st_dev, inode: stat.st_ino },
            size_bytes: stat.st_size as u64,
        })
    }

    /// Which file it is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// Its bytes when it was opened.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Tells the kernel that a read of it says nothing of the next.
    pub(super) fn expect_parts(&self) {
        if !self.in_parts.replace(true) {
            expect_parts(self.fd());
        }
    }

    /// Fills the buffer with what is wanted, past the page cache or through it; how many bytes of it arrived.
    pub(super) async fn read(
        &self,
        bytes: &mut ByteBuf,
        wanted: &Wanted,
        past_cache: bool,
        pieces: Pieces<'_>,
    ) -> Outcome {
        if past_cache && let Some(direct) = self.direct() {
            let (head_bytes, offset_bytes) = block_around(wanted);
            let window = bytes.overwrite_blocks(head_bytes, wanted.len_bytes as usize)?;
            let got = read_window(direct, bytes, window, offset_bytes, true, pieces).await;
            if !self.is_refusal(&got) {
                return Ok(got.map(|got| within(got, head_bytes, wanted)));
            }
        }
        let len_bytes = wanted.len_bytes as usize;
        bytes.overwrite(len_bytes)?;
        let got = read_window(&self.file, bytes, 0..len_bytes, wanted.offset_bytes, false, pieces).await;
        Ok(got.map(|got| got as u64))
    }

    /// Reads what is wanted past the page cache into registered memory: where in it, and how much of it arrived. `None`
    /// where this file can't be read so.
    pub(super) async fn read_fixed(
        &self,
        fixed: FixedBuf,
        wanted: &Wanted,
    ) -> Option<(FixedBuf, usize, Result<u64, Errno>)> {
        let direct = self.direct()?;
        let (head_bytes, offset_bytes) = block_around(wanted);
        let first = fixed.as_ptr().align_offset(BLOCK_BYTES);
        let blocks_bytes = (head_bytes + wanted.len_bytes as usize).next_multiple_of(BLOCK_BYTES);
        let (mut fixed, mut done_bytes) = (fixed, 0);
        let outcome = loop {
            if done_bytes == blocks_bytes || !done_bytes.is_multiple_of(BLOCK_BYTES) {
                break Ok(done_bytes);
            }
            let rest = fixed.slice(first + done_bytes..first + blocks_bytes);
            let (got, back) = direct.read_fixed_at(rest, offset_bytes + done_bytes as u64).await;
            fixed = back.into_inner();
            match got.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
                Ok(0) => break Ok(done_bytes),
                Ok(count) => done_bytes += count,
                Err(Errno::INTR) => {}
                Err(errno) => break Err(errno),
            }
        };
        if self.is_refusal(&outcome) {
            return None;
        }
        Some((fixed, first + head_bytes, outcome.map(|got| within(got, head_bytes, wanted))))
    }

    /// The descriptor past the page cache, made now; none where the file can't be read so.
    fn direct(&self) -> Option<&File> {
        if self.refused.get() {
            return None;
        }
        let open = || {
            // The same inode, whatever its names say by now. It is a regular file: this waits for nobody.
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
            Some(File::from_std(fd.into()))
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// Notes where such reads are refused, from now on.
    fn is_refusal<T>(&self, outcome: &Result<T, Errno>) -> bool {
        let is_refusal = matches!(outcome, Err(Errno::INVAL));
        self.refused.set(self.refused.get() || is_refusal);
        is_refusal
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the file keeps its descriptor open for as long as it lives, which the borrow does not outlast.
        unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) }
    }
}

/// What is read of it without the ring.
impl Source for RingFile {
    fn stamp(&self) -> Result<Stamp, Errno> {
        rustix::fs::fstat(self.fd()).map(|stat| stamp_of(&stat))
    }

    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        rustix::io::pread(self.fd(), target, offset_bytes)
    }

    fn read_now_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        rustix::io::preadv2(self.fd(), &mut [IoSliceMut::new(target)], offset_bytes, ReadWriteFlags::NOWAIT)
    }
}

/// How far into its first block what is wanted begins, and where that block does.
fn block_around(wanted: &Wanted) -> (usize, u64) {
    let head_bytes = wanted.offset_bytes % BLOCK_BYTES as u64;
    (head_bytes as usize, wanted.offset_bytes - head_bytes)
}

/// How much of what was read of whole blocks is wanted.
fn within(got_bytes: usize, head_bytes: usize, wanted: &Wanted) -> u64 {
    (got_bytes.saturating_sub(head_bytes) as u64).min(wanted.len_bytes)
}

/// Fills a window of the buffer's memory, in pieces where it is long; the bytes before the first that is missing, at the
/// end of the file.
pub(super) async fn read_window(
    file: &File,
    bytes: &mut ByteBuf,
    window: Range<usize>,
    offset_bytes: u64,
    in_blocks: bool,
    pieces: Pieces<'_>,
) -> Result<usize, Errno> {
    let read_at = async |part: Part, at_bytes: u64| {
        let (got, part) = file.read_at(part, at_bytes).await;
        (got.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)), part)
    };
    Reading { read_at, offset_bytes, in_blocks, pieces }.fill(bytes, window).await
}
