//! The slowest reads and samples of a session's newest steps, and how long its reads took: bounded, and cheap where
//! nothing is slow.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay_plan::orders::Pick;

/// Samples that are kept, of each half of the window.
const KEPT: usize = 16;
/// Four a doubling: a quantile is at most a quarter too large. Up to an hour.
const BUCKETS: usize = 128;

/// One sample that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// How long.
    pub us: u64,
    /// Encoded bytes.
    pub bytes: u64,
    /// Which.
    pub pick: Pick,
    /// Epoch of its row.
    pub epoch: u64,
    /// Its row.
    pub position: u64,
}

/// The slowest of two halves of a window: the one that is filled, and the one before.
#[derive(Default)]
pub struct Slowest {
    /// What does not exceed it is not kept. Read without the lock, so most samples cost one load.
    floor_us: AtomicU64,
    kept: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    now: Vec<Slow>,
    before: Vec<Slow>,
}

impl Slowest {
    /// Offers a sample. `slow` is asked for the rest only where it is kept.
    pub fn offer(&self, took: Duration, slow: impl FnOnce(u64) -> Slow) {
        let us = took.as_micros() as u64;
        if us <= self.floor_us.load(Ordering::Relaxed) {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.now.capacity() == 0 {
            kept.now.reserve_exact(KEPT);
            kept.before.reserve_exact(KEPT);
        }
        if kept.now.len() < KEPT {
            kept.now.push(slow(us));
        } else if let Some(least) = kept.now.iter_mut().min_by_key(|kept| kept.us) {
            *least = slow(us);
        }
        if kept.now.len() == KEPT {
            let floor_us = kept.now.iter().map(|kept| kept.us).min().unwrap_or(0);
            self.floor_us.store(floor_us, Ordering::Relaxed);
        }
    }

    /// Starts the next half of the window; what is older than that goes.
    pub fn turn(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Halves { now, before } = &mut *kept;
        std::mem::swap(now, before);
        now.clear();
        self.floor_us.store(0, Ordering::Relaxed);
    }

    /// The slowest of both halves, slowest first.
    pub fn worst(&self) -> Vec<Slow> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worst: Vec<_> = kept.now.iter().chain(&kept.before).copied().collect();
        worst.sort_by_key(|slow| std::cmp::Reverse((slow.us, slow.position)));
        worst.truncate(KEPT);
        worst
    }
}

/// How many took how long, over the same two halves.
pub struct Durations {
    now: [AtomicU32; BUCKETS],
    before: [AtomicU32; BUCKETS],
}

impl Default for Durations {
    fn default() -> Self {
        Self { now: [const { AtomicU32::new(0) }; BUCKETS], before: [const { AtomicU32::new(0) }; BUCKETS] }
    }
}

impl Durations {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        self.now[bucket(took.as_micros() as u64)].fetch_add(1, Ordering::Relaxed);
    }

    /// Starts the next half of the window.
    pub fn turn(&self) {
        for (now, before) in self.now.iter().zip(&self.before) {
            before.store(now.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.now.iter().chain(&self.before).map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    /// What a share of them did not exceed, microseconds, rounded up to the bucket's end; 0 where there were none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let both = self.now.iter().zip(&self.before);
        let counts: Vec<u64> = both
            .map(|(now, before)| {
                u64::from(now.load(Ordering::Relaxed)) + u64::from(before.load(Ordering::Relaxed))
            })
            .collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        found.map_or(0, end_us)
    }
}

/// 0 to 7 have a bucket each; from there on, four a doubling by the two bits below the highest.
fn bucket(us: u64) -> usize {
    if us < 8 {
        return us as usize;
    }
    let doubling = us.ilog2() as usize;
    (doubling * 4 - 4 + (us >> (doubling - 2) & 3) as usize).min(BUCKETS - 1)
}

/// The largest number of a bucket.
fn end_us(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (doubling, quarter) = ((bucket + 4) / 4, (bucket % 4) as u64);
    ((4 + quarter + 1) << (doubling - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(slowest: &Slowest, us: u64) {
        slowest.offer(Duration::from_micros(us), |us| Slow {
            us,
            bytes: 1,
            pick: Pick { source: 0, sample: forebay_plan::SampleId(us), source_epoch: 0 },
            epoch: 0,
            position: us,
        });
    }

    fn worst(slowest: &Slowest) -> Vec<u64> {
        slowest.worst().iter().map(|slow| slow.us).collect()
    }

    #[test]
    fn the_slowest_are_kept_whatever_the_order() {
        let slowest = Slowest::default();
        (0..1000).for_each(|number| offer(&slowest, number * 7919 % 1000));
        assert_eq!(worst(&slowest), (984..1000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_older_than_two_halves_is_forgotten() {
        let slowest = Slowest::default();
        offer(&slowest, 9000);
        slowest.turn();
        offer(&slowest, 5);
        assert_eq!(worst(&slowest), [9000, 5]);
        slowest.turn();
        assert_eq!(worst(&slowest), [5]);
        offer(&slowest, 3);
        assert_eq!(worst(&slowest), [5, 3], "the floor starts again with each half");
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for index in 0..BUCKETS - 1 {
            assert_eq!((bucket(end_us(index)), bucket(end_us(index) + 1)), (index, index + 1), "{index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_at_most_a_quarter_too_large() {
        let durations = Durations::default();
        assert_eq!(durations.quantile_us(0.99), 0);
        (1..=1000).for_each(|us| durations.note(Duration::from_micros(us)));
        let (half, most) = (durations.quantile_us(0.5), durations.quantile_us(0.99));
        assert!((500..=625).contains(&half) && (990..=1238).contains(&most), "{half} {most}");
        durations.turn();
        assert_eq!(durations.quantile_us(0.5), half, "the half before counts");
        durations.turn();
        assert_eq!(durations.quantile_us(0.5), 0);
    }
}
