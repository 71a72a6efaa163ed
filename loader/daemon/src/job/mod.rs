//! A job: a spec checked against the data it names. Everything a row is made from, immutable and shared.

mod arrays;
mod classes;
mod clips;
mod device_decode;
mod digest;
mod fields;
mod images;
mod known;
mod located;
mod order;
mod parts;
mod raw_fields;
mod rows;
mod spec;
mod stored;
mod token_fields;
mod tokens;
mod values;

use std::sync::{Arc, Mutex};

use forebay_plan::orders::Pick;
use forebay_plan::{BatchLayout, DType, Digest, MemoryOrder, Parts, TensorSpec};
use forebay_proto::v1;

pub use classes::CLASS_COLUMN;
pub use clips::{Chosen, ClipPlan, START_VIEW};
pub use device_decode::DeviceDecode;
pub use fields::{FieldMaker, FieldPlan};
pub use located::Located;
pub(crate) use located::is_of_places;
pub use order::JobOrder;
pub use raw_fields::SIZE_COLUMN;
pub use rows::{BatchRows, EpochRows, PartPlan, RowPlan, RowWalker};
pub use spec::{BadSample, Policy, check_job_id, resolve, resolve_all};
pub use stored::{StoredBytes, stored};
pub use tokens::{PackedIds, TokenFile, TokensMaker};

use crate::catalog::Snapshot;
use crate::error::Fault;
use crate::sys;

/// The tensor that says which rows count, where a session has one.
pub const VALID: &str = "valid";

/// How many epochs' orders are kept: the running one, the next, and what evaluation or a re-open asks for.
const EPOCHS_KEPT: usize = 4;

/// One of the sets of samples that a job draws from.
pub struct JobSource {
    /// Its name among the job's sources.
    pub name: String,
    /// The data.
    pub snapshot: Arc<Snapshot>,
}

/// A resolved job: snapshots, order and content, and their names.
pub struct Job {
    /// Unique a run; the client's, or derived from the digests.
    pub id: String,
    /// The data, at least one source.
    pub sources: Vec<JobSource>,
    /// The one name for all their snapshots.
    pub snapshot_id: Digest,
    /// Class names by label, of all sources together; empty where no source has any.
    pub classes: Vec<String>,
    /// Which samples stand in which row.
    pub order: JobOrder,
    /// Rows of the first epoch.
    pub rows: u64,
    /// Names snapshots and order; must match to resume.
    pub order_digest: Digest,
    /// Names what a row's bytes are; must match to resume or be waived.
    pub content_digest: Digest,
    /// What the order digest is made of.
    pub order_parts: Parts,
    /// What the content digest is made of.
    pub content_parts: Parts,
    /// The outputs, in order.
    pub fields: Vec<FieldPlan>,
    /// What a corrupt sample does.
    pub bad_sample: BadSample,
    epochs: Mutex<Vec<(u64, Arc<EpochRows>)>>,
}

impl Job {
    /// The rows of an epoch. Cheap when asked for again, and for all orders but windows over a mixture, which count
    /// each epoch's lengths.
    ///
    /// # Errors
    /// Invalid: the epoch has no rows, since all its lengths are 0.
    pub fn epoch(&self, epoch: u64) -> Result<Arc<EpochRows>, Fault> {
        let known = |kept: &[(u64, Arc<EpochRows>)]| {
            kept.iter().find(|(number, _)| *number == epoch).map(|(_, rows)| Arc::clone(rows))
        };
        if let Some(rows) = known(&self.epochs.lock().expect("no thread panics with the lock")) {
            return Ok(rows);
        }
        // Not under the lock: others go on in their epochs meanwhile.
        let rows = Arc::new(self.order.epoch(epoch)?);
        let mut kept = self.epochs.lock().expect("no thread panics with the lock");
        if let Some(rows) = known(&kept) {
            return Ok(rows);
        }
        if kept.len() == EPOCHS_KEPT {
            kept.remove(0);
        }
        kept.push((epoch, Arc::clone(&rows)));
        Ok(rows)
    }

    /// [`Job::epoch`] for a task of the runtime, whose other tasks go on where it takes long.
    ///
    /// # Errors
    /// As [`Job::epoch`].
    pub fn epoch_now(&self, epoch: u64) -> Result<Arc<EpochRows>, Fault> {
        if self.order.epochs_are_cheap() {
            return self.epoch(epoch);
        }
        sys::aside(|| self.epoch(epoch))
    }

    /// The data of a source.
    pub fn snapshot(&self, source: u32) -> &Arc<Snapshot> {
        &self.sources[source as usize].snapshot
    }

    /// The tensors of a batch; with `valid` last where asked for.
    pub fn specs(&self, with_valid: bool) -> Vec<TensorSpec> {
        let mut specs: Vec<_> = self.fields.iter().map(|field| field.spec.clone()).collect();
        if with_valid {
            let (name, dtype) = (VALID.to_owned(), DType::U8);
            specs.push(TensorSpec { name, dtype, dims: Vec::new(), order: MemoryOrder::RowMajor });
        }
        specs
    }

    /// Where the tensors of `rows` samples lie in a slot.
    ///
    /// # Errors
    /// Invalid: the batch is larger than a layout may be.
    pub fn layout(&self, rows: u32, with_valid: bool) -> Result<BatchLayout, Fault> {
        BatchLayout::new(self.specs(with_valid), rows).map_err(|error| {
            Fault::invalid(error.to_string()).hint("use a smaller batch_size or smaller outputs")
        })
    }

    /// The key of a sample, for people; with its source's name before it where there are several.
    pub fn key(&self, pick: Pick) -> String {
        let source = &self.sources[pick.source as usize];
        let key = source.snapshot.key(pick.sample.0);
        let key = String::from_utf8_lossy(key.as_ref());
        if self.sources.len() > 1 { format!("{}:{key}", source.name) } else { key.into_owned() }
    }

    /// Reads that one row needs: one a path field, and as many as it has frames of a clip.
    pub fn reads_a_row(&self) -> usize {
        self.fields.iter().map(|field| field.makers[0].reads_a_row()).sum()
    }

    /// Whether its samples are made by copying what was read, and nothing else.
    pub fn is_copy(&self) -> bool {
        let is_packed = self.order.packed_capacity().is_some();
        !is_packed && self.fields.iter().flat_map(|field| &field.makers).all(FieldMaker::is_copy)
    }

    /// Whether some of its rows are left for a device to decode.
    pub fn has_device_rows(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.makers[0], FieldMaker::DeviceNumbers))
    }

    /// The job for the wire, with the rows of its first epoch.
    pub fn to_proto(&self) -> v1::Job {
        v1::Job {
            job_id: self.id.clone(),
            snapshot: self.snapshot_id.to_string(),
            order_digest: self.order_digest.to_string(),
            content_digest: self.content_digest.to_string(),
            rows: self.rows,
            tensors: self.fields.iter().map(FieldPlan::to_proto).collect(),
            classes: self.classes.clone(),
            order_version: forebay_plan::ORDER_VERSION,
            seed: self.order.seed(),
            numerics_id: digest::NUMERICS_ID.to_owned(),
            order_parts: parts::to_proto(&self.order_parts),
            content_parts: parts::to_proto(&self.content_parts),
            // Whoever resolves a pin says so.
            pinned: false,
            epoch_pinned: false,
            epoch: 0,
            epochs_differ: self.order.epochs_differ(),
            commits: self.commits(),
        }
    }

    /// The commit of each source, 0 for one that is no data set; none where no source is one.
    fn commits(&self) -> Vec<u64> {
        let commit = |source: &JobSource| source.snapshot.commit().unwrap_or(0);
        let commits: Vec<_> = self.sources.iter().map(commit).collect();
        if commits.iter().all(|&commit| commit == 0) { Vec::new() } else { commits }
    }
}

/// A tensor's description for the wire.
pub fn tensor_to_proto(spec: &TensorSpec, utf8: bool) -> v1::TensorSpec {
    v1::TensorSpec {
        name: spec.name.clone(),
        dtype: if utf8 { v1::DType::DtypeUtf8 } else { dtype_to_proto(spec.dtype) }.into(),
        dims: spec.dims.clone(),
        memory_order: match spec.order {
            MemoryOrder::RowMajor => v1::MemoryOrder::RowMajor,
            MemoryOrder::ChannelsLast => v1::MemoryOrder::ChannelsLast,
        }
        .into(),
    }
}

fn dtype_to_proto(dtype: DType) -> v1::DType {
    match dtype {
        DType::U8 => v1::DType::DtypeUint8,
        DType::U16 => v1::DType::DtypeUint16,
        DType::U32 => v1::DType::DtypeUint32,
        DType::I8 => v1::DType::DtypeInt8,
        DType::I16 => v1::DType::DtypeInt16,
        DType::I32 => v1::DType::DtypeInt32,
        DType::I64 => v1::DType::DtypeInt64,
        DType::F16 => v1::DType::DtypeFloat16,
        DType::Bf16 => v1::DType::DtypeBfloat16,
        DType::F32 => v1::DType::DtypeFloat32,
        DType::F64 => v1::DType::DtypeFloat64,
        DType::Bool => v1::DType::DtypeBool,
    }
}
