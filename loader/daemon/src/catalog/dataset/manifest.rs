//! One commit of a data set: which files hold its samples, and what was decided about them.

use std::collections::BTreeMap;

use forebay_plan::Digest;
use serde::{Deserialize, Serialize};

use super::splits::{Grouping, Split};
use crate::catalog::column::ColumnKind;
use crate::catalog::stored::Described;
use crate::catalog::table::Table;
use crate::error::Fault;

/// The layout of [`Manifest`]; another one is refused.
pub(super) const VERSION: u32 = 1;

/// A file of the data set, named by its content: `files/<digest>.parquet`, a stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// [`Snapshot::digest`](crate::catalog::Snapshot::digest) of what it holds.
    pub digest: Digest,
    /// Its rows.
    pub rows: u64,
    /// Its columns, by name.
    pub columns: Vec<String>,
}

/// What was done, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The verb: `index`, `add`, `join`, `remove`, `verify`, `split`, `freeze`, ...
    pub verb: String,
    /// What it was done with.
    pub message: String,
    /// Its figures, such as `added`.
    pub counts: BTreeMap<String, u64>,
}

/// A named set of samples that stays what it is, and that no split has on a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// The samples by `key`, and the `group` of each where samples go together.
    pub file: FileRef,
    /// Which samples go together: none of a group that is in here may be trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Grouping>,
}

/// The whole state of a data set after one commit: every file that counts, so that the newest one is all that a reader
/// needs. `docs/dataset.md` has the layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub(super) version: u32,
    /// Counted from 1; 0 is the empty data set before its first commit, which is not stored.
    pub number: u64,
    pub(super) nonce: String,
    /// When, in milliseconds since 1970; decides nothing.
    pub written_unix_ms: u64,
    /// Host and process; decides nothing.
    pub by: String,
    /// What this commit changed.
    pub change: Change,
    /// The directory that path columns resolve beneath, where no job names another.
    pub root: String,
    /// Class names by label. It only grows at its end.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Files of samples, in the order in which they came.
    #[serde(default)]
    pub samples: Vec<FileRef>,
    /// Files of a column `key` and others, laid over the samples one after the other.
    #[serde(default)]
    pub joined: Vec<FileRef>,
    /// Files of `key` and `reason`: samples that are no longer in the data set and come back by no later `index`.
    #[serde(default)]
    pub removed: Vec<FileRef>,
    /// Files of `key` and `reason`: samples that were found corrupt or doubled, until they are released.
    #[serde(default)]
    pub quarantined: Vec<FileRef>,
    /// The kinds of all columns, of samples and joined.
    #[serde(default)]
    pub(in crate::catalog) columns: Vec<Described>,
    /// How samples are held apart, by name.
    #[serde(default)]
    pub splits: BTreeMap<String, Split>,
    /// Frozen evaluation sets, by name: no split of them takes part in training.
    #[serde(default)]
    pub frozen: BTreeMap<String, Frozen>,
    /// Recorded selections, by name.
    #[serde(default)]
    pub selections: BTreeMap<String, String>,
}

impl Manifest {
    /// The state before the first commit.
    pub(super) fn empty() -> Self {
        Self {
            version: VERSION,
            number: 0,
            nonce: String::new(),
            written_unix_ms: 0,
            by: String::new(),
            change: Change::default(),
            root: String::new(),
            classes: Vec::new(),
            samples: Vec::new(),
            joined: Vec::new(),
            removed: Vec::new(),
            quarantined: Vec::new(),
            columns: Vec::new(),
            splits: BTreeMap::new(),
            frozen: BTreeMap::new(),
            selections: BTreeMap::new(),
        }
    }

    /// The names of the columns that the samples of a file are called by, as [`Snapshot::key`] has it.
    ///
    /// [`Snapshot::key`]: crate::catalog::Snapshot::key
    pub(super) fn called_by(&self, file: &FileRef) -> Vec<String> {
        let kind = |name: &str, kinds: &[&str]| {
            let known = self.columns.iter().find(|known| known.name == name);
            known.is_some_and(|known| kinds.contains(&known.kind()))
        };
        let find = |wanted: &dyn Fn(&str) -> bool| file.columns.iter().find(|name| wanted(name)).cloned();
        let key = find(&|name| name == "key" && kind(name, &["text", "path", "int"]));
        if key.is_some() {
            return key.into_iter().collect();
        }
        let path = find(&|name| kind(name, &["path"]));
        let offset = path.as_ref().and_then(|_| find(&|name| name == "offset" && kind(name, &["int"])));
        path.into_iter().chain(offset).collect()
    }

    /// The column of paths that the samples are called by, where there are some and they are.
    pub fn path_column(&self) -> Option<String> {
        let name = self.called_by(self.samples.first()?).into_iter().next()?;
        let is_path = |known: &&Described| known.name == name && known.kind() == "path";
        self.columns.iter().find(is_path).map(|known| known.name.clone())
    }

    /// Takes the kinds of a table's columns in.
    ///
    /// # Errors
    /// Invalid: a column of that name has another kind.
    pub fn admit_columns(&mut self, table: &Table) -> Result<(), Fault> {
        for cells in table.columns() {
            let described = Described::of(cells.column());
            match self.columns.iter().find(|known| known.name == described.name) {
                None => self.columns.push(described),
                Some(known) if *known == described => {}
                Some(known) => {
                    let message =
                        format!("column {} holds {known} there and {described} here", described.name);
                    return Err(Fault::invalid(message).hint("give the column another name"));
                }
            }
        }
        Ok(())
    }
}

impl Manifest {
    /// The kind of a column, of samples or joined.
    pub fn kind_of(&self, column: &str) -> Option<ColumnKind> {
        let known = self.columns.iter().find(|known| known.name == column)?;
        known.spec().ok().map(|spec| spec.kind)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// What about it makes no sense.
    pub fn parse(number: u64, bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.version != VERSION {
            return Err(format!("it is of version {}, this build reads {VERSION}", manifest.version));
        }
        if manifest.number != number {
            return Err(format!("it is commit {}", manifest.number));
        }
        Ok(manifest)
    }
}
