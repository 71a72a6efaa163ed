//! How a batch comes together: many tickets, one owner, and the hold on the slot that outlives them all.
//!
//! The hold lies in the memory that owner and tickets share. While any of them is alive it cannot be dropped, so a
//! slot whose owner has gone away becomes free when, and only when, its last writer has stopped. The owner takes the
//! hold out once every ticket is committed; tickets that are then still on their way out find nothing to drop.

use crate::slots::{Event, Hold, Pool};
use crate::sync::{Arc, AtomicBool, AtomicU32, Mutex, Ordering};

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillState {
    /// Samples are still out, and none has failed.
    Filling {
        /// How many.
        left: u32,
    },
    /// Every sample was committed.
    Complete,
    /// A sample was dropped or failed. Told as soon as it is known, even while others are still writing.
    Failed,
}

/// What owner and tickets share.
struct Fill {
    hold: Mutex<Option<Hold>>,
    /// Tickets that have not finished. Its last decrement orders every sample's bytes before the seal.
    left: AtomicU32,
    failed: AtomicBool,
    pool: Arc<Pool>,
    finished: Event,
}

/// The one who may seal the batch.
pub(crate) struct Owner(Arc<Fill>);

/// The right to finish one sample, once.
pub(crate) struct Ticket {
    fill: Arc<Fill>,
    open: bool,
}

/// Divides a hold into an owner and `samples` tickets.
pub(crate) fn start(hold: Hold, samples: u32) -> (Owner, impl Iterator<Item = Ticket>) {
    let fill = Arc::new(Fill {
        left: AtomicU32::new(samples),
        failed: AtomicBool::new(false),
        pool: Arc::clone(hold.pool()),
        finished: Event::FillFinished { slot: hold.index(), generation: hold.generation() },
        hold: Mutex::new(Some(hold)),
    });
    let owner = Owner(Arc::clone(&fill));
    (owner, (0..samples).map(move |_| Ticket { fill: Arc::clone(&fill), open: true }))
}

impl Owner {
    pub(crate) fn state(&self) -> FillState {
        // Acquire pairs with the release of every ticket's decrement, each of which is a read-modify-write and so
        // part of one release sequence: who reads zero sees all their bytes.
        let left = self.0.left.load(Ordering::Acquire);
        if self.0.failed.load(Ordering::Acquire) {
            FillState::Failed
        } else if left > 0 {
            FillState::Filling { left }
        } else {
            FillState::Complete
        }
    }

    /// The hold back, now that nobody else writes; the owner itself where the batch is not complete.
    pub(crate) fn seal(self) -> Result<Hold, Self> {
        if self.state() != FillState::Complete {
            return Err(self);
        }
        let hold = self.0.hold.lock().expect("nothing panics while it holds the hold").take();
        Ok(hold.expect("only the one owner takes the hold, and sealing consumes the owner"))
    }
}

impl Ticket {
    /// Marks the sample as written. True for the ticket that finished last.
    pub(crate) fn commit(mut self) -> bool {
        self.finish()
    }

    /// Marks the batch as failed. True for the ticket that finished last.
    pub(crate) fn fail(mut self) -> bool {
        self.fill.failed.store(true, Ordering::Release);
        self.finish()
    }

    fn finish(&mut self) -> bool {
        self.open = false;
        let last = self.fill.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.fill.pool.tell(self.fill.finished);
        }
        last
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.fill.failed.store(true, Ordering::Release);
            self.finish();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn started(samples: u32) -> (Arc<Pool>, Owner, Vec<Ticket>) {
        let pool = Pool::new(1, Box::new(|_| ()));
        let (owner, tickets) = start(Pool::try_take(&pool).unwrap(), samples);
        let tickets = tickets.collect();
        (pool, owner, tickets)
    }

    #[test]
    fn the_last_commit_completes_the_batch() {
        let (_pool, owner, mut tickets) = started(2);
        assert!(!tickets.pop().unwrap().commit());
        assert_eq!(owner.state(), FillState::Filling { left: 1 });
        let Err(owner) = owner.seal() else { panic!("sealed a batch with a sample out") };
        assert!(tickets.pop().unwrap().commit());
        assert_eq!(owner.state(), FillState::Complete);
        assert!(owner.seal().is_ok());
    }

    #[test]
    fn a_dropped_or_failed_sample_fails_the_batch_at_once() {
        for lose in [drop, |ticket: Ticket| assert!(!ticket.fail())] {
            let (_pool, owner, mut tickets) = started(2);
            lose(tickets.pop().unwrap());
            assert_eq!(owner.state(), FillState::Failed);
            assert!(
                tickets.pop().unwrap().commit(),
                "the last to finish is told, also in a batch that failed"
            );
            assert!(owner.seal().is_err());
        }
    }

    #[test]
    fn a_slot_whose_owner_left_is_free_when_the_last_sample_is_gone() {
        let (pool, owner, mut tickets) = started(2);
        drop(owner);
        tickets.pop().unwrap().commit();
        assert_eq!(pool.free_slots(), 0);
        drop(tickets);
        assert_eq!(pool.free_slots(), 1);
    }

    #[test]
    fn the_end_of_a_batch_is_told_once_also_when_it_ends_in_a_drop() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let pool = Pool::new(1, Box::new(move |event| log.lock().unwrap().push(event)));
        let (owner, tickets) = start(Pool::try_take(&pool).unwrap(), 3);
        tickets.for_each(drop);
        drop(owner);
        let expected = [Event::FillFinished { slot: 0, generation: 1 }, Event::SlotFreed { slot: 0 }];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
