//! One class map for all sources of a job: the first source's, which the others' further classes only make longer.

use std::sync::Arc;

use super::JobSource;

/// The column of a folder's class indexes.
pub const CLASS_COLUMN: &str = "label";

/// Class names by label, and how each source's own labels become these.
pub struct Classes {
    /// Empty where no source has class names.
    pub names: Vec<String>,
    relabel: Vec<Option<Arc<[i64]>>>,
}

impl Classes {
    /// Joins the class maps of all sources. Labels of a source without class names stay as they are.
    pub fn of(sources: &[JobSource]) -> Self {
        let mut classes = Self { names: Vec::new(), relabel: Vec::new() };
        let mut known = std::collections::HashMap::new();
        for source in sources {
            let own = source.snapshot.class_map().map_or(&[][..], |map| map.names());
            let label = |name: &String| {
                *known.entry(name.clone()).or_insert_with(|| {
                    classes.names.push(name.clone());
                    classes.names.len() as i64 - 1
                })
            };
            let labels: Vec<i64> = own.iter().map(label).collect();
            let is_same = labels.iter().enumerate().all(|(own, &label)| own as i64 == label);
            classes.relabel.push((!is_same).then(|| labels.into()));
        }
        classes
    }

    /// What becomes of a source's own labels, where it is not what they are.
    pub fn relabel(&self, source: usize) -> Option<Arc<[i64]>> {
        self.relabel[source].clone()
    }
}
