//! The gate before storage: which sample's reads start next, so that what is in flight stays inside its budget and no
//! sample that has started waits for anything another one holds.
//!
//! Samples wait here in plan order, a queue a session. Of the sessions that wait with the highest priority, the one that is
//! furthest behind its share goes next. Beside the budget each session has a reserve: one sample of its own is in flight,
//! however large and whatever the others hold, so the head batch of every session goes on.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::storage::Account;

/// What a sample is taken to need before any of its session's has come back.
const EXPECTED_BYTES: u64 = 128 << 10;
/// A sample of unknown size may bring so many times what it was taken to need, or a mebibyte, before it must ask again.
const ROOM_FACTOR: u64 = 8;
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// While a session of higher priority is open, those below it hold at most this part of the budget together: enough to
/// use what the higher ones leave, and little that stands before their next batch.
const LOWER_PART: u64 = 4;

/// How much may be in flight, beside one sample a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBudget {
    /// Encoded bytes, read or about to be, and not yet decoded.
    pub bytes: u64,
    /// Samples.
    pub reads: u32,
}

/// Who asks, and how much of the pool is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The session's number.
    pub session: u64,
    /// Beside others of its priority, in bytes read.
    pub weight: u32,
    /// Nobody starts while somebody of a higher one waits.
    pub priority: i32,
}

/// The queue before the storage engine, of things that wait for read bytes.
pub struct Gate<T> {
    budget: ReadBudget,
    state: Mutex<State<T>>,
}

struct State<T> {
    queues: Vec<Queue<T>>,
    /// Of the budget.
    shared: Held,
    /// Beside it.
    reserves: Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    bytes: u64,
    reads: u32,
}

struct Queue<T> {
    share: Share,
    /// Bytes started, divided by weight: the least goes next.
    pass: u64,
    waiting: VecDeque<Waiting<T>>,
    /// Samples that were ever put here: the next one's turn.
    turns: u64,
    /// What a sample of unknown size is taken to need: a moving average.
    expected_bytes: u64,
    /// What its samples in flight hold of the budget.
    shared: Held,
    /// Whether one in flight has the reserve.
    has_reserve: bool,
    /// Whether the session is gone, or went elsewhere; the queue stays until its last sample in flight is back.
    is_forgotten: bool,
}

struct Waiting<T> {
    ask: Ask<T>,
    turn: u64,
    /// What it and those that start with it need, where that is known.
    group_bytes: u64,
}

/// Whose first sample starts.
struct Chosen {
    index: usize,
    /// Otherwise it has its session's reserve, and nothing of the budget.
    is_its_turn: bool,
}

/// A sample that asks for read bytes.
#[derive(Debug)]
pub struct Ask<T> {
    /// The sample.
    pub item: T,
    /// What it needs, where that is known.
    pub known_bytes: Option<u64>,
    /// How many of those right behind it one read may serve with it: they start together, as far as there is room. The next
    /// has one fewer, down to none.
    pub mates: u32,
}

/// What one sample in flight holds.
#[derive(Debug, Default)]
pub struct Reserved {
    account: Account,
    turn: u64,
    bytes: u64,
    room_bytes: u64,
    is_known: bool,
    is_reserve: bool,
}

impl Reserved {
    /// Whose reads these are.
    pub fn account(&self) -> Account {
        self.account
    }

    /// What it is taken to need.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What its reads may bring before it must ask [again](Gate::again).
    pub fn room_bytes(&self) -> u64 {
        self.room_bytes
    }
}

impl<T> Gate<T> {
    /// An empty queue.
    pub fn new(budget: ReadBudget) -> Self {
        let (shared, reserves) = (Held::default(), Held::default());
        Self { budget, state: Mutex::new(State { queues: Vec::new(), shared, reserves }) }
    }

    /// Puts samples at the end of their session's queue.
    pub fn push(&self, share: Share, samples: impl Iterator<Item = Ask<T>>) {
        let mut state = self.lock();
        let queue = state.queue_of(share);
        let first = queue.waiting.len();
        for ask in samples {
            let turn = queue.turns;
            queue.turns += 1;
            let group_bytes = ask.known_bytes.unwrap_or(0);
            queue.waiting.push_back(Waiting { ask, turn, group_bytes });
        }
        queue.sum_groups(first);
    }

    /// Takes the sample that may start reading now, if there is one; those that start with it go to `mates`.
    pub fn next(&self, mates: &mut Vec<(T, Reserved)>) -> Option<(T, Reserved)> {
        let mut state = self.lock();
        let Chosen { index, is_its_turn } = state.choose(self.budget)?;
        let mates_max = if is_its_turn { state.queues[index].mates() } else { 0 };
        let first = state.start(index);
        state.start_mates(index, mates_max, self.budget, mates);
        Some(first)
    }

    /// Corrects what a sample in flight holds. `is_whole`: it needs no more, so others of its session are taken to need
    /// the like.
    pub fn settle(&self, reserved: &mut Reserved, bytes: u64, is_whole: bool) {
        let mut state = self.lock();
        state.give_back(reserved);
        reserved.bytes = bytes;
        state.hold(reserved);
        if is_whole && !reserved.is_known {
            state.learn(reserved.account.session, bytes);
        }
    }

    /// Puts a sample back to its place in the queue, since it turned out to need `bytes`; what it held is free. One that
    /// nobody wants any more comes back.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "what was given back is held no more")]
    pub fn again(&self, item: T, reserved: Reserved, bytes: u64) -> Option<T> {
        let mut state = self.lock();
        if !reserved.is_known {
            state.learn(reserved.account.session, bytes);
        }
        let back = match state.find(reserved.account.session) {
            Some(queue) if !queue.is_forgotten => {
                let at = queue.waiting.partition_point(|waiting| waiting.turn < reserved.turn);
                let ask = Ask { item, known_bytes: Some(bytes), mates: 0 };
                queue.waiting.insert(at, Waiting { ask, turn: reserved.turn, group_bytes: bytes });
                None
            }
            _ => Some(item),
        };
        state.end(&reserved);
        back
    }

    /// As much again for a sample in flight, out of what is free of the budget: for a second read of its bytes.
    pub fn twice(&self, held: &Reserved) -> Option<Reserved> {
        let mut state = self.lock();
        let share = state.find(held.account.session).filter(|queue| !queue.is_forgotten)?.share;
        let (_, free) = state.room(self.budget, share.priority);
        if free.reads == 0 || held.bytes > free.bytes {
            return None;
        }
        let second = Reserved { is_reserve: false, ..*held };
        state.hold(&second);
        Some(second)
    }

    /// Gives back what a sample held.
    #[allow(clippy::needless_pass_by_value, reason = "what was given back is held no more")]
    pub fn finish(&self, reserved: Reserved) {
        self.lock().end(&reserved);
    }

    /// Samples in flight, and the bytes that they hold or are taken to need.
    pub fn in_flight(&self) -> (u32, u64) {
        let State { shared, reserves, .. } = &*self.lock();
        (shared.reads + reserves.reads, shared.bytes + reserves.bytes)
    }

    /// The highest priority of the sessions that are open; 0 where none is.
    pub fn priority_max(&self) -> i32 {
        self.lock().priority_max().unwrap_or(0)
    }

    /// Drops what a session still has waiting; its slots become free.
    pub fn forget(&self, session: u64) {
        let mut state = self.lock();
        let Some(queue) = state.find(session) else { return };
        queue.is_forgotten = true;
        let dropped = std::mem::take(&mut queue.waiting);
        state.sweep(session);
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with the lock")
    }
}

impl<T> State<T> {
    /// The queue whose first sample may start.
    fn choose(&self, budget: ReadBudget) -> Option<Chosen> {
        let waiting = || self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        let priority = waiting().map(|(_, queue)| queue.share.priority).max()?;
        let (bounds, free) = self.room(budget, priority);
        let first_of = |may: &dyn Fn(&Queue<T>) -> bool| {
            let able = waiting().filter(|(_, queue)| queue.share.priority == priority && may(queue));
            able.min_by_key(|(_, queue)| queue.pass)
        };
        // One that the budget never holds waits for its session's reserve, and keeps nobody else from going on.
        let (turn, queue) = first_of(&|queue| !queue.has_reserve || queue.needs().fits(bounds))?;
        if !queue.has_reserve || queue.needs().fits(free) {
            return Some(Chosen { index: turn, is_its_turn: true });
        }
        // The rest of the budget is for the one whose turn it is: the others go on by their reserves.
        let (index, _) = first_of(&|queue| !queue.has_reserve)?;
        Some(Chosen { index, is_its_turn: false })
    }

    /// What samples of a priority may have of the budget, and what is free of that.
    fn room(&self, budget: ReadBudget, priority: i32) -> (Held, Held) {
        let whole = Held { bytes: budget.bytes, reads: budget.reads };
        let highest = self.priority_max().unwrap_or(priority);
        let free = whole.less(self.shared);
        if priority == highest {
            return (whole, free);
        }
        let bytes = budget.bytes / LOWER_PART;
        let part = Held { bytes, reads: (budget.reads / LOWER_PART as u32).max(1) };
        let lower = self.queues.iter().filter(|queue| queue.share.priority < highest);
        let held = lower.fold(Held::default(), |sum, queue| sum.plus(queue.shared));
        let left = part.less(held);
        (part, Held { bytes: left.bytes.min(free.bytes), reads: left.reads.min(free.reads) })
    }

    fn priority_max(&self) -> Option<i32> {
        self.queues.iter().map(|queue| queue.share.priority).max()
    }

    fn start(&mut self, index: usize) -> (T, Reserved) {
        let queue = &mut self.queues[index];
        let Waiting { ask: Ask { item, known_bytes, .. }, turn, .. } =
            queue.waiting.pop_front().expect("it was chosen because it waits");
        let bytes = known_bytes.unwrap_or(queue.expected_bytes);
        queue.pass += 1 + bytes / u64::from(queue.share.weight);
        let is_reserve = !queue.has_reserve;
        let room_bytes = match known_bytes {
            // However large: that is what the reserve is for.
            _ if is_reserve => u64::MAX,
            // A file that is written to meanwhile may have grown a little; reading it tells.
            Some(known) => known.saturating_add(known / 8).saturating_add(64 << 10),
            None => bytes.saturating_mul(ROOM_FACTOR).max(ROOM_BYTES_MIN),
        };
        let (Share { session, weight, priority }, is_known) = (queue.share, known_bytes.is_some());
        let account = Account { session, weight, priority };
        let reserved = Reserved { account, turn, bytes, room_bytes, is_known, is_reserve };
        self.hold(&reserved);
        (item, reserved)
    }

    /// Starts those that go with the one that was just started, as far as the budget has room; the others stay together.
    fn start_mates(
        &mut self,
        index: usize,
        mates_max: u32,
        budget: ReadBudget,
        started: &mut Vec<(T, Reserved)>,
    ) {
        for left in (0..mates_max).rev() {
            let (_, free) = self.room(budget, self.queues[index].share.priority);
            let queue = &self.queues[index];
            let expected_bytes = queue.expected_bytes;
            let Some(Waiting { ask, .. }) = queue.waiting.front() else { return };
            let needs = Held { bytes: ask.known_bytes.unwrap_or(expected_bytes), reads: 1 };
            if !needs.fits(free) {
                debug_assert_eq!(ask.mates, left, "those behind it stay together");
                return;
            }
            started.push(self.start(index));
        }
    }

    fn hold(&mut self, reserved: &Reserved) {
        let held = Held { bytes: reserved.bytes, reads: 1 };
        let queue = self.find(reserved.account.session).expect("a queue outlives its samples in flight");
        if reserved.is_reserve {
            queue.has_reserve = true;
            self.reserves = self.reserves.plus(held);
        } else {
            queue.shared = queue.shared.plus(held);
            self.shared = self.shared.plus(held);
        }
    }

    fn give_back(&mut self, reserved: &Reserved) {
        let held = Held { bytes: reserved.bytes, reads: 1 };
        let queue = self.find(reserved.account.session).expect("a queue outlives its samples in flight");
        if reserved.is_reserve {
            queue.has_reserve = false;
            self.reserves = self.reserves.less(held);
        } else {
            queue.shared = queue.shared.less(held);
            self.shared = self.shared.less(held);
        }
    }

    fn end(&mut self, reserved: &Reserved) {
        self.give_back(reserved);
        self.sweep(reserved.account.session);
    }

    /// Takes a queue out that was forgotten and has nothing in flight.
    fn sweep(&mut self, session: u64) {
        let is_over = |queue: &Queue<T>| {
            queue.share.session == session
                && queue.is_forgotten
                && queue.shared.reads == 0
                && !queue.has_reserve
                && queue.waiting.is_empty()
        };
        self.queues.retain(|queue| !is_over(queue));
    }

    fn learn(&mut self, session: u64, bytes: u64) {
        if let Some(queue) = self.find(session) {
            queue.expected_bytes = (queue.expected_bytes * 15).saturating_add(bytes) / 16 + 1;
        }
    }

    fn find(&mut self, session: u64) -> Option<&mut Queue<T>> {
        self.queues.iter_mut().find(|queue| queue.share.session == session)
    }

    fn queue_of(&mut self, share: Share) -> &mut Queue<T> {
        let share = Share { weight: share.weight.max(1), ..share };
        let least = self.least_pass(share.priority);
        let index = self.queues.iter().position(|queue| queue.share.session == share.session);
        let index = index.unwrap_or_else(|| {
            self.queues.push(Queue::new(share));
            self.queues.len() - 1
        });
        let queue = &mut self.queues[index];
        (queue.share, queue.is_forgotten) = (share, false);
        if queue.waiting.is_empty() {
            // One that was idle starts beside the others and does not make up for its rest.
            queue.pass = queue.pass.max(least);
        }
        queue
    }

    fn least_pass(&self, priority: i32) -> u64 {
        let waits = |queue: &&Queue<T>| queue.share.priority == priority && !queue.waiting.is_empty();
        self.queues.iter().filter(waits).map(|queue| queue.pass).min().unwrap_or(0)
    }
}

impl<T> Queue<T> {
    fn new(share: Share) -> Self {
        Self {
            share,
            pass: 0,
            waiting: VecDeque::new(),
            turns: 0,
            expected_bytes: EXPECTED_BYTES,
            shared: Held::default(),
            has_reserve: false,
            is_forgotten: false,
        }
    }

    /// What its first sample and those that start with it need, or are taken to need.
    fn needs(&self) -> Held {
        let reads = 1 + self.mates();
        let known = self.waiting.front().filter(|first| first.ask.known_bytes.is_some());
        let expected_bytes = self.expected_bytes.saturating_mul(u64::from(reads));
        Held { bytes: known.map_or(expected_bytes, |first| first.group_bytes), reads }
    }

    /// Adds up, from the back, what each of the last samples needs with those that start with it.
    fn sum_groups(&mut self, first: usize) {
        let mut sum = 0_u64;
        for waiting in self.waiting.iter_mut().skip(first).rev() {
            let behind = if waiting.ask.mates > 0 { sum } else { 0 };
            waiting.group_bytes = waiting.group_bytes.saturating_add(behind);
            sum = waiting.group_bytes;
        }
    }

    /// How many start with its first sample.
    fn mates(&self) -> u32 {
        self.waiting.front().map_or(0, |first| first.ask.mates)
    }
}

impl Held {
    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), reads: self.reads + other.reads }
    }

    fn fits(self, room: Self) -> bool {
        self.bytes <= room.bytes && self.reads <= room.reads
    }

    fn less(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), reads: self.reads.saturating_sub(other.reads) }
    }
}

#[cfg(test)]
mod tests;
