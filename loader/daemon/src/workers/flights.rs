//! Reads that are out: whom each is for, so that a second one may race the first and one that never comes back is given up.
//!
//! An engine is told a [`Place`] and keeps it as long as it likes. The task stays here, and goes to whichever of its reads
//! comes back first.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Many threads submit and receive at once; each takes one of so many locks.
const SHARDS: usize = 16;

/// Where a task stands whose read is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    shard: u8,
    slot: u32,
    /// Whether it is the second read of the same bytes.
    is_second: bool,
}

/// Tasks whose reads are out.
pub(super) struct Flights<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    turn: AtomicUsize,
}

struct Shard<T> {
    flights: Vec<Flight<T>>,
    free: Vec<u32>,
}

struct Flight<T> {
    /// Gone when a read has come back for it, or it was given up.
    task: Option<T>,
    since: Instant,
    /// Reads that have not come back.
    out: u8,
    has_second: bool,
}

/// Who gets what came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<T> {
    /// The task, by the read of which it was waiting for. `won`: by the second, while the first is still out.
    For { task: T, won: bool },
    /// Nobody yet: this one failed, and the other read of the same bytes decides.
    TheOther,
    /// Nobody any more.
    Late,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(Shard { flights: Vec::new(), free: Vec::new() }));
        Self { shards, turn: AtomicUsize::new(0) }
    }
}

impl<T> Flights<T> {
    /// Keeps a task whose read goes out now.
    pub(super) fn depart(&self, task: T, now: Instant) -> Place {
        let number = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let flight = Flight { task: Some(task), since: now, out: 1, has_second: false };
        let mut shard = self.lock(number);
        let slot = if let Some(slot) = shard.free.pop() {
            shard.flights[slot as usize] = flight;
            slot
        } else {
            shard.flights.push(flight);
            shard.flights.len() as u32 - 1
        };
        Place { shard: number as u8, slot, is_second: false }
    }

    /// Takes the task of a first read that is out, to give it [back](Self::bring_back) in a moment: nobody else may wait for
    /// what is done with it.
    pub(super) fn borrow(&self, place: Place) -> Option<T> {
        let flight = &mut self.lock(place.shard.into()).flights[place.slot as usize];
        flight.task.take_if(|_| !place.is_second && !flight.has_second)
    }

    /// Gives a task back that was borrowed; its read is still out.
    pub(super) fn bring_back(&self, place: Place, task: T) {
        self.lock(place.shard.into()).flights[place.slot as usize].task = Some(task);
    }

    /// A read has come back.
    pub(super) fn arrive(&self, place: Place, is_ok: bool) -> Arrival<T> {
        let mut shard = self.lock(place.shard.into());
        let flight = &mut shard.flights[place.slot as usize];
        flight.out -= 1;
        let is_over = flight.out == 0;
        let arrival = if flight.task.is_some() && !is_ok && !is_over {
            Arrival::TheOther
        } else if let Some(task) = flight.task.take() {
            Arrival::For { task, won: place.is_second && !is_over }
        } else {
            Arrival::Late
        };
        if is_over {
            shard.free.push(place.slot);
        }
        arrival
    }

    /// Has a second read go out for each task whose first went out before and for which `make` makes one of its place.
    pub(super) fn race<R>(
        &self,
        now: Instant,
        before: Duration,
        mut make: impl FnMut(&T, Duration, Place) -> Option<R>,
    ) -> Vec<R> {
        let mut made = Vec::new();
        for number in 0..SHARDS {
            let mut shard = self.lock(number);
            for (slot, flight) in shard.flights.iter_mut().enumerate() {
                let age = now.saturating_duration_since(flight.since);
                let Some(task) = flight.task.as_ref().filter(|_| !flight.has_second && age >= before) else {
                    continue;
                };
                let place = Place { shard: number as u8, slot: slot as u32, is_second: true };
                if let Some(read) = make(task, age, place) {
                    (flight.has_second, flight.out) = (true, flight.out + 1);
                    made.push(read);
                }
            }
        }
        made
    }

    /// Takes the tasks whose first read went out before; what comes back for them after all is late.
    pub(super) fn give_up(&self, now: Instant, before: Duration) -> Vec<T> {
        let mut given_up = Vec::new();
        for number in 0..SHARDS {
            for flight in &mut self.lock(number).flights {
                if now.saturating_duration_since(flight.since) >= before {
                    given_up.extend(flight.task.take());
                }
            }
        }
        given_up
    }

    /// Reads that are out and for nobody: those of tasks that were given up, and those that lost a race.
    #[cfg(test)]
    fn orphans(&self) -> u64 {
        let of = |flight: &Flight<T>| if flight.task.is_none() { u64::from(flight.out) } else { 0 };
        (0..SHARDS).map(|number| self.lock(number).flights.iter().map(of).sum::<u64>()).sum()
    }

    fn lock(&self, shard: usize) -> std::sync::MutexGuard<'_, Shard<T>> {
        self.shards[shard].lock().expect("no thread panics with the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn first<T>(task: T) -> Arrival<T> {
        Arrival::For { task, won: false }
    }

    /// A flight whose second read is out, too.
    fn raced(flights: &Flights<&'static str>) -> (Place, Place) {
        let now = Instant::now();
        let one = flights.depart("task", now);
        let mut others = flights.race(now + 10 * MS, 10 * MS, |_, _, place| Some(place));
        let other = others.pop().expect("it is overdue");
        assert!(others.is_empty() && one != other);
        (one, other)
    }

    #[test]
    fn a_task_comes_back_with_its_read_whole_or_failed_and_its_place_is_used_again() {
        let flights = Flights::default();
        for is_ok in [true, false, true] {
            let places: Vec<_> = (0..100).map(|task| (task, flights.depart(task, Instant::now()))).collect();
            for (task, place) in places {
                assert_eq!(flights.arrive(place, is_ok), first(task));
            }
        }
        let places: usize = (0..SHARDS).map(|shard| flights.lock(shard).flights.len()).sum();
        assert!((100..=100 + SHARDS).contains(&places), "{places} for a hundred at a time");
    }

    #[test]
    fn of_two_reads_the_first_to_come_back_whole_has_the_task_and_the_other_is_late() {
        let flights = Flights::default();
        let (one, other) = raced(&flights);
        assert_eq!(flights.arrive(other, true), Arrival::For { task: "task", won: true });
        assert_eq!(flights.orphans(), 1);
        assert_eq!((flights.arrive(one, true), flights.orphans()), (Arrival::Late, 0));
        let (one, other) = raced(&flights);
        assert_eq!((flights.arrive(one, true), flights.arrive(other, false)), (first("task"), Arrival::Late));
    }

    #[test]
    fn where_one_of_two_fails_the_other_decides() {
        let flights = Flights::default();
        for second_ok in [true, false] {
            let (one, other) = raced(&flights);
            assert_eq!(flights.arrive(one, false), Arrival::TheOther);
            assert_eq!(flights.arrive(other, second_ok), first("task"));
        }
    }

    #[test]
    fn only_overdue_reads_are_raced_and_only_once() {
        let (flights, now) = (Flights::default(), Instant::now());
        flights.depart(1, now);
        flights.depart(2, now + 50 * MS);
        let race = |after: u32, wants: bool| {
            let make = |task: &i32, age, _| wants.then_some((*task, age));
            flights.race(now + after * MS, 20 * MS, make)
        };
        assert_eq!(race(19, true), []);
        assert_eq!(race(20, false), [], "where nobody wants a second one");
        assert_eq!(race(30, true), [(1, 30 * MS)]);
        assert_eq!(race(100, true), [(2, 50 * MS)]);
        assert_eq!(race(1000, true), []);
    }

    #[test]
    fn a_borrowed_task_is_neither_raced_nor_given_up_and_one_that_is_raced_is_not_lent() {
        let (flights, now) = (Flights::default(), Instant::now());
        let place = flights.depart("task", now);
        assert_eq!(flights.borrow(place), Some("task"));
        assert_eq!((flights.borrow(place), flights.give_up(now + MS, MS)), (None, vec![]));
        assert!(flights.race(now + MS, MS, |_, _, place| Some(place)).is_empty());
        flights.bring_back(place, "task");
        assert_eq!(flights.arrive(place, true), first("task"));
        let (one, other) = raced(&flights);
        assert_eq!((flights.borrow(one), flights.borrow(other)), (None, None));
    }

    #[test]
    fn what_was_given_up_is_nobodys_when_it_comes_back_after_all() {
        let flights = Flights::default();
        let now = Instant::now();
        let places = [(1, 50), (2, 0), (3, 80)].map(|(task, after)| flights.depart(task, now + after * MS));
        assert_eq!(flights.give_up(now + 40 * MS, 40 * MS), [2]);
        assert_eq!((flights.give_up(now + 40 * MS, 40 * MS), flights.orphans()), (vec![], 1));
        let arrivals = places.map(|place| flights.arrive(place, true));
        assert_eq!((arrivals, flights.orphans()), ([first(1), Arrival::Late, first(3)], 0));
    }
}
