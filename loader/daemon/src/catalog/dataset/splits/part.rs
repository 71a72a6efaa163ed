//! Nested parts of a set: what a smaller one has, a larger one has too.

use std::collections::BTreeMap;
use std::fmt;

use super::draw::Draws;
use crate::catalog::column::ColumnKind;
use crate::catalog::relabel::LABEL;
use crate::catalog::table::Table;
use crate::error::Fault;

/// A nested part of a set: of each sample a draw is made from its key alone, and a part has the lowest draws.
///
/// As the set grows, a `fraction` keeps every sample and takes its share of the new ones; a `limit`, and the classes of
/// a `balanced` part, may take new samples in place of old ones, for there are no more places. A run that is pinned
/// keeps what it began with, and so does a frozen set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Of the samples, above 0 and up to 1.
    pub fraction: Option<f64>,
    /// At most so many samples, of those that `fraction` leaves.
    pub limit: Option<u64>,
    /// Whether each class gives equally many: as many as the smallest has, or an equal share of `limit` where that is
    /// less. Classes are told by the column `label`; one without a sample counts for nothing.
    pub balanced: bool,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.fraction.map(|fraction| format!("fraction {fraction}")));
        words.extend(self.limit.map(|limit| format!("limit {limit}")));
        words.extend(self.balanced.then(|| "balanced".to_owned()));
        f.write_str(&words.join(", "))
    }
}

/// A draw and the row whose it is.
type Drawn = (u64, usize);

/// The rows of a part, in order; `None`: all of them.
///
/// # Errors
/// Invalid: a fraction that is not above 0 and up to 1, a limit of 0, or balance without classes.
pub fn part(table: &Table, part: &Part) -> Result<Option<Vec<usize>>, Fault> {
    check(part)?;
    if *part == Part::default() {
        return Ok(None);
    }
    let draws = Draws::of_parts();
    let mut drawn: Vec<Drawn> = table.keys().enumerate().map(|(row, key)| (draws.draw(&key), row)).collect();
    if let Some(fraction) = part.fraction {
        // Exact: a product with a power of two. 1.0 takes every draw.
        let end = (fraction * 2_f64.powi(64)) as u128;
        drawn.retain(|&(draw, _)| u128::from(draw) < end);
    }
    let drawn = match (part.balanced, part.limit) {
        (true, limit) => balanced(table, drawn, limit)?,
        (false, Some(limit)) => lowest(table, drawn, limit),
        (false, None) => drawn,
    };
    let mut rows: Vec<_> = drawn.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    Ok(Some(rows))
}

fn check(part: &Part) -> Result<(), Fault> {
    if let Some(fraction) = part.fraction.filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0)) {
        let message = format!("a fraction of {fraction} of the samples");
        return Err(Fault::invalid(message).hint("a fraction is above 0 and at most 1, as 0.01 for 1 %"));
    }
    if part.limit == Some(0) {
        return Err(Fault::invalid("a limit of 0 samples").hint("leave it out for all of them"));
    }
    Ok(())
}

/// The `count` lowest draws; of equal ones the lower key's.
fn lowest(table: &Table, mut drawn: Vec<Drawn>, count: u64) -> Vec<Drawn> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count < drawn.len() {
        drawn.select_nth_unstable_by(count, |a, b| {
            a.0.cmp(&b.0).then_with(|| table.key(a.1).cmp(&table.key(b.1)))
        });
        drawn.truncate(count);
    }
    drawn
}

fn balanced(table: &Table, drawn: Vec<Drawn>, limit: Option<u64>) -> Result<Vec<Drawn>, Fault> {
    let mut classes: BTreeMap<i64, Vec<Drawn>> = BTreeMap::new();
    let labels = table.column(LABEL).filter(|cells| cells.column().kind() == ColumnKind::Int);
    let labels = labels.ok_or_else(|| {
        Fault::invalid("a balanced part needs classes, and there is no column label of whole numbers")
            .hint("join one: forebay dataset join PLACE --labels FILE")
    })?;
    for (draw, row) in drawn {
        if !labels.has(row) {
            let key = String::from_utf8_lossy(&table.key(row)).into_owned();
            let message =
                format!("{} samples have no label, so classes cannot be balanced", labels.missing());
            return Err(Fault::invalid(message)
                .object(key)
                .hint("leave them out: where=\"label is not null\""));
        }
        classes.entry(labels.column().int(row as u64)).or_default().push((draw, row));
    }
    let least = classes.values().map(Vec::len).min().unwrap_or(0) as u64;
    let share = limit.map(|limit| limit / classes.len().max(1) as u64);
    if share == Some(0) && !classes.is_empty() {
        let message = format!("a limit of {} samples for {} classes", limit.unwrap_or(0), classes.len());
        return Err(Fault::invalid(message).hint("a balanced part has at least one sample a class"));
    }
    let count = share.map_or(least, |share| share.min(least));
    Ok(classes.into_values().flat_map(|drawn| lowest(table, drawn, count)).collect())
}
