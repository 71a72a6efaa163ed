//! A job's order: what a client asked for, checked against the snapshots that it orders.

use std::sync::Arc;

use forebay_plan::orders::{
    Balanced, Batches, EpochLength, Explicit, List, Mixture, MixtureSpec, Order, OrderError, Phase, Pick,
    Repeated, Source, Weighted, column_digest,
};
use forebay_plan::windows::{
    Compose, Grouping, Long, WINDOW_ROWS, WindowSpec, WindowTable, Windowed, WindowedEpoch,
};
use forebay_plan::{Digest, DigestBuilder, EpochPrf, ORDER_VERSION, OrderSpec, Purpose, Sampler};
use forebay_proto::v1::{self, windows};

use super::JobSource;
use super::classes::CLASS_COLUMN;
use super::rows::{EpochKind, EpochRows};
use crate::catalog::{Column, ColumnKind};
use crate::error::Fault;

/// Samples of a batch that is a row: what a session's batches may have, too.
const BATCH_SAMPLES_MAX: u32 = 1 << 20;
/// Rows of an epoch that windows are made of: counting them takes a minute at the most.
const WINDOWED_ROWS_MAX: u64 = 1 << 30;

/// Which samples stand in which row of every epoch.
#[derive(Debug, Clone)]
pub enum JobOrder {
    /// A row is a sample.
    Plain(Order),
    /// A row is a batch that was written down, of at most so many samples.
    Batches(Batches, u32),
    /// A row is made by lengths.
    Windowed {
        /// The order.
        windowed: Windowed,
        /// What it looks at.
        lengths: Lengths,
        /// The table of all epochs, where one serves them all.
        table: Option<WindowTable>,
    },
}

/// The lengths of all samples.
#[derive(Debug, Clone)]
pub struct Lengths {
    of: Arc<[Box<[u32]>]>,
    grouping: Grouping,
    /// Whether a row is a batch.
    pub rows_are_batches: bool,
}

impl Lengths {
    /// The length of a sample.
    pub fn of(&self, pick: Pick) -> u32 {
        self.of[pick.source as usize][pick.sample.0 as usize]
    }
}

impl From<Order> for JobOrder {
    fn from(order: Order) -> Self {
        Self::Plain(order)
    }
}

impl From<OrderSpec> for JobOrder {
    fn from(order: OrderSpec) -> Self {
        Self::Plain(Order::Single(order))
    }
}

impl JobOrder {
    /// Its seed, from which all draws derive.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Plain(order) => order.seed(),
            Self::Batches(batches, _) => batches.order().seed(),
            Self::Windowed { windowed, .. } => windowed.order().seed(),
        }
    }

    /// What it is called in messages and digests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(order) => order.name(),
            Self::Batches(..) => "batches",
            Self::Windowed { windowed, .. } => windowed.name(),
        }
    }

    /// Whether a row is a whole batch, so that each rank takes one a step.
    pub fn rows_are_batches(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Batches(..) => true,
            Self::Windowed { lengths, .. } => lengths.rows_are_batches,
        }
    }

    /// Whether an epoch is made without reading lengths.
    pub fn epochs_are_cheap(&self) -> bool {
        !self.epochs_differ()
    }

    /// Whether windows are cut anew each epoch, into as many rows as it then gives.
    pub fn epochs_differ(&self) -> bool {
        matches!(self, Self::Windowed { table: None, .. })
    }

    /// Tokens of a packed row; `None` where rows are not packed.
    pub fn packed_capacity(&self) -> Option<u32> {
        match self {
            Self::Windowed {
                lengths: Lengths { grouping: Grouping::Packed { capacity, .. }, .. }, ..
            } => Some(*capacity),
            _ => None,
        }
    }

    /// The most documents, or pieces of them, in a packed row; `None` where rows are not packed.
    pub fn documents_max(&self) -> Option<u32> {
        match self {
            Self::Windowed {
                lengths: Lengths { grouping: Grouping::Packed { capacity, documents_max, .. }, .. },
                ..
            } => Some(*documents_max.min(capacity)),
            _ => None,
        }
    }

    /// The length of a sample by which rows are made; `None` where they are made without lengths.
    pub fn length(&self, pick: Pick) -> Option<u32> {
        self.length_at(pick.source as usize, pick.sample.0)
    }

    /// The same by the numbers of source and sample.
    pub fn length_at(&self, source: usize, sample: u64) -> Option<u32> {
        match self {
            Self::Windowed { lengths, .. } => Some(lengths.of[source][sample as usize]),
            Self::Plain(_) | Self::Batches(..) => None,
        }
    }

    /// The most samples, or packed sequences, that a batch of `rows` rows has.
    pub fn samples_max(&self, rows: u32) -> u32 {
        match self {
            Self::Plain(_) => rows,
            Self::Batches(_, most) => rows.saturating_mul(*most),
            Self::Windowed { lengths, .. } => match lengths.grouping {
                Grouping::Budgeted { samples_max, .. } => rows.saturating_mul(samples_max),
                Grouping::Packed { .. } | Grouping::Bucketed { .. } => rows,
            },
        }
    }

    /// Names the order over its snapshots.
    ///
    /// # Errors
    /// Internal: another number of snapshots than of sources, which resolving has checked.
    pub fn digest(&self, snapshots: &[Digest]) -> Result<Digest, Fault> {
        let digest = match self {
            Self::Plain(order) => order.digest(snapshots),
            Self::Batches(batches, _) => Ok(batches.digest(&snapshots[0])),
            Self::Windowed { windowed, .. } => windowed.digest(snapshots),
        };
        digest.map_err(|error| Fault::internal(error.to_string()))
    }

    /// The rows of an epoch. Where its windows must be counted anew, that reads every length.
    ///
    /// # Errors
    /// Invalid: the epoch has no rows, since all its lengths are 0.
    pub fn epoch(&self, epoch: u64) -> Result<EpochRows, Fault> {
        let prf = |purpose| EpochPrf::new(self.seed(), purpose, epoch);
        let (augment, device) = (prf(Purpose::Augment), prf(Purpose::DeviceDecode));
        let (rows, kind) = match self {
            Self::Plain(order) => (order.rows(epoch), EpochKind::Plain(order.epoch(epoch))),
            Self::Batches(batches, _) => {
                let picks = Order::Explicit(batches.order().clone()).epoch(epoch);
                (batches.rows(epoch), EpochKind::Batches(batches.clone(), picks))
            }
            Self::Windowed { windowed, lengths, table } => {
                let windows =
                    windows_of(windowed, lengths, table.as_ref(), epoch).map_err(|e| invalid(&e))?;
                (windows.rows(), EpochKind::Windowed(Box::new(windows), lengths.clone()))
            }
        };
        Ok(EpochRows { rows, kind, augment, device })
    }

    /// Rows of the first epoch: of every one, but where lists or mixed windows differ.
    ///
    /// # Errors
    /// As [`JobOrder::epoch`].
    pub fn rows_first(&self) -> Result<u64, Fault> {
        match self {
            Self::Plain(order) => Ok(order.rows(0)),
            Self::Batches(batches, _) => Ok(batches.rows(0)),
            Self::Windowed { .. } => self.epoch(0).map(|epoch| epoch.rows()),
        }
    }
}

fn windows_of(
    windowed: &Windowed,
    lengths: &Lengths,
    table: Option<&WindowTable>,
    epoch: u64,
) -> Result<WindowedEpoch, OrderError> {
    match table {
        Some(table) => windowed.epoch(epoch, table),
        None => windowed.epoch(epoch, &windowed.table(epoch, |pick| lengths.of(pick))?),
    }
}

/// Checks what a client asked for against the sources that it orders.
///
/// # Errors
/// Invalid, naming what does not fit and the cure; Unimplemented.
pub fn order(
    given: Option<&v1::Order>,
    sources: &[JobSource],
    wire: &[v1::Source],
) -> Result<JobOrder, Fault> {
    let given = given.cloned().unwrap_or_default();
    if given.version != 0 && given.version != ORDER_VERSION {
        let message =
            format!("order version {} is not {ORDER_VERSION}, the one this daemon computes", given.version);
        return Err(Fault::invalid(message).hint("resume with the forebay version that wrote the state"));
    }
    let sampler = given.sampler();
    if sources.len() > 1 && sampler != v1::Sampler::Mixture {
        return Err(Fault::invalid(format!(
            "{} sources in the order {}",
            sources.len(),
            sampler.as_str_name()
        ))
        .hint("several sources need the sampler MIXTURE and a share each"));
    }
    let rows = sources[0].snapshot.len();
    let single =
        |sampler| OrderSpec::new(sampler, given.seed, rows).map(Order::Single).map_err(OrderError::from);
    let order = match sampler {
        v1::Sampler::Unspecified | v1::Sampler::Sequential => {
            single(Sampler::Sequential).map_err(|e| invalid(&e))?
        }
        v1::Sampler::Shuffled => single(Sampler::Shuffled).map_err(|e| invalid(&e))?,
        v1::Sampler::Mixture => Order::Mixture(mixture(&given, sources, wire)?),
        v1::Sampler::Balanced => Order::Balanced(balanced(&given, &sources[0])?),
        v1::Sampler::Weighted => Order::Weighted(weighted(&given, &sources[0])?),
        v1::Sampler::Explicit => match explicit(&given, rows)? {
            (explicit, None) => Order::Explicit(explicit),
            (explicit, Some(sizes)) => return batches(&given, explicit, &sizes),
        },
        v1::Sampler::Packed => {
            return Err(
                Fault::unimplemented("sampler PACKED").hint("packing is Order.windows, over any sampler")
            );
        }
    };
    let order = match given.repeat {
        Some(repeat) => repeated(order, repeat)?,
        None => order,
    };
    match &given.windows {
        Some(wire) => windowed(order, wire, sources),
        None => Ok(order.into()),
    }
}

fn mixture(given: &v1::Order, sources: &[JobSource], wire: &[v1::Source]) -> Result<Mixture, Fault> {
    let mut mixed = Vec::new();
    for (source, wire) in sources.iter().zip(wire) {
        let sampler = match wire.sampler() {
            v1::Sampler::Unspecified | v1::Sampler::Shuffled => Sampler::Shuffled,
            v1::Sampler::Sequential => Sampler::Sequential,
            other => {
                let message = format!("source {}: sampler {}", source.name, other.as_str_name());
                return Err(Fault::invalid(message).hint("inside a mixture use SHUFFLED or SEQUENTIAL"));
            }
        };
        mixed.push(Source { rows: source.snapshot.len(), sampler });
    }
    let phases = match given.phases.as_slice() {
        [] => vec![Phase { from_row: 0, weights: wire.iter().map(|source| source.share).collect() }],
        phases => phases
            .iter()
            .map(|phase| Phase { from_row: phase.from_row, weights: phase.shares.clone() })
            .collect(),
    };
    let epoch = match (given.epoch_rows, given.epoch_source.as_str()) {
        (0, "") => EpochLength::Sum,
        (0, name) => EpochLength::OnePass(source_named(sources, name)?),
        (rows, "") => EpochLength::Rows(rows),
        _ => {
            return Err(
                Fault::invalid("epoch_rows and epoch_source both say how long an epoch is").hint("give one")
            );
        }
    };
    Mixture::new(&MixtureSpec { seed: given.seed, sources: mixed, phases, epoch }).map_err(|e| invalid(&e))
}

fn source_named(sources: &[JobSource], name: &str) -> Result<u32, Fault> {
    let found = sources.iter().position(|source| source.name == name);
    found.map(|index| index as u32).ok_or_else(|| {
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        Fault::invalid(format!("no source {name:?}")).hint(format!("the sources are {}", names.join(", ")))
    })
}

fn balanced(given: &v1::Order, source: &JobSource) -> Result<Balanced, Fault> {
    let name = if given.column.is_empty() { CLASS_COLUMN } else { &given.column };
    let classes = whole_numbers(source, name, "classes")?;
    let epoch = if given.epoch_rows == 0 { EpochLength::Sum } else { EpochLength::Rows(given.epoch_rows) };
    Balanced::new(given.seed, &classes, epoch).map_err(|e| invalid(&e))
}

fn weighted(given: &v1::Order, source: &JobSource) -> Result<Weighted, Fault> {
    let samples = source.snapshot.len();
    let weights: Vec<f64> = match given.column.as_str() {
        "" => {
            let (given, rest) = given.weights.as_chunks::<8>();
            if given.len() as u64 != samples || !rest.is_empty() {
                let message = format!("{} weights for {samples} samples", given.len());
                return Err(
                    Fault::invalid(message).hint("give one weight a sample, in the order of the data set")
                );
            }
            given.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }
        name => {
            let column = column_of(source, name)?;
            let value: fn(&Column, u64) -> f64 = match column.kind() {
                ColumnKind::Int => |column, row| column.int(row) as f64,
                ColumnKind::Float | ColumnKind::Weight => |column, row| column.float(row) as f64,
                _ => return Err(not_of_kind(source, name, "numbers, so it can't be weights")),
            };
            (0..samples).map(|row| value(column, row)).collect()
        }
    };
    let rows = if given.epoch_rows == 0 { samples } else { given.epoch_rows };
    Weighted::new(given.seed, &weights, rows).map_err(|e| invalid(&e))
}

/// Of each list, the sizes of its batches.
type Sizes = Vec<Vec<u32>>;

/// The order of the lists, and the sizes of each where they are cut into batches.
fn explicit(given: &v1::Order, samples: u64) -> Result<(Explicit, Option<Sizes>), Fault> {
    let lists = given.lists.iter().map(index_list).collect::<Result<Vec<_>, _>>()?;
    let explicit = Explicit::new(given.seed, samples, lists).map_err(|e| invalid(&e))?;
    let cut = given.lists.iter().filter(|list| !list.sizes.is_empty()).count();
    match cut {
        0 => Ok((explicit, None)),
        _ if cut == given.lists.len() => {
            Ok((explicit, Some(given.lists.iter().map(|list| list.sizes.clone()).collect())))
        }
        _ => Err(Fault::invalid("some lists are cut into batches and some are not")
            .hint("give sizes for all or none")),
    }
}

fn index_list(list: &v1::IndexList) -> Result<List, Fault> {
    let (narrow, narrow_rest) = list.indices.as_chunks::<4>();
    let (wide, wide_rest) = list.wide.as_chunks::<8>();
    if !narrow_rest.is_empty() || !wide_rest.is_empty() || (!narrow.is_empty() && !wide.is_empty()) {
        let hint = "`indices` are uint32, little-endian; or `wide` are uint64; not both";
        return Err(Fault::invalid("a list of indices is cut short or given twice").hint(hint));
    }
    let narrow = narrow.iter().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let indices: Vec<u64> = narrow.chain(wide.iter().map(|bytes| u64::from_le_bytes(*bytes))).collect();
    Ok(List::new(&indices))
}

fn batches(given: &v1::Order, explicit: Explicit, sizes: &[Vec<u32>]) -> Result<JobOrder, Fault> {
    if given.windows.is_some() || given.repeat.is_some() {
        return Err(Fault::invalid("written batches can't be repeated or made by lengths")
            .hint("give the list of samples without sizes, or repeat them in the list"));
    }
    let most = sizes.iter().flatten().copied().max().unwrap_or(0);
    if most > BATCH_SAMPLES_MAX {
        return Err(Fault::invalid(format!("a batch of {most} samples, at most {BATCH_SAMPLES_MAX}")));
    }
    let batches = Batches::new(explicit, sizes).map_err(|e| invalid(&e))?;
    Ok(JobOrder::Batches(batches, most))
}

fn repeated(order: Order, repeat: v1::Repeat) -> Result<Order, Fault> {
    let rows = (repeat.epoch_rows > 0).then_some(repeat.epoch_rows);
    let repeated = Repeated::new(order, repeat.times, repeat.window_rows.max(1), rows);
    repeated.map(Order::Repeated).map_err(|e| invalid(&e))
}

fn windowed(order: Order, wire: &v1::Windows, sources: &[JobSource]) -> Result<JobOrder, Fault> {
    let (grouping, multiple) = match &wire.grouping {
        Some(windows::Grouping::Bucketed(bucketed)) => {
            (Grouping::Bucketed { batch_rows: bucketed.batch_rows }, bucketed.batch_rows.max(1))
        }
        Some(windows::Grouping::Packed(packed)) => {
            let long = if packed.fail_on_long { Long::Fail } else { Long::Split };
            // Each document has a token, so that more documents than tokens bind nothing.
            let binds = (1..packed.capacity).contains(&packed.documents_max);
            let documents_max = if binds { packed.documents_max } else { u32::MAX };
            (Grouping::Packed { capacity: packed.capacity, long, documents_max }, 1)
        }
        Some(windows::Grouping::Budgeted(budget)) => {
            let samples_max = budget.samples_max.min(BATCH_SAMPLES_MAX);
            (Grouping::Budgeted { tokens: budget.tokens, samples_max }, 1)
        }
        None => {
            return Err(Fault::invalid("windows without bucketed, packed or budgeted")
                .hint("say how the rows of a window are grouped"));
        }
    };
    if order.rows(0) > WINDOWED_ROWS_MAX {
        let message = format!("windows over an epoch of {} rows, at most {WINDOWED_ROWS_MAX}", order.rows(0));
        return Err(Fault::invalid(message).hint("make the epoch shorter: set its rows"));
    }
    let column = |source| lengths(source, &wire.length_column).map(Vec::into_boxed_slice);
    let of = sources.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let digests = of.iter().map(|lengths| column_digest(lengths));
    let named = digests
        .fold(DigestBuilder::new("lengths"), |digest, column| digest.field("source", column.as_bytes()));
    let window_rows = match wire.window_rows {
        0 => WINDOW_ROWS.div_ceil(multiple).saturating_mul(multiple),
        rows => rows,
    };
    // One table serves all epochs where each holds every sample once.
    let compose = if order.is_complete() { Compose::Once } else { Compose::EachEpoch };
    let spec = WindowSpec { window_rows, grouping, compose, shuffle: !wire.keep_order };
    let windowed = Windowed::new(order, spec, named.finish()).map_err(|e| invalid(&e))?;
    let rows_are_batches = matches!(grouping, Grouping::Budgeted { .. });
    let lengths = Lengths { of: of.into(), grouping, rows_are_batches };
    let table = windowed.table(0, |pick| lengths.of(pick)).map_err(|e| invalid(&e))?;
    let table = (compose == Compose::Once).then_some(table);
    Ok(JobOrder::Windowed { windowed, lengths, table })
}

/// A column of lengths, or the lengths of a column of token lists.
fn lengths(source: &JobSource, name: &str) -> Result<Vec<u32>, Fault> {
    match source.snapshot.column(name) {
        Some(column) if column.kind() == ColumnKind::Tokens => {
            Ok((0..source.snapshot.len()).map(|row| column.tokens(row).len() as u32).collect())
        }
        _ => whole_numbers(source, name, "lengths"),
    }
}

/// A column of whole numbers from 0 to 2^32 - 1.
fn whole_numbers(source: &JobSource, name: &str, what: &str) -> Result<Vec<u32>, Fault> {
    if name.is_empty() {
        return Err(
            Fault::invalid(format!("no column of {what} is named")).hint("name a column of whole numbers")
        );
    }
    let column = column_of(source, name)?;
    if column.kind() != ColumnKind::Int {
        return Err(not_of_kind(source, name, "whole numbers"));
    }
    let number = |row| {
        u32::try_from(column.int(row)).map_err(|_| {
            let (value, key) =
                (column.int(row), String::from_utf8_lossy(&source.snapshot.key(row)).into_owned());
            Fault::invalid(format!("{what} in column {name}: {value} of sample {key}"))
                .hint("they are whole numbers from 0 to 4294967295")
        })
    };
    (0..source.snapshot.len()).map(number).collect()
}

fn column_of<'a>(source: &'a JobSource, name: &str) -> Result<&'a Column, Fault> {
    source.snapshot.column(name).ok_or_else(|| {
        let names: Vec<_> = source.snapshot.columns().iter().map(Column::name).collect();
        let shown: String = name.chars().take(64).collect();
        Fault::invalid(format!("source {}: no column {shown:?}", source.name))
            .hint(format!("it has the columns {}", names.join(", ")))
    })
}

fn not_of_kind(source: &JobSource, name: &str, what: &str) -> Fault {
    Fault::invalid(format!("source {}: column {name} does not hold {what}", source.name))
        .hint("name another column, or its kind where it was inferred wrong")
}

fn invalid(error: &OrderError) -> Fault {
    Fault::invalid(error.to_string())
}
