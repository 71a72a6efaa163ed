//! What the pool's threads did, summed since its start: the facts that a consumer's wait is explained with.

pub mod throttle;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::session::counters::add;
use crate::sys;

/// A decode thread reads its processor clock after so much work: reading it is a system call of a third of a
/// microsecond, too much for every sample of 20.
const CLOCK_EVERY_US: u64 = 2000;

/// The sums, written by every decode thread.
#[derive(Default)]
pub struct PoolSums {
    busy_us: AtomicU64,
    decode_us: AtomicU64,
    off_cpu_us: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    read_us: AtomicU64,
    queue_us: AtomicU64,
}

/// The sums at one moment, or what they grew by between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// Decode threads had a sample in hand, summed over them.
    pub busy_us: u64,
    /// Of that, until the sample's pixels were there; the rest went into resizing, flipping and writing.
    pub decode_us: u64,
    /// Of `busy_us`, on no processor: others had it, or the cgroup's quota was used up.
    pub off_cpu_us: u64,
    /// Reads that came back.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Their time with the storage, summed over reads.
    pub read_us: u64,
    /// Their time in the engine's queue before that, summed over reads.
    pub queue_us: u64,
}

impl PoolSums {
    /// A read came back.
    pub fn read(&self, bytes: u64, queued: Duration, took: Duration) {
        add(&self.reads, 1);
        add(&self.read_bytes, bytes);
        add(&self.read_us, took.as_micros() as u64);
        add(&self.queue_us, queued.as_micros() as u64);
    }

    /// The sums as they are now.
    pub fn now(&self) -> Worked {
        let get = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Worked {
            busy_us: get(&self.busy_us),
            decode_us: get(&self.decode_us),
            off_cpu_us: get(&self.off_cpu_us),
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            read_us: get(&self.read_us),
            queue_us: get(&self.queue_us),
        }
    }
}

impl Worked {
    /// What was added since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            busy_us: both(self.busy_us, other.busy_us),
            decode_us: both(self.decode_us, other.decode_us),
            off_cpu_us: both(self.off_cpu_us, other.off_cpu_us),
            reads: both(self.reads, other.reads),
            read_bytes: both(self.read_bytes, other.read_bytes),
            read_us: both(self.read_us, other.read_us),
            queue_us: both(self.queue_us, other.queue_us),
        }
    }
}

/// One decode thread's own clock: how much of its work it was on a processor.
pub struct ThreadMeter {
    clock_us: u64,
    busy_us: u64,
}

impl ThreadMeter {
    /// Of the thread that calls.
    pub fn of_this_thread() -> Self {
        Self { clock_us: clock_us(), busy_us: 0 }
    }

    /// Counts a sample that was in hand for `took`, of which `decode` went into its pixels.
    pub fn made(&mut self, sums: &PoolSums, took: Duration, decode: Duration) {
        let took_us = took.as_micros() as u64;
        add(&sums.busy_us, took_us);
        add(&sums.decode_us, (decode.as_micros() as u64).min(took_us));
        self.busy_us += took_us;
        if self.busy_us >= CLOCK_EVERY_US {
            let clock_us = clock_us();
            // The clock also runs between samples, so that what is counted here as stopped is rather too little.
            add(&sums.off_cpu_us, self.busy_us.saturating_sub(clock_us.saturating_sub(self.clock_us)));
            (self.clock_us, self.busy_us) = (clock_us, 0);
        }
    }
}

fn clock_us() -> u64 {
    sys::thread_cpu().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_slept_with_a_sample_in_hand_was_off_its_processor() {
        let (sums, mut meter) = (PoolSums::default(), ThreadMeter::of_this_thread());
        let started = std::time::Instant::now();
        std::thread::sleep(Duration::from_millis(20));
        meter.made(&sums, started.elapsed(), Duration::from_millis(5));
        let now = sums.now();
        assert!(now.busy_us >= 20_000 && now.decode_us == 5000, "{now:?}");
        assert!(now.off_cpu_us * 2 > now.busy_us, "{now:?}");
    }

    #[test]
    fn short_samples_share_one_look_at_the_clock() {
        let (sums, mut meter) = (PoolSums::default(), ThreadMeter { clock_us: 0, busy_us: 0 });
        for _ in 0..100 {
            meter.made(&sums, Duration::from_micros(19), Duration::ZERO);
        }
        assert_eq!((sums.now().busy_us, sums.now().off_cpu_us, meter.busy_us), (1900, 0, 1900));
    }

    #[test]
    fn a_difference_names_what_came_in_between() {
        let sums = PoolSums::default();
        sums.read(10, Duration::from_micros(1), Duration::from_micros(2));
        let before = sums.now();
        sums.read(30, Duration::from_micros(3), Duration::from_micros(4));
        let grown = sums.now().since(before);
        assert_eq!((grown.reads, grown.read_bytes, grown.queue_us, grown.read_us), (1, 30, 3, 4));
        assert_eq!(before.plus(grown), sums.now());
    }
}
