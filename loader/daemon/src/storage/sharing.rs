//! What engines that read the same devices know of each other's reads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Account;
use super::flight::{self, Flight};
use super::root::Root;
use super::turns::{self, Turns};

/// Of all engines of a daemon.
#[derive(Default)]
pub(super) struct Sharing {
    pub(super) turns: Turns,
    pub(super) flight: Flight,
    /// Reads that wait for room in a ring.
    in_line: AtomicUsize,
}

impl Sharing {
    /// A large read begins.
    pub(super) fn large(
        &self,
        root: &Root,
        account: Account,
    ) -> (turns::Large<'_>, Option<flight::Large<'_>>) {
        (self.turns.large(account), self.flight.large(root, account))
    }

    /// A read stands in line for a ring.
    pub(super) fn stands_in_line(&self) {
        self.in_line.fetch_add(1, Ordering::Relaxed);
    }

    /// A ring has taken it up.
    pub(super) fn taken_up(&self) {
        self.in_line.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether reads wait for room in a ring.
    pub(super) fn any_in_line(&self) -> bool {
        self.in_line.load(Ordering::Relaxed) > 0
    }
}
