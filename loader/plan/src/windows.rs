//! Orders that look at lengths: batches of similar length, packed rows, batches by a budget of tokens.
//!
//! The rows of an inner [`Order`] are cut into windows of a fixed number. Inside a window, and never across, samples are
//! grouped by a column of lengths; a group is a row of the new order. A table says how many rows each window gives, so
//! any row is found by a binary search, and its window is grouped anew: nothing but the table is remembered.
//!
//! ```
//! use forebay_plan::orders::{Order, Pick};
//! use forebay_plan::windows::{Compose, Grouping, Long, WindowSpec, Windowed};
//! use forebay_plan::{Digest, OrderSpec, Sampler};
//!
//! let lengths = |pick: Pick| 100 + pick.sample.0 as u32 % 900; // a column of the catalogue
//! let column = Digest::from_bytes([7; 32]); // its digest
//! let documents = Order::Single(OrderSpec::new(Sampler::Shuffled, 42, 10_000)?);
//! let grouping = Grouping::Packed { capacity: 2048, long: Long::Split, documents_max: u32::MAX };
//! let spec = WindowSpec { window_rows: 4096, grouping, compose: Compose::Once, shuffle: true };
//! let packed = Windowed::new(documents, spec, column)?;
//!
//! let table = packed.table(0, lengths)?; // once: O(documents)
//! let epoch = packed.epoch(3, &table)?; // O(windows)
//! let place = epoch.window_of(1000);
//! let window = epoch.window(place, lengths)?; // keep it: the next rows are in it too
//! let row = window.row(1000);
//! assert!(row.tokens() <= 2048);
//! assert_eq!(row.boundaries().last(), Some(row.tokens()));
//! # Ok::<(), forebay_plan::orders::OrderError>(())
//! ```

mod group;
mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub use window::{Part, Row, Window};

use crate::digest::DigestBuilder;
use crate::order::check_rows;
use crate::orders::{EpochPicks, Order, OrderError, Pick};
use crate::{Digest, EpochPrf, ORDER_VERSION, Permutation, Purpose, RowRng};
use group::Groups;

/// Rows of a window where nobody says otherwise.
pub const WINDOW_ROWS: u32 = 1 << 16;
/// The most rows of a window.
pub const WINDOW_ROWS_MAX: u32 = 1 << 24;

/// How the samples of a window become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// A row is a sample, as before; every `batch_rows` neighbours, the global batch, are of similar length.
    Bucketed {
        /// Rows of similar length; a window is a multiple of it.
        batch_rows: u32,
    },
    /// A row is a sequence of at most `capacity` tokens: documents end to end. Documents of length 0 stand nowhere.
    ///
    /// Best-fit decreasing: the longest first, each where it leaves least room. Source: Ding et al., "Fewer truncations
    /// improve language modeling" (2024).
    Packed {
        /// Tokens of a row.
        capacity: u32,
        /// What becomes of a longer document.
        long: Long,
        /// Documents, or pieces of them, in a row, however short; `u32::MAX` where nothing but tokens bounds them.
        documents_max: u32,
    },
    /// A row is a whole batch of samples of similar length, which padded to the longest hold at most `tokens`.
    Budgeted {
        /// Tokens of a batch with its padding; a sample of length 0 counts as 1.
        tokens: u32,
        /// Samples of a batch, however short.
        samples_max: u32,
    },
}

/// What becomes of a document that is longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Long {
    /// It is cut into pieces of a whole row and a rest; no token is lost.
    Split,
    /// It is an error that names it.
    Fail,
}

/// When it is decided which samples share a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compose {
    /// Once, by epoch 0 of the inner order, which must hold each sample once an epoch. One table, made at open, serves
    /// all epochs, which have equally many rows; windows, and rows inside them, are shuffled anew each epoch.
    Once,
    /// Each epoch by its own order: a better shuffle, but a new table each, and the number of rows may differ.
    EachEpoch,
}

/// How windows are cut and grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowSpec {
    /// Rows of the inner order in a window: 1 to [`WINDOW_ROWS_MAX`], usually [`WINDOW_ROWS`].
    pub window_rows: u32,
    /// What becomes of them.
    pub grouping: Grouping,
    /// When it is decided which samples share a window.
    pub compose: Compose,
    /// Whether rows, or batches of [`Grouping::Bucketed`], are shuffled inside their window, and under
    /// [`Compose::Once`] the windows among each other. Else they stand by their first sample.
    pub shuffle: bool,
}

/// An order over the windows of another. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Windowed {
    order: Order,
    spec: WindowSpec,
    lengths: Digest,
}

/// How many rows each window gives: 4 bytes a window. Made by [`Windowed::table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowTable {
    composition: u64,
    counts: Arc<[u32]>,
}

impl WindowTable {
    /// A table from the counts of all windows, for a caller who counts parts of them on several threads.
    ///
    /// * `composition`: [`Windowed::composition`] of the epoch they were counted for.
    /// * `counts`: [`Windowed::counts`] of all windows, in order.
    pub fn from_counts(composition: u64, counts: Vec<u32>) -> Self {
        Self { composition, counts: counts.into() }
    }
}

impl Windowed {
    /// Checks windows over an order.
    ///
    /// * `lengths`: the digest of the column that every `lengths` function of this order reads, such as
    ///   [`crate::orders::column_digest`].
    ///
    /// # Errors
    /// [`OrderError::WindowRows`], [`OrderError::Zero`]; [`OrderError::ComposeOnce`] for [`Compose::Once`] over an order
    /// whose epochs differ in what they hold.
    pub fn new(order: Order, spec: WindowSpec, lengths: Digest) -> Result<Self, OrderError> {
        let at_least_1 =
            |what, value: u32| if value == 0 { Err(OrderError::Zero { what }) } else { Ok(value) };
        let multiple = match spec.grouping {
            Grouping::Bucketed { batch_rows } => at_least_1("batch_rows", batch_rows)?,
            Grouping::Packed { capacity, documents_max, .. } => {
                at_least_1("capacity", capacity).and(at_least_1("documents_max", documents_max)).map(|_| 1)?
            }
            Grouping::Budgeted { tokens, samples_max } => {
                at_least_1("tokens", tokens).and(at_least_1("samples_max", samples_max)).map(|_| 1)?
            }
        };
        let window_rows = spec.window_rows;
        if !(1..=WINDOW_ROWS_MAX).contains(&window_rows) || !window_rows.is_multiple_of(multiple) {
            return Err(OrderError::WindowRows { window_rows, window_rows_max: WINDOW_ROWS_MAX, multiple });
        }
        if spec.compose == Compose::Once && !order.is_complete() {
            return Err(OrderError::ComposeOnce { order: order.name() });
        }
        Ok(Self { order, spec, lengths })
    }

    /// The name in configurations, messages and digests.
    pub fn name(&self) -> &'static str {
        match self.spec.grouping {
            Grouping::Bucketed { .. } => "bucketed",
            Grouping::Packed { .. } => "packed",
            Grouping::Budgeted { .. } => "budgeted",
        }
    }

    /// The order inside.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The epoch of the inner order that an epoch is composed of, and so the table it needs.
    pub fn composition(&self, epoch: u64) -> u64 {
        if self.spec.compose == Compose::Once { 0 } else { epoch }
    }

    /// Windows of an epoch.
    pub fn windows(&self, epoch: u64) -> u64 {
        self.order.rows(self.composition(epoch)).div_ceil(self.spec.window_rows as u64)
    }

    /// How many rows each of some windows gives, for [`WindowTable::from_counts`].
    ///
    /// * `lengths`: the length of each sample, in tokens.
    ///
    /// # Errors
    /// [`OrderError::TooLong`], [`OrderError::TooManyPieces`].
    pub fn counts(
        &self,
        epoch: u64,
        windows: Range<u64>,
        lengths: impl Fn(Pick) -> u32,
    ) -> Result<Vec<u32>, OrderError> {
        let picks = self.order.epoch(self.composition(epoch));
        let count = |window| {
            self.cut(&picks, window, &lengths).and_then(|cut| self.group(&cut, None)).map(|g| g.len())
        };
        windows.map(count).collect()
    }

    /// The table of an epoch: under [`Compose::Once`] the same for all. Reads every length once.
    ///
    /// # Errors
    /// As [`Windowed::counts`]; and [`OrderError::Plan`] where there are no rows, as all lengths are 0.
    pub fn table(&self, epoch: u64, lengths: impl Fn(Pick) -> u32) -> Result<WindowTable, OrderError> {
        let counts = self.counts(epoch, 0..self.windows(epoch), lengths)?;
        check_rows(counts.iter().map(|&count| count as u64).sum())?;
        Ok(WindowTable::from_counts(self.composition(epoch), counts))
    }

    /// The rows of an epoch. Costs O(windows).
    ///
    /// # Errors
    /// [`OrderError::Table`] where the table is not of this epoch's composition; [`OrderError::Plan`] where it holds no
    /// rows.
    pub fn epoch(&self, epoch: u64, table: &WindowTable) -> Result<WindowedEpoch, OrderError> {
        let (wanted, windows_wanted) = (self.composition(epoch), self.windows(epoch));
        let (given, windows) = (table.composition, table.counts.len());
        if given != wanted || windows as u64 != windows_wanted {
            return Err(OrderError::Table { given, windows, wanted, windows_wanted });
        }
        let prf = EpochPrf::new(self.order.seed(), Purpose::Window, epoch);
        // The last window may be shorter than the others, and stays where the whole batches before it end.
        let moved = self.spec.shuffle && self.spec.compose == Compose::Once && windows > 2;
        let places = moved.then(|| Permutation::small(windows as u64 - 1, prf.rng(0, 0, 1)));
        let picks = self.order.epoch(wanted);
        let mut of =
            WindowedEpoch { windowed: self.clone(), epoch, picks, prf, places, first_rows: Arc::new([]) };
        let mut first_rows = vec![0];
        let mut sum = 0;
        for place in 0..windows as u64 {
            sum += table.counts[of.window_at(place) as usize] as u64;
            first_rows.push(sum);
        }
        check_rows(sum)?;
        of.first_rows = first_rows.into();
        Ok(of)
    }

    /// The order digest of a job, as [`Order::digest`].
    ///
    /// # Errors
    /// [`OrderError::Snapshots`] where there are not as many as sources.
    pub fn digest(&self, snapshots: &[Digest]) -> Result<Digest, OrderError> {
        let inner = self.order.digest(snapshots)?;
        let digest = DigestBuilder::new("order")
            .u64("order_version", ORDER_VERSION as u64)
            .field("inner", inner.as_bytes())
            .field("lengths", self.lengths.as_bytes())
            .field("sampler", self.name().as_bytes())
            .u64("window_rows", self.spec.window_rows as u64)
            .u64("compose_each_epoch", (self.spec.compose == Compose::EachEpoch) as u64)
            .u64("shuffle", self.spec.shuffle as u64);
        Ok(match self.spec.grouping {
            Grouping::Bucketed { batch_rows } => digest.u64("batch_rows", batch_rows as u64),
            Grouping::Packed { capacity, long, documents_max } => {
                let digest =
                    digest.u64("capacity", capacity as u64).u64("split", (long == Long::Split) as u64);
                match documents_max {
                    u32::MAX => digest,
                    most => digest.u64("documents_max", most as u64),
                }
            }
            Grouping::Budgeted { tokens, samples_max } => {
                digest.u64("tokens", tokens as u64).u64("samples_max", samples_max as u64)
            }
        }
        .finish())
    }

    /// The samples of a window, with their lengths.
    fn cut(&self, picks: &EpochPicks, window: u64, lengths: impl Fn(Pick) -> u32) -> Result<Cut, OrderError> {
        let first = window * self.spec.window_rows as u64;
        let end = picks.rows().min(first + self.spec.window_rows as u64);
        let mut walker = picks.walker();
        let picks: Vec<Pick> = (first..end).map(|position| walker.pick(position)).collect();
        let cut = Cut { lengths: picks.iter().map(|&pick| lengths(pick)).collect(), first, picks };
        cut.check(self.len_max())?;
        Ok(cut)
    }

    /// The most a sample's length may be.
    fn len_max(&self) -> u32 {
        match self.spec.grouping {
            Grouping::Packed { capacity, long: Long::Fail, .. } => capacity,
            Grouping::Budgeted { tokens, .. } => tokens,
            Grouping::Packed { long: Long::Split, .. } | Grouping::Bucketed { .. } => u32::MAX,
        }
    }

    /// The rows of a window; their number does not depend on `rng`.
    fn group(&self, cut: &Cut, rng: Option<RowRng>) -> Result<Groups, OrderError> {
        match self.spec.grouping {
            Grouping::Bucketed { batch_rows } => Ok(Groups::bucketed(&cut.lengths, batch_rows, rng)),
            Grouping::Packed { capacity, documents_max, .. } => {
                Groups::packed(&cut.lengths, capacity, documents_max, rng)
            }
            Grouping::Budgeted { tokens, samples_max } => {
                Ok(Groups::budgeted(&cut.lengths, tokens, samples_max, rng))
            }
        }
    }
}

/// What one window is made of.
#[derive(Debug, Clone)]
struct Cut {
    /// Row of the inner order at which it begins.
    first: u64,
    picks: Vec<Pick>,
    lengths: Vec<u32>,
}

impl Cut {
    fn check(&self, len_max: u32) -> Result<(), OrderError> {
        let Some(at) = self.lengths.iter().position(|&len| len > len_max) else { return Ok(()) };
        let (pick, len) = (self.picks[at], self.lengths[at]);
        Err(OrderError::TooLong { source_index: pick.source, sample: pick.sample.0, len, len_max })
    }
}

/// The rows of one epoch of a windowed order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WindowedEpoch {
    windowed: Windowed,
    epoch: u64,
    picks: EpochPicks,
    prf: EpochPrf,
    /// Place -> window, but for the last.
    places: Option<Permutation>,
    /// Of each place, and the end.
    first_rows: Arc<[u64]>,
}

impl WindowedEpoch {
    /// Which epoch this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many rows there are, at least 1: what a [`crate::Cut`] needs.
    pub fn rows(&self) -> u64 {
        *self.first_rows.last().expect("the end is always there")
    }

    /// The place, among the epoch's windows, of the one that holds `row`, which is below [`WindowedEpoch::rows`].
    pub fn window_of(&self, row: u64) -> u64 {
        assert!(row < self.rows(), "row {row} of an epoch of {} rows", self.rows());
        self.first_rows.partition_point(|&first| first <= row) as u64 - 1
    }

    /// The rows of the window at `place`; keep it while rows are asked of it.
    ///
    /// * `lengths`: what the table was made with.
    ///
    /// Costs one pick and one length a sample, and the grouping: some 10 ms for 65,536 documents.
    ///
    /// # Errors
    /// As [`Windowed::counts`]; not where the table was made of the same lengths.
    pub fn window(&self, place: u64, lengths: impl Fn(Pick) -> u32) -> Result<Window, OrderError> {
        let (of, window) = (&self.windowed, self.window_at(place));
        let cut = of.cut(&self.picks, window, lengths)?;
        let groups = of.group(&cut, of.spec.shuffle.then(|| self.prf.rng(window, 0, 0)))?;
        Ok(Window::new(self.first_rows[place as usize], cut, groups))
    }

    /// What to try in the place of a corrupt sample of [`Grouping::Bucketed`] or [`Grouping::Budgeted`] rows, by the
    /// part's position; see [`EpochPicks::substitute`]. In a packed row no other document has the right length.
    pub fn substitute(&self, position: u64, attempt: u32) -> Pick {
        self.picks.substitute(position, attempt)
    }

    fn window_at(&self, place: u64) -> u64 {
        let moved = self.places.as_ref().filter(|places| place < places.len());
        moved.map_or(place, |places| places.forward(place))
    }
}
