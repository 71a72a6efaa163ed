//! What a listing has read so far, in a file of its own: one that is stopped goes on where it was.
//!
//! A record a directory, written by one call as soon as the directory is read. It counts again only where the directory
//! is as it was (`stamp.rs`), so a journal may be of any age. A stop in the middle of a record leaves one whose length or
//! checksum does not fit: it and what is behind it is not read. The file lies in the cache, since the data set's place
//! may not be made before it is known that there is something to put into it, and goes when its samples are committed.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::Names;
use crate::catalog::bytes::ByteStrings;
use crate::catalog::folder::Extensions;
use crate::catalog::stamp::Stamp;
use crate::crash;

/// What a journal begins with; another layout is begun anew.
const MAGIC: &[u8; 16] = b"forebay-listing1";

const ENDING: &str = "journal";

/// A journal that was not written for so long is of a listing that nobody will go on with.
const LEFT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A record's length and checksum, before it.
const HEAD_BYTES: usize = 12;

/// What stands between two names: neither a name nor a path has it in it.
const BETWEEN: u8 = 0;

/// A journal, held by this process alone.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<Option<File>>,
    noted: Mutex<HashMap<Vec<u8>, Noted>>,
    known: [AtomicU64; 2],
    read: AtomicU64,
}

/// A directory as it was read.
#[derive(Debug)]
struct Noted {
    stamp: Stamp,
    names: ByteStrings,
    folders: Vec<Vec<u8>>,
}

/// What of a listing was read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Resumed {
    /// Directories that a stopped listing had read.
    pub directories: u64,
    /// The samples in them.
    pub samples: u64,
    /// Directories that were read now.
    pub directories_read: u64,
}

impl Journal {
    /// Opens the journal of a listing of `root`, and reads what a stopped one left.
    ///
    /// * `folder`: where journals lie; made where it is not there.
    /// * `extensions`: what sample files end in, as [`super::super::Finding`] has it.
    ///
    /// # Errors
    /// What the file system says; `WouldBlock` where another process lists the same.
    pub fn open(folder: &Path, root: &Path, extensions: Option<&[String]>) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        sweep(folder);
        let path = folder.join(format!("{}.{ENDING}", name(root, extensions)));
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let (noted, whole_bytes) = parse(&fs::read(&path)?);
        file.set_len(whole_bytes)?;
        if whole_bytes == 0 {
            (&file).write_all(MAGIC)?;
        }
        let (file, noted) = (Mutex::new(Some(file)), Mutex::new(noted));
        Ok(Self { path, file, noted, known: Default::default(), read: AtomicU64::new(0) })
    }

    /// The directories that the bytes of a journal tell of, written again in the order of their paths, without what was torn
    /// off; `None` where they tell of none.
    pub fn rewritten(text: &[u8]) -> Option<Vec<u8>> {
        let mut noted: Vec<_> = parse(text).0.into_iter().collect();
        noted.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let record = |(dir, Noted { stamp, names, folders }): &(Vec<u8>, Noted)| {
            record(dir, *stamp, (0..names.len()).map(|name| names.get(name)), folders)
        };
        let records: Vec<_> = noted.iter().flat_map(record).collect();
        (!noted.is_empty()).then(|| [&MAGIC[..], &records].concat())
    }

    /// What was read before, so far, and now.
    pub fn resumed(&self) -> Resumed {
        let [directories, samples] =
            [&self.known[0], &self.known[1]].map(|count| count.load(Ordering::Relaxed));
        Resumed { directories, samples, directories_read: self.read.load(Ordering::Relaxed) }
    }

    /// Removes the journal: what it says is committed.
    pub fn finish(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// The samples and folders of a directory that was read before and is as it was.
    pub(super) fn take(&self, dir: &[u8], stamp: Stamp) -> Option<(Names, Vec<Vec<u8>>)> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(dir);
        let Noted { names, folders, .. } = noted.filter(|noted| noted.stamp == stamp)?;
        self.known[0].fetch_add(1, Ordering::Relaxed);
        self.known[1].fetch_add(names.len() as u64, Ordering::Relaxed);
        let order = (0..names.len() as u32).collect();
        Some((Names::Listed { names, order, stats: Vec::new() }, folders))
    }

    /// Notes a directory that was read. Where the journal cannot be written the listing goes on without.
    ///
    /// * `settled`: whether its stamp can tell later that it is as it was.
    pub(super) fn note(&self, dir: &[u8], stamp: Stamp, settled: bool, names: &Names, folders: &[Vec<u8>]) {
        self.read.fetch_add(1, Ordering::Relaxed);
        let (Names::Listed { names, order, .. }, true) = (names, settled) else { return };
        let names = order.iter().map(|&name| names.get(name as usize));
        let record = record(dir, stamp, names, folders);
        crash::place();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &mut *file
            && let Err(error) = open.write_all(&record)
        {
            tracing::warn!(path = %self.path.display(), %error, "a listing that is stopped now begins anew");
            *file = None;
        }
    }
}

/// Removes journals of listings that nobody has gone on with.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if entry.path().extension().is_some_and(|ending| ending == ENDING) && age() > Some(LEFT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn name(root: &Path, extensions: Option<&[String]>) -> String {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut extensions = Extensions::new(extensions).0;
    extensions.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key("forebay index listing 1");
    hasher.update(real.as_os_str().as_bytes());
    for extension in extensions {
        hasher.update(b"\0").update(extension.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Length, checksum, then the directory: its stamp, and its path, samples and folders, each list with its length before.
fn record<'a>(
    dir: &[u8],
    stamp: Stamp,
    names: impl Iterator<Item = &'a [u8]>,
    folders: &[Vec<u8>],
) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    for number in [stamp.inode, stamp.modified_ns, stamp.changed_ns] {
        bytes.extend(number.to_le_bytes());
    }
    push_list(&mut bytes, [dir].into_iter());
    push_list(&mut bytes, names);
    push_list(&mut bytes, folders.iter().map(Vec::as_slice));
    let (len, sum) = ((bytes.len() - HEAD_BYTES) as u32, checksum(&bytes[HEAD_BYTES..]));
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..HEAD_BYTES].copy_from_slice(&sum);
    bytes
}

fn push_list<'a>(bytes: &mut Vec<u8>, items: impl Iterator<Item = &'a [u8]>) {
    let start = bytes.len();
    bytes.extend([0; 4]);
    for item in items {
        bytes.extend_from_slice(item);
        bytes.push(BETWEEN);
    }
    let len = (bytes.len() - start - 4) as u32;
    bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(bytes);
    hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// The directories of a journal, and the bytes up to which it is whole. A later record of a directory wins.
fn parse(text: &[u8]) -> (HashMap<Vec<u8>, Noted>, u64) {
    let mut noted = HashMap::new();
    let Some(mut rest) = text.strip_prefix(MAGIC) else { return (noted, 0) };
    while let Some((record, after)) = next_record(rest) {
        let Some((dir, directory)) = directory(record) else { break };
        noted.insert(dir, directory);
        rest = after;
    }
    (noted, (text.len() - rest.len()) as u64)
}

fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, bytes) = bytes.split_first_chunk::<4>()?;
    let (sum, bytes) = bytes.split_first_chunk::<8>()?;
    let (record, after) = bytes.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    (checksum(record) == *sum).then_some((record, after))
}

fn directory(mut record: &[u8]) -> Option<(Vec<u8>, Noted)> {
    let mut number = || {
        let (bytes, after) = record.split_first_chunk::<8>()?;
        record = after;
        Some(i64::from_le_bytes(*bytes))
    };
    let stamp = Stamp { inode: number()?, modified_ns: number()?, changed_ns: number()? };
    let mut list = || {
        let (len, after) = record.split_first_chunk::<4>()?;
        let (items, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        record = after;
        (items.is_empty() || items.ends_with(&[BETWEEN])).then_some(items)
    };
    let (dir, samples, folders) = (list()?, list()?, list()?);
    let dir = items(dir).next()?.to_vec();
    let mut names = ByteStrings::default();
    items(samples).for_each(|name| names.push(name));
    names.shrink();
    Some((dir, Noted { stamp, names, folders: items(folders).map(<[u8]>::to_vec).collect() }))
}

/// What stands before each separator; the empty path of the root is one too.
fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split_inclusive(|&byte| byte == BETWEEN).map(|item| &item[..item.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { inode: 7, modified_ns: 8, changed_ns: 9 };

    fn listed(names: &[&str]) -> Names {
        let mut strings = ByteStrings::default();
        names.iter().for_each(|name| strings.push(name.as_bytes()));
        // As the disk has them; their order is by name.
        let mut order: Vec<u32> = (0..names.len() as u32).collect();
        order.sort_by_key(|&at| names[at as usize]);
        Names::Listed { names: strings, order, stats: Vec::new() }
    }

    fn opened(folder: &Path) -> Journal {
        Journal::open(folder, Path::new("/data"), None).expect("it is free")
    }

    fn taken(journal: &Journal, dir: &str, stamp: Stamp) -> Option<(Vec<String>, Vec<Vec<u8>>)> {
        let (names, folders) = journal.take(dir.as_bytes(), stamp)?;
        let Names::Listed { names, order, .. } = names else { panic!("names of its own") };
        let text = |&at: &u32| String::from_utf8_lossy(names.get(at as usize)).into_owned();
        Some((order.iter().map(text).collect(), folders))
    }

    #[test]
    fn what_was_read_is_known_again_unless_the_directory_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = opened(dir.path());
        journal.note(b"", STAMP, true, &listed(&[]), &[b"a".to_vec(), b"b".to_vec()]);
        journal.note(b"a", STAMP, true, &listed(&["2.jpg", "1.jpg"]), &[]);
        journal.note(b"b", STAMP, false, &listed(&["1.jpg"]), &[]);
        journal.note(b"c", STAMP, true, &listed(&["1.jpg"]), &[]);
        drop(journal);
        let journal = opened(dir.path());
        assert_eq!(taken(&journal, "", STAMP), Some((vec![], vec![b"a".to_vec(), b"b".to_vec()])));
        assert_eq!(taken(&journal, "a", STAMP), Some((vec!["1.jpg".into(), "2.jpg".into()], vec![])));
        assert_eq!(taken(&journal, "b", STAMP), None, "its times may say nothing");
        assert_eq!(taken(&journal, "c", Stamp { modified_ns: 10, ..STAMP }), None, "it changed");
        assert_eq!(journal.resumed(), Resumed { directories: 2, samples: 2, directories_read: 0 });
        journal.finish();
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_journal_that_is_cut_or_damaged_anywhere_gives_its_whole_records() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = opened(dir.path());
        for name in ["a", "b", "c"] {
            journal.note(name.as_bytes(), STAMP, true, &listed(&["1.jpg"]), &[]);
        }
        let path = journal.path.clone();
        drop(journal);
        let whole = fs::read(&path).expect("it is there");
        let record = (whole.len() - MAGIC.len()) / 3;
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            let journal = opened(dir.path());
            let known = cut.saturating_sub(MAGIC.len()) / record;
            assert_eq!(journal.noted.lock().expect("no panic").len(), known, "cut at {cut}");
            // What is written behind the cut is read too.
            journal.note(b"d", STAMP, true, &listed(&["1.jpg"]), &[]);
            drop(journal);
            assert!(taken(&opened(dir.path()), "d", STAMP).is_some(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let (noted, bytes) = parse(&damaged);
            assert!(noted.len() < 3 && bytes <= at as u64, "damaged at {at}");
        }
    }

    #[test]
    fn a_list_that_does_not_end_where_it_says_is_no_directory() {
        let whole = record(b"a", STAMP, [&b"1.jpg"[..]].into_iter(), &[]);
        let journal = |record: &[u8]| [&MAGIC[..], record].concat();
        assert_eq!(Journal::rewritten(&journal(&whole)), Some(journal(&whole)));
        let separator = whole.len() - 5;
        assert_eq!(whole[separator], BETWEEN);
        let mut wrong = whole;
        wrong[separator] = b'g';
        let sum = checksum(&wrong[HEAD_BYTES..]);
        wrong[4..HEAD_BYTES].copy_from_slice(&sum);
        assert_eq!(Journal::rewritten(&journal(&wrong)), None);
    }

    #[test]
    fn a_journal_of_last_month_goes_and_one_of_yesterday_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, days) in [("old.journal", 31), ("new.journal", 1), ("old.listing", 31)] {
            let file = File::create(dir.path().join(name)).expect("made");
            let then = std::time::SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            file.set_modified(then).expect("set");
        }
        drop(opened(dir.path()));
        let left = |name: &str| dir.path().join(name).exists();
        assert!(!left("old.journal") && left("new.journal") && left("old.listing"));
    }

    #[test]
    fn one_process_at_a_time_has_a_journal() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = opened(dir.path());
        let other = Journal::open(dir.path(), Path::new("/data"), None);
        assert_eq!(other.expect_err("it is held").kind(), io::ErrorKind::WouldBlock);
        let extensions = ["wav".to_owned()];
        Journal::open(dir.path(), Path::new("/data"), Some(&extensions)).expect("another listing");
        drop(journal);
        opened(dir.path());
    }
}
