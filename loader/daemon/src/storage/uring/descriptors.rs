//! Descriptors of files that are read part by part, kept for a moment so that a part costs no open.
//!
//! Which part of which file is read next is random, so a large file is asked for again and again. The time is short: a file
//! that was replaced by another of its name is noticed soon, and one that was deleted gives its space back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::storage::root::Root;

/// So many are kept by one ring; the oldest makes room.
pub(super) const KEPT_MAX: usize = 64;

/// Opened files by path, each for `fresh` from when it was opened.
pub(super) struct Descriptors<F> {
    kept: RefCell<HashMap<Vec<u8>, Kept<F>>>,
    fresh: Duration,
}

struct Kept<F> {
    root: Arc<Root>,
    file: Rc<F>,
    opened: Instant,
}

impl<F> Descriptors<F> {
    /// None yet.
    pub(super) fn new(fresh: Duration) -> Self {
        Self { kept: RefCell::default(), fresh }
    }

    /// The file at a path beneath a root, if it was opened lately.
    pub(super) fn get(&self, root: &Arc<Root>, path: &[u8], now: Instant) -> Option<Rc<F>> {
        let kept = self.kept.borrow();
        let found = kept.get(path).filter(|kept| Arc::ptr_eq(&kept.root, root))?;
        (now - found.opened < self.fresh).then(|| Rc::clone(&found.file))
    }

    /// Keeps a file that was opened just now.
    pub(super) fn put(&self, root: &Arc<Root>, path: &[u8], file: &Rc<F>, now: Instant) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX && !kept.contains_key(path) {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.opened).map(|(path, _)| path.clone());
            oldest.and_then(|path| kept.remove(&path));
        }
        kept.insert(path.to_vec(), Kept { root: Arc::clone(root), file: Rc::clone(file), opened: now });
    }

    /// Lets go of what was opened too long ago; whether anything is left.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|_, kept| now - kept.opened < self.fresh);
        !kept.is_empty()
    }

    /// How long a file is kept.
    pub(super) fn fresh(&self) -> Duration {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_file_is_kept_for_its_time_and_no_longer() {
        let (root, start) = (Root::unbacked("r"), Instant::now());
        let (files, file) = (Descriptors::new(SECOND), Rc::new(7));
        files.put(&root, b"a", &file, start);
        assert_eq!(files.get(&root, b"a", start + SECOND / 2).as_deref(), Some(&7));
        assert!(files.get(&root, b"a", start + SECOND).is_none(), "opened again after a second");
        assert!(files.sweep(start + SECOND / 2) && !files.sweep(start + SECOND));
        assert_eq!(Rc::strong_count(&file), 1, "and closed");
    }

    #[test]
    fn the_same_path_beneath_another_root_is_another_file() {
        let (one, other, now) = (Root::unbacked("r"), Root::unbacked("r"), Instant::now());
        let files = Descriptors::new(SECOND);
        files.put(&one, b"a", &Rc::new(1), now);
        assert!(files.get(&other, b"a", now).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let (root, start) = (Root::unbacked("r"), Instant::now());
        let files = Descriptors::new(100 * SECOND);
        let name = |number: usize| number.to_string().into_bytes();
        for number in 0..=KEPT_MAX {
            files.put(&root, &name(number), &Rc::new(number), start + SECOND / 1000 * number as u32);
        }
        let now = start + SECOND;
        assert!(files.get(&root, &name(0), now).is_none());
        assert!((1..=KEPT_MAX).all(|number| files.get(&root, &name(number), now).is_some()));
    }
}
