//! A folder that is copied from or to.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::end::{End, Listing, Stat, Take, Whole};
use crate::records::nonce;

/// What the names of files that are being written begin with.
const ASIDE: &str = ".ingest-";

/// A file that is being written and was not touched for so long was left by a writer that is gone.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A folder.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(name))
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match fs::metadata(self.path(name)) {
            Ok(found) if found.is_file() => stat_of(&found).map(Some),
            Ok(_) => Err(io::Error::other("there is something else than a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_open(&self, name: &[u8], file: &mut File, take: Take<'_>) -> io::Result<Whole> {
        let before = stat_of(&file.metadata()?)?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        drain(file, |chunk| {
            hasher.update(chunk);
            bytes += chunk.len() as u64;
            take(chunk)
        })?;
        let after = stat_of(&fs::metadata(self.path(name))?)?;
        if after != (Stat { bytes, ..before }) {
            return Err(io::Error::other("it changed while it was copied"));
        }
        Ok(Whole { stat: after, sum: hasher.finalize() })
    }
}

impl End for Folder {
    fn shown(&self, name: &[u8]) -> String {
        self.path(name).display().to_string()
    }

    fn list(&self, count: &mut dyn FnMut(u64)) -> io::Result<Listing> {
        let mut listing = Listing::default();
        // Folders to look into, each with what it is beneath its links.
        let mut folders = vec![(PathBuf::new(), vec![self.root.canonicalize()?])];
        while let Some((folder, above)) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                let name = folder.join(entry.file_name());
                let path = self.root.join(&name);
                let mut kind = entry.file_type()?;
                if kind.is_symlink() {
                    match fs::metadata(&path) {
                        Ok(there) => kind = there.file_type(),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                let real = if kind.is_dir() { path.canonicalize()? } else { PathBuf::new() };
                if kind.is_dir() && !above.contains(&real) {
                    folders.push((name, [above.as_slice(), &[real]].concat()));
                } else if kind.is_file() && is_aside(&entry.file_name()) {
                    // Another ingest's, or one that was stopped: no file of the data.
                } else if kind.is_file() {
                    listing.files.push(name.into_os_string().into_encoded_bytes());
                } else {
                    listing.passed_over.push(path.display().to_string());
                }
            }
            count(listing.files.len() as u64);
        }
        listing.files.sort_unstable();
        Ok(listing)
    }

    fn begin(&self, _count: &mut dyn FnMut(u64)) -> io::Result<()> {
        fs::create_dir_all(&self.root)
    }

    fn source(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        self.stat(name)
    }

    /// A copy has the time of its source.
    fn copy(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        self.stat(name)
    }

    fn read(&self, name: &[u8], take: Take<'_>) -> io::Result<Whole> {
        self.read_open(name, &mut File::open(self.path(name))?, take)
    }

    fn hash(&self, name: &[u8]) -> io::Result<blake3::Hash> {
        let mut file = File::open(self.path(name))?;
        // Advice: a file system that keeps nothing may say no.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        self.read_open(name, &mut file, &mut |_| Ok(())).map(|whole| whole.sum)
    }

    fn take(&self, from: &dyn End, name: &[u8], replace: bool, moved: &dyn Fn(u64)) -> io::Result<Whole> {
        let target = self.path(name);
        let folder = target.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder)?;
        let aside = folder.join(format!("{ASIDE}{}", nonce()));
        let done = written_aside(from, name, &aside, moved).and_then(|(file, whole)| {
            place(&aside, &target, replace)?;
            // Only now: what lies aside is told to be left by when it was written.
            if let Some(modified) = whole.stat.modified {
                file.set_times(FileTimes::new().set_modified(modified))?;
            }
            Ok(whole)
        });
        let _ = fs::remove_file(&aside);
        done
    }

    fn sweep(&self, names: &mut dyn Iterator<Item = &[u8]>) {
        let folders: HashSet<PathBuf> =
            names.filter_map(|name| self.path(name).parent().map(Path::to_owned)).collect();
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().filter(|age| *age > LEFT);
            if is_aside(&entry.file_name()) && old().is_some() {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(File::open(&self.root)?).map_err(Into::into)
    }
}

fn is_aside(name: &OsStr) -> bool {
    name.as_bytes().starts_with(ASIDE.as_bytes())
}

/// Gives a whole file its name. One that came in since it was looked for is never written over unasked: link(2) fails
/// where a name is taken, and rename(2) does not.
fn place(aside: &Path, target: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(aside, target);
    }
    match fs::hard_link(aside, target) {
        // FAT and some FUSE file systems have no links.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
                && !target.exists() =>
        {
            fs::rename(aside, target)
        }
        placed => placed,
    }
}

fn stat_of(found: &fs::Metadata) -> io::Result<Stat> {
    Ok(Stat { bytes: found.len(), modified: Some(found.modified()?) })
}

fn written_aside(
    from: &dyn End,
    name: &[u8],
    aside: &Path,
    moved: &dyn Fn(u64),
) -> io::Result<(File, Whole)> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(aside)?;
    let whole = from.read(name, &mut |chunk| {
        moved(chunk.len() as u64);
        file.write_all(chunk)
    })?;
    let (written, bytes) = (file.metadata()?.len(), whole.stat.bytes);
    if written != bytes {
        return Err(io::Error::other(format!("{written} of {bytes} bytes arrived")));
    }
    Ok((file, whole))
}

fn drain(from: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let len = from.metadata().map_or(0, |found| found.len() as usize);
    let mut chunk = vec![0; len.clamp(1, CHUNK_BYTES)];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&chunk[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
