//! The threads of a pool that blocks: which of them hang in a read or give way to others, and how many more that calls for.
//!
//! A read of a dead server holds its thread for ever, in no way that could be interrupted. The pool goes on with another in
//! its place; when the read comes back after all, there is one thread too many, and one leaves.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Past this a read holds its thread for good, as far as the pool is concerned.
const HANGS: Duration = Duration::from_secs(5);
/// At most so many threads in the place of ones that hang: more than reads are in flight by default.
const SPARE_MAX: usize = 512;

/// All threads of a pool.
pub(super) struct Lanes {
    wanted: usize,
    hangs: Duration,
    began: Instant,
    all: Mutex<Vec<Arc<Lane>>>,
    /// Threads that are to leave.
    surplus: AtomicUsize,
}

/// One thread.
#[derive(Default)]
pub(super) struct Lane {
    /// Milliseconds from the pool's beginning until it took up the read in hand, plus one; 0 where it has none.
    taken_ms: AtomicU64,
    /// Whether the read in hand waits for others to come first.
    gives_way: AtomicBool,
}

impl Lanes {
    /// None yet; `wanted` are to be at work.
    pub(super) fn new(wanted: usize) -> Self {
        Self::hanging_after(wanted, HANGS)
    }

    /// As `new`, with another idea of what is too long.
    pub(super) fn hanging_after(wanted: usize, hangs: Duration) -> Self {
        let (all, surplus) = (Mutex::default(), AtomicUsize::new(0));
        Self { wanted, hangs, began: Instant::now(), all, surplus }
    }

    /// One more thread.
    pub(super) fn add(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        self.lock().push(Arc::clone(&lane));
        lane
    }

    /// The thread took a read up.
    pub(super) fn took(&self, lane: &Lane, now: Instant) {
        lane.taken_ms.store(self.ms(now) + 1, Ordering::Relaxed);
    }

    /// Its read has come back. True: the thread is to leave, and is no longer counted.
    pub(super) fn is_done(&self, lane: &Arc<Lane>) -> bool {
        lane.taken_ms.store(0, Ordering::Relaxed);
        lane.gives_way.store(false, Ordering::Relaxed);
        let one_less = |surplus: usize| surplus.checked_sub(1);
        let leaves = self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if leaves {
            self.forget(lane);
        }
        leaves
    }

    /// Takes a thread out that could not be started.
    pub(super) fn forget(&self, lane: &Arc<Lane>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, lane));
    }

    /// Threads that hang.
    pub(super) fn hanging(&self, now: Instant) -> usize {
        self.hanging_of(&self.lock(), now)
    }

    /// How many threads are to be started so that as many as wanted can work; those that are too many are told to leave.
    pub(super) fn missing(&self, now: Instant) -> usize {
        let lanes = self.lock();
        let is_away = |lane: &Lane| lane.gives_way.load(Ordering::Relaxed) || self.hangs(lane, now);
        let able = lanes.iter().filter(|lane| !is_away(lane)).count();
        self.surplus.store(able.saturating_sub(self.wanted), Ordering::Relaxed);
        let room = (self.wanted + SPARE_MAX).saturating_sub(lanes.len());
        self.wanted.saturating_sub(able).min(room)
    }

    fn hanging_of(&self, lanes: &[Arc<Lane>], now: Instant) -> usize {
        lanes.iter().filter(|lane| self.hangs(lane, now)).count()
    }

    fn hangs(&self, lane: &Lane, now: Instant) -> bool {
        match lane.taken_ms.load(Ordering::Relaxed) {
            0 => false,
            taken => self.ms(now).saturating_sub(taken - 1) >= self.hangs.as_millis() as u64,
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Lane>>> {
        self.all.lock().expect("no thread panics with the lock")
    }
}

impl Lane {
    /// The thread's read waits for others to come first: another thread is theirs meanwhile. True the first time.
    pub(super) fn give_way(&self) -> bool {
        !self.gives_way.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_replaced_and_one_leaves_when_it_is_back() {
        let (lanes, began) = (Lanes::new(2), Instant::now());
        assert_eq!(lanes.missing(began), 2, "none has been started");
        let (one, other) = (lanes.add(), lanes.add());
        lanes.took(&one, began);
        lanes.took(&other, began + HANGS);
        assert_eq!(lanes.missing(began + HANGS / 2), 0, "it may come back yet");
        let late = began + HANGS + HANGS / 2;
        assert_eq!((lanes.hanging(late), lanes.missing(late)), (1, 1));
        let spare = lanes.add();
        assert_eq!(lanes.missing(late), 0);
        assert!(!lanes.is_done(&spare), "it is needed");
        assert!(!lanes.is_done(&one), "nobody has looked yet");
        assert_eq!((lanes.hanging(late), lanes.missing(late)), (0, 0));
        assert!(lanes.is_done(&other), "now there is one too many");
        assert!(!lanes.is_done(&one) && !lanes.is_done(&spare));
        assert_eq!(lanes.lock().len(), 2);
    }

    #[test]
    fn a_thread_whose_read_gives_way_is_replaced_for_as_long() {
        let (lanes, now) = (Lanes::new(2), Instant::now());
        let (one, _other) = (lanes.add(), lanes.add());
        lanes.took(&one, now);
        assert_eq!((one.give_way(), one.give_way(), lanes.missing(now)), (true, false, 1));
        let spare = lanes.add();
        assert!(lanes.missing(now) == 0 && !lanes.is_done(&spare));
        assert!(!lanes.is_done(&one) && lanes.missing(now) == 0, "it is back, and one is too many");
        assert!(lanes.is_done(&spare));
    }

    #[test]
    fn no_more_threads_are_started_than_the_bound_however_many_hang() {
        let (lanes, began) = (Lanes::new(4), Instant::now());
        let mut started = 0;
        for look in 0..1000 {
            let missing = lanes.missing(began + HANGS * look);
            started += missing;
            (0..missing).for_each(|_| lanes.took(&lanes.add(), began));
        }
        assert_eq!(started, 4 + SPARE_MAX);
    }
}
