//! A machine as `/proc`, `/sys` and `/dev` show it, beneath a folder, so that a test can plant one.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::cgroup::Cgroups;
use crate::mounts::{self, Mount};
use crate::sys;

/// A machine, by what stands for its `/`.
#[derive(Clone, Debug)]
pub struct Machine {
    slash: PathBuf,
}

/// A limit of `setrlimit`; `u64::MAX`: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

impl Machine {
    /// The machine whose `/` is this folder.
    pub fn beneath(slash: impl Into<PathBuf>) -> Self {
        Self { slash: slash.into() }
    }

    /// Where an absolute path lies.
    pub fn at(&self, path: &str) -> PathBuf {
        mounts::planted(&self.slash, Path::new(path))
    }

    /// The text of a file, trimmed; `None` where it can't be read.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.at(path)).ok()?.trim().to_owned())
    }

    /// The number that is all a file says.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a folder, in order; none where it can't be listed.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Whether a path is there.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// A line of a file of `Name: value` lines.
    pub fn field(&self, path: &str, name: &str) -> Option<String> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name));
        value.map(|(_, value)| value.trim().to_owned())
    }

    /// A line of `/proc/meminfo`, bytes.
    pub fn memory(&self, name: &str) -> Option<u64> {
        let value = self.field("/proc/meminfo", name)?;
        value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// A line of `/proc/self/limits`.
    pub fn limit(&self, name: &str) -> Option<Limit> {
        let text = self.text("/proc/self/limits")?;
        let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        Some(Limit { soft: next()?, hard: next()? })
    }

    /// The processors this process may run on; 1 where nothing can tell.
    pub fn affinity(&self) -> usize {
        let list = self.field("/proc/self/status", "Cpus_allowed_list").unwrap_or_default();
        count(&list).max(1)
    }

    /// The groups of this process.
    pub fn cgroups(&self) -> Cgroups {
        Cgroups::beneath(&self.slash)
    }

    /// What `cpu_threads = 0` means here.
    pub fn processors(&self) -> usize {
        sys::cpus_within(self.affinity(), self.cgroups().cpu_quota().map(|quota| quota.cores))
    }

    /// The machine's memory, or the limit of a group where that is less.
    pub fn memory_bytes(&self) -> u64 {
        let machine = self.memory("MemTotal").unwrap_or(0);
        self.cgroups().memory_limit().map_or(machine, |limit| limit.bytes.min(machine))
    }

    /// The mounted file systems.
    pub fn mounts(&self) -> Vec<Mount> {
        mounts::beneath(&self.slash)
    }

    /// The processors of a NUMA node; none where it is not there.
    pub fn node_processors(&self, node: u32) -> Vec<usize> {
        let list = self.text(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
        ranges(&list).flatten().collect()
    }

    /// The processors that this process may run on.
    pub fn allowed_processors(&self) -> Vec<usize> {
        let list = self.field("/proc/self/status", "Cpus_allowed_list").unwrap_or_default();
        ranges(&list).flatten().collect()
    }

    /// The numbers of the NUMA nodes.
    pub fn nodes(&self) -> Vec<u32> {
        let number = |name: String| name.strip_prefix("node")?.parse().ok();
        self.names("/sys/devices/system/node").into_iter().filter_map(number).collect()
    }

    /// PCI addresses of the GPUs that the driver knows, in its order.
    pub fn gpus(&self) -> Vec<String> {
        self.names("/proc/driver/nvidia/gpus")
    }
}

/// How many processors a list as `0-3,8` names.
pub fn count(list: &str) -> usize {
    ranges(list).map(Iterator::count).sum()
}

fn ranges(list: &str) -> impl Iterator<Item = RangeInclusive<usize>> {
    list.split(',').filter_map(|range| {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        Some(first.parse().ok()?..=last.parse().ok()?)
    })
}

/// The word in brackets of `always [madvise] never`.
pub fn chosen(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(word, _)| word)
}
