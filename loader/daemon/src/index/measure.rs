//! `forebay index --measure`: reads the headers of samples that were not measured yet, several at once, and joins what
//! they say.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::header::Header;
use super::look::{Column, Looking};
use crate::catalog::Table;
use crate::catalog::dataset::{Change, Dataset, Manifest, Numbers};
use crate::decode::tokens::StoredToken;
use crate::error::{Fault, Kind};
use crate::storage::Root;

/// Samples that are measured before a commit: what a run that is stopped has measured in vain, at most.
const COMMIT_ROWS: usize = 1 << 20;

/// Samples that a thread takes at a time, at least and at most: hundreds of neighbours may lie in one page, which is then
/// inflated once.
const TURN: [usize; 2] = [32, 1024];
/// How often a thread takes some, at least.
const TURNS: usize = 4;

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
/// * `column`: which one, where samples have several; absent: the files, or images, or recordings, or texts.
/// * `tokens`: what files hold, where they are stored tokens.
/// * `count`: counts samples while they are read, for whoever watches.
///
/// # Errors
/// Invalid: no such column, or one that has nothing to measure. Unavailable: a storage that does not answer; what was committed
/// before stays.
pub fn measure(
    dataset: &Dataset,
    head: &Manifest,
    column: Option<&str>,
    tokens: Option<StoredToken>,
    threads: NonZeroUsize,
    count: &AtomicU64,
) -> Result<(Manifest, Measured), Fault> {
    let table = dataset.table(head)?;
    let measured = Column::of(head, &table, column)?;
    let root = Root::open(&head.root).map_err(|error| Fault::from_error(Kind::NotFound, &error))?;
    let rows: Vec<_> = (0..table.len()).filter(|&row| !measured.is_known(&table, row)).collect();
    let started = Instant::now();
    let mut told = Measured { known: (table.len() - rows.len()) as u64, ..Measured::default() };
    let mut newest = head.clone();
    for rows in rows.chunks(COMMIT_ROWS) {
        let reading = Reading { root: &root, column: &measured, rows, tokens, count };
        let read = reading.run(threads)?;
        if let Some(made) = commit(dataset, &table, &read)? {
            newest = made;
        }
        told.add(&table, read);
    }
    told.seconds = started.elapsed().as_secs_f64();
    Ok((newest, told))
}

/// A header, or why there is none, by row of the table.
type Read = Vec<(usize, Result<Header, String>)>;

struct Reading<'a> {
    root: &'a Arc<Root>,
    column: &'a Column<'a>,
    rows: &'a [usize],
    tokens: Option<StoredToken>,
    count: &'a AtomicU64,
}

impl Reading<'_> {
    /// Reads all headers; they come back in the order of the rows.
    fn run(&self, threads: NonZeroUsize) -> Result<Read, Fault> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let turn = (self.rows.len() / (threads.get() * TURNS)).clamp(TURN[0], TURN[1]);
        let parts: Result<Vec<_>, Fault> = thread::scope(|scope| {
            let work = || {
                let read = self.work(&next, turn, &stop);
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

    fn work(&self, next: &AtomicUsize, turn: usize, stop: &AtomicBool) -> Result<Read, Fault> {
        let (mut looking, mut read) = (Looking::new(self.root, self.column, self.tokens), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let first = next.fetch_add(turn, Ordering::Relaxed);
            let Some(rows) = self.rows.get(first..).filter(|rows| !rows.is_empty()) else { break };
            for &row in &rows[..rows.len().min(turn)] {
                read.push((row, looking.header(row)?));
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(read)
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
