//! Which samples have which files or parts of shards, and what these promise to be.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::pages::DamagedPages;
use crate::catalog::{Cells, Column, ColumnKind, FRAMES, FrameNames, Location, Places, Table, Values};
use crate::storage::Root;

/// The column of the images of tar archives: what has one of their endings.
const IMAGE: &str = "image";

/// So many samples of a column in shards are looked at to tell what it holds.
const LOOKED_AT: usize = 32;

/// First bytes that tell an image or a sound.
const START_BYTES: u64 = 64;

/// What something is to be, for what can be told by its first bytes: anything else there is damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// Its name has this ending.
    Name(&'static str),
    /// It is a frame, or its name in an archive has the ending of an image: nothing else will do.
    Image,
    /// It stands in this column of shards, where nearly all others are images or sounds.
    Others(String),
}

/// A file of a sample, or its part of a shard.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    /// The column that it stands in.
    pub(super) column: &'a str,
    pub(super) place: Location<'a>,
    pub(super) promise: Option<Promise>,
    /// What is wrong with the page around it, though its own bytes can be had.
    pub(super) damage: Option<&'static str>,
    /// Of a clip, whose place is its folder: the names of its frames.
    pub(super) frames: Option<&'a str>,
    /// Whether the sample is called by its place, as all of it: other rows of a list may have parts of one folder.
    pub(super) is_key: bool,
}

/// Which rows of a table have which files.
pub(super) struct Files<'a> {
    table: &'a Table,
    columns: Vec<Field<'a>>,
    /// Where many samples lie in one file: the first row of each file, and of each other row, that one.
    first: Option<Vec<usize>>,
    damaged: DamagedPages,
}

struct Field<'a> {
    name: &'a str,
    places: Places<'a>,
    /// The names of each clip's frames, where samples are clips.
    names: Option<&'a Cells>,
    /// What all of its parts of shards promise.
    promise: Option<Promise>,
}

impl<'a> Files<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        let paths = table.columns().iter().map(Cells::column);
        let names = paths.filter(|column| column.kind() == ColumnKind::Path).map(Column::name);
        let names_of = |name| {
            let names = table.column(&format!("{name}{FRAMES}"));
            names.filter(|names| names.column().kind() == ColumnKind::Text)
        };
        let field = |name| {
            let places = Places::of_table(table, name)?;
            Some(Field { name, places, names: names_of(name), promise: None })
        };
        let mut files = Self {
            table,
            columns: names.filter_map(field).collect(),
            first: None,
            damaged: DamagedPages::default(),
        };
        if table.column("offset").is_some_and(|cells| cells.column().kind() == ColumnKind::Int) {
            let mut seen = HashMap::new();
            let first = (0..table.len()).map(|row| *seen.entry(files.paths(row)).or_insert(row)).collect();
            files.first = Some(first);
        }
        files
    }

    pub(super) fn table(&self) -> &'a Table {
        self.table
    }

    /// Whether the table has a column of files at all.
    pub(super) fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether several samples lie in one file and no column says where, so that its hash says nothing of each.
    pub(super) fn are_shared(&self) -> bool {
        self.first.is_some()
    }

    /// Looks at shards before their samples are: what columns hold, and which pages of Parquet files are damaged.
    ///
    /// * `rows`: of samples that are going to be looked at.
    pub(super) fn look_ahead(&mut self, root: &Root, rows: &[usize], threads: usize) {
        let mut values = Values::new(root);
        for field in self.columns.iter_mut().filter(|field| field.places.are_in_shards()) {
            let dotted = format!(".{}", field.name);
            let promised = Promise::of_name(dotted.as_bytes());
            field.promise = promised.or_else(|| field.told_by_others(&mut values, self.table.len()));
        }
        let in_shards = |row: usize| {
            let places = self.columns.iter().filter_map(move |field| field.places.of(row));
            places.filter(|place| place.read_extent().is_some())
        };
        let shards: BTreeSet<_> =
            rows.iter().flat_map(|&row| in_shards(row)).map(|place| place.path).collect();
        let shards: Vec<_> = shards.into_iter().map(<[u8]>::to_vec).collect();
        self.damaged = DamagedPages::find(root, &shards, threads);
    }

    /// The files of a sample, and its parts of shards.
    pub(super) fn parts(&self, row: usize) -> Vec<Part<'a>> {
        let part = |field: &Field<'a>| {
            let place = field.places.of(row)?;
            let damage = place.read_extent().and_then(|extent| self.damaged.at(place.path, extent));
            let promise = match place.read_extent() {
                Some(_) if field.name == IMAGE && is_tar(place.path) => Some(Promise::Image),
                Some(_) => field.promise.clone(),
                None => Promise::of_name(place.path),
            };
            let (frames, is_key) = (field.frames(row), self.table.key(row) == place.path);
            Some(Part { column: field.name, place, promise, damage, frames, is_key })
        };
        self.columns.iter().filter_map(part).collect()
    }

    /// How many files these samples have, each frame of a clip for itself; `None`: none of them is a clip.
    pub(super) fn count(&self, rows: &[usize]) -> Option<u64> {
        self.columns.iter().find(|field| field.names.is_some())?;
        let of_field = |field: &Field<'_>, row| match field.frames(row) {
            Some(names) => FrameNames::parse(names).map_or(0, FrameNames::len),
            None => u64::from(field.places.of(row).is_some()),
        };
        Some(rows.iter().flat_map(|&row| self.columns.iter().map(move |field| of_field(field, row))).sum())
    }

    fn paths(&self, row: usize) -> Vec<&'a [u8]> {
        self.columns.iter().filter_map(|field| Some(field.places.of(row)?.path)).collect()
    }

    /// The row that is looked at for this one; `None`: it has no file.
    pub(super) fn stands_for(&self, row: usize) -> Option<usize> {
        let first = self.first.as_ref().map_or(row, |first| first[row]);
        self.columns.iter().any(|field| field.places.of(first).is_some()).then_some(first)
    }
}

impl<'a> Field<'a> {
    /// The names of a clip's frames.
    fn frames(&self, row: usize) -> Option<&'a str> {
        self.names.filter(|names| names.has(row)).map(|names| names.column().text(row as u64))
    }

    /// What some samples of the column are. They are the same ones in every run over the same samples.
    fn told_by_others(&self, values: &mut Values<'_>, rows: usize) -> Option<Promise> {
        let (mut read, mut kept) = (0, 0);
        for row in (0..rows).step_by(rows.div_ceil(LOOKED_AT).max(1)) {
            let Some(start) = self.places.of(row).and_then(|place| values.start(&place, START_BYTES).ok())
            else {
                continue;
            };
            read += 1;
            kept += usize::from(Promise::is_kept_by(&start.bytes));
        }
        (read > 0 && kept * 4 >= read * 3).then(|| Promise::Others(self.name.to_owned()))
    }
}

fn is_tar(path: &[u8]) -> bool {
    path.to_ascii_lowercase().ends_with(b".tar")
}

impl Part<'_> {
    pub(super) fn is_in_shard(&self) -> bool {
        self.place.read_extent().is_some()
    }
}

#[cfg(test)]
impl<'a> Part<'a> {
    pub(super) fn own_file(path: &'a [u8]) -> Self {
        let promise = Promise::of_name(path);
        Self {
            column: "path",
            place: Location::own_file(path),
            promise,
            damage: None,
            frames: None,
            is_key: true,
        }
    }

    pub(super) fn clip(folder: &'a [u8], frames: &'a str) -> Self {
        Self { promise: None, frames: Some(frames), ..Self::own_file(folder) }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(format) => {
                write!(f, "named .{format}, but neither that nor another image, sound or array")
            }
            Self::Image => f.write_str("named as an image, and none"),
            Self::Others(column) => {
                write!(f, "neither image nor sound, as others in the column {column} are")
            }
        }
    }
}
