//! Who owns which slot: the table of an arena, without its memory.
//!
//! The table is one mutex, taken a few times a batch and never a sample. A slot is free, held by exactly one [`Hold`]
//! in this process, or leased to the client; the hold is the proof that lets the rest of the crate write into the slot.

use std::fmt;

use crate::error::ReleaseError;
use crate::sync::{Arc, Mutex, MutexGuard};

/// Something that an arena's owner may be waiting for. Told by the thread that made it happen, with no lock held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The last sample of a batch was committed, failed or dropped: look at the `Filling`.
    FillFinished {
        /// The slot that was being filled.
        slot: u32,
        /// Its generation; the slot may have moved on since.
        generation: u64,
    },
    /// A slot became free, from wherever it was.
    SlotFreed {
        /// The slot.
        slot: u32,
    },
}

/// Who is told of events. Must not block, and must not own the arena (a cycle would keep the memory for ever).
pub(crate) type OnEvent = Box<dyn Fn(Event) + Send + Sync>;

/// The slots of one arena and where each of them is.
pub(crate) struct Pool {
    table: Mutex<Table>,
    on_event: OnEvent,
}

struct Table {
    slots: Vec<Slot>,
    /// Indices of the free slots. The one freed last is taken first: its pages are the likeliest to be in a cache.
    free: Vec<u32>,
    leased: u32,
}

struct Slot {
    /// How often this slot has been taken.
    generation: u64,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Held,
    Leased,
}

impl Pool {
    pub(crate) fn new(slots: u32, on_event: OnEvent) -> Arc<Self> {
        let table = Table {
            slots: (0..slots).map(|_| Slot { generation: 0, place: Place::Free }).collect(),
            free: (0..slots).rev().collect(),
            leased: 0,
        };
        Arc::new(Self { table: Mutex::new(table), on_event })
    }

    /// Takes a free slot and starts its next generation. `None` where there is none.
    pub(crate) fn try_take(pool: &Arc<Self>) -> Option<Hold> {
        let mut table = pool.table();
        let index = table.free.pop()?;
        let slot = &mut table.slots[index as usize];
        slot.generation += 1;
        slot.place = Place::Held;
        Some(Hold { pool: Arc::clone(pool), index, generation: slot.generation, leased: false })
    }

    /// Takes a slot back from the client, if that is where it is.
    pub(crate) fn release(&self, slot: u32, generation: u64) -> Result<(), ReleaseError> {
        self.table().release(slot, generation)?;
        self.tell(Event::SlotFreed { slot });
        Ok(())
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.table().free.len() as u32
    }

    pub(crate) fn leased(&self) -> u32 {
        self.table().leased
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.on_event)(event);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while it holds the slot table")
    }
}

impl Table {
    fn release(&mut self, slot: u32, given: u64) -> Result<(), ReleaseError> {
        let slots = self.slots.len() as u32;
        let Some(entry) = self.slots.get(slot as usize) else {
            return Err(ReleaseError::UnknownSlot { slot, slots });
        };
        if entry.place != Place::Leased {
            return Err(ReleaseError::NotLeased { slot });
        }
        if entry.generation != given {
            return Err(ReleaseError::WrongGeneration { slot, given, leased: entry.generation });
        }
        self.leased -= 1;
        self.free(slot);
        Ok(())
    }

    fn free(&mut self, slot: u32) {
        self.slots[slot as usize].place = Place::Free;
        self.free.push(slot);
    }

    fn lease(&mut self, slot: u32) {
        self.slots[slot as usize].place = Place::Leased;
        self.leased += 1;
    }
}

/// The one owner of a slot that has been taken. Dropping it frees the slot.
pub(crate) struct Hold {
    pool: Arc<Pool>,
    index: u32,
    generation: u64,
    leased: bool,
}

impl Hold {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Gives the slot to the client: from here on only [`Pool::release`] frees it.
    pub(crate) fn lease(mut self) {
        self.pool.table().lease(self.index);
        self.leased = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.leased {
            self.pool.table().free(self.index);
            self.pool.tell(Event::SlotFreed { slot: self.index });
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} at generation {}", self.index, self.generation)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pool(slots: u32) -> Arc<Pool> {
        Pool::new(slots, Box::new(|_| ()))
    }

    fn take(pool: &Arc<Pool>) -> Hold {
        Pool::try_take(pool).expect("a slot is free")
    }

    #[test]
    fn slots_are_taken_until_there_are_none_and_come_back_when_dropped() {
        let pool = pool(2);
        let (a, b) = (take(&pool), take(&pool));
        assert_ne!(a.index(), b.index());
        assert!(Pool::try_take(&pool).is_none());
        drop(a);
        assert_eq!(pool.free_slots(), 1);
    }

    #[test]
    fn every_taking_is_a_new_generation() {
        let pool = pool(1);
        let generations: Vec<u64> = (0..3).map(|_| take(&pool).generation()).collect();
        assert_eq!(generations, [1, 2, 3]);
    }

    #[test]
    fn a_leased_slot_is_freed_by_its_release_and_by_nothing_else() {
        let pool = pool(1);
        take(&pool).lease();
        assert_eq!((pool.free_slots(), pool.leased()), (0, 1));
        assert_eq!(pool.release(7, 1), Err(ReleaseError::UnknownSlot { slot: 7, slots: 1 }));
        assert_eq!(pool.release(0, 2), Err(ReleaseError::WrongGeneration { slot: 0, given: 2, leased: 1 }));
        assert_eq!((pool.free_slots(), pool.leased()), (0, 1));
        assert_eq!(pool.release(0, 1), Ok(()));
        assert_eq!((pool.free_slots(), pool.leased()), (1, 0));
    }

    #[test]
    fn a_second_release_and_one_for_a_held_slot_change_nothing() {
        let pool = pool(1);
        take(&pool).lease();
        pool.release(0, 1).unwrap();
        assert_eq!(pool.release(0, 1), Err(ReleaseError::NotLeased { slot: 0 }));
        let held = take(&pool);
        assert_eq!(pool.release(0, held.generation()), Err(ReleaseError::NotLeased { slot: 0 }));
        assert_eq!(pool.free_slots(), 0);
    }

    #[test]
    fn each_way_to_free_a_slot_is_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let pool = Pool::new(1, Box::new(move |event| log.lock().unwrap().push(event)));
        drop(take(&pool));
        take(&pool).lease();
        pool.release(0, 2).unwrap();
        assert_eq!(*told.lock().unwrap(), [Event::SlotFreed { slot: 0 }; 2]);
    }
}
