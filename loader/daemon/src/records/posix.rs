//! Records as files of a shared folder: written whole beside their name, then linked to it.
//!
//! `link(2)` is the one call that every shared POSIX file system (NFS since version 2, Lustre, GPFS, WekaFS, CephFS)
//! makes atomic and that fails where the name is taken; `O_EXCL` would show an empty file before its bytes. File and
//! folder are synced, so that a record that was read once outlives a power cut. Paths resolve beneath the folder.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::attempt::{Put, Records, TooLarge, Trouble};
use super::name::RecordName;
use super::state_root::nonce;
use crate::crash;
use crate::storage::{Root, StorageError};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// A folder of records.
pub(super) struct Posix {
    root: Arc<Root>,
}

impl Posix {
    /// Opens a folder, which must be there: one that was made here because a mount was missing would be no shared one.
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { root: Root::open(path)? })
    }

    /// The folder of a record, opened; `None` where it is not there.
    fn folder(&self, folder: Option<&str>) -> Result<Option<OwnedFd>, Errno> {
        match self.root.open_beneath(folder.unwrap_or(".").as_bytes(), FOLDER) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The same, made with all its parts where it is not there.
    fn made_folder(&self, folder: Option<&str>) -> Result<OwnedFd, Errno> {
        if let Some(folder) = self.folder(folder)? {
            return Ok(folder);
        }
        let folder = folder.expect("the root itself is open");
        let mut above = self.root.open_beneath(b".", FOLDER)?;
        for end in folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]) {
            let (_, part) = folder[..end].rsplit_once('/').unwrap_or(("", &folder[..end]));
            crash::place();
            match retry_on_intr(|| rustix::fs::mkdirat(&above, part, Mode::from_raw_mode(0o777))) {
                Ok(()) => rustix::fs::fsync(&above)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            above = self.root.open_beneath(&folder.as_bytes()[..end], FOLDER)?;
        }
        Ok(above)
    }

    fn open_file(&self, name: &RecordName) -> Result<Option<File>, Errno> {
        // A FIFO of that name would hold the opening thread.
        match self.root.open_beneath(name.as_str().as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Records for Posix {
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
        let (folder, name) = name.split();
        let folder = self.made_folder(folder)?;
        let aside = format!(".new-{}", nonce());
        let linked = write_aside(&folder, &aside, bytes).and_then(|()| {
            crash::place();
            let link = || rustix::fs::linkat(&folder, &aside, &folder, name, AtFlags::empty());
            retry_on_intr(link).map_err(Trouble::from)
        });
        crash::place();
        let _ = rustix::fs::unlinkat(&folder, &aside, AtFlags::empty());
        crash::place();
        match linked {
            Ok(()) => {
                rustix::fs::fsync(&folder)?;
                Ok(Put::Written)
            }
            Err(trouble) if trouble.is(Errno::EXIST) => Ok(Put::Exists),
            Err(trouble) => Err(trouble),
        }
    }

    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Trouble::lasting("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(Trouble::from_io)?;
        Ok(Some(if bytes.len() as u64 > bytes_max { Err(TooLarge) } else { Ok(bytes) }))
    }

    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        Ok(Some(rustix::fs::fstat(&file)?.st_size as u64))
    }

    fn list(&self, folder: &RecordName, names_max: usize) -> Result<Vec<String>, Trouble> {
        let Some(folder) = self.folder(Some(folder.as_str()))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            // Files that are being written begin with a dot, and so does nothing else of ours.
            match entry.file_name().to_str() {
                Ok(name) if !name.starts_with('.') => names.push(name.to_owned()),
                _ => continue,
            }
            if names.len() > names_max {
                break;
            }
        }
        Ok(names)
    }
}

fn write_aside(folder: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666));
    crash::place();
    let mut file = File::from(retry_on_intr(open)?);
    crash::place();
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Trouble::from_io)
}

impl Trouble {
    fn from_io(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::passing(error),
        }
    }

    fn is(&self, errno: Errno) -> bool {
        self.source.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error) == Some(errno)
    }
}

/// What a person must mend lasts; all else (EIO, ESTALE, ETIMEDOUT, a folder that is gone for a moment) may pass.
impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        let lasting = [
            Errno::ACCESS,
            Errno::PERM,
            Errno::ROFS,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::LOOP,
            Errno::XDEV,
            Errno::NOTSUP,
            Errno::NOSYS,
            Errno::NAMETOOLONG,
            Errno::MLINK,
            Errno::EXIST,
        ];
        Self { passing: !lasting.contains(&errno), source: std::io::Error::from(errno).into() }
    }
}
