//! A split and a table -> the side that each sample is on: of the sample alone, never of which others there are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::draw::{Draws, WHOLE};
use super::groups::{Groups, first_values, value};
use super::{NOT, REST, Rule, Split};
use crate::catalog::column::ColumnKind;
use crate::catalog::dataset::{Dataset, FileRef, Manifest};
use crate::catalog::table::Table;
use crate::error::Fault;

/// The column of sides in a stored list.
pub(super) const SIDE: &str = "side";

/// On no side.
const NOWHERE: u32 = u32::MAX;

/// Where each row stands.
pub(super) struct Sides {
    names: Vec<String>,
    /// An index of `names`, or [`NOWHERE`].
    of: Vec<u32>,
    /// Whether sides have complements: `not-fold-3`.
    folds: bool,
}

impl Sides {
    /// # Errors
    /// Invalid: a column that is not there or names nothing. What the storage says.
    pub(super) fn open(
        dataset: &Dataset,
        manifest: &Manifest,
        table: &Table,
        split: &Split,
    ) -> Result<Self, Fault> {
        let folds = matches!(split.rule, Rule::Folds { .. });
        if table.is_empty() {
            return Ok(Self { names: split.rule.names().unwrap_or_default(), of: Vec::new(), folds });
        }
        let groups = Groups::open(dataset, manifest, table, split.group_by.as_ref())?;
        let (names, of) = match &split.rule {
            Rule::Folders => named(table, |row| folder(table, row)),
            Rule::Column { column } => {
                let cells = first_values(dataset, manifest, table, column)?;
                named(table, |row| value(&cells, row).map(Cow::into_owned))
            }
            Rule::List { file, rest } => listed(dataset, table, &groups, file, rest.as_deref())?,
            Rule::Holdout { salt, shares } => {
                let draws = Draws::of_sides(salt);
                let ends: Vec<u64> = shares
                    .iter()
                    .scan(0, |end, share| {
                        *end += share.parts_per_billion;
                        Some(*end)
                    })
                    .collect();
                let side = |name: &[u8]| {
                    let drawn = draws.below(name, WHOLE);
                    ends.iter().position(|&end| drawn < end).unwrap_or(ends.len()) as u32
                };
                (split.rule.names().unwrap_or_default(), drawn(table, &groups, side))
            }
            Rule::Folds { salt, folds } => {
                let draws = Draws::of_sides(salt);
                let side = |name: &[u8]| draws.below(name, u64::from(*folds)) as u32;
                (split.rule.names().unwrap_or_default(), drawn(table, &groups, side))
            }
        };
        Ok(Self { names, of, folds })
    }

    /// The sides, without complements.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The side that a row is on, by its index.
    pub(super) fn of(&self, row: usize) -> Option<usize> {
        Some(self.of[row] as usize).filter(|_| self.of[row] != NOWHERE)
    }

    /// The rows of a side, or of all others where it is called `not-fold-3`; `None`: there is no such side.
    pub(super) fn rows(&self, side: &str) -> Option<Vec<usize>> {
        let (name, other) = match side.strip_prefix(NOT).filter(|_| self.folds) {
            Some(name) => (name, true),
            None => (side, false),
        };
        let index = self.names.iter().position(|known| known == name)? as u32;
        let wanted = |side: u32| side != NOWHERE && (side == index) != other;
        Some((0..self.of.len()).filter(|&row| wanted(self.of[row])).collect())
    }
}

fn drawn(table: &Table, groups: &Groups<'_>, side: impl Fn(&[u8]) -> u32) -> Vec<u32> {
    (0..table.len()).map(|row| groups.of(row).map_or(NOWHERE, |name| side(&name))).collect()
}

/// Sides by the values that there are, sorted.
fn named(table: &Table, name: impl Fn(usize) -> Option<Vec<u8>>) -> (Vec<String>, Vec<u32>) {
    let mut met: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut of = Vec::with_capacity(table.len());
    for row in 0..table.len() {
        let next = met.len() as u32;
        of.push(name(row).map_or(NOWHERE, |name| *met.entry(name).or_insert(next)));
    }
    let mut sorted = vec![0; met.len()];
    for (place, &index) in met.values().enumerate() {
        sorted[index as usize] = place as u32;
    }
    of.iter_mut().filter(|side| **side != NOWHERE).for_each(|side| *side = sorted[*side as usize]);
    (met.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect(), of)
}

/// The first folder of a sample's path; where it has none, of its key.
fn folder(table: &Table, row: usize) -> Option<Vec<u8>> {
    let path = table.columns().iter().find(|cells| cells.column().kind() == ColumnKind::Path);
    let path = match path.filter(|path| path.has(row)) {
        Some(path) => path.column().path(row as u64).to_vec(),
        None => table.key(row).into_owned(),
    };
    let end = path.iter().position(|&byte| byte == b'/')?;
    Some(path[..end].to_vec())
}

fn listed(
    dataset: &Dataset,
    table: &Table,
    groups: &Groups<'_>,
    file: &FileRef,
    rest: Option<&str>,
) -> Result<(Vec<String>, Vec<u32>), Fault> {
    let list = Table::of(&dataset.get(file, None)?);
    let sides = list.column(SIDE).ok_or_else(|| Fault::internal("a stored list has no sides"))?;
    let (mut names, of) = named(&list, |row| value(sides, row).map(Cow::into_owned));
    let by_name: HashMap<_, _> = list.keys().enumerate().map(|(row, key)| (key, of[row])).collect();
    let rest = rest.map_or(NOWHERE, |rest| {
        names.push(rest.to_owned());
        (names.len() - 1) as u32
    });
    let side = |row| groups.of(row).map_or(NOWHERE, |name| by_name.get(&name).copied().unwrap_or(rest));
    Ok((names, (0..table.len()).map(side).collect()))
}

impl Rule {
    /// The sides that it has whatever there is; `None`: the samples or a stored list say.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Folders | Self::Column { .. } | Self::List { .. } => None,
            Self::Holdout { shares, .. } => {
                let whole = shares.iter().map(|share| share.parts_per_billion).sum::<u64>() >= WHOLE;
                let named = shares.iter().map(|share| share.side.clone());
                Some(named.chain((!whole).then(|| REST.to_owned())).collect())
            }
            Self::Folds { folds, .. } => Some((0..*folds).map(|fold| format!("fold-{fold}")).collect()),
        }
    }

    /// Whether a side may be its: false only where it surely is not.
    pub(super) fn may_have(&self, side: &str) -> bool {
        let is_fold = matches!(self, Self::Folds { .. });
        let side = side.strip_prefix(NOT).filter(|_| is_fold).unwrap_or(side);
        self.names().is_none_or(|names| names.iter().any(|name| name == side))
    }
}
