//! A consumer's wait for its batches, split by cause.

use std::time::Duration;

use serde::Serialize;

use crate::delivery::local::record::Ready;

/// Waits, summed over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// In all.
    pub waited: Duration,
    /// Decode threads worked.
    pub compute: Duration,
    /// They waited for bytes.
    pub storage: Duration,
    /// No slot was free.
    pub slot: Duration,
    /// How long batches stood ready before the consumer took them; not part of `waited`.
    pub queued: Duration,
}

/// Shares of the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WaitShares {
    /// Of the time, the consumer waited.
    pub waited: f64,
    /// Of the wait, by cause; they make 1 together.
    pub compute: f64,
    /// As above.
    pub storage: f64,
    /// As above.
    pub slot: f64,
    /// Start, hand-over, and what nobody accounts for.
    pub other: f64,
}

impl Waits {
    /// Adds one batch. Its wait is walked back from the end through what the daemon did: compute, before that storage,
    /// before that the wait for a slot, as the Python client's `stats()` does.
    pub fn add(&mut self, ready: &Ready, waited: Duration) {
        let us = |us: u32| Duration::from_micros(u64::from(us));
        let compute = waited.min(us(ready.compute_us));
        let storage = waited.saturating_sub(compute).min(us(ready.storage_us));
        let slot = waited.saturating_sub(compute + storage).min(us(ready.slot_us));
        let queued = us(ready.queued_us);
        self.merge(&Self { waited, compute, storage, slot, queued });
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.waited += other.waited;
        self.compute += other.compute;
        self.storage += other.storage;
        self.slot += other.slot;
        self.queued += other.queued;
    }

    /// As shares; `time` is what all consumers had together.
    pub fn shares(&self, time: Duration) -> WaitShares {
        let of_wait = |part: Duration| ratio(part, self.waited);
        let (compute, storage, slot) = (of_wait(self.compute), of_wait(self.storage), of_wait(self.slot));
        let named = compute + storage + slot;
        let other = if self.waited.is_zero() { 0.0 } else { (1.0 - named).max(0.0) };
        WaitShares { waited: ratio(self.waited, time).min(1.0), compute, storage, slot, other }
    }
}

fn ratio(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(waited_us: u64, [slot_us, storage_us, compute_us]: [u32; 3]) -> Waits {
        let ready = Ready { slot_us, storage_us, compute_us, ..Ready::default() };
        let mut waits = Waits::default();
        waits.add(&ready, Duration::from_micros(waited_us));
        waits
    }

    #[test]
    fn a_wait_is_walked_back_from_its_end() {
        let all = waits(100, [10, 20, 30]).shares(Duration::from_micros(200));
        assert_eq!(all, WaitShares { waited: 0.5, compute: 0.3, storage: 0.2, slot: 0.1, other: 0.4 });
        let short = waits(40, [10, 20, 30]).shares(Duration::from_micros(40));
        assert_eq!((short.compute, short.storage, short.slot, short.other), (0.75, 0.25, 0.0, 0.0));
    }

    #[test]
    fn no_wait_has_no_causes() {
        let none = waits(0, [1, 2, 3]).shares(Duration::from_micros(10));
        assert_eq!((none.waited, none.compute, none.other), (0.0, 0.0, 0.0));
    }
}
