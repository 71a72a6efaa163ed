//! A batch as the plan names it, and nothing decoded: which samples, and which part of each image its views show.
//!
//! A draw is a function of the row and of the image's size, and that stands in the header. What only decoding tells,
//! whether a sample is corrupt, is taken from what sessions noted.

use std::sync::Arc;

use forebay_plan::{BatchRange, SUBSTITUTE_ATTEMPTS_MAX};
use forebay_proto::v1::{self, RowState};

use super::{pipeline, rows, words};
use crate::catalog::Snapshot;
use crate::decode::{ImageDecoder, ImageInfo};
use crate::error::{Fault, with_causes};
use crate::job::{EpochRows, FieldMaker, Job, PartPlan, Policy, RowPlan, RowWalker, START_VIEW};
use crate::server::{Peer, Service};
use crate::storage;
use crate::transform::{Drawn, ImagePipeline};
use crate::workers::Draws;

/// Most headers are in this much of their file; else all of it is read.
const HEAD_BYTES: u64 = 64 << 10;

impl Service {
    /// Names the rows of `range`. `bad`: what the caller knows of corrupt samples that the run met.
    pub(super) async fn show_plan(
        &self,
        peer: Peer,
        job: Arc<Job>,
        range: BatchRange,
        mut bad: Vec<v1::BadSample>,
    ) -> Result<v1::ShowReply, Fault> {
        let epoch = job.epoch_now(range.epoch)?;
        bad.extend(self.noted(peer, &job, range.epoch));
        let (limits, sample_bytes_max) = (self.pool.image_limits(), self.pool.sample_bytes_max());
        // Headers are read one after the other, by calls that block.
        tokio::task::spawn_blocking(move || {
            let headers = Headers { decoder: ImageDecoder::new(limits), sample_bytes_max };
            reply(&job, &epoch, range, &bad, headers)
        })
        .await
        .map_err(|error| Fault::internal(format!("show: {error}")))?
    }

    /// What open sessions of the job noted of an epoch.
    fn noted(&self, peer: Peer, job: &Job, epoch: u64) -> Vec<v1::BadSample> {
        let names = (job.order_digest, job.content_digest);
        let mut listed = self.sessions.all();
        listed.retain(|listed| {
            let its = &listed.spec.job;
            (its.order_digest, its.content_digest) == names && self.may_see(peer, listed)
        });
        let lines = listed.iter().flat_map(|listed| listed.counters.bad_samples());
        lines.filter(|line| line.epoch == epoch).collect()
    }
}

fn reply(
    job: &Arc<Job>,
    epoch: &Arc<EpochRows>,
    range: BatchRange,
    bad: &[v1::BadSample],
    mut headers: Headers,
) -> Result<v1::ShowReply, Fault> {
    let planned = RowWalker::new(Arc::clone(epoch)).plan(range)?;
    let mut told = Vec::with_capacity(planned.len() as usize);
    for row in 0..planned.len() {
        let standing = Standing::of(job, epoch, planned.row(row), planned.part(row), bad);
        let mut report = standing.report(job, epoch, range.epoch, &mut headers);
        if job.order.packed_capacity().is_some() {
            report.parts = rows::parts(job, planned.parts(row));
        }
        told.push(report);
    }
    let mut head = words::head(job, range, epoch.rows());
    head.extend(caution(job, &told));
    let text = words::table(&head, &told);
    Ok(v1::ShowReply { png: Vec::new(), rows: told, text, head })
}

/// What the rows do not say.
fn caution(job: &Job, rows: &[v1::RowReport]) -> Option<String> {
    let unsure = rows.iter().any(|row| row.state() == RowState::Planned);
    let what = match job.bad_sample.policy {
        Policy::Substitute => "replaced",
        Policy::Mask => "masked",
        Policy::Fail => return None,
    };
    unsure.then(|| format!("as planned: --recompute decodes, to see whether a sample was corrupt and {what}"))
}

/// What stands in a row, as far as it is known without decoding.
struct Standing {
    row: RowPlan,
    part: PartPlan,
    attempt: u32,
    state: RowState,
    bad: Vec<v1::BadSample>,
}

impl Standing {
    fn of(job: &Job, epoch: &EpochRows, row: RowPlan, mut part: PartPlan, bad: &[v1::BadSample]) -> Self {
        let mut met: Vec<_> = bad.iter().filter(|line| line.position == row.position).cloned().collect();
        met.sort_unstable_by_key(|line| line.attempt);
        met.dedup_by_key(|line| line.attempt);
        let (attempt, state) = match (met.last(), job.bad_sample.policy) {
            (None, _) if !row.valid => (0, RowState::Repeated),
            // A session would have ended at a corrupt one.
            (None, Policy::Fail) => (0, RowState::Ok),
            (None, _) => (0, RowState::Planned),
            (Some(_), Policy::Fail) => (0, RowState::Failed),
            (Some(_), Policy::Mask) => (0, RowState::Masked),
            (Some(last), Policy::Substitute) if last.attempt >= SUBSTITUTE_ATTEMPTS_MAX => {
                (SUBSTITUTE_ATTEMPTS_MAX, RowState::Failed)
            }
            (Some(last), Policy::Substitute) if row.valid => (last.attempt + 1, RowState::Substituted),
            (Some(last), Policy::Substitute) => (last.attempt + 1, RowState::Repeated),
        };
        if attempt > 0 {
            part.pick = epoch.substitute(part.position, attempt);
        }
        Self { row, part, attempt, state, bad: met }
    }

    fn report(self, job: &Job, epoch: &EpochRows, number: u64, headers: &mut Headers) -> v1::RowReport {
        let pick = self.part.pick;
        let stands = !matches!(self.state, RowState::Masked | RowState::Failed);
        let mut report = v1::RowReport {
            epoch: number,
            position: self.row.position,
            state: self.state.into(),
            valid: self.row.valid && stands,
            key: job.key(pick),
            attempt: self.attempt,
            source: rows::source_name(job, pick),
            bad: self.bad,
            ..Default::default()
        };
        if stands {
            report.class_name = rows::class_name(job, pick).unwrap_or_default();
            report.values = values(job, epoch, self.part, self.attempt);
            match images(job, epoch, self.part, self.attempt, headers) {
                Ok(images) => report.images = images,
                Err(why) => report.note = why,
            }
        }
        report
    }
}

/// The values of the fields that are columns, as they are in the batch.
fn values(job: &Job, epoch: &EpochRows, part: PartPlan, attempt: u32) -> Vec<v1::ValueReport> {
    let (source, sample) = (part.pick.source, part.pick.sample.0);
    let of = |field: &crate::job::FieldPlan| {
        let mut bytes = vec![0; field.spec.sample_bytes()? as usize];
        match field.maker(source) {
            FieldMaker::Value(value) => {
                value.write(job.snapshot(source), sample, &mut bytes);
                Some(rows::value(&field.spec, value.is_text(), &bytes))
            }
            FieldMaker::Source => {
                let text = source.to_string();
                Some(v1::ValueReport { name: field.spec.name.clone(), text })
            }
            // What stands in files is not read, and what is made of it is not known.
            FieldMaker::Clip { .. } => rows::frames(job, field, epoch, part, attempt),
            FieldMaker::Image { .. }
            | FieldMaker::DeviceNumbers
            | FieldMaker::Raw { .. }
            | FieldMaker::Stored(_)
            | FieldMaker::Array { .. }
            | FieldMaker::Tokens(_)
            | FieldMaker::Length { .. }
            | FieldMaker::Packed(_) => None,
        }
    };
    job.fields.iter().filter_map(of).collect()
}

/// What each view of each image, and each frame of each clip, shows, or why that can't be told.
fn images(
    job: &Job,
    epoch: &EpochRows,
    part: PartPlan,
    attempt: u32,
    headers: &mut Headers,
) -> Result<Vec<v1::ImageReport>, String> {
    let mut told = Vec::new();
    for (index, field) in job.fields.iter().enumerate() {
        let Some(pipeline) = pipeline(job, index) else { continue };
        let (snapshot, sample) = (job.snapshot(part.pick.source), part.pick.sample.0);
        let (path, extent) = match field.maker(part.pick.source) {
            FieldMaker::Image { place, .. } => {
                let path = snapshot.columns()[place.column()].path(sample).to_vec();
                (path, place.value(snapshot, sample))
            }
            FieldMaker::Clip { clip, .. } => {
                let draws = || epoch.draws(part.position, START_VIEW, attempt);
                (clip.chosen(snapshot, sample, draws).path(0), None)
            }
            _ => continue,
        };
        let image = headers.info(snapshot, &path, extent, pipeline)?;
        let draw = |view| pipeline.draw(image, &mut Draws(epoch.draws(part.position, view, attempt)));
        let drawn = Drawn { image, views: (0..field.views()).map(draw).collect() };
        told.extend(rows::image_reports(job, index, &drawn));
    }
    Ok(told)
}

/// Reads the headers of images.
struct Headers {
    decoder: ImageDecoder,
    sample_bytes_max: u64,
}

impl Headers {
    /// Size and format, as `pipeline` sees it, of the image in a file or an extent of it.
    fn info(
        &mut self,
        snapshot: &Snapshot,
        path: &[u8],
        extent: Option<(u64, u64)>,
        pipeline: &ImagePipeline,
    ) -> Result<ImageInfo, String> {
        let root = snapshot.root().ok_or("its source has no root")?;
        let read = |len_max| {
            let read = match extent {
                Some(extent) => storage::head_of(root, path, extent, len_max),
                None => storage::head(root, path, len_max),
            };
            read.map_err(|error| with_causes(&error))
        };
        let head = read(HEAD_BYTES)?;
        if head.file_bytes > self.sample_bytes_max {
            return Err(format!("{} bytes, more than sample_max", head.file_bytes));
        }
        let mut look = |bytes: &[u8]| pipeline.look(bytes, &mut self.decoder).map(|(image, _)| image);
        match look(&head.bytes) {
            Err(_) if head.file_bytes > HEAD_BYTES => look(&read(self.sample_bytes_max)?.bytes),
            info => info,
        }
        .map_err(|error| format!("its header: {}", with_causes(&error)))
    }
}
