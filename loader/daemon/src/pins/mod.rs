//! What processes must agree on before they share a stream: small records under a shared state root, each made once.
//!
//! A [`StateRoot`] is a folder or a bucket's prefix that all nodes of a run see. A record is made if absent and never
//! changed; whoever comes second reads what the first one wrote. After a reply that says neither yes nor no (a
//! timeout, a dropped connection, EIO behind the link), the record is read back: it holds a nonce of its writer. A
//! [`Pin`] says which snapshot a run, or an epoch of it, is made from. `docs/state-root.md` has the layout.

mod bad;
mod classes;
mod cuts;
mod journal;
mod pin;
mod run;
mod snapshots;
#[cfg(test)]
mod tests;

pub use bad::bad_samples;
pub use classes::{load_classes, store_classes};
pub use cuts::{Begun, cuts};
pub use journal::Journal;
pub use pin::{Draft, Pin, Pinned, Stamp, When, decide, epochs, find, latest_before};
pub use run::{Follow, Run};
pub use snapshots::{load_snapshot, store_snapshot};

pub use crate::records::{Created, Faults, JobId, Patience, RecordError, RecordName, StateRoot};
