//! Large reads give way: while others wait for a thread, a session reads on only as far as its share of the bytes goes.
//!
//! The gate shares what is started; what a device answers goes by what it has in its queue, and one large read puts more
//! there than a hundred small ones. So a large read is made in steps, and before each it looks whether reads wait for a
//! thread, which they do where storage is the slower half, and whether their sessions have had as much for their weight.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Account, Read};

/// One step of a large read, and how far ahead of the others a session may be. A shorter read never waits.
pub(super) const STEP_BYTES: usize = 256 << 10;
/// The longest pause before a step: 5 MB/s are left to each large read, whatever the others want.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// A session none of whose reads came back for so long does not wait for this storage.
const RECENT: Duration = Duration::from_millis(50);
/// Pauses end when others have come on; this is for those that have stopped.
const LOOKS_EVERY: Duration = Duration::from_millis(2);

/// What sessions have read of late, while large reads are under way.
pub(super) struct Turns {
    /// Large reads under way: where there are none, and were none of late, nobody counts.
    large: AtomicUsize,
    /// When the last one ended, in milliseconds since `start`, plus [`RECENT`]; 0: never.
    counts_until_ms: AtomicU64,
    start: Instant,
    sessions: Mutex<Vec<Had>>,
    moved: Condvar,
}

/// What one session has had.
struct Had {
    session: u64,
    priority: i32,
    /// Divided by its weight.
    bytes: u64,
    last: Instant,
}

/// A large read under way.
pub(super) struct Large<'a> {
    turns: &'a Turns,
    account: Account,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            large: AtomicUsize::new(0),
            counts_until_ms: AtomicU64::new(0),
            start: Instant::now(),
            sessions: Mutex::default(),
            moved: Condvar::new(),
        }
    }
}

impl Turns {
    /// A large read begins.
    pub(super) fn large(&self, account: Account) -> Large<'_> {
        self.large.fetch_add(1, Ordering::Relaxed);
        Large { turns: self, account }
    }

    /// A read has come back: one that is too short to be made in steps counts now.
    pub(super) fn count_short<T>(&self, read: &Read<T>) {
        if read.buf.len_bytes() <= STEP_BYTES as u64 {
            self.count(read.account, read.buf.len_bytes());
        }
    }

    /// A short read has come back with so many bytes.
    fn count(&self, account: Account, bytes: u64) {
        // Of late: where all threads had a large read, the short ones come between them, and would never be seen.
        if self.large.load(Ordering::Relaxed) > 0
            || self.elapsed_ms() < self.counts_until_ms.load(Ordering::Relaxed)
        {
            add(&mut self.lock(), account, bytes, Instant::now());
            self.moved.notify_one();
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// A step that takes nothing from anybody: no debt for later, and no credit either.
    fn free_step(&self, account: Account) {
        let (mut sessions, now) = (self.lock(), Instant::now());
        add(&mut sessions, account, 0, now);
        let least = least(&sessions, account, now).unwrap_or(0);
        let own = sessions.iter_mut().find(|had| had.session == account.session);
        own.into_iter().for_each(|had| had.bytes = had.bytes.max(least));
    }

    /// Counts a step, unless its session is ahead of another one by more than that already.
    fn try_step(&self, account: Account, bytes: u64) -> bool {
        let (mut sessions, now) = (self.lock(), Instant::now());
        let had = sessions.iter().find(|had| had.session == account.session).map_or(0, |had| had.bytes);
        let ahead = STEP_BYTES as u64 / u64::from(account.weight.max(1));
        if beside(&sessions, account, now).any(|had| had.priority > account.priority) {
            return false;
        }
        if least(&sessions, account, now).is_some_and(|least| had > least + ahead) {
            return false;
        }
        add(&mut sessions, account, bytes, now);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Had>> {
        self.sessions.lock().expect("no thread panics with the lock")
    }
}

/// A session had so many bytes.
fn add(sessions: &mut Vec<Had>, account: Account, bytes: u64, now: Instant) {
    let share = 1 + bytes / u64::from(account.weight.max(1));
    let least = least(sessions, account, now);
    if let Some(had) = sessions.iter_mut().find(|had| had.session == account.session) {
        if now.saturating_duration_since(had.last) > RECENT {
            // It does not make up for its rest.
            had.bytes = had.bytes.max(least.unwrap_or(0));
        }
        (had.bytes, had.last) = (had.bytes + share, now);
    } else {
        sessions.retain(|had| now.saturating_duration_since(had.last) < 20 * RECENT);
        let (Account { session, priority, .. }, bytes) = (account, least.unwrap_or(0) + share);
        sessions.push(Had { session, priority, bytes, last: now });
    }
}

/// What the one furthest behind has had, of those that read now beside one of this account.
fn least(sessions: &[Had], account: Account, now: Instant) -> Option<u64> {
    beside(sessions, account, now).map(|had| had.bytes).min()
}

/// The others that read now, but for those of a lower priority, for whom nobody waits.
fn beside(sessions: &[Had], account: Account, now: Instant) -> impl Iterator<Item = &Had> {
    sessions.iter().filter(move |had| {
        had.session != account.session
            && had.priority >= account.priority
            && now.saturating_duration_since(had.last) <= RECENT
    })
}

impl Large<'_> {
    /// Counts a step of `bytes` if it is this session's turn; false where it would have to wait.
    pub(super) fn step_now(&self, bytes: usize, others_wait: impl Fn() -> bool) -> bool {
        if others_wait() {
            return self.turns.try_step(self.account, bytes as u64);
        }
        self.turns.free_step(self.account);
        true
    }

    /// Waits until a step of `bytes` is this session's turn, and counts it.
    ///
    /// * `others_wait`: whether reads wait for a thread.
    /// * `pauses`: told once it has to wait.
    pub(super) fn step(&self, bytes: usize, others_wait: impl Fn() -> bool, pauses: impl FnOnce()) {
        if self.step_now(bytes, &others_wait) {
            return;
        }
        let (turns, bytes) = (self.turns, bytes as u64);
        pauses();
        let began = Instant::now();
        loop {
            drop(turns.moved.wait_timeout(turns.lock(), LOOKS_EVERY));
            if !others_wait() || began.elapsed() >= PAUSE_MAX {
                return add(&mut turns.lock(), self.account, bytes, Instant::now());
            }
            if turns.try_step(self.account, bytes) {
                return;
            }
        }
    }
}

impl Drop for Large<'_> {
    fn drop(&mut self) {
        let until_ms = self.turns.elapsed_ms() + RECENT.as_millis() as u64;
        self.turns.counts_until_ms.store(until_ms, Ordering::Relaxed);
        self.turns.large.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SMALL: Account = Account { session: 1, ..Account::ONLY };
    const BULK: Account = Account { session: 2, ..Account::ONLY };

    /// Whether the next step of a large read had to wait while others wait all the time, or never.
    fn pauses(large: &Large<'_>, others_wait: bool) -> bool {
        let paused = Cell::new(false);
        large.step(STEP_BYTES, || others_wait, || paused.set(true));
        paused.get()
    }

    #[test]
    fn a_large_read_waits_for_those_who_have_had_less() {
        let turns = Turns::default();
        let large = turns.large(BULK);
        turns.count(SMALL, 50_000);
        assert!(!pauses(&large, true), "a step ahead is nothing");
        assert!(pauses(&large, true));
        turns.count(SMALL, 4 * STEP_BYTES as u64);
        assert!(!pauses(&large, true), "the other one is ahead now");
    }

    #[test]
    fn nobody_waits_while_threads_are_free_or_alone_or_beside_one_that_rests() {
        let turns = Turns::default();
        let large = turns.large(BULK);
        assert!((0..9).all(|_| !pauses(&large, true)), "there is no other");
        turns.count(SMALL, 50_000);
        assert!((0..9).all(|_| !pauses(&large, false)), "threads are free");
        std::thread::sleep(2 * RECENT);
        assert!((0..9).all(|_| !pauses(&large, true)), "the other one has stopped");
    }

    #[test]
    fn what_was_read_while_nobody_waited_is_no_debt() {
        let turns = Turns::default();
        let large = turns.large(BULK);
        turns.count(SMALL, 1);
        assert!((0..64).all(|_| !pauses(&large, false)));
        assert!(!pauses(&large, true), "it begins beside the other one");
        turns.count(SMALL, 1);
        assert!(pauses(&large, true), "and what it has had since counts");
    }

    #[test]
    fn weights_divide_the_bytes() {
        for weight in [1, 3] {
            let turns = Turns::default();
            let large = turns.large(Account { weight, ..BULK });
            turns.count(SMALL, 1);
            assert!(!pauses(&large, true), "it begins beside the other one, and has its first step now");
            turns.count(SMALL, STEP_BYTES as u64);
            let steps = (0..9).take_while(|_| !pauses(&large, true)).count();
            assert_eq!(steps, weight as usize, "as many times what the other one had");
        }
    }

    #[test]
    fn beside_a_higher_priority_every_step_waits_and_for_a_lower_one_none_does() {
        for (priority, waits) in [(1, true), (-1, false)] {
            let turns = Turns::default();
            let large = turns.large(BULK);
            turns.count(Account { priority, ..SMALL }, 1);
            assert!((0..9).all(|_| large.step_now(STEP_BYTES, || true) != waits), "a priority of {priority}");
        }
    }

    #[test]
    fn one_that_comes_back_from_a_rest_does_not_make_up_for_it() {
        let turns = Turns::default();
        let large = turns.large(BULK);
        turns.count(SMALL, 1);
        for _ in 0..64 {
            large.step(STEP_BYTES, || false, || ());
        }
        std::thread::sleep(2 * RECENT);
        large.step(STEP_BYTES, || false, || ());
        turns.count(SMALL, 1);
        assert!(!pauses(&large, true), "it begins beside the other one");
    }

    #[test]
    fn nothing_is_counted_where_no_large_read_is_under_way_nor_was_of_late() {
        let turns = Turns::default();
        turns.count(SMALL, 1);
        assert!(turns.lock().is_empty());
        drop(turns.large(BULK));
        std::thread::sleep(2 * RECENT);
        turns.count(SMALL, 1);
        assert!(turns.lock().is_empty());
    }

    #[test]
    fn short_reads_that_come_between_large_ones_count() {
        let turns = Turns::default();
        drop(turns.large(BULK));
        turns.count(SMALL, 1);
        let large = turns.large(BULK);
        assert!(large.step_now(STEP_BYTES, || true), "it begins beside the other one");
        assert!(!large.step_now(STEP_BYTES, || true) && large.step_now(STEP_BYTES, || false));
    }
}
