//! Samples as members of a tar shard, or as lines of a list.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::fields::{Field, Made};
use super::files::Written;
use super::recipe::failed;
use crate::catalog::{Column, ColumnKind, Snapshot};
use crate::crash;
use crate::error::Fault;

/// The column of class indexes.
const LABEL: &str = "label";
/// What WebDataset calls it.
const CLASS: &str = "cls";
/// What a sample's columns are called: the second where the sample has the first of its own.
const COLUMNS: [&str; 2] = ["json", "columns.json"];
/// What shards end in, by which a sample's key begins.
const SHARDS: [&str; 4] = [".tar", ".tfrecord", ".tfrecords", ".parquet"];

/// What a sample's files are called, without what they end in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

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
    /// The columns that are told beside its files.
    pub beside: &'a [&'a Column],
}

/// A tar file that is being written.
pub struct Shard(tar::Builder<BufWriter<File>>);

impl Names {
    /// Names by the paths of the first field's files, or by the keys of clips and of samples that lie in shards.
    pub fn of(snapshot: &Snapshot, first: &Field<'_>) -> Self {
        let mut met: HashMap<String, u32> = HashMap::new();
        let names = (0..snapshot.len()).map(|row| {
            let key = || snapshot.key(row);
            let mut name = match first.own_path(row) {
                Some(path) => Name::of_path(&String::from_utf8_lossy(path)),
                None if first.is_of_clips() => Name::of_clip(&String::from_utf8_lossy(&key())),
                None => Name::of_key(&String::from_utf8_lossy(&key())),
            };
            let times = met.entry(name.0.clone()).or_default();
            *times += 1;
            if *times > 1 {
                name.0 = format!("{}~{times}", name.0);
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
    /// The path without its suffix and without other dots in its last part: WebDataset ends a key at the first of them.
    fn of_path(path: &str) -> Self {
        let (folder, last) = path.rsplit_once('/').map_or(("", path), |(folder, last)| (folder, last));
        let stem = last.rsplit_once('.').map_or(last, |(stem, _)| if stem.is_empty() { last } else { stem });
        let stem = stem.replace('.', "_");
        Self(if folder.is_empty() { stem } else { format!("{folder}/{stem}") })
    }

    /// `train-003.tar/n01440764/10026` lies in the folder `train-003`. A key may come from a list: it leads nowhere else.
    fn of_key(key: &str) -> Self {
        let parts: Vec<_> = key.split('/').filter(|part| !["", ".", ".."].contains(part)).collect();
        let Some((last, folders)) = parts.split_last() else { return Self("sample".to_owned()) };
        let folder = |part: &&str| {
            let shard = SHARDS.iter().find_map(|end| part.strip_suffix(end)).filter(|stem| !stem.is_empty());
            shard.unwrap_or(part).to_owned()
        };
        let parts = folders.iter().map(folder).chain([last.replace('.', "_")]);
        Self(parts.collect::<Vec<_>>().join("/"))
    }

    /// A clip's key is its folder, or what a list calls it, which leads nowhere else.
    fn of_clip(key: &str) -> Self {
        let parts: Vec<_> = key.split('/').filter(|part| !["", ".", ".."].contains(part)).collect();
        Self(if parts.is_empty() { "sample".to_owned() } else { parts.join("/") })
    }

    /// The file of a field that ends so.
    pub fn file(&self, suffix: &str) -> String {
        if suffix.is_empty() { self.0.clone() } else { format!("{}.{suffix}", self.0) }
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
        for column in self.beside {
            whole.insert(column.name().to_owned(), value(column, self.row));
        }
        Value::Object(whole)
    }
}

impl Shard {
    /// Adds a sample: its files, its class where it has one, its columns.
    pub fn add(&mut self, sample: &Sample<'_>, made: &[Made]) -> Result<(), Fault> {
        let has = |suffix: &str| made.iter().any(|made| made.suffix == suffix);
        for made in made {
            let suffix = if made.suffix.is_empty() { "bin" } else { &made.suffix };
            self.member(&sample.name.file(suffix), &made.bytes)?;
        }
        if let Some((label, _)) = sample.label().filter(|_| !has(CLASS)) {
            self.member(&sample.name.file(CLASS), label.to_string().as_bytes())?;
        }
        let columns = if has(COLUMNS[0]) { COLUMNS[1] } else { COLUMNS[0] };
        self.member(&sample.name.file(columns), sample.json().to_string().as_bytes())
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

/// What a list says of a sample in one column.
#[derive(Clone, Copy)]
pub enum Cell {
    /// What the data set says.
    Value,
    /// What the file or folder of that field is called here.
    File(usize),
    /// What the frames of that field's clip are called here.
    Frames(usize),
}

/// Writes a list of all samples: every column, those of files as these are called here.
///
/// * `samples`: each with its row, and what its fields are called.
pub fn list<'a>(
    file: &Path,
    columns: &[(&Column, Cell)],
    samples: impl Iterator<Item = (u64, &'a [Written])>,
) -> Result<(), Fault> {
    let broken = |error: csv::Error| failed(file, &std::io::Error::other(error));
    crash::place();
    let mut out = csv::Writer::from_path(file).map_err(broken)?;
    crash::place();
    out.write_record(columns.iter().map(|(column, _)| column.name())).map_err(broken)?;
    for (row, files) in samples {
        let cells = columns.iter().map(|&(column, cell)| match (cell, value(column, row)) {
            (Cell::File(field), _) => files[field].name.clone(),
            (Cell::Frames(field), _) => files[field].frames.clone().unwrap_or_default(),
            (Cell::Value, Value::String(text)) => text,
            (Cell::Value, other) => other.to_string(),
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
