//! The states of a slot through the public types alone, with real memory and real threads.
#![cfg(not(loom))]

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::mpsc,
    thread,
};

use forebay_arena::{Arena, ArenaError, Event, FillState, Filling, Geometry, Part, SampleMut, SlotMut};
use proptest::{collection::vec, prelude::*};

const SLOTS: u32 = 3;
const PARTS: [Part; 3] = [
    Part { offset_bytes: 0, stride_bytes: 4096 },
    Part { offset_bytes: 36_864, stride_bytes: 8 },
    Part { offset_bytes: 36_928, stride_bytes: 0 },
];
const SAMPLES: u32 = 8;

fn arena() -> Arena {
    Arena::create(1, Geometry { slot_bytes: 40_000, slots: SLOTS }).unwrap()
}

fn split(arena: &Arena) -> (Filling, Vec<SampleMut>) {
    arena.try_take().unwrap().split(SAMPLES, &PARTS).unwrap()
}

fn commit_all(samples: Vec<SampleMut>) {
    for sample in samples {
        sample.commit();
    }
}

/// All bytes of the arena, as the client's mapping shows them.
fn contents(arena: &Arena) -> Vec<u8> {
    let mut bytes = vec![0; arena.total_bytes() as usize];
    let file = fs::File::from(arena.fd().as_fd().try_clone_to_owned().unwrap());
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Whether this process maps the arena's memfd, by its inode.
fn is_mapped(inode: u64) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| {
        line.contains("forebay-arena") && line.split_whitespace().nth(4) == Some(&inode.to_string())
    })
}

#[test]
fn samples_written_by_many_threads_land_where_their_parts_say_and_nowhere_else() {
    let arena = arena();
    let _other = arena.try_take().unwrap();
    let (filling, samples) = split(&arena);
    thread::scope(|scope| {
        for mut sample in samples {
            scope.spawn(move || {
                let value = sample.index() as u8 + 1;
                assert_eq!(sample.parts(), 3);
                assert!(sample.part_mut(2).is_empty());
                sample.part_mut(0).fill(value);
                sample.part_mut(1).fill(value | 0x80);
                sample.commit();
            });
        }
    });
    let lease = filling.seal().unwrap().lease();
    let mut expected = vec![0_u8; arena.total_bytes() as usize];
    for sample in 0..SAMPLES as usize {
        let start = lease.offset_bytes() as usize;
        let value = sample as u8 + 1;
        expected[start + sample * 4096..][..4096].fill(value);
        expected[start + 36_864 + sample * 8..][..8].fill(value | 0x80);
    }
    assert!(contents(&arena) == expected);
}

#[test]
fn every_slot_starts_on_a_page() {
    let arena = arena();
    let page = rustix::param::page_size();
    let slots: Vec<SlotMut> = std::iter::from_fn(|| arena.try_take()).collect();
    assert_eq!(slots.len(), SLOTS as usize);
    for slot in slots {
        let (_filling, mut samples) = slot.split(1, &PARTS).unwrap();
        assert_eq!(samples[0].part_mut(0).as_ptr().addr() % page, 0);
    }
}

#[test]
fn a_split_that_is_refused_gives_its_slot_back() {
    let arena = arena();
    let refused = arena.try_take().unwrap().split(0, &PARTS);
    assert!(matches!(refused, Err(ArenaError::Samples { samples: 0 })));
    assert_eq!(arena.free_slots(), SLOTS);
}

#[test]
fn a_slot_that_is_dropped_in_any_state_is_free_again() {
    let arena = arena();
    drop(arena.try_take());
    drop(split(&arena));
    let (filling, samples) = split(&arena);
    commit_all(samples);
    drop(filling.seal().unwrap());
    assert_eq!((arena.free_slots(), arena.leased()), (SLOTS, 0));
}

#[test]
fn a_session_that_leaves_keeps_its_slot_and_its_memory_until_the_last_writer_is_gone() {
    let arena = arena();
    let inode = rustix::fs::fstat(arena.fd()).unwrap().st_ino;
    let (filling, mut samples) = split(&arena);
    drop(filling);
    samples.truncate(1);
    assert_eq!(arena.free_slots(), SLOTS - 1);
    drop(arena);
    assert!(is_mapped(inode));
    samples[0].part_mut(0).fill(1);
    drop(samples);
    assert!(!is_mapped(inode));
}

#[test]
fn a_decoder_that_panics_fails_its_batch_and_the_owner_is_told() {
    let (tell, told) = mpsc::channel();
    let geometry = Geometry { slot_bytes: 40_000, slots: 1 };
    let arena = Arena::create_with(1, geometry, move |event| tell.send(event).unwrap_or(())).unwrap();
    let (filling, mut samples) = split(&arena);
    let poisoned = samples.pop().unwrap();
    commit_all(samples);
    let decoder = thread::spawn(move || {
        let _sample = poisoned;
        panic!("a decoder that fails, on purpose");
    });
    assert!(decoder.join().is_err());
    assert_eq!(told.recv().unwrap(), Event::FillFinished { slot: 0, generation: 1 });
    assert_eq!(filling.state(), FillState::Failed);
    drop(filling.seal().unwrap_err());
    assert_eq!(told.recv().unwrap(), Event::SlotFreed { slot: 0 });
}

#[test]
fn arena_and_samples_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Arena>();
    crosses::<SampleMut>();
    crosses::<Filling>();
}

/// One thing that happens to an arena.
#[derive(Debug, Clone)]
enum Step {
    Take,
    DropHeld,
    LeaseHeld,
    ReleaseOldest,
    Rubbish { slot: u32, generation: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let near = (0..SLOTS + 2, 0..6_u64);
    let anything = (any::<u32>(), any::<u64>());
    prop_oneof![
        Just(Step::Take),
        Just(Step::DropHeld),
        Just(Step::LeaseHeld),
        Just(Step::ReleaseOldest),
        near.prop_map(|(slot, generation)| Step::Rubbish { slot, generation }),
        anything.prop_map(|(slot, generation)| Step::Rubbish { slot, generation }),
    ]
}

/// Leases a slot and returns what the client would be told.
fn lease(slot: SlotMut) -> (u32, u64) {
    let (filling, samples) = slot.split(1, &[]).unwrap();
    commit_all(samples);
    let lease = filling.seal().unwrap().lease();
    (lease.index(), lease.generation())
}

/// Releases, and checks that exactly what is leased can be.
fn release(arena: &Arena, leased: &mut BTreeMap<u32, u64>, slot: u32, generation: u64) {
    let is_leased = leased.get(&slot) == Some(&generation);
    assert_eq!(arena.release(slot, generation).is_ok(), is_leased, "slot {slot} at {generation}");
    if is_leased {
        leased.remove(&slot);
    }
}

proptest! {
    #[test]
    fn no_release_ever_frees_a_slot_that_was_not_leased(steps in vec(step(), 0..200)) {
        let arena = arena();
        let (mut held, mut leased) = (Vec::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Take => held.extend(arena.try_take()),
                Step::DropHeld => drop(held.pop()),
                Step::LeaseHeld => leased.extend(held.pop().map(lease)),
                Step::ReleaseOldest => {
                    if let Some((&slot, &generation)) = leased.first_key_value() {
                        release(&arena, &mut leased, slot, generation);
                    }
                }
                Step::Rubbish { slot, generation } => release(&arena, &mut leased, slot, generation),
            }
            let free = SLOTS - held.len() as u32 - leased.len() as u32;
            prop_assert_eq!((arena.free_slots(), arena.leased()), (free, leased.len() as u32));
        }
    }
}
