//! A side as a job names it -> its rows; and what sides there are, with how many samples each has.

use std::borrow::Cow;

use super::held::{Hold, holds, rows_of};
use super::sides::Sides;
use super::{ALL, Rule};
use crate::catalog::dataset::{Dataset, Manifest};
use crate::catalog::table::Table;
use crate::error::{Fault, Kind};

/// How many samples a side or a frozen set has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SideCount {
    /// The split; absent: a frozen set.
    pub split: Option<String>,
    /// The side, or the frozen set's name.
    pub side: String,
    /// The samples that a job gets by it.
    pub samples: u64,
    /// Of a side, those that frozen sets keep from it; of a frozen set, those that were removed or are in quarantine.
    pub without: u64,
}

/// The rows that a job gets by the name of a side or of a frozen set, in order; `None`: all of them.
///
/// * `side`: `train`, `fold-3`, `not-fold-3`, `main:train` where several splits have such a side, a frozen set's name, or
///   `all`. Absent: everything but what frozen sets hold back.
///
/// # Errors
/// NotFound: no such side. Invalid: several, or no sample is on it. What the storage says.
pub fn rows(
    dataset: &Dataset,
    manifest: &Manifest,
    table: &Table,
    side: Option<&str>,
) -> Result<Option<Vec<usize>>, Fault> {
    let Some(side) = side else {
        let holds = holds(dataset, manifest, table)?;
        let free = |_: &[Hold]| (0..table.len()).filter(|&row| is_free(&holds, row)).collect();
        return Ok(Some(holds.as_slice()).filter(|holds| !holds.is_empty()).map(free));
    };
    if side == ALL {
        return Ok(None);
    }
    if let Some(frozen) = manifest.frozen.get(side) {
        let rows = rows_of(dataset, table, frozen)?;
        return if rows.is_empty() { Err(all_gone(side, frozen.file.rows)) } else { Ok(Some(rows)) };
    }
    let on_side = find(dataset, manifest, table, side)?;
    let holds = holds(dataset, manifest, table)?;
    let free: Vec<_> = on_side.iter().copied().filter(|&row| is_free(&holds, row)).collect();
    if free.is_empty() { Err(empty(side, on_side.len(), &holds)) } else { Ok(Some(free)) }
}

fn is_free(holds: &[Hold], row: usize) -> bool {
    holds.get(row).is_none_or(|&hold| hold == Hold::Free)
}

/// The rows of a side, those that frozen sets hold back too.
fn find(dataset: &Dataset, manifest: &Manifest, table: &Table, side: &str) -> Result<Vec<usize>, Fault> {
    let named = side.split_once(':').filter(|(split, _)| manifest.splits.contains_key(*split));
    let mut found: Vec<(&str, Vec<usize>)> = Vec::new();
    for (name, split) in &manifest.splits {
        let side = match named {
            Some((wanted, side)) if wanted == name => side,
            Some(_) => continue,
            None => side,
        };
        if split.rule.may_have(side)
            && let Some(rows) = Sides::open(dataset, manifest, table, split)?.rows(side)
        {
            found.push((name, rows));
        }
    }
    match found.as_slice() {
        [_] => Ok(found.swap_remove(0).1),
        [] => Err(no_side(dataset, manifest, table, side)?),
        several => {
            let names: Vec<_> = several.iter().map(|(split, _)| format!("{split}:{side}")).collect();
            let message = format!("{} splits of {} have a side {side}", several.len(), dataset.place());
            Err(Fault::invalid(message).hint(format!("name one of them: {}", names.join(", "))))
        }
    }
}

/// The sides of a data set and its frozen sets, splits first, with how many samples a job gets by each.
///
/// # Errors
/// What the storage says.
pub fn counts(dataset: &Dataset, manifest: &Manifest, table: &Table) -> Result<Vec<SideCount>, Fault> {
    let holds = holds(dataset, manifest, table)?;
    let mut counts = Vec::new();
    for (name, split) in &manifest.splits {
        let sides = Sides::open(dataset, manifest, table, split)?;
        let first = counts.len();
        counts.extend(sides.names().iter().map(|side| SideCount {
            split: Some(name.clone()),
            side: side.clone(),
            samples: 0,
            without: 0,
        }));
        for row in 0..table.len() {
            let Some(side) = sides.of(row) else { continue };
            let count: &mut SideCount = &mut counts[first + side];
            *(if is_free(&holds, row) { &mut count.samples } else { &mut count.without }) += 1;
        }
    }
    for (name, frozen) in &manifest.frozen {
        let samples = rows_of(dataset, table, frozen)?.len() as u64;
        let without = frozen.file.rows - samples;
        counts.push(SideCount { split: None, side: name.clone(), samples, without });
    }
    Ok(counts)
}

fn all_gone(name: &str, samples: u64) -> Fault {
    let message = format!("all {samples} samples of the frozen set {name} were removed or are in quarantine");
    Fault::invalid(message).hint("forebay dataset log says by which commit")
}

fn empty(side: &str, on_side: usize, holds: &[Hold]) -> Fault {
    if on_side == 0 {
        return Fault::invalid(format!("no sample is on side {side}"))
            .hint("forebay dataset show tells how many samples each side has");
    }
    let waiting = holds.iter().filter(|&&hold| hold == Hold::Waits).count();
    let message = format!("frozen sets hold back all {on_side} samples of side {side}");
    Fault::invalid(message).hint(match waiting {
        0 => "name the frozen set itself, or \"all\"".to_owned(),
        _ => format!("{waiting} samples wait for their group: join its column"),
    })
}

/// So many sides are spelled out in an error.
const SIDES_SHOWN: usize = 20;

fn no_side(dataset: &Dataset, manifest: &Manifest, table: &Table, side: &str) -> Result<Fault, Fault> {
    let fault = Fault::new(Kind::NotFound, format!("{} has no side {side}", dataset.place()));
    let counts = counts(dataset, manifest, table)?;
    if counts.is_empty() {
        return Ok(fault.hint("make a split: forebay dataset split PLACE NAME --holdout val=0.1"));
    }
    let word = |count: &SideCount| {
        let split = count.split.as_ref().map_or(Cow::Borrowed("frozen "), |split| format!("{split}:").into());
        format!("{split}{} ({})", count.side, count.samples)
    };
    let mut words: Vec<_> = counts.iter().take(SIDES_SHOWN).map(word).collect();
    words.extend((counts.len() > SIDES_SHOWN).then(|| format!("{} more", counts.len() - SIDES_SHOWN)));
    words.push(format!("all ({})", table.len()));
    let folds = manifest.splits.values().any(|split| matches!(split.rule, Rule::Folds { .. }));
    let note = if folds { "; not-fold-0 is all folds but the first" } else { "" };
    Ok(fault.hint(format!("there are {}{note}", words.join(", "))))
}
