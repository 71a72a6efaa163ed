//! What the control groups of this process allow it, and what they have taken from it: version 1, version 2, and both.
//!
//! A limit holds for everything below the group that has it, so every group from the process's own up to the top of the
//! mount is asked and the tightest answers. Inside a container's cgroup namespace the groups above are invisible.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::mounts;

/// From here up a version 1 memory limit means none: the kernel writes the largest multiple of a page.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// The processor time that a group may use.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuQuota {
    /// Cores' worth of time, as in 0.5 or 16.
    pub cores: f64,
    /// The file that says so.
    pub file: PathBuf,
}

/// The memory that a group may use, page cache and shared memory included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// The file that says so.
    pub file: PathBuf,
}

/// How often a group had used up its quota before its period was over, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Periods in which the group ran at all.
    pub periods: u64,
    /// Those of them in which it was stopped.
    pub throttled_periods: u64,
    /// The time that its threads stood, summed over processors, microseconds.
    pub throttled_us: u64,
}

/// The tightest processor quota of this process; `None` where there is none.
pub fn cpu_quota() -> Option<CpuQuota> {
    Cgroups::own().cpu_quota()
}

/// What the quotas of this process took so far; `None` where no group counts it.
pub fn throttled() -> Option<Throttled> {
    Cgroups::own().throttled()
}

/// The tightest memory limit of this process; `None` where there is none.
pub fn memory_limit() -> Option<MemoryLimit> {
    Cgroups::own().memory_limit()
}

/// The groups of a process, innermost first, by what they control.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    cpu: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

impl Cgroups {
    /// Those of this process.
    pub fn own() -> Self {
        Self::beneath(Path::new("/"))
    }

    /// Those that `/proc/self` and `/sys` beneath `root` describe.
    pub fn beneath(root: &Path) -> Self {
        Self { cpu: groups(root, "cpu"), memory: groups(root, "memory") }
    }

    /// The tightest processor quota.
    pub fn cpu_quota(&self) -> Option<CpuQuota> {
        let quotas = self.cpu.iter().filter_map(|group| quota_of(group));
        quotas.min_by(|a, b| a.cores.total_cmp(&b.cores))
    }

    /// The counters of the group that was stopped longest: only the group with the quota counts.
    pub fn throttled(&self) -> Option<Throttled> {
        let counts = self.cpu.iter().filter_map(|group| throttled_of(group));
        counts.max_by_key(|count| (count.throttled_us, count.periods))
    }

    /// The tightest memory limit.
    pub fn memory_limit(&self) -> Option<MemoryLimit> {
        let files = self
            .memory
            .iter()
            .flat_map(|group| [group.join("memory.max"), group.join("memory.limit_in_bytes")]);
        let limits = files.filter_map(|file| {
            let bytes = fs::read_to_string(&file).ok()?.trim().parse::<u64>().ok()?;
            (bytes < NO_LIMIT_BYTES).then_some(MemoryLimit { bytes, file })
        });
        limits.min_by_key(|limit| limit.bytes)
    }
}

/// The folders of the groups that hold the process in `controller`, innermost first.
fn groups(root: &Path, controller: &str) -> Vec<PathBuf> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = mounts::beneath(root);
    let mut folders = Vec::new();
    // `4:memory:/a/b` is version 1, `0::/a/b` version 2; a hybrid system has both.
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let unified = controllers.is_empty();
        if !unified && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let mount = mounts.iter().find(|mount| match mount.fs_type.as_str() {
            "cgroup2" => unified,
            "cgroup" => !unified && mount.super_options.split(',').any(|option| option == controller),
            _ => false,
        });
        if let Some(mount) = mount {
            folders.extend(upwards(root, &mount.point, &mount.root, Path::new(path)));
        }
    }
    folders
}

/// The folder of group `path` in a mount that shows `mount_root` at `point`, and those above it, up to the mount.
fn upwards(root: &Path, point: &Path, mount_root: &Path, path: &Path) -> Vec<PathBuf> {
    let top = mounts::planted(root, point);
    // What a namespace hides is shown as `/..`: then the mount itself is the innermost group that can be seen.
    let hidden = path.components().any(|part| part == Component::ParentDir);
    let below = path.strip_prefix(mount_root).ok().filter(|_| !hidden);
    let own = below.map_or_else(|| top.clone(), |below| top.join(below));
    own.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_owned).collect()
}

fn quota_of(group: &Path) -> Option<CpuQuota> {
    let text = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (file, quota, period) = if let Some(line) = text("cpu.max") {
        let mut words = line.split_whitespace().map(str::to_owned);
        (group.join("cpu.max"), words.next()?, words.next()?)
    } else {
        (group.join("cpu.cfs_quota_us"), text("cpu.cfs_quota_us")?, text("cpu.cfs_period_us")?)
    };
    // No quota is `max` in version 2 and -1 in version 1.
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    (quota > 0 && period > 0).then(|| CpuQuota { cores: quota as f64 / period as f64, file })
}

fn throttled_of(group: &Path) -> Option<Throttled> {
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let throttled_us = value("throttled_usec").or_else(|| Some(value("throttled_time")? / 1000))?;
    Some(Throttled { periods: value("nr_periods")?, throttled_periods: value("nr_throttled")?, throttled_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A planted `/`: each file with its text.
    fn planted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        root
    }

    const V2: (&str, &str) = ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");

    #[test]
    fn version_2_takes_the_tightest_of_a_group_and_those_above_it() {
        let root = planted(&[
            V2,
            ("proc/self/cgroup", "0::/pod/job\n"),
            ("sys/fs/cgroup/pod/job/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pod/job/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "1073741824\n"),
            (
                "sys/fs/cgroup/pod/job/cpu.stat",
                "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            ),
            ("sys/fs/cgroup/pod/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n"),
        ]);
        let groups = Cgroups::beneath(root.path());
        let quota = groups.cpu_quota().expect("a quota above");
        assert!((quota.cores - 1.5).abs() < 1e-9 && quota.file.ends_with("sys/fs/cgroup/pod/cpu.max"));
        assert_eq!(groups.memory_limit().map(|limit| limit.bytes), Some(1 << 30));
        let throttled = Throttled { periods: 9, throttled_periods: 4, throttled_us: 77 };
        assert_eq!(groups.throttled(), Some(throttled));
    }

    #[test]
    fn version_1_is_read_per_controller_and_counts_nanoseconds() {
        let root = planted(&[
            (
                "proc/self/mountinfo",
                "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            ),
            ("proc/self/cgroup", "4:memory:/slurm/job7\n2:cpu,cpuacct:/slurm\n1:name=systemd:/\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us", "100000\n"),
            (
                "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.stat",
                "nr_periods 3\nnr_throttled 2\nthrottled_time 5000\n",
            ),
            ("sys/fs/cgroup/memory/slurm/job7/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "2147483648\n"),
        ]);
        let groups = Cgroups::beneath(root.path());
        assert!(groups.cpu_quota().is_some_and(|quota| (quota.cores - 0.5).abs() < 1e-9));
        assert_eq!(groups.memory_limit().map(|limit| limit.bytes), Some(2 << 30));
        assert_eq!(groups.throttled().map(|throttled| throttled.throttled_us), Some(5));
    }

    #[test]
    fn a_container_whose_mount_shows_its_own_group_alone_is_read_there() {
        let mount = "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        for path in ["0::/docker/abc\n", "0::/../../elsewhere\n"] {
            let root = planted(&[
                ("proc/self/mountinfo", mount),
                ("proc/self/cgroup", path),
                ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
            ]);
            let quota = Cgroups::beneath(root.path()).cpu_quota();
            assert!(quota.is_some_and(|quota| (quota.cores - 2.0).abs() < 1e-9), "{path}");
        }
    }

    #[test]
    fn no_groups_and_no_limits_are_none() {
        let bare = planted(&[]);
        let free = planted(&[
            V2,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 5\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ]);
        for root in [bare, free] {
            let groups = Cgroups::beneath(root.path());
            assert_eq!((groups.cpu_quota(), groups.memory_limit(), groups.throttled()), (None, None, None));
        }
    }
}
