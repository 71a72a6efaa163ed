//! Batches in shared memory, in slots that have one owner at a time.
//!
//! An [`Arena`] is one memfd of one session, mapped read-write by the daemon and by its one client, and divided into
//! equal slots. A batch is written into a slot by many threads at once, each in the ranges of its own sample, and is
//! then lent to the client. Nothing is copied on the way.
//!
//! # Who owns a slot
//!
//! A slot moves by value through types. Each arrow consumes what stands before it, so a slot in two states, or with
//! two owners, is a program that does not compile.
//!
//! ```text
//!          try_take            split                 seal              lease
//!   Free ───────────► SlotMut ───────► Filling ───────────► ReadySlot ───────► Lease
//!    ▲                   │           + SampleMut, ..            │            (the client's)
//!    │      dropped      │                │ dropped, and the    │ dropped          │
//!    ├───────────────────┘                │ last sample gone    │                  │
//!    ├────────────────────────────────────┘                     │                  │
//!    ├──────────────────────────────────────────────────────────┘                  │
//!    └─────────────────────────────────────────────────────────────────────────────┘
//!                        release(slot, generation), both as leased
//! ```
//!
//! A taken slot cannot be used once it is split:
//! ```compile_fail,E0382
//! # use forebay_arena::{Arena, Geometry, Part};
//! # let arena = Arena::create(1, Geometry { slot_bytes: 4096, slots: 1 }).unwrap();
//! let slot = arena.try_take().unwrap();
//! let filling = slot.split(1, &[Part { offset_bytes: 0, stride_bytes: 8 }]);
//! slot.index(); // moved into `split`
//! ```
//! A sample cannot be committed twice, nor written once it is committed:
//! ```compile_fail,E0382
//! # use forebay_arena::SampleMut;
//! fn twice(sample: SampleMut) {
//!     sample.commit();
//!     sample.commit(); // moved into the first
//! }
//! ```
//! ```compile_fail,E0382
//! # use forebay_arena::SampleMut;
//! fn late(mut sample: SampleMut) {
//!     sample.commit();
//!     sample.part_mut(0).fill(0); // moved into `commit`
//! }
//! ```
//! A range cannot be kept past the commit of its sample:
//! ```compile_fail,E0505
//! # use forebay_arena::SampleMut;
//! fn keep(mut sample: SampleMut) {
//!     let bytes = sample.part_mut(0);
//!     sample.commit(); // still borrowed
//!     bytes.fill(0);
//! }
//! ```
//! A ready slot has nothing to write through, and a filling that was sealed is gone:
//! ```compile_fail,E0599
//! # use forebay_arena::ReadySlot;
//! fn write(mut ready: ReadySlot) { ready.part_mut(0).fill(0); }
//! ```
//! ```compile_fail,E0382
//! # use forebay_arena::Filling;
//! fn twice(filling: Filling) {
//!     let ready = filling.seal();
//!     filling.state(); // moved into `seal`
//! }
//! ```
//! A batch is leased once, and a lease is not to be copied:
//! ```compile_fail,E0382
//! # use forebay_arena::ReadySlot;
//! fn twice(ready: ReadySlot) { let leases = (ready.lease(), ready.lease()); }
//! ```
//! ```compile_fail,E0599
//! # use forebay_arena::Lease;
//! fn copy(lease: Lease) -> (Lease, Lease) { (lease.clone(), lease) }
//! ```
//! What the program does instead:
//! ```
//! # use forebay_arena::{Arena, Geometry, Part};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let arena = Arena::create(1, Geometry { slot_bytes: 4096, slots: 2 })?;
//! let parts = [Part { offset_bytes: 0, stride_bytes: 12 }, Part { offset_bytes: 64, stride_bytes: 8 }];
//! let (filling, samples) = arena.try_take().expect("nothing is taken yet").split(3, &parts)?;
//! for mut sample in samples {
//!     sample.part_mut(0).fill(7);
//!     sample.part_mut(1).fill(1);
//!     sample.commit();
//! }
//! let lease = filling.seal().expect("every sample was committed").lease();
//! arena.release(lease.index(), lease.generation())?;
//! assert_eq!(arena.free_slots(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What the client may do
//!
//! Anything. It may write into any slot at any time: the daemon writes slots, never reads them back, keeps no metadata
//! in them and shares no arena between sessions, so a client harms its own data. It may truncate the memfd or seal it:
//! the kernel refuses, because the size is sealed (SHRINK | GROW | SEAL). It may die: the daemon's mapping is its own.
//! It may send rubbish as a release: [`Arena::release`] frees a slot only for the index and generation that are out.
//! What this asks of the daemon's own code is written at [`SampleMut`].
//!
//! # What an arena refuses
//!
//! A geometry of nothing or past [`MAX_ARENA_BYTES`] and [`MAX_SLOTS`]; a batch of no samples or past [`MAX_SAMPLES`];
//! parts that leave the slot or share a byte; sealing before every sample is committed; a release of what is not
//! leased. It never blocks and never waits: [`Arena::create_with`] tells when there is something to come back for.
//!
//! # How it is checked
//!
//! `cargo test -p forebay-arena`, and every interleaving of the ownership logic (`slots`, `fill`) under loom, in a
//! target folder of its own because the flag rebuilds everything:
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p forebay-arena --release --lib --target-dir target/loom
//! ```

mod arena;
mod error;
mod fill;
mod geometry;
mod map;
#[cfg(all(test, loom))]
mod models;
mod sample;
mod slot;
mod slots;
mod sync;

pub use arena::Arena;
pub use error::{ArenaError, ReleaseError};
pub use fill::FillState;
pub use geometry::{Geometry, MAX_ARENA_BYTES, MAX_SAMPLES, MAX_SLOTS, Part};
pub use sample::SampleMut;
pub use slot::{Filling, Lease, ReadySlot, SlotMut};
pub use slots::Event;
