//! The line that reads stand in before the threads that make them.
//!
//! There are many more threads than processors, for reads that wait for a device. Those that bring what is in memory wait for
//! nothing, and a thread more would only take the processor from one that has a read in hand, for which its batch then
//! waits. So as many run as there are processors; one that is about to wait [steps aside](Turn::step_aside) and another is
//! called. A channel would wake one for everything that is sent, and hand it over before that one runs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

/// Things to do, in the order in which they came, and the threads that wait for some.
pub(super) struct Line<T> {
    state: Mutex<State<T>>,
    wakes: Condvar,
    /// Threads that have something in hand and did not step aside.
    running: AtomicUsize,
    /// How many may, where none has stopped.
    running_usual: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// More take nothing, whatever waits.
    running_max: usize,
    /// Threads that sleep, those that are called among them.
    asleep: usize,
    /// Those that are called, and not yet here.
    called: usize,
    /// How much was taken, and how much of it when somebody [looked](Line::look).
    taken: u64,
    taken_at_look: u64,
    is_closed: bool,
}

/// What a thread has while it does something: the right to run.
pub(super) struct Turn<'a, T> {
    line: &'a Line<T>,
    is_aside: Cell<bool>,
}

impl<T> Line<T> {
    /// An empty one, for so many threads at a time that wait for nothing; at least one.
    pub(super) fn new(running_max: usize) -> Self {
        let running_usual = running_max.max(1);
        let state = State {
            waiting: VecDeque::new(),
            running_max: running_usual,
            asleep: 0,
            called: 0,
            taken: 0,
            taken_at_look: 0,
            is_closed: false,
        };
        Self { state: Mutex::new(state), wakes: Condvar::new(), running: AtomicUsize::new(0), running_usual }
    }

    /// Puts something at the end; it comes back where the line is closed.
    pub(super) fn push(&self, next: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(next);
        }
        state.waiting.push_back(next);
        self.leave(state);
        Ok(())
    }

    /// Waits for something to do; `None`: nothing is left, and nothing will come. `before`: the turn that is over, so that
    /// nobody is called in between.
    pub(super) fn take(&self, before: Option<Turn<'_, T>>) -> Option<(T, Turn<'_, T>)> {
        let mut state = self.lock();
        drop(before);
        loop {
            if self.running() < state.running_max || state.is_closed {
                if let Some(next) = state.waiting.pop_front() {
                    self.running.fetch_add(1, Ordering::Relaxed);
                    state.taken += 1;
                    self.leave(state);
                    return Some((next, Turn { line: self, is_aside: Cell::new(false) }));
                }
                if state.is_closed {
                    return None;
                }
            }
            state.asleep += 1;
            state = self.wakes.wait(state).expect("no thread panics with the lock");
            state.asleep -= 1;
            // One that wakes uncalled stands in for one that is called: at most somebody is called in vain.
            state.called = state.called.saturating_sub(1);
        }
    }

    /// Whether more waits than there are threads that sleep.
    pub(super) fn lacks_threads(&self) -> bool {
        let state = self.lock();
        state.waiting.len() > state.asleep
    }

    /// Called now and then: where something waits and nothing was taken since the last time although as many run as may,
    /// these have stopped without a word, and one thread more may run from now on, until they are back.
    pub(super) fn look(&self) {
        let mut state = self.lock();
        let running = self.running();
        let have_stopped = state.taken == state.taken_at_look && running >= state.running_max;
        if have_stopped && !state.waiting.is_empty() {
            state.running_max += 1;
        }
        // Those that are stopped are among those that run.
        state.running_max = state.running_max.min(self.running_usual + running);
        state.taken_at_look = state.taken;
        self.leave(state);
    }

    /// Calls a thread for what is there: one that takes nothing more is about to leave.
    pub(super) fn call(&self) {
        self.leave(self.lock());
    }

    /// Nothing may come any more; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wakes.notify_all();
    }

    /// Calls a thread for what is there, if one more may run; it will call the next.
    fn leave(&self, mut state: MutexGuard<'_, State<T>>) {
        let calls = !state.waiting.is_empty()
            && state.called < state.asleep
            && self.running() + state.called < state.running_max;
        state.called += usize::from(calls);
        drop(state);
        if calls {
            self.wakes.notify_one();
        }
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with the lock")
    }
}

impl<T> Turn<'_, T> {
    /// What follows, up to the end of this turn, may wait for a device or a server: another thread runs instead.
    pub(super) fn step_aside(&self) {
        if !self.is_aside.replace(true) {
            self.line.running.fetch_sub(1, Ordering::Relaxed);
            self.line.leave(self.line.lock());
        }
    }
}

impl<T> Drop for Turn<'_, T> {
    /// Calls nobody: the thread takes the next itself, or [calls](Line::call) before it leaves.
    fn drop(&mut self) {
        if !self.is_aside.get() {
            self.line.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// All that comes, until there is no more.
    fn take_all(line: &Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.take(None).map(|(next, _)| next)).collect()
    }

    /// Returns once so many threads sleep.
    fn until_asleep(line: &Line<u32>, threads: usize) {
        while line.lock().asleep < threads {
            thread::yield_now();
        }
    }

    #[test]
    fn all_is_taken_in_order_and_nothing_once_it_is_closed_and_empty() {
        let line = Line::new(1);
        (0..10).for_each(|n| line.push(n).unwrap());
        line.close();
        assert_eq!(line.push(10), Err(10));
        assert_eq!(take_all(&line), (0..10).collect::<Vec<_>>());
        assert!(!line.lacks_threads() && line.take(None).is_none() && line.running() == 0);
    }

    #[test]
    fn whatever_comes_while_threads_sleep_wake_and_step_aside_is_taken_once() {
        for running_max in [1, 3] {
            let line = Line::new(running_max);
            let mut taken = thread::scope(|scope| {
                let take = || {
                    let (mut taken, mut before) = (Vec::new(), None);
                    while let Some((next, turn)) = line.take(before) {
                        if next % 3 == 0 {
                            turn.step_aside();
                            thread::yield_now();
                        }
                        taken.push(next);
                        before = Some(turn);
                    }
                    taken
                };
                let takers: Vec<_> = (0..7).map(|_| scope.spawn(take)).collect();
                let push = |from: u32| {
                    for n in from..from + 20_000 {
                        line.push(n).unwrap();
                        if n % 37 == 0 {
                            thread::yield_now();
                        }
                    }
                };
                let pushers = [0, 20_000].map(|from| scope.spawn(move || push(from)));
                pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
                line.close();
                takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect::<Vec<_>>()
            });
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..40_000), "{running_max} at a time");
            assert_eq!(line.running(), 0);
        }
    }

    #[test]
    fn one_that_runs_takes_all_and_nobody_else_is_called() {
        let line = Line::new(1);
        line.push(0).unwrap();
        let (_, turn) = line.take(None).unwrap();
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| take_all(&line));
            until_asleep(&line, 1);
            (1..5).for_each(|n| line.push(n).unwrap());
            assert_eq!(line.lock().called, 0);
            drop(turn);
            let taken: Vec<_> = (1..5).map(|_| line.take(None).unwrap().0).collect();
            assert_eq!(taken, [1, 2, 3, 4]);
            line.close();
            assert!(sleeper.join().unwrap().is_empty());
        });
    }

    #[test]
    fn those_that_step_aside_bring_in_all_the_others() {
        let (line, all) = (Line::new(1), Barrier::new(5));
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    while let Some((_, turn)) = line.take(None) {
                        turn.step_aside();
                        // Until five have one in hand.
                        all.wait();
                    }
                });
            }
            until_asleep(&line, 5);
            (0..50).for_each(|n| line.push(n).unwrap());
            line.close();
        });
        assert!(line.lock().waiting.is_empty() && line.running() == 0);
    }

    #[test]
    fn where_one_stops_without_a_word_another_may_run_after_two_looks_until_it_is_back() {
        let line = Line::new(1);
        line.push(0).unwrap();
        let hangs = line.take(None).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| line.take(None).unwrap().0);
            until_asleep(&line, 1);
            line.push(1).unwrap();
            line.look();
            assert_eq!(line.lock().running_max, 1, "something was taken just now");
            line.look();
            assert_eq!(other.join().unwrap(), 1);
        });
        line.look();
        assert_eq!(line.lock().running_max, 2, "it has not come back");
        drop(hangs);
        line.look();
        assert_eq!(line.lock().running_max, 1);
    }

    #[test]
    fn those_that_stepped_aside_have_not_stopped_however_long_they_wait() {
        let line = Line::new(1);
        line.push(0).unwrap();
        let (_, waits) = line.take(None).unwrap();
        waits.step_aside();
        line.push(1).unwrap();
        (0..9).for_each(|_| line.look());
        assert_eq!(line.lock().running_max, 1);
    }
}
