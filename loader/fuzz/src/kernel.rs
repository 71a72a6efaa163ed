//! What the kernel says of this process: its mounts and control groups.

use std::fs;
use std::path::Path;

use forebay::cgroup::Cgroups;
use forebay::mounts;

/// The files below `/`, in the order in which an input brings them.
const FILES: [&str; 6] = [
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "sys/fs/cgroup/a/cpu.max",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/cpu.stat",
    "sys/fs/cgroup/memory.max",
];

/// Six files with 0xFF between them, planted as a machine's; whether a quota or limit was found.
pub fn kernel(input: &[u8]) -> bool {
    super::lists::in_folder(|slash| {
        for (file, bytes) in FILES.iter().zip(super::parts::<6>(input)) {
            let file = slash.join(file);
            fs::create_dir_all(file.parent().expect("it lies below the folder")).expect("our own folder");
            fs::write(file, bytes).expect("our own folder");
        }
        found(slash)
    })
}

fn found(slash: &Path) -> bool {
    let mounts = mounts::beneath(slash);
    if let Some(mount) = mounts::holding(&mounts, Path::new("/data/imagenet/train")) {
        assert!(Path::new("/data/imagenet/train").starts_with(&mount.point));
    }
    let groups = Cgroups::beneath(slash);
    let (quota, limit) = (groups.cpu_quota(), groups.memory_limit());
    assert!(quota.as_ref().is_none_or(|quota| quota.cores > 0.0), "{quota:?}");
    quota.is_some() | limit.is_some() | groups.throttled().is_some()
}
