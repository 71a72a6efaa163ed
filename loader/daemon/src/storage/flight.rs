//! What lies in a device's queue: beside the short reads of others, a session's large ones hold a bounded part of it.
//!
//! A device answers about in the order it was asked, so what a session gets a second goes by the bytes that it has in the
//! queue: a dozen reads of 4 MB there, and a short read waits behind all of them. So large reads are made in steps, and
//! while others have short reads in flight, all steps of a session together are no longer than those, by weight, or than
//! what keeps a device at work. Alone, or beside other large reads, nobody is held back.
//!
//! That holds for local disks. Behind a network file system there are many devices, and how much they have in their queues
//! is for nobody here to tell.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Account;
use super::root::Root;
use super::turns::STEP_BYTES;

/// What a session of the weight of all the others may always have in flight: at half a millisecond a step, 2 GB/s.
const LEAST_BYTES: u64 = 1 << 20;

/// The longest pause of a session: what it has in flight may hang in another storage.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A turn passes from one that ends to one that waits; this is for those that were passed by.
const LOOKS_EVERY: Duration = Duration::from_millis(2);

/// The reads of all sessions that are in flight, while large ones are among them.
#[derive(Default)]
pub(super) struct Flight {
    /// Large reads under way: where there are none, nobody counts.
    large: AtomicUsize,
    sessions: Mutex<Vec<Held>>,
    /// Steps that wait.
    waiting: AtomicUsize,
    of_tasks: Notify,
    of_threads: Condvar,
}

/// What one session has in flight.
struct Held {
    device: u64,
    account: Account,
    /// Short reads and steps of large ones; without any its line goes.
    count: usize,
    short_bytes: u64,
    large_bytes: u64,
    /// When its last step began.
    stepped: Instant,
}

/// A large read under way.
pub(super) struct Large<'a> {
    flight: &'a Flight,
    device: u64,
    account: Account,
    /// Of its pieces that wait in a ring the first one looks for room, the others stand behind it.
    line: tokio::sync::Mutex<()>,
}

/// Bytes in flight.
pub(super) struct InFlight<'a> {
    flight: &'a Flight,
    device: u64,
    session: u64,
    bytes: u64,
    is_short: bool,
}

impl Flight {
    /// A large read beneath a root begins. `None`: it lies on no local disk.
    pub(super) fn large(&self, root: &Root, account: Account) -> Option<Large<'_>> {
        root.nowait_device().map(|device| self.large_on(device, account))
    }

    /// A short read of so many bytes goes to its root's device. `None`: nobody would look at it.
    pub(super) fn short(&self, root: &Root, account: Account, bytes: u64) -> Option<InFlight<'_>> {
        root.nowait_device().and_then(|device| self.short_on(device, account, bytes))
    }

    pub(super) fn large_on(&self, device: u64, account: Account) -> Large<'_> {
        self.large.fetch_add(1, Ordering::Relaxed);
        Large { flight: self, device, account, line: tokio::sync::Mutex::const_new(()) }
    }

    pub(super) fn short_on(&self, device: u64, account: Account, bytes: u64) -> Option<InFlight<'_>> {
        (self.large.load(Ordering::Relaxed) > 0).then(|| {
            let mut sessions = self.lock();
            let held = held(&mut sessions, device, account);
            (held.count, held.short_bytes) = (held.count + 1, held.short_bytes + bytes);
            InFlight { flight: self, device, session: account.session, bytes, is_short: true }
        })
    }

    /// Counts the next step of a large read of which `left_bytes` are still to come, if there is room for one.
    fn try_step(&self, device: u64, account: Account, left_bytes: usize) -> Option<(InFlight<'_>, usize)> {
        let mut sessions = self.lock();
        let allowed_bytes = allowed_bytes(&sessions, device, account);
        let own = held(&mut sessions, device, account);
        let step_bytes = if allowed_bytes.is_some() { left_bytes.min(STEP_BYTES) } else { left_bytes };
        let then_bytes = own.large_bytes + step_bytes as u64;
        let has_no_room = allowed_bytes.is_some_and(|allowed| then_bytes > allowed);
        // Where it has none in flight it goes on, however little it may: the end of a step is what wakes the next.
        if has_no_room && own.large_bytes > 0 && own.stepped.elapsed() < PAUSE_MAX {
            return None;
        }
        own.stepped = Instant::now();
        (own.count, own.large_bytes) = (own.count + 1, then_bytes);
        let (session, bytes) = (account.session, step_bytes as u64);
        Some((InFlight { flight: self, device, session, bytes, is_short: false }, step_bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.sessions.lock().expect("no thread panics with the lock")
    }
}

/// How many bytes of its large reads a session may have in flight; `None`: as many as it likes.
///
/// Those of a lower priority are looked at by nobody; beside one of a higher priority, one step has to do.
fn allowed_bytes(sessions: &[Held], device: u64, account: Account) -> Option<u64> {
    let others = || {
        let beside = |held: &&Held| {
            held.device == device
                && held.account.session != account.session
                && held.short_bytes > 0
                && held.account.priority >= account.priority
        };
        sessions.iter().filter(beside)
    };
    if others().any(|held| held.account.priority > account.priority) {
        return Some(STEP_BYTES as u64);
    }
    let short_bytes: u64 = others().map(|held| held.short_bytes).sum();
    let weights: u64 = others().map(|held| u64::from(held.account.weight.max(1))).sum();
    let weight = u64::from(account.weight.max(1));
    let least_bytes = LEAST_BYTES * 2 * weight / (weight + weights);
    (short_bytes > 0).then(|| least_bytes.max(short_bytes.saturating_mul(weight) / weights))
}

/// A session's line of a device, made where there is none.
fn held(sessions: &mut Vec<Held>, device: u64, account: Account) -> &mut Held {
    let index = line(sessions, device, account.session);
    let index = index.unwrap_or_else(|| {
        sessions.push(Held {
            device,
            account,
            count: 0,
            short_bytes: 0,
            large_bytes: 0,
            stepped: Instant::now(),
        });
        sessions.len() - 1
    });
    &mut sessions[index]
}

fn line(sessions: &[Held], device: u64, session: u64) -> Option<usize> {
    sessions.iter().position(|held| held.device == device && held.account.session == session)
}

impl<'a> Large<'a> {
    /// Waits for the next step, of which the caller may read as many bytes as are told while it holds it: all of them where
    /// nobody is beside it.
    ///
    /// * `left_bytes`: what is still to be read.
    pub(super) async fn step(&self, left_bytes: usize) -> (InFlight<'a>, usize) {
        if let Some(step) = self.flight.try_step(self.device, self.account, left_bytes) {
            return step;
        }
        let _first = self.line.lock().await;
        let _waiting = Waiting::new(self.flight);
        loop {
            if let Some(step) = self.flight.try_step(self.device, self.account, left_bytes) {
                return step;
            }
            // One that ended since then left its word with `Notify`; one that passed it by is found by the look after.
            let _ = tokio::time::timeout(LOOKS_EVERY, self.flight.of_tasks.notified()).await;
        }
    }

    /// As [`step`](Self::step), on a thread of its own.
    ///
    /// * `pauses`: told once it has to wait.
    pub(super) fn step_now_or_later(
        &self,
        left_bytes: usize,
        pauses: impl FnOnce(),
    ) -> (InFlight<'a>, usize) {
        if let Some(step) = self.flight.try_step(self.device, self.account, left_bytes) {
            return step;
        }
        pauses();
        let _waiting = Waiting::new(self.flight);
        loop {
            drop(self.flight.of_threads.wait_timeout(self.flight.lock(), LOOKS_EVERY));
            if let Some(step) = self.flight.try_step(self.device, self.account, left_bytes) {
                return step;
            }
        }
    }
}

impl Drop for Large<'_> {
    fn drop(&mut self) {
        self.flight.large.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let flight = self.flight;
        let mut sessions = flight.lock();
        let index = line(&sessions, self.device, self.session)
            .expect("a session keeps its line while it has bytes in flight");
        let held = &mut sessions[index];
        *if self.is_short { &mut held.short_bytes } else { &mut held.large_bytes } -= self.bytes;
        held.count -= 1;
        if held.count == 0 {
            sessions.swap_remove(index);
        }
        drop(sessions);
        if flight.waiting.load(Ordering::Relaxed) > 0 {
            flight.of_tasks.notify_one();
            flight.of_threads.notify_one();
        }
    }
}

/// A step that waits.
struct Waiting<'a>(&'a Flight);

impl<'a> Waiting<'a> {
    fn new(flight: &'a Flight) -> Self {
        flight.waiting.fetch_add(1, Ordering::Relaxed);
        Self(flight)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const DISK: u64 = 7;
    const SMALL: Account = Account { session: 1, ..Account::ONLY };
    const BULK: Account = Account { session: 2, ..Account::ONLY };
    /// What is left of a large read.
    const LONG_BYTES: usize = 1 << 30;

    /// As many steps of one large read as there is room for, without a wait.
    fn steps(flight: &Flight, account: Account, count_max: usize) -> Vec<(InFlight<'_>, usize)> {
        let steps = (0..count_max).map_while(|_| flight.try_step(DISK, account, LONG_BYTES));
        steps.collect()
    }

    #[test]
    fn alone_or_beside_other_large_reads_nobody_is_held_back() {
        let flight = Flight::default();
        let (_bulk, _other) = (flight.large_on(DISK, BULK), flight.large_on(DISK, SMALL));
        let (own, others) = (steps(&flight, BULK, 9), steps(&flight, SMALL, 9));
        assert_eq!((own.len(), others.len()), (9, 9));
        assert!(own.iter().chain(&others).all(|(_, bytes)| *bytes == LONG_BYTES));
        let _own = flight.short_on(DISK, BULK, 50_000);
        assert_eq!(steps(&flight, BULK, 9).len(), 9, "nor for short reads of its own");
    }

    #[test]
    fn beside_short_reads_of_others_it_has_what_keeps_a_device_at_work() {
        let flight = Flight::default();
        let _large = flight.large_on(DISK, BULK);
        let short = flight.short_on(DISK, SMALL, 50_000);
        let mut held = steps(&flight, BULK, 99);
        assert_eq!(held.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>(), LEAST_BYTES);
        assert!(held.iter().all(|(_, bytes)| *bytes == STEP_BYTES));
        held.pop();
        assert_eq!(steps(&flight, BULK, 99).len(), 1, "one ended, and another one begins");
        drop(short);
        assert_eq!(steps(&flight, BULK, 9).len(), 9, "it is alone again");
    }

    #[test]
    fn what_others_read_from_another_device_holds_nobody_back_nor_do_network_file_systems_count() {
        let flight = Flight::default();
        let _large = flight.large_on(DISK, BULK);
        let _short = flight.short_on(DISK + 1, SMALL, 1 << 30);
        assert_eq!(steps(&flight, BULK, 9).len(), 9);
        let elsewhere = Root::unbacked("elsewhere");
        assert!(flight.large(&elsewhere, BULK).is_none() && flight.short(&elsewhere, SMALL, 1).is_none());
    }

    #[test]
    fn it_has_as_much_as_the_others_by_weight() {
        for (weight, times) in [(1, 8), (3, 24)] {
            let flight = Flight::default();
            let account = Account { weight, ..BULK };
            let _large = flight.large_on(DISK, account);
            let _two = [SMALL.session, 3].map(|session| {
                flight.short_on(DISK, Account { session, ..SMALL }, 8 * STEP_BYTES as u64).expect("it counts")
            });
            // Two others of weight one and 16 steps.
            assert_eq!(steps(&flight, account, 99).len(), times, "of weight {weight}");
        }
    }

    #[test]
    fn beside_a_higher_priority_one_step_has_to_do_and_a_lower_one_is_not_looked_at() {
        for (priority, count) in [(1, 1), (-1, 9)] {
            let flight = Flight::default();
            let _large = flight.large_on(DISK, BULK);
            let _short = flight.short_on(DISK, Account { priority, ..SMALL }, 1 << 30);
            assert_eq!(steps(&flight, BULK, 9).len(), count, "beside a priority of {priority}");
        }
    }

    #[test]
    fn one_that_has_nothing_in_flight_goes_on_whatever_its_weight() {
        let flight = Flight::default();
        let _large = flight.large_on(DISK, BULK);
        let _short = flight.short_on(DISK, Account { weight: 1 << 20, ..SMALL }, 1);
        assert_eq!(steps(&flight, BULK, 9).len(), 1);
    }

    #[test]
    fn nobody_counts_where_no_large_read_is_under_way_and_nothing_is_left_of_what_was_counted() {
        let flight = Flight::default();
        assert!(flight.short_on(DISK, SMALL, 1).is_none());
        let large = flight.large_on(DISK, BULK);
        let (short, held) = (flight.short_on(DISK, SMALL, 1), steps(&flight, BULK, 2));
        drop(flight.short_on(DISK, SMALL, 0));
        drop(flight.short_on(DISK, BULK, 0));
        drop(large);
        assert!(flight.short_on(DISK, SMALL, 1).is_none() && !flight.lock().is_empty());
        drop((short, held));
        assert!(flight.lock().is_empty());
    }

    #[test]
    fn of_the_pieces_of_one_read_that_wait_a_single_one_looks_for_room_and_all_go_on() {
        let flight = Flight::default();
        let large = flight.large_on(DISK, BULK);
        let _short = flight.short_on(DISK, SMALL, 1);
        let held = steps(&flight, BULK, 99);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(large.step(LONG_BYTES))).collect();
            for step in &mut waiting {
                let at_once = tokio::time::timeout(Duration::ZERO, step).await;
                assert!(at_once.is_err(), "there is no room");
            }
            assert_eq!(flight.waiting.load(Ordering::Relaxed), 1);
            drop(held);
            for step in waiting {
                assert_eq!(step.await.1, STEP_BYTES);
            }
        });
        assert_eq!(flight.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_that_waits_goes_on_where_another_ends_or_after_a_pause() {
        let flight = Arc::new(Flight::default());
        let _large = flight.large_on(DISK, BULK);
        let _short = flight.short_on(DISK, SMALL, 1);
        let mut held = steps(&flight, BULK, 99);
        let waiting = |on_a_ring: bool| {
            let flight = Arc::clone(&flight);
            thread::spawn(move || {
                let large = flight.large_on(DISK, BULK);
                let mut paused = false;
                let (_step, bytes) = if on_a_ring {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                    runtime.expect("a runtime").block_on(large.step(usize::MAX))
                } else {
                    large.step_now_or_later(usize::MAX, || paused = true)
                };
                (bytes, paused)
            })
        };
        for on_a_ring in [false, true] {
            let waiter = waiting(on_a_ring);
            while flight.waiting.load(Ordering::Relaxed) == 0 && !waiter.is_finished() {
                thread::yield_now();
            }
            held.pop();
            assert_eq!(waiter.join().expect("it went on"), (STEP_BYTES, !on_a_ring));
            held.extend(steps(&flight, BULK, 99));
            // Nobody ends here.
            assert_eq!(waiting(on_a_ring).join().expect("it went on"), (STEP_BYTES, !on_a_ring));
        }
    }
}
