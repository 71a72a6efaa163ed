//! `width >= 256 and lang = 'en'`: a condition on columns -> the samples that meet it.

use crate::catalog::table::Table;
use crate::error::Fault;

/// The rows of the samples that meet a condition, in order.
///
/// # Errors
/// Invalid: a condition that does not parse, a column that is not there or is of another kind.
pub fn rows(table: &Table, condition: &str) -> Result<Vec<usize>, Fault> {
    let _ = table;
    Err(Fault::unimplemented(format!("where {condition:?}")))
}
