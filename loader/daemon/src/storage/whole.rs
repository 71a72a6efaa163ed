//! Reads all that was asked for, or says why not: limits, short reads and files that change under the read.

use super::buf::ReadBuf;
use super::error::StorageError;
use super::root::Root;
use rustix::io::Errno;

/// Size and time of the last write, as far as a source knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    pub(super) written_s: i64,
    pub(super) written_ns: u64,
}

/// Something with bytes at offsets; a read may bring fewer than asked for, and none at the end.
pub(super) trait Source {
    fn stamp(&self) -> Result<Stamp, Errno>;
    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno>;
    /// As [`read_at`](Self::read_at), but of what is in memory alone: it never waits for a device.
    fn read_now_at(&self, _target: &mut [u8], _offset_bytes: u64) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }
    /// Fills `target` as far as there are bytes; gives those before the first that is missing.
    fn fill(&self, target: &mut [u8], offset_bytes: u64) -> Result<u64, Errno> {
        read_fully(|target: &mut [u8], at| self.read_at(target, at), target, offset_bytes)
    }
}

/// Fills `buf.bytes` with the extent, or the whole source.
///
/// A whole file must have the same stamp before and after. An extent may lie in a file that others append to, so it
/// must only be there in full.
pub(super) fn read(
    source: &impl Source,
    root: &Root,
    buf: &mut ReadBuf,
    extent: Option<(u64, u64)>,
    limit_bytes: u64,
) -> Result<(), StorageError> {
    buf.clear();
    let wanted = Wanted::of(source, root, buf, extent, limit_bytes)?;
    let outcome = fill(source, root, buf, &wanted);
    if outcome.is_err() {
        buf.clear();
    }
    outcome
}

/// Fills `buf.bytes` with what is wanted; after an error they are arbitrary.
pub(super) fn fill(
    source: &impl Source,
    root: &Root,
    buf: &mut ReadBuf,
    wanted: &Wanted,
) -> Result<(), StorageError> {
    buf.make_room(wanted.len_bytes);
    let ReadBuf { path, bytes, .. } = buf;
    let target = bytes
        .overwrite(wanted.len_bytes as usize)
        .map_err(|source| StorageError::memory(root.display(path), wanted.len_bytes, source))?;
    let got_bytes = source
        .fill(target, wanted.offset_bytes)
        .map_err(|errno| StorageError::io("read", root.display(path), errno))?;
    wanted.check(root, path, got_bytes, || source.stamp())
}

/// What a read has to bring, once the first stamp of its source is known.
pub(super) struct Wanted {
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u64,
    before: Stamp,
    is_whole: bool,
}

impl Wanted {
    /// Of a source as it is now.
    pub(super) fn of(
        source: &impl Source,
        root: &Root,
        buf: &ReadBuf,
        extent: Option<(u64, u64)>,
        limit_bytes: u64,
    ) -> Result<Self, StorageError> {
        let before = source.stamp();
        let before = before.map_err(|errno| StorageError::io("stat", root.display(&buf.path), errno))?;
        Self::new(before, root, buf, extent, limit_bytes)
    }

    /// Refuses what passes the limit or the end, before any memory is reserved.
    pub(super) fn new(
        before: Stamp,
        root: &Root,
        buf: &ReadBuf,
        extent: Option<(u64, u64)>,
        limit_bytes: u64,
    ) -> Result<Self, StorageError> {
        let path = || root.display(&buf.path);
        let size_bytes = before.size_bytes;
        if let Some(expected_bytes) = buf.file_bytes.filter(|&expected| expected != size_bytes) {
            return Err(StorageError::OtherSize { path: path(), size_bytes, expected_bytes });
        }
        let (offset_bytes, len_bytes) = extent.unwrap_or((0, size_bytes));
        if len_bytes > limit_bytes {
            return Err(StorageError::TooLarge { path: path(), size_bytes: len_bytes, limit_bytes });
        }
        let end_bytes = offset_bytes.saturating_add(len_bytes);
        if end_bytes > size_bytes {
            return Err(StorageError::PastEnd { path: path(), end_bytes, size_bytes });
        }
        Ok(Self { offset_bytes, len_bytes, before, is_whole: extent.is_none() })
    }

    /// Both and what lies between them, of parts of one file.
    pub(super) fn and(self, other: &Self) -> Self {
        let end_bytes = |wanted: &Self| wanted.offset_bytes + wanted.len_bytes;
        let end_bytes = end_bytes(&self).max(end_bytes(other));
        let offset_bytes = self.offset_bytes.min(other.offset_bytes);
        Self { offset_bytes, len_bytes: end_bytes - offset_bytes, ..self }
    }

    /// Judges the `got_bytes` that arrived; `after` is asked where the source as a whole must not have changed.
    pub(super) fn check(
        &self,
        root: &Root,
        path: &[u8],
        got_bytes: u64,
        after: impl FnOnce() -> Result<Stamp, Errno>,
    ) -> Result<(), StorageError> {
        let was_bytes = self.before.size_bytes;
        if got_bytes < self.len_bytes {
            let now_bytes = self.offset_bytes + got_bytes;
            return Err(StorageError::Resized { path: root.display(path), was_bytes, now_bytes });
        }
        if !self.is_whole {
            return Ok(());
        }
        let after = after().map_err(|errno| StorageError::io("stat", root.display(path), errno))?;
        if after.size_bytes != was_bytes {
            let now_bytes = after.size_bytes;
            return Err(StorageError::Resized { path: root.display(path), was_bytes, now_bytes });
        }
        if after != self.before {
            return Err(StorageError::Rewritten { path: root.display(path) });
        }
        Ok(())
    }
}

/// Goes on after short reads; stops early only at the end of the source.
pub(super) fn read_fully(
    read_at: impl Fn(&mut [u8], u64) -> Result<usize, Errno>,
    target: &mut [u8],
    offset_bytes: u64,
) -> Result<u64, Errno> {
    let mut done = 0;
    while done < target.len() {
        match read_at(&mut target[done..], offset_bytes + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done as u64)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::error::StorageErrorKind;
    use super::*;

    /// A source that brings one byte a read and may look different the second time it is asked.
    struct Odd {
        bytes: &'static [u8],
        stamps: [Stamp; 2],
        asked: Cell<usize>,
        fails: Option<Errno>,
    }

    fn stamp(size_bytes: u64, written_s: i64) -> Stamp {
        Stamp { size_bytes, written_s, written_ns: 0 }
    }

    fn odd(bytes: &'static [u8], before: Stamp, after: Stamp) -> Odd {
        Odd { bytes, stamps: [before, after], asked: Cell::new(0), fails: None }
    }

    impl Source for Odd {
        fn stamp(&self) -> Result<Stamp, Errno> {
            let asked = self.asked.replace(1);
            Ok(self.stamps[asked])
        }

        fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
            if let Some(errno) = self.fails {
                return Err(errno);
            }
            let Some(&byte) = self.bytes.get(offset_bytes as usize) else { return Ok(0) };
            target[0] = byte;
            Ok(1)
        }
    }

    fn read_odd(source: &Odd, extent: Option<(u64, u64)>) -> Result<Vec<u8>, StorageError> {
        let mut buf = ReadBuf { path: b"x".to_vec(), ..ReadBuf::default() };
        let outcome = read(source, &Root::unbacked("r"), &mut buf, extent, 100);
        assert!(outcome.is_ok() || buf.bytes.is_empty(), "an error leaves no bytes");
        outcome.map(|()| buf.bytes.to_vec())
    }

    #[test]
    fn short_reads_are_continued() {
        assert_eq!(read_odd(&odd(b"abcde", stamp(5, 0), stamp(5, 0)), None).unwrap(), b"abcde");
        assert_eq!(read_odd(&odd(b"abcde", stamp(5, 0), stamp(5, 0)), Some((1, 3))).unwrap(), b"bcd");
    }

    #[test]
    fn a_file_that_changes_under_the_read_is_changed() {
        let shrunk = read_odd(&odd(b"abc", stamp(5, 0), stamp(3, 0)), None).unwrap_err();
        assert!(matches!(shrunk, StorageError::Resized { was_bytes: 5, now_bytes: 3, .. }), "{shrunk}");
        let grown = read_odd(&odd(b"abcdef", stamp(5, 0), stamp(6, 0)), None).unwrap_err();
        assert!(matches!(grown, StorageError::Resized { was_bytes: 5, now_bytes: 6, .. }), "{grown}");
        let rewritten = read_odd(&odd(b"abcde", stamp(5, 0), stamp(5, 1)), None).unwrap_err();
        assert!(matches!(rewritten, StorageError::Rewritten { .. }), "{rewritten}");
        for error in [shrunk, grown, rewritten] {
            assert_eq!(error.kind(), StorageErrorKind::Changed);
        }
    }

    #[test]
    fn an_extent_of_a_file_that_grows_is_whole() {
        assert_eq!(read_odd(&odd(b"abcde", stamp(3, 0), stamp(5, 1)), Some((1, 2))).unwrap(), b"bc");
    }

    #[test]
    fn a_file_of_another_size_than_is_known_has_changed() {
        let grown = odd(b"abcde", stamp(5, 0), stamp(5, 0));
        let read = |file_bytes| {
            let mut buf = ReadBuf { path: b"x".to_vec(), file_bytes, ..ReadBuf::default() };
            grown.asked.set(0);
            read(&grown, &Root::unbacked("r"), &mut buf, Some((1, 2)), 100)
        };
        assert!(read(Some(5)).is_ok() && read(None).is_ok());
        let error = read(Some(4)).unwrap_err();
        assert!(matches!(error, StorageError::OtherSize { size_bytes: 5, expected_bytes: 4, .. }), "{error}");
        assert_eq!(error.kind(), StorageErrorKind::Changed);
    }

    #[test]
    fn an_error_of_the_system_is_unavailable() {
        let source = Odd { fails: Some(Errno::STALE), ..odd(b"a", stamp(1, 0), stamp(1, 0)) };
        let error = read_odd(&source, None).unwrap_err();
        assert!(matches!(error, StorageError::Io { action: "read", .. }), "{error}");
        assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    }

    #[test]
    fn memory_that_cannot_be_had_is_unavailable() {
        let huge = stamp(u64::MAX, 0);
        let mut buf = ReadBuf::default();
        let error = read(&odd(b"", huge, huge), &Root::unbacked("r"), &mut buf, None, u64::MAX).unwrap_err();
        assert!(matches!(error, StorageError::Memory { len_bytes: u64::MAX, .. }), "{error}");
        assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    }
}
