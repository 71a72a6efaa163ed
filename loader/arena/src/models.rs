//! Loom models: every interleaving of the ownership logic, with a tracked cell in place of each sample's bytes.
//!
//! A cell panics where two threads touch it without one happening before the other, so "never two owners" and "the
//! seal sees every byte" are checked by touching: [`Bytes::write`] stands for a decoder, and [`Bytes::read`] for the
//! client that reads a leased slot.

use loom::{cell::UnsafeCell, model, thread};

use crate::{
    FillState,
    fill::{self, Owner, Ticket},
    slots::{Event, Hold, Pool},
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// The bytes of one sample. Loom's threads are one thread to the compiler, so no `Sync` is needed.
#[derive(Clone)]
struct Bytes(Arc<UnsafeCell<()>>);

impl Bytes {
    fn new() -> Self {
        Self(Arc::new(UnsafeCell::new(())))
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }

    fn read(&self) {
        self.0.with(|_| ());
    }
}

fn pool(slots: u32) -> Arc<Pool> {
    Pool::new(slots, Box::new(|_| ()))
}

fn take(pool: &Arc<Pool>) -> Hold {
    Pool::try_take(pool).expect("a slot is free")
}

fn started<const N: usize>(pool: &Arc<Pool>) -> (Owner, [Ticket; N]) {
    let (owner, tickets) = fill::start(take(pool), N as u32);
    let Ok(tickets) = tickets.collect::<Vec<_>>().try_into() else {
        unreachable!("N tickets were asked for")
    };
    (owner, tickets)
}

/// N threads write and commit. Whoever is told to be the last seals, as a woken owner does, and leases; then the
/// client reads everything.
fn last_commit_seals<const N: usize>() {
    let pool = pool(1);
    let bytes: [Bytes; N] = std::array::from_fn(|_| Bytes::new());
    let (owner, tickets) = started::<N>(&pool);
    let owner = Arc::new(Mutex::new(Some(owner)));
    let threads: Vec<_> = tickets
        .into_iter()
        .enumerate()
        .map(|(own, ticket)| {
            let (owner, bytes) = (Arc::clone(&owner), bytes.clone());
            thread::spawn(move || {
                bytes[own].write();
                let last = ticket.commit();
                if last {
                    let owner = owner.lock().unwrap().take().expect("one is the last");
                    let Ok(hold) = owner.seal() else { panic!("the last commit completes the batch") };
                    hold.lease();
                    bytes.iter().for_each(Bytes::read);
                }
                last
            })
        })
        .collect();
    let lasts = threads.into_iter().filter_map(|thread| thread.join().unwrap().then_some(())).count();
    assert_eq!(lasts, 1);
    assert_eq!((pool.free_slots(), pool.leased()), (0, 1));
    assert_eq!(pool.release(0, 1), Ok(()));
}

#[test]
fn of_two_commits_exactly_one_is_last_and_its_seal_sees_all_bytes() {
    model(last_commit_seals::<2>);
}

#[test]
fn of_three_commits_exactly_one_is_last_and_its_seal_sees_all_bytes() {
    let mut builder = model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(last_commit_seals::<3>);
}

#[test]
fn an_owner_that_polls_sees_complete_only_with_all_bytes() {
    model(|| {
        let pool = pool(1);
        let bytes = [Bytes::new(), Bytes::new()];
        let (mut owner, tickets) = started::<2>(&pool);
        for (ticket, own) in tickets.into_iter().zip(bytes.clone()) {
            thread::spawn(move || {
                own.write();
                ticket.commit();
            });
        }
        loop {
            match owner.seal() {
                Ok(hold) => break drop(hold),
                Err(unfinished) => owner = unfinished,
            }
            thread::yield_now();
        }
        bytes.iter().for_each(Bytes::read);
        assert_eq!(pool.free_slots(), 1);
    });
}

#[test]
fn an_owner_that_leaves_frees_the_slot_only_when_no_sample_writes() {
    model(|| {
        let pool = pool(1);
        let bytes = Bytes::new();
        let (owner, [ticket]) = started::<1>(&pool);
        let own = bytes.clone();
        let writer = thread::spawn(move || {
            own.write();
            ticket.commit();
        });
        drop(owner);
        if let Some(next) = Pool::try_take(&pool) {
            assert_eq!(next.generation(), 2);
            bytes.write();
        }
        writer.join().unwrap();
        assert_eq!(pool.free_slots(), 1);
    });
}

#[test]
fn an_owner_that_leaves_while_two_samples_end_differently_frees_the_slot_once() {
    model(|| {
        let pool = pool(1);
        let bytes = Bytes::new();
        let (owner, [first, second]) = started::<2>(&pool);
        let own = bytes.clone();
        let committer = thread::spawn(move || {
            own.write();
            first.commit();
        });
        let dropper = thread::spawn(move || drop(second));
        drop(owner);
        if let Some(_next) = Pool::try_take(&pool) {
            bytes.write();
        }
        committer.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(pool.free_slots(), 1, "never lost, never twice");
    });
}

#[test]
fn a_failed_sample_never_lets_the_batch_be_sealed() {
    model(|| {
        let pool = pool(1);
        let (owner, [good, bad]) = started::<2>(&pool);
        let dropper = thread::spawn(move || drop(bad));
        let committer = thread::spawn(move || good.commit());
        let Err(owner) = owner.seal() else { panic!("sealed a batch with a failed sample") };
        dropper.join().unwrap();
        committer.join().unwrap();
        assert_eq!(owner.state(), FillState::Failed);
        let Err(owner) = owner.seal() else { panic!("sealed a batch with a failed sample") };
        drop(owner);
        assert_eq!(pool.free_slots(), 1);
    });
}

#[test]
fn the_end_of_a_batch_is_told_after_it_can_be_seen() {
    model(|| {
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        let on_event = move |event| {
            if matches!(event, Event::FillFinished { .. }) {
                count.fetch_add(1, Ordering::Release);
            }
        };
        let pool = Pool::new(1, Box::new(on_event));
        let (owner, [first, second]) = started::<2>(&pool);
        let committer = thread::spawn(move || first.commit());
        let dropper = thread::spawn(move || drop(second));
        if woken.load(Ordering::Acquire) > 0 {
            assert_eq!(owner.state(), FillState::Failed);
        }
        committer.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(woken.load(Ordering::Acquire), 1, "told exactly once");
    });
}

#[test]
fn of_two_equal_releases_one_frees_the_slot_and_a_racing_take_owns_it_alone() {
    model(|| {
        let pool = pool(1);
        let bytes = Bytes::new();
        bytes.write();
        take(&pool).lease();
        let client = |pool: &Arc<Pool>| {
            let pool = Arc::clone(pool);
            thread::spawn(move || pool.release(0, 1).is_ok())
        };
        let releases = [client(&pool), client(&pool)];
        let taken = Pool::try_take(&pool);
        if let Some(taken) = &taken {
            assert_eq!(taken.generation(), 2);
            bytes.write();
        }
        let freed = releases.into_iter().filter_map(|release| release.join().unwrap().then_some(())).count();
        assert_eq!(freed, 1);
        assert_eq!(pool.free_slots(), u32::from(taken.is_none()));
    });
}

#[test]
fn two_takers_of_one_released_slot_never_both_have_it() {
    model(|| {
        let pool = pool(1);
        let bytes = Bytes::new();
        take(&pool).lease();
        let takers = [0, 1].map(|_| {
            let (pool, bytes) = (Arc::clone(&pool), bytes.clone());
            thread::spawn(move || {
                if let Some(_hold) = Pool::try_take(&pool) {
                    bytes.write();
                }
            })
        });
        pool.release(0, 1).unwrap();
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(pool.free_slots(), 1);
    });
}

#[test]
fn a_release_that_comes_too_early_or_too_late_never_frees_a_slot_that_is_written() {
    model(|| {
        let pool = pool(1);
        let bytes = Bytes::new();
        let client = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || [1, 1, 2].map(|generation| pool.release(0, generation).is_ok()))
        };
        let thief = {
            let (pool, bytes) = (Arc::clone(&pool), bytes.clone());
            thread::spawn(move || {
                if let Some(_hold) = Pool::try_take(&pool) {
                    bytes.write();
                }
            })
        };
        if let Some(hold) = Pool::try_take(&pool) {
            bytes.write();
            hold.lease();
        }
        client.join().unwrap();
        thief.join().unwrap();
        assert_eq!(pool.free_slots() + pool.leased(), 1);
    });
}
