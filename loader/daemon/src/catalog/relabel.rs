//! Labels that go on from an earlier class map: a class that appears gets the next one, wherever its name sorts.

use std::collections::HashMap;
use std::sync::Arc;

use super::class_map::ClassMap;
use super::column::{Column, Values};
use super::snapshot::Snapshot;

/// The column of a folder's class indexes.
pub(super) const LABEL: &str = "label";

impl Snapshot {
    /// The same samples in the same order, with `first` as the first classes of their map and its other ones behind.
    ///
    /// A snapshot without classes is given as it is.
    #[must_use]
    pub fn with_classes(self: &Arc<Self>, first: &[String]) -> Arc<Self> {
        let Some(own) = self.class_map() else { return Arc::clone(self) };
        let known: HashMap<_, _> = first.iter().enumerate().map(|(label, name)| (name, label)).collect();
        let mut names = first.to_vec();
        let mut label = |name: &String| {
            let label = known.get(name).copied().unwrap_or(names.len());
            if label == names.len() {
                names.push(name.clone());
            }
            label as i64
        };
        let labels: Vec<_> = own.names().iter().map(&mut label).collect();
        let columns = self.columns().iter().map(|column| relabelled(column, &labels)).collect();
        let unique = |_, _, _: &[u8]| unreachable!("keys are as unique as they were");
        let root = self.root().map(Arc::clone);
        let made = Self::assemble(columns, Some(ClassMap::new(names)), root, unique);
        Arc::new(made.unwrap_or_else(|error| unreachable!("{error}")))
    }
}

fn relabelled(column: &Column, labels: &[i64]) -> Column {
    let mut column = column.clone();
    if let (LABEL, Values::Ints(own)) = (column.name.as_str(), &mut column.values) {
        own.iter_mut().for_each(|label| *label = labels[*label as usize]);
    }
    column
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::{CatalogLimits, SourceSpec, open};
    use super::*;

    fn folder(root: &Path, classes: &[&str]) -> Arc<Snapshot> {
        for class in classes {
            fs::create_dir_all(root.join(class)).unwrap();
            fs::write(root.join(class).join("1.jpg"), "").unwrap();
        }
        let spec = SourceSpec::Folder { root: root.to_owned(), extensions: None };
        Arc::new(open(&spec, &CatalogLimits::default()).unwrap())
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.class_map().unwrap().names().iter().map(String::as_str).collect()
    }

    #[test]
    fn a_class_that_appears_gets_the_next_label_and_one_that_goes_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let before = folder(dir.path(), &["cats", "dogs"]);
        let first = before.class_map().unwrap().names().to_vec();
        fs::remove_dir_all(dir.path().join("cats")).unwrap();
        let grown = folder(dir.path(), &["birds", "eels"]).with_classes(&first);
        assert_eq!(names(&grown), ["cats", "dogs", "birds", "eels"]);
        let label = |row| grown.column("label").unwrap().int(row);
        let paths: Vec<_> = (0..3).map(|row| grown.column("image").unwrap().path(row)).collect();
        assert_eq!(paths, [&b"birds/1.jpg"[..], b"dogs/1.jpg", b"eels/1.jpg"]);
        assert_eq!([label(0), label(1), label(2)], [2, 1, 3]);
        assert_ne!(grown.id(), folder(dir.path(), &[]).id());
    }

    #[test]
    fn the_same_classes_are_the_same_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = folder(dir.path(), &["a", "b"]);
        let names = snapshot.class_map().unwrap().names().to_vec();
        assert_eq!(snapshot.with_classes(&names).id(), snapshot.id());
    }
}
