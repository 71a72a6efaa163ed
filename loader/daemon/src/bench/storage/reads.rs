//! One pass of reads of one size at one depth, and the rows of a pass: each read once, in random order.

use std::time::Duration;

use forebay_plan::{EpochPrf, Purpose};
use serde::{Deserialize, Serialize};

use super::files::{LARGE, TestFiles};
use crate::error::Fault;

/// Where the bytes of a read lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A file a read: open, read whole, close.
    SmallFiles,
    /// A piece of one large file.
    LargeFile,
}

impl Layout {
    /// In two words at most.
    pub fn short(self) -> &'static str {
        match self {
            Self::SmallFiles => "files",
            Self::LargeFile => "in a large file",
        }
    }
}

/// One square of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Where the bytes lie.
    pub layout: Layout,
    /// Bytes of a read.
    pub size_bytes: u64,
    /// Reads at a time.
    pub depth: u32,
}

/// What one side did in one turn.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    /// How many.
    pub count: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// From the first to the last, without the times in which the page cache was dropped.
    pub wall: Duration,
    /// Of each read, from being asked for to being there.
    pub latencies: Vec<Duration>,
    /// Bytes that came from the device meanwhile, where the kernel counts them.
    pub device_bytes: Option<u64>,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file, beneath the test files' folder.
    pub name: String,
    /// Offset and length inside of it; the whole file where absent.
    pub extent: Option<(u64, u64)>,
}

impl Cell {
    /// How many reads there are before one would come twice.
    pub fn reads(&self, files: &TestFiles) -> u64 {
        match self.layout {
            Layout::LargeFile => files.plan().large_bytes / self.size_bytes,
            Layout::SmallFiles => {
                let mut small = files.plan().small.iter();
                small.find(|(size, _)| *size == self.size_bytes).map_or(0, |(_, count)| *count)
            }
        }
    }

    /// Read number `index` of the cell.
    pub fn target(&self, index: u64) -> Target {
        match self.layout {
            Layout::SmallFiles => Target { name: TestFiles::small(self.size_bytes, index), extent: None },
            Layout::LargeFile => {
                Target { name: LARGE.to_owned(), extent: Some((index * self.size_bytes, self.size_bytes)) }
            }
        }
    }

    /// All reads once, in random order, another each `lap`.
    pub fn lap(&self, files: &TestFiles, lap: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..self.reads(files)).collect();
        let mut rng = EpochPrf::new(self.size_bytes, Purpose::Augment, lap).rng(0, self.depth, 0);
        for last in (1..order.len()).rev() {
            order.swap(last, rng.below(last as u64 + 1) as usize);
        }
        order
    }

    /// Has the kernel forget the cell's files.
    ///
    /// # Errors
    /// Unavailable: one is gone.
    pub fn forget(&self, files: &TestFiles) -> Result<(), Fault> {
        match self.layout {
            Layout::LargeFile => files.forget(LARGE),
            Layout::SmallFiles => {
                (0..self.reads(files)).try_for_each(|index| files.forget(&self.target(index).name))
            }
        }
    }
}

impl Reads {
    /// Adds another lap's.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.wall += other.wall;
        self.latencies.extend(other.latencies);
        self.device_bytes = match (self.device_bytes, other.device_bytes) {
            (Some(ours), Some(more)) => Some(ours + more),
            (ours, more) => ours.or(more),
        };
    }
}

/// Bytes that this process has had fetched from devices so far; `None` where the kernel does not tell.
pub fn device_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::files::Plan;
    use super::*;
    use crate::bench::progress::Progress;
    use crate::bench::stop::Stop;

    #[test]
    fn a_lap_reads_everything_once_in_an_order_of_its_own() {
        let root = tempfile::tempdir().expect("a folder");
        let plan = Plan { small: vec![(10, 7)], large_bytes: 1000 };
        let files = TestFiles::make(root.path().join("t"), plan, &Progress::start(), &Stop::default())
            .expect("space");
        let large = Cell { layout: Layout::LargeFile, size_bytes: 10, depth: 4 };
        let (first, second) = (large.lap(&files, 0), large.lap(&files, 1));
        assert_ne!(first, second);
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
        assert_eq!(large.target(3).extent, Some((30, 10)));
        let small = Cell { layout: Layout::SmallFiles, ..large };
        assert_eq!((small.reads(&files), small.target(6).name.as_str()), (7, "s10/6"));
        small.forget(&files).expect("there");
    }
}
