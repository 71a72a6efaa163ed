//! The cuts that a run went through: which ranks took how many rows a step, from where on.
//!
//! `jobs/<job_id>/cuts/<n>.json`, numbered in the order in which they were begun, so that no clock decides which of two
//! came later. One is made when rank 0 opens a session that does not merely go on where the last one leads.

use forebay_plan::{Cursor, Digest, Leg, Tail};
use serde::{Deserialize, Serialize};

use super::pin::Stamp;
use crate::records::RecordError;
use crate::records::{Created, RECORD_BYTES_MAX, StateRoot, nonce};
use crate::records::{JobId, RecordName};

const VERSION: u32 = 1;

/// Cuts of one run that are kept: a loop that seeks for ever must not fill the place.
const CUTS_MAX: u64 = 10_000;

/// A leg of a run, and what its rows were made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// From where on, and how it was cut.
    pub leg: Leg,
    /// Names fields, decoders and transforms.
    pub content: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    epoch: u64,
    position: u64,
    rows_per_rank: u32,
    world: u32,
    tail: String,
    content_digest: Digest,
    nonce: String,
    written_unix_ms: u64,
    by: String,
}

/// Notes that a run goes on under `begun`, unless its last cut leads there by itself. Whether it was noted.
///
/// # Errors
/// What the state root says.
pub fn note_cut(root: &StateRoot, job_id: &JobId, begun: Begun, stamp: &Stamp) -> Result<bool, RecordError> {
    let mut next = numbers(root, job_id)?.last().map_or(0, |last| last + 1);
    while next < CUTS_MAX {
        if let Some(last) = next.checked_sub(1)
            && read(root, job_id, last)?.is_some_and(|last| leads_to(&last, &begun))
        {
            return Ok(false);
        }
        let record = Record::new(begun, stamp);
        let bytes = serde_json::to_vec_pretty(&record).expect("numbers and texts have a JSON mapping");
        match root.create(&name(job_id, next), &bytes)? {
            Created::Ours => return Ok(true),
            // Another session of the run came first: whatever it is, this one is behind it.
            Created::Theirs(_) => next += 1,
        }
    }
    Ok(false)
}

/// The cuts of a run, in the order in which they were begun.
///
/// # Errors
/// [`RecordError::Damaged`]; what the state root says.
pub fn cuts(root: &StateRoot, job_id: &JobId) -> Result<Vec<Begun>, RecordError> {
    let read = numbers(root, job_id)?.into_iter().map(|number| read(root, job_id, number));
    read.filter_map(Result::transpose).collect()
}

/// Whether a run under `last` comes to where `begun` begins, in steps of the same rows.
fn leads_to(last: &Begun, begun: &Begun) -> bool {
    let Leg { cursor, rows_per_rank, size, tail } = begun.leg;
    let before = last.leg;
    let same = (before.rows_per_rank, before.size, before.tail) == (rows_per_rank, size, tail);
    let start = if before.cursor.epoch == cursor.epoch { before.cursor.position } else { 0 };
    let global = u64::from(rows_per_rank) * u64::from(size);
    same && last.content == begun.content
        && (before.cursor.epoch, before.cursor.position) <= (cursor.epoch, cursor.position)
        && (cursor.position - start).is_multiple_of(global)
}

fn numbers(root: &StateRoot, job_id: &JobId) -> Result<Vec<u64>, RecordError> {
    let names = root.list(&RecordName::ours(format!("{}/cuts", job_id.folder())))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn name(job_id: &JobId, number: u64) -> RecordName {
    RecordName::ours(format!("{}/cuts/{number:06}.json", job_id.folder()))
}

fn read(root: &StateRoot, job_id: &JobId, number: u64) -> Result<Option<Begun>, RecordError> {
    let name = name(job_id, number);
    let bytes = root.read(&name, RECORD_BYTES_MAX)?;
    bytes.map(|bytes| Record::read(root, &name, &bytes)).transpose()
}

impl Record {
    fn new(begun: Begun, stamp: &Stamp) -> Self {
        let Leg { cursor, rows_per_rank, size, tail } = begun.leg;
        Self {
            version: VERSION,
            epoch: cursor.epoch,
            position: cursor.position,
            rows_per_rank,
            world: size,
            tail: tail.to_string(),
            content_digest: begun.content,
            nonce: nonce(),
            written_unix_ms: stamp.unix_ms,
            by: stamp.by.clone(),
        }
    }

    fn read(root: &StateRoot, name: &RecordName, bytes: &[u8]) -> Result<Begun, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| root.damaged(name, error))?;
        if record.version != VERSION || record.rows_per_rank == 0 || record.world == 0 {
            let detail = format!("a cut of version {}, this build reads {VERSION}", record.version);
            return Err(root.damaged(name, detail));
        }
        let tail: Tail = record.tail.parse().map_err(|error| root.damaged(name, error))?;
        let cursor = Cursor { epoch: record.epoch, position: record.position };
        let leg = Leg { cursor, rows_per_rank: record.rows_per_rank, size: record.world, tail };
        Ok(Begun { leg, content: record.content_digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Patience;

    fn begun(epoch: u64, position: u64, rows_per_rank: u32, size: u32) -> Begun {
        let cursor = Cursor { epoch, position };
        let content = Digest::from_bytes([7; 32]);
        Begun { leg: Leg { cursor, rows_per_rank, size, tail: Tail::Partial }, content }
    }

    fn root(dir: &tempfile::TempDir) -> (StateRoot, JobId) {
        let place = dir.path().to_str().expect("UTF-8");
        let root = StateRoot::open(place, std::iter::empty(), Patience::default()).expect("a folder");
        (root, JobId::new("run-7").expect("a name"))
    }

    fn stamp() -> Stamp {
        Stamp { unix_ms: 0, by: "a test".to_owned() }
    }

    #[test]
    fn a_cut_is_noted_where_the_last_one_does_not_lead() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, job) = root(&dir);
        let mut want = Vec::new();
        for (begun, is_new) in [
            (begun(0, 0, 4, 8), true),
            (begun(0, 64, 4, 8), false),  // restarted at a step of it
            (begun(2, 0, 4, 8), false),   // the next epochs go on
            (begun(2, 32, 4, 16), true),  // other ranks
            (begun(2, 96, 4, 16), false), // a step of that
            (begun(2, 100, 4, 16), true), // no step of it
            (begun(1, 0, 4, 16), true),   // back
            (begun(4, 64, 4, 16), false), // on, over an epoch
            (begun(4, 63, 4, 16), true),
        ] {
            assert_eq!(note_cut(&root, &job, begun, &stamp()).expect("a place"), is_new, "{begun:?}");
            want.extend(is_new.then_some(begun));
        }
        let other = Begun { content: Digest::from_bytes([8; 32]), ..begun(4, 63, 4, 16) };
        assert!(note_cut(&root, &job, other, &stamp()).expect("a place"), "other transforms");
        want.push(other);
        assert_eq!(cuts(&root, &job).expect("cuts"), want);
    }

    #[test]
    fn a_run_without_cuts_has_none_and_rubbish_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, job) = root(&dir);
        assert_eq!(cuts(&root, &job).expect("none"), []);
        note_cut(&root, &job, begun(0, 0, 1, 1), &stamp()).expect("a place");
        let file = dir.path().join("jobs/run-7/cuts/000000.json");
        let text = std::fs::read_to_string(&file).expect("a record");
        for broken in
            [&text[..40], &text.replace("partial", "half"), &text.replace("\"world\": 1", "\"world\": 0")]
        {
            std::fs::write(&file, broken).expect("written");
            assert!(matches!(cuts(&root, &job), Err(RecordError::Damaged { .. })), "{broken}");
        }
    }
}
