//! The mounted file systems, as `/proc/self/mountinfo` tells them (proc_pid_mountinfo(5)).

use std::fs;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the device, as `stat` gives it for files there.
    pub device: String,
    /// Which folder of the file system is shown.
    pub root: PathBuf,
    /// Where it is shown.
    pub point: PathBuf,
    /// Options of this mount, as in `rw,noatime`.
    pub options: String,
    /// `ext4`, `nfs4`, `fuse.sshfs`.
    pub fs_type: String,
    /// The device or server, as in `/dev/nvme0n1` or `server:/export`.
    pub source: String,
    /// Options of the file system, as in `rw,vers=4.2,nconnect=8`.
    pub super_options: String,
}

/// The mounts that `/proc` beneath `root` lists, in the order in which they were made.
pub fn beneath(root: &Path) -> Vec<Mount> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// The mount that holds `path`, which must be absolute and without links: the longest point, of equal ones the last.
pub fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Where an absolute path lies when `root` stands for `/`.
pub fn planted(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`; between options and `-` stand 0 or more fields.
fn parse(line: &str) -> Option<Mount> {
    let (here, there) = line.split_once(" - ")?;
    let mut here = here.split(' ').skip(2);
    let mut there = there.splitn(3, ' ');
    Some(Mount {
        device: here.next()?.to_owned(),
        root: unescaped(here.next()?).into(),
        point: unescaped(here.next()?).into(),
        options: here.next()?.to_owned(),
        fs_type: there.next()?.to_owned(),
        source: unescaped(there.next()?),
        super_options: there.next().unwrap_or_default().to_owned(),
    })
}

/// Space, tab, newline and backslash are written as `\040`, `\011`, `\012` and `\134`.
fn unescaped(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(word.to_owned(), |word, (code, character)| word.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_stands_in_its_optional_fields() {
        for optional in ["", "shared:1 ", "shared:1 master:2 "] {
            let line = format!("36 35 0:52 /a /my\\040data rw,noatime {optional}- nfs4 srv:/x rw,vers=4.2");
            let mount = parse(&line).expect("a mount");
            assert_eq!((mount.device.as_str(), mount.fs_type.as_str()), ("0:52", "nfs4"));
            assert_eq!(
                (mount.root.as_path(), mount.point.as_path()),
                (Path::new("/a"), Path::new("/my data"))
            );
            assert_eq!((mount.options.as_str(), mount.super_options.as_str()), ("rw,noatime", "rw,vers=4.2"));
        }
        assert_eq!(parse("36 35 0:52"), None);
    }

    #[test]
    fn a_path_is_held_by_the_longest_and_then_the_latest_mount() {
        let lines = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data rw - xfs /dev/b rw\n\
                     3 2 0:9 / /data rw - tmpfs over rw\n4 1 8:4 / /database rw - xfs /dev/c rw";
        let mounts: Vec<_> = lines.lines().filter_map(parse).collect();
        let held = |path: &str| holding(&mounts, Path::new(path)).map(|mount| mount.source.as_str());
        assert_eq!(held("/data/x"), Some("over"));
        assert_eq!(held("/database"), Some("/dev/c"));
        assert_eq!(held("/home"), Some("/dev/a"));
    }
}
