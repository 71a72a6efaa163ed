//! Looks after reads that are out for long: a second one for the slow, and an end for those that never come back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::flights::Place;
use super::make::give_up;
use super::{Pool, Task, Ticket};
use crate::error::{Fault, Kind};
use crate::metrics;
use crate::session::counters::add;
use crate::storage::{Read, ReadBuf, StorageError};

/// How often it looks where nothing is hedged.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// How often it looks, in parts of the time after which a read is hedged.
const LOOKS_A_HEDGE: u32 = 2;
/// One in so many reads in flight may be a second one: what is slow because the storage is busy gets no busier.
const READS_A_HEDGE: u32 = 20;
/// Reads before a session's own times say what is slow.
const READS_JUDGED: u64 = 64;

/// Looks again and again, until the pool is gone.
pub(super) fn start(pool: &Arc<Pool>) {
    let every = pool.options.hedge_after.least().map_or(LOOKS_EVERY, |least| least / LOOKS_A_HEDGE);
    let every = every.clamp(Duration::from_millis(1), LOOKS_EVERY);
    let weak = Arc::downgrade(pool);
    pool.timer.spawn(look_after(weak, every));
}

async fn look_after(pool: Weak<Pool>, every: Duration) {
    let mut tended = Instant::now();
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { break };
        let now = Instant::now();
        pool.hedge(now);
        if now - tended >= LOOKS_EVERY {
            tended = now;
            pool.engine.tend();
            pool.give_up_lost(now);
        }
    }
}

impl Pool {
    /// Starts second reads for those that are slow.
    fn hedge(&self, now: Instant) {
        let Some(least) = self.options.hedge_after.least() else { return };
        let seconds = self.flights.race(now, least, |task, age, place| self.second(task, age, place));
        for read in seconds {
            self.engine.submit(read);
        }
    }

    /// A second read of what a task waits for, where it has waited too long and the budget has room.
    fn second(&self, task: &Task, age: Duration, place: Place) -> Option<Read<Ticket>> {
        let (in_flight, _) = self.gate.in_flight();
        if task.work.is_cancelled()
            || self.hedges.load(Ordering::Relaxed) >= (in_flight / READS_A_HEDGE).max(1)
        {
            return None;
        }
        let is_remote = task.work.job.snapshot(task.pick.source).root().is_some_and(|root| root.is_remote());
        let trips = &task.work.counters.history.trips;
        let p95 = || (trips.count() >= READS_JUDGED).then(|| Duration::from_micros(trips.quantile_us(0.95)));
        self.options.hedge_after.of(is_remote, p95).filter(|after| age >= *after)?;
        let extra = self.gate.twice(&task.reserved)?;
        self.hedges.fetch_add(1, Ordering::Relaxed);
        add(&task.work.counters.hedged, 1);
        metrics::read_hedged();
        let read = self.request(task, self.buffers.take());
        Some(read.tagged(Ticket {
            place,
            is_copy: task.is_copy(),
            home: task.work.home,
            extra: Some(Box::new(extra)),
        }))
    }

    /// Fails the sessions of reads that have had no answer for too long.
    fn give_up_lost(&self, now: Instant) {
        let waited = self.options.patience;
        for task in self.flights.give_up(now, waited) {
            metrics::read_lost();
            add(&task.work.counters.reads_lost, 1);
            if task.work.is_cancelled() {
                let Task { reserved, files, .. } = task;
                self.end(reserved, ReadBuf::default(), files);
                continue;
            }
            let Read { root, buf, .. } = self.request(&task, ReadBuf::default());
            let error = StorageError::NoAnswer { path: root.display(&buf.path), waited };
            let key = task.work.job.key(task.pick);
            let fault = Fault::from_error(Kind::Unavailable, &error)
                .context(format!("read sample {key}"))
                .object(key)
                .hint("the storage holds the read and says nothing, as the mount of a dead server does: look at it, then resume");
            task.work.lose();
            give_up(self, task, ReadBuf::default(), fault);
        }
    }
}
