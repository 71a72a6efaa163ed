//! One batch as people look at it: made as any other, each row with what became of it, the images on a sheet.

mod picture;
mod plan;
mod rows;
mod words;

use std::sync::Arc;

use forebay_plan::BatchRange;
use forebay_proto::v1;

use super::fetch::{Made, finished_only};
use super::{Peer, Service, bounded};
use crate::error::Fault;
use crate::job::{FieldMaker, Job};
use crate::session::EPOCH_MAX;
use crate::sheet::{Scale, TILE_PX_MAX};
use crate::trace::{Original, Trace};
use crate::transform::ImagePipeline;
use picture::Looks;
pub use words::table;

/// A sheet of more is looked at by nobody.
const ROWS_MAX: u32 = 256;
/// A table of more is asked for in parts.
const PLANNED_ROWS_MAX: u32 = 4096;

impl Service {
    /// Makes the batch that the request's key names, and draws it. Nothing of it reaches a session: its order, state and
    /// slots are not touched, and a corrupt sample that would end a session is told of in its row.
    ///
    /// # Errors
    /// Invalid, NotFound (resolve first), or Unavailable: a file that stayed unreachable.
    pub async fn show(&self, peer: Peer, request: v1::ShowRequest) -> Result<v1::ShowReply, Fault> {
        let detail = request.detail();
        let key = request.key.ok_or_else(|| Fault::invalid("show without a key"))?;
        finished_only(&key)?;
        let most = if detail == v1::ShowDetail::Plan { PLANNED_ROWS_MAX } else { ROWS_MAX };
        let rows = bounded("rows", key.rows, 1, most)?;
        let tile_px = bounded("tile_px", request.tile_px, 0, TILE_PX_MAX)?;
        if key.epoch > EPOCH_MAX {
            return Err(Fault::invalid(format!("epoch {}, the last is {EPOCH_MAX}", key.epoch)));
        }
        let _turn = self.fetching.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
        let job = self.job(peer, &key.order_digest, &key.content_digest)?;
        let range = BatchRange { epoch: key.epoch, first_row: key.first_row, rows };
        if detail == v1::ShowDetail::Plan {
            return self.show_plan(peer, job, range, request.bad).await;
        }
        let drawn = chosen(&job, &request.field)?.filter(|_| detail != v1::ShowDetail::Rows);
        let looks = drawn.map(|field| {
            let sides = picture::sides(&job, field);
            Looks { field, scale: Scale::of(sides, rows, request.original, tile_px) }
        });
        let original = looks.as_ref().filter(|_| request.original).map(|looks| {
            let (width_max, height_max) = looks.scale.original_max();
            Original { field: looks.field, width_max, height_max }
        });
        let made = self.make(&job, range, Some(Trace::new(original)), None).await?;
        // Drawing and packing a sheet takes tens of milliseconds: off the runtime's threads.
        tokio::task::spawn_blocking(move || reply(&made, looks))
            .await
            .map_err(|error| Fault::internal(format!("show: {error}")))?
    }
}

fn reply(made: &Made, looks: Option<Looks>) -> Result<v1::ShowReply, Fault> {
    let trace = made.work.trace.as_ref().expect("it was asked for");
    let mut traced = trace.take();
    let mut rows = rows::of(made, &traced)?;
    let mut head = words::head(&made.work.job, made.work.range, made.epoch_rows);
    head.extend(words::pictured(&made.work.job, looks.as_ref()));
    let png = match looks {
        Some(looks) => picture::draw(made, &looks, &head, &mut traced, &mut rows)?,
        None => Vec::new(),
    };
    let text = table(&head, &rows);
    Ok(v1::ShowReply { png, rows, text, head })
}

/// The field of images or clips that the sheet shows: the one named, else the job's first, if it has any.
fn chosen(job: &Arc<Job>, name: &str) -> Result<Option<usize>, Fault> {
    let images: Vec<_> = (0..job.fields.len()).filter(|&index| pipeline(job, index).is_some()).collect();
    if name.is_empty() {
        return Ok(images.first().copied());
    }
    let found = images.iter().copied().find(|&index| job.fields[index].spec.name == name);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = images.iter().map(|&index| job.fields[index].spec.name.as_str()).collect();
        let short: String = name.chars().take(64).collect();
        let hint = if names.is_empty() {
            "it has none: leave the field out to see its values".to_owned()
        } else {
            format!("its images are {}", names.join(", "))
        };
        Fault::invalid(format!("{short:?} is no image of this job")).hint(hint)
    })
}

fn pipeline(job: &Job, field: usize) -> Option<&ImagePipeline> {
    match &job.fields[field].makers[0] {
        FieldMaker::Image { pipeline, .. } | FieldMaker::Clip { pipeline, .. } => Some(pipeline),
        _ => None,
    }
}
