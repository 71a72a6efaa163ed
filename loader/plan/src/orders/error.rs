//! What can be wrong with an order, with the facts a caller needs to mend it.

use crate::PlanError;

/// An order that cannot be made from what was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// A number of rows out of range.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A mixture of nothing, or a selection in which no sample has a class.
    #[error("a mixture needs at least one source with a weight above zero")]
    NoSources,
    /// More sources, or classes, than a mixture may have.
    #[error("{count} sources are more than the {count_max} a mixture may have; join the smallest into one")]
    TooManySources {
        /// Sources asked for.
        count: usize,
        /// [`super::SOURCES_MAX`].
        count_max: usize,
    },
    /// Weights and what they are for differ in number.
    #[error("{given} weights for {expected} sources or samples; give one to each, 0 for none")]
    WeightCount {
        /// Sources, or samples.
        expected: usize,
        /// Weights given.
        given: usize,
    },
    /// A weight that is not zero and no normal positive number.
    #[error("weight {weight} of number {index} is neither 0 nor a normal positive number")]
    Weight {
        /// Which weight, from 0.
        index: usize,
        /// Its value.
        weight: f64,
    },
    /// A weight so small beside the others that it would never be drawn at its ratio.
    #[error(
        "weight {weight} of number {index} is too small beside the others; give 0 or at least {smallest:e}"
    )]
    WeightTooSmall {
        /// Which weight, from 0.
        index: usize,
        /// Its value.
        weight: f64,
        /// The least value above zero that these weights allow.
        smallest: f64,
    },
    /// All weights are zero.
    #[error("all weights are 0; give at least one source or sample a weight")]
    NoWeight,
    /// Phases that do not begin at row 0, do not rise, or begin inside a block.
    #[error(
        "a phase from row {from_row:?} after one from {after:?}: phases begin at row 0 and rise by multiples of 1024"
    )]
    PhaseStart {
        /// Where the phase was to begin; none where there is no phase.
        from_row: Option<u64>,
        /// Where the one before begins.
        after: Option<u64>,
    },
    /// A mixture's epoch that ends inside a block.
    #[error(
        "an epoch of {rows} rows ends inside a block of 1024; take {} or {}",
        .rows / 1024 * 1024, (.rows / 1024 + 1).saturating_mul(1024)
    )]
    EpochRows {
        /// Rows asked for.
        rows: u64,
    },
    /// An epoch of one pass over a source that is never taken.
    #[error("source {source_index} of {sources} has no weight at the start, so one pass over it never ends")]
    OnePass {
        /// The source named.
        source_index: u32,
        /// How many there are.
        sources: usize,
    },
    /// More samples than an alias table holds.
    #[error("{samples} weights are more than the {samples_max} of one table; weigh groups with a mixture")]
    TooManyWeights {
        /// Samples asked for.
        samples: usize,
        /// [`super::WEIGHTS_MAX`].
        samples_max: usize,
    },
    /// An explicit order without a list, or batches without one for each.
    #[error("an explicit order needs at least one list of samples, and batches one list of sizes for each")]
    NoLists,
    /// An index that names no sample.
    #[error("entry {at} of list {list} names sample {index}, but the selection has {samples}")]
    IndexBeyond {
        /// Which list, from 0.
        list: usize,
        /// Which entry of it, from 0.
        at: usize,
        /// What it holds.
        index: u64,
        /// Samples in the selection.
        samples: u64,
    },
    /// Sizes of batches that do not add up to the list, or one of zero.
    #[error("batches of {sum} samples in all, {empty} of them empty, do not cut a list of {rows}")]
    BatchSizes {
        /// Samples in all batches together.
        sum: u64,
        /// Batches of no sample.
        empty: usize,
        /// Entries of the list.
        rows: u64,
    },
    /// A repetition of zero times, or over a window of nothing.
    #[error("{times} repetitions over windows of {window_rows} rows: both are at least 1")]
    Repeat {
        /// How often each sample was to come.
        times: u32,
        /// Over how many rows.
        window_rows: u32,
    },
    /// Fewer or more snapshots than sources.
    #[error("{given} snapshots for an order over {expected} sources")]
    Snapshots {
        /// Sources of the order.
        expected: usize,
        /// Snapshots given.
        given: usize,
    },
    /// A window out of range, or one that its batches do not fill.
    #[error(
        "a window of {window_rows} rows: take 1 to {window_rows_max}, a multiple of the {multiple} rows of a batch"
    )]
    WindowRows {
        /// Rows asked for.
        window_rows: u32,
        /// [`crate::windows::WINDOW_ROWS_MAX`].
        window_rows_max: u32,
        /// What it must be a multiple of.
        multiple: u32,
    },
    /// A row or batch that could hold nothing.
    #[error("{what} is 0; it is at least 1")]
    Zero {
        /// Which setting.
        what: &'static str,
    },
    /// A sample longer than a row may be.
    #[error(
        "sample {sample} of source {source_index} has length {len}, more than the {len_max} that fit a row; \
         raise the limit, split long samples, or leave them out by a filter"
    )]
    TooLong {
        /// Its source.
        source_index: u32,
        /// Which sample.
        sample: u64,
        /// Its length.
        len: u32,
        /// The most that fits.
        len_max: u32,
    },
    /// A capacity so small beside the lengths that one window falls into too many pieces.
    #[error(
        "a window falls into {pieces} pieces, more than {pieces_max}; raise the capacity or take smaller windows"
    )]
    TooManyPieces {
        /// Pieces there would be.
        pieces: u64,
        /// The most there may be.
        pieces_max: u64,
    },
    /// Windows composed once over an order that differs from epoch to epoch.
    #[error(
        "windows over {order} order cannot be composed once, because its epochs differ; compose each epoch"
    )]
    ComposeOnce {
        /// Name of the order inside.
        order: &'static str,
    },
    /// A window table that belongs to another epoch or to other windows.
    #[error(
        "the window table is of composition {given} with {windows} windows, wanted {wanted} with {windows_wanted}"
    )]
    Table {
        /// Composition of the table.
        given: u64,
        /// Windows in it.
        windows: usize,
        /// Composition of the epoch asked for.
        wanted: u64,
        /// Windows of that.
        windows_wanted: u64,
    },
}
