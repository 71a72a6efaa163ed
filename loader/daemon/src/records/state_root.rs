//! A shared place for small records: from one attempt to an answer that holds.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use super::attempt::{Put, Records, TooLarge, Trouble};
use super::error::RecordError;
use super::faulty::{Faults, Faulty};
use super::lanes::Lanes;
use super::name::RecordName;
use super::object::Bucket;
use super::posix::Posix;
use crate::error::Fault;
use crate::storage::{RetryPolicy, StorageError};

/// Bytes of a record that is made by [`StateRoot::create`]: a job with a list of samples is as long as a message.
pub const RECORD_BYTES_MAX: u64 = 128 << 20;

/// What is moved within the time that any attempt has.
const SMALL_BYTES: u64 = 4 << 20;

/// Records of one folder that are listed.
const NAMES_MAX: usize = 100_000;

/// What the storage is taken to move at least, when a record is large.
const BYTES_PER_SECOND: u64 = 4 << 20;

/// Marks a state root, and shows that records can be made there, each once.
const MARK: &str = "forebay.json";
const MARK_TEXT: &[u8] = b"{\"version\":1,\"about\":\"records of forebay runs: see docs/state-root.md\"}\n";

/// How long to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Between attempts, and until when.
    pub retry: RetryPolicy,
    /// One attempt; a storage that is silent for longer has not answered.
    pub attempt: Duration,
}

impl Default for Patience {
    /// Half a minute, ten seconds an attempt.
    fn default() -> Self {
        Self { retry: RetryPolicy::default(), attempt: Duration::from_secs(10) }
    }
}

/// Who made the record that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call.
    Ours,
    /// Somebody else, before: what they wrote.
    Theirs(Vec<u8>),
}

/// A shared folder or a bucket's prefix. Its calls block, up to their deadlines.
pub struct StateRoot {
    place: String,
    records: Arc<dyn Records>,
    lanes: Lanes,
    patience: Patience,
}

/// What one attempt came to.
enum Attempt<T> {
    Settled(T),
    TooLarge,
    /// The record was said to be there and is not to be seen yet.
    Unseen,
}

/// One attempt at one record.
type Call<T> = Box<dyn FnOnce(&dyn Records) -> Result<Attempt<T>, Trouble> + Send>;

impl StateRoot {
    /// Opens `/an/absolute/path` or `s3://bucket/prefix`.
    ///
    /// * `env`: where a bucket's credentials, region and endpoint come from, as `AWS_*`.
    ///
    /// # Errors
    /// [`RecordError::NotAPlace`], [`RecordError::Open`]: the folder is not there, the settings are not whole.
    pub fn open(
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Self, RecordError> {
        let place = text.trim_end_matches('/').to_owned();
        let records: Arc<dyn Records> = if place.starts_with("s3://") && !text.contains('\0') {
            let bucket = Bucket::open(&place, env, patience.attempt);
            Arc::new(bucket.map_err(|source| RecordError::Open { place: place.clone(), source })?)
        } else if Path::new(text).is_absolute() && !text.contains('\0') {
            Arc::new(open_folder(&place, text, patience.attempt)?)
        } else {
            return Err(RecordError::NotAPlace { text: text.chars().take(200).collect() });
        };
        Self::over(place, records, patience)
    }

    pub(crate) fn over(
        place: String,
        records: Arc<dyn Records>,
        patience: Patience,
    ) -> Result<Self, RecordError> {
        match Lanes::new() {
            Ok(lanes) => Ok(Self { place, records, lanes, patience }),
            Err(source) => Err(RecordError::Open { place, source: source.into() }),
        }
    }

    /// The same state root behind faults, for tests.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { records: Arc::new(Faulty::new(self.records, faults)), ..self }
    }

    /// The store itself, for tests that put something before it.
    #[cfg(test)]
    pub(crate) fn into_records(self) -> Arc<dyn Records> {
        self.records
    }

    /// What it was opened as, without a slash at its end.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Marks the place, which shows that this process may make records and that the store keeps those that exist.
    ///
    /// # Errors
    /// [`RecordError::Refused`], [`RecordError::Overwrites`], [`RecordError::Unavailable`].
    pub fn check_writable(&self) -> Result<(), RecordError> {
        let name = RecordName::ours(MARK);
        let kept = self.settle("create", &name, 0, |name| {
            Box::new(move |records| match records.put_new(&name, MARK_TEXT)? {
                Put::Exists => Ok(Attempt::Settled(true)),
                Put::Written => Ok(Attempt::Settled(records.put_new(&name, MARK_TEXT)? == Put::Exists)),
            })
        })?;
        if kept { Ok(()) } else { Err(RecordError::Overwrites { place: self.place.clone() }) }
    }

    /// Makes a record, if there is none; tells whose is there, as read back.
    ///
    /// * `bytes`: at most `RECORD_BYTES_MAX`, with something in them that no other writer has. Equal bytes are ours.
    ///
    /// # Errors
    /// [`RecordError::Refused`], [`RecordError::TooLarge`]; [`RecordError::Unavailable`] where it could not be told until the
    /// deadline: the record may or may not be there, and whoever asks next will see.
    pub fn create(&self, name: &RecordName, bytes: &[u8]) -> Result<Created, RecordError> {
        if bytes.len() as u64 > RECORD_BYTES_MAX {
            return Err(self.too_large(name, RECORD_BYTES_MAX));
        }
        let ours: Arc<[u8]> = bytes.into();
        self.settle("create", name, bytes.len(), |name| {
            let ours = Arc::clone(&ours);
            Box::new(move |records| {
                let said = records.put_new(&name, &ours);
                if let Err(Trouble { passing: false, .. }) = said {
                    return said.map(|_| Attempt::Unseen);
                }
                // Whatever was said, a success too, what can be read is what all others will read.
                match records.get(&name, RECORD_BYTES_MAX)? {
                    Some(Ok(there)) if *there == *ours => Ok(Attempt::Settled(Created::Ours)),
                    Some(Ok(there)) => Ok(Attempt::Settled(Created::Theirs(there))),
                    Some(Err(TooLarge)) => Ok(Attempt::TooLarge),
                    None => said.map(|_| Attempt::Unseen),
                }
            })
        })
    }

    /// Makes a record that is named by its content, unless it is there; who made it does not matter.
    ///
    /// * `bytes`: asked for only where the record is missing; of any size.
    ///
    /// # Errors
    /// As [`StateRoot::create`]; what `bytes` says.
    pub fn ensure(
        &self,
        name: &RecordName,
        bytes: impl FnOnce() -> Result<Vec<u8>, Fault>,
    ) -> Result<(), Fault> {
        if self.size(name).map_err(RecordError::into_fault)?.is_some() {
            return Ok(());
        }
        let bytes: Arc<[u8]> = bytes()?.into();
        let made = self.settle("create", name, bytes.len(), |name| {
            let bytes = Arc::clone(&bytes);
            Box::new(move |records| match records.put_new(&name, &bytes) {
                Ok(_) => Ok(Attempt::Settled(())),
                Err(trouble) if trouble.passing && records.size(&name)?.is_some() => Ok(Attempt::Settled(())),
                Err(trouble) => Err(trouble),
            })
        });
        made.map_err(RecordError::into_fault)
    }

    /// Reads a record; `None` where there is none.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], [`RecordError::Refused`], [`RecordError::Unavailable`].
    pub fn read(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Vec<u8>>, RecordError> {
        let large = if bytes_max > SMALL_BYTES { self.size(name)?.unwrap_or(0) } else { 0 };
        self.settle("read", name, large.min(bytes_max) as usize, |name| {
            Box::new(move |records| {
                Ok(match records.get(&name, bytes_max)? {
                    Some(Ok(bytes)) => Attempt::Settled(Some(bytes)),
                    Some(Err(TooLarge)) => Attempt::TooLarge,
                    None => Attempt::Settled(None),
                })
            })
        })
        .map_err(|error| match error {
            RecordError::TooLarge { .. } => self.too_large(name, bytes_max),
            other => other,
        })
    }

    /// The bytes of a record; `None` where there is none.
    ///
    /// # Errors
    /// [`RecordError::Refused`], [`RecordError::Unavailable`].
    pub fn size(&self, name: &RecordName) -> Result<Option<u64>, RecordError> {
        self.settle("read", name, 0, |name| {
            Box::new(move |records| records.size(&name).map(Attempt::Settled))
        })
    }

    /// Names of the records and folders right beneath a folder, sorted; none where there is no such folder.
    ///
    /// # Errors
    /// [`RecordError::TooMany`], [`RecordError::Refused`], [`RecordError::Unavailable`].
    pub fn list(&self, folder: &RecordName) -> Result<Vec<String>, RecordError> {
        let mut names = self.settle("list", folder, 0, |folder| {
            Box::new(move |records| records.list(&folder, NAMES_MAX).map(Attempt::Settled))
        })?;
        if names.len() > NAMES_MAX {
            let (place, folder) = (self.place.clone(), folder.to_string());
            return Err(RecordError::TooMany { place, folder, names_max: NAMES_MAX });
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The error of a record that can be read and makes no sense.
    pub fn damaged(&self, name: &RecordName, detail: impl fmt::Display) -> RecordError {
        let (place, record) = (self.place.clone(), name.to_string());
        RecordError::Damaged { place, record, detail: detail.to_string() }
    }

    fn too_large(&self, name: &RecordName, bytes_max: u64) -> RecordError {
        RecordError::TooLarge { place: self.place.clone(), record: name.to_string(), bytes_max }
    }

    /// Attempts until one settles, the store says no, or the deadline has passed.
    ///
    /// * `bytes`: what is moved, as far as it is known; a large record gets more time.
    fn settle<T: Send + 'static>(
        &self,
        action: &'static str,
        name: &RecordName,
        bytes: usize,
        attempt: impl Fn(RecordName) -> Call<T>,
    ) -> Result<T, RecordError> {
        let moving = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND);
        let Patience { mut retry, attempt: limit } = self.patience;
        retry.deadline += moving;
        let started = Instant::now();
        let (place, record) = (|| self.place.clone(), || name.to_string());
        for attempts in 1.. {
            let (records, call) = (Arc::clone(&self.records), attempt(name.clone()));
            let trouble = match self.lanes.run(limit + moving, move || call(&*records)) {
                Some(Ok(Attempt::Settled(settled))) => return Ok(settled),
                Some(Ok(Attempt::TooLarge)) => return Err(self.too_large(name, RECORD_BYTES_MAX)),
                Some(Err(Trouble { passing: false, source })) => {
                    return Err(RecordError::Refused { action, place: place(), record: record(), source });
                }
                Some(Err(trouble)) => trouble,
                Some(Ok(Attempt::Unseen)) => Trouble::passing("it exists and cannot be read yet"),
                None => Trouble::passing(format!("no answer within {} ms", (limit + moving).as_millis())),
            };
            let elapsed = started.elapsed();
            let Some(wait) = retry.next(attempts, elapsed) else {
                let (source, waited_ms) = (trouble.source, elapsed.as_millis() as u64);
                let (place, record) = (place(), record());
                return Err(RecordError::Unavailable { action, place, record, attempts, waited_ms, source });
            };
            std::thread::sleep(wait);
        }
        unreachable!("the deadline comes before 2^32 attempts")
    }
}

/// Opens a folder; one on a mount that hangs is given up.
fn open_folder(place: &str, text: &str, limit: Duration) -> Result<Posix, RecordError> {
    let (place, path) = (place.to_owned(), Path::new(text).to_owned());
    let opened = Lanes::new().map(|lanes| lanes.run(limit, move || Posix::open(&path)));
    match opened {
        Ok(Some(Ok(folder))) => Ok(folder),
        Ok(Some(Err(StorageError::Root { source, .. }))) => {
            Err(RecordError::Open { place, source: source.into() })
        }
        Ok(Some(Err(source))) => Err(RecordError::Open { place, source: source.into() }),
        Ok(None) => {
            let source = "it does not answer".into();
            let waited_ms = limit.as_millis() as u64;
            Err(RecordError::Unavailable {
                action: "open",
                place,
                record: String::new(),
                attempts: 1,
                waited_ms,
                source,
            })
        }
        Err(source) => Err(RecordError::Open { place, source: source.into() }),
    }
}

impl fmt::Debug for StateRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateRoot({})", self.place)
    }
}

/// 32 hexadecimal digits that no other writer has drawn.
pub(crate) fn nonce() -> String {
    let mut bytes = [0; 16];
    let drawn = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(drawn, Ok(bytes.len()), "getrandom gives up to 256 bytes at once (getrandom(2))");
    format!("{:032x}", u128::from_le_bytes(bytes))
}
