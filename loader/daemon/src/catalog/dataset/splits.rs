//! Which samples are held apart from which, for ever; and nested parts of a set.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dataset, Manifest};
use crate::catalog::table::Table;
use crate::error::Fault;

/// How a split tells its sides apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Split {
    /// By what stands in a column.
    Column {
        /// The column.
        column: String,
    },
}

/// A nested part of a set: what a smaller one has, a larger one has too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Of the samples, from 0 to 1.
    pub fraction: Option<f64>,
    /// At most so many samples.
    pub limit: Option<u64>,
    /// Whether each class gives the same share.
    pub balanced: bool,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {:?} {:?} {}", self.fraction, self.limit, self.balanced)
    }
}

/// The rows of one side of a split, or of a frozen set, in order.
///
/// # Errors
/// NotFound: no such side.
pub fn rows(dataset: &Dataset, manifest: &Manifest, table: &Table, side: &str) -> Result<Vec<usize>, Fault> {
    let _ = (dataset, manifest, table);
    Err(Fault::unimplemented(format!("split {side:?}")))
}

/// The rows of a part; `None`: all of them.
///
/// # Errors
/// Invalid: a fraction outside of 0 to 1, or balance without classes.
pub fn part(table: &Table, part: &Part) -> Result<Option<Vec<usize>>, Fault> {
    let _ = table;
    if *part == Part::default() { Ok(None) } else { Err(Fault::unimplemented("parts of a data set")) }
}
