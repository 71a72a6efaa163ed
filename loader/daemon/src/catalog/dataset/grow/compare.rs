//! Which samples of a source a data set has had already: by key, a stored file at a time, so that what is held is the
//! source and one file.

use std::collections::HashSet;

use forebay_plan::Digest;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Counts;
use crate::catalog::dataset::{Dataset, Manifest};
use crate::catalog::found::{Base, Found};
use crate::catalog::snapshot::{Snapshot, hash};
use crate::catalog::table::Table;
use crate::error::{Fault, Kind};

/// What is known of a sample of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Known,
    Removed,
    Repeated,
}

/// A source beside the commits that it was compared with. It only learns: a file that was looked at is not read again.
pub(super) struct Compared<'a> {
    table: &'a Table,
    /// Hashes of the keys with their rows, sorted.
    hashes: Vec<(u64, u32)>,
    states: Vec<State>,
    looked_at: HashSet<Digest>,
    /// Keys of the data set that the source lacks; only where it is whole.
    absent: Option<HashSet<Vec<u8>>>,
}

impl<'a> Compared<'a> {
    pub(super) fn new(found: &'a Found) -> Result<Self, Fault> {
        let table = &found.table;
        if u32::try_from(table.len()).is_err() {
            return Err(
                Fault::invalid(format!("{} samples in one source", table.len())).hint("index it in parts")
            );
        }
        let hashes = hashed(table.keys().map(|key| hash(&key)));
        let mut compared = Self {
            table,
            hashes,
            states: vec![State::New; table.len()],
            looked_at: HashSet::new(),
            absent: found.whole.then(HashSet::new),
        };
        compared.find_repeated();
        Ok(compared)
    }

    /// The first of equal keys counts.
    fn find_repeated(&mut self) {
        for group in self.hashes.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
            let mut met = HashSet::new();
            for &(_, row) in group {
                if !met.insert(self.table.key(row as usize)) {
                    self.states[row as usize] = State::Repeated;
                }
            }
        }
    }

    /// Takes in what a commit has had, as far as it was not looked at before.
    pub(super) fn with(&mut self, dataset: &Dataset, head: &Manifest) -> Result<(), Fault> {
        for file in &head.samples {
            if self.looked_at.insert(file.digest) {
                let lacks = self.mark(&dataset.get(file, None)?, State::Known);
                self.absent.iter_mut().for_each(|absent| absent.extend(lacks.iter().cloned()));
            }
        }
        // After all samples: those that are no longer in the data set are not missed.
        for file in &head.removed {
            let snapshot = dataset.get(file, None)?;
            if self.looked_at.insert(file.digest) {
                self.mark(&snapshot, State::Removed);
            }
            if let Some(absent) = &mut self.absent {
                for row in 0..snapshot.len() {
                    absent.remove(snapshot.key(row).as_ref());
                }
            }
        }
        Ok(())
    }

    /// Marks the source's samples that a file has, and gives the keys that the source lacks.
    fn mark(&mut self, file: &Snapshot, state: State) -> Vec<Vec<u8>> {
        let theirs = hashed((0..file.len()).map(|row| hash(&file.key(row))));
        let (mut own, mut lacks) = (&self.hashes[..], Vec::new());
        for &(hash, row) in &theirs {
            own = &own[own.partition_point_near(|entry| entry.0 < hash)..];
            let key = file.key(u64::from(row));
            let same = own.iter().take_while(|entry| entry.0 == hash);
            let mut met = false;
            for &(_, own) in same.filter(|entry| self.table.key(entry.1 as usize) == key) {
                met = true;
                let known = &mut self.states[own as usize];
                if *known != State::Repeated && *known != State::Removed {
                    *known = state;
                }
            }
            if !met && self.absent.is_some() {
                lacks.push(key.into_owned());
            }
        }
        lacks
    }

    /// The rows that never came in, in the source's order.
    pub(super) fn new_rows(&self) -> Vec<usize> {
        let new = self.states.iter().enumerate().filter(|(_, state)| **state == State::New);
        new.map(|(row, _)| row).collect()
    }

    pub(super) fn counts(&self, missing: Option<usize>) -> Counts {
        let count = |wanted| self.states.iter().filter(|state| **state == wanted).count() as u64;
        let repeated = count(State::Repeated);
        Counts {
            found: self.states.len() as u64 - repeated,
            added: count(State::New),
            known: count(State::Known),
            removed_before: count(State::Removed),
            repeated,
            missing: missing.map(|missing| missing as u64),
            pruned: 0,
        }
    }

    /// The samples of the data set that the source lacks and whose files are no longer there, sorted. One that was not
    /// looked for (its extension is another) and is there has not gone.
    pub(super) fn gone(&self, base: &Base) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        let (Some(absent), Base::Folder(root)) = (&self.absent, base) else { return Ok(None) };
        let mut gone = Vec::new();
        for key in absent {
            match root.open_beneath(key, OFlags::PATH) {
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => gone.push(key.clone()),
                Err(errno) => {
                    let shown = root.display(key);
                    return Err(Fault::from_error(Kind::Unavailable, &std::io::Error::from(errno))
                        .context(format!("look whether {shown} has gone"))
                        .object(shown)
                        .hint("nothing was changed: run it again once the storage answers"));
                }
            }
        }
        gone.sort_unstable();
        Ok(Some(gone))
    }
}

/// Hashes with their rows, sorted.
fn hashed(hashes: impl Iterator<Item = u64>) -> Vec<(u64, u32)> {
    let mut hashes: Vec<_> = hashes.zip(0..).collect();
    hashes.sort_unstable();
    hashes
}

/// A search that starts at the beginning: what is sought is near it when both sides are walked in order.
trait Near<T> {
    fn partition_point_near(&self, before: impl Fn(&T) -> bool) -> usize;
}

impl<T> Near<T> for [T] {
    fn partition_point_near(&self, before: impl Fn(&T) -> bool) -> usize {
        let mut end = 1;
        while end < self.len() && before(&self[end]) {
            end *= 2;
        }
        let end = end.saturating_add(1).min(self.len());
        self[..end].partition_point(before)
    }
}
