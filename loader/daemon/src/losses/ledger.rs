//! The losses of one job by sample: dense pages by source and number, made when the first loss of a page comes.

use std::sync::Arc;

use forebay_plan::BatchRange;
use forebay_plan::orders::Pick;

use super::steps::{Reported, Step, Steps};
use super::{Entry, Replaced, SAMPLE_BYTES, Stat};
use crate::error::Fault;
use crate::job::{Job, Policy, RowWalker};

/// Samples of a page.
const PAGE_SAMPLES: usize = 4096;
/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = (PAGE_SAMPLES * SAMPLE_BYTES) as u64;

type Page = Box<[Stat]>;

/// What stood in a row, the row, and its loss.
type Stood = (Pick, u64, f32);

/// The losses of one batch of a rank.
#[derive(Clone, Copy, Debug)]
pub struct BatchLosses<'a> {
    /// Its epoch.
    pub epoch: u64,
    /// Its first row.
    pub first_row: u64,
    /// Whose batch.
    pub rank: u32,
    /// One a sample, in the order of the batch; may be no finite number.
    pub losses: &'a [f32],
}

/// What became of reported losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// In the ledger.
    pub noted: u64,
    /// Of rows that are not valid: they repeat others, or are masked.
    pub left_out: u64,
    /// Of samples for which there was no room.
    pub unkept: u64,
    /// Of those in the ledger, no finite numbers.
    pub nan: u64,
}

/// The losses of one job.
pub struct Ledger {
    job: Arc<Job>,
    /// By source, then by page.
    pages: Vec<Vec<Option<Page>>>,
    steps: Steps,
    /// The epoch that was reported last.
    walker: Option<(u64, RowWalker)>,
    bytes: u64,
    /// What was noted since the ledger was last written.
    unsaved: u64,
}

impl Ledger {
    /// A ledger without any loss.
    pub fn new(job: Arc<Job>) -> Self {
        let pages = job.sources.iter().map(|source| {
            let pages = source.snapshot.len().div_ceil(PAGE_SAMPLES as u64);
            std::iter::repeat_with(|| None).take(pages as usize).collect()
        });
        let pages: Vec<Vec<Option<Page>>> = pages.collect();
        let bytes = pages.iter().map(|pages| size_of_val(pages.as_slice()) as u64).sum();
        Self { job, pages, steps: Steps::default(), walker: None, bytes, unsaved: 0 }
    }

    /// Whose losses.
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Losses since it was last taken to be written; they count as written from here on.
    pub fn take_unsaved(&mut self) -> u64 {
        std::mem::take(&mut self.unsaved)
    }

    /// Takes [`Self::take_unsaved`] back: it could not be written.
    pub fn not_saved(&mut self, losses: u64) {
        self.unsaved += losses;
    }

    /// Adds the losses of a batch to the samples that really stood in its rows. In a packed row each document gets the
    /// row's loss.
    ///
    /// * `replaced`: the rows of the job that met corrupt samples.
    /// * `room_bytes`: what new pages may take; what they took is taken off.
    ///
    /// # Errors
    /// Invalid: there is no such batch, or it has another number of samples. Nothing is noted then.
    pub fn note(
        &mut self,
        batch: &BatchLosses<'_>,
        replaced: &Replaced,
        room_bytes: &mut u64,
    ) -> Result<Noted, Fault> {
        let (losses, mut noted) = self.losses_of(batch, replaced)?;
        for &(pick, position, loss) in &losses {
            let Some(stat) = self.stat(pick, room_bytes) else {
                noted.unkept += 1;
                continue;
            };
            stat.note(loss, batch.epoch, position);
            noted.noted += 1;
            noted.nan += u64::from(!loss.is_finite());
        }
        self.unsaved += noted.noted;
        let losses: Vec<_> = losses.into_iter().map(|(pick, _, loss)| (pick, loss)).collect();
        let BatchLosses { epoch, first_row, rank, .. } = *batch;
        self.steps.note(&Reported { epoch, first_row, rank, losses: &losses });
        Ok(noted)
    }

    /// The samples that stood in the batch's valid rows, with their row and loss; and how many rows were left out.
    fn losses_of(
        &mut self,
        batch: &BatchLosses<'_>,
        replaced: &Replaced,
    ) -> Result<(Vec<Stood>, Noted), Fault> {
        let job = Arc::clone(&self.job);
        let walker = self.walker(batch.epoch)?;
        let epoch = Arc::clone(walker.epoch());
        // A padded tail goes on behind the epoch's end by less than the largest global batch.
        if batch.first_row >= epoch.rows().saturating_add(u64::from(u32::MAX)) {
            let message = format!("row {} is behind the epoch's {} rows", batch.first_row, epoch.rows());
            return Err(Fault::invalid(message).hint("report the batch as it was delivered"));
        }
        let rows = if job.order.rows_are_batches() { 1 } else { batch.losses.len() as u32 };
        let planned = walker.plan(BatchRange { epoch: batch.epoch, first_row: batch.first_row, rows })?;
        if planned.len() as usize != batch.losses.len() {
            let (given, has) = (batch.losses.len(), planned.len());
            let message = format!("{given} losses of a batch that has {has} samples");
            return Err(Fault::invalid(message).hint("report one loss a sample: reduction=\"none\""));
        }
        let (mut found, mut noted) = (Vec::with_capacity(batch.losses.len()), Noted::default());
        for (row, &loss) in (0..planned.len()).zip(batch.losses) {
            let masked = job.bad_sample.policy == Policy::Mask
                && replaced.attempts(batch.epoch, planned.part(row).position) > 0;
            if masked || !planned.row(row).valid {
                noted.left_out += 1;
                continue;
            }
            for part in planned.parts(row) {
                let pick = match replaced.attempts(batch.epoch, part.position) {
                    0 => part.pick,
                    attempt => epoch.substitute(part.position, attempt),
                };
                found.push((pick, planned.row(row).position, loss));
            }
        }
        Ok((found, noted))
    }

    fn walker(&mut self, epoch: u64) -> Result<&mut RowWalker, Fault> {
        if self.walker.as_ref().is_none_or(|(kept, _)| *kept != epoch) {
            self.walker = Some((epoch, RowWalker::new(self.job.epoch(epoch)?)));
        }
        Ok(&mut self.walker.as_mut().expect("just put there").1)
    }

    /// The place of a sample; `None` where its page does not fit any more.
    fn stat(&mut self, pick: Pick, room_bytes: &mut u64) -> Option<&mut Stat> {
        let number = pick.sample.0 as usize;
        let page = &mut self.pages[pick.source as usize][number / PAGE_SAMPLES];
        if page.is_none() {
            *room_bytes = room_bytes.checked_sub(PAGE_BYTES)?;
            self.bytes += PAGE_BYTES;
            *page = Some(vec![Stat::default(); PAGE_SAMPLES].into());
        }
        Some(&mut page.as_mut().expect("just made")[number % PAGE_SAMPLES])
    }

    /// The pages that there are, by source and number: what [`Self::page`] takes.
    pub fn pages(&self) -> Vec<(u32, usize)> {
        let of_source = |(source, pages): (usize, &Vec<Option<Page>>)| {
            let made = pages.iter().enumerate().filter(|(_, page)| page.is_some());
            made.map(move |(number, _)| (source as u32, number)).collect::<Vec<_>>()
        };
        self.pages.iter().enumerate().flat_map(of_source).collect()
    }

    /// The samples of a page that have a loss, in order. Keys are not looked up.
    pub fn page(&self, (source, number): (u32, usize)) -> Vec<Entry> {
        let Some(page) = &self.pages[source as usize][number] else { return Vec::new() };
        let first = (number * PAGE_SAMPLES) as u64;
        let entry = |(index, &stat): (usize, &Stat)| Entry {
            source,
            sample: Some(first + index as u64),
            key: None,
            stat,
        };
        page.iter().enumerate().filter(|(_, stat)| stat.is_seen()).map(entry).collect()
    }

    /// Every sample that has a loss, in the order of sources and samples. Keys are not looked up.
    pub fn entries(&self) -> Vec<Entry> {
        self.pages().into_iter().flat_map(|page| self.page(page)).collect()
    }

    /// The steps that stood out, those with losses that are no finite number first; their samples by name, with the
    /// source before it where there are several.
    pub fn named_steps(&self) -> Vec<Step<String>> {
        let named = |step: Step| {
            let worst = step.worst.iter().map(|(pick, loss)| (self.job.key(*pick), *loss)).collect();
            step.with_worst(worst)
        };
        self.steps.list().into_iter().map(named).collect()
    }

    /// What a sample is called, without its source.
    pub fn key(&self, source: u32, sample: u64) -> String {
        key(&self.job, source, sample)
    }
}

/// What a sample is called, without its source.
pub fn key(job: &Job, source: u32, sample: u64) -> String {
    String::from_utf8_lossy(job.snapshot(source).key(sample).as_ref()).into_owned()
}
