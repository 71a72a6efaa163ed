//! A job whose one output is bytes as they are stored, cut to one length: what measuring needs.
//!
//! The wire's `DECODE_RAW` never cuts: such a job is made in the daemon's own process.

use std::sync::{Arc, Mutex};

use forebay_plan::{DType, Digest, DigestBuilder, MemoryOrder, OrderSpec, Parts, TensorSpec};

use super::spec::{BadSample, Policy};
use super::{FieldMaker, FieldPlan, Job, JobOrder, JobSource, parts};
use crate::catalog::Snapshot;
use crate::decode::raw;

/// Where the bytes of a sample lie, and how many of them are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBytes {
    /// Index of the path column.
    pub column: usize,
    /// Indexes of the integer columns of offset and length in the file; the whole file where absent.
    pub extent: Option<(usize, usize)>,
    /// Bytes of a row: a longer sample is cut, a shorter one ends in zeros.
    pub row_bytes: u32,
}

impl StoredBytes {
    /// `(offset_bytes, len_bytes)` of a sample in its file, where it is not the whole of it.
    pub fn extent_of(&self, snapshot: &Snapshot, sample: u64) -> Option<(u64, u64)> {
        let (offset, len) = self.extent?;
        let value = |column: usize| snapshot.columns()[column].int(sample) as u64;
        Some((value(offset), value(len)))
    }

    /// Writes a sample's bytes over its row.
    pub fn write(encoded: &[u8], target: &mut [u8]) {
        raw::write(encoded, target);
    }
}

/// Makes a job of a snapshot's stored bytes, delivered as the tensor `bytes`.
pub fn stored(snapshot: Arc<Snapshot>, order: OrderSpec, bytes: StoredBytes) -> Job {
    let snapshot_id = Digest::from_bytes(snapshot.id());
    let order_digest = order.digest(&snapshot_id);
    let content_digest =
        DigestBuilder::new("content").field("stored", &bytes.row_bytes.to_le_bytes()).finish();
    let (name, dims) = ("bytes".to_owned(), vec![bytes.row_bytes]);
    let spec = TensorSpec { name, dtype: DType::U8, dims, order: MemoryOrder::RowMajor };
    Job {
        id: format!("{}-{}", order_digest.short(), content_digest.short()),
        order_parts: parts::of_order(&JobOrder::from(order), None),
        sources: vec![JobSource { name: "0".to_owned(), snapshot }],
        snapshot_id,
        classes: Vec::new(),
        rows: order.rows,
        order: order.into(),
        order_digest,
        content_digest,
        // No client resolves such a job, so no state is saved of it.
        content_parts: Parts::default(),
        fields: vec![FieldPlan { spec, makers: vec![FieldMaker::Stored(bytes)] }],
        bad_sample: BadSample { policy: Policy::Fail, budget_count: None },
        epochs: Mutex::new(Vec::new()),
    }
}
