//! Where in a source a value is wrong, and what is wrong with it.

use std::fmt;

/// How rows of a source are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Lines of a text file, from 1.
    Line,
    /// Rows of a table, from 0, as pandas counts.
    Row,
    /// Records of a client's list, from 0, as Python counts.
    Record,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Row => "row",
            Self::Record => "record",
        })
    }
}

/// Where in a source something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or `records`.
    pub source: String,
    /// How `number` counts.
    pub unit: Unit,
    /// Which line, row or record.
    pub number: u64,
    /// Which column, where it is one.
    pub column: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.source, self.unit, self.number)?;
        self.column.iter().try_for_each(|column| write!(f, ", column {column}"))
    }
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CellFault {
    /// Null, NaN or empty.
    #[error("the value is missing")]
    Missing,
    /// It is something else.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the column needs.
        expected: &'static str,
        /// The start of what is there.
        found: String,
    },
    /// It fits no 32-bit float, or no 64-bit integer.
    #[error("{value} is too large")]
    TooLarge {
        /// What is there.
        value: String,
    },
    /// A vector of another length than those before it.
    #[error("a vector of {found} numbers among vectors of {expected}")]
    Ragged {
        /// Numbers in the others.
        expected: usize,
        /// Numbers in this one.
        found: usize,
    },
    /// A vector longer than the limit.
    #[error("a vector of {len} numbers, the limit is {max}")]
    VectorTooLong {
        /// Numbers in it.
        len: usize,
        /// Numbers allowed.
        max: u32,
    },
    /// A token that is fractional, or no 32-bit integer.
    #[error("the token {value}")]
    NoToken {
        /// What is there.
        value: String,
    },
    /// More tokens than the limit.
    #[error("{len} tokens, the limit is {max}")]
    TooManyTokens {
        /// Tokens in it.
        len: usize,
        /// Tokens allowed.
        max: u32,
    },
    /// A multi-hot index that is negative, fractional, or not below the number of classes.
    #[error("class {index} of {classes}")]
    NoSuchClass {
        /// What is there.
        index: String,
        /// How many classes the column has.
        classes: u32,
    },
    /// A weight that is negative, infinite or no number.
    #[error("a weight of {value}")]
    BadWeight {
        /// What is there.
        value: f32,
    },
    /// A path with `..`.
    #[error("the path {path:?} has a `..`")]
    Climbs {
        /// What is there.
        path: String,
    },
    /// An absolute path that lies elsewhere.
    #[error("the path {path:?} lies outside the root")]
    OutsideRoot {
        /// What is there.
        path: String,
    },
    /// A path that can't name a file.
    #[error("the path {path:?} names no file")]
    BadPath {
        /// What is there.
        path: String,
    },
    /// A path column without a root to resolve it beneath.
    #[error("there is a path, but no root that it is relative to")]
    NoRoot,
    /// A text or path longer than the limit.
    #[error("{len_bytes} bytes of text, the limit is {max_bytes}")]
    TextTooLong {
        /// Its length.
        len_bytes: usize,
        /// What is allowed.
        max_bytes: usize,
    },
    /// Text in another encoding.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A path without a folder, where the folder is the class.
    #[error("{path} lies in no folder, so it has no class")]
    NoClass {
        /// The path.
        path: String,
    },
}

impl CellFault {
    /// What to do about it, in a sentence, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing => "fill the value in, or leave the row out",
            Self::WrongType { .. } => "mend the value, or name another kind for the column",
            Self::TooLarge { .. } => "mend the value, or write the file again if it is damaged",
            Self::NotUtf8 => "write the text as UTF-8, or the file again if it is damaged",
            Self::Ragged { .. } => {
                "make all vectors of the column as long as the first, or as the kind says; lists of tokens need the \
                 kind `tokens`"
            }
            Self::NoToken { .. } => "tokens are whole numbers from -2147483648 to 2147483647",
            Self::NoSuchClass { .. } => {
                "indexes count from 0; raise the number of classes if this one exists"
            }
            Self::BadWeight { .. } => "give a finite weight, zero or greater",
            Self::Climbs { .. } | Self::OutsideRoot { .. } => "choose a root that holds all the files",
            Self::BadPath { .. } => "name a file beneath the root",
            Self::NoClass { .. } => "leave it out, or index without classes: --no-classes",
            Self::NoRoot => "give the root that the paths are relative to; \"/\" where they are absolute",
            Self::VectorTooLong { .. } | Self::TextTooLong { .. } | Self::TooManyTokens { .. } => {
                "raise the daemon's catalogue limits if this is meant"
            }
        };
        Some(hint.to_owned())
    }
}
