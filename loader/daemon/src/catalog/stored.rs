//! A snapshot as one Parquet file, so that it can be had again after its source has grown.
//!
//! The columns are plain Parquet, which pandas and DuckDB read; what Parquet has no word for (the kinds, the class map,
//! the snapshot's name) stands in the key-value metadata under [`ABOUT`]. The name is checked when a file is read, so
//! a file that gives a snapshot gives the one that was stored.

mod write;

use std::fmt;
use std::sync::Arc;

use ::parquet::file::metadata::ParquetMetaData;
use bytes::Bytes;
use forebay_plan::Digest;
use serde::{Deserialize, Serialize};

use self::write::Nullable;
use super::class_map::ClassMap;
use super::column::{Column, ColumnKind, ColumnSpec};
use super::error::CatalogError;
use super::fault::Unit;
use super::limits::CatalogLimits;
use super::list::{Loading, Naming};
use super::parquet::{Tables, damaged, guarded, reader};
use super::paths::PathRule;
use super::range;
use super::relabel::LABEL;
use super::snapshot::Snapshot;
use super::table::Table;
use crate::storage::Root;

/// The key of what a stored snapshot says of itself.
const ABOUT: &str = "forebay.snapshot";

/// The layout of [`About`]; another one is refused.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    id: Digest,
    columns: Vec<Described>,
    classes: Option<Vec<String>>,
    /// Of a range, whose numbers are not stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    range: Option<StoredRange>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRange {
    rows: u64,
    identity: String,
}

/// One column's name and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    pub(super) name: String,
    kind: String,
    /// Numbers of a vector, or classes of a multi-hot column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    size: Option<u32>,
}

impl Snapshot {
    /// The snapshot as the bytes of a Parquet file. The root is not in it: it differs from machine to machine.
    ///
    /// # Errors
    /// [`CatalogError::Parquet`]: a column that Parquet cannot hold.
    pub fn to_parquet(&self) -> Result<Vec<u8>, CatalogError> {
        self.to_parquet_in_groups(write::GROUP_ROWS)
    }

    pub(super) fn to_parquet_in_groups(&self, group_rows: usize) -> Result<Vec<u8>, CatalogError> {
        let written = serde_json::to_string(&About::of(self)).map_err(|error| error.to_string());
        let about = written.expect("names and numbers are JSON");
        let columns: Vec<_> =
            self.columns().iter().map(|column| Nullable { column, present: None }).collect();
        let rows = if self.identity().is_some() { 0 } else { self.len() as usize };
        write::to_parquet(&columns, rows, group_rows, (ABOUT, about))
            .map_err(|source| CatalogError::Parquet { file: format!("snapshot {}", self.digest()), source })
    }

    /// Reads a snapshot from the bytes of the file that [`Snapshot::to_parquet`] made.
    ///
    /// * `file`: its name in errors.
    /// * `id`: which snapshot it must be; `None`: whichever it says that it is.
    ///
    /// # Errors
    /// [`CatalogError::Parquet`] and [`CatalogError::Damaged`]: no such file, or another snapshot's; a limit passed.
    pub fn from_parquet(
        file: &str,
        bytes: Bytes,
        id: Option<&Digest>,
        root: Option<Arc<Root>>,
        limits: &CatalogLimits,
    ) -> Result<Self, CatalogError> {
        let naming = Naming { source: file.to_owned(), unit: Unit::Row };
        let (read, said) = guarded(&naming, || read(bytes, &naming, root, limits))?;
        let (holds, wanted) = (read.digest(), id.unwrap_or(&said));
        if holds == *wanted {
            return Ok(read);
        }
        Err(damaged(&naming, &format!("it holds the snapshot {}, not {}", holds.short(), wanted.short())))
    }

    /// [`Snapshot::id`], as a digest.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.id())
    }
}

impl Table {
    /// The samples as the bytes of a Parquet file for other programs, null where there is no value.
    ///
    /// * `about`: what it is, in a few words.
    ///
    /// # Errors
    /// [`CatalogError::Parquet`]: a column that Parquet cannot hold.
    pub fn to_parquet(&self, about: &str) -> Result<Vec<u8>, CatalogError> {
        let columns = self.columns().iter();
        let columns: Vec<_> =
            columns.map(|cells| Nullable { column: cells.column(), present: cells.present() }).collect();
        write::to_parquet(&columns, self.len(), write::GROUP_ROWS, ("forebay.table", about.to_owned()))
            .map_err(|source| CatalogError::Parquet { file: about.to_owned(), source })
    }
}

fn read(
    bytes: Bytes,
    naming: &Naming,
    root: Option<Arc<Root>>,
    limits: &CatalogLimits,
) -> Result<(Snapshot, Digest), CatalogError> {
    let reader = reader(bytes, naming)?;
    let about = About::read(reader.metadata(), naming)?;
    if let Some(StoredRange { rows, identity }) = &about.range {
        return Ok((range::open(*rows, identity)?, about.id));
    }
    let columns = about.specs().map_err(|detail| damaged(naming, &detail))?;
    // Paths were made relative when the snapshot was made, so no root is needed to check them.
    let paths = PathRule::without_root();
    let loading = Loading { columns: &columns, limits, paths: Some(&paths) };
    let table = Tables { reader, naming, loading: &loading }.load()?;
    let snapshot = table.snapshot(naming.clone(), about.classes.map(ClassMap::new), root)?;
    check_labels(&snapshot, naming)?;
    Ok((snapshot, about.id))
}

/// A client may have made the file, and labels are looked up in the class map without a second look.
fn check_labels(snapshot: &Snapshot, naming: &Naming) -> Result<(), CatalogError> {
    let (Some(classes), Some(column)) = (snapshot.class_map(), snapshot.column(LABEL)) else { return Ok(()) };
    if column.kind() != ColumnKind::Int {
        return Err(damaged(naming, "it has class names and labels that are no whole numbers"));
    }
    let labels = 0..classes.len() as i64;
    match (0..snapshot.len()).map(|row| column.int(row)).find(|label| !labels.contains(label)) {
        None => Ok(()),
        Some(label) => Err(damaged(naming, &format!("it has the label {label} and {} classes", labels.end))),
    }
}

impl About {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            version: VERSION,
            id: snapshot.digest(),
            columns: snapshot.columns().iter().map(Described::of).collect(),
            classes: snapshot.class_map().map(|map| map.names().to_vec()),
            range: snapshot
                .identity()
                .map(|identity| StoredRange { rows: snapshot.len(), identity: identity.to_owned() }),
        }
    }

    fn read(metadata: &ParquetMetaData, naming: &Naming) -> Result<Self, CatalogError> {
        let pairs = metadata.file_metadata().key_value_metadata();
        let text =
            pairs.into_iter().flatten().find(|pair| pair.key == ABOUT).and_then(|pair| pair.value.as_deref());
        let text = text.ok_or_else(|| damaged(naming, "it is no stored snapshot"))?;
        let about: Self = serde_json::from_str(text)
            .map_err(|error| damaged(naming, &format!("its description is not ours: {error}")))?;
        if about.version != VERSION {
            return Err(damaged(
                naming,
                &format!("it is of version {}, this build reads {VERSION}", about.version),
            ));
        }
        Ok(about)
    }

    fn specs(&self) -> Result<Vec<ColumnSpec>, String> {
        self.columns.iter().map(Described::spec).collect()
    }
}

impl Described {
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn of(column: &Column) -> Self {
        let size = match column.kind() {
            ColumnKind::FloatVector { len } => len,
            ColumnKind::MultiHot { classes } => Some(classes),
            _ => None,
        };
        Self { name: column.name().to_owned(), kind: column.kind().name().to_owned(), size }
    }

    pub(super) fn spec(&self) -> Result<ColumnSpec, String> {
        let plain = [
            ColumnKind::Path,
            ColumnKind::Int,
            ColumnKind::Float,
            ColumnKind::Weight,
            ColumnKind::Text,
            ColumnKind::Tokens,
        ];
        let kind = match (self.size, plain.into_iter().find(|kind| kind.name() == self.kind)) {
            (None, Some(kind)) => kind,
            (Some(len), None) if self.kind == (ColumnKind::FloatVector { len: None }).name() => {
                ColumnKind::FloatVector { len: Some(len) }
            }
            (Some(classes), None) if self.kind == (ColumnKind::MultiHot { classes }).name() => {
                ColumnKind::MultiHot { classes }
            }
            _ => return Err(format!("column {:?} has the kind {:?}", self.name, self.kind)),
        };
        Ok(ColumnSpec { name: self.name.clone(), kind })
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Some(size) => write!(f, "{} of {size}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}
