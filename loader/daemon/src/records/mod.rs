//! Small things that are made once on shared storage and never changed, seen by many machines.
//!
//! A [`StateRoot`] is a folder or a bucket's prefix. A record is made if absent; whoever comes second reads what the
//! first one wrote. After a reply that says neither yes nor no (a timeout, a dropped connection, EIO behind the link),
//! the record is read back: it holds a nonce of its writer.

mod attempt;
mod error;
mod faulty;
mod lanes;
mod name;
mod object;
mod posix;
mod state_root;

pub use error::{Cause, RecordError};
pub use faulty::Faults;
pub use name::{JobId, RecordName};
pub use state_root::{Created, Patience, RECORD_BYTES_MAX, StateRoot};

#[cfg(test)]
pub(crate) use attempt::{Put, Records, TooLarge, Trouble};
#[cfg(test)]
pub(crate) use faulty::Faulty;
pub(crate) use object::client as bucket_client;
pub(crate) use state_root::nonce;
