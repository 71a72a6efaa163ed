//! The sums of one session, written by many threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_proto::v1;

use super::history::History;
use crate::losses::Replaced;
use crate::metrics::FeedWait;

/// Lines of the ledger that are kept for people; all are counted.
const LEDGER_LINES: usize = 100;
/// Lines that wait to be saved; more between two saves are a broken data set.
const UNSAVED_LINES: usize = 10_000;

/// The sums of one session. Microseconds are summed over reads and samples, so they may exceed the clock's.
#[derive(Default)]
#[allow(missing_docs, reason = "each is the field of the same name of `SessionStats`, service.proto")]
pub struct Counters {
    pub batches: AtomicU64,
    pub rows: AtomicU64,
    pub batch_bytes: AtomicU64,
    pub read_bytes: AtomicU64,
    pub reads: AtomicU64,
    pub read_us: AtomicU64,
    pub decode_us: AtomicU64,
    pub slot_wait_us: AtomicU64,
    pub idle_us: AtomicU64,
    pub retries: AtomicU64,
    pub hedged: AtomicU64,
    pub hedges_won: AtomicU64,
    pub reads_lost: AtomicU64,
    pub substituted: AtomicU64,
    pub masked: AtomicU64,
    pub epoch: AtomicU64,
    pub position: AtomicU64,
    pub leased: AtomicU64,
    pub feed_wait_us: AtomicU64,
    pub feed_wait_storage_us: AtomicU64,
    pub feed_wait_compute_us: AtomicU64,
    pub feed_wait_slot_us: AtomicU64,
    /// The newest steps, for `explain`.
    pub history: History,
    /// The rows of the job that met corrupt samples.
    pub replaced: Arc<Replaced>,
    ledger: Mutex<VecDeque<v1::BadSample>>,
    keeps_bad: AtomicBool,
    unsaved: Mutex<Vec<v1::BadSample>>,
}

impl Counters {
    /// Sums at zero; corrupt rows are noted in `replaced`, which all sessions of the job share.
    pub fn over(replaced: Arc<Replaced>) -> Self {
        Self { replaced, ..Self::default() }
    }

    /// Has lines of the ledger kept until [`Counters::take_unsaved`].
    pub fn keep_bad(&self) {
        self.keeps_bad.store(true, Ordering::Relaxed);
    }

    /// The lines that nobody has saved yet, oldest first.
    pub fn take_unsaved(&self) -> Vec<v1::BadSample> {
        std::mem::take(&mut *self.unsaved.lock().expect("no thread panics with the lock"))
    }

    /// Adds a line to the ledger; the oldest goes when it is long.
    pub fn note_bad(&self, line: v1::BadSample) {
        if self.keeps_bad.load(Ordering::Relaxed) {
            let mut unsaved = self.unsaved.lock().expect("no thread panics with the lock");
            if unsaved.len() < UNSAVED_LINES {
                unsaved.push(line.clone());
            }
        }
        let mut ledger = self.ledger.lock().expect("no thread panics with the lock");
        if ledger.len() == LEDGER_LINES {
            ledger.pop_front();
        }
        ledger.push_back(line);
    }

    /// The newest lines of the ledger, oldest first.
    pub fn bad_samples(&self) -> Vec<v1::BadSample> {
        self.ledger.lock().expect("no thread panics with the lock").iter().cloned().collect()
    }

    /// Adds what the consumer waited for a batch, and what for.
    pub fn add_wait(&self, wait: &FeedWait) {
        let micros = |time: Duration| time.as_micros() as u64;
        add(&self.feed_wait_us, micros(wait.whole()));
        add(&self.feed_wait_storage_us, micros(wait.storage));
        add(&self.feed_wait_compute_us, micros(wait.compute));
        add(&self.feed_wait_slot_us, micros(wait.slot));
    }

    /// The sums as they are now.
    pub fn to_proto(&self) -> v1::SessionStats {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        v1::SessionStats {
            cursor: Some(v1::Cursor { epoch: get(&self.epoch), position: get(&self.position) }),
            batches: get(&self.batches),
            rows: get(&self.rows),
            batch_bytes: get(&self.batch_bytes),
            read_bytes: get(&self.read_bytes),
            reads: get(&self.reads),
            read_us: get(&self.read_us),
            decode_us: get(&self.decode_us),
            slot_wait_us: get(&self.slot_wait_us),
            idle_us: get(&self.idle_us),
            retries: get(&self.retries),
            hedged: get(&self.hedged),
            hedges_won: get(&self.hedges_won),
            reads_lost: get(&self.reads_lost),
            substituted: get(&self.substituted),
            masked: get(&self.masked),
            feed_wait_us: get(&self.feed_wait_us),
            feed_wait_storage_us: get(&self.feed_wait_storage_us),
            feed_wait_compute_us: get(&self.feed_wait_compute_us),
            feed_wait_slot_us: get(&self.feed_wait_slot_us),
            bad_samples: self.bad_samples(),
            ..Default::default()
        }
    }
}

/// Adds to one of the sums.
pub fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}
