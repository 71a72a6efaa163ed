//! Samples of equal bytes: which they are, and the group that keeps them on one side of a split.

use std::collections::{HashMap, HashSet};

use crate::catalog::dataset::CONTENT;
use crate::catalog::{Column, ColumnKind, Table};

/// Samples of equal bytes and what to write of them.
#[derive(Default)]
pub(super) struct Copies {
    /// Rows of equal bytes, two at least, each in the order of the table, by their first.
    pub(super) groups: Vec<Vec<usize>>,
    /// Rows that have no group yet, and theirs.
    pub(super) new: Vec<(usize, i64)>,
    /// Groups whose samples have different labels.
    pub(super) disagreeing: u64,
}

/// Groups the samples of a table.
///
/// A sample's group is made of its bytes alone, so that a copy that comes next year is in the group of the first, and
/// what had a group keeps it.
///
/// * `found`: what is known of samples and is not in the table yet, by key.
/// * `left_out`: keys of samples that are not to be grouped.
pub(super) fn copies(
    table: &Table,
    found: &HashMap<&[u8], &str>,
    left_out: &HashSet<&[u8]>,
    column: &str,
) -> Copies {
    let known = table.column(CONTENT).filter(|cells| cells.column().kind() == ColumnKind::Text);
    let grouped = table.column(column);
    let (mut made, mut by_content) = (Copies::default(), HashMap::<String, Vec<usize>>::new());
    for (row, key) in table.keys().enumerate().filter(|(_, key)| !left_out.contains(key.as_ref())) {
        let before = || known.filter(|cells| cells.has(row)).map(|cells| cells.column().text(row as u64));
        let Some(content) = found.get(key.as_ref()).copied().or_else(before) else { continue };
        by_content.entry(content.to_owned()).or_default().push(row);
        if !grouped.is_some_and(|cells| cells.has(row)) {
            made.new.push((row, group(content)));
        }
    }
    made.groups = by_content.into_values().filter(|rows| rows.len() > 1).collect();
    made.groups.sort();
    if let Some(labels) = table.column("label") {
        let differ = |rows: &&Vec<usize>| {
            rows.windows(2)
                .any(|pair| labels.has(pair[0]) && labels.has(pair[1]) && differ(labels.column(), pair))
        };
        made.disagreeing = made.groups.iter().filter(differ).count() as u64;
    }
    made
}

/// The first 63 bits of the content's hash.
fn group(content: &str) -> i64 {
    let bits = content.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    (bits.unwrap_or(0) >> 1) as i64
}

fn differ(labels: &Column, pair: &[usize]) -> bool {
    let [a, b] = [pair[0] as u64, pair[1] as u64];
    match labels.kind() {
        ColumnKind::Int => labels.int(a) != labels.int(b),
        ColumnKind::Text => labels.text(a) != labels.text(b),
        _ => false,
    }
}
