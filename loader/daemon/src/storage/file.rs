//! A regular file beneath a root, opened for one read or for many.

use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Advice, FileType, OFlags, Stat};
use rustix::io::{Errno, ReadWriteFlags};

use super::error::StorageError;
use super::root::Root;
use super::whole::{Source, Stamp};

/// NONBLOCK, so that a pipe that someone put among the samples can't hold a thread for ever.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A file system notes when a change begins, some in whole seconds: one noted so long before was made before.
pub(super) const AGE_MIN: Duration = Duration::from_secs(2);

/// A regular file; the stamp it had when it was opened serves as the first.
pub(super) struct OpenFile {
    fd: OwnedFd,
    opened: Cell<Option<Stamp>>,
    /// When anything about it was last changed, which unlike the time of the last write nobody can set. Since 1970.
    changed: Duration,
}

/// What has been opened at once, and was not looked at.
pub(super) struct Unseen(OwnedFd);

impl OpenFile {
    /// Opens a path beneath the root.
    ///
    /// # Errors
    /// As any read that does not come to its bytes: missing, no file, outside of the root.
    pub(super) fn open(root: &Root, path: &[u8]) -> Result<Self, StorageError> {
        let opened = root.open_beneath(path, FLAGS).and_then(Self::check);
        match opened.map_err(|errno| StorageError::open(root.display(path), errno))? {
            Some(file) => Ok(file),
            None => Err(StorageError::NotAFile { path: root.display(path) }),
        }
    }

    /// The same where the kernel has all of its names in memory, so that nothing is waited for. `None` says nothing.
    pub(super) fn open_at_once(root: &Root, path: &[u8]) -> Option<Self> {
        Self::check(root.open_at_once(path, FLAGS)?).ok()?
    }

    /// Whether it is as it was `before`, by the clock of [`now`]: nobody has changed it since. False says nothing.
    pub(super) fn is_unchanged_since(&self, before: Duration) -> bool {
        self.changed + AGE_MIN < before
    }

    /// Its bytes when it was opened.
    pub(super) fn size_bytes(&self) -> u64 {
        self.opened.get().map_or(0, |stamp| stamp.size_bytes)
    }

    /// Tells the kernel that a read of it says nothing of the next.
    pub(super) fn expect_parts(&self) {
        expect_parts(self.fd.as_fd());
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The descriptor alone.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn check(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let changed = Duration::new(stat.st_ctime.max(0) as u64, stat.st_ctime_nsec as u32);
        Ok(regular.then(|| Self { fd, opened: Some(stamp_of(&stat)).into(), changed }))
    }
}

impl Unseen {
    /// Opens what the kernel has all names of in memory. `None` says nothing.
    pub(super) fn open_at_once(root: &Root, path: &[u8]) -> Option<Self> {
        root.open_at_once(path, FLAGS).map(Self)
    }

    /// Reads from its beginning what of that is in memory; how many bytes came.
    pub(super) fn read_now(&self, target: &mut [u8]) -> usize {
        let targets = &mut [IoSliceMut::new(target)];
        rustix::io::preadv2(&self.0, targets, 0, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }

    /// Looks at it now. `None`: it is no file, or does not say.
    pub(super) fn look(self) -> Option<OpenFile> {
        OpenFile::check(self.0).ok()?
    }
}

/// The time by which file systems note changes. Since 1970.
pub(super) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

impl Source for OpenFile {
    fn stamp(&self) -> Result<Stamp, Errno> {
        match self.opened.take() {
            Some(stamp) => Ok(stamp),
            None => rustix::fs::fstat(&self.fd).map(|stat| stamp_of(&stat)),
        }
    }

    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        rustix::io::pread(&self.fd, target, offset_bytes)
    }

    fn read_now_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        let targets = &mut [IoSliceMut::new(target)];
        rustix::io::preadv2(&self.fd, targets, offset_bytes, ReadWriteFlags::NOWAIT)
    }
}

/// What `fstat` says of size and time.
pub(super) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp { size_bytes: stat.st_size as u64, written_s: stat.st_mtime, written_ns: stat.st_mtime_nsec }
}

/// Says that parts of a file are read in no order: otherwise the kernel fetches an eighth more than is asked for, which
/// where memory is short nobody looks at before it is dropped. A file system may ignore it.
pub(super) fn expect_parts(fd: BorrowedFd<'_>) {
    let _ = rustix::fs::fadvise(fd, 0, None, Advice::Random);
}
