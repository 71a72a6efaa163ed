//! The ceiling: threads that open, read, close and decode the same rows in the same order, without a framework.
//!
//! Bytes that nobody decodes may go round through more memory than the processor's cache holds, as those of batches do.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, CWD, Mode, OFlags};

use super::options::Amount;
use super::pass::Pass;
use super::progress::Progress;
use super::rows::{Row, Rows};
use super::usage::Mark;
use crate::decode::array::ArrayScratch;
use crate::decode::{ImageDecoder, ImageLimits, raw};
use crate::error::{Fault, Kind};
use crate::job::{FieldMaker, StoredBytes};
use crate::storage::ByteBuf;
use crate::transform::Scratch;

/// Where a bare loop finds its files.
#[derive(Clone)]
pub enum Files {
    /// Beneath a directory.
    Disk(Arc<OwnedFd>),
    /// In memory; each is copied into the thread's buffer, as the memory engine does.
    Memory(Arc<HashMap<Vec<u8>, Arc<[u8]>>>),
}

/// A bare loop over the rows of a job.
pub struct Bare {
    /// Which rows.
    pub rows: Rows,
    /// Where their bytes are.
    pub files: Files,
    /// How many do it at once.
    pub threads: usize,
    /// Decode and transform, or only read.
    pub decode: bool,
    /// Buffers of each thread, filled in turn.
    pub buffers: usize,
    /// What an image may ask of us.
    pub limits: ImageLimits,
}

/// What one thread has in hand.
struct Worker {
    rows: Rows,
    decoder: ImageDecoder,
    scratch: Scratch,
    arrays: ArrayScratch,
    encoded: Vec<ByteBuf>,
    turn: usize,
    targets: Vec<Vec<u8>>,
}

impl Files {
    /// The files beneath `root`.
    ///
    /// # Errors
    /// Unavailable: it can't be opened.
    pub fn disk(root: &Path) -> Result<Self, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(|errno| {
            Fault::from_error(Kind::Unavailable, &errno).context(format!("open {}", root.display()))
        })?;
        Ok(Self::Disk(Arc::new(dir)))
    }

    /// Reads one file, or its bytes from an offset on for a length, into `buf`.
    ///
    /// # Errors
    /// Unavailable, naming the file.
    pub fn read(&self, path: &[u8], extent: Option<(u64, u64)>, buf: &mut ByteBuf) -> Result<(), Fault> {
        self.fill(path, extent, buf).map_err(|errno| {
            Fault::from_error(Kind::Unavailable, &errno)
                .context(format!("read {}", String::from_utf8_lossy(path)))
        })
    }

    /// Asks the kernel to forget what it keeps of a file. Whether that helped is for the caller to measure: some file
    /// systems keep no pages, and pages that were not written back yet stay.
    ///
    /// # Errors
    /// Unavailable, naming the file.
    pub fn forget(&self, path: &[u8]) -> Result<(), Fault> {
        let Self::Disk(dir) = self else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, path, flags, Mode::empty()).map_err(|errno| {
            Fault::from_error(Kind::Unavailable, &errno)
                .context(format!("open {}", String::from_utf8_lossy(path)))
        })?;
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }

    fn fill(&self, path: &[u8], extent: Option<(u64, u64)>, buf: &mut ByteBuf) -> rustix::io::Result<()> {
        match self {
            // What lies in memory was read there sample by sample.
            Self::Memory(files) => {
                let bytes = files.get(path).ok_or(rustix::io::Errno::NOENT)?;
                room(buf, bytes.len())?.copy_from_slice(bytes);
            }
            Self::Disk(dir) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(dir, path, flags, Mode::empty())?;
                let (start, len) = match extent {
                    Some(extent) => extent,
                    None => (0, rustix::fs::fstat(&file)?.st_size as u64),
                };
                let target = room(buf, len as usize)?;
                let mut done = 0;
                while done < target.len() {
                    match rustix::io::pread(&file, &mut target[done..], start + done as u64)? {
                        0 => return Err(rustix::io::Errno::IO),
                        count => done += count,
                    }
                }
            }
        }
        Ok(())
    }
}

fn room(buf: &mut ByteBuf, len_bytes: usize) -> rustix::io::Result<&mut [u8]> {
    buf.overwrite(len_bytes).map_err(|_| rustix::io::Errno::NOMEM)
}

impl Bare {
    /// Does the rows of `ours` again.
    ///
    /// # Errors
    /// A file that can't be read; one that can't be decoded is passed over, as forebay substitutes it.
    pub fn repeat(&self, ours: &Pass, progress: &Progress) -> Result<Pass, Fault> {
        self.advance(ours.first_row, Amount::Rows(ours.items), progress)
    }

    /// Does rows from `first_row` on, until `amount` is done.
    ///
    /// # Errors
    /// As [`Bare::repeat`].
    pub fn advance(&self, first_row: u64, amount: Amount, progress: &Progress) -> Result<Pass, Fault> {
        let start = Mark::now();
        let (end, deadline) = match amount {
            Amount::Rows(rows) => (first_row + rows, None),
            Amount::Seconds(seconds) => (u64::MAX, Some(start.at + Duration::from_secs_f64(seconds))),
        };
        let (next, items) = (AtomicU64::new(first_row), AtomicU64::new(0));
        let encoded_bytes = self.each_thread(&|| {
            self.work(&next, end, deadline, &|| {
                progress.add(1);
                items.fetch_add(1, Ordering::Relaxed);
            })
        })?;
        let (wall, cpu) = start.elapsed();
        Ok(Pass { first_row, items: items.into_inner(), wall, cpu, encoded_bytes, ..Pass::default() })
    }

    /// Reads every file of an epoch once, for at most `limit`; how many were read.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn warm(&self, limit: Duration, progress: &Progress) -> Result<u64, Fault> {
        let (next, end) = (AtomicU64::new(0), self.rows.job.rows);
        let (read, deadline) = (AtomicU64::new(0), Instant::now() + limit);
        self.each_thread(&|| {
            self.work(&next, end, Some(deadline), &|| {
                progress.add(1);
                read.fetch_add(1, Ordering::Relaxed);
            })
        })?;
        Ok(read.into_inner())
    }

    /// Runs `work` on every thread; the sum of what they give.
    fn each_thread(&self, work: &(dyn Fn() -> Result<u64, Fault> + Sync)) -> Result<u64, Fault> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a bare loop does not panic")).sum()
        })
    }

    fn work(
        &self,
        next: &AtomicU64,
        end: u64,
        deadline: Option<Instant>,
        done: &dyn Fn(),
    ) -> Result<u64, Fault> {
        let mut worker = Worker::new(self);
        let mut bytes = 0;
        loop {
            let row = next.fetch_add(1, Ordering::Relaxed);
            if row >= end || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(bytes);
            }
            bytes += worker.make(self, row)?;
            done();
        }
    }
}

impl Worker {
    fn new(bare: &Bare) -> Self {
        let targets = bare
            .rows
            .job
            .specs(false)
            .iter()
            .map(|spec| vec![0; spec.sample_bytes().expect("checked as the job was resolved") as usize])
            .collect();
        Self {
            rows: bare.rows.clone(),
            decoder: ImageDecoder::new(bare.limits),
            scratch: Scratch::new(),
            arrays: ArrayScratch::default(),
            encoded: (0..bare.buffers.max(1)).map(|_| ByteBuf::default()).collect(),
            turn: 0,
            targets,
        }
    }

    /// Does one row; how many bytes were read.
    fn make(&mut self, bare: &Bare, row: u64) -> Result<u64, Fault> {
        let row = self.rows.row(row);
        self.turn = (self.turn + 1) % self.encoded.len();
        let (path, extent) = (self.rows.path(row.sample), self.rows.extent(row.sample));
        bare.files.read(path, extent, &mut self.encoded[self.turn])?;
        if bare.decode {
            self.decode(&row);
        }
        Ok(self.encoded[self.turn].len() as u64)
    }

    fn decode(&mut self, row: &Row) {
        let (job, encoded) = (&self.rows.job, &self.encoded[self.turn]);
        for (field, target) in job.fields.iter().zip(&mut self.targets) {
            match &field.makers[0] {
                FieldMaker::Value(value) => value.write(job.snapshot(0), row.sample.0, target),
                FieldMaker::Source
                | FieldMaker::Tokens(_)
                | FieldMaker::Length { .. }
                | FieldMaker::Clip { .. }
                | FieldMaker::DeviceNumbers
                | FieldMaker::Packed(_) => target.fill(0),
                // A sample that has no room costs its read; forebay counts it.
                FieldMaker::Raw { .. } => raw::write(encoded, target),
                FieldMaker::Stored(_) => StoredBytes::write(encoded, target),
                FieldMaker::Array { spec, .. } => {
                    let _ = spec.write(encoded, &mut self.arrays, target);
                }
                FieldMaker::Image { pipeline, .. } => {
                    let mut draws = row.draws.clone();
                    // A corrupt image costs what it costs; forebay counts it.
                    let _ = pipeline.run(encoded, &mut self.decoder, &mut self.scratch, &mut draws, target);
                }
            }
        }
        std::hint::black_box(&self.targets);
    }
}
