//! Two commits -> what the later one has that the earlier one had not.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Dataset, FileRef, Manifest};
use crate::error::Fault;

type Keys = Vec<Vec<u8>>;

/// What differs between two commits. Samples are in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Keys of samples that came in.
    pub added: Vec<Vec<u8>>,
    /// Keys of samples that were removed.
    pub removed: Vec<Vec<u8>>,
    /// Keys of samples that went into quarantine.
    pub quarantined: Vec<Vec<u8>>,
    /// Keys of samples that came out of it.
    pub released: Vec<Vec<u8>>,
    /// Columns that are new.
    pub columns: Vec<String>,
    /// Of samples that both have: how many values differ, by column; those of new columns too.
    pub values: BTreeMap<String, u64>,
    /// Classes that are new.
    pub classes: Vec<String>,
    /// Splits, frozen sets and selections that are new, have changed or are gone, as `split val`.
    pub named: Vec<String>,
}

impl Dataset {
    /// What a later commit changed.
    ///
    /// # Errors
    /// What the storage says.
    pub fn diff(&self, before: &Manifest, after: &Manifest) -> Result<Diff, Fault> {
        let mut diff = Diff { named: named(before, after), ..Diff::default() };
        let grown = after.classes.get(before.classes.len()..);
        diff.classes = grown.unwrap_or_default().to_vec();
        (diff.removed, _) = self.came_and_went(&before.removed, &after.removed)?;
        (diff.quarantined, diff.released) = self.came_and_went(&before.quarantined, &after.quarantined)?;
        let (old, new) = (self.table(before)?, self.table(after)?);
        let came = self.all_samples(before)?.keys().map(Cow::into_owned).collect::<HashSet<_>>();
        let all = self.all_samples(after)?;
        diff.added = all.keys().filter(|key| !came.contains(&**key)).map(Cow::into_owned).collect();
        let rows: HashMap<_, _> = old.keys().enumerate().map(|(row, key)| (key, row)).collect();
        let both: Vec<_> =
            new.keys().enumerate().filter_map(|(row, key)| Some((*rows.get(&key)?, row))).collect();
        for cells in new.columns() {
            let name = cells.column().name();
            let earlier = old.column(name);
            if earlier.is_none() {
                diff.columns.push(name.to_owned());
            }
            let differs = |&&(before, after): &&(usize, usize)| match earlier {
                Some(earlier) => !cells.is_same(after, earlier, before),
                None => cells.has(after),
            };
            let count = both.iter().filter(differs).count() as u64;
            if count > 0 {
                diff.values.insert(name.to_owned(), count);
            }
        }
        Ok(diff)
    }

    fn came_and_went(&self, before: &[FileRef], after: &[FileRef]) -> Result<(Keys, Keys), Fault> {
        let (before, after) = (self.keys_of(before.iter())?, self.keys_of(after.iter())?);
        let less = |from: &HashSet<Vec<u8>>, other: &HashSet<Vec<u8>>| {
            from.difference(other).cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        Ok((less(&after, &before), less(&before, &after)))
    }
}

fn named(before: &Manifest, after: &Manifest) -> Vec<String> {
    let mut out = changed("split", &before.splits, &after.splits);
    out.extend(changed("frozen", &before.frozen, &after.frozen));
    out.extend(changed("selection", &before.selections, &after.selections));
    out
}

fn changed<T: PartialEq>(
    what: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differing.map(|name| format!("{what} {name}")).collect()
}
