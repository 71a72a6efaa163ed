//! What can be wrong with a plan or with a saved state, with the facts a caller needs to mend it.

/// A plan that cannot be made from what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The selection holds nothing, so an epoch of it would never end.
    #[error("the selection has no rows")]
    NoRows,
    /// More rows than positions are computed for.
    #[error("the selection has {rows} rows, more than the {rows_max} supported")]
    TooManyRows {
        /// Rows asked for.
        rows: u64,
        /// [`crate::ROWS_MAX`].
        rows_max: u64,
    },
    /// A batch of no rows.
    #[error("a batch needs at least one row per rank")]
    EmptyBatch,
    /// The rows of all ranks together do not fit 32 bits.
    #[error(
        "{rows_per_rank} rows on each of {size} ranks are more than the {global_batch_max} a batch may hold"
    )]
    GlobalBatchTooLarge {
        /// Rows each rank takes a step.
        rows_per_rank: u32,
        /// Data-parallel size.
        size: u32,
        /// `u32::MAX`.
        global_batch_max: u32,
    },
    /// The data-parallel size does not divide the global batch.
    #[error(
        "a global batch of {global_batch} rows does not divide over {size} ranks; take a multiple of {size}"
    )]
    UnevenGlobalBatch {
        /// Rows of all ranks together a step.
        global_batch: u32,
        /// Data-parallel size.
        size: u32,
    },
    /// A rank outside its partition, or a partition of nobody.
    #[error("rank {rank} is not below the partition size {size}")]
    Rank {
        /// Rank asked for.
        rank: u32,
        /// Data-parallel size asked for.
        size: u32,
    },
    /// A cursor that points behind the end of its epoch.
    #[error("position {position} lies behind the {epoch_rows} rows of the epoch")]
    PositionBeyondEpoch {
        /// Position asked for.
        position: u64,
        /// Rows of the epoch.
        epoch_rows: u64,
    },
    /// A name that is none of a closed set's.
    #[error("{name:?} is no {what}; one of {known}")]
    UnknownName {
        /// What was to be named, such as `sampler`.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are, separated by commas.
        known: &'static str,
    },
    /// Text that is not 64 lower-case hexadecimal digits.
    #[error("a digest is 64 lower-case hexadecimal digits, not {len_bytes} bytes beginning {start:?}")]
    NotADigest {
        /// Length of the text.
        len_bytes: usize,
        /// Its first few characters.
        start: String,
    },
    /// A batch without tensors.
    #[error("a batch needs at least one tensor")]
    NoTensors,
    /// More tensors than a batch may hold.
    #[error("{count} tensors are more than the {count_max} a batch may hold")]
    TooManyTensors {
        /// Tensors asked for.
        count: usize,
        /// [`crate::TENSORS_MAX`].
        count_max: usize,
    },
    /// A tensor's name is empty, too long or not plain text.
    #[error("tensor name {name:?} is not 1 to 64 characters of [A-Za-z0-9._:-]")]
    TensorName {
        /// The name given, cut after 64 characters.
        name: String,
    },
    /// Two tensors share a name.
    #[error("two tensors are named {name:?}")]
    DuplicateTensor {
        /// The name both carry.
        name: String,
    },
    /// A sample with more dimensions than supported.
    #[error("tensor {name} has {count} dimensions, more than the {count_max} supported")]
    TooManyDims {
        /// The tensor.
        name: String,
        /// Dimensions asked for.
        count: usize,
        /// [`crate::DIMS_MAX`].
        count_max: usize,
    },
    /// A dimension of length zero.
    #[error("dimension {dim_index} of tensor {name} is zero")]
    EmptyDim {
        /// The tensor.
        name: String,
        /// Which of its dimensions, from 0.
        dim_index: usize,
    },
    /// Channels-last memory without the dimensions channel, height and width.
    #[error(
        "tensor {name} has {count} dimensions; channels_last needs three, channels, height, width, or views before them"
    )]
    ChannelsLast {
        /// The tensor.
        name: String,
        /// Dimensions it has.
        count: usize,
    },
    /// A batch larger than a slot may be.
    #[error("tensor {name} brings the batch over the {slot_bytes_max} bytes a slot may hold")]
    SlotTooLarge {
        /// The tensor at which the limit was passed.
        name: String,
        /// [`crate::SLOT_BYTES_MAX`].
        slot_bytes_max: u64,
    },
}

impl PlanError {
    pub(crate) fn unknown_name(what: &'static str, name: &str, known: &'static str) -> Self {
        Self::UnknownName { what, name: name.chars().take(64).collect(), known }
    }
}

/// A saved state that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The record is larger than any that this crate writes.
    #[error(
        "a state record has at most {len_bytes_max} bytes, this one {len_bytes}; pass the value of state_dict() alone"
    )]
    TooLarge {
        /// Length of the record.
        len_bytes: usize,
        /// [`crate::STATE_BYTES_MAX`].
        len_bytes_max: usize,
    },
    /// The record is not a JSON object with a `version`.
    #[error("the state record is no JSON object with a version; pass the value of state_dict() unchanged")]
    NotARecord {
        /// Where the JSON parser stopped.
        source: serde_json::Error,
    },
    /// The record was written by a forebay that knows more than this one.
    #[error(
        "the state record has version {found}, this forebay reads 1 to {known}; resume with the forebay that wrote it"
    )]
    Version {
        /// Version in the record.
        found: u32,
        /// [`crate::STATE_VERSION`].
        known: u32,
    },
    /// A field is missing, unknown or of another type.
    #[error("the state record has a wrong field; pass the value of state_dict() unchanged")]
    Field {
        /// Which field, and how.
        source: serde_json::Error,
    },
    /// The job id is empty, too long or not plain text.
    #[error("job id {job_id:?} is not 1 to 128 characters of [A-Za-z0-9._:-]; name the job so")]
    JobId {
        /// The id given, cut after 128 characters.
        job_id: String,
    },
}
