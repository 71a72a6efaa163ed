//! Deciding over stores that forget, hang, answer twice or lie.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_plan::{Digest, DigestBuilder};
use proptest::prelude::*;

use super::*;
use crate::error::{Fault, Kind};
use crate::records::Faulty;
use crate::records::{Put, Records, TooLarge, Trouble};
use crate::storage::RetryPolicy;

const MS: Duration = Duration::from_millis(1);

/// Asks again at once and for long enough that only a broken loop gives up.
const PATIENT: Patience = Patience {
    retry: RetryPolicy {
        deadline: Duration::from_secs(60),
        backoff: Duration::ZERO,
        backoff_max: Duration::ZERO,
    },
    attempt: Duration::from_secs(60),
};

/// Gives up soon, for what never settles.
const HASTY: Patience =
    Patience { retry: RetryPolicy { deadline: MS, backoff: MS, backoff_max: MS }, ..PATIENT };

/// Records in memory; a test says what goes wrong.
#[derive(Default)]
struct Memory {
    records: Mutex<HashMap<String, Vec<u8>>>,
    puts: AtomicU32,
    /// Whether a put replaces what is there.
    overwrites: bool,
    /// The first puts take so long.
    slow_puts: u32,
    delay: Duration,
}

impl Records for Memory {
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
        if self.puts.fetch_add(1, Ordering::Relaxed) < self.slow_puts {
            std::thread::sleep(self.delay);
        }
        let mut records = self.records.lock().unwrap();
        if records.contains_key(name.as_str()) && !self.overwrites {
            return Ok(Put::Exists);
        }
        records.insert(name.to_string(), bytes.to_vec());
        Ok(Put::Written)
    }

    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
        let found = self.records.lock().unwrap().get(name.as_str()).cloned();
        Ok(found.map(|bytes| if bytes.len() as u64 > bytes_max { Err(TooLarge) } else { Ok(bytes) }))
    }

    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
        Ok(self.records.lock().unwrap().get(name.as_str()).map(|bytes| bytes.len() as u64))
    }

    fn list(&self, _folder: &RecordName, _names_max: usize) -> Result<Vec<String>, Trouble> {
        Ok(Vec::new())
    }
}

fn over(records: impl Records + 'static, patience: Patience) -> StateRoot {
    StateRoot::over("memory".to_owned(), Arc::new(records), patience).unwrap()
}

fn faulty(inner: &Arc<Memory>, faults: Faults, patience: Patience) -> StateRoot {
    over(Faulty::new(Arc::clone(inner) as Arc<dyn Records>, faults), patience)
}

fn folder(path: &Path) -> StateRoot {
    StateRoot::open(path.to_str().unwrap(), [], HASTY).unwrap()
}

fn record(name: &str) -> RecordName {
    RecordName::new(name).unwrap()
}

fn job() -> JobId {
    JobId::new("run-7").unwrap()
}

fn digest(text: &str) -> Digest {
    DigestBuilder::new("test").field("text", text.as_bytes()).finish()
}

fn draft(by: &str) -> Draft {
    let pinned = Pinned { source: String::new(), digest: digest(by), rows: 10 };
    let (order_digest, content_digest) = (digest("order"), digest("content"));
    Draft { snapshots: vec![pinned], order_digest, content_digest, class_map_digest: None }
}

fn stamp(by: &str) -> Stamp {
    Stamp { unix_ms: 1_700_000_000_000, by: by.to_owned() }
}

fn decide_as(root: &StateRoot, when: When, by: &str) -> Result<Pin, Fault> {
    decide(root, &job(), when, &stamp(by), || Ok(draft(by)))
}

#[test]
fn a_write_whose_reply_is_lost_is_known_as_ours() {
    let faults = Faults { lost_after_per_mille: 500, ..Faults::default() };
    let (mut ours, memory) = (0, Arc::new(Memory::default()));
    for seed in 0..50 {
        let root = faulty(&memory, Faults { seed, ..faults }, PATIENT);
        let made = root.create(&record(&format!("r/{seed}")), format!("nonce {seed}").as_bytes()).unwrap();
        ours += u32::from(made == Created::Ours);
    }
    assert_eq!(ours, 50);
    assert!(memory.puts.load(Ordering::Relaxed) > 60, "no reply was lost: the test tests nothing");
}

#[test]
fn after_a_lost_request_the_one_who_came_in_between_is_read() {
    struct Between(Memory);
    impl Records for Between {
        fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
            if self.0.size(name)?.is_none() {
                self.0.put_new(name, b"theirs")?;
                return Err(Trouble::passing("the connection was dropped"));
            }
            self.0.put_new(name, bytes)
        }
        fn get(&self, name: &RecordName, max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
            self.0.get(name, max)
        }
        fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
            self.0.size(name)
        }
        fn list(&self, folder: &RecordName, max: usize) -> Result<Vec<String>, Trouble> {
            self.0.list(folder, max)
        }
    }
    let root = over(Between(Memory::default()), PATIENT);
    assert_eq!(root.create(&record("r"), b"ours").unwrap(), Created::Theirs(b"theirs".to_vec()));
}

#[test]
fn a_write_that_lands_after_its_attempt_was_given_up_is_still_ours() {
    let memory = Memory { slow_puts: 2, delay: 50 * MS, ..Memory::default() };
    let retry = RetryPolicy { backoff: MS, backoff_max: MS, ..PATIENT.retry };
    let root = over(memory, Patience { retry, attempt: 10 * MS });
    assert_eq!(root.create(&record("r"), b"ours").unwrap(), Created::Ours);
    assert_eq!(root.read(&record("r"), 100).unwrap().unwrap(), b"ours");
}

#[test]
fn what_is_not_settled_at_the_deadline_is_unavailable_and_says_what_happened_last() {
    let faults = Faults { lost_before_per_mille: 1000, ..Faults::default() };
    let root = faulty(&Arc::new(Memory::default()), faults, HASTY);
    let fault = decide_as(&root, When::Epoch(3), "a").unwrap_err();
    assert_eq!(fault.kind, Kind::Unavailable);
    assert!(fault.message.starts_with("read memory/jobs/run-7/epochs/3.json: not settled after"), "{fault}");
    assert!(fault.causes[0].contains("dropped") && fault.hint.unwrap().contains("nothing was decided"));
}

#[test]
fn a_record_that_exists_and_cannot_be_seen_is_asked_for_again_and_never_decided_alone() {
    let memory = Arc::new(Memory::default());
    let first = decide_as(&faulty(&memory, Faults::default(), PATIENT), When::Run, "first").unwrap();
    for seed in 0..50 {
        let faults = Faults { seed, unseen_per_mille: 700, ..Faults::default() };
        assert_eq!(decide_as(&faulty(&memory, faults, PATIENT), When::Run, "late").unwrap(), first);
    }
}

#[test]
fn a_store_that_overwrites_is_refused_before_anything_is_decided() {
    let error = over(Memory { overwrites: true, ..Memory::default() }, PATIENT).check_writable().unwrap_err();
    assert!(matches!(error, RecordError::Overwrites { .. }), "{error}");
    let keeps = over(Memory::default(), PATIENT);
    keeps.check_writable().unwrap();
    keeps.check_writable().unwrap();
}

#[test]
fn a_pin_that_is_there_is_given_without_looking_at_the_data() {
    let root = over(Memory::default(), PATIENT);
    let pin = decide_as(&root, When::Epoch(0), "first").unwrap();
    let again = decide(&root, &job(), When::Epoch(0), &stamp("late"), || panic!("the data is not listed"));
    assert_eq!(again.unwrap(), pin);
    assert_eq!(find(&root, &job(), When::Epoch(0)).unwrap(), Some(pin));
    assert_eq!(find(&root, &job(), When::Epoch(1)).unwrap(), None);
    assert_eq!(find(&root, &job(), When::Run).unwrap(), None);
}

#[test]
fn a_draft_that_cannot_be_made_decides_nothing() {
    let root = over(Memory::default(), PATIENT);
    let failed = decide(&root, &job(), When::Run, &stamp("a"), || Err(Fault::invalid("no such folder")));
    assert_eq!(failed.unwrap_err().message, "no such folder");
    assert_eq!(decide_as(&root, When::Run, "b").unwrap().by, "b");
}

#[test]
fn a_pin_that_is_cut_or_foreign_is_an_error_that_says_so() {
    let whole = {
        let root = over(Memory::default(), PATIENT);
        decide_as(&root, When::Epoch(3), "a").unwrap();
        String::from_utf8(root.read(&When::Epoch(3).record(&job()), 9999).unwrap().unwrap()).unwrap()
    };
    let other_digest = whole.replacen(&digest("a").to_string(), &digest("b").to_string(), 1);
    let wrong = [
        (String::new(), "0 bytes that are no pin"),
        (whole[..whole.len() / 2].to_owned(), "no pin: EOF"),
        (whole.replace("run-7", "run-8"), "the pin of epoch 3 of job \"run-8\""),
        (whole.replace("\"epoch\": 3", "\"epoch\": null"), "the pin of the whole run of job \"run-7\""),
        (whole.replace("\"version\": 1", "\"version\": 2"), "version 2, this build reads 1"),
        (whole.replace("\"by\"", "\"bye\""), "unknown field `bye`"),
        (other_digest, "its snapshots do not make its joint digest"),
    ];
    for (text, says) in wrong {
        let root = over(Memory::default(), PATIENT);
        root.create(&When::Epoch(3).record(&job()), text.as_bytes()).unwrap();
        let fault = decide_as(&root, When::Epoch(3), "b").unwrap_err();
        assert_eq!(fault.kind, Kind::Corrupt);
        assert!(
            fault.message.starts_with("the record memory/jobs/run-7/epochs/3.json is damaged: "),
            "{fault}"
        );
        assert!(fault.message.contains(says), "{fault}");
    }
}

#[test]
fn records_are_bounded() {
    let root = over(Memory::default(), PATIENT);
    let large = vec![0; (128 << 20) + 1];
    assert!(matches!(root.create(&record("r"), &large), Err(RecordError::TooLarge { .. })));
    root.create(&record("r"), &large[..100]).unwrap();
    let error = root.read(&record("r"), 99).unwrap_err();
    assert_eq!(error.to_string(), "memory/r has more than 99 bytes");
}

#[test]
fn what_is_named_by_its_content_is_made_once() {
    let root = over(Memory::default(), PATIENT);
    root.ensure(&record("s"), || Ok(b"bytes".to_vec())).unwrap();
    root.ensure(&record("s"), || panic!("it is there")).unwrap();
    assert_eq!(root.read(&record("s"), 10).unwrap().unwrap(), b"bytes");
}

#[test]
fn a_place_that_is_none_says_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for text in ["relative", "", "gs://bucket", "http://x", "/a\0b"] {
        let error = StateRoot::open(text, [], HASTY).unwrap_err();
        assert!(matches!(error, RecordError::NotAPlace { .. }), "{text:?}: {error}");
    }
    for path in [&missing, &file] {
        let error = StateRoot::open(path.to_str().unwrap(), [], HASTY).unwrap_err();
        assert!(matches!(error, RecordError::Open { .. }), "{error}");
        assert!(error.hint().contains("make the folder yourself"));
    }
    assert!(!missing.exists(), "a folder in place of a missing mount is no shared one");
}

#[test]
fn what_may_not_be_written_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("jobs"), "a file").unwrap();
    symlink(elsewhere.path(), dir.path().join("snapshots")).unwrap();
    let root = folder(dir.path());
    for name in ["jobs/run-7/run.json", "snapshots/x"] {
        let error = root.create(&record(name), b"x").unwrap_err();
        assert!(matches!(error, RecordError::Refused { .. }), "{error}");
        assert!(error.hint().contains("let the user that the daemon runs as read and write there"));
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_keeps_whole_records_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = folder(dir.path());
    root.check_writable().unwrap();
    assert_eq!(root.create(&record("jobs/a/1.json"), b"one").unwrap(), Created::Ours);
    assert_eq!(root.create(&record("jobs/a/1.json"), b"two").unwrap(), Created::Theirs(b"one".to_vec()));
    assert_eq!(root.create(&record("jobs/a/0.json"), b"zero").unwrap(), Created::Ours);
    fs::write(dir.path().join("jobs/a/.new-x"), "left by a process that died").unwrap();
    assert_eq!(root.list(&record("jobs/a")).unwrap(), ["0.json", "1.json"]);
    assert_eq!(root.list(&record("jobs")).unwrap(), ["a"]);
    assert!(root.list(&record("jobs/none")).unwrap().is_empty());
    assert_eq!(root.read(&record("jobs/a/2.json"), 9).unwrap(), None);
    let names: Vec<_> =
        fs::read_dir(dir.path().join("jobs/a")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_who_decide_read_one_pin_whatever_the_store_does_to_their_requests(
        seed in any::<u64>(),
        before in 0u16..200, after in 0u16..300, doubled in 0u16..200, unseen in 0u16..200,
        contenders in 2usize..5, epochs in 1u64..5,
    ) {
        let memory = Arc::new(Memory::default());
        let decided = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..contenders).map(|who| {
                let faults = Faults {
                    seed: seed.wrapping_add(who as u64),
                    lost_before_per_mille: before, lost_after_per_mille: after,
                    doubled_per_mille: doubled, unseen_per_mille: unseen,
                    ..Faults::default()
                };
                let root = faulty(&memory, faults, PATIENT);
                scope.spawn(move || {
                    let pin = |epoch| decide_as(&root, When::Epoch(epoch), &format!("{who}")).unwrap();
                    (0..epochs).map(pin).collect::<Vec<_>>()
                })
            }).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for pins in &decided {
            prop_assert_eq!(pins, &decided[0]);
        }
        for (epoch, pin) in decided[0].iter().enumerate() {
            prop_assert_eq!(pin.epoch, Some(epoch as u64));
            prop_assert_eq!(pin.snapshots[0].digest, digest(&pin.by));
        }
    }
}
