//! Where decode threads of several homes take their work: what belongs to one goes to its threads first, and to others
//! where those would idle.
//!
//! No thread hands work round. All but one that find nothing sleep; that one listens at the channel that work comes from,
//! and wakes whoever is nearer to what it got, or takes it itself and wakes the next to listen. Threads that are busy look
//! into the channel when they are done, so a loaded pool wakes nobody.
//!
//! It is closed until somebody names a home: threads then sit down here as they come by, and those that still wait at the
//! channel take what comes as ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

/// Work of several homes, in the order in which it came.
pub(super) struct Board<T> {
    coming: flume::Receiver<T>,
    /// The home of a piece of work; `None`: any.
    home_of: fn(&T) -> Option<usize>,
    is_open: AtomicBool,
    state: Mutex<State<T>>,
    /// One for the threads of each home.
    calls: Vec<Condvar>,
    near: AtomicU64,
    far: AtomicU64,
}

struct State<T> {
    /// What came, by home, and last what may go anywhere; each with its number.
    rows: Vec<VecDeque<(u64, T)>>,
    came: u64,
    homes: Vec<Threads>,
    is_listening: bool,
    is_over: bool,
}

/// Threads of one home that have nothing to do.
#[derive(Clone, Copy, Default)]
struct Threads {
    asleep: usize,
    /// Woken, and not yet here.
    called: usize,
}

/// What a thread does next.
enum Next<T> {
    Take(T),
    Listen,
    Sleep,
    Leave,
}

impl<T> Board<T> {
    /// One for `homes` of them, closed.
    pub(super) fn new(homes: usize, coming: flume::Receiver<T>, home_of: fn(&T) -> Option<usize>) -> Self {
        let state = State {
            rows: std::iter::repeat_with(VecDeque::new).take(homes + 1).collect(),
            came: 0,
            homes: vec![Threads::default(); homes],
            is_listening: false,
            is_over: false,
        };
        Self {
            coming,
            home_of,
            is_open: AtomicBool::new(false),
            state: Mutex::new(state),
            calls: std::iter::repeat_with(Condvar::new).take(homes).collect(),
            near: AtomicU64::new(0),
            far: AtomicU64::new(0),
        }
    }

    /// Has threads sit down here from now on.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// How much of the work that belongs to a home its own threads took, and how much others did.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.near.load(Ordering::Relaxed), self.far.load(Ordering::Relaxed))
    }

    /// Waits for work for a thread of `home`; `None`: there will be no more.
    pub(super) fn take(&self, home: usize) -> Option<T> {
        let mut state = self.lock();
        loop {
            for work in self.coming.try_iter() {
                state.put(work, self.home_of);
            }
            match self.next(&mut state, home) {
                Next::Take(work) => return Some(work),
                Next::Leave => return None,
                Next::Sleep => state = self.sleep(state, home),
                Next::Listen => {
                    drop(state);
                    let came = self.coming.recv();
                    state = self.lock();
                    state.is_listening = false;
                    match came {
                        Ok(work) => state.put(work, self.home_of),
                        Err(_) => self.end(&mut state),
                    }
                }
            }
        }
    }

    fn next(&self, state: &mut State<T>, home: usize) -> Next<T> {
        // Whoever is nearer and asleep comes first; what they are called for is not taken from them.
        for other in 0..state.homes.len() {
            while other != home && state.uncovered(other) > 0 && state.homes[other].asleep > 0 {
                self.call(state, other);
            }
        }
        let work = state.own(home).map(|(work, is_near)| {
            self.near.fetch_add(u64::from(is_near), Ordering::Relaxed);
            work
        });
        let work = work.or_else(|| {
            self.far.fetch_add(u64::from(state.longest().is_some()), Ordering::Relaxed);
            state.longest().and_then(|other| state.pop(other))
        });
        if let Some(work) = work {
            self.leave(state);
            return Next::Take(work);
        }
        if state.is_over {
            return Next::Leave;
        }
        if std::mem::replace(&mut state.is_listening, true) { Next::Sleep } else { Next::Listen }
    }

    /// Before a thread goes to work: wakes others for what else is there, and one to listen.
    fn leave(&self, state: &mut State<T>) {
        let anywhere = state.homes.len();
        for home in 0..anywhere {
            while state.uncovered(home) > 0 && state.homes[home].asleep > 0 {
                self.call(state, home);
            }
        }
        let rows = |state: &State<T>| state.rows.iter().map(VecDeque::len).sum::<usize>();
        let called = |state: &State<T>| state.homes.iter().map(|threads| threads.called).sum::<usize>();
        let needs =
            |state: &State<T>| rows(state) > called(state) || (!state.is_listening && called(state) == 0);
        while needs(state) {
            let Some(home) = (0..anywhere).max_by_key(|home| state.homes[*home].asleep) else { break };
            if state.homes[home].asleep == 0 {
                break;
            }
            self.call(state, home);
        }
    }

    fn call(&self, state: &mut State<T>, home: usize) {
        state.homes[home].asleep -= 1;
        state.homes[home].called += 1;
        self.calls[home].notify_one();
    }

    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State<T>>, home: usize) -> MutexGuard<'a, State<T>> {
        state.homes[home].asleep += 1;
        let waits = |state: &mut State<T>| state.homes[home].called == 0 && !state.is_over;
        let mut state = self.calls[home].wait_while(state, waits).expect("no thread panics with the lock");
        let threads = &mut state.homes[home];
        if threads.called > 0 {
            threads.called -= 1;
        } else {
            threads.asleep -= 1;
        }
        state
    }

    fn end(&self, state: &mut State<T>) {
        state.is_over = true;
        self.calls.iter().for_each(Condvar::notify_all);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with the lock")
    }
}

impl<T> State<T> {
    fn put(&mut self, work: T, home_of: fn(&T) -> Option<usize>) {
        let anywhere = self.homes.len();
        let home = home_of(&work).filter(|home| *home < anywhere).unwrap_or(anywhere);
        self.rows[home].push_back((self.came, work));
        self.came += 1;
    }

    fn pop(&mut self, home: usize) -> Option<T> {
        self.rows[home].pop_front().map(|(_, work)| work)
    }

    /// What a home has that nobody was woken for.
    fn uncovered(&self, home: usize) -> usize {
        self.rows[home].len().saturating_sub(self.homes[home].called)
    }

    /// The oldest of what belongs to a home or may go anywhere, and whether it is the home's.
    fn own(&mut self, home: usize) -> Option<(T, bool)> {
        let anywhere = self.homes.len();
        let came = |home: usize| self.rows[home].front().map_or(u64::MAX, |(came, _)| *came);
        let is_near = came(home) <= came(anywhere);
        self.pop(if is_near { home } else { anywhere }).map(|work| (work, is_near))
    }

    /// The home that has most of what nobody was woken for.
    fn longest(&self) -> Option<usize> {
        let found = (0..self.homes.len()).max_by_key(|home| self.uncovered(*home))?;
        (self.uncovered(found) > 0).then_some(found)
    }
}

#[cfg(test)]
#[path = "board/tests.rs"]
mod tests;
