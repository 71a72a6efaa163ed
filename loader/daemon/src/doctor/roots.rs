//! The roots: can they be read, on what kind of file system, from what kind of disk.

use std::path::Path;

use super::facts::Facts;
use super::finding::{Finding, Level, size};
use super::probe::{Root, RootState};
use crate::machine::chosen;
use crate::mounts::{self, Mount};

/// Less than one part in so many left: new samples will soon not fit.
const NEARLY_FULL: u64 = 20;

/// NFS asks for one read-ahead window at a time, and Linux starts with 128 KiB.
const NFS_READ_AHEAD_KIB: i64 = 1024;

pub fn check(facts: &Facts) -> Vec<Finding> {
    if facts.probes.roots.is_empty() {
        let means = "a node's daemon reads beneath its roots alone; a private one reads what its user may";
        return vec![
            Finding::note("root.read", "no root was named", means)
                .cure("forebay doctor /path/of/the/data, or --config node.toml"),
        ];
    }
    let mounts = facts.machine.mounts();
    let mut told = Vec::new();
    facts.probes.roots.iter().flat_map(|root| one(facts, &mounts, &mut told, root)).collect()
}

/// What is true of a whole mount is told with the first root on it.
fn one<'a>(facts: &Facts, mounts: &'a [Mount], told: &mut Vec<&'a Mount>, root: &Root) -> Vec<Finding> {
    let subject = root.path.display().to_string();
    let state = match &root.state {
        Ok(state) => state,
        Err(why) => return vec![unreadable(facts, &root.path, why).of(subject)],
    };
    let mut found = vec![readable(facts, state)];
    if let Some(mount) = mounts::holding(mounts, &state.real) {
        found.push(file_system(mount));
        if !told.contains(&mount) {
            told.push(mount);
            found.push(space(state));
            found.extend(disk(facts, mount));
            found.extend(access_times(mount));
            found.extend(nfs_options(facts, mount));
        }
    }
    found.into_iter().map(|finding| finding.of(subject.clone())).collect()
}

fn unreadable(facts: &Facts, path: &Path, why: &str) -> Finding {
    let (id, path) = ("root.read", path.display());
    let cure = match why {
        _ if why.contains("Permission denied") => {
            format!(
                "run the daemon as a user or group who may; `namei -l {path}` shows what bars uid {}",
                user(facts)
            )
        }
        _ if why.contains("No such file") => {
            format!("mount the data there, or name another path; `findmnt -T {path}` shows what is mounted")
        }
        _ if why.contains("no answer") => {
            format!("the server is gone or the network is cut: `findmnt -T {path}`, `dmesg | tail`")
        }
        _ => format!("`ls {path}` as the daemon's user should say the same"),
    };
    Finding::fail(id, why, "no job can read anything here").cure(cure)
}

fn readable(facts: &Facts, state: &RootState) -> Finding {
    let (id, user) = ("root.read", user(facts));
    if let Some((count, first)) = &state.unreadable {
        let first = first.display();
        let found = format!("{count} of the first {} entries refuse uid {user}: {first}", state.tried);
        let means = "a job that needs one of them fails: an unreadable sample is never replaced";
        let cure =
            format!("run the daemon as a user or group who may; `namei -l {first}` shows what bars it");
        return Finding::warn(id, found, means).cure(cure);
    }
    if state.is_file {
        return Finding::ok(id, format!("readable by uid {user}"), "a single file");
    }
    if state.tried == 0 {
        let cure = format!("`findmnt -T {}` shows what is mounted", state.real.display());
        return Finding::warn(id, "an empty folder", "nothing to load: is the data mounted?").cure(cure);
    }
    let found = format!("readable by uid {user}, {} entries tried", state.tried);
    Finding::ok(id, found, "deeper folders and single files may still refuse")
}

fn user(facts: &Facts) -> String {
    // Real, effective, saved, file system.
    let uids = facts.machine.field("/proc/self/status", "Uid").unwrap_or_default();
    uids.split_whitespace().nth(1).unwrap_or("of this process").to_owned()
}

/// Types, how much each matters, what it means, and what to do about it.
const FILE_SYSTEMS: [(&[&str], Level, &str, &str); 9] = [
    (
        &["ext4", "ext3", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"],
        Level::Ok,
        "a file system of this machine",
        "",
    ),
    (
        &["nfs", "nfs4"],
        Level::Note,
        "each file that is opened costs round trips to a server; concurrency hides them",
        "raise read_threads until `forebay bench --stage read` no longer gains",
    ),
    (
        &["lustre", "gpfs", "beegfs", "ceph", "wekafs", "pvfs2"],
        Level::Note,
        "a shared file system: opening small files asks its metadata servers, which all nodes share",
        "raise read_threads until `forebay bench --stage read` no longer gains; small files want one stripe (Lustre: lfs setstripe -c 1)",
    ),
    (
        &["cifs", "smb3"],
        Level::Warn,
        "SMB is slow with many small files",
        "export the data over NFS, or copy it to a local disk",
    ),
    (
        &["overlay", "aufs"],
        Level::Warn,
        "a container's own layers: every open looks through them, and the data goes with the container",
        "mount the data as a volume: docker run -v /data:/data:ro",
    ),
    (
        &["tmpfs", "ramfs"],
        Level::Note,
        "the data lies in memory, and counts towards the memory cgroup of whoever wrote it",
        "leave room for it beside arena_budget",
    ),
    (
        &["9p"],
        Level::Warn,
        "a folder of the host over 9p: every call is a message to the host",
        "use virtiofs or a block device for the data",
    ),
    (
        &["virtiofs"],
        Level::Note,
        "a folder of the host: opens are answered by a process there",
        "a block device is quicker for many small files",
    ),
    (&["squashfs", "erofs", "iso9660"], Level::Ok, "a read-only image", ""),
];

fn file_system(mount: &Mount) -> Finding {
    let (id, fs_type) = ("root.file_system", mount.fs_type.as_str());
    let found = format!("{fs_type} of {} at {}", mount.source, mount.point.display());
    if fs_type == "fuse" || fs_type.starts_with("fuse.") || fs_type == "fuseblk" {
        let means = "FUSE: every open and read is a message to a process of this machine, which may become the bottleneck";
        return Finding::warn(id, found, means)
            .cure("`forebay bench PATH --stage read` shows what it gives; mount the storage through the kernel where that can be done");
    }
    match FILE_SYSTEMS.iter().find(|(types, ..)| types.contains(&fs_type)) {
        Some((_, level, means, "")) => Finding::new(*level, id, found, *means),
        Some((_, level, means, cure)) => Finding::new(*level, id, found, *means).cure(*cure),
        None => Finding::note(id, found, "a type that the doctor does not know")
            .cure("`forebay bench PATH --stage read` shows what it gives"),
    }
}

fn space(state: &RootState) -> Finding {
    let id = "root.space";
    let inodes = if state.files > 0 {
        format!(", {} of {} inodes", state.files_free, state.files)
    } else {
        String::new()
    };
    let found = format!("{} of {} free{inodes}", size(state.free_bytes), size(state.total_bytes));
    let full = |free: u64, all: u64| all > 0 && free < all / NEARLY_FULL;
    if full(state.free_bytes, state.total_bytes) || full(state.files_free, state.files) {
        let means = "reading goes on; new samples will soon not fit";
        return Finding::note(id, found, means);
    }
    Finding::ok(id, found, "forebay writes nothing there; new samples fit")
}

fn disk(facts: &Facts, mount: &Mount) -> Option<Finding> {
    let id = "root.disk";
    let device = format!("/sys/dev/block/{}", mount.device);
    // A partition has no queue of its own: it is in the folder of its disk.
    let queue = [format!("{device}/queue"), format!("{device}/../queue")]
        .into_iter()
        .find(|queue| facts.machine.has(queue))?;
    let text = |name: &str| facts.machine.text(&format!("{queue}/{name}")).unwrap_or_default();
    let name = mount.source.rsplit('/').next().unwrap_or_default();
    let rotates = text("rotational") == "1";
    let scheduler = text("scheduler");
    let found = format!(
        "{}{name}, scheduler {}, {} requests, read-ahead {} KiB",
        if rotates { "rotating " } else { "" },
        chosen(&scheduler),
        text("nr_requests"),
        text("read_ahead_kb"),
    );
    let virtual_disk = ["vd", "xvd"].iter().any(|prefix| name.starts_with(prefix));
    Some(if rotates && virtual_disk {
        let means = "virtual disks often say so whatever is behind them";
        Finding::note(id, found, means).cure("`forebay bench PATH --stage read` shows what it gives")
    } else if rotates {
        let means = "every file in random order is a seek of about 10 ms: a hundred or so a second and disk";
        Finding::warn(id, found, means)
            .cure("put the data on flash, or keep it small enough for the page cache")
    } else if name.starts_with("nvme") && !matches!(chosen(&scheduler), "none" | "") {
        let means = "an NVMe disk orders its own requests; a scheduler above it costs CPU time";
        Finding::note(id, found, means)
            .cure(format!("echo none | sudo tee /sys/class/block/{name}/queue/scheduler"))
    } else {
        Finding::ok(id, found, "files are read whole, so read-ahead does no harm")
    })
}

fn access_times(mount: &Mount) -> Option<Finding> {
    let id = "root.access_times";
    let options: Vec<_> = mount.options.split(',').collect();
    // The server keeps those of a network file system; FUSE's are its process's business.
    let local = FILE_SYSTEMS[0].0.contains(&mount.fs_type.as_str());
    if !local {
        return None;
    }
    if let Some(kind) = ["noatime", "relatime", "ro"].iter().find(|kind| options.contains(kind)) {
        let means = if *kind == "relatime" {
            "a file's first read of a day writes its access time"
        } else {
            "reading writes nothing"
        };
        return Some(Finding::ok(id, *kind, means));
    }
    let means = "every file that is read has its access time written";
    let cure = format!("sudo mount -o remount,noatime {}", mount.point.display());
    Some(Finding::warn(id, "strictatime", means).cure(cure))
}

fn nfs_options(facts: &Facts, mount: &Mount) -> Vec<Finding> {
    if !mount.fs_type.starts_with("nfs") {
        return Vec::new();
    }
    let options: Vec<_> = mount.super_options.split(',').collect();
    let has = |name: &str| options.iter().any(|option| option.starts_with(name));
    let mut found = Vec::new();
    if !has("nconnect=") && !has("proto=rdma") {
        let means = "all reads of this mount share one TCP connection";
        let point = mount.point.display();
        let cure =
            format!("add nconnect=8 to the options of {point} and mount it anew (kernel 5.3 or newer)");
        found.push(Finding::note("root.nfs_connections", "no nconnect", means).cure(cure));
    }
    if has("noac") || has("actimeo=0") {
        let means = "attributes are not cached: every open asks the server again";
        found.push(
            Finding::warn("root.nfs_attributes", "noac", means)
                .cure("mount without noac, with actimeo=60 for data that does not change"),
        );
    }
    let file = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    if let Some(kib) = facts.machine.number(&file).filter(|kib| *kib < NFS_READ_AHEAD_KIB) {
        let means = "reads of large files go to the server in pieces of this size, whatever rsize is";
        found.push(
            Finding::note("root.nfs_read_ahead", format!("{kib} KiB"), means)
                .cure(format!("echo 4096 | sudo tee {file}")),
        );
    }
    found
}
