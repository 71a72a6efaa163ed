//! Planted machines, and what the doctor must say of them.

mod gpus;

use std::fs;
use std::path::PathBuf;

use super::probe::{Probes, Root, RootState, Socket};
use super::*;
use crate::config::{Bytes, EngineName};
use crate::error::Kind;
use crate::gpu::GpuError;
use crate::storage::UringProbe;

/// A machine in a folder, which goes with it.
struct Planted {
    folder: tempfile::TempDir,
    facts: Facts,
}

/// Two cores, 16 GiB, a disk of flash, nothing wrong.
const WELL: [(&str, &str); 15] = [
    ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/nr_hugepages", "0\n"),
    (
        "proc/meminfo",
        "MemTotal:       16777216 kB\nMemAvailable:   12582912 kB\nHugepagesize:       2048 kB\n",
    ),
    ("proc/cpuinfo", "processor : 0\nmodel name : Tester 3000\nflags : fpu sse4_1 avx2\n"),
    (
        "proc/self/status",
        "Uid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\nGroups:\t100\nSeccomp:\t0\nCpus_allowed_list:\t0-1\n",
    ),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            20000                20000                files     \n\
         Max locked memory         unlimited            unlimited            bytes     \n\
         Max processes             96365                96365                processes \n\
         Max address space         unlimited            unlimited            bytes     \n",
    ),
    ("proc/self/cgroup", "0::/job\n"),
    (
        "proc/self/mountinfo",
        "27 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw\n31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    ),
    ("sys/fs/cgroup/job/cpu.max", "max 100000\n"),
    ("sys/devices/system/cpu/online", "0-1\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/dev/block/259:1/queue/rotational", "0\n"),
    ("sys/dev/block/259:1/queue/scheduler", "[none] mq-deadline\n"),
];

impl Planted {
    fn well() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = RootState {
            real: "/data".into(),
            tried: 10,
            total_bytes: 1 << 40,
            free_bytes: 1 << 39,
            ..RootState::default()
        };
        let facts = Facts {
            machine: Machine::beneath(folder.path()),
            config: Config::default(),
            config_path: None,
            visible_devices: None,
            socket_variable: None,
            probes: Probes {
                io_uring: UringProbe::Works,
                memfd: Ok(()),
                dev_shm_bytes: Some(8 << 30),
                roots: vec![Root { path: "/data".into(), state: Ok(state) }],
                socket: Socket {
                    path: "/run/forebay/forebay.sock".into(),
                    exists: false,
                    folder_writable: None,
                    daemon: None,
                },
                cuda: Some(Err(GpuError::NoLibrary)),
                placement: Ok(()),
            },
        };
        let planted = Self { folder, facts };
        WELL.iter().fold(planted, |planted, (path, text)| planted.with(path, text))
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
        self
    }

    fn replaced(self, path: &str, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.folder.path().join(path)).expect("a planted file");
        assert!(text.contains(from), "{path} has {from}");
        self.with(path, &text.replace(from, to))
    }

    fn but(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    /// The root on another mount.
    fn mounted(self, line: &str) -> Self {
        let more = format!("27 1 259:1 / / rw - ext4 /dev/a rw\n40 27 0:52 / /data {line}\n");
        self.with("proc/self/mountinfo", &more)
    }

    fn findings(&self) -> Vec<Finding> {
        let findings = examine(&self.facts);
        for finding in &findings {
            assert!(finding.level < Level::Warn || finding.cure.is_some(), "no cure: {finding:?}");
        }
        findings
    }

    /// The one finding of this id.
    fn one(&self, id: &str) -> Finding {
        let mut found: Vec<_> = self.findings().into_iter().filter(|finding| finding.id == id).collect();
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        found.remove(0)
    }

    #[track_caller]
    fn says(&self, id: &str, level: Level, words: &str) {
        let finding = self.one(id);
        assert_eq!(finding.level, level, "{finding:?}");
        let text = format!("{} | {} | {}", finding.found, finding.means, finding.cure.unwrap_or_default());
        assert!(text.contains(words), "{words}: {text}");
    }
}

fn state(facts: &mut Facts) -> &mut RootState {
    facts.probes.roots[0].state.as_mut().expect("a planted state")
}

#[test]
fn a_machine_that_is_well_has_nothing_to_mend() {
    let worst: Vec<_> =
        Planted::well().findings().into_iter().filter(|finding| finding.level > Level::Ok).collect();
    assert!(worst.is_empty(), "{worst:?}");
}

#[test]
fn a_version_1_quota_of_half_a_core_is_a_warning_and_one_thread() {
    let planted = Planted::well()
        .with("proc/self/cgroup", "2:cpu,cpuacct:/job\n")
        .with("proc/self/mountinfo", "32 31 0:29 / /cg rw - cgroup cgroup rw,cpu,cpuacct\n")
        .with("cg/job/cpu.cfs_quota_us", "50000\n")
        .with("cg/job/cpu.cfs_period_us", "100000\n");
    planted.says("cpu.quota", Level::Warn, "0.50 cores");
    planted.says("cpu.threads", Level::Ok, "cpu_threads = 0: 1");
}

#[test]
fn a_quota_below_the_cores_is_told_and_one_above_is_well() {
    let tight = Planted::well().with("sys/fs/cgroup/job/cpu.max", "150000 100000\n");
    tight.says("cpu.quota", Level::Note, "1.50 cores");
    Planted::well().with("sys/fs/cgroup/job/cpu.max", "400000 100000\n").says("cpu.quota", Level::Ok, "4.00");
    Planted::well().says("cpu.quota", Level::Ok, "none");
}

#[test]
fn throttling_is_judged_by_its_share_of_the_periods() {
    let throttled = |times: u32| {
        let text = format!("nr_periods 1000\nnr_throttled {times}\nthrottled_usec 2500000\n");
        Planted::well().with("sys/fs/cgroup/job/cpu.stat", &text)
    };
    throttled(0).says("cpu.throttled", Level::Ok, "0 of 1000");
    throttled(10).says("cpu.throttled", Level::Note, "1.0 %");
    throttled(400).says("cpu.throttled", Level::Warn, "2.5 s in all");
}

#[test]
fn more_threads_than_processors_and_a_narrow_affinity_are_told() {
    Planted::well().but(|facts| facts.config.cpu_threads = 8).says(
        "cpu.threads",
        Level::Warn,
        "but 2 usable",
    );
    Planted::well().but(|facts| facts.config.cpu_threads = 1).says("cpu.threads", Level::Ok, "1 of 2");
    let narrow = Planted::well().with("sys/devices/system/cpu/online", "0-63\n");
    narrow.says("cpu.cores", Level::Note, "2 of 64");
    let old = Planted::well().replaced("proc/cpuinfo", " avx2", "");
    old.says("cpu.simd", Level::Warn, "SSE4.1");
}

#[test]
fn every_way_to_refuse_io_uring_is_told_apart() {
    let refused =
        |errno: i32| Planted::well().but(|facts| facts.probes.io_uring = UringProbe::Refused(errno));
    refused(38).says("kernel.io_uring", Level::Note, "ENOSYS");
    refused(1).with("proc/sys/kernel/io_uring_disabled", "2\n").says(
        "kernel.io_uring",
        Level::Note,
        "sysctl kernel.io_uring_disabled=0",
    );
    refused(1).replaced("proc/self/status", "Seccomp:\t0", "Seccomp:\t2").says(
        "kernel.io_uring",
        Level::Note,
        "seccomp filter",
    );
    refused(12).says("kernel.io_uring", Level::Note, "os error 12");
    let killed = Planted::well().but(|facts| facts.probes.io_uring = UringProbe::Killed(31));
    killed.says("kernel.io_uring", Level::Note, "signal 31");
    assert!(killed.one("kernel.io_uring").means.contains("threads read everything"));
    let asked = killed.but(|facts| facts.config.engine = EngineName::Uring);
    asked.says("kernel.io_uring", Level::Fail, "engine = \"auto\"");
    let set = refused(38).but(|facts| facts.config.engine = EngineName::Threads);
    assert!(set.one("kernel.io_uring").means.contains("no loss"));
}

#[test]
fn an_old_kernel_and_a_slow_clock_are_told() {
    let kernel = |release: &str| Planted::well().with("proc/sys/kernel/osrelease", release);
    kernel("5.4.0-150-generic").says("kernel.version", Level::Note, "5.14");
    kernel("4.18.0-553.el8").says("kernel.version", Level::Warn, "pidfd");
    let folder = "sys/devices/system/clocksource/clocksource0";
    let hpet = Planted::well()
        .with(&format!("{folder}/current_clocksource"), "hpet\n")
        .with(&format!("{folder}/available_clocksource"), "tsc hpet acpi_pm\n");
    hpet.says("kernel.clock", Level::Warn, "echo tsc");
}

#[test]
fn an_arena_budget_is_held_against_the_cgroups_limit() {
    let limited = Planted::well().with("sys/fs/cgroup/job/memory.max", "4294967296\n");
    limited.says("memory.limit", Level::Note, "4 GiB");
    limited.says("memory.arenas", Level::Ok, "2 GiB of 4 GiB");
    let over = limited.but(|facts| facts.config.arena_budget = Bytes(6 << 30));
    over.says("memory.arenas", Level::Fail, "arena_budget = \"2048MiB\"");
    assert!(fails(&over.findings(), false));
    let close = Planted::well().but(|facts| facts.config.arena_budget = Bytes(15 << 30));
    close.says("memory.arenas", Level::Warn, "little is left");
    assert!(!fails(&close.findings(), false) && fails(&close.findings(), true));
}

#[test]
fn what_memory_is_made_of_is_told() {
    let refused = Planted::well().but(|facts| facts.probes.memfd = Err("memfd_create: ENOSYS".into()));
    refused.says("memory.memfd", Level::Fail, "memfd_create: ENOSYS");
    Planted::well().with("proc/sys/vm/overcommit_memory", "2\n").says(
        "memory.overcommit",
        Level::Warn,
        "SIGBUS",
    );
    Planted::well().with("proc/sys/vm/nr_hugepages", "512\n").says("memory.huge_pages", Level::Note, "1 GiB");
    let docker = Planted::well().but(|facts| facts.probes.dev_shm_bytes = Some(64 << 20));
    docker.says("memory.dev_shm", Level::Note, "--shm-size");
}

#[test]
fn limits_that_are_too_low_are_told_by_what_would_not_fit() {
    let limit = |from: &str, to: &str| Planted::well().replaced("proc/self/limits", from, to);
    limit("locked memory         unlimited", "locked memory         65536    ").says(
        "limits.locked_memory",
        Level::Note,
        "64 KiB",
    );
    let files = |number: &str| {
        limit(
            "open files            20000                20000",
            &format!("open files            {number}                  {number}"),
        )
    };
    // The soft limit is raised to the hard one, so that this one decides.
    limit("open files            20000 ", "open files            80    ").says(
        "limits.open_files",
        Level::Ok,
        "sessions",
    );
    files("256").says("limits.open_files", Level::Warn, "enough for 44 sessions");
    files("80").says("limits.open_files", Level::Fail, "not enough for one");
    limit("processes             96365", "processes             20   ").says(
        "limits.threads",
        Level::Fail,
        "34",
    );
    limit("address space         unlimited", "address space         1073741824").says(
        "limits.address_space",
        Level::Warn,
        "1 GiB",
    );
}

#[test]
fn an_nfs_root_is_told_with_what_its_mount_lacks() {
    let nfs = Planted::well()
        .mounted("rw,relatime - nfs4 filer:/set rw,vers=4.2,rsize=1048576,hard,proto=tcp,noac")
        .with("sys/class/bdi/0:52/read_ahead_kb", "128\n");
    nfs.says("root.file_system", Level::Note, "nfs4 of filer:/set at /data");
    nfs.says("root.nfs_connections", Level::Note, "nconnect=8");
    nfs.says("root.nfs_attributes", Level::Warn, "noac");
    nfs.says("root.nfs_read_ahead", Level::Note, "echo 4096 | sudo tee /sys/class/bdi/0:52/read_ahead_kb");
    let tuned = Planted::well()
        .mounted("rw - nfs4 filer:/set rw,nconnect=8")
        .with("sys/class/bdi/0:52/read_ahead_kb", "15360\n");
    assert!(!tuned.findings().iter().any(|finding| finding.id.starts_with("root.nfs")));
}

#[test]
fn every_kind_of_file_system_has_its_verdict() {
    let verdicts = [
        ("xfs", Level::Ok, "this machine"),
        ("lustre", Level::Note, "stripe"),
        ("fuse.s3fs", Level::Warn, "FUSE"),
        ("overlay", Level::Warn, "volume"),
        ("tmpfs", Level::Note, "memory"),
        ("9p", Level::Warn, "virtiofs"),
        ("virtiofs", Level::Note, "host"),
        ("cifs", Level::Warn, "SMB"),
        ("squashfs", Level::Ok, "read-only"),
        ("newfs", Level::Note, "does not know"),
    ];
    for (fs_type, level, words) in verdicts {
        Planted::well().mounted(&format!("rw,noatime - {fs_type} source rw")).says(
            "root.file_system",
            level,
            words,
        );
    }
}

#[test]
fn disks_are_told_by_what_they_do_to_random_reads() {
    let queue = "sys/dev/block/259:1/queue";
    Planted::well().says("root.disk", Level::Ok, "nvme0n1p1, scheduler none");
    let scheduled = Planted::well().with(&format!("{queue}/scheduler"), "none [mq-deadline] kyber\n");
    scheduled.says("root.disk", Level::Note, "echo none");
    let turning = Planted::well().with(&format!("{queue}/rotational"), "1\n").replaced(
        "proc/self/mountinfo",
        "/dev/nvme0n1p1",
        "/dev/sda1",
    );
    turning.says("root.disk", Level::Warn, "seek");
    turning.replaced("proc/self/mountinfo", "/dev/sda1", "/dev/vda1").says(
        "root.disk",
        Level::Note,
        "virtual",
    );
    let written = Planted::well().replaced("proc/self/mountinfo", "rw,relatime", "rw");
    written.says("root.access_times", Level::Warn, "remount,noatime /");
    Planted::well().replaced("proc/self/mountinfo", "rw,relatime", "rw,noatime").says(
        "root.access_times",
        Level::Ok,
        "noatime",
    );
}

#[test]
fn a_root_that_cannot_be_read_fails_with_the_reason() {
    let failed = |why: &str| Planted::well().but(|facts| facts.probes.roots[0].state = Err(why.to_owned()));
    failed("No such file or directory (os error 2)").says("root.read", Level::Fail, "mount the data there");
    failed("Permission denied (os error 13)").says("root.read", Level::Fail, "uid 1000");
    failed("no answer within 5 s").says("root.read", Level::Fail, "server");
    failed("Stale file handle (os error 116)").says("root.read", Level::Fail, "Stale");
    assert!(fails(&failed("gone").findings(), false));
}

#[test]
fn what_is_in_a_root_is_tried_and_counted() {
    Planted::well().says("root.read", Level::Ok, "10 entries");
    Planted::well().but(|facts| state(facts).tried = 0).says("root.read", Level::Warn, "mounted?");
    Planted::well().but(|facts| state(facts).is_file = true).says("root.read", Level::Ok, "single file");
    let some = Planted::well().but(|facts| state(facts).unreadable = Some((3, "/data/cat".into())));
    some.says("root.read", Level::Warn, "3 of the first 10 entries refuse uid 1000: /data/cat");
    Planted::well().but(|facts| state(facts).free_bytes = 1).says("root.space", Level::Note, "not fit");
    let inodes = Planted::well().but(|facts| (state(facts).files, state(facts).files_free) = (1000, 3));
    inodes.says("root.space", Level::Note, "3 of 1000 inodes");
    Planted::well().but(|facts| facts.probes.roots.clear()).says(
        "root.read",
        Level::Note,
        "no root was named",
    );
}

#[test]
fn two_roots_on_one_mount_tell_of_the_disk_once() {
    let planted = Planted::well().but(|facts| facts.probes.roots.push(facts.probes.roots[0].clone()));
    let count = |id: &str| planted.findings().iter().filter(|finding| finding.id == id).count();
    assert_eq!((count("root.disk"), count("root.file_system"), count("root.read")), (1, 2, 2));
}

#[test]
fn the_socket_and_what_answers_there_are_told() {
    let asked = |daemon: Result<String, Fault>| {
        Planted::well().but(|facts| facts.probes.socket.daemon = Some(daemon))
    };
    let own = concat!("forebay/", env!("CARGO_PKG_VERSION"));
    asked(Ok(own.into())).says("daemon.answers", Level::Ok, own);
    asked(Ok("forebay/9.9.9".into())).says("daemon.answers", Level::Note, "another version");
    let dead =
        || Fault::new(Kind::Unavailable, "connect to /s").hint("nobody listens there: start `forebay serve`");
    asked(Err(dead())).says("daemon.answers", Level::Warn, "nobody listens");
    let joined = asked(Err(dead())).but(|facts| facts.socket_variable = Some("/s".into()));
    joined.says("daemon.answers", Level::Fail, "FOREBAY_SOCKET");
    Planted::well().but(|facts| facts.socket_variable = Some("/s".into())).says(
        "daemon.answers",
        Level::Fail,
        "unset FOREBAY_SOCKET",
    );
    let configured = |writable: Option<bool>| {
        Planted::well().but(|facts| {
            facts.config_path = Some("node.toml".into());
            facts.probes.socket.folder_writable = writable;
        })
    };
    configured(None).says("daemon.socket_folder", Level::Fail, "install -d");
    configured(Some(false)).says("daemon.socket_folder", Level::Warn, "install -d");
    configured(Some(true)).says("daemon.socket_folder", Level::Ok, "writable");
    let long = Planted::well().but(|facts| facts.probes.socket.path = PathBuf::from("/s".repeat(60)));
    long.says("daemon.socket_folder", Level::Fail, "107");
}

#[test]
fn json_has_stable_names() {
    let finding = Finding::warn("root.file_system", "fuse", "slow").cure("mount it").of("/data");
    let json = serde_json::to_value(&finding).expect("JSON");
    let expected = serde_json::json!({"id": "root.file_system", "subject": "/data", "level": "warn",
        "found": "fuse", "means": "slow", "do": "mount it"});
    assert_eq!(json, expected);
}

#[test]
fn the_operators_page_explains_every_finding() {
    let page = include_str!("../../../../docs/operating.md");
    let nfs = Planted::well()
        .mounted("rw - nfs filer:/set rw,noac")
        .with("sys/class/bdi/0:52/read_ahead_kb", "128\n")
        .with("sys/fs/cgroup/job/cpu.stat", "nr_periods 1\nnr_throttled 0\nthrottled_usec 0\n");
    for finding in [gpus::dgx().findings(), nfs.findings()].concat() {
        assert!(page.contains(&format!("`{}`", finding.id)), "docs/operating.md lacks {}", finding.id);
    }
}
