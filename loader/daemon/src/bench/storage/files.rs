//! Test files: made once, dropped from the page cache before each pass, removed at the end.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::bench::options::Amount;
use crate::bench::progress::Progress;
use crate::bench::stop::Stop;
use crate::catalog::IMG_EXTENSIONS;
use crate::error::{Fault, Kind};

/// More small files than this of one size show nothing new and take long to make.
const SMALL_FILES_MAX: u64 = 4096;
/// The large file, beside the folders of small ones.
pub const LARGE: &str = "large";
/// How many entries of a folder are looked at to see whether it holds class folders.
const LOOKED_AT: usize = 64;
const MIB: usize = 1 << 20;

/// Where they go, and how large they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of a small file and how many of them there are, a size each.
    pub small: Vec<(u64, u64)>,
    /// Bytes of the large one.
    pub large_bytes: u64,
}

impl Plan {
    /// Shares `total_bytes` out: half for the large file, the rest for the small ones of all sizes alike.
    ///
    /// # Errors
    /// Invalid: they don't hold one read of the greatest size.
    pub fn new(sizes: &[u64], total_bytes: u64) -> Result<Self, Fault> {
        let share = total_bytes / 2 / sizes.len() as u64;
        let largest = sizes.iter().copied().max().unwrap_or(0);
        if share < largest {
            return Err(Fault::invalid(format!(
                "{total_bytes} bytes of test files hold no read of {largest}"
            ))
            .hint("give more (--storage-bytes 4GiB) or smaller sizes (--storage-sizes 4KiB,50KiB)"));
        }
        let small = sizes.iter().map(|&size| (size, (share / size).min(SMALL_FILES_MAX))).collect();
        let large_bytes = total_bytes / 2 / MIB as u64 * MIB as u64;
        Ok(Self { small, large_bytes: large_bytes.max(largest) })
    }

    /// All of them.
    pub fn total_bytes(&self) -> u64 {
        self.large_bytes + self.small.iter().map(|(size, count)| size * count).sum::<u64>()
    }
}

/// The files; dropping removes them.
pub struct TestFiles {
    directory: PathBuf,
    plan: Plan,
}

impl TestFiles {
    /// The folder that test files for the storage beneath `path` would be made in.
    ///
    /// Never among class folders, where a training job that lists them meanwhile would take it for a class.
    ///
    /// # Errors
    /// NotFound: PATH is not there. Invalid: there is no place beside a data set that lies on the same storage.
    pub fn place(path: &Path) -> Result<PathBuf, Fault> {
        let path = std::fs::canonicalize(path).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error)
                .context(format!("open {}", path.display()))
                .hint("check the spelling, and that it is mounted here")
        })?;
        let folder = if path.is_dir() { path.clone() } else { parent(&path) };
        let name = format!(".forebay-bench-{}", std::process::id());
        if !holds_classes(&folder) {
            return Ok(folder.join(name));
        }
        let beside = parent(&folder);
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        if device(&beside) == device(&folder) && beside != folder {
            return Ok(beside.join(name));
        }
        Err(Fault::invalid(format!(
            "{} holds class folders, and test files would look like one",
            folder.display()
        ))
        .hint("name another folder on the same storage"))
    }

    /// Makes the files of `plan` in a new folder `directory`, on the disk when this returns.
    ///
    /// # Errors
    /// Unavailable: no space, or not writable. What was made is removed.
    pub fn make(directory: PathBuf, plan: Plan, progress: &Progress, stop: &Stop) -> Result<Self, Fault> {
        check_space(&directory, plan.total_bytes())?;
        std::fs::create_dir(&directory).map_err(failed("create", &directory))?;
        let files = Self { directory, plan };
        let total_mib = files.plan.total_bytes() / MIB as u64;
        progress.begin("writing test files, MiB".to_owned(), Amount::Rows(total_mib));
        files.write(progress, stop)?;
        progress.end();
        Ok(files)
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What they are.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The path of a small file, beneath the directory.
    pub fn small(size_bytes: u64, number: u64) -> String {
        format!("s{size_bytes}/{number}")
    }

    fn write(&self, progress: &Progress, stop: &Stop) -> Result<(), Fault> {
        let mut noise = Noise::default();
        let mut pending_bytes = 0;
        let mut tell = |bytes: u64| {
            pending_bytes += bytes;
            progress.add(pending_bytes / MIB as u64);
            pending_bytes %= MIB as u64;
        };
        self.write_one(LARGE, self.plan.large_bytes, &mut noise, stop, &mut tell)?;
        for &(size_bytes, count) in &self.plan.small {
            let folder = self.directory.join(format!("s{size_bytes}"));
            std::fs::create_dir(&folder).map_err(failed("create", &folder))?;
            for number in 0..count {
                self.write_one(&Self::small(size_bytes, number), size_bytes, &mut noise, stop, &mut tell)?;
            }
        }
        // One call for all: a flush a file would take minutes on a disk, and dirty pages can't be dropped.
        let folder = File::open(&self.directory).map_err(failed("open", &self.directory))?;
        rustix::fs::syncfs(&folder).map_err(|errno| failed("flush", &self.directory)(errno.into()))
    }

    fn write_one(
        &self,
        name: &str,
        len_bytes: u64,
        noise: &mut Noise,
        stop: &Stop,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), Fault> {
        let path = self.directory.join(name);
        let mut file = File::create_new(&path).map_err(failed("create", &path))?;
        let mut left = len_bytes;
        while left > 0 {
            stop.check()?;
            let piece = noise.next(left.min(MIB as u64) as usize);
            file.write_all(piece).map_err(failed("write", &path))?;
            left -= piece.len() as u64;
            tell(piece.len() as u64);
        }
        Ok(())
    }

    /// Asks the kernel to forget what it keeps of a file.
    ///
    /// # Errors
    /// Unavailable: the file is gone.
    pub fn forget(&self, name: &str) -> Result<(), Fault> {
        let path = self.directory.join(name);
        let file = File::open(&path).map_err(failed("open", &path))?;
        // Some file systems keep no pages to drop and say so; whether it helped is measured, not assumed.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }
}

impl Drop for TestFiles {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("warning: {} stays behind: {error}", self.directory.display());
        }
    }
}

/// Bytes that no storage compresses or stores once: each mebibyte is another.
#[derive(Default)]
struct Noise {
    number: u64,
    bytes: Vec<u8>,
}

impl Noise {
    fn next(&mut self, len_bytes: usize) -> &[u8] {
        self.bytes.resize(len_bytes, 0);
        let mut stream = blake3::Hasher::new().update(&self.number.to_le_bytes()).finalize_xof();
        stream.fill(&mut self.bytes);
        self.number += 1;
        &self.bytes
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Whether some folder in `folder` has an image in it.
fn holds_classes(folder: &Path) -> bool {
    let list = |path: &Path| {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).take(LOOKED_AT)
    };
    let image = |path: &Path| {
        let name = path.to_string_lossy().to_lowercase();
        IMG_EXTENSIONS.iter().any(|extension| name.ends_with(extension))
    };
    list(folder).filter(|path| path.is_dir()).any(|class| list(&class).any(|path| image(&path)))
}

fn check_space(directory: &Path, needed_bytes: u64) -> Result<(), Fault> {
    let Ok(found) = rustix::fs::statvfs(parent(directory)) else { return Ok(()) };
    let free_bytes = found.f_bavail.saturating_mul(found.f_frsize);
    if free_bytes >= needed_bytes + needed_bytes / 8 {
        return Ok(());
    }
    let (needed_mib, free_mib) = (needed_bytes >> 20, free_bytes >> 20);
    Err(Fault::invalid(format!("test files take {needed_mib} MiB and {free_mib} are free"))
        .hint("ask for fewer (--storage-bytes 256MiB), or name another folder on the same storage"))
}

fn failed(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Fault {
    move |error| {
        Fault::from_error(Kind::Unavailable, &error)
            .context(format!("{action} {}", path.display()))
            .hint("the folder must be writable for test files; they are removed at the end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, plan: Plan) -> Result<TestFiles, Fault> {
        TestFiles::make(root.join("t"), plan, &Progress::start(), &Stop::default())
    }

    #[test]
    fn half_of_the_bytes_are_one_file_and_the_sizes_share_the_rest() {
        let plan = Plan::new(&[4096, 1 << 20], 64 << 20).expect("room");
        assert_eq!(plan, Plan { small: vec![(4096, 4096), (1 << 20, 16)], large_bytes: 32 << 20 });
        assert_eq!(plan.total_bytes(), (32 << 20) + (16 << 20) + (16 << 20));
        let fault = Plan::new(&[1 << 20], 1 << 20).expect_err("too little");
        assert!(fault.hint.expect("a cure").contains("--storage-bytes"));
    }

    #[test]
    fn the_files_are_there_with_their_sizes_and_gone_when_dropped() {
        let root = tempfile::tempdir().expect("a folder");
        let plan = Plan { small: vec![(100, 3), (5000, 2)], large_bytes: 1_500_000 };
        let files = make(root.path(), plan).expect("space");
        let len = |name: &str| std::fs::metadata(files.directory().join(name)).expect("there").len();
        assert_eq!((len(LARGE), len("s100/2"), len("s5000/1")), (1_500_000, 100, 5000));
        let read = |name: &str| std::fs::read(files.directory().join(name)).expect("there");
        assert_ne!(read("s100/0"), read("s100/1"), "no two files are alike");
        files.forget(LARGE).expect("there");
        drop(files);
        assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_stop_removes_what_was_made() {
        let root = tempfile::tempdir().expect("a folder");
        let stop = Stop::default();
        stop.set();
        let plan = Plan { small: vec![(100, 3)], large_bytes: 100 };
        assert!(TestFiles::make(root.path().join("t"), plan, &Progress::start(), &stop).is_err());
        assert_eq!(std::fs::read_dir(root.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn test_files_never_stand_among_class_folders() {
        let root = tempfile::tempdir().expect("a folder");
        let data = root.path().join("data");
        std::fs::create_dir_all(data.join("cat")).expect("a folder");
        let place = |path: &Path| TestFiles::place(path).expect("a place").parent().map(Path::to_owned);
        let (data, root) = (data.canonicalize().expect("there"), root.path().canonicalize().expect("there"));
        assert_eq!(place(&data), Some(data.clone()), "no images: any folder");
        std::fs::write(data.join("cat/1.JPG"), "").expect("a file");
        assert_eq!(place(&data), Some(root), "beside the data set");
        assert!(TestFiles::place(&data.join("missing")).is_err());
    }

    #[test]
    fn more_than_the_disk_holds_is_refused_before_anything_is_written() {
        let root = tempfile::tempdir().expect("a folder");
        let fault =
            make(root.path(), Plan { small: Vec::new(), large_bytes: 1 << 60 }).err().expect("too much");
        assert!(fault.message.contains("are free") && !root.path().join("t").exists());
    }
}
