//! Files that somebody replaces, truncates, deletes and writes over while they are read, and what may be seen of them.
//!
//! Every byte says which version of which file it is of. Before a file is touched, what it will be is noted, so that a row
//! can be held to the states its file has been in.

use std::fmt::{self, Display, Formatter};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use forebay_proto::v1;

const FILES: u32 = 48;
const LEN_BYTES: usize = 24 << 10;
/// A version that is written in place comes in so many writes.
const WRITES: usize = 4;
const PAGE_BYTES: usize = 4096;
/// A file that was deleted is back after this long: mostly too late for whoever asks, at times not.
const GONE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(150)];

/// The files.
pub struct Vandal {
    root: PathBuf,
    files: Vec<Mutex<History>>,
    stopping: AtomicBool,
    changes: AtomicU64,
}

/// What a file has been.
#[derive(Default)]
struct History {
    version: u32,
    /// Versions that were there whole, or to a length.
    states: Vec<(u32, usize)>,
    /// Versions that were written over another in place: (old, new).
    rewrites: Vec<(u32, u32)>,
}

/// Rows by what they turned out to be.
#[derive(Default)]
pub struct Seen {
    whole: AtomicU64,
    between: AtomicU64,
    torn: AtomicU64,
}

impl Seen {
    /// Whether rows were seen that are not of the first version.
    pub fn is_any(&self) -> bool {
        self.whole.load(Ordering::Relaxed) > 0
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (whole, between, torn) = (of(&self.whole), of(&self.between), of(&self.torn));
        write!(f, "as a file was {whole}, between two writes in place {between}, within one {torn}")
    }
}

/// The bytes of a version of a file.
fn contents(file: u32, version: u32) -> Vec<u8> {
    let mut bytes = vec![0; LEN_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file.to_le_bytes()).update(&version.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes[..4].copy_from_slice(&file.to_le_bytes());
    bytes[4..8].copy_from_slice(&version.to_le_bytes());
    bytes
}

impl Vandal {
    /// Writes the first version of each.
    pub fn new(root: &Path) -> Self {
        let first = || History { states: vec![(0, LEN_BYTES)], ..History::default() };
        for file in 0..FILES {
            std::fs::write(root.join(format!("{file}.bin")), contents(file, 0)).expect("a file");
        }
        Self {
            root: root.to_owned(),
            files: (0..FILES).map(|_| Mutex::new(first())).collect(),
            stopping: AtomicBool::default(),
            changes: AtomicU64::default(),
        }
    }

    /// A job over all of them: the bytes, how many, and which file it is.
    pub fn spec(&self) -> v1::JobSpec {
        let line = |file| format!(r#"{{\"path\":\"{file}.bin\",\"id\":{file}}}"#);
        let lines = (0..FILES).map(line).collect::<Vec<_>>().join("\\n");
        let json = format!(
            r#"{{"sources":[{{"records":{{"root":"{}","jsonLines":"{lines}"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"5"}},
                "fields":[{{"name":"bytes","column":"path","decode":"DECODE_TOKENS","storedDtype":"DTYPE_UINT8",
                "dtype":"DTYPE_INT32","capacity":{LEN_BYTES}}},{{"name":"length","decode":"DECODE_LENGTH"}},{{"name":"id"}}]}}"#,
            self.root.display()
        );
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    /// How often a file was touched.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Whether a sample's file was ever touched.
    pub fn has_touched(&self, key: &str) -> bool {
        let file: u32 = key.trim_end_matches(".bin").parse().expect("a file of ours");
        self.history(file).version > 0
    }

    /// No more changes.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Changes one file after another until it is stopped.
    pub fn work(&self) {
        let mut draw = 0x9E37_79B9_7F4A_7C15_u64;
        while !self.stopping.load(Ordering::Relaxed) {
            // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
            draw ^= draw >> 12;
            draw ^= draw << 25;
            draw ^= draw >> 27;
            let number = draw.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
            self.change((number % u64::from(FILES)) as u32, number / 64);
            self.changes.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    fn history(&self, file: u32) -> MutexGuard<'_, History> {
        self.files[file as usize].lock().expect("no panic holds it")
    }

    fn path(&self, file: u32) -> PathBuf {
        self.root.join(format!("{file}.bin"))
    }

    fn change(&self, file: u32, draw: u64) {
        match draw % 16 {
            0 => {
                self.history(file).version += 1;
                std::fs::remove_file(self.path(file)).expect("it is there");
                std::thread::sleep(GONE[draw as usize / 16 % 2]);
                self.replace(file);
            }
            1..4 => self.truncate(file, 8 + draw as usize / 16 % (LEN_BYTES - 8)),
            4..8 => self.write_over(file),
            _ => self.replace(file),
        }
    }

    /// Another version under the same name, whole from the first moment.
    fn replace(&self, file: u32) {
        let version = self.next(file);
        let beside = self.root.join(format!("{file}.new"));
        std::fs::write(&beside, contents(file, version)).expect("space");
        std::fs::rename(beside, self.path(file)).expect("the same folder");
    }

    /// A new version, which soon has fewer bytes.
    fn truncate(&self, file: u32, len_bytes: usize) {
        self.replace(file);
        let mut history = self.history(file);
        let version = history.version;
        history.states.push((version, len_bytes));
        drop(history);
        let open = OpenOptions::new().write(true).open(self.path(file)).expect("it is there");
        open.set_len(len_bytes as u64).expect("a length");
    }

    /// Another version over a whole one, write by write.
    fn write_over(&self, file: u32) {
        self.replace(file);
        let old = self.history(file).version;
        let version = self.next(file);
        self.history(file).rewrites.push((old, version));
        let (bytes, open) = (contents(file, version), self.open(file));
        for part in 0..WRITES {
            let (start, end) = (part * LEN_BYTES / WRITES, (part + 1) * LEN_BYTES / WRITES);
            open.write_all_at(&bytes[start..end], start as u64).expect("space");
        }
    }

    fn open(&self, file: u32) -> File {
        OpenOptions::new().write(true).open(self.path(file)).expect("it is there")
    }

    /// The number of a version to come.
    fn next(&self, file: u32) -> u32 {
        let mut history = self.history(file);
        history.version += 1;
        let version = history.version;
        history.states.push((version, LEN_BYTES));
        version
    }

    /// Holds each row of a batch to what its file has been.
    pub fn check(&self, rows: usize, tensors: &[Vec<u8>], seen: &Seen) {
        let [bytes, lengths, ids] = tensors else { panic!("three tensors, no {}", tensors.len()) };
        for row in 0..rows {
            let id = i64::from_ne_bytes(ids[8 * row..][..8].try_into().expect("8 bytes"));
            let length = i32::from_ne_bytes(lengths[4 * row..][..4].try_into().expect("4 bytes"));
            let values = bytes[4 * LEN_BYTES * row..][..4 * LEN_BYTES].chunks_exact(4);
            let values = values.map(|value| i32::from_ne_bytes(value.try_into().expect("4 bytes")));
            let (held, padding): (Vec<_>, Vec<_>) =
                values.enumerate().partition(|(at, _)| *at < length as usize);
            assert!(
                padding.iter().all(|(_, value)| *value == 0),
                "file {id}: something behind its {length} bytes"
            );
            let held: Vec<u8> = held.into_iter().map(|(_, value)| value as u8).collect();
            let what = self.what(id as u32, &held);
            [&seen.whole, &seen.between, &seen.torn][what].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// 0: a state of its file; 1: one between two writes in place; 2: one from within a write.
    fn what(&self, file: u32, held: &[u8]) -> usize {
        let word = |at: usize| u32::from_le_bytes(held[at..][..4].try_into().expect("4 bytes"));
        assert_eq!(word(0), file, "bytes of another file");
        let (version, history) = (word(4), self.history(file));
        if history.states.contains(&(version, held.len())) && held == &contents(file, version)[..held.len()] {
            return 0;
        }
        let over = |(old, new): &&(u32, u32)| version == *old || version == *new;
        for (old, new) in history.rewrites.iter().rev().filter(over) {
            let (old, new) = (contents(file, *old), contents(file, *new));
            let split = |at: usize| held[..at] == new[..at] && held[at..] == old[at..];
            if held.len() == LEN_BYTES && (0..=WRITES).any(|part| split(part * LEN_BYTES / WRITES)) {
                return 1;
            }
            let mut pages = (0..LEN_BYTES).step_by(PAGE_BYTES).map(|start| start..start + PAGE_BYTES);
            if held.len() == LEN_BYTES
                && pages
                    .all(|page| held[page.clone()] == new[page.clone()] || held[page.clone()] == old[page])
            {
                return 2;
            }
        }
        panic!("file {file}, version {version}: {} bytes that it never was", held.len());
    }
}
