//! Class names under a state root, by what they are: what labels meant in an old epoch.

use forebay_plan::{Digest, DigestBuilder};
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::records::RecordError;
use crate::records::RecordName;
use crate::records::{RECORD_BYTES_MAX, StateRoot};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    names: Vec<String>,
}

/// Stores class names in the order of their labels, and names them; `None` where there are none.
///
/// # Errors
/// What the state root says.
pub fn store_classes(root: &StateRoot, names: &[String]) -> Result<Option<Digest>, Fault> {
    if names.is_empty() {
        return Ok(None);
    }
    let digest = digest(names);
    root.ensure(&record(&digest), || {
        let written = serde_json::to_vec(&Record { version: VERSION, names: names.to_vec() });
        written.map_err(|error| Fault::internal(error.to_string()))
    })?;
    Ok(Some(digest))
}

/// The class names of that name.
///
/// # Errors
/// [`RecordError::Damaged`] where they are not there or others; what the state root says.
pub fn load_classes(root: &StateRoot, digest: &Digest) -> Result<Vec<String>, RecordError> {
    let name = record(digest);
    let bytes = root.read(&name, RECORD_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| root.damaged(&name, "it is not there, and a pin names it"))?;
    let read: Record = serde_json::from_slice(&bytes).map_err(|error| root.damaged(&name, error))?;
    if read.version != VERSION || self::digest(&read.names) != *digest {
        return Err(root.damaged(&name, "its names are not those that it is called by"));
    }
    Ok(read.names)
}

fn digest(names: &[String]) -> Digest {
    names
        .iter()
        .fold(DigestBuilder::new("class map"), |digest, name| digest.field("name", name.as_bytes()))
        .finish()
}

fn record(digest: &Digest) -> RecordName {
    RecordName::ours(format!("classes/{digest}.json"))
}
