//! What can be wrong with a state root and its records, and what to do about it.

use std::error::Error as StdError;

use crate::error::{Fault, Kind};

/// The cause of a [`RecordError`], as whatever store there is words it.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a record could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A record's name that is no name.
    #[error("the record name {name:?} {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A run's name that is no name.
    #[error("the job id {id:?} {why}")]
    JobId {
        /// The name.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A state root that is neither an absolute path nor the address of a bucket.
    #[error("the state root {text:?} is neither an absolute path nor an s3:// address")]
    NotAPlace {
        /// As it was given.
        text: String,
    },
    /// The state root is not there, or its store cannot be set up.
    #[error("open the state root {place}")]
    Open {
        /// The state root.
        place: String,
        /// What the system said.
        source: Cause,
    },
    /// The store says no, and will say so again.
    #[error("{action} {place}/{record}")]
    Refused {
        /// `create`, `read` or `list`.
        action: &'static str,
        /// The state root.
        place: String,
        /// The record, or folder.
        record: String,
        /// What the store said.
        source: Cause,
    },
    /// The store did not answer, or not clearly, until the deadline.
    #[error("{action} {place}/{record}: not settled after {attempts} attempts in {waited_ms} ms")]
    Unavailable {
        /// `create`, `read` or `list`.
        action: &'static str,
        /// The state root.
        place: String,
        /// The record, or folder.
        record: String,
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        waited_ms: u64,
        /// What the store said last.
        source: Cause,
    },
    /// More bytes than a record may have.
    #[error("{place}/{record} has more than {bytes_max} bytes")]
    TooLarge {
        /// The state root.
        place: String,
        /// The record.
        record: String,
        /// What is allowed.
        bytes_max: u64,
    },
    /// More records in a folder than are listed.
    #[error("{place}/{folder} has more than {names_max} records")]
    TooMany {
        /// The state root.
        place: String,
        /// The folder.
        folder: String,
        /// What is allowed.
        names_max: usize,
    },
    /// A record that is cut short, or not what its name says.
    #[error("the record {place}/{record} is damaged: {detail}")]
    Damaged {
        /// The state root.
        place: String,
        /// The record.
        record: String,
        /// How it shows.
        detail: String,
    },
    /// A store that wrote a record a second time where it was asked to make it only if absent.
    #[error("{place} does not keep a record that exists: it ignores If-None-Match")]
    Overwrites {
        /// The state root.
        place: String,
    },
}

impl RecordError {
    /// What the caller should do.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Name { .. } | Self::JobId { .. } | Self::NotAPlace { .. } | Self::Overwrites { .. } => {
                Kind::Invalid
            }
            Self::Open { .. } | Self::Refused { .. } | Self::TooMany { .. } => Kind::Invalid,
            Self::Unavailable { .. } => Kind::Unavailable,
            Self::TooLarge { .. } | Self::Damaged { .. } => Kind::Corrupt,
        }
    }

    /// What to do about it, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::JobId { .. } => {
                "use letters, digits and . _ : - with no dot in front, as in run-7"
            }
            Self::NotAPlace { .. } => "give a folder that all nodes of the run share, or s3://bucket/prefix",
            Self::Open { .. } => {
                "make the folder yourself, on storage that all nodes of the run share, or check the bucket's name and the \
                 AWS_* variables of the daemon"
            }
            Self::Refused { .. } => {
                "let the user that the daemon runs as read and write there, or name another state_root; without one, the \
                 ranks of a torch process group agree among themselves"
            }
            Self::Unavailable { .. } => "nothing was decided: run it again once the storage answers",
            Self::TooMany { .. } => "remove the records of old runs",
            Self::TooLarge { .. } | Self::Damaged { .. } => {
                "it was cut or changed after it was written: restore it, or remove it if no run needs it"
            }
            Self::Overwrites { .. } => {
                "use a store with conditional writes (If-None-Match on PUT), or a POSIX folder that the nodes share"
            }
        }
    }

    /// The error for callers, with its kind and cure.
    pub fn into_fault(self) -> Fault {
        Fault::from_error(self.kind(), &self).hint(self.hint())
    }
}
