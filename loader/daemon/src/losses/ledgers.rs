//! All ledgers of a daemon: found by job, kept inside a budget of memory, written where there is a folder.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_plan::Digest;
use tokio::sync::Notify;

use super::book::BookSource;
use super::ledger::PAGE_BYTES;
use super::{BatchLosses, Book, Ledger, LedgerStore, Noted, Replaced};
use crate::error::{Fault, Kind};
use crate::job::Job;

/// Ledgers that are kept, however small.
const LEDGERS_MAX: usize = 256;
/// Jobs whose corrupt rows are remembered.
const JOBS_KEPT: usize = 32;

/// A job's order and content.
type Digests = (Digest, Digest);

/// Whose ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerName {
    /// The user; none on a private daemon, which has one.
    pub owner_uid: Option<u32>,
    /// The run.
    pub job_id: String,
    /// Names order and content.
    pub digests: Digests,
}

/// How ledgers are kept.
#[derive(Debug)]
pub struct LedgerOptions {
    /// All of them together.
    pub bytes_max: u64,
    /// Where they are written; none: they end with the daemon.
    pub store: Option<LedgerStore>,
}

/// The ledgers of a daemon.
pub struct Ledgers {
    options: LedgerOptions,
    /// Those that were reported to last stand last.
    kept: Mutex<VecDeque<Kept>>,
    replaced: Mutex<VecDeque<(Digests, Arc<Replaced>)>>,
    made: AtomicU64,
    /// Held while a ledger is written: two writers of one file would spoil it, and who ends the daemon waits for the first.
    writing: Mutex<()>,
    has_warned: AtomicBool,
    asked: Notify,
}

#[derive(Clone)]
struct Kept {
    name: LedgerName,
    number: u64,
    ledger: Arc<Mutex<Ledger>>,
    bytes: Arc<AtomicU64>,
}

impl Ledgers {
    /// None yet.
    pub fn new(options: LedgerOptions) -> Self {
        Self {
            options,
            kept: Mutex::default(),
            replaced: Mutex::default(),
            made: AtomicU64::new(0),
            writing: Mutex::default(),
            has_warned: AtomicBool::new(false),
            asked: Notify::new(),
        }
    }

    /// The rows of a job that met corrupt samples, shared by all sessions and reports of it.
    pub fn replaced(&self, digests: Digests) -> Arc<Replaced> {
        let mut all = lock(&self.replaced);
        if let Some(found) = all.iter().position(|(of, _)| *of == digests) {
            return Arc::clone(&all[found].1);
        }
        if all.len() == JOBS_KEPT {
            all.pop_front();
        }
        let replaced = Arc::new(Replaced::default());
        all.push_back((digests, Arc::clone(&replaced)));
        replaced
    }

    /// The job of a ledger that there is.
    pub fn job(&self, name: &LedgerName) -> Option<Arc<Job>> {
        let kept = lock(&self.kept);
        let found = kept.iter().find(|kept| kept.name == *name)?;
        let ledger = Arc::clone(&found.ledger);
        drop(kept);
        let job = Arc::clone(lock(&ledger).job());
        Some(job)
    }

    /// Adds losses to the ledger of `name`, which is made of `job` where there is none. Blocks as long as that takes.
    ///
    /// # Errors
    /// As [`Ledger::note`]; the batches before the one at fault are noted.
    pub fn note(
        &self,
        name: &LedgerName,
        job: &Arc<Job>,
        batches: &[BatchLosses<'_>],
    ) -> Result<Noted, Fault> {
        let (kept, others_bytes) = self.newest(name, job);
        let replaced = self.replaced(name.digests);
        let mut ledger = lock(&kept.ledger);
        let mut room_bytes = self.options.bytes_max.saturating_sub(others_bytes + ledger.bytes());
        let mut sum = Noted::default();
        let mut add = |noted: Noted| {
            sum.noted += noted.noted;
            sum.left_out += noted.left_out;
            sum.unkept += noted.unkept;
            sum.nan += noted.nan;
        };
        let done =
            batches.iter().try_for_each(|batch| ledger.note(batch, &replaced, &mut room_bytes).map(&mut add));
        kept.bytes.store(ledger.bytes(), Ordering::Relaxed);
        drop(ledger);
        if sum.unkept > 0 {
            self.make_room(&kept);
        }
        done.map(|()| sum)
    }

    /// The ledger of a name, moved to the end; and what the others take.
    fn newest(&self, name: &LedgerName, job: &Arc<Job>) -> (Kept, u64) {
        let mut all = lock(&self.kept);
        let found = all.iter().position(|kept| kept.name == *name).and_then(|at| all.remove(at));
        let kept = found.unwrap_or_else(|| {
            let ledger = Ledger::new(Arc::clone(job));
            Kept {
                name: name.clone(),
                number: self.made.fetch_add(1, Ordering::Relaxed),
                bytes: Arc::new(AtomicU64::new(ledger.bytes())),
                ledger: Arc::new(Mutex::new(ledger)),
            }
        });
        let over = if all.len() >= LEDGERS_MAX { all.pop_front() } else { None };
        let others_bytes = all.iter().map(|kept| kept.bytes.load(Ordering::Relaxed)).sum();
        all.push_back(kept.clone());
        drop(all);
        over.iter().for_each(|kept| self.give_up(kept));
        (kept, others_bytes)
    }

    /// Gives up the ledger that was reported to the longest ago, if it isn't the one that needs the room.
    fn make_room(&self, needs: &Kept) {
        let mut all = lock(&self.kept);
        let oldest = all
            .iter()
            .position(|kept| kept.number != needs.number && kept.bytes.load(Ordering::Relaxed) >= PAGE_BYTES);
        let oldest = oldest.and_then(|at| all.remove(at));
        drop(all);
        if let Some(kept) = oldest {
            self.give_up(&kept);
        } else if !self.has_warned.swap(true, Ordering::Relaxed) {
            let (job, budget_bytes) = (needs.name.job_id.as_str(), self.options.bytes_max);
            tracing::warn!(
                job,
                budget_bytes,
                "the loss ledger has no room for more samples: raise ledger_memory"
            );
        }
    }

    fn give_up(&self, kept: &Kept) {
        self.save(kept);
        let (job, is_stored) = (kept.name.job_id.as_str(), self.options.store.is_some());
        tracing::info!(job, is_stored, "a loss ledger makes room for another job's");
    }

    /// Wakes whoever waits in [`Self::asked`]: somebody wants the ledgers written now.
    pub fn ask_to_save(&self) {
        self.asked.notify_one();
    }

    /// Waits until somebody wants the ledgers written.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Whether they are written anywhere.
    pub fn are_stored(&self) -> bool {
        self.options.store.is_some()
    }

    /// Writes every ledger that has news. What could not be written is logged and tried again the next time.
    pub fn save_all(&self) {
        let all: Vec<_> = lock(&self.kept).iter().cloned().collect();
        all.iter().for_each(|kept| self.save(kept));
    }

    fn save(&self, kept: &Kept) {
        let Some(store) = &self.options.store else { return };
        let _turn = lock(&self.writing);
        let unsaved = lock(&kept.ledger).take_unsaved();
        if unsaved == 0 {
            return;
        }
        let Kept { name, number, .. } = kept;
        if let Err(fault) = store.write(name, *number, &kept.ledger) {
            lock(&kept.ledger).not_saved(unsaved);
            tracing::warn!(job = %name.job_id, error = fault.line(), "a loss ledger could not be written");
        }
    }

    /// What the ledgers of a run say together, as far as `may_see` them; and the job that keys of entries without one are
    /// looked up in.
    ///
    /// # Errors
    /// NotFound: there is none. Invalid: there are several runs, and none is named.
    pub fn book(
        &self,
        job_id: &str,
        may_see: impl Fn(&LedgerName) -> bool,
    ) -> Result<(Book, Arc<Job>), Fault> {
        let all: Vec<_> = lock(&self.kept).iter().rev().filter(|kept| may_see(&kept.name)).cloned().collect();
        let job_id = only_job(job_id, all.iter().map(|kept| kept.name.job_id.as_str()))?;
        let of_job: Vec<_> = all.iter().filter(|kept| kept.name.job_id == job_id).collect();
        let with_keys = of_job.len() > 1;
        let books = of_job.iter().map(|kept| Ok(book_of(&lock(&kept.ledger), &job_id, with_keys)));
        let book = Book::sum(books)?.expect("a job that was found has a ledger");
        let job = Arc::clone(lock(&of_job[0].ledger).job());
        Ok((book, job))
    }
}

/// The run that is meant: the one that is named, else the only one there is.
///
/// # Errors
/// NotFound: there is none. Invalid: there are several, and none is named.
pub(super) fn only_job<'a>(job_id: &str, known: impl Iterator<Item = &'a str>) -> Result<String, Fault> {
    let mut names: Vec<_> = known.collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => Err(Fault::new(Kind::NotFound, "no losses were reported")
            .hint("call loader.report(losses) in training")),
        [one] if job_id.is_empty() => Ok((*one).to_owned()),
        _ if names.contains(&job_id) => Ok(job_id.to_owned()),
        _ => {
            let listed = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > 20 { ", ..." } else { "" };
            Err(if job_id.is_empty() {
                Fault::invalid(format!("{} jobs have losses: {listed}{more}", names.len()))
                    .hint("name one with --job")
            } else {
                Fault::new(Kind::NotFound, format!("job {job_id:?} has no losses; there are {listed}{more}"))
            })
        }
    }
}

/// What one ledger says. The steps name their samples in any case.
fn book_of(ledger: &Ledger, job_id: &str, with_keys: bool) -> Book {
    let mut entries = ledger.entries();
    if with_keys {
        for entry in &mut entries {
            let sample = entry.sample.expect("a ledger's entries have their numbers");
            entry.key = Some(ledger.key(entry.source, sample).into());
        }
    }
    Book {
        job_id: job_id.to_owned(),
        ledgers: 1,
        sources: sources_of(ledger.job()),
        entries,
        steps: ledger.named_steps(),
    }
}

/// The sources of a job, for a book.
pub(super) fn sources_of(job: &Job) -> Vec<BookSource> {
    let source = |source: &crate::job::JobSource| BookSource {
        name: source.name.clone(),
        samples: source.snapshot.len(),
        snapshot: Digest::from_bytes(source.snapshot.id()).to_string(),
    };
    job.sources.iter().map(source).collect()
}

/// A ledger whose writer panicked is as good as before: each sample is changed at once.
pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
