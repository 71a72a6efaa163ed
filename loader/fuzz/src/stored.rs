//! What daemons and commands write for each other and for later: pins and runs, snapshots, ledgers of losses, journals of
//! listings.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay::catalog::{CatalogLimits, Journal, Snapshot};
use forebay::losses::{By, WeightOptions, read_place};
use forebay::pins::{JobId, Patience, Pin, Run, StateRoot, When, find, load_classes};
use forebay::storage::RetryPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A run's description, its pin and class names, with 0xFF between them, as a state root's records of the job `run-1`.
pub fn pin(input: &[u8]) -> bool {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let shared = SHARED.get_or_init(Shared::new);
    let [run, pin, classes] = super::parts(input);
    shared.put("jobs/run-1/run.json", run);
    shared.put("jobs/run-1/epochs/0.json", pin);
    let job_id = JobId::new("run-1").expect("a plain name");
    let found = Run::find(&shared.root, &job_id).ok().flatten();
    found.iter().for_each(writes_itself_back);
    let Ok(Some(pin)) = find(&shared.root, &job_id, When::Epoch(0)) else { return found.is_some() };
    writes_itself_back::<Pin>(&pin);
    assert!(!pin.snapshots.is_empty(), "a pin leads to data");
    if let Some(digest) = pin.class_map_digest {
        let record = shared.put(&format!("classes/{digest}.json"), classes);
        let _ = load_classes(&shared.root, &digest);
        fs::remove_file(record).expect("our own folder");
    }
    true
}

/// A snapshot as Parquet: what is read is what its name says, and is written the same.
pub fn snapshot(input: &[u8]) -> bool {
    let read = |bytes: &[u8]| {
        let limits = CatalogLimits { rows_max: 4096, vector_len_max: 1024, ..CatalogLimits::default() };
        Snapshot::from_parquet("stored", bytes.to_vec().into(), None, None, &limits)
    };
    let Ok(snapshot) = read(input) else { return false };
    super::lists::touch(&snapshot);
    let written = snapshot.to_parquet().expect("what was read can be written");
    assert_eq!(read(&written).expect("our own file").id(), snapshot.id());
    super::specs::is_a_job(Arc::new(snapshot));
    true
}

/// A ledger's file: its book can be looked at from every side.
pub fn ledger(input: &[u8]) -> bool {
    super::lists::in_folder(|folder| {
        let file = folder.join("1.parquet");
        fs::write(&file, input).expect("our own folder");
        let Ok(book) = read_place(&file, "") else { return false };
        let (losses, nan) = book.totals();
        assert!(losses > 0 || nan > 0 || book.entries.is_empty(), "an entry is of a loss");
        for by in [By::Loss, By::Max, By::Last, By::Recent, By::Nan, By::Count] {
            assert!(book.top(by, 8).len() <= book.entries.len());
        }
        if book.sources.iter().all(|source| source.samples < 1 << 16) {
            let source = book.sources.first().map_or(String::new(), |source| source.name.clone());
            if let Ok(weights) = book.weights(&WeightOptions { source, ..WeightOptions::default() }) {
                assert!(weights.iter().all(|weight| (0.1..=10.0).contains(weight)), "{weights:?}");
            }
        }
        true
    })
}

/// A journal of a listing, as it is and with right checksums, which no made-up one has: what is written again is read as
/// the same. Whether it tells of a directory as it is.
pub fn listing(input: &[u8]) -> bool {
    for text in [input, &with_checksums(input)] {
        if let Some(again) = Journal::rewritten(text) {
            assert_eq!(Journal::rewritten(&again), Some(again), "what was written is read");
        }
    }
    Journal::rewritten(input).is_some()
}

/// The same records of a journal, each with the checksum of what is in it.
fn with_checksums(journal: &[u8]) -> Vec<u8> {
    let mut fixed = journal.to_vec();
    let mut at = 16;
    while let Some(head) = fixed.get(at..at + 12) {
        let len = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        let Some(record) = fixed.get(at + 12..at + 12 + len) else { break };
        let sum = blake3::hash(record);
        fixed[at + 4..at + 12].copy_from_slice(&sum.as_bytes()[..8]);
        at += 12 + len;
    }
    fixed
}

fn writes_itself_back<T: Serialize + DeserializeOwned>(record: &T) {
    let json = serde_json::to_string(record).expect("a record has a JSON form");
    let again: T = serde_json::from_str(&json).expect("our own words");
    assert_eq!(serde_json::to_string(&again).expect("as before"), json);
}

/// A state root that all inputs use, one after the other.
struct Shared {
    folder: TempDir,
    root: StateRoot,
}

impl Shared {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made in TMPDIR");
        for records in ["jobs/run-1/epochs", "classes"] {
            fs::create_dir_all(folder.path().join(records)).expect("our own folder");
        }
        // A local folder answers at once; what fails does so for good.
        let retry = RetryPolicy { deadline: Duration::from_millis(50), ..RetryPolicy::default() };
        let patience = Patience { retry, ..Patience::default() };
        let place = folder.path().to_str().expect("TMPDIR is UTF-8");
        let root = StateRoot::open(place, [], patience).expect("a folder that is there");
        Self { folder, root }
    }

    fn put(&self, record: &str, bytes: &[u8]) -> PathBuf {
        let file = self.folder.path().join(Path::new(record));
        fs::write(&file, bytes).expect("our own folder");
        file
    }
}
