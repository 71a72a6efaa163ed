//! Which samples are held apart from which, for ever; and nested parts of a set.
//!
//! A split tells of every sample which side it is on, and frozen sets name samples that no side has. Both are committed
//! in the data set; a job only names a side. A sample's side comes of the sample alone (its key, its group, a column, a
//! list) and of what was committed, so it is the same whatever else comes, goes, or stands in another order.

mod commit;
mod draw;
mod find;
mod freeze;
mod groups;
mod held;
mod keyed;
mod part;
mod report;
mod sides;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use commit::{ListedSide, SplitOptions, SplitRule};
pub(super) use find::rows;
pub use find::{SideCount, counts};
pub use freeze::{Chosen, FreezeOptions};
pub use groups::{Grouping, Ungrouped};
pub use part::Part;
pub(super) use part::part;
pub use report::{ClassShare, FreezeReport, Moved, SideReport, SplitReport};

use super::FileRef;

/// The side that takes what a hold-out or a list leaves.
pub const REST: &str = "train";

/// Names everything: all sides and the frozen sets too.
pub const ALL: &str = "all";

/// What the other folds of a fold are called by, before its name.
const NOT: &str = "not-";

/// How samples are held apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// What tells the sides apart.
    pub rule: Rule,
    /// Which samples go together: all of a group are on one side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Grouping>,
}

/// How a split tells its sides apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// By the first folder of the path: `train/dog/1.jpg` is on `train`.
    Folders,
    /// By what stands in a column.
    Column {
        /// The column.
        column: String,
    },
    /// By a list of keys, or of groups where the split has some.
    List {
        /// Columns `key` and `side`.
        file: FileRef,
        /// The side of what is not listed; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rest: Option<String>,
    },
    /// By a draw from the key or group: each side has its share, and `train` what they leave.
    Holdout {
        /// What the draw is keyed by.
        salt: String,
        /// The sides, in the order in which they take their ranges of the draw.
        shares: Vec<Share>,
    },
    /// By a draw: `fold-0` and so on, equally likely, and `not-fold-0` for the others.
    Folds {
        /// What the draw is keyed by.
        salt: String,
        /// How many.
        folds: u32,
    },
}

/// A side of a hold-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Its name.
    pub side: String,
    /// Its share of the draws.
    pub parts_per_billion: u64,
}
