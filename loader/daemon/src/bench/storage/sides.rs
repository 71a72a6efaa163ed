//! Who reads: the daemon's storage engine with as many threads, or entries of rings, as reads at a time, and bare threads
//! with `pread`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::files::{LARGE, TestFiles};
use super::reads::{Cell, Layout, Reads, Target, device_bytes};
use crate::bench::progress::Progress;
use crate::bench::stop::Stop;
use crate::error::{Fault, Kind};
use crate::storage::{
    self, Account, DirectReads, Done, Engine, EngineName, EngineOptions, Read, ReadBuf, RingOptions, Root,
    Started, StorageError,
};
use crate::sys;

/// Memory of direct reads is aligned to this, which every device takes.
const ALIGN_BYTES: usize = 4096;

/// One pass of one cell over the test files.
pub struct Pass<'a> {
    /// What is read.
    pub cell: Cell,
    /// From where.
    pub files: &'a TestFiles,
    /// For how long.
    pub target: Duration,
    /// Bare reads go past the page cache.
    pub direct: bool,
    /// Tells how far it is.
    pub progress: &'a Progress,
    /// Ends it early.
    pub stop: &'a Stop,
}

impl Pass<'_> {
    /// Reads through the daemon's engine. It keeps its threads. Those open the large file for each read, as for samples;
    /// rings keep it open, and read it as bare threads do.
    ///
    /// # Errors
    /// Unavailable: a test file is gone, no threads are left, or there is no io_uring for `name`.
    pub fn engine(&self, name: EngineName) -> Result<Reads, Fault> {
        let root = Root::open(self.files.directory()).map_err(|error| fault(&error))?;
        let (sender, done) = flume::unbounded();
        let Started { engine, .. } = storage::start(&self.engine_options(name), &sender)?;
        self.laps(|order, left| self.engine_lap(&*engine, &done, &root, order, left))
    }

    fn engine_options(&self, name: EngineName) -> EngineOptions {
        let rings = RingOptions::threads_of(sys::cpus()).get().min(self.cell.depth as usize).max(1);
        let depth = self.cell.depth.div_ceil(rings as u32);
        EngineOptions {
            name,
            read_threads: NonZeroUsize::new(self.cell.depth as usize).unwrap_or(NonZeroUsize::MIN),
            rings: RingOptions {
                threads: NonZeroUsize::new(rings).unwrap_or(NonZeroUsize::MIN),
                depth: NonZeroU32::new(depth).unwrap_or(NonZeroU32::MIN),
                direct: if self.direct { DirectReads::Always } else { DirectReads::Never },
                page_cache_bytes: 0,
            },
            open_files: u64::MAX,
        }
    }

    /// Reads with bare threads; one descriptor for the large file, open and close for each small one.
    ///
    /// # Errors
    /// Unavailable: a test file is gone, or the file system takes no such direct reads.
    pub fn bare(&self) -> Result<Reads, Fault> {
        let dir = open(rustix::fs::CWD, self.files.directory(), OFlags::DIRECTORY)?;
        let flags = if self.direct { OFlags::DIRECT } else { OFlags::empty() };
        let shared = match self.cell.layout {
            Layout::LargeFile => Some(open(&dir, LARGE, flags)?),
            Layout::SmallFiles => None,
        };
        let opener = Opener { dir, flags, shared };
        self.laps(|order, left| self.bare_lap(&opener, order, left))
    }

    /// Goes over all reads, the page cache dropped before each time, until their time together is enough.
    fn laps(&self, mut lap: impl FnMut(&[u64], Duration) -> Result<Reads, Fault>) -> Result<Reads, Fault> {
        let mut all = Reads::default();
        let mut number = 0;
        while all.wall < self.target {
            self.cell.forget(self.files)?;
            let before = device_bytes();
            let mut reads = lap(&self.cell.lap(self.files, number), self.target.saturating_sub(all.wall))?;
            reads.device_bytes = before.and_then(|before| Some(device_bytes()?.saturating_sub(before)));
            all.merge(reads);
            self.stop.check()?;
            number += 1;
        }
        Ok(all)
    }

    fn engine_lap(
        &self,
        engine: &dyn Engine<()>,
        done: &flume::Receiver<Done<()>>,
        root: &Arc<Root>,
        order: &[u64],
        left: Duration,
    ) -> Result<Reads, Fault> {
        let submit = |index: u64, mut buf: ReadBuf| {
            let Target { name, extent } = self.cell.target(index);
            buf.set_path(name.as_bytes());
            engine.submit(Read {
                root: Arc::clone(root),
                buf,
                extent,
                limit_bytes: u64::MAX,
                account: Account::ONLY,
                tag: (),
            });
        };
        let (mut reads, start) = (Reads::default(), Instant::now());
        let mut next = order.iter().copied();
        let mut in_flight = 0;
        for index in next.by_ref().take(self.cell.depth as usize) {
            submit(index, ReadBuf::default());
            in_flight += 1;
        }
        while in_flight > 0 {
            let Done { read, result, queue_wait, read_time, .. } =
                done.recv().expect("the engine holds the sender");
            result.map_err(|error| fault(&error))?;
            in_flight -= 1;
            reads.count += 1;
            reads.bytes += read.buf.bytes.len() as u64;
            reads.latencies.push(queue_wait + read_time);
            self.progress.add(1);
            if start.elapsed() < left
                && !self.stop.is_set()
                && let Some(index) = next.next()
            {
                submit(index, read.buf);
                in_flight += 1;
            }
        }
        reads.wall = start.elapsed();
        Ok(reads)
    }

    fn bare_lap(&self, opener: &Opener, order: &[u64], left: Duration) -> Result<Reads, Fault> {
        let (next, start) = (AtomicU64::new(0), Instant::now());
        let parts: Result<Vec<Reads>, Fault> = std::thread::scope(|scope| {
            let work = || self.bare_thread(opener, order, &next, start + left);
            let threads: Vec<_> = (0..self.cell.depth).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a bare loop does not panic")).collect()
        });
        let wall = start.elapsed();
        let mut all = Reads::default();
        parts?.into_iter().for_each(|part| all.merge(part));
        Ok(Reads { wall, ..all })
    }

    fn bare_thread(
        &self,
        opener: &Opener,
        order: &[u64],
        next: &AtomicU64,
        deadline: Instant,
    ) -> Result<Reads, Fault> {
        let mut reads = Reads::default();
        let mut memory = vec![0; self.cell.size_bytes as usize + ALIGN_BYTES];
        let first = memory.as_ptr().align_offset(ALIGN_BYTES);
        let buf = &mut memory[first..first + self.cell.size_bytes as usize];
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let asked = Instant::now();
            // One read in any case: on a busy machine a thread may start after its time is over.
            if asked >= deadline && reads.count > 0 || self.stop.is_set() {
                break;
            }
            let target = self.cell.target(index);
            let bytes = opener.read(&target, buf).map_err(|errno| refused(&target, self.direct, errno))?;
            reads.latencies.push(asked.elapsed());
            reads.bytes += bytes as u64;
            reads.count += 1;
            self.progress.add(1);
        }
        Ok(reads)
    }
}

/// How a bare loop comes to its bytes.
struct Opener {
    dir: OwnedFd,
    flags: OFlags,
    shared: Option<OwnedFd>,
}

impl Opener {
    fn read(&self, target: &Target, buf: &mut [u8]) -> Result<usize, Errno> {
        if let Some(file) = &self.shared {
            return whole(file, buf, target.extent.map_or(0, |(offset, _)| offset));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | self.flags;
        let file = rustix::fs::openat(&self.dir, target.name.as_str(), flags, Mode::empty())?;
        whole(&file, buf, 0)
    }
}

fn whole(file: &OwnedFd, buf: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buf.len() {
        match rustix::io::pread(file, &mut buf[done..], offset_bytes + done as u64)? {
            0 => return Err(Errno::IO),
            count => done += count,
        }
    }
    Ok(done)
}

fn open(
    dir: impl std::os::fd::AsFd,
    path: impl rustix::path::Arg + Copy + std::fmt::Debug,
    flags: OFlags,
) -> Result<OwnedFd, Fault> {
    rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty()).map_err(|errno| {
        Fault::from_error(Kind::Unavailable, &errno)
            .context(format!("open the test files {path:?}"))
            .hint("if the file system takes no direct reads, leave out --direct")
    })
}

fn fault(error: &StorageError) -> Fault {
    Fault::from_error(Kind::Unavailable, error).hint("something removed the test files: run it again")
}

fn refused(target: &Target, direct: bool, errno: Errno) -> Fault {
    let fault = Fault::from_error(Kind::Unavailable, &errno).context(format!("read {}", target.name));
    fault.hint(if direct && errno == Errno::INVAL {
        "direct reads must be whole sectors: sizes that are multiples of 4KiB, or leave out --direct"
    } else {
        "something removed the test files: run it again"
    })
}

#[cfg(test)]
mod tests {
    use super::super::files::Plan;
    use super::*;

    #[test]
    fn both_sides_read_what_there_is_at_any_depth() {
        let root = tempfile::tempdir().expect("a folder");
        let plan = Plan { small: vec![(4096, 5)], large_bytes: 40_960 };
        let (progress, stop) = (Progress::start(), Stop::default());
        let files = TestFiles::make(root.path().join("t"), plan, &progress, &stop).expect("space");
        for layout in [Layout::SmallFiles, Layout::LargeFile] {
            for depth in [1, 8] {
                let cell = Cell { layout, size_bytes: 4096, depth };
                let target = Duration::from_millis(5);
                let pass =
                    Pass { cell, files: &files, target, direct: false, progress: &progress, stop: &stop };
                for reads in [pass.engine(EngineName::Auto).expect("files"), pass.bare().expect("files")] {
                    assert!(reads.count > 0 && reads.latencies.len() as u64 == reads.count, "{cell:?}");
                    assert_eq!(reads.bytes, reads.count * 4096, "{cell:?}");
                }
            }
        }
        stop.set();
        let cell = Cell { layout: Layout::LargeFile, size_bytes: 4096, depth: 1 };
        let target = Duration::from_secs(3600);
        let pass = Pass { cell, files: &files, target, direct: false, progress: &progress, stop: &stop };
        assert!(
            pass.engine(EngineName::Threads).is_err() && pass.bare().is_err(),
            "a stop ends an hour at once"
        );
    }

    #[test]
    fn direct_reads_that_the_disk_refuses_name_the_cure() {
        let target = Target { name: "large".to_owned(), extent: Some((0, 100)) };
        let hint = |direct| refused(&target, direct, Errno::INVAL).hint.expect("a cure");
        assert!(hint(true).contains("multiples of 4KiB") && !hint(false).contains("4KiB"));
    }
}
