//! One value a sample, all of one kind, stored compactly.

use super::SampleIndex;
use super::bytes::ByteStrings;

/// What a column's values are.
///
/// Where a source names no kinds they are inferred from all its rows:
///
/// * whole numbers and booleans are [`Int`](Self::Int), other numbers [`Float`](Self::Float), lists of numbers
///   [`FloatVector`](Self::FloatVector), strings [`Text`](Self::Text);
/// * a column of strings is a [`Path`](Self::Path) where its name, in any case, is `image`, `img`, `audio`, `video`,
///   `mask`, `path`, `file`, `filename`, `file_name`, `filepath` or `file_path`, or ends in `_path`, `_file`,
///   `_filename` or `_file_name`; and where texts named `NAME.frames` stand beside the column `NAME`;
/// * in CSV a column is numbers only where every filled cell is one, and a list of numbers stays text until it is
///   named a vector;
/// * `MultiHot`, `Tokens` and `Weight` are never inferred: nothing tells them from a vector or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A file beneath the root. The first path column is the samples' key, unless a column is named `key`.
    Path,
    /// A 64-bit integer.
    Int,
    /// A 32-bit float. NaN counts as missing.
    Float,
    /// So many 32-bit floats, the same in every row; read off the first row where `len` is absent.
    FloatVector {
        /// How many.
        len: Option<u32>,
    },
    /// A set of class indexes below `classes`, shown as a 0/1 byte a class; given as a list of indexes.
    MultiHot {
        /// How many classes.
        classes: u32,
    },
    /// A list of 32-bit integers, of any length in each row, and maybe of none.
    Tokens,
    /// A finite number, zero or greater, that a sampler weighs the sample by.
    Weight,
    /// UTF-8 text; may be empty.
    Text,
}

impl ColumnKind {
    /// The kind as settings and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Int => "int",
            Self::Float => "float",
            Self::FloatVector { .. } => "float vector",
            Self::MultiHot { .. } => "multi-hot",
            Self::Tokens => "tokens",
            Self::Weight => "weight",
            Self::Text => "text",
        }
    }
}

/// A column that a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The name in the source.
    pub name: String,
    /// What its values must be.
    pub kind: ColumnKind,
}

/// One loaded column.
///
/// The accessors panic where the column is of another kind or the index is past the end: both were settled when the
/// job was resolved.
#[derive(Debug, Clone)]
pub struct Column {
    pub(super) name: String,
    pub(super) kind: ColumnKind,
    pub(super) values: Values,
}

#[derive(Debug, Clone)]
pub(super) enum Values {
    Bytes(ByteStrings),
    Ints(Vec<i64>),
    /// So many whole numbers from 0, of which none is kept.
    Count(usize),
    Floats(Vec<f32>),
    Vectors {
        len: usize,
        numbers: Vec<f32>,
    },
    MultiHot {
        ends: Vec<u64>,
        indexes: Vec<u32>,
    },
    Tokens {
        ends: Vec<u64>,
        tokens: Vec<i32>,
    },
}

impl Column {
    /// The name in the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind; a vector's length is always known here.
    pub fn kind(&self) -> ColumnKind {
        self.kind
    }

    /// The path of a sample, relative to the root, without `.`, `..` or doubled slashes.
    pub fn path(&self, index: SampleIndex) -> &[u8] {
        match &self.values {
            Values::Bytes(strings) if self.kind == ColumnKind::Path => strings.get(index as usize),
            _ => self.wrong("path"),
        }
    }

    /// The integer of a sample.
    pub fn int(&self, index: SampleIndex) -> i64 {
        match &self.values {
            Values::Ints(ints) => ints[index as usize],
            Values::Count(rows) => {
                assert!(index < *rows as u64, "row {index} of {rows}");
                index as i64
            }
            _ => self.wrong("int"),
        }
    }

    /// The float, or weight, of a sample.
    pub fn float(&self, index: SampleIndex) -> f32 {
        match &self.values {
            Values::Floats(floats) => floats[index as usize],
            _ => self.wrong("float"),
        }
    }

    /// The vector of a sample.
    pub fn vector(&self, index: SampleIndex) -> &[f32] {
        match &self.values {
            Values::Vectors { len, numbers } => &numbers[index as usize * len..][..*len],
            _ => self.wrong("float vector"),
        }
    }

    /// The classes of a sample, each below the column's `classes`, in the order given.
    pub fn classes(&self, index: SampleIndex) -> &[u32] {
        match &self.values {
            Values::MultiHot { ends, indexes } => list(ends, indexes, index),
            _ => self.wrong("multi-hot"),
        }
    }

    /// The tokens of a sample.
    pub fn tokens(&self, index: SampleIndex) -> &[i32] {
        match &self.values {
            Values::Tokens { ends, tokens } => list(ends, tokens, index),
            _ => self.wrong("tokens"),
        }
    }

    /// Writes one byte a class, 1 where the sample has it; `target` is as long as the column has classes.
    pub fn multi_hot(&self, index: SampleIndex, target: &mut [u8]) {
        target.fill(0);
        for &class in self.classes(index) {
            target[class as usize] = 1;
        }
    }

    /// The text of a sample.
    pub fn text(&self, index: SampleIndex) -> &str {
        match &self.values {
            Values::Bytes(strings) if self.kind == ColumnKind::Text => {
                str::from_utf8(strings.get(index as usize)).expect("text was checked when it was loaded")
            }
            _ => self.wrong("text"),
        }
    }

    /// The length of the longest text or path, in bytes; 0 for other kinds.
    pub fn text_bytes_max(&self) -> usize {
        match &self.values {
            Values::Bytes(strings) => strings.longest_bytes(),
            _ => 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Bytes(strings) => strings.len(),
            Values::Ints(ints) => ints.len(),
            Values::Count(rows) => *rows,
            Values::Floats(floats) => floats.len(),
            Values::Vectors { len, numbers } => numbers.len() / len.max(&1),
            Values::MultiHot { ends, .. } | Values::Tokens { ends, .. } => ends.len(),
        }
    }

    pub(super) fn bytes(&self, index: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Bytes(strings) => Some(strings.get(index)),
            _ => None,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.values {
            Values::Bytes(strings) => strings.heap_bytes(),
            Values::Ints(ints) => ints.capacity() * size_of::<i64>(),
            Values::Count(_) => 0,
            Values::Floats(floats) => floats.capacity() * size_of::<f32>(),
            Values::Vectors { numbers, .. } => numbers.capacity() * size_of::<f32>(),
            Values::MultiHot { ends, indexes } => {
                ends.capacity() * size_of::<u64>() + indexes.capacity() * size_of::<u32>()
            }
            Values::Tokens { ends, tokens } => {
                ends.capacity() * size_of::<u64>() + tokens.capacity() * size_of::<i32>()
            }
        }
    }

    fn wrong(&self, asked: &str) -> ! {
        panic!(
            "column {} is {}, asked for as {asked}: the job's kinds were checked against it",
            self.name,
            self.kind.name()
        )
    }
}

/// One of many lists that lie end to end.
fn list<'a, T>(ends: &[u64], items: &'a [T], index: SampleIndex) -> &'a [T] {
    let index = index as usize;
    let start = index.checked_sub(1).map_or(0, |before| ends[before]);
    &items[start as usize..ends[index] as usize]
}
