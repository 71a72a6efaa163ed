//! Frozen sets: exactly their samples for ever, and nothing of them, nor of their groups, on any other side.

use std::borrow::Cow;
use std::collections::HashSet;

use super::groups::Groups;
use crate::catalog::dataset::{Dataset, Frozen, Manifest};
use crate::catalog::table::Table;
use crate::error::Fault;

type Names = HashSet<Vec<u8>>;

/// The column of groups in a frozen set's file.
pub(super) const GROUP: &str = "group";

/// What frozen sets say of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Nothing: it may be trained on.
    Free,
    /// Its group is not known yet, and may be that of a frozen sample.
    Waits,
    /// It belongs to the group of a frozen sample.
    Group,
    /// It is in a frozen set.
    Member,
}

/// What the frozen sets say of each row; empty where there is none.
///
/// # Errors
/// What the storage says.
pub(super) fn holds(dataset: &Dataset, manifest: &Manifest, table: &Table) -> Result<Vec<Hold>, Fault> {
    let mut holds = Vec::new();
    for frozen in manifest.frozen.values() {
        holds.resize(table.len(), Hold::Free);
        add(dataset, manifest, table, frozen, &mut holds)?;
    }
    Ok(holds)
}

/// Adds what one frozen set says.
pub(super) fn add(
    dataset: &Dataset,
    manifest: &Manifest,
    table: &Table,
    frozen: &Frozen,
    holds: &mut [Hold],
) -> Result<(), Fault> {
    if table.is_empty() {
        return Ok(());
    }
    let (keys, mut names) = members(dataset, frozen)?;
    // The newest values, not the first: a sample that turns out to be of a frozen group must not be trained on.
    let groups = Groups::newest(table, frozen.group_by.as_ref())?;
    let first = Groups::open(dataset, manifest, table, frozen.group_by.as_ref())?;
    let is_member = |row| keys.contains(table.key(row).as_ref());
    for row in (0..table.len()).filter(|&row| is_member(row)) {
        // Members whose group was not known when they were frozen have one now.
        names.extend([groups.of(row), first.of(row)].into_iter().flatten().map(Cow::into_owned));
    }
    for (row, hold) in holds.iter_mut().enumerate() {
        let is_in = |group: Option<&[u8]>| group.is_some_and(|group| names.contains(group));
        let found = match (groups.of(row), first.of(row)) {
            _ if is_member(row) => Hold::Member,
            (newest, first) if is_in(newest.as_deref()) || is_in(first.as_deref()) => Hold::Group,
            (None, _) => Hold::Waits,
            _ => Hold::Free,
        };
        *hold = (*hold).max(found);
    }
    Ok(())
}

/// The keys of a frozen set, and the groups that they belong to.
fn members(dataset: &Dataset, frozen: &Frozen) -> Result<(Names, Names), Fault> {
    let file = Table::of(&dataset.get(&frozen.file, None)?);
    let keys = file.keys().map(Cow::into_owned).collect();
    let groups = file.column(GROUP).map_or_else(HashSet::new, |cells| {
        (0..file.len()).map(|row| cells.column().text(row as u64).as_bytes().to_vec()).collect()
    });
    Ok((keys, groups))
}

/// The rows of a frozen set that are still in the data set, in order.
///
/// # Errors
/// What the storage says.
pub(super) fn rows_of(dataset: &Dataset, table: &Table, frozen: &Frozen) -> Result<Vec<usize>, Fault> {
    let keys = dataset.keys_of(std::iter::once(&frozen.file))?;
    let is_in = table.keys().enumerate().filter(|(_, key)| keys.contains(key.as_ref()));
    Ok(is_in.map(|(row, _)| row).collect())
}
