//! What a split or a frozen set came to, in figures: for people, and as JSON.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::find::SideCount;
use super::groups::Groups;
use super::held::Hold;
use super::sides::Sides;
use crate::catalog::column::ColumnKind;
use crate::catalog::relabel::LABEL;
use crate::catalog::table::Table;

/// What a split came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SplitReport {
    /// Whether it was committed; false where it was there already, or only tried.
    pub committed: bool,
    /// Samples of the data set.
    pub samples: u64,
    /// Each side.
    pub sides: Vec<SideReport>,
    /// Samples on no side that do not wait for a group.
    pub on_no_side: u64,
    /// Samples on no side before their group is known.
    pub waiting: u64,
    /// Samples on a side, and not given out as such: frozen sets hold them back.
    pub held_back: u64,
    /// Of a split that was replaced: what is on another side now.
    pub moved: Vec<Moved>,
    /// Names of the list that no sample has; the first of them.
    pub unmatched: Vec<String>,
    /// How many there are.
    pub unmatched_count: u64,
    /// The class whose share of a side differs most from its share of all sides, as a ratio.
    pub worst_class: Option<ClassShare>,
}

/// One side of a split. Counts are of what a job gets, without what frozen sets hold back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SideReport {
    /// Its name.
    pub side: String,
    /// Its samples.
    pub samples: u64,
    /// The groups that they belong to, where the split has groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// Samples by class, where there are classes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, u64>,
}

/// So many samples went from one side to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moved {
    /// The side that they were on; absent: none.
    pub from: Option<String>,
    /// The side that they are on; absent: none.
    pub to: Option<String>,
    /// How many.
    pub samples: u64,
}

/// A class's share of a side beside its share of all sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassShare {
    /// The side.
    pub side: String,
    /// The class.
    pub class: String,
    /// From 0 to 1.
    pub of_side: f64,
    /// From 0 to 1.
    pub of_all: f64,
}

/// What a frozen set came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FreezeReport {
    /// Whether it was committed; false where it was there already, or only tried.
    pub committed: bool,
    /// Its samples that are in the data set.
    pub samples: u64,
    /// The groups that they belong to, where it has groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// Other samples that are held back because they belong to those groups.
    pub held_with_group: u64,
    /// Samples that are held back until their group is known.
    pub waiting: u64,
    /// Keys of the list that no sample has; the first of them. They are frozen for when one comes.
    pub unmatched: Vec<String>,
    /// How many there are.
    pub unmatched_count: u64,
    /// What sides the samples were on until now, which models that were trained before may have seen.
    pub were_on: Vec<SideCount>,
    /// All sides and frozen sets, as they are with it.
    pub sides: Vec<SideCount>,
}

/// So many names that match nothing are told.
pub(super) const UNMATCHED_SHOWN: usize = 20;

/// Counts what is on each side.
pub(super) fn of_sides(
    table: &Table,
    classes: &[String],
    groups: &Groups<'_>,
    sides: &Sides,
    holds: &[Hold],
) -> SplitReport {
    let mut report = SplitReport { samples: table.len() as u64, ..SplitReport::default() };
    let side = |side: &String| SideReport { side: side.clone(), ..SideReport::default() };
    report.sides = sides.names().iter().map(side).collect();
    let labels = table.column(LABEL).filter(|cells| cells.column().kind() == ColumnKind::Int);
    let mut counted: Vec<HashMap<i64, u64>> = vec![HashMap::new(); report.sides.len()];
    let mut met: Vec<HashSet<Vec<u8>>> = vec![HashSet::new(); report.sides.len()];
    for row in 0..table.len() {
        let group = groups.of(row);
        match (sides.of(row), &group) {
            (None, None) => report.waiting += 1,
            (None, Some(_)) => report.on_no_side += 1,
            (Some(_), _) if holds.get(row).is_some_and(|&hold| hold != Hold::Free) => report.held_back += 1,
            (Some(side), _) => {
                report.sides[side].samples += 1;
                if let Some(labels) = labels.filter(|labels| labels.has(row)) {
                    *counted[side].entry(labels.column().int(row as u64)).or_default() += 1;
                }
                if let Some(group) = group.filter(|_| groups.are_many()) {
                    met[side].insert(group.into_owned());
                }
            }
        }
    }
    for ((side, counted), met) in report.sides.iter_mut().zip(counted).zip(met) {
        let name = |label: i64| classes.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
        side.classes = counted.into_iter().map(|(label, count)| (name(label), count)).collect();
        side.groups = groups.are_many().then_some(met.len() as u64);
    }
    report.worst_class = worst_class(&report.sides);
    report
}

/// A class that a side lacks is worse than any ratio; of several the one that has the largest share of all.
fn worst_class(sides: &[SideReport]) -> Option<ClassShare> {
    let mut all: BTreeMap<&String, u64> = BTreeMap::new();
    for (class, count) in sides.iter().flat_map(|side| &side.classes) {
        *all.entry(class).or_default() += count;
    }
    let total = all.values().sum::<u64>() as f64;
    let shares = sides.iter().filter(|side| side.samples > 0).flat_map(|side| {
        let of = side.classes.values().sum::<u64>().max(1) as f64;
        all.iter().map(move |(class, count)| ClassShare {
            side: side.side.clone(),
            class: (*class).clone(),
            of_side: side.classes.get(*class).copied().unwrap_or(0) as f64 / of,
            of_all: *count as f64 / total,
        })
    });
    let skew = |share: &ClassShare| (share.of_side / share.of_all).ln().abs();
    shares.max_by(|a, b| skew(a).total_cmp(&skew(b)).then(a.of_all.total_cmp(&b.of_all)))
}

/// What changed sides between two states of a split.
pub(super) fn moved(rows: usize, before: &Sides, after: &Sides) -> Vec<Moved> {
    let name = |sides: &Sides, row| sides.of(row).map(|side| sides.names()[side].clone());
    let mut moved: BTreeMap<(Option<String>, Option<String>), u64> = BTreeMap::new();
    for row in 0..rows {
        let ways = (name(before, row), name(after, row));
        if ways.0 != ways.1 {
            *moved.entry(ways).or_default() += 1;
        }
    }
    moved.into_iter().map(|((from, to), samples)| Moved { from, to, samples }).collect()
}
