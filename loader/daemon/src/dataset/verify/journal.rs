//! What a verification has found so far, in a file: one that is stopped goes on where it was.
//!
//! It lies in the data set's folder, or among this user's state where that is in a bucket, and goes when its findings
//! are committed. A line is written whole or, by a stop at that moment, in part, and such a last line is not read.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::check::Outcome;
use crate::error::{Fault, Kind};

/// What a stop of the process can lose.
const FLUSH: Duration = Duration::from_millis(500);

/// The file's name in a data set's folder.
const NAME: &str = "verify.progress";

const VERSION: u32 = 3;

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    /// Whether what was verified before is verified again.
    again: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    outcome: Outcome,
}

/// The file, held by this process alone.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
    found: HashMap<String, Outcome>,
}

impl Journal {
    /// Opens the journal of a data set, and reads what an earlier run left.
    ///
    /// * `again`: only findings of a run that verified everything again count.
    ///
    /// # Errors
    /// Unavailable: another process holds it. Invalid: it cannot be written.
    pub(super) fn open(place: &str, again: bool) -> Result<Self, Fault> {
        let path = path(place);
        let failed = |error: std::io::Error| {
            Fault::from_error(Kind::Invalid, &error)
                .context(format!("write {}", path.display()))
                .hint("the place of a data set must be writable to verify it: its findings are a commit")
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o644)
            .open(&path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let message = format!("another process verifies {place}");
            return Err(Fault::new(Kind::Unavailable, message)
                .object(path.display().to_string())
                .hint("wait until it is done"));
        }
        let header = Header { version: VERSION, again };
        let text = fs::read(&path).map_err(failed)?;
        let (found, kept_bytes) = read(&text, &header);
        file.set_len(kept_bytes).map_err(failed)?;
        let mut journal =
            Self { path: path.clone(), file: BufWriter::new(file), flushed: Instant::now(), found };
        if kept_bytes == 0 {
            journal.write(&header).map_err(failed)?;
        }
        Ok(journal)
    }

    /// What an earlier run found of a sample.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Outcome> {
        self.found.remove(&name(key))
    }

    /// Notes what was found of a sample; what is unavailable is asked for again.
    ///
    /// # Errors
    /// Unavailable: the disk is full.
    pub(super) fn note(&mut self, key: &[u8], outcome: &Outcome) -> Result<(), Fault> {
        if matches!(outcome, Outcome::Unavailable { .. }) {
            return Ok(());
        }
        let mut written = self.write(&Line { key: name(key), outcome: outcome.clone() });
        if self.flushed.elapsed() > FLUSH {
            self.flushed = Instant::now();
            written = written.and_then(|()| self.file.flush());
        }
        written.map_err(|error| {
            Fault::from_error(Kind::Unavailable, &error).context(format!("write {}", self.path.display()))
        })
    }

    fn write(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// Removes the file: its findings are committed.
    pub(super) fn remove(self) {
        // Where it stays, the next run reads findings that are known already.
        let _ = fs::remove_file(&self.path);
    }
}

/// The findings of a journal of that header, and how many of its bytes make sense.
fn read(text: &[u8], header: &Header) -> (HashMap<String, Outcome>, u64) {
    let (mut found, mut kept_bytes) = (HashMap::new(), 0);
    for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        if kept_bytes == 0 {
            match serde_json::from_slice::<Header>(line) {
                // A run over everything serves one over what is new, too.
                Ok(there) if there.version == header.version && there.again >= header.again => {}
                _ => return (found, 0),
            }
        } else {
            let Ok(line) = serde_json::from_slice::<Line>(line) else { break };
            found.insert(line.key, line.outcome);
        }
        kept_bytes += line.len() as u64;
    }
    (found, kept_bytes)
}

/// A key may be no UTF-8, and long.
fn name(key: &[u8]) -> String {
    blake3::hash(key).to_hex()[..32].to_owned()
}

fn path(place: &str) -> PathBuf {
    if !place.starts_with("s3://") {
        return Path::new(place).join(NAME);
    }
    let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = env("XDG_STATE_HOME").or_else(|| Some(env("HOME")?.join(".local/state")));
    let folder = state.unwrap_or_else(std::env::temp_dir).join("forebay");
    folder.join(format!("{NAME}-{}", name(place.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupt(reason: &str) -> Outcome {
        Outcome::Corrupt { reason: reason.to_owned() }
    }

    #[test]
    fn what_was_noted_is_known_to_the_next_run_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let mut journal = Journal::open(place, false).unwrap();
        journal.note(b"a", &corrupt("x")).unwrap();
        journal.note(b"\xff", &Outcome::Unavailable { reason: "gone".to_owned() }).unwrap();
        journal.note(b"b", &corrupt("y")).unwrap();
        drop(journal);
        let file = dir.path().join(NAME);
        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..text.len() - 3]).unwrap();
        let mut journal = Journal::open(place, false).unwrap();
        assert_eq!(journal.take(b"a"), Some(corrupt("x")));
        assert_eq!((journal.take(b"b"), journal.take(b"\xff")), (None, None));
        journal.note(b"b", &corrupt("z")).unwrap();
        drop(journal);
        let mut journal = Journal::open(place, false).unwrap();
        assert_eq!(journal.take(b"b"), Some(corrupt("z")));
        journal.remove();
        assert!(!file.exists());
    }

    #[test]
    fn a_run_over_everything_begins_anew_and_then_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        Journal::open(place, false).unwrap().note(b"a", &corrupt("x")).unwrap();
        let mut again = Journal::open(place, true).unwrap();
        assert_eq!(again.take(b"a"), None);
        again.note(b"a", &corrupt("y")).unwrap();
        drop(again);
        assert_eq!(Journal::open(place, true).unwrap().take(b"a"), Some(corrupt("y")));
    }

    #[test]
    fn two_processes_do_not_write_one_journal() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let held = Journal::open(place, false).unwrap();
        assert_eq!(Journal::open(place, false).err().unwrap().kind, Kind::Unavailable);
        drop(held);
        assert!(Journal::open(place, false).is_ok());
    }
}
