//! Snapshots under a state root, named by their content: what an old epoch is recomputed from.

use std::sync::Arc;

use forebay_plan::Digest;

use crate::catalog::{CatalogError, CatalogLimits, Snapshot};
use crate::error::{Fault, Kind};
use crate::records::RecordError;
use crate::records::RecordName;
use crate::records::StateRoot;
use crate::storage::Root;

/// Bytes of a stored snapshot: some hundred million paths, and what one PUT may carry.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Stores a snapshot unless it is there. A snapshot that is there is not read: its name is its content.
///
/// # Errors
/// What the state root says; Invalid where it is larger than 4 GiB as Parquet.
pub fn store_snapshot(root: &StateRoot, snapshot: &Snapshot) -> Result<(), Fault> {
    let digest = snapshot.digest();
    root.ensure(&record(&digest), || {
        let bytes = snapshot.to_parquet().map_err(|error| fault(&error))?;
        if bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            let message = format!("the snapshot {} has {} bytes as Parquet", digest.short(), bytes.len());
            return Err(Fault::invalid(message)
                .hint("a state root keeps snapshots of up to 4 GiB: split the data set"));
        }
        Ok(bytes)
    })
}

/// Reads a snapshot back and checks that it is the one of that name.
///
/// * `data`: the directory that its path columns resolve beneath, where samples are to be read.
///
/// # Errors
/// NotFound where it was never stored here; Corrupt where the file is not what was stored.
pub fn load_snapshot(
    root: &StateRoot,
    digest: &Digest,
    data: Option<Arc<Root>>,
    limits: &CatalogLimits,
) -> Result<Snapshot, Fault> {
    let name = record(digest);
    let file = format!("{}/{name}", root.place());
    let bytes = root.read(&name, SNAPSHOT_BYTES_MAX).map_err(RecordError::into_fault)?.ok_or_else(|| {
        Fault::new(Kind::NotFound, format!("the state root has no snapshot {}", digest.short()))
            .object(&file)
            .hint("it was removed, or this is another run's state root")
    })?;
    Snapshot::from_parquet(&file, bytes.into(), Some(digest), data, limits).map_err(|error| fault(&error))
}

fn record(digest: &Digest) -> RecordName {
    RecordName::ours(format!("snapshots/{digest}.parquet"))
}

fn fault(error: &CatalogError) -> Fault {
    Fault::from_error(Kind::Corrupt, error).maybe_hint(error.hint())
}
