//! Pages of Parquet files that do not have the checksum that was written with them.
//!
//! A value that is not compressed, or a part of a large page, is read without the rest of its page, so that the page's
//! checksum can say nothing of it then. Here pages are read whole, once, where their writer made checksums at all.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::catalog::damaged_pages;
use crate::storage::Root;

/// What is said of a sample in such a page.
const DAMAGE: &str =
    "the Parquet page around it is damaged: it has not the checksum that was written with it";

/// By file, where its damaged pages begin and end.
#[derive(Default)]
pub(super) struct DamagedPages(HashMap<Vec<u8>, Vec<(u64, u64)>>);

impl DamagedPages {
    /// Looks through those of the files that are Parquet. What cannot be opened, or is no Parquet file any more, says
    /// nothing here: its samples tell it when they are read.
    pub(super) fn find(root: &Root, files: &[Vec<u8>], threads: usize) -> Self {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
        let work = || {
            while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let pages = damaged_pages(root, path).unwrap_or_default();
                if !pages.is_empty() {
                    found.lock().expect("looking does not panic").insert(path.clone(), pages);
                }
            }
        };
        thread::scope(|scope| (0..threads.min(files.len())).for_each(|_| drop(scope.spawn(work))));
        Self(found.into_inner().expect("looking does not panic"))
    }

    /// What is wrong with the bytes at a place.
    pub(super) fn at(&self, path: &[u8], (offset, len): (u64, u64)) -> Option<&'static str> {
        let pages = self.0.get(path)?;
        pages.iter().any(|&(first, end)| offset < end && first < offset.saturating_add(len)).then_some(DAMAGE)
    }
}
