//! The corrupt samples that a run met, for people who ask later: `jobs/<job_id>/ledger/<writer>-<n>.json`.
//!
//! Each session adds records of its own and changes none. They are a report and never an input: what stands in a row
//! follows from its bytes.

use forebay_proto::v1;
use serde::{Deserialize, Serialize};

use super::pin::Stamp;
use crate::records::RecordError;
use crate::records::{JobId, RecordName};
use crate::records::{RECORD_BYTES_MAX, StateRoot, nonce};

const VERSION: u32 = 1;
/// Lines of one record.
const LINES_MAX: usize = 2000;
/// Characters of a reason.
const REASON_CHARS: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    lines: Vec<Line>,
    nonce: String,
    written_unix_ms: u64,
    by: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    epoch: u64,
    position: u64,
    attempt: u32,
    key: String,
    reason: String,
}

/// Adds lines. `next`: gives numbers that this writer has not used.
///
/// # Errors
/// What the state root says; some of the lines may be kept then.
pub fn note_bad(
    root: &StateRoot,
    job_id: &JobId,
    writer: &str,
    mut next: impl FnMut() -> u64,
    lines: &[v1::BadSample],
    stamp: &Stamp,
) -> Result<(), RecordError> {
    for some in lines.chunks(LINES_MAX) {
        let lines = some.iter().map(|line| Line {
            epoch: line.epoch,
            position: line.position,
            attempt: line.attempt,
            key: line.key.clone(),
            reason: line.reason.chars().take(REASON_CHARS).collect(),
        });
        let (written_unix_ms, by) = (stamp.unix_ms, stamp.by.clone());
        let record = Record { version: VERSION, lines: lines.collect(), nonce: nonce(), written_unix_ms, by };
        let bytes = serde_json::to_vec(&record).expect("numbers and texts have a JSON mapping");
        root.create(&folder(job_id).join(&format!("{writer}-{}.json", next()))?, &bytes)?;
    }
    Ok(())
}

/// What all writers noted of an epoch.
///
/// # Errors
/// [`RecordError::Damaged`]; what the state root says.
pub fn bad_samples(root: &StateRoot, job_id: &JobId, epoch: u64) -> Result<Vec<v1::BadSample>, RecordError> {
    let folder = folder(job_id);
    let mut found = Vec::new();
    for file in root.list(&folder)? {
        let name = folder.join(&file)?;
        let Some(bytes) = root.read(&name, RECORD_BYTES_MAX)? else { continue };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| root.damaged(&name, error))?;
        if record.version != VERSION {
            let detail = format!("a ledger of version {}, this build reads {VERSION}", record.version);
            return Err(root.damaged(&name, detail));
        }
        found.extend(record.lines.into_iter().filter(|line| line.epoch == epoch).map(|line| v1::BadSample {
            epoch,
            position: line.position,
            attempt: line.attempt,
            key: line.key,
            reason: line.reason,
        }));
    }
    Ok(found)
}

fn folder(job_id: &JobId) -> RecordName {
    RecordName::ours(format!("{}/ledger", job_id.folder()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Patience;

    #[test]
    fn lines_of_all_writers_are_found_by_epoch_and_long_lists_are_split() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().to_str().expect("UTF-8");
        let root = StateRoot::open(place, std::iter::empty(), Patience::default()).expect("a folder");
        let job = JobId::new("run-7").expect("a name");
        assert_eq!(bad_samples(&root, &job, 1).expect("none"), []);
        let line = |epoch, position| v1::BadSample {
            epoch,
            position,
            attempt: 1,
            key: "a/ü.jpg".to_owned(),
            reason: "ä".repeat(500),
        };
        let stamp = Stamp { unix_ms: 0, by: "a test".to_owned() };
        for writer in ["71-ab", "72-ab"] {
            let lines: Vec<_> = (0..2500).map(|position| line(position % 2, position)).collect();
            let mut number = 0;
            let next = || {
                number += 1;
                number
            };
            note_bad(&root, &job, writer, next, &lines, &stamp).expect("a place");
        }
        let found = bad_samples(&root, &job, 1).expect("lines");
        assert_eq!(found.len(), 2500);
        assert!(found.iter().all(|line| line.position % 2 == 1 && line.reason.chars().count() == 200));
        assert_eq!(std::fs::read_dir(dir.path().join("jobs/run-7/ledger")).expect("a folder").count(), 4);
        std::fs::write(dir.path().join("jobs/run-7/ledger/71-ab-1.json"), "{}").expect("written");
        assert!(matches!(bad_samples(&root, &job, 1), Err(RecordError::Damaged { .. })));
    }
}
