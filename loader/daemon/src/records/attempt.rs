//! One attempt at one record: the seam between agreeing and whatever stores the records.

use std::error::Error as StdError;
use std::fmt;

use super::name::RecordName;

/// What an attempt to make a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was not there and now is.
    Written,
    /// Something is there. It may be what an earlier attempt of ours left.
    Exists,
}

/// Why an attempt failed. Whether it had an effect is not known.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// Whether to ask again: the storage is slow, away, or did not say.
    pub(crate) passing: bool,
    pub(crate) source: Box<dyn StdError + Send + Sync>,
}

/// A record was longer than the reader takes.
#[derive(Debug)]
pub(crate) struct TooLarge;

/// A place for records. Each call is one attempt and blocks; retries, deadlines and read-backs are the caller's.
pub(crate) trait Records: Send + Sync {
    /// Makes a record with all of `bytes`, or leaves the one that is there as it is.
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble>;

    /// Reads a whole record; `None` where there is none, `Err(TooLarge)` inside where it has more bytes than that.
    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble>;

    /// The bytes of a record; `None` where there is none.
    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble>;

    /// Names of the records and folders right beneath a folder, in no order, at most one more than `names_max`; none
    /// where there is no such folder.
    fn list(&self, folder: &RecordName, names_max: usize) -> Result<Vec<String>, Trouble>;
}

impl Trouble {
    /// Ask again.
    pub(crate) fn passing(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { passing: true, source: source.into() }
    }

    /// The answer would be the same.
    pub(crate) fn lasting(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { passing: false, source: source.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
