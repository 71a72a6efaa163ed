//! A data set that grows: commits on the storage where the data lies, each made once, with no server.
//!
//! A data set is a place (a folder or a bucket's prefix) with files named by their content and numbered [`Manifest`]s.
//! A writer reads the newest manifest, stores the files that it adds, and makes the next number if it is absent; where
//! somebody else was first, it makes its change anew on theirs, so nobody's work is lost. A reader needs the newest
//! manifest alone, and what it names never changes: a writer that dies at any moment leaves the last commit as it was.

mod add;
mod called;
mod diff;
pub mod filter;
mod grow;
mod join;
mod labels;
mod listed;
mod manifest;
mod numbers;
mod splits;
mod store;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;
use std::sync::Arc;

use forebay_plan::Digest;

pub use add::{Added, Adding};
pub use diff::Diff;
pub use grow::{Counts, Grown, Growth};
pub use join::{Joined, Joining};
pub use labels::LabelsAre;
pub use listed::{CONTENT, REASON, keyed_ints, keyed_texts, reasons};
pub use manifest::{Change, FileRef, Frozen, Manifest};
pub use numbers::Numbers;
pub use splits::{
    ALL, Chosen, ClassShare, FreezeOptions, FreezeReport, Grouping, ListedSide, Moved, Part, REST, Rule,
    Share, SideCount, SideReport, Split, SplitOptions, SplitReport, SplitRule, Ungrouped, counts,
};
pub use view::{KEY, Selection};

use super::{CatalogError, CatalogLimits, Snapshot};
use crate::error::{Fault, Kind};
use crate::records::{Created, Patience, RecordError, RecordName, StateRoot, nonce};
use crate::storage::Root;

/// What a data set's place ends in, where it lies beside its data.
pub const SUFFIX: &str = ".forebay";

/// Marks a data set's place.
const MARK: &str = "dataset.json";
const MARK_TEXT: &[u8] = b"{\"version\":1,\"about\":\"a data set of forebay: see docs/dataset.md\"}\n";

/// Bytes of a manifest: some hundred thousand files.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a file: what one PUT may carry.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// An opened data set. Its calls block.
pub struct Dataset {
    root: StateRoot,
    limits: CatalogLimits,
}

/// The place of the data set of a folder, where none is named: beside it.
pub fn place_beside(source: &str) -> String {
    format!("{}{SUFFIX}", source.trim_end_matches('/'))
}

impl Dataset {
    /// Opens a data set that is there: its place, or the data that it lies beside.
    ///
    /// # Errors
    /// NotFound: there is none. Else what the storage says.
    pub fn open(place: &str) -> Result<Self, Fault> {
        Self::open_with(place, Patience::default())
    }

    /// The same with another patience, for tests.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_with(place: &str, patience: Patience) -> Result<Self, Fault> {
        let beside = place_beside(place);
        for place in [place, beside.as_str()] {
            if !place.starts_with("s3://") && !Path::new(place).is_dir() {
                continue;
            }
            let root = StateRoot::open(place, std::env::vars(), patience).map_err(RecordError::into_fault)?;
            if read(&root, MARK, MARK_TEXT.len() as u64 * 16)?.is_some() {
                return Ok(Self { root, limits: CatalogLimits::default() });
            }
        }
        let beside =
            if place.ends_with(SUFFIX) { String::new() } else { format!(", and there is none at {beside}") };
        Err(Fault::new(Kind::NotFound, format!("{place} is no data set{beside}"))
            .hint("make one with: forebay index FOLDER"))
    }

    /// Opens a data set, and makes it where it is not there.
    ///
    /// # Errors
    /// What the storage says.
    pub fn create(place: &str) -> Result<Self, Fault> {
        if !place.starts_with("s3://") {
            std::fs::create_dir_all(place).map_err(|error| {
                Fault::from_error(Kind::Invalid, &error)
                    .context(format!("make the folder {place}"))
                    .hint("name a place for the data set that can be written: --dataset PLACE")
            })?;
        }
        let root = StateRoot::open(place, std::env::vars(), Patience::default());
        Self::over(root.map_err(RecordError::into_fault)?)
    }

    /// Makes a data set, unless it is there, in a state root that is opened.
    ///
    /// # Errors
    /// What the storage says.
    pub fn over(root: StateRoot) -> Result<Self, Fault> {
        root.check_writable().map_err(RecordError::into_fault)?;
        root.create(&name(MARK), MARK_TEXT).map_err(RecordError::into_fault)?;
        Ok(Self { root, limits: CatalogLimits::default() })
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        self.root.place()
    }

    /// The newest commit; number 0 where there is none.
    ///
    /// # Errors
    /// Corrupt: a manifest that makes no sense. Else what the storage says.
    pub fn head(&self) -> Result<Manifest, Fault> {
        let names = self.root.list(&name("manifests")).map_err(RecordError::into_fault)?;
        let newest = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse::<u64>().ok()).max();
        match newest {
            Some(number) => self.at(number),
            None => Ok(Manifest::empty()),
        }
    }

    /// A commit by its number.
    ///
    /// # Errors
    /// NotFound; Corrupt: it makes no sense. Else what the storage says.
    pub fn at(&self, number: u64) -> Result<Manifest, Fault> {
        if number == 0 {
            return Ok(Manifest::empty());
        }
        let name = manifest_name(number);
        let bytes = self.root.read(&name, MANIFEST_BYTES_MAX).map_err(RecordError::into_fault)?;
        let bytes = bytes.ok_or_else(|| {
            Fault::new(Kind::NotFound, format!("{} has no commit {number}", self.place()))
                .hint("forebay dataset log lists them")
        })?;
        self.parse(number, &bytes)
    }

    fn parse(&self, number: u64, bytes: &[u8]) -> Result<Manifest, Fault> {
        Manifest::parse(number, bytes)
            .map_err(|detail| self.root.damaged(&manifest_name(number), detail).into_fault())
    }

    /// Makes the next commit: `change` turns the newest state into the one to be, or tells that nothing is to be done.
    /// It is asked again where somebody else's commit came first.
    ///
    /// * returns: the commit that was made, or the newest one where nothing was to be done.
    ///
    /// # Errors
    /// What `change` and the storage say. After Unavailable the commit may have been made or not.
    pub fn commit(
        &self,
        mut change: impl FnMut(&Manifest) -> Result<Option<Manifest>, Fault>,
    ) -> Result<Manifest, Fault> {
        let mut head = self.head()?;
        loop {
            let Some(next) = change(&head)? else { return Ok(head) };
            let next = stamped(next, head.number + 1);
            let bytes = serde_json::to_vec_pretty(&next).expect("names and numbers are JSON");
            match self.root.create(&manifest_name(next.number), &bytes).map_err(RecordError::into_fault)? {
                Created::Ours => return Ok(next),
                Created::Theirs(bytes) => head = self.parse(next.number, &bytes)?,
            }
        }
    }

    /// Stores a snapshot as a file, unless it is there.
    ///
    /// # Errors
    /// What the storage says; Invalid: larger than a file may be.
    pub fn put(&self, snapshot: &Snapshot) -> Result<FileRef, Fault> {
        let digest = snapshot.digest();
        self.root.ensure(&file_name(&digest), || {
            let bytes = snapshot.to_parquet().map_err(|error| fault(&error))?;
            if bytes.len() as u64 > FILE_BYTES_MAX {
                let message = format!("{} bytes in one commit, at most {FILE_BYTES_MAX}", bytes.len());
                return Err(Fault::invalid(message).hint("make it in several commits"));
            }
            Ok(bytes)
        })?;
        let columns = snapshot.columns().iter().map(|column| column.name().to_owned()).collect();
        Ok(FileRef { digest, rows: snapshot.len(), columns })
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// NotFound and Corrupt: it is gone, or is not what was stored. Else what the storage says.
    pub fn get(&self, file: &FileRef, root: Option<Arc<Root>>) -> Result<Snapshot, Fault> {
        let name = file_name(&file.digest);
        let shown = format!("{}/{name}", self.place());
        let bytes = self.root.read(&name, FILE_BYTES_MAX).map_err(RecordError::into_fault)?;
        let bytes = bytes.ok_or_else(|| self.gone(file))?;
        Snapshot::from_parquet(&shown, bytes.into(), Some(&file.digest), root, &self.limits)
            .map_err(|error| Fault::from_error(Kind::Corrupt, &error).maybe_hint(error.hint()))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// NotFound: it is gone. Else what the storage says.
    pub fn bytes_of(&self, file: &FileRef) -> Result<u64, Fault> {
        let size = self.root.size(&file_name(&file.digest)).map_err(RecordError::into_fault)?;
        size.ok_or_else(|| self.gone(file))
    }

    fn gone(&self, file: &FileRef) -> Fault {
        Fault::new(Kind::NotFound, "a file of the data set is gone")
            .object(self.path_of(file))
            .hint("it was removed by hand: put it back")
    }

    /// Where a file lies, for people and other programs.
    pub fn path_of(&self, file: &FileRef) -> String {
        format!("{}/{}", self.place(), file_name(&file.digest))
    }

    /// The same data set with other limits.
    #[must_use]
    pub fn with_limits(self, limits: CatalogLimits) -> Self {
        Self { limits, ..self }
    }
}

/// What becomes of an error of the catalogue.
pub fn fault(error: &CatalogError) -> Fault {
    use super::CatalogErrorKind as Kinds;
    let kind = match error.kind() {
        Kinds::Invalid => Kind::Invalid,
        Kinds::NotFound => Kind::NotFound,
        Kinds::Unavailable => Kind::Unavailable,
    };
    Fault::from_error(kind, error).maybe_hint(error.hint())
}

fn stamped(next: Manifest, number: u64) -> Manifest {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let by = format!("{} pid {}", host.trim(), std::process::id());
    Manifest { number, nonce: nonce(), written_unix_ms: since.as_millis() as u64, by, ..next }
}

fn read(root: &StateRoot, record: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Fault> {
    root.read(&name(record), bytes_max).map_err(RecordError::into_fault)
}

fn name(text: impl Into<String>) -> RecordName {
    RecordName::ours(text)
}

fn manifest_name(number: u64) -> RecordName {
    name(format!("manifests/{number:08}.json"))
}

fn file_name(digest: &Digest) -> RecordName {
    name(format!("files/{digest}.parquet"))
}
