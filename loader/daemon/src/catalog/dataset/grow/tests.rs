//! Growing: nothing comes twice, nothing is lost, no label moves, and a stop at any write leaves the last commit.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::catalog::{CatalogLimits, Finding, find_by_names, find_in_folder};
use crate::records::{Patience, Put, RecordName, Records, StateRoot, TooLarge, Trouble};

fn touch(root: &Path, names: &[&str]) {
    for name in names {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), "").unwrap();
    }
}

fn finding() -> Finding {
    Finding {
        extensions: None,
        classes: true,
        frames: false,
        column: "image".to_owned(),
        stat: false,
        limits: CatalogLimits::default(),
    }
}

fn folder(root: &Path) -> Found {
    find_in_folder(root, &finding(), &AtomicU64::new(0), None).unwrap()
}

fn names(root: &Path, lines: &str) -> Found {
    find_by_names(root, ("list", lines.as_bytes()), &finding(), &AtomicU64::new(0)).unwrap()
}

fn place(dir: &Path) -> Dataset {
    Dataset::create(dir.join("set").to_str().unwrap()).unwrap()
}

/// Key and class name of each sample, in order.
fn samples(dataset: &Dataset, head: &Manifest) -> Vec<(String, String)> {
    let table = dataset.table(head).unwrap();
    let label = |row| table.column(LABEL).unwrap().column().int(row as u64) as usize;
    let keys = table.keys().map(|key| String::from_utf8(key.into_owned()).unwrap());
    keys.enumerate().map(|(row, key)| (key, head.classes[label(row)].clone())).collect()
}

fn keys(dataset: &Dataset, head: &Manifest) -> Vec<String> {
    samples(dataset, head).into_iter().map(|(key, _)| key).collect()
}

fn prune() -> Growth {
    Growth { prune: true, ..Growth::default() }
}

#[test]
fn again_adds_what_is_new_and_a_new_class_shifts_no_label() {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["cats/1.jpg", "dogs/1.jpg", "dogs/notes.txt"]);
    let first = dataset.grow(&folder(&root), &Growth::default()).unwrap();
    assert_eq!(first.manifest.classes, ["cats", "dogs"]);
    touch(&root, &["ants/1.png", "cats/0.jpg"]);
    let second = dataset.grow(&folder(&root), &Growth::default()).unwrap();
    assert_eq!((second.counts.found, second.counts.added, second.counts.known), (4, 2, 2));
    assert_eq!(second.manifest.classes, ["cats", "dogs", "ants"]);
    let expected =
        [("cats/1.jpg", "cats"), ("dogs/1.jpg", "dogs"), ("ants/1.png", "ants"), ("cats/0.jpg", "cats")];
    let expected = expected.map(|(key, class)| (key.to_owned(), class.to_owned()));
    assert_eq!(samples(&dataset, &second.manifest), expected);
    let third = dataset.grow(&folder(&root), &Growth::default()).unwrap();
    assert_eq!((third.committed, third.manifest.number, third.counts.known), (false, 2, 4));
}

#[test]
fn what_has_gone_is_counted_and_removed_only_when_asked_and_then_stays_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/1.txt"]);
    dataset.grow(&folder(&root), &Growth::default()).unwrap();
    fs::remove_file(root.join("a/2.jpg")).unwrap();
    let seen = dataset.grow(&folder(&root), &Growth::default()).unwrap();
    assert_eq!(
        (seen.committed, seen.counts.missing, seen.gone),
        (false, Some(1), vec!["a/2.jpg".to_owned()])
    );
    let pruned = dataset.grow(&folder(&root), &prune()).unwrap();
    assert_eq!(
        (pruned.counts.pruned, keys(&dataset, &pruned.manifest)),
        (1, vec!["a/1.jpg".to_owned(), "b/1.jpg".to_owned()])
    );
    touch(&root, &["a/2.jpg"]);
    let back = dataset.grow(&folder(&root), &prune()).unwrap();
    assert_eq!((back.committed, back.counts.removed_before, back.counts.missing), (false, 1, Some(0)));
}

#[test]
fn a_file_that_was_not_looked_for_has_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["a/1.jpg", "a/1.png"]);
    dataset.grow(&folder(&root), &Growth::default()).unwrap();
    let pngs = Finding { extensions: Some(vec!["png".to_owned()]), ..finding() };
    let found = find_in_folder(&root, &pngs, &AtomicU64::new(0), None).unwrap();
    let grown = dataset.grow(&found, &prune()).unwrap();
    assert_eq!((grown.counts.missing, grown.counts.pruned, grown.committed), (Some(0), 0, false));
}

#[test]
fn names_without_a_look_come_once_and_cannot_tell_what_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["b/1.jpg"]);
    dataset.grow(&folder(&root), &Growth::default()).unwrap();
    let found = names(&root, "b/1.jpg\r\n./c/1.jpg\n\nc//1.jpg\na/1.jpg");
    let grown = dataset.grow(&found, &Growth::default()).unwrap();
    let Counts { found, added, known, repeated, missing, .. } = grown.counts;
    assert_eq!((found, added, known, repeated, missing), (3, 2, 1, 1, None));
    assert_eq!(grown.manifest.classes, ["b", "a", "c"], "new ones sorted, behind those that are there");
    let refused = dataset.grow(&names(&root, "a/1.jpg"), &prune()).unwrap_err();
    assert!(refused.message.contains("a list does not tell"), "{refused}");
    let error = find_by_names(&root, ("list", &b"x/1.jpg\nalone.jpg\n"[..]), &finding(), &AtomicU64::new(0));
    assert!(error.unwrap_err().to_string().contains("line 2"));
}

#[test]
fn another_root_or_another_way_of_naming_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (root, other, dataset) = (dir.path().join("data"), dir.path().join("other"), place(dir.path()));
    touch(&root, &["a/1.jpg"]);
    touch(&other, &["a/1.jpg"]);
    dataset.grow(&folder(&root), &Growth::default()).unwrap();
    let refused = dataset.grow(&folder(&other), &Growth::default()).unwrap_err();
    assert!(refused.to_string().contains("--new-root"), "{refused}");
    let moved = dataset.grow(&folder(&other), &Growth { new_root: true, ..Growth::default() }).unwrap();
    assert_eq!((moved.counts.known, moved.manifest.root.as_str()), (1, other.to_str().unwrap()));
    let audio = Finding { column: "audio".to_owned(), ..finding() };
    let audio = find_in_folder(&other, &audio, &AtomicU64::new(0), None).unwrap();
    let refused = dataset.grow(&audio, &Growth::default()).unwrap_err();
    assert!(refused.to_string().contains("--column image"), "{refused}");
}

#[test]
fn sizes_and_times_are_asked_for_only_when_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    touch(&root, &["a/1.jpg", "a/2.jpg"]);
    fs::write(root.join("a/2.jpg"), "12345").unwrap();
    let found =
        find_in_folder(&root, &Finding { stat: true, ..finding() }, &AtomicU64::new(0), None).unwrap();
    let sizes = found.table.column("size_bytes").unwrap().column();
    assert_eq!([sizes.int(0), sizes.int(1)], [0, 5]);
    assert!(found.table.column("mtime_ns").unwrap().column().int(0) > 0);
    assert!(folder(&root).table.column("size_bytes").is_none());
}

#[test]
fn files_at_any_depth_need_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["2.jpg", "x/y/1.jpg", "x/0.jpg"]);
    let flat = Finding { classes: false, ..finding() };
    let found = find_in_folder(&root, &flat, &AtomicU64::new(0), None).unwrap();
    let grown = dataset.grow(&found, &Growth::default()).unwrap();
    let table = dataset.table(&grown.manifest).unwrap();
    let keys: Vec<_> = table.keys().map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
    assert_eq!(keys, ["2.jpg", "x/0.jpg", "x/y/1.jpg"]);
    assert!(table.column(LABEL).is_none() && grown.manifest.classes.is_empty());
}

#[test]
fn two_indexers_that_race_fifty_times_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    touch(&root, &["base/0.jpg"]);
    let place = place(dir.path());
    let place = place.place();
    for turn in 0..50 {
        thread::scope(|scope| {
            for writer in ["p", "q"] {
                let root = &root;
                scope.spawn(move || {
                    let own = format!("{writer}{turn}/{turn}.jpg\nboth{turn}/{turn}.jpg\n");
                    Dataset::open(place).unwrap().grow(&names(root, &own), &Growth::default()).unwrap();
                });
            }
        });
    }
    let dataset = Dataset::open(place).unwrap();
    let head = dataset.head().unwrap();
    let mut found = samples(&dataset, &head);
    assert!(
        found.iter().all(|(key, class)| key.starts_with(&format!("{class}/"))),
        "each label is its own class's"
    );
    found.sort();
    found.dedup();
    assert_eq!((found.len(), dataset.table(&head).unwrap().len()), (150, 150), "three a turn, none twice");
    let mut classes = head.classes.clone();
    classes.sort();
    classes.dedup();
    assert_eq!(classes.len(), 150);
    for number in 1..head.number {
        let earlier = dataset.at(number).unwrap().classes;
        assert_eq!(head.classes[..earlier.len()], earlier, "classes only grow at their end");
    }
}

/// A store that dies at its n-th write: what it was asked for then is made, or not, and nothing after.
struct Dying {
    inner: Arc<dyn Records>,
    left: AtomicU64,
    made: bool,
}

impl Dying {
    fn alive(&self) -> Result<(), Trouble> {
        if self.left.load(Ordering::SeqCst) == 0 {
            Err(Trouble::lasting("killed (by a test)"))
        } else {
            Ok(())
        }
    }
}

impl Records for Dying {
    fn put_new(&self, name: &RecordName, bytes: &[u8]) -> Result<Put, Trouble> {
        self.alive()?;
        let last = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        let put = if last && !self.made {
            Err(Trouble::lasting("killed"))
        } else {
            self.inner.put_new(name, bytes)
        };
        put.and_then(|put| self.alive().map(|()| put))
    }

    fn get(&self, name: &RecordName, bytes_max: u64) -> Result<Option<Result<Vec<u8>, TooLarge>>, Trouble> {
        self.alive().and_then(|()| self.inner.get(name, bytes_max))
    }

    fn size(&self, name: &RecordName) -> Result<Option<u64>, Trouble> {
        self.alive().and_then(|()| self.inner.size(name))
    }

    fn list(&self, folder: &RecordName, names_max: usize) -> Result<Vec<String>, Trouble> {
        self.alive().and_then(|()| self.inner.list(folder, names_max))
    }
}

/// Grows a data set over a store that dies at its n-th write, looks at what is left, and runs again; whether it died.
fn stop_at(writes: u64, made: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (root, dataset) = (dir.path().join("data"), place(dir.path()));
    touch(&root, &["a/1.jpg", "a/2.jpg"]);
    dataset.grow(&folder(&root), &Growth::default()).unwrap();
    touch(&root, &["b/1.jpg"]);
    fs::remove_file(root.join("a/2.jpg")).unwrap();
    let inner = StateRoot::open(dataset.place(), [], Patience::default()).unwrap().into_records();
    let dying = Dying { inner, left: AtomicU64::new(writes), made };
    let dying = StateRoot::over(dataset.place().to_owned(), Arc::new(dying), Patience::default()).unwrap();
    let stopped = Dataset::over(dying).and_then(|dying| dying.grow(&folder(&root), &prune()));
    let head = dataset.head().unwrap();
    let (before, after) = (["a/1.jpg", "a/2.jpg"], ["a/1.jpg", "b/1.jpg"]);
    assert_eq!(keys(&dataset, &head), if head.number == 1 { before } else { after }, "at write {writes}");
    dataset.grow(&folder(&root), &prune()).unwrap();
    assert_eq!(keys(&dataset, &dataset.head().unwrap()), after, "run again after write {writes}");
    stopped.is_err()
}

#[test]
fn a_stop_at_every_single_write_leaves_the_last_good_commit_and_the_next_run_finishes() {
    for made in [false, true] {
        let stops = (1..100).take_while(|&writes| stop_at(writes, made)).count();
        assert!(stops >= 4, "{stops} stops: the mark, the samples, the tombstones, the commit");
    }
}
