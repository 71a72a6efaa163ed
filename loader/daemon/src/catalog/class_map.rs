//! Class names by index.

/// The classes of a snapshot; index 0 is the first in torchvision's sorted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    names: Vec<String>,
}

impl ClassMap {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a class, or `None` past the last.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// All names, in the order of their indexes.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
