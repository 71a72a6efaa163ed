//! The rows of a job: what stands in each row of a batch, decided when the batch is admitted and never again.

use std::sync::Arc;

use forebay_plan::orders::{Batches, EpochPicks, Pick, Walker};
use forebay_plan::windows::{Window, WindowedEpoch};
use forebay_plan::{BatchRange, EpochPrf, RowRng};

use super::order::Lengths;
use crate::error::{Fault, Kind};

/// One epoch of a job: its order and its random draws.
pub struct EpochRows {
    pub(super) rows: u64,
    pub(super) kind: EpochKind,
    pub(super) augment: EpochPrf,
    pub(super) device: EpochPrf,
}

/// How an epoch's rows are made of picks.
pub(super) enum EpochKind {
    /// A row is a sample.
    Plain(EpochPicks),
    /// A row is a batch that was written down.
    Batches(Batches, EpochPicks),
    /// A row is what a window made of the lengths of its samples.
    Windowed(Box<WindowedEpoch>, Lengths),
}

/// What one row of a batch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlan {
    /// The row of the epoch. All samples of a row that is a batch have the same.
    pub position: u64,
    /// False where the row only fills up the shape.
    pub valid: bool,
    first_part: u32,
    parts: u32,
}

/// A sample, or a piece of one, in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// What its draws are keyed by: the row, or in windowed rows and written batches the sampler's row it comes from.
    pub position: u64,
    /// Which sample.
    pub pick: Pick,
    /// Where in the sample it begins, in units of the length column: 0 but in packed rows.
    pub start: u32,
    /// How much of it there is, where the job knows lengths; else 0.
    pub len: u32,
}

/// The rows of a batch, in order. Each has one part, but packed ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchRows {
    rows: Vec<RowPlan>,
    parts: Vec<PartPlan>,
}

impl BatchRows {
    /// How many rows: as many as the batch has samples, or packed sequences.
    pub fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row number `row` of the batch.
    pub fn row(&self, row: u32) -> RowPlan {
        self.rows[row as usize]
    }

    /// What row number `row` holds, end to end; at least one part.
    pub fn parts(&self, row: u32) -> &[PartPlan] {
        let RowPlan { first_part, parts, .. } = self.row(row);
        &self.parts[first_part as usize..(first_part + parts) as usize]
    }

    /// The one part of a row that is a sample; of a packed row the first.
    pub fn part(&self, row: u32) -> PartPlan {
        self.parts[self.row(row).first_part as usize]
    }

    fn with_capacity(rows: u32) -> Self {
        Self { rows: Vec::with_capacity(rows as usize), parts: Vec::with_capacity(rows as usize) }
    }

    fn push(&mut self, position: u64, valid: bool, parts: impl ExactSizeIterator<Item = PartPlan>) {
        let (first_part, count) = (self.parts.len() as u32, parts.len() as u32);
        self.parts.extend(parts);
        self.rows.push(RowPlan { position, valid, first_part, parts: count });
    }
}

impl EpochRows {
    /// Rows of the epoch: what a [`forebay_plan::Cut`] needs.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What stands in a row, where rows are samples; a [`RowWalker`] is for many.
    pub fn pick(&self, position: u64) -> Option<Pick> {
        match &self.kind {
            EpochKind::Plain(picks) => Some(picks.pick(position)),
            EpochKind::Batches(..) | EpochKind::Windowed(..) => None,
        }
    }

    /// What a part's transforms draw from. `position`: the part's.
    pub fn draws(&self, position: u64, view: u32, attempt: u32) -> RowRng {
        self.augment.rng(position, view, attempt)
    }

    /// Whether a device is to decode the images of a part, where `ratio` of all are. `position`: the part's.
    pub fn is_for_device(&self, position: u64, ratio: f64) -> bool {
        self.device.is_among(position, ratio)
    }

    /// What to try in the place of a part whose sample is corrupt. `position`: the part's; `attempt`: from 1.
    pub fn substitute(&self, position: u64, attempt: u32) -> Pick {
        match &self.kind {
            EpochKind::Plain(picks) | EpochKind::Batches(_, picks) => picks.substitute(position, attempt),
            EpochKind::Windowed(epoch, _) => epoch.substitute(position, attempt),
        }
    }
}

/// Plans the batches of one consumer, best in rising order; what neighbouring rows share is computed once.
///
/// What it returns never depends on what it was asked before.
pub struct RowWalker {
    epoch: Arc<EpochRows>,
    walker: Option<Walker>,
    /// The place of the window in hand, and the window.
    window: Option<(u64, Window)>,
}

impl RowWalker {
    /// A walker over one epoch.
    pub fn new(epoch: Arc<EpochRows>) -> Self {
        let walker = match &epoch.kind {
            EpochKind::Plain(picks) | EpochKind::Batches(_, picks) => Some(picks.walker()),
            EpochKind::Windowed(..) => None,
        };
        Self { epoch, walker, window: None }
    }

    /// The epoch that it walks.
    pub fn epoch(&self) -> &Arc<EpochRows> {
        &self.epoch
    }

    /// The rows of a batch.
    ///
    /// # Errors
    /// Internal: a window can't be grouped as its table says, which the same lengths always can.
    pub fn plan(&mut self, range: BatchRange) -> Result<BatchRows, Fault> {
        let mut planned = BatchRows::with_capacity(range.rows);
        for row in range.iter(self.epoch.rows) {
            self.push(&mut planned, row.position, row.valid)?;
        }
        Ok(planned)
    }

    fn push(&mut self, planned: &mut BatchRows, position: u64, valid: bool) -> Result<(), Fault> {
        let whole = |position, pick| PartPlan { position, pick, start: 0, len: 0 };
        let epoch = Arc::clone(&self.epoch);
        match &epoch.kind {
            EpochKind::Plain(_) => {
                let pick = self.picked(position);
                planned.push(position, valid, std::iter::once(whole(position, pick)));
            }
            EpochKind::Batches(batches, picks) => {
                for listed in batches.positions(picks.epoch(), position) {
                    let part = whole(listed, self.picked(listed));
                    planned.push(position, valid, std::iter::once(part));
                }
            }
            EpochKind::Windowed(windows, lengths) => {
                let row = self.window(windows, lengths, position)?.row(position);
                let parts = row.parts().map(|part| PartPlan {
                    position: part.position,
                    pick: part.pick,
                    start: part.start,
                    len: part.len,
                });
                if lengths.rows_are_batches {
                    parts.for_each(|part| planned.push(position, valid, std::iter::once(part)));
                } else {
                    planned.push(position, valid, parts);
                }
            }
        }
        Ok(())
    }

    fn picked(&mut self, position: u64) -> Pick {
        self.walker.as_mut().expect("rows that are samples have a walker").pick(position)
    }

    fn window(&mut self, windows: &WindowedEpoch, lengths: &Lengths, row: u64) -> Result<&Window, Fault> {
        let place = windows.window_of(row);
        if self.window.as_ref().is_none_or(|(kept, _)| *kept != place) {
            let window = windows.window(place, |pick| lengths.of(pick));
            let window = window.map_err(|error| Fault::from_error(Kind::Internal, &error))?;
            self.window = Some((place, window));
        }
        Ok(&self.window.as_ref().expect("just put there").1)
    }
}
