//! `forebay index --measure`: reads the headers of samples that were not measured yet, several at once, and joins what
//! they say.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::header::{Header, Headers, Unread, text};
use crate::catalog::dataset::{Change, Dataset, Manifest, Numbers};
use crate::catalog::{Cells, Column, FRAMES, FrameNames, Table};
use crate::decode::tokens::{StoredToken, TokenError};
use crate::error::{Fault, Kind, with_causes};
use crate::storage::{RetryPolicy, Root, StorageError, StorageErrorKind, head};

/// Samples that are measured before a commit: what a run that is stopped has measured in vain, at most.
const COMMIT_ROWS: usize = 1 << 20;

/// What is read first of a file, and then, where its header is longer: large EXIF and ICC profiles come before it.
const STEPS_BYTES: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// Samples that a thread takes at a time.
const TURN: usize = 32;

/// Samples without a header that are told by name.
const NAMED: usize = 1000;

/// What measuring came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Samples whose header was read now, and told what is wanted.
    pub read: u64,
    /// Samples that were measured before.
    pub known: u64,
    /// Samples whose header could not be read; they are tried again the next time.
    pub unreadable: u64,
    /// The first of them: key and why.
    pub some_unreadable: BTreeMap<String, String>,
    /// What reading took.
    pub seconds: f64,
}

/// Measures the newest commit's samples.
///
/// * `tokens`: what files hold, where they are stored tokens.
/// * `count`: counts samples while they are read, for whoever watches.
///
/// # Errors
/// Invalid: samples that are no files of their own. Unavailable: a storage that does not answer; what was committed
/// before stays.
pub fn measure(
    dataset: &Dataset,
    head: &Manifest,
    tokens: Option<StoredToken>,
    threads: NonZeroUsize,
    count: &AtomicU64,
) -> Result<(Manifest, Measured), Fault> {
    let table = dataset.table(head)?;
    let path = path_column(head, &table)?;
    let root = Root::open(&head.root).map_err(|error| Fault::from_error(Kind::NotFound, &error))?;
    let rows: Vec<_> = (0..table.len()).filter(|&row| !is_measured(&table, row)).collect();
    let started = Instant::now();
    let mut told = Measured { known: (table.len() - rows.len()) as u64, ..Measured::default() };
    let mut newest = head.clone();
    for rows in rows.chunks(COMMIT_ROWS) {
        let names = table.column(&format!("{}{FRAMES}", path.name())).map(Cells::column);
        let reading =
            Reading { root: &root, path, names, rows, tokens, count, retry: RetryPolicy::default() };
        let read = reading.run(threads)?;
        if let Some(made) = commit(dataset, &table, &read)? {
            newest = made;
        }
        told.add(&table, read);
    }
    told.seconds = started.elapsed().as_secs_f64();
    Ok((newest, told))
}

fn path_column<'a>(head: &Manifest, table: &'a Table) -> Result<&'a Column, Fault> {
    let cells =
        head.path_column().and_then(|name| table.column(&name)).filter(|_| table.column("offset").is_none());
    cells.map(Cells::column).ok_or_else(|| {
        Fault::invalid("the samples of this data set are no files of their own: there is no header to read")
            .hint("join what you know of them: forebay dataset join")
    })
}

fn is_measured(table: &Table, row: usize) -> bool {
    let has = |name: &str| table.column(name).is_some_and(|cells| cells.has(row));
    ["width", "duration_s", "text_bytes", "tokens"].into_iter().any(has)
}

/// A header, or why there is none, by row of the table.
type Read = Vec<(usize, Result<Header, String>)>;

struct Reading<'a> {
    root: &'a Arc<Root>,
    path: &'a Column,
    /// Of the frames in each path, where these are folders.
    names: Option<&'a Column>,
    rows: &'a [usize],
    tokens: Option<StoredToken>,
    count: &'a AtomicU64,
    retry: RetryPolicy,
}

impl Reading<'_> {
    /// Reads all headers; they come back in the order of the rows.
    fn run(&self, threads: NonZeroUsize) -> Result<Read, Fault> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let parts: Result<Vec<_>, Fault> = thread::scope(|scope| {
            let work = || {
                let read = self.work(&next, &stop);
                stop.fetch_or(read.is_err(), Ordering::Relaxed);
                read
            };
            let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().expect("reading does not panic")).collect()
        });
        let mut read: Read = parts?.into_iter().flatten().collect();
        read.sort_unstable_by_key(|(row, _)| *row);
        Ok(read)
    }

    fn work(&self, next: &AtomicUsize, stop: &AtomicBool) -> Result<Read, Fault> {
        let (mut headers, mut read) = (Headers::new(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let first = next.fetch_add(TURN, Ordering::Relaxed);
            let Some(rows) = self.rows.get(first..).filter(|rows| !rows.is_empty()) else { break };
            for &row in &rows[..rows.len().min(TURN)] {
                read.push((row, self.measure(&mut headers, row as u64)?));
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(read)
    }

    /// What one sample's header says; the inner error is about this sample alone.
    fn measure(&self, headers: &mut Headers, row: u64) -> Result<Result<Header, String>, Fault> {
        let path = self.path.path(row);
        let Some(names) = self.names else { return self.header(headers, path) };
        let names = match FrameNames::parse(names.text(row)) {
            Ok(names) => names,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut first = [path, b"/"].concat();
        names.push(0, &mut first);
        let clip = |header| match header {
            Header::Image { width, height } => Ok(Header::Clip { frames: names.len() as i64, width, height }),
            _ => Err("its first frame is no JPEG or PNG".to_owned()),
        };
        Ok(self.header(headers, &first)?.and_then(clip))
    }

    /// The header of one file; the inner error is about this file alone.
    fn header(&self, headers: &mut Headers, path: &[u8]) -> Result<Result<Header, String>, Fault> {
        let steps = if self.tokens.is_some() { &STEPS_BYTES[..1] } else { &STEPS_BYTES[..] };
        for &len_max in steps {
            let start = match self.start(path, len_max) {
                Ok(start) => start,
                Err(error) if is_of_this_file(&error) => return Ok(Err(with_causes(&error))),
                Err(error) => {
                    return Err(Fault::from_error(Kind::Unavailable, &error)
                        .hint("what was committed stays: run it again once the storage answers"));
                }
            };
            if let Some(stored) = self.tokens {
                return Ok(tokens_of(stored, start.file_bytes));
            }
            match headers.read(&start.bytes, start.file_bytes) {
                Ok(header) => return Ok(Ok(header)),
                Err(Unread::Bad(why)) => return Ok(text(path, &start.bytes, start.file_bytes).ok_or(why)),
                Err(Unread::More) => {}
            }
        }
        Ok(Err(format!("no header in its first {} MiB", STEPS_BYTES[3] >> 20)))
    }

    /// Reads, and asks again while the storage has a problem that may pass.
    fn start(&self, path: &[u8], len_max: u64) -> Result<crate::storage::Head, StorageError> {
        let started = Instant::now();
        for attempt in 1.. {
            let error = match head(self.root, path, len_max) {
                Ok(start) => return Ok(start),
                Err(error) if is_of_this_file(&error) => return Err(error),
                Err(error) => error,
            };
            match self.retry.next(attempt, started.elapsed()) {
                Some(wait) => thread::sleep(wait),
                None => return Err(error),
            }
        }
        unreachable!("the deadline comes before 2^32 attempts")
    }
}

fn tokens_of(stored: StoredToken, file_bytes: u64) -> Result<Header, String> {
    let token_bytes = stored.size_bytes();
    if file_bytes.is_multiple_of(token_bytes) {
        return Ok(Header::Tokens { tokens: (file_bytes / token_bytes) as i64 });
    }
    Err(TokenError::CutToken { len_bytes: file_bytes, token_bytes }.to_string())
}

/// Whether it is no sign that the storage has a problem: a file that has gone, or may not be read, is told and left.
fn is_of_this_file(error: &StorageError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match error {
        StorageError::Io { source, .. } => {
            matches!(source.kind(), NotFound | PermissionDenied | NotADirectory)
        }
        other => matches!(other.kind(), StorageErrorKind::Invalid | StorageErrorKind::TooLarge),
    }
}

/// Joins what was measured, each kind of sample with its columns, so that no column has gaps.
fn commit(dataset: &Dataset, table: &Table, read: &Read) -> Result<Option<Manifest>, Fault> {
    let headers: Vec<_> =
        read.iter().filter_map(|(row, header)| Some((*row, header.as_ref().ok()?))).collect();
    let mut made = None;
    for kind in KINDS {
        let rows: Vec<_> =
            headers.iter().filter(|(_, header)| kind.is(header)).map(|(row, _)| *row).collect();
        if rows.is_empty() {
            continue;
        }
        let of = || headers.iter().map(|(_, header)| **header).filter(|header| kind.is(header));
        let keys: Vec<_> = rows.iter().map(|&row| table.key(row).into_owned()).collect();
        let counts = [("measured".to_owned(), keys.len() as u64)].into();
        let change = Change { verb: "measure".to_owned(), message: kind.names().join(", "), counts };
        made = Some(dataset.lay_numbers(&keys, kind.columns(of), &change)?);
    }
    Ok(made)
}

/// Kinds of samples that are measured.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Pictures,
    Clips,
    Recordings,
    Texts,
    Tokens,
}

const KINDS: [Measure; 5] =
    [Measure::Pictures, Measure::Clips, Measure::Recordings, Measure::Texts, Measure::Tokens];

impl Measure {
    fn is(self, header: &Header) -> bool {
        matches!(
            (self, header),
            (Self::Pictures, Header::Image { .. })
                | (Self::Clips, Header::Clip { .. })
                | (Self::Recordings, Header::Audio { .. })
                | (Self::Texts, Header::Text { .. })
                | (Self::Tokens, Header::Tokens { .. })
        )
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Pictures => &["width", "height"],
            Self::Clips => &["frames", "width", "height"],
            Self::Recordings => &["duration_s", "sample_rate", "channels"],
            Self::Texts => &["text_bytes"],
            Self::Tokens => &["tokens"],
        }
    }

    /// The columns of headers of this kind.
    fn columns<I: Iterator<Item = Header>>(self, of: impl Fn() -> I) -> Vec<(&'static str, Numbers)> {
        let column = |(at, &name): (usize, &&'static str)| {
            let numbers = if name == "duration_s" {
                Numbers::Floats(of().map(Header::seconds).collect())
            } else {
                Numbers::Ints(of().map(|header| header.whole(at)).collect())
            };
            (name, numbers)
        };
        self.names().iter().enumerate().map(column).collect()
    }
}

impl Header {
    /// The whole number in a place of [`Measure::names`].
    fn whole(self, at: usize) -> i64 {
        match self {
            Self::Image { width, height } => [width, height][at],
            Self::Clip { frames, width, height } => [frames, width, height][at],
            Self::Audio { sample_rate, channels, .. } => [0, sample_rate, channels][at],
            Self::Text { bytes } => bytes,
            Self::Tokens { tokens } => tokens,
        }
    }

    fn seconds(self) -> f32 {
        match self {
            Self::Audio { duration_s, .. } => duration_s,
            Self::Image { .. } | Self::Clip { .. } | Self::Text { .. } | Self::Tokens { .. } => 0.0,
        }
    }
}

impl Measured {
    fn add(&mut self, table: &Table, read: Read) {
        for (row, header) in read {
            match header {
                Ok(_) => self.read += 1,
                Err(why) => {
                    self.unreadable += 1;
                    if self.some_unreadable.len() < NAMED {
                        let key = String::from_utf8_lossy(&table.key(row)).into_owned();
                        self.some_unreadable.insert(key, why);
                    }
                }
            }
        }
    }
}
