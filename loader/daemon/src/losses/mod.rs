//! The losses that training reports, kept by sample: which samples stand out, which steps did, and weights made of them.
//!
//! Nothing here is an input of any row: a ledger becomes one only where a person writes weights from it and names them
//! in the next order. A [`Ledger`] belongs to one job of one user; [`Ledgers`] are all of a daemon; a [`LedgerStore`]
//! keeps them in a folder; a [`Book`] is what several of them, in memory or stored, say together.

mod book;
mod ledger;
mod ledgers;
mod replaced;
mod stat;
mod steps;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod weights;

pub use book::{Book, BookSource, By, Entry};
pub use ledger::{BatchLosses, Ledger, Noted, key};
pub use ledgers::{LedgerName, LedgerOptions, Ledgers};
pub use replaced::Replaced;
pub use stat::{SAMPLE_BYTES, Stat};
pub use steps::{STEPS_KEPT, Step};
pub use store::{LedgerStore, read_place};
pub use weights::WeightOptions;

/// Samples that a reply may list.
pub const LISTED_MAX: u32 = 100_000;
