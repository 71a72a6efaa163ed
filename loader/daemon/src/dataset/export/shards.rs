//! Samples as members of a tar shard, or as lines of a list.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::recipe::failed;
use crate::catalog::{Column, ColumnKind, Snapshot};
use crate::crash;
use crate::error::Fault;

/// The column of class indexes.
const LABEL: &str = "label";

/// What a sample's files are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The path without its suffix and without other dots in its last part: WebDataset's key.
    stem: String,
    /// Without the dot; may be empty.
    suffix: String,
}

/// The names of all samples, none twice.
pub struct Names(Vec<Name>);

/// One sample, to be written.
pub struct Sample<'a> {
    /// What its files are called.
    pub name: &'a Name,
    /// Where its columns are.
    pub snapshot: &'a Snapshot,
    /// Its row there.
    pub row: u64,
    /// The column of its file.
    pub column: &'a str,
}

/// A tar file that is being written.
pub struct Shard(tar::Builder<BufWriter<File>>);

impl Names {
    /// Names by path; `suffix`: of files that are stored anew.
    pub fn of(snapshot: &Snapshot, paths: &Column, suffix: Option<&str>) -> Self {
        let mut met: HashMap<String, u32> = HashMap::new();
        let names = (0..snapshot.len()).map(|row| {
            let mut name = Name::of(&String::from_utf8_lossy(paths.path(row)), suffix);
            let times = met.entry(name.stem.clone()).or_default();
            *times += 1;
            if *times > 1 {
                name.stem = format!("{}~{times}", name.stem);
            }
            name
        });
        Self(names.collect())
    }

    /// That of a row.
    pub fn of_row(&self, row: u64) -> &Name {
        &self.0[row as usize]
    }
}

impl Name {
    fn of(path: &str, suffix: Option<&str>) -> Self {
        let (folder, last) = path.rsplit_once('/').map_or(("", path), |(folder, last)| (folder, last));
        let (stem, own) = last.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).unwrap_or((last, ""));
        // WebDataset ends a key at the first dot of the last part.
        let stem = stem.replace('.', "_");
        let stem = if folder.is_empty() { stem } else { format!("{folder}/{stem}") };
        Self { stem, suffix: suffix.unwrap_or(own).to_owned() }
    }

    /// The path of its file.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(self.with(&self.suffix))
    }

    fn with(&self, suffix: &str) -> String {
        if suffix.is_empty() { self.stem.clone() } else { format!("{}.{suffix}", self.stem) }
    }
}

impl Sample<'_> {
    fn label(&self) -> Option<(i64, Option<&str>)> {
        let column = self.snapshot.column(LABEL).filter(|column| column.kind() == ColumnKind::Int)?;
        let label = column.int(self.row);
        Some((
            label,
            self.snapshot.class_map().and_then(|classes| classes.name(usize::try_from(label).ok()?)),
        ))
    }

    /// Everything that is known of it.
    fn json(&self) -> Value {
        let mut whole = Map::new();
        whole.insert("key".to_owned(), json!(String::from_utf8_lossy(&self.snapshot.key(self.row))));
        if let Some((_, Some(class))) = self.label() {
            whole.insert("class".to_owned(), json!(class));
        }
        for column in self.snapshot.columns().iter().filter(|column| column.name() != self.column) {
            whole.insert(column.name().to_owned(), value(column, self.row));
        }
        Value::Object(whole)
    }
}

impl Shard {
    /// Adds a sample: its file, its class where it has one, its columns.
    pub fn add(&mut self, sample: &Sample<'_>, bytes: &[u8]) -> Result<(), Fault> {
        let name = sample.name;
        let suffix = if name.suffix.is_empty() { "bin" } else { &name.suffix };
        self.member(&name.with(suffix), bytes)?;
        if let Some((label, _)) = sample.label() {
            self.member(&name.with("cls"), label.to_string().as_bytes())?;
        }
        self.member(&name.with("json"), sample.json().to_string().as_bytes())
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.0.append_data(&mut header, name, bytes).map_err(|error| failed(Path::new(name), &error))
    }
}

/// Makes a tar file whole, or not at all.
pub fn tar(file: &Path, fill: impl FnOnce(&mut Shard) -> Result<(), Fault>) -> Result<(), Fault> {
    let part = PathBuf::from(format!("{}.part", file.display()));
    let failed = |error: std::io::Error| failed(file, &error);
    crash::place();
    let mut shard =
        Shard(tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(&part).map_err(failed)?)));
    fill(&mut shard)?;
    let written =
        shard.0.into_inner().map_err(failed)?.into_inner().map_err(|error| failed(error.into_error()))?;
    written.sync_all().map_err(failed)?;
    crash::place();
    fs::rename(&part, file).map_err(failed)
}

/// Writes a list of all samples: their file, and every column.
pub fn list<'a>(
    file: &Path,
    snapshot: &Snapshot,
    samples: impl Iterator<Item = Sample<'a>>,
) -> Result<(), Fault> {
    let broken = |error: csv::Error| failed(file, &std::io::Error::other(error));
    crash::place();
    let mut out = csv::Writer::from_path(file).map_err(broken)?;
    crash::place();
    out.write_record(snapshot.columns().iter().map(Column::name)).map_err(broken)?;
    for sample in samples {
        let cells = snapshot.columns().iter().map(|column| match value(column, sample.row) {
            _ if column.name() == sample.column => sample.name.file().display().to_string(),
            Value::String(text) => text,
            other => other.to_string(),
        });
        out.write_record(cells).map_err(broken)?;
    }
    out.flush().map_err(|error| failed(file, &error))
}

/// A cell for programs.
fn value(column: &Column, row: u64) -> Value {
    match column.kind() {
        ColumnKind::Path => json!(String::from_utf8_lossy(column.path(row))),
        ColumnKind::Text => json!(column.text(row)),
        ColumnKind::Int => json!(column.int(row)),
        ColumnKind::Float | ColumnKind::Weight => json!(column.float(row)),
        ColumnKind::FloatVector { .. } => json!(column.vector(row)),
        ColumnKind::MultiHot { .. } => json!(column.classes(row)),
        ColumnKind::Tokens => json!(column.tokens(row)),
    }
}
