//! Commits, on a folder: nothing is lost, nothing changes, everything fits.

mod lists;

use std::sync::Arc;
use std::thread;

use super::*;
use crate::catalog::{SourceSpec, Table, open};

fn samples(lines: &str) -> Snapshot {
    let spec = SourceSpec::Records { root: None, json_lines: lines.as_bytes().to_vec(), columns: Vec::new() };
    open(&spec, &CatalogLimits::default()).unwrap()
}

fn dataset(dir: &Path) -> Dataset {
    Dataset::create(dir.join("photos.forebay").to_str().unwrap()).unwrap()
}

fn add(dataset: &Dataset, lines: &str) -> Manifest {
    let snapshot = samples(lines);
    dataset
        .commit(|head| {
            let mut next = head.clone();
            next.admit_columns(&Table::of(&snapshot))?;
            next.samples.push(dataset.put(&snapshot)?);
            Ok(Some(next))
        })
        .unwrap()
}

fn keys(table: &Table) -> Vec<String> {
    table.keys().map(|key| String::from_utf8_lossy(&key).into_owned()).collect()
}

#[test]
fn what_is_committed_is_there_in_the_order_it_came_and_old_commits_stay() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    assert_eq!(dataset.head().unwrap().number, 0);
    add(&dataset, "{\"key\":\"b\",\"n\":1}\n");
    add(&dataset, "{\"key\":\"a\",\"n\":2,\"w\":0.5}\n");
    let opened = Dataset::open(dir.path().join("photos").to_str().unwrap()).unwrap();
    let head = opened.head().unwrap();
    let table = opened.table(&head).unwrap();
    assert_eq!((head.number, keys(&table)), (2, vec!["b".to_owned(), "a".to_owned()]));
    assert_eq!((table.column("w").unwrap().missing(), table.column("n").unwrap().missing()), (1, 0));
    assert_eq!(keys(&opened.table(&opened.at(1).unwrap()).unwrap()), ["b"]);
}

#[test]
fn joined_columns_lie_over_the_samples_the_newest_on_top_and_removed_ones_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    add(&dataset, "{\"key\":\"a\",\"n\":1}\n{\"key\":\"b\",\"n\":2}\n{\"key\":\"c\",\"n\":3}\n");
    let put = |lines| dataset.put(&samples(lines)).unwrap();
    let (first, second) = (put("{\"key\":\"c\",\"n\":30,\"t\":\"x\"}"), put("{\"key\":\"c\",\"t\":\"y\"}"));
    let gone = put("{\"key\":\"a\",\"reason\":\"law\"}");
    let made = dataset.commit(|head| {
        let mut next = head.clone();
        next.joined.extend([first.clone(), second.clone()]);
        next.removed.push(gone.clone());
        Ok(Some(next))
    });
    let table = dataset.table(&made.unwrap()).unwrap();
    assert_eq!(keys(&table), ["b", "c"]);
    let n = table.column("n").unwrap().column();
    assert_eq!([n.int(0), n.int(1)], [2, 30]);
    let t = table.column("t").unwrap();
    assert_eq!((t.has(0), t.column().text(1)), (false, "y"));
}

#[test]
fn a_column_of_another_kind_is_refused_and_nothing_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    add(&dataset, "{\"key\":\"a\",\"n\":1}\n");
    let wrong = samples("{\"key\":\"b\",\"n\":\"one\"}\n");
    let refused = dataset.commit(|head| {
        let mut next = head.clone();
        next.admit_columns(&Table::of(&wrong))?;
        Ok(Some(next))
    });
    assert_eq!(refused.unwrap_err().message, "column n holds int there and text here");
    assert_eq!(dataset.head().unwrap().number, 1);
}

#[test]
fn writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dataset(dir.path());
    let place = place.place();
    thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || {
                let dataset = Dataset::open(place).unwrap();
                for turn in 0..5 {
                    add(&dataset, &format!("{{\"key\":\"{writer}-{turn}\",\"n\":1}}\n"));
                }
            });
        }
    });
    let dataset = Dataset::open(place).unwrap();
    let head = dataset.head().unwrap();
    let mut found = keys(&dataset.table(&head).unwrap());
    found.sort();
    let mut wanted: Vec<_> = (0..4).flat_map(|w| (0..5).map(move |t| format!("{w}-{t}"))).collect();
    wanted.sort();
    assert_eq!((head.number, found), (20, wanted));
}

#[test]
fn a_job_takes_the_columns_that_it_asks_for_and_they_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    add(&dataset, "{\"key\":\"a\",\"n\":1}\n{\"key\":\"b\",\"n\":2}\n");
    let before =
        dataset.snapshot(&dataset.head().unwrap(), &Selection::default(), Some(&["n".to_owned()]), None);
    let file = dataset.put(&samples("{\"key\":\"b\",\"score\":0.5}")).unwrap();
    let head = dataset.commit(|head| {
        let mut next = head.clone();
        next.joined.push(file.clone());
        Ok(Some(next))
    });
    let head = head.unwrap();
    let after = dataset.snapshot(&head, &Selection::default(), Some(&["n".to_owned()]), None);
    assert_eq!(before.unwrap().id(), after.unwrap().id());
    let refused = dataset.snapshot(&head, &Selection::default(), Some(&["score".to_owned()]), None);
    assert_eq!(refused.unwrap_err().message, "column score has no value for 1 of 2 samples");
    assert!(dataset.snapshot(&head, &Selection::default(), None, None).unwrap().column("score").is_none());
}

#[test]
fn a_damaged_manifest_is_named_and_the_commits_before_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path());
    add(&dataset, "{\"key\":\"a\",\"n\":1}\n");
    std::fs::write(dir.path().join("photos.forebay/manifests/00000002.json"), "{").unwrap();
    let error = dataset.head().unwrap_err();
    assert!(error.line().contains("manifests/00000002.json"), "{}", error.line());
    assert_eq!(dataset.at(1).unwrap().samples.len(), 1);
    let _ = Arc::new(dataset);
}
