//! One immutable state of a set of samples, named by its content.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::SampleIndex;
use super::class_map::ClassMap;
use super::column::{Column, ColumnKind, Values};
use super::error::CatalogError;
use crate::storage::Root;

/// A column of this name holds the keys, whatever else there is.
pub(super) const KEY_COLUMN: &str = "key";
/// A whole number of this name says where in its file a sample begins, and is part of its key.
pub(super) const OFFSET_COLUMN: &str = "offset";

/// Samples and their columns.
#[derive(Debug)]
pub struct Snapshot {
    columns: Vec<Column>,
    rows: usize,
    key: Option<Key>,
    class_map: Option<ClassMap>,
    root: Option<Arc<Root>>,
    /// What a client calls samples of which only their number is known here.
    identity: Option<Arc<str>>,
    id: [u8; 32],
    commit: Option<u64>,
}

impl Snapshot {
    /// Puts columns of equal length together; `duplicate` words the error for two rows of one key.
    pub(super) fn assemble(
        columns: Vec<Column>,
        class_map: Option<ClassMap>,
        root: Option<Arc<Root>>,
        duplicate: impl Fn(usize, usize, &[u8]) -> CatalogError,
    ) -> Result<Self, CatalogError> {
        let rows = columns.first().map_or(0, Column::len);
        let key = key_column(&columns.iter());
        if let Some(key) = key
            && let Some((first, second)) = first_duplicate(&columns, key, rows)
        {
            return Err(duplicate(first, second, &key.of(&columns, second)));
        }
        let id = content_id(&columns, key.map(|key| key.column), class_map.as_ref());
        Ok(Self { columns, rows, key, class_map, root, identity: None, id, commit: None })
    }

    /// The same, known to be what a data set has at its commit of this number.
    #[must_use]
    pub(super) fn of_commit(self, number: u64) -> Self {
        Self { commit: Some(number), ..self }
    }

    /// The number of the commit that it was made of, where it was just made of one. It names nothing: two commits may
    /// give the same samples.
    pub fn commit(&self) -> Option<u64> {
        self.commit
    }

    /// So many samples of which nothing is known here but what a client calls them all; takes no memory a sample.
    pub(super) fn of_range(index: Column, identity: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("forebay catalog range 1");
        words(&mut hasher, [index.len() as u64]);
        field(&mut hasher, identity.as_bytes());
        let (rows, identity) = (index.len(), Some(identity.into()));
        let id = hasher.finalize().into();
        Self {
            columns: vec![index],
            rows,
            key: None,
            class_map: None,
            root: None,
            identity,
            id,
            commit: None,
        }
    }

    /// What a client calls samples that only it can read; of all others nothing.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// How many samples there are; never 0.
    pub fn len(&self) -> u64 {
        self.rows as u64
    }

    /// Whether there are none, which no source yields.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The content's name: a hash over keys, columns, kinds, values and class names. Equal for equal content wherever
    /// the root is mounted and however the list was written. What the files hold is not in it: none is opened.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// What a sample is called as the set grows: the column `key`, else the first path, with `@` and the column `offset`
    /// where there is such a column of whole numbers, else its number.
    pub fn key(&self, index: SampleIndex) -> Cow<'_, [u8]> {
        match self.key {
            Some(key) => key.of(&self.columns, index as usize),
            None => Cow::Owned(index.to_string().into_bytes()),
        }
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// All columns, in the order of the source or of the job.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The names of the classes; only a folder has them so far.
    pub fn class_map(&self) -> Option<&ClassMap> {
        self.class_map.as_ref()
    }

    /// The directory that path columns resolve beneath.
    pub fn root(&self) -> Option<&Arc<Root>> {
        self.root.as_ref()
    }

    /// Memory of all columns.
    pub fn heap_bytes(&self) -> usize {
        self.columns.iter().map(Column::heap_bytes).sum()
    }
}

/// What samples are called by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    column: usize,
    /// Of where many samples lie in one file.
    offset: Option<usize>,
}

impl Key {
    fn of(self, columns: &[Column], row: usize) -> Cow<'_, [u8]> {
        self.of_by(|index| &columns[index], row)
    }

    /// The columns that it is made of.
    pub(super) fn columns(self) -> Vec<usize> {
        [Some(self.column), self.offset].into_iter().flatten().collect()
    }

    pub(super) fn of_by<'a>(self, column: impl Fn(usize) -> &'a Column, row: usize) -> Cow<'a, [u8]> {
        let int = |index: usize| column(index).int(row as u64).to_string().into_bytes();
        match (column(self.column).bytes(row), self.offset) {
            (Some(bytes), None) => Cow::Borrowed(bytes),
            (Some(bytes), Some(offset)) => Cow::Owned([bytes, b"@", &int(offset)].concat()),
            (None, _) => Cow::Owned(int(self.column)),
        }
    }
}

pub(super) fn key_column<'a>(columns: &(impl Iterator<Item = &'a Column> + Clone)) -> Option<Key> {
    let can_be_key =
        |column: &Column| matches!(column.kind, ColumnKind::Text | ColumnKind::Path | ColumnKind::Int);
    let named = columns.clone().position(|column| column.name == KEY_COLUMN && can_be_key(column));
    let path = || columns.clone().position(|column| column.kind == ColumnKind::Path);
    let offset =
        || columns.clone().position(|column| column.name == OFFSET_COLUMN && column.kind == ColumnKind::Int);
    let named = named.map(|column| Key { column, offset: None });
    named.or_else(|| path().map(|column| Key { column, offset: offset() }))
}

/// The first row, in order, whose key has come before, and where it came.
///
/// Sorts hashes: 16 bytes a row for a moment, where a map of keys would take five times as much.
fn first_duplicate(columns: &[Column], key: Key, rows: usize) -> Option<(usize, usize)> {
    let key_of = |row| key.of(columns, row);
    let mut hashes: Vec<(u64, usize)> = (0..rows).map(|row| (hash(&key_of(row)), row)).collect();
    hashes.sort_unstable();
    let mut found: Option<(usize, usize)> = None;
    for group in hashes.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        let mut keys: Vec<_> = group.iter().map(|&(_, row)| (key_of(row), row)).collect();
        keys.sort();
        for pair in keys.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (first, second) = (pair[0].1, pair[1].1);
            if found.is_none_or(|(_, earlier)| second < earlier) {
                found = Some((first, second));
            }
        }
    }
    found
}

/// A key's hash, the same in each run of one build.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// Hashes lengths before contents, so that no two snapshots share the bytes that are hashed.
fn content_id(columns: &[Column], key: Option<usize>, class_map: Option<&ClassMap>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("forebay catalog snapshot 1");
    let names = class_map.map_or(&[][..], ClassMap::names);
    words(&mut hasher, [columns.len() as u64, key.map_or(u64::MAX, |key| key as u64), names.len() as u64]);
    for name in names {
        field(&mut hasher, name.as_bytes());
    }
    for column in columns {
        field(&mut hasher, column.name.as_bytes());
        field(&mut hasher, column.kind.name().as_bytes());
        words(&mut hasher, [column.len() as u64]);
        hash_values(&mut hasher, column);
    }
    hasher.finalize().into()
}

fn hash_values(hasher: &mut blake3::Hasher, column: &Column) {
    match (&column.values, column.kind) {
        (Values::Bytes(strings), _) => {
            let (bytes, ends) = strings.parts();
            words(hasher, ends.iter().copied());
            hasher.update(bytes);
        }
        (Values::Ints(ints), _) => words(hasher, ints.iter().map(|&int| int as u64)),
        (Values::Count(rows), _) => words(hasher, 0..*rows as u64),
        (Values::Floats(floats), _) => floats32(hasher, floats),
        (Values::Vectors { len, numbers }, _) => {
            words(hasher, [*len as u64]);
            floats32(hasher, numbers);
        }
        (Values::MultiHot { ends, indexes }, ColumnKind::MultiHot { classes }) => {
            words(hasher, [u64::from(classes)]);
            words(hasher, ends.iter().copied());
            words(hasher, indexes.iter().map(|&index| u64::from(index)));
        }
        (Values::MultiHot { .. }, _) => unreachable!("kind and values agree"),
        (Values::Tokens { ends, tokens }, _) => {
            words(hasher, ends.iter().copied());
            words(hasher, tokens.iter().map(|&token| token as u64));
        }
    }
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    words(hasher, [bytes.len() as u64]);
    hasher.update(bytes);
}

fn floats32(hasher: &mut blake3::Hasher, floats: &[f32]) {
    words(hasher, floats.iter().map(|float| u64::from(float.to_bits())));
}

/// Feeds numbers in blocks: blake3 is ten times faster on a kilobyte than on a word.
fn words(hasher: &mut blake3::Hasher, words: impl IntoIterator<Item = u64>) {
    let mut block = [0; 4096];
    let mut filled = 0;
    for word in words {
        block[filled..filled + 8].copy_from_slice(&word.to_le_bytes());
        filled += 8;
        if filled == block.len() {
            hasher.update(&block);
            filled = 0;
        }
    }
    hasher.update(&block[..filled]);
}
