//! All samples that are to be verified through the checker, on all cores.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::check::{Checker, Outcome};
use super::journal::Journal;
use super::parts::Files;
use crate::catalog::dataset::CONTENT;
use crate::error::Fault;
use crate::progress::Bar;
use crate::storage::Root;

/// Threads a core: while one waits for its file, another decodes.
const THREADS_A_CORE: usize = 2;

/// Samples that a thread takes at a time, at least and at most: hundreds of neighbours may lie in one page, which is then
/// inflated once.
const TURN: [usize; 2] = [1, 256];
/// How often a thread takes some, at least.
const TURNS: usize = 8;

/// Samples that threads are ahead of the journal.
const AHEAD: usize = 1024;

/// How often the bar is looked at while a long clip is verified.
const TICK: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// By row of the table, in order.
    pub(super) outcomes: Vec<(usize, Outcome)>,
    /// Samples that were looked at by this process, and bytes of those that are sound.
    pub(super) looked_at: u64,
    pub(super) bytes: u64,
    /// Samples whose findings an earlier run left.
    pub(super) resumed: u64,
    /// Samples with findings in the data set, which were not looked at.
    pub(super) known: u64,
    /// Samples without any file.
    pub(super) without_files: u64,
    pub(super) took: Duration,
}

/// Looks at the samples of a table that have no findings yet.
///
/// * `again`: at all of them.
///
/// # Errors
/// What the journal says.
pub(super) fn run(
    files: &mut Files<'_>,
    root: &Arc<Root>,
    journal: &mut Journal,
    threads: Option<NonZeroUsize>,
    again: bool,
) -> Result<Found, Fault> {
    let started = Instant::now();
    let (mut found, mut todo, mut outcomes) = (Found::default(), Vec::new(), HashMap::new());
    let table = files.table();
    let known = table.column(CONTENT).filter(|_| !again);
    let mut wanted = Vec::new();
    for row in 0..table.len() {
        match files.stands_for(row) {
            None => found.without_files += 1,
            Some(_) if known.is_some_and(|cells| cells.has(row)) => found.known += 1,
            Some(first) => wanted.push((row, first)),
        }
    }
    for &(_, first) in &wanted {
        if outcomes.contains_key(&first) {
            continue;
        }
        let left = journal.take(&table.key(first));
        found.resumed += u64::from(left.is_some());
        if left.is_none() {
            todo.push(first);
        }
        outcomes.insert(first, left);
    }
    files.look_ahead(root, &todo, workers(threads));
    let files = &*files;
    // A clip may be hundreds of thousands of files.
    let (frames, read) = (files.count(&todo), AtomicU64::new(0));
    let mut bar = Bar::new("verifying", if frames.is_some() { "frames" } else { "samples" });
    look(files, root, (&todo, &read), threads, |told| {
        if let Some((row, outcome)) = told {
            journal.note(&table.key(row), &outcome)?;
            found.looked_at += 1;
            if let Outcome::Sound { bytes, .. } = &outcome {
                found.bytes += bytes;
            }
            outcomes.insert(row, Some(outcome));
        }
        match frames {
            Some(total) => bar.show(read.load(Ordering::Relaxed), total),
            None => bar.show(found.looked_at, todo.len() as u64),
        }
        Ok(())
    })?;
    bar.clear();
    let outcome = |first: usize| outcomes[&first].clone().expect("each was looked at or known");
    found.outcomes = wanted.iter().map(|&(row, first)| (row, outcome(first))).collect();
    found.took = started.elapsed();
    Ok(found)
}

fn workers(asked: Option<NonZeroUsize>) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or(cores * THREADS_A_CORE, NonZeroUsize::get)
}

/// Checks rows on all cores; `tell` is called on this thread, in the order in which they are done, and now and then while
/// none is.
///
/// * `read`: counts files.
fn look(
    files: &Files<'_>,
    root: &Arc<Root>,
    (rows, read): (&[usize], &AtomicU64),
    threads: Option<NonZeroUsize>,
    mut tell: impl FnMut(Option<(usize, Outcome)>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let all = workers(threads);
    let threads = all.min(rows.len());
    let turn = (rows.len() / (threads.max(1) * TURNS)).clamp(TURN[0], TURN[1]);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, outcomes) = flume::bounded(AHEAD);
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                let mut checker = Checker::new(root, read);
                checker.threads_a_clip = all / threads;
                let some = || rows.get(next.fetch_add(turn, Ordering::Relaxed)..);
                while let Some(rows) = some().filter(|rows| !rows.is_empty()) {
                    for &row in &rows[..rows.len().min(turn)] {
                        // Nobody listens any more where the journal could not be written.
                        if sender.send((row, checker.check(&files.parts(row)))).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(sender);
        loop {
            match outcomes.recv_timeout(TICK) {
                Ok(done) => tell(Some(done))?,
                Err(flume::RecvTimeoutError::Timeout) => tell(None)?,
                Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogLimits, SourceSpec, Table, open};

    fn table(root: &std::path::Path, lines: &str) -> Table {
        let (root, json_lines) = (Some(root.to_owned()), lines.as_bytes().to_vec());
        let spec = SourceSpec::Records { root, json_lines, columns: Vec::new() };
        Table::of(&open(&spec, &CatalogLimits::default()).unwrap())
    }

    fn find(root: &std::path::Path, table: &Table, journal: &mut Journal) -> Found {
        run(&mut Files::of(table), &Root::open(root).unwrap(), journal, None, false).unwrap()
    }

    #[test]
    fn what_a_stopped_run_has_found_of_clips_is_known_with_the_frames_that_came() {
        let dir = tempfile::tempdir().unwrap();
        for clip in ["a", "b"] {
            std::fs::create_dir(dir.path().join(clip)).unwrap();
            for frame in 1..4 {
                std::fs::write(dir.path().join(clip).join(format!("{frame}.gif")), "GIF89a").unwrap();
            }
        }
        std::fs::write(dir.path().join("b/2.gif"), "").unwrap();
        let table = table(
            dir.path(),
            "{\"path\":\"a\",\"path.frames\":\"{1..2}.gif\"}\n{\"path\":\"b\",\"path.frames\":\"{1..3}.gif\"}\n",
        );
        assert_eq!(Files::of(&table).count(&[0, 1]), Some(5));
        let journal = || Journal::open(dir.path().to_str().unwrap(), false).unwrap();
        let found = find(dir.path(), &table, &mut journal());
        match &found.outcomes[..] {
            [(0, Outcome::Sound { formats, gained, bytes: 12, .. }), (1, Outcome::Corrupt { reason })] => {
                assert_eq!(formats["GIF (not decoded)"], 2);
                assert_eq!(gained.as_deref(), Some("1 more: 3.gif"));
                assert_eq!(reason, "frame 1 (2.gif): it is empty");
            }
            other => panic!("{other:?}"),
        }
        let gone_on = find(dir.path(), &table, &mut journal());
        assert_eq!((gone_on.looked_at, gone_on.resumed, gone_on.outcomes), (0, 2, found.outcomes));
    }

    #[test]
    fn what_a_stopped_run_has_found_is_not_looked_at_again_but_for_what_was_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        ["a", "b", "c"].iter().for_each(|name| std::fs::write(dir.path().join(name), "x").unwrap());
        let table = table(dir.path(), "{\"path\":\"a\"}\n{\"path\":\"b\"}\n{\"path\":\"c\"}\n");
        let place = dir.path().to_str().unwrap();
        let stopped = Outcome::Corrupt { reason: "found before the stop".to_owned() };
        let mut journal = Journal::open(place, false).unwrap();
        journal.note(b"b", &stopped).unwrap();
        journal.note(b"c", &Outcome::Unavailable { reason: "away".to_owned() }).unwrap();
        drop(journal);
        let found = find(dir.path(), &table, &mut Journal::open(place, false).unwrap());
        assert_eq!((found.looked_at, found.resumed, found.known), (2, 1, 0));
        assert_eq!(found.outcomes[1], (1, stopped));
        assert!(matches!(found.outcomes[2].1, Outcome::Sound { bytes: 1, .. }));
        // And the run that went on was stopped before its commit.
        let third = find(dir.path(), &table, &mut Journal::open(place, false).unwrap());
        assert_eq!((third.looked_at, third.resumed), (0, 3));
    }

    #[test]
    fn a_file_of_many_samples_is_looked_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "xyz").unwrap();
        let lines: Vec<_> = (0..50).map(|at| format!("{{\"path\":\"a\",\"offset\":{at}}}")).collect();
        let table = table(dir.path(), &lines.join("\n"));
        let found =
            find(dir.path(), &table, &mut Journal::open(dir.path().to_str().unwrap(), false).unwrap());
        assert_eq!((found.looked_at, found.outcomes.len()), (1, 50));
    }
}
