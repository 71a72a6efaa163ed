//! Makes frozen sets: which samples, what goes with them, and what they were used for until now.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use super::commit::{check_name, grouping, none_matches};
use super::draw::Draws;
use super::find::{SideCount, counts};
use super::groups::Groups;
use super::held::{self, GROUP, Hold, holds};
use super::report::{FreezeReport, UNMATCHED_SHOWN};
use super::sides::Sides;
use super::{Ungrouped, keyed};
use crate::catalog::dataset::{Change, Dataset, Frozen, Manifest, Selection};
use crate::catalog::table::Table;
use crate::error::Fault;

/// What a frozen set is to be.
#[derive(Clone, Debug)]
pub struct FreezeOptions {
    /// Its name.
    pub name: String,
    /// The samples.
    pub chosen: Chosen,
    /// The columns by which samples go together; where empty, those of the split whose side is frozen.
    pub group_by: Vec<String>,
    /// What becomes of samples without a group; must be said where there are some.
    pub ungrouped: Option<Ungrouped>,
    /// Whether to count only, and commit nothing.
    pub dry_run: bool,
}

/// The samples of a frozen set.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// Those of these keys, also where they come later.
    Keys(Vec<Vec<u8>>),
    /// Those of a selection, or a share of them.
    Of {
        /// From what.
        selection: Selection,
        /// Above 0 and up to 1; of the groups, where there are some. Another set of another name takes others.
        fraction: Option<f64>,
    },
}

impl FreezeOptions {
    /// Commits the frozen set, unless it is there with these very samples.
    ///
    /// # Errors
    /// Invalid: a name that is taken or makes no sense, no sample, a column that is not there. What the storage says.
    pub fn commit(&self, dataset: &Dataset) -> Result<(Manifest, FreezeReport), Fault> {
        check_name("frozen set", &self.name)?;
        let mut made = FreezeReport::default();
        let manifest = dataset.commit(|head| {
            let table = dataset.table(head)?;
            let (frozen, next) = self.frozen(dataset, head, &table)?;
            made = self.report(dataset, &next, &table, &frozen)?;
            if self.dry_run || head.frozen.contains_key(&self.name) {
                return Ok(None);
            }
            made.committed = true;
            Ok(Some(Manifest { change: self.change(&frozen, &made), ..next }))
        })?;
        Ok((manifest, made))
    }

    /// The set, and the state of the data set with it.
    fn frozen(&self, dataset: &Dataset, head: &Manifest, table: &Table) -> Result<(Frozen, Manifest), Fault> {
        if table.is_empty() {
            return Err(Fault::invalid(format!("{} has no samples yet", dataset.place()))
                .hint("add some: forebay index FOLDER"));
        }
        self.check_free(dataset, head, table)?;
        // A set that is there was left out of what it was chosen from, so it is compared with what it was made of.
        let mut base = head.clone();
        let known = base.frozen.remove(&self.name);
        let (columns, ungrouped) = self.group_columns(&base, known.as_ref());
        let group_by = grouping(dataset, &base, table, &columns, ungrouped)?;
        let groups = Groups::open(dataset, &base, table, group_by.as_ref())?;
        let keys = self.keys(dataset, &base, table, &groups)?;
        let rows: BTreeMap<_, _> = table.keys().enumerate().map(|(row, key)| (key, row)).collect();
        let group = |key: &Vec<u8>| {
            let row = rows.get(key.as_slice());
            row.and_then(|&row| groups.of(row)).map_or_else(|| key.clone(), Cow::into_owned)
        };
        let lines = keys.iter().map(|key| (key.clone(), String::from_utf8_lossy(&group(key)).into_owned()));
        let file = dataset.put(&keyed::snapshot(lines.collect(), group_by.is_some().then_some(GROUP))?)?;
        let frozen = Frozen { file, group_by };
        if known.as_ref().is_some_and(|known| *known != frozen) {
            return Err(Fault::invalid(format!("there is a frozen set {}, of other samples", self.name))
                .hint("it stays what it is for ever: give the new one another name"));
        }
        base.frozen.insert(self.name.clone(), frozen.clone());
        Ok((frozen, base))
    }

    fn check_free(&self, dataset: &Dataset, head: &Manifest, table: &Table) -> Result<(), Fault> {
        let name = &self.name;
        if head.splits.contains_key(name) {
            return Err(
                Fault::invalid(format!("there is a split {name}")).hint("give the frozen set another name")
            );
        }
        for (split, rule) in head.splits.iter().filter(|(_, split)| split.rule.may_have(name)) {
            if Sides::open(dataset, head, table, rule)?.rows(name).is_some() {
                return Err(Fault::invalid(format!("the split {split} has a side {name}"))
                    .hint(format!("a job could not tell them apart: call the frozen set {name}-1, say")));
            }
        }
        Ok(())
    }

    /// The columns of the groups: as asked, else as the split's whose side is frozen.
    fn group_columns(&self, head: &Manifest, known: Option<&Frozen>) -> (Vec<String>, Option<Ungrouped>) {
        let of_split = match &self.chosen {
            Chosen::Of { selection: Selection { split: Some(side), .. }, .. } if self.group_by.is_empty() => {
                let name = side.split_once(':').map(|(split, _)| split);
                let mut splits = head.splits.iter().filter(|(split, rule)| match name {
                    Some(name) => name == *split,
                    None => rule.rule.may_have(side),
                });
                splits.find_map(|(_, split)| split.group_by.clone())
            }
            _ => None,
        };
        let known = known.and_then(|known| known.group_by.clone());
        match (of_split, known) {
            (Some(grouping), _) => (grouping.columns, self.ungrouped.or(Some(grouping.ungrouped))),
            (None, Some(known)) if known.columns == self.group_by => {
                (known.columns, self.ungrouped.or(Some(known.ungrouped)))
            }
            _ => (self.group_by.clone(), self.ungrouped),
        }
    }

    fn keys(
        &self,
        dataset: &Dataset,
        head: &Manifest,
        table: &Table,
        groups: &Groups<'_>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let (selection, fraction) = match &self.chosen {
            Chosen::Keys(keys) => return listed(keys, table),
            Chosen::Of { selection, fraction } => (selection, *fraction),
        };
        let selected = dataset.select(head, selection)?;
        let mut keys: Vec<_> = selected.keys().map(Cow::into_owned).collect();
        if let Some(fraction) = fraction {
            if !(fraction > 0.0 && fraction <= 1.0) {
                return Err(Fault::invalid(format!("a fraction of {fraction}"))
                    .hint("a fraction is above 0 and at most 1, as 0.01 for 1 %"));
            }
            let end = (fraction * 2_f64.powi(64)) as u128;
            let draws = Draws::of_frozen(&self.name);
            let taken = |row: usize| groups.of(row).is_some_and(|name| u128::from(draws.draw(&name)) < end);
            let taken: HashSet<_> =
                table.keys().enumerate().filter(|(row, _)| taken(*row)).map(|(_, key)| key).collect();
            keys.retain(|key| taken.contains(key.as_slice()));
        }
        if keys.is_empty() {
            return Err(Fault::invalid("no sample would be in the frozen set")
                .hint("take a larger fraction, or another condition"));
        }
        Ok(keys)
    }

    fn report(
        &self,
        dataset: &Dataset,
        next: &Manifest,
        table: &Table,
        frozen: &Frozen,
    ) -> Result<FreezeReport, Fault> {
        let mut base = next.clone();
        base.frozen.remove(&self.name);
        let before = holds(dataset, &base, table)?;
        let was_free = |row: usize| before.get(row).is_none_or(|&hold| hold == Hold::Free);
        let mut own = vec![Hold::Free; table.len()];
        held::add(dataset, next, table, frozen, &mut own)?;
        let newly = |wanted: Hold| {
            own.iter().enumerate().filter(|&(row, &hold)| hold == wanted && was_free(row)).count() as u64
        };
        let groups = Groups::open(dataset, next, table, frozen.group_by.as_ref())?;
        let mut members: Vec<_> = (0..table.len()).filter(|&row| own[row] == Hold::Member).collect();
        let met: HashSet<_> = members.iter().filter_map(|&row| groups.of(row)).collect();
        let samples = members.len() as u64;
        members.retain(|&row| was_free(row));
        let mut report = FreezeReport {
            samples,
            groups: frozen.group_by.is_some().then_some(met.len() as u64),
            held_with_group: newly(Hold::Group),
            waiting: newly(Hold::Waits),
            were_on: were_on(dataset, &base, table, &members)?,
            sides: counts(dataset, next, table)?,
            ..FreezeReport::default()
        };
        if let Chosen::Keys(keys) = &self.chosen {
            let unmatched = unmatched(keys, table);
            report.unmatched_count = unmatched.len() as u64;
            let shown = unmatched.iter().take(UNMATCHED_SHOWN);
            report.unmatched = shown.map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        }
        Ok(report)
    }

    fn change(&self, frozen: &Frozen, made: &FreezeReport) -> Change {
        let mut counts: BTreeMap<_, _> = [("samples".to_owned(), made.samples)].into();
        for (name, count) in [
            ("groups", made.groups.unwrap_or(0)),
            ("held_with_group", made.held_with_group),
            ("waiting_for_group", made.waiting),
            ("not_there_yet", made.unmatched_count),
        ] {
            counts.extend((count > 0).then(|| (name.to_owned(), count)));
        }
        let groups = frozen.group_by.as_ref().map(|grouping| format!(" with groups by {grouping}"));
        Change { verb: "freeze".to_owned(), message: self.name.clone() + &groups.unwrap_or_default(), counts }
    }
}

fn listed(keys: &[Vec<u8>], table: &Table) -> Result<Vec<Vec<u8>>, Fault> {
    if keys.is_empty() {
        return Err(Fault::invalid("the list is empty").hint("give it a key a line"));
    }
    let unmatched = unmatched(keys, table);
    if unmatched.len() == keys.len() {
        return Err(none_matches(keys.len(), &String::from_utf8_lossy(unmatched[0]), table, &[]));
    }
    Ok(keys.to_vec())
}

fn unmatched<'a>(keys: &'a [Vec<u8>], table: &Table) -> Vec<&'a [u8]> {
    let known: HashSet<_> = table.keys().collect();
    keys.iter().map(Vec::as_slice).filter(|key| !known.contains(*key)).collect()
}

/// On which sides samples are in a commit.
fn were_on(
    dataset: &Dataset,
    head: &Manifest,
    table: &Table,
    members: &[usize],
) -> Result<Vec<SideCount>, Fault> {
    let mut were_on = Vec::new();
    for (name, split) in &head.splits {
        let sides = Sides::open(dataset, head, table, split)?;
        let mut on = vec![0_u64; sides.names().len()];
        members.iter().filter_map(|&row| sides.of(row)).for_each(|side| on[side] += 1);
        let met = sides.names().iter().zip(on).filter(|(_, samples)| *samples > 0);
        were_on.extend(met.map(|(side, samples)| SideCount {
            split: Some(name.clone()),
            side: side.clone(),
            samples,
            without: 0,
        }));
    }
    Ok(were_on)
}
