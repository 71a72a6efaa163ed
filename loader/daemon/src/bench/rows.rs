//! Which sample stands in which row, over as many epochs as a bench needs, and where its bytes lie.

use std::sync::Arc;

use forebay_plan::{RowRng, SampleId};

use crate::catalog::{ColumnKind, Snapshot};
use crate::job::{EpochRows, Job};
use crate::transform::RowDraws;

/// Walks a job's rows; one a thread, since it remembers the epoch it is in.
#[derive(Clone)]
pub struct Rows {
    /// What the rows are.
    pub job: Arc<Job>,
    path_column: usize,
    extent_columns: Option<(usize, usize)>,
    epoch: Option<(u64, Arc<EpochRows>)>,
}

/// One row.
pub struct Row {
    /// Its sample.
    pub sample: SampleId,
    /// What its transforms draw from.
    pub draws: Draws,
}

impl Rows {
    /// The rows of `job`, whose image paths are in column number `path_column`.
    pub fn new(job: Arc<Job>, path_column: usize) -> Self {
        let extent_columns = extent_columns(job.snapshot(0), path_column);
        Self { job, path_column, extent_columns, epoch: None }
    }

    /// Row number `row`, counted over all epochs.
    pub fn row(&mut self, row: u64) -> Row {
        let (number, position) = (row / self.job.rows, row % self.job.rows);
        if self.epoch.as_ref().is_none_or(|(epoch, _)| *epoch != number) {
            let rows = self.job.epoch(number).expect("a bench's order is one shuffled source");
            self.epoch = Some((number, rows));
        }
        let (_, epoch) = self.epoch.as_ref().expect("set above");
        let draws = Draws(epoch.draws(position, 0, 0));
        let pick = epoch.pick(position).expect("a row is a sample");
        Row { sample: pick.sample, draws }
    }

    /// The path of a sample's image, relative to the source's root.
    pub fn path(&self, sample: SampleId) -> &[u8] {
        self.job.snapshot(0).columns()[self.path_column].path(sample.0)
    }

    /// Offset and length in bytes of a sample inside of its file; `None` where the file is the sample.
    pub fn extent(&self, sample: SampleId) -> Option<(u64, u64)> {
        let (offset, length) = self.extent_columns?;
        let columns = self.job.snapshot(0).columns();
        Some((columns[offset].int(sample.0) as u64, columns[length].int(sample.0) as u64))
    }
}

/// The columns beside a path column that say where in its file a sample lies.
fn extent_columns(snapshot: &Snapshot, path_column: usize) -> Option<(usize, usize)> {
    let name = snapshot.columns().get(path_column)?.name();
    let int = |what: &str| {
        let named = format!("{name}.{what}");
        let mut columns = snapshot.columns().iter();
        columns.position(|column| column.name() == named && column.kind() == ColumnKind::Int)
    };
    int("offset").zip(int("length"))
}

/// The plan's generator as the transforms' source of draws.
#[derive(Clone)]
pub struct Draws(RowRng);

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }
}
