//! What can go wrong with a read, and what the caller should do about it.

use std::collections::TryReserveError;
use std::io;

use rustix::io::Errno;

/// What to do about a [`StorageError`] (rule 2 of the design).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// Ask again until the deadline: the storage, not the sample, has a problem.
    Unavailable,
    /// The file is not what it was; asked again like `Unavailable`, then the session fails and names it.
    Changed,
    /// More bytes than the limit.
    TooLarge,
    /// The request can never succeed: the path leaves its root or names no file.
    Invalid,
}

/// Why a read, or the opening of a root, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A root could not be opened.
    #[error("open root {path}")]
    Root {
        /// The directory as it was given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a step of the read.
    #[error("{action} {path}")]
    Io {
        /// `open`, `stat` or `read`.
        action: &'static str,
        /// Root and path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The path, or a link on it, leads outside the root.
    #[error("{path} leads outside its root")]
    Escapes {
        /// Root and path.
        path: String,
    },
    /// The path can't name a file: empty, too long, a NUL byte, or links that go round in a circle.
    #[error("{path:?} is no usable path")]
    BadPath {
        /// Root and path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Root and path.
        path: String,
    },
    /// The sample is larger than the limit.
    #[error("{path} has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Root and path.
        path: String,
        /// What a read would have brought.
        size_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// The file grew or shrank while it was read.
    #[error("{path} changed from {was_bytes} to {now_bytes} bytes while it was read")]
    Resized {
        /// Root and path.
        path: String,
        /// Size when it was opened.
        was_bytes: u64,
        /// Size, or the place where the bytes ended, afterwards.
        now_bytes: u64,
    },
    /// The file was written to, size unchanged, while it was read.
    #[error("{path} was written to while it was read")]
    Rewritten {
        /// Root and path.
        path: String,
    },
    /// The extent reaches past the end of its file.
    #[error("{path} has {size_bytes} bytes, but the sample should end at byte {end_bytes}")]
    PastEnd {
        /// Root and path.
        path: String,
        /// Where the extent ends.
        end_bytes: u64,
        /// Where the file ends.
        size_bytes: u64,
    },
    /// The file is not as large as when its samples were found.
    #[error("{path} has {size_bytes} bytes, and had {expected_bytes} when it was indexed")]
    OtherSize {
        /// Root and path.
        path: String,
        /// Where the file ends.
        size_bytes: u64,
        /// Where it ended.
        expected_bytes: u64,
    },
    /// No memory for the bytes.
    #[error("reserve {len_bytes} bytes for {path}")]
    Memory {
        /// Root and path.
        path: String,
        /// What was asked for.
        len_bytes: u64,
        /// What the allocator said.
        source: TryReserveError,
    },
    /// The engine went away before the read's turn came.
    #[error("{path} was not read: the storage engine is shutting down")]
    Shutdown {
        /// Root and path.
        path: String,
    },
    /// The storage never answered.
    #[error("{path} has not answered for {waited:?}")]
    NoAnswer {
        /// Root and path.
        path: String,
        /// How long.
        waited: std::time::Duration,
    },
    /// No ring could be made, or it does not read.
    #[error("make an io_uring")]
    Ring {
        /// What the system said.
        source: io::Error,
    },
    /// The engine's threads could not be started.
    #[error("start {threads} storage threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl StorageError {
    /// What the caller should do.
    pub fn kind(&self) -> StorageErrorKind {
        match self {
            Self::Root { .. }
            | Self::Io { .. }
            | Self::Memory { .. }
            | Self::Shutdown { .. }
            | Self::NoAnswer { .. }
            | Self::Ring { .. }
            | Self::Threads { .. } => StorageErrorKind::Unavailable,
            Self::Resized { .. } | Self::Rewritten { .. } | Self::PastEnd { .. } | Self::OtherSize { .. } => {
                StorageErrorKind::Changed
            }
            Self::TooLarge { .. } => StorageErrorKind::TooLarge,
            Self::Escapes { .. } | Self::BadPath { .. } | Self::NotAFile { .. } => StorageErrorKind::Invalid,
        }
    }

    /// The bytes that a read would have brought, where it was refused for their number.
    pub fn refused_bytes(&self) -> Option<u64> {
        match self {
            Self::TooLarge { size_bytes, .. } => Some(*size_bytes),
            _ => None,
        }
    }

    /// The system refused `action`: `open`, `stat` or `read`.
    pub(super) fn io(action: &'static str, path: String, errno: Errno) -> Self {
        Self::Io { action, path, source: errno.into() }
    }

    /// There is no memory for `len_bytes`.
    pub(super) fn memory(path: String, len_bytes: u64, source: TryReserveError) -> Self {
        Self::Memory { path, len_bytes, source }
    }

    /// Sorts a failed open by what the system said: `openat2` answers EXDEV where a path leaves its root.
    pub(super) fn open(path: String, errno: Errno) -> Self {
        match errno {
            Errno::XDEV => Self::Escapes { path },
            Errno::INVAL | Errno::NAMETOOLONG | Errno::LOOP => Self::BadPath { path, source: errno.into() },
            Errno::NXIO | Errno::ISDIR => Self::NotAFile { path },
            _ => Self::Io { action: "open", path, source: errno.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_sorted_by_what_to_do() {
        let kind = |errno| StorageError::open("x".into(), errno).kind();
        for errno in [Errno::IO, Errno::STALE, Errno::NOENT, Errno::ACCESS, Errno::MFILE, Errno::TIMEDOUT] {
            assert_eq!(kind(errno), StorageErrorKind::Unavailable, "{errno:?}");
        }
        for errno in [Errno::XDEV, Errno::INVAL, Errno::NAMETOOLONG, Errno::LOOP, Errno::NXIO] {
            assert_eq!(kind(errno), StorageErrorKind::Invalid, "{errno:?}");
        }
    }
}
