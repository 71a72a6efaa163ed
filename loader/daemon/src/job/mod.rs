//! A job: a spec checked against the data it names. Everything a row is made from, immutable and shared.

mod digest;
mod fields;
mod parts;
mod spec;
mod stored;
mod values;

use std::sync::{Arc, Mutex};

use forebay_plan::{
    BatchLayout, DType, Digest, EpochOrder, EpochPrf, MemoryOrder, OrderSpec, Parts, Purpose, SampleId,
    TensorSpec,
};
use forebay_proto::v1;

pub use fields::{FieldMaker, FieldPlan};
pub use spec::{BadSample, Policy, resolve};
pub use stored::{StoredBytes, stored};

use crate::catalog::Snapshot;
use crate::error::Fault;

/// The tensor that says which rows count, where a session has one.
pub const VALID: &str = "valid";

/// How many epochs' orders are kept: the running one, the next, and what evaluation or a re-open asks for.
const EPOCHS_KEPT: usize = 4;

/// A resolved job: snapshot, order and content, and their names.
pub struct Job {
    /// Unique a run; the client's, or derived from the digests.
    pub id: String,
    /// The data.
    pub snapshot: Arc<Snapshot>,
    /// The snapshot's name.
    pub snapshot_id: Digest,
    /// Which sample stands in which row.
    pub order: OrderSpec,
    /// Names snapshot and order; must match to resume.
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
    epochs: Mutex<Vec<(u64, EpochRows)>>,
}

/// One epoch of a job: its order and its random draws.
#[derive(Clone)]
pub struct EpochRows {
    /// Row -> sample.
    pub order: EpochOrder,
    /// Row -> draws of its transforms.
    pub augment: Arc<EpochPrf>,
}

impl Job {
    /// The order and draws of an epoch. Cheap when asked for again.
    pub fn epoch(&self, epoch: u64) -> EpochRows {
        let mut kept = self.epochs.lock().expect("no thread panics with the lock");
        if let Some((_, rows)) = kept.iter().find(|(number, _)| *number == epoch) {
            return rows.clone();
        }
        let augment = Arc::new(EpochPrf::new(self.order.seed, Purpose::Augment, epoch));
        let rows = EpochRows { order: self.order.epoch(epoch), augment };
        if kept.len() == EPOCHS_KEPT {
            kept.remove(0);
        }
        kept.push((epoch, rows.clone()));
        rows
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

    /// The key of a sample, for people.
    pub fn key(&self, sample: SampleId) -> String {
        String::from_utf8_lossy(self.snapshot.key(sample.0).as_ref()).into_owned()
    }

    /// Reads that one row needs: its path fields.
    pub fn reads_a_row(&self) -> usize {
        self.fields.iter().filter(|field| field.maker.reads()).count()
    }

    /// The job for the wire.
    pub fn to_proto(&self) -> v1::Job {
        v1::Job {
            job_id: self.id.clone(),
            snapshot: self.snapshot_id.to_string(),
            order_digest: self.order_digest.to_string(),
            content_digest: self.content_digest.to_string(),
            rows: self.order.rows,
            tensors: self.fields.iter().map(FieldPlan::to_proto).collect(),
            classes: self.snapshot.class_map().map(|map| map.names().to_vec()).unwrap_or_default(),
            order_version: forebay_plan::ORDER_VERSION,
            seed: self.order.seed,
            numerics_id: digest::NUMERICS_ID.to_owned(),
            order_parts: parts::to_proto(&self.order_parts),
            content_parts: parts::to_proto(&self.content_parts),
        }
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
        DType::I32 => v1::DType::DtypeInt32,
        DType::I64 => v1::DType::DtypeInt64,
        DType::F32 => v1::DType::DtypeFloat32,
        DType::F64 => v1::DType::DtypeFloat64,
        DType::Bool => v1::DType::DtypeBool,
        DType::I16 => v1::DType::DtypeUnspecified,
    }
}
