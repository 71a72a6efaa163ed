//! An engine that fails on purpose: the same path and attempt always fail in the same way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flume::RecvTimeoutError;
use rustix::io::Errno;

use super::error::StorageError;
use super::{Done, Engine, Read};

/// How often each fault strikes, in reads of a thousand; the outcomes exclude one another, a delay comes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Another seed, other victims.
    pub seed: u64,
    /// Reads that end in EIO.
    pub io_error_per_mille: u16,
    /// Reads that find no file.
    pub missing_per_mille: u16,
    /// Reads whose file shrank meanwhile.
    pub short_per_mille: u16,
    /// Reads whose file was written to meanwhile.
    pub changed_per_mille: u16,
    /// Reads that are held back first.
    pub delay_per_mille: u16,
    /// The longest they are held back.
    pub delay_max: Duration,
}

/// What happens to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    delay: Duration,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Served,
    IoError,
    Missing,
    Short,
    Changed,
}

impl Faults {
    /// Decides from seed, path and attempt alone.
    fn fate(&self, path: &[u8], attempt: u32) -> Fate {
        let mut hasher = blake3::Hasher::new_derive_key("forebay storage fault 1");
        hasher.update(&self.seed.to_le_bytes()).update(&attempt.to_le_bytes()).update(path);
        let mut draws = [0; 12];
        hasher.finalize_xof().fill(&mut draws);
        let draw = |at: usize| u32::from_le_bytes([draws[at], draws[at + 1], draws[at + 2], draws[at + 3]]);
        let delayed = draw(4) % 1000 < self.delay_per_mille.into();
        let delay = if delayed {
            self.delay_max.mul_f64(draw(8) as f64 / f64::from(u32::MAX))
        } else {
            Duration::ZERO
        };
        Fate { delay, outcome: self.outcome(draw(0) % 1000) }
    }

    fn outcome(&self, draw: u32) -> Outcome {
        let shares = [
            (self.io_error_per_mille, Outcome::IoError),
            (self.missing_per_mille, Outcome::Missing),
            (self.short_per_mille, Outcome::Short),
            (self.changed_per_mille, Outcome::Changed),
        ];
        let mut below = 0;
        for (per_mille, outcome) in shares {
            below += u32::from(per_mille);
            if draw < below {
                return outcome;
            }
        }
        Outcome::Served
    }
}

/// An adapter that puts faults in front of another engine.
///
/// Attempts are counted per path. Each fault shows as the error that an engine makes of the real thing.
pub struct FaultyEngine<T> {
    faults: Faults,
    attempts: Mutex<HashMap<Vec<u8>, u32>>,
    shell: Shell<T>,
    delayed: flume::Sender<Delayed<T>>,
}

/// Where a read goes once its fate is known.
struct Shell<T> {
    inner: Arc<dyn Engine<T>>,
    done: flume::Sender<Done<T>>,
}

struct Delayed<T> {
    due: Instant,
    submitted: Instant,
    outcome: Outcome,
    read: Read<T>,
}

impl<T: Send + 'static> FaultyEngine<T> {
    /// Wraps an engine that was made with the same `done` channel.
    ///
    /// # Errors
    /// [`StorageError::Threads`] where the system gives no thread to hold delayed reads.
    pub fn new(
        inner: Arc<dyn Engine<T>>,
        faults: Faults,
        done: flume::Sender<Done<T>>,
    ) -> Result<Self, StorageError> {
        let (delayed, waiting) = flume::unbounded();
        let shell = Shell { inner: inner.clone(), done: done.clone() };
        thread::Builder::new()
            .name("read-delay".into())
            .spawn(move || hold_back(&waiting, &shell))
            .map_err(|source| StorageError::Threads { threads: 1, source })?;
        Ok(Self { faults, attempts: Mutex::default(), shell: Shell { inner, done }, delayed })
    }

    /// Has a read meet its fate; it comes back where that is to be served at once.
    fn meet(&self, read: Read<T>) -> Option<Read<T>> {
        let submitted = Instant::now();
        let Fate { delay, outcome } = self.faults.fate(&read.buf.path, self.count_attempt(&read.buf.path));
        if !delay.is_zero() {
            let delayed = Delayed { due: submitted + delay, submitted, outcome, read };
            assert!(self.delayed.send(delayed).is_ok(), "the delay thread outlives the engine that feeds it");
            return None;
        }
        if let Outcome::Served = outcome {
            return Some(read);
        }
        self.shell.carry_out(outcome, read, submitted);
        None
    }

    fn count_attempt(&self, path: &[u8]) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attempts.entry(path.to_vec()).or_insert(0);
        *count += 1;
        *count
    }
}

impl<T: Send + 'static> Engine<T> for FaultyEngine<T> {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn submit(&self, read: Read<T>) {
        if let Some(read) = self.meet(read) {
            self.shell.inner.submit(read);
        }
    }

    fn submit_near(&self, reads: Vec<Read<T>>) {
        let served: Vec<_> = reads.into_iter().filter_map(|read| self.meet(read)).collect();
        if !served.is_empty() {
            self.shell.inner.submit_near(served);
        }
    }

    fn tend(&self) {
        self.shell.inner.tend();
    }

    fn hanging(&self) -> usize {
        self.shell.inner.hanging()
    }
}

impl<T: Send> Shell<T> {
    fn carry_out(&self, outcome: Outcome, read: Read<T>, submitted: Instant) {
        let path = || read.root.display(&read.buf.path);
        let system = |action, errno: Errno| StorageError::Io { action, path: path(), source: errno.into() };
        let error = match outcome {
            Outcome::Served => return self.inner.submit(read),
            Outcome::IoError => system("read", Errno::IO),
            Outcome::Missing => system("open", Errno::NOENT),
            Outcome::Short => StorageError::Resized { path: path(), was_bytes: 1, now_bytes: 0 },
            Outcome::Changed => StorageError::Rewritten { path: path() },
        };
        self.fail(error, read, submitted);
    }

    fn fail(&self, error: StorageError, mut read: Read<T>, submitted: Instant) {
        read.buf.bytes.clear();
        let came_back = Instant::now();
        let (queue_wait, read_time) = (came_back - submitted, Duration::ZERO);
        let result = Err(error);
        let _ = self.done.send(Done { read, result, queue_wait, read_time, came_back, together: 1 });
    }
}

/// Holds reads until they are due; when the engine goes, those still held come back at once.
fn hold_back<T: Send>(waiting: &flume::Receiver<Delayed<T>>, shell: &Shell<T>) {
    let mut held: BTreeMap<(Instant, u64), Delayed<T>> = BTreeMap::new();
    let mut arrivals = 0;
    loop {
        let next = match held.first_key_value() {
            Some((&(due, _), _)) => waiting.recv_deadline(due),
            None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(delayed) => {
                arrivals += 1;
                held.insert((delayed.due, arrivals), delayed);
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some((_, Delayed { outcome, read, submitted, .. })) = held.pop_first() {
                    shell.carry_out(outcome, read, submitted);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for Delayed { read, submitted, .. } in held.into_values() {
        shell.fail(StorageError::Shutdown { path: read.root.display(&read.buf.path) }, read, submitted);
    }
}

#[cfg(test)]
mod tests;
