//! Samples that are only copied are made by the thread that read them, and those in memory are read straight to their place.
//!
//! Another thread would first have to be woken, for longer than the copy takes, and would fetch the bytes out of another
//! processor's cache.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::make::Bench;
use super::{Pool, Task, Ticket};
use crate::job::FieldMaker;
use crate::storage::{Desk, Done, Read};

thread_local! {
    /// Of a storage thread. It decodes nothing, so it stays small.
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

/// Has the engine's threads ask the pool.
pub(super) fn start(pool: &Arc<Pool>) {
    pool.engine.serve(Arc::new(Front(Arc::downgrade(pool))));
}

/// The pool, for as long as it is there: it owns the engine.
struct Front(Weak<Pool>);

impl Front {
    /// Lends the task of a read that is only copied, if it is nobody else's.
    fn lend(&self, read: &Read<Ticket>, with: impl FnOnce(&mut Task) -> bool) -> bool {
        let Ticket { place, is_copy, .. } = read.tag;
        let Some(pool) = self.0.upgrade().filter(|_| is_copy) else { return false };
        let Some(mut task) = pool.flights.borrow(place) else { return false };
        let answer = with(&mut task);
        pool.flights.bring_back(place, task);
        answer
    }
}

impl Desk<Ticket> for Front {
    fn in_place(&self, read: &Read<Ticket>, len_bytes: u64, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.lend(read, |task| {
            task.landing(len_bytes).is_some_and(|(target, rest)| {
                let filled = fill(target);
                if filled {
                    rest.fill(0);
                }
                filled
            })
        })
    }

    fn in_place_whole(&self, read: &Read<Ticket>, fill: &mut dyn FnMut(&mut [u8]) -> Option<usize>) -> bool {
        self.lend(read, |task| {
            let Some(place) = task.place() else { return false };
            let filled = fill(place);
            filled.into_iter().for_each(|bytes| place[bytes..].fill(0));
            filled.is_some()
        })
    }

    fn has_place(&self, read: &Read<Ticket>, len_bytes: u64) -> bool {
        self.lend(read, |task| task.landing(len_bytes).is_some())
    }

    fn finish(&self, done: Done<Ticket>) -> Option<Done<Ticket>> {
        if !done.read.tag.is_copy || done.result.is_err() {
            return Some(done);
        }
        let Some(pool) = self.0.upgrade() else { return Some(done) };
        let taken = done.came_back;
        BENCH.with_borrow_mut(|bench| {
            bench.get_or_insert_with(|| Bench::new(&pool.options)).take(&pool, done, pool.options, taken);
        });
        None
    }
}

impl Task {
    /// Where the only bytes that are read for it end up.
    fn place(&mut self) -> Option<&mut [u8]> {
        let job = &self.work.job;
        let field = job.fields.iter().position(|field| field.maker(self.pick.source).reads_a_row() > 0)?;
        let is_raw = matches!(job.fields[field].maker(self.pick.source), FieldMaker::Raw { .. });
        (is_raw && job.reads_a_row() == 1).then(|| self.sample.part_mut(field))
    }

    /// Where `len_bytes` of them do, and what lies behind them in their row.
    fn landing(&mut self, len_bytes: u64) -> Option<(&mut [u8], &mut [u8])> {
        // None of no bytes: what went to its place is told by its length.
        let len = usize::try_from(len_bytes).ok().filter(|len| *len > 0)?;
        self.place()?.split_at_mut_checked(len)
    }
}
