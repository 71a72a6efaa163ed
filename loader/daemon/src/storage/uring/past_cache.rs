//! Which reads go past the page cache.
//!
//! Of a set that is larger than memory, and read once an epoch in random order, a page cache that keeps what was read last
//! holds almost nothing of what comes next. So a fixed part of it is kept, as large as memory allows: those samples are read
//! through the page cache and stay there, all others go past it and displace none of them. That begins once as much was read
//! as there is: what is read once alone is never looked for again. A set that fits is kept whole, from the start.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::sys;

/// Parts of smaller files are never read past the page cache where that is asked for: they are in it soon, and cost no
/// device then.
pub(super) const ALWAYS_FROM_BYTES: u64 = 64 << 20;

/// A file that was not opened for so long counts no more: nobody reads its set.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// Samples that begin in so many bytes of a file are kept together, or not.
const NEIGHBOURS_BYTES: u64 = 1 << 20;

/// How often the machine is asked anew.
const COUNTED_EVERY: Duration = Duration::from_secs(30);

/// Whether parts of files are read past the page cache (`O_DIRECT`), as it is set.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DirectReads {
    /// Where the files that are read in parts do not fit in the page cache: all of them but as much as fits.
    #[default]
    Auto,
    /// From files of 64 MiB on.
    Always,
    /// All through the page cache.
    Never,
}

impl DirectReads {
    /// As it is written in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// A word, or a switch.
impl<'de> Deserialize<'de> for DirectReads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = DirectReads;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"auto\", \"always\" or \"never\"")
            }

            fn visit_bool<E: de::Error>(self, always: bool) -> Result<DirectReads, E> {
                Ok(if always { DirectReads::Always } else { DirectReads::Never })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<DirectReads, E> {
                let all = [DirectReads::Auto, DirectReads::Always, DirectReads::Never];
                let found = all.into_iter().find(|reads| reads.word() == word);
                found.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// A file by its device and inode: it may have several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What one ring knows of the files that it reads in parts. Each ring gets its share of the reads of every file, so all of
/// them know about the same.
pub(super) struct PastCache {
    reads: DirectReads,
    always_from_bytes: u64,
    /// 0: what the machine has for it.
    page_cache_bytes: u64,
    files: RefCell<HashMap<FileId, Seen>>,
    /// Of all files together.
    files_bytes: Cell<u64>,
    /// When the machine was asked, and what it has for the page cache.
    counted: Cell<Option<(Instant, u64)>>,
    /// The part that is kept: how many of 2^32 samples.
    kept: Cell<u64>,
    /// Rings that read the files.
    rings: u64,
    /// What this one has read of them.
    read_bytes: Cell<u64>,
    /// Whether they are read again, so that it serves to keep some.
    again: Cell<bool>,
}

struct Seen {
    size_bytes: u64,
    opened: Instant,
}

const ALL: u64 = 1 << 32;

impl PastCache {
    /// Nothing is read yet, by one of `rings`.
    pub(super) fn new(
        reads: DirectReads,
        always_from_bytes: u64,
        page_cache_bytes: u64,
        rings: usize,
    ) -> Self {
        Self {
            reads,
            always_from_bytes,
            page_cache_bytes,
            rings: rings as u64,
            read_bytes: Cell::new(0),
            again: Cell::new(false),
            files: RefCell::default(),
            files_bytes: Cell::new(0),
            counted: Cell::new(None),
            kept: Cell::new(ALL),
        }
    }

    /// Notes that a file was opened to be read in parts.
    pub(super) fn opened(&self, file: FileId, size_bytes: u64, now: Instant) {
        if self.reads != DirectReads::Auto {
            return;
        }
        let counted = self.counted.get().filter(|(counted, _)| now - *counted < COUNTED_EVERY);
        if counted.is_none() {
            self.forget(now);
        }
        let known = self.files.borrow_mut().insert(file, Seen { size_bytes, opened: now });
        let known_bytes = known.map_or(0, |seen| seen.size_bytes);
        self.files_bytes.set(self.files_bytes.get() - known_bytes + size_bytes);
        match counted {
            Some(_) if known_bytes == size_bytes => {}
            Some((_, page_cache_bytes)) => self.keep(page_cache_bytes),
            None => {
                let set = Some(self.page_cache_bytes).filter(|bytes| *bytes > 0);
                let page_cache_bytes = set.unwrap_or_else(sys::page_cache_bytes);
                self.counted.set(Some((now, page_cache_bytes)));
                self.keep(page_cache_bytes);
            }
        }
    }

    /// Whether everything that is read in parts stays in the page cache: what the kernel reads ahead of its own accord is
    /// then wanted sooner or later, and a device that is short of requests a second gives more so.
    pub(super) fn keeps_all(&self) -> bool {
        self.reads == DirectReads::Auto && self.kept.get() == ALL
    }

    /// Whether a sample of a file of this size, which is read now, goes past the page cache.
    pub(super) fn takes(&self, file: FileId, size_bytes: u64, offset_bytes: u64, len_bytes: u64) -> bool {
        self.count(len_bytes);
        self.would_take(file, size_bytes, offset_bytes)
    }

    /// The same of one that may be read some other way.
    pub(super) fn would_take(&self, file: FileId, size_bytes: u64, offset_bytes: u64) -> bool {
        match self.reads {
            DirectReads::Never => false,
            DirectReads::Always => size_bytes >= self.always_from_bytes,
            DirectReads::Auto => {
                self.kept.get() < ALL
                    && (!self.is_read_again() || place(file, offset_bytes) >= self.kept.get())
            }
        }
    }

    /// So many bytes are read.
    pub(super) fn count(&self, len_bytes: u64) {
        self.read_bytes.set(self.read_bytes.get().saturating_add(len_bytes));
    }

    /// Whether as much was read as there is. It stays so while there is something, also where more comes.
    fn is_read_again(&self) -> bool {
        let read_bytes = self.read_bytes.get().saturating_mul(self.rings);
        let again = self.again.get() || read_bytes >= self.files_bytes.get();
        self.again.set(again);
        again
    }

    /// Lets go of files that nobody reads any more.
    fn forget(&self, now: Instant) {
        let mut files = self.files.borrow_mut();
        files.retain(|_, seen| now - seen.opened < FORGOTTEN_AFTER);
        self.files_bytes.set(files.values().map(|seen| seen.size_bytes).sum());
        if files.is_empty() {
            // What comes now is read for the first time.
            self.read_bytes.set(0);
            self.again.set(false);
        }
    }

    /// Sets which part of the files is kept.
    fn keep(&self, page_cache_bytes: u64) {
        let files_bytes = self.files_bytes.get().max(1);
        let kept = (u128::from(ALL) * u128::from(page_cache_bytes) / u128::from(files_bytes)) as u64;
        let kept = kept.min(ALL);
        let before = self.kept.replace(kept);
        if kept == ALL && before < ALL {
            tracing::info!(
                files_bytes,
                page_cache_bytes,
                "files that are read in parts fit in the page cache again"
            );
        } else if kept < ALL && (before == ALL || kept < before / 2 || before < kept / 2) {
            let kept_percent = kept * 100 / ALL;
            tracing::info!(
                files_bytes,
                page_cache_bytes,
                kept_percent,
                "files that are read in parts do not fit in the page cache: some samples are kept in it, the others read past it"
            );
        }
    }
}

/// Where a sample stands among all of them, below [`ALL`]: as random as can be, and always the same; with its neighbours,
/// so that one read may serve them and no page is kept for a half of it.
fn place(file: FileId, offset_bytes: u64) -> u64 {
    // splitmix64's finalizer. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    let mut z = file.device.rotate_left(48) ^ file.inode.rotate_left(24) ^ (offset_bytes / NEIGHBOURS_BYTES);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn file(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    /// Of 10,000 samples of file 0, those that go past the page cache.
    fn past(cache: &PastCache) -> Vec<u64> {
        let offsets = (0..10_000).map(|number| number * NEIGHBOURS_BYTES);
        offsets.filter(|offset| cache.takes(file(0), GIB, *offset, 0)).collect()
    }

    /// The first of two rings.
    fn auto(page_cache_bytes: u64) -> PastCache {
        PastCache::new(DirectReads::Auto, 0, page_cache_bytes, 2)
    }

    /// It has read so much.
    fn read(cache: &PastCache, len_bytes: u64) {
        cache.takes(file(0), GIB, 0, len_bytes);
    }

    #[test]
    fn files_that_fit_are_read_through_the_page_cache() {
        let (cache, now) = (auto(4 * GIB), Instant::now());
        assert!(past(&cache).is_empty(), "nothing is known yet");
        (0..4).for_each(|inode| cache.opened(file(inode), GIB, now));
        (0..4).for_each(|inode| cache.opened(file(inode), GIB, now));
        assert!(past(&cache).is_empty(), "opened twice, they are still 4 GiB");
        assert!(cache.keeps_all());
        cache.opened(file(4), GIB, now);
        assert!(!cache.keeps_all(), "one too many");
        let never = PastCache::new(DirectReads::Never, 0, 4 * GIB, 2);
        assert!(!never.keeps_all(), "nobody counts what there is");
    }

    #[test]
    fn of_files_that_do_not_fit_as_much_is_kept_as_fits_and_always_the_same() {
        let (cache, now) = (auto(4 * GIB), Instant::now());
        (0..8).for_each(|inode| cache.opened(file(inode), GIB, now));
        read(&cache, 4 * GIB);
        let half = past(&cache);
        assert!((4_800..5_200).contains(&half.len()), "{} of 10000", half.len());
        (8..16).for_each(|inode| cache.opened(file(inode), GIB, now));
        let three_quarters = past(&cache);
        assert!((7_300..7_700).contains(&three_quarters.len()), "{} of 10000", three_quarters.len());
        assert!(
            half.iter().all(|offset| three_quarters.contains(offset)),
            "what is kept of more was kept of less"
        );
        assert_eq!(past(&cache), three_quarters);
    }

    #[test]
    fn neighbours_are_kept_together() {
        let (cache, now) = (auto(4 * GIB), Instant::now());
        (0..8).for_each(|inode| cache.opened(file(inode), GIB, now));
        read(&cache, 4 * GIB);
        for block in 0..100 {
            let of = |at: u64| cache.would_take(file(0), GIB, block * NEIGHBOURS_BYTES + at);
            assert!([1, 50_000, NEIGHBOURS_BYTES - 1].map(of).iter().all(|past| *past == of(0)));
        }
    }

    #[test]
    fn files_that_nobody_reads_any_more_give_their_room_back() {
        let (cache, start) = (auto(GIB), Instant::now());
        (0..8).for_each(|inode| cache.opened(file(inode), GIB, start));
        assert!(past(&cache).len() > 8_000);
        let later = start + FORGOTTEN_AFTER;
        cache.opened(file(0), GIB, later);
        assert!(past(&cache).is_empty(), "one is left, and it fits");
        cache.opened(file(0), 2 * GIB, later);
        read(&cache, GIB);
        assert!((4_800..5_200).contains(&past(&cache).len()), "it has grown");
    }

    #[test]
    fn what_is_read_once_alone_goes_past_the_page_cache_and_some_is_kept_from_then_on() {
        let (cache, start) = (auto(4 * GIB), Instant::now());
        (0..8).for_each(|inode| cache.opened(file(inode), GIB, start));
        assert_eq!(past(&cache).len(), 10_000);
        read(&cache, 4 * GIB - 1);
        assert_eq!(past(&cache).len(), 10_000, "not yet the half of one of two rings");
        read(&cache, 1);
        assert!((4_800..5_200).contains(&past(&cache).len()));
        (8..16).for_each(|inode| cache.opened(file(inode), GIB, start));
        assert!(past(&cache).len() < 8_000, "what was kept stays so where more comes");
        let later = start + FORGOTTEN_AFTER;
        (20..28).for_each(|inode| cache.opened(file(inode), GIB, later));
        assert_eq!(past(&cache).len(), 10_000, "others are read for the first time");
    }

    #[test]
    fn always_spares_small_files_and_never_none() {
        let of = |reads| PastCache::new(reads, 100, 1, 1);
        let takes = |cache: &PastCache, size_bytes| {
            cache.opened(file(0), size_bytes, Instant::now());
            cache.takes(file(0), size_bytes, 0, 1)
        };
        assert!(takes(&of(DirectReads::Always), 100) && !takes(&of(DirectReads::Always), 99));
        assert!(!takes(&of(DirectReads::Never), u64::MAX));
    }

    #[test]
    fn the_setting_is_a_word_or_a_switch() {
        #[derive(Debug, Deserialize)]
        struct Written {
            reads: DirectReads,
        }
        let read = |text: &str| toml::from_str::<Written>(text).map(|written| written.reads);
        for reads in [DirectReads::Auto, DirectReads::Always, DirectReads::Never] {
            assert_eq!(read(&format!("reads = \"{}\"", reads.word())).unwrap(), reads);
        }
        assert_eq!(read("reads = true").unwrap(), DirectReads::Always);
        assert_eq!(read("reads = false").unwrap(), DirectReads::Never);
        for wrong in ["reads = \"often\"", "reads = 1"] {
            assert!(read(wrong).unwrap_err().to_string().contains("\"always\""), "{wrong}");
        }
    }
}
