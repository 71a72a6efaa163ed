//! What every batch of a training run holds, as a pure function of a few numbers.
//!
//! A **row** is a place in the order of an epoch. This crate says which sample stands in it ([`EpochOrder`] for one
//! source, [`orders`] for mixtures, weights and lists, [`windows`] for packing and buckets), which random draws belong to it ([`EpochPrf`]), which rows a rank takes next ([`Cut`]), where the bytes of a
//! batch lie in memory ([`BatchLayout`]), which reads serve them ([`Extent::joined`] inside of a sample, [`merge`] over
//! many), and what a checkpoint has to remember of all this
//! ([`State`]: one record under 1 kB).
//!
//! ```
//! use forebay_plan::{Cursor, Cut, OrderSpec, Partition, Sampler, Tail};
//!
//! let order = OrderSpec::new(Sampler::Shuffled, 42, 1_281_167)?;
//! let cut = Cut::new(order.rows, Partition::new(3, 8)?, 256, Tail::Drop)?;
//! let epoch = order.epoch(0);
//! let batch = cut.batch_at(Cursor { epoch: 0, position: 0 }).expect("the epoch has a step");
//! let samples: Vec<_> = batch.iter().map(|row| epoch.sample(row.position)).collect();
//! assert_eq!(samples.len(), 256);
//! assert_eq!(batch.next, Cursor { epoch: 0, position: 2048 });
//! # Ok::<(), forebay_plan::PlanError>(())
//! ```
//!
//! # Invariants
//!
//! * No IO, no clock, no ambient randomness, no unsafe code. Equal arguments give equal results on every machine.
//! * Each row comes exactly once an epoch along any chain of checkpoints, whatever the partition, the batch size
//!   and the tail of each part of the chain; repeated rows of a tail are marked invalid.
//! * All ranks of a [`Cut`] take the same number of steps of the same shape.
//! * Every draw is a function of (seed, purpose, epoch, position, view, attempt). Generators are named, and what
//!   turns their bits into numbers is written here, because a resumed run must not change with a dependency.
//! * Whatever changes the order or the draws of an existing seed raises [`ORDER_VERSION`]; the golden vectors in
//!   `tests/golden.rs` notice it.
#![forbid(unsafe_code)]

mod batch;
mod cursor;
mod cut;
mod digest;
mod dtype;
mod error;
mod extent;
mod layout;
mod legs;
mod order;
pub mod orders;
mod partition;
mod parts;
mod permutation;
mod prf;
mod rng;
mod state;
mod tally;
mod tensor;
mod views;
pub mod windows;

pub use batch::{BatchPlan, BatchRange, PlannedRow};
pub use cursor::Cursor;
pub use cut::{Cut, Tail};
pub use digest::{Digest, DigestBuilder, Digests};
pub use dtype::{DType, MemoryOrder};
pub use error::{PlanError, StateError};
pub use extent::{Extent, ReadPart, ReadSpan, merge};
pub use layout::{BatchLayout, SLOT_BYTES_MAX, TENSORS_MAX, TensorPlace};
pub use legs::{Leg, Legs};
pub use order::{EpochOrder, ORDER_VERSION, OrderSpec, ROWS_MAX, SUBSTITUTE_ATTEMPTS_MAX, SampleId, Sampler};
pub use partition::Partition;
pub use parts::{CONTENT_PARTS_BYTES_MAX, ORDER_PARTS_BYTES_MAX, Part, PartDifference, Parts};
pub use permutation::{Permutation, TABLE_LEN_MAX};
pub use prf::{EpochPrf, Purpose};
pub use rng::RowRng;
pub use state::{Differences, STATE_BYTES_MAX, STATE_COMMITS_BYTES_MAX, STATE_VERSION, State};
pub use tally::{ContentRow, OrderRow, RowPlace, RowSum, Tally};
pub use tensor::{DIMS_MAX, TensorSpec};
pub use views::{ViewLayout, Views};
