//! Ledgers against plain recomputation: ranks, tails, corrupt rows, room, files, merging, rubbish.
#![allow(clippy::float_cmp, reason = "losses are whole numbers here, and their sums exact")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use forebay_plan::{Cursor, Cut, Partition, Tail};
use forebay_proto::v1;

use super::book::By;
use super::ledger::PAGE_BYTES;
use super::*;
use crate::catalog::{self, CatalogLimits, SourceSpec};
use crate::error::Kind;
use crate::job::{self, Job};

const SHUFFLED: &str = r#"{"order":{"sampler":"SAMPLER_SHUFFLED","seed":"7"}}"#;

/// A job over samples `0..samples`, whose keys are their numbers behind a `k`.
fn job_of(spec: &str, samples: u64) -> Arc<Job> {
    let line = |index| format!("{{\"key\":\"k{index}\",\"x\":{index}}}\n");
    let json_lines = (0..samples).map(line).collect::<String>().into_bytes();
    let source = SourceSpec::Records { root: None, json_lines, columns: Vec::new() };
    let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
    let spec: v1::JobSpec = serde_json::from_str(spec).expect("a spec");
    let spec = v1::JobSpec { fields: vec![v1::Field { name: "x".into(), ..Default::default() }], ..spec };
    Arc::new(job::resolve(&spec, Arc::new(snapshot)).expect("a job"))
}

fn name_of(job_id: &str, job: &Job) -> LedgerName {
    let digests = (job.order_digest, job.content_digest);
    LedgerName { owner_uid: None, job_id: job_id.to_owned(), digests }
}

fn ledgers(bytes_max: u64, store: Option<LedgerStore>) -> Ledgers {
    Ledgers::new(LedgerOptions { bytes_max, store })
}

fn batch(epoch: u64, first_row: u64, losses: &[f32]) -> BatchLosses<'_> {
    BatchLosses { epoch, first_row, rank: 0, losses }
}

/// What a sample's loss is in an epoch: whole numbers, so that sums are exact.
fn loss(sample: u64, epoch: u64) -> f32 {
    (sample * 10 + epoch) as f32
}

/// Reports all batches of a rank in some epochs, as training would.
fn report(to: &Ledgers, name: &LedgerName, job: &Arc<Job>, rank: (u32, u32), epochs: std::ops::Range<u64>) {
    let part = Partition::new(rank.0, rank.1).expect("a partition");
    let cut = Cut::new(job.rows, part, 7, Tail::Partial).expect("a cut");
    for epoch in epochs {
        let rows = job.epoch(epoch).expect("an epoch");
        let mut cursor = Cursor { epoch, position: 0 };
        while let Some(plan) = cut.batch_at(cursor).filter(|_| cursor.epoch == epoch) {
            let losses: Vec<_> = plan
                .iter()
                .map(|row| loss(rows.pick(row.position).expect("a plain order").sample.0, epoch))
                .collect();
            to.note(name, job, &[batch(epoch, plan.first_row, &losses)]).expect("a batch of the plan");
            cursor = plan.next;
        }
    }
}

fn by_key(book: &Book, job: &Job) -> HashMap<String, Stat> {
    let key = |entry: &Entry| match (&entry.key, entry.sample) {
        (Some(key), _) => key.to_string(),
        (None, sample) => key(job, entry.source, sample.expect("of a ledger")),
    };
    book.entries.iter().map(|entry| (key(entry), entry.stat)).collect()
}

#[test]
fn three_epochs_of_two_ranks_with_partial_tails_are_each_samples_own_losses() {
    let job = job_of(SHUFFLED, 100);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    for rank in [0, 1] {
        report(&ledgers, &name, &job, (rank, 2), 0..3);
    }
    let (book, job) = ledgers.book("", |_| true).expect("a book");
    let found = by_key(&book, &job);
    assert_eq!(found.len(), 100);
    for sample in 0..100 {
        let stat = found[&format!("k{sample}")];
        let losses = [0, 1, 2].map(|epoch| loss(sample, epoch));
        // A row that fills the last step up is a row again, and would make four of one of them.
        assert_eq!((stat.count, stat.sum), (3, losses.iter().map(|loss| f64::from(*loss)).sum()));
        assert_eq!((stat.max, stat.last, stat.epoch), (losses[2], losses[2], 2));
    }
}

#[test]
fn a_loss_belongs_to_the_sample_that_really_stood_in_its_row() {
    let spec = r#"{"onBadSample":{"policy":"BAD_SAMPLE_POLICY_SUBSTITUTE"}}"#;
    let job = job_of(spec, 50);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    // Row 3 met two corrupt samples, so its second substitute stands there.
    let replaced = ledgers.replaced(name.digests);
    (0..2).for_each(|attempt| replaced.note(0, 3, attempt));
    ledgers.note(&name, &job, &[batch(0, 0, &[1.0, 2.0, 3.0, 99.0, 5.0])]).expect("a batch");
    let stood = job.epoch(0).expect("an epoch").substitute(3, 2).sample.0;
    let found = by_key(&ledgers.book("", |_| true).expect("a book").0, &job);
    assert!(!found.contains_key("k3") && found[&format!("k{stood}")].max == 99.0);
    assert_eq!(found.values().map(|stat| stat.sum).sum::<f64>(), 110.0);
}

#[test]
fn the_loss_of_a_masked_row_is_left_out() {
    let job = job_of(r#"{"onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"}}"#, 50);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    ledgers.replaced(name.digests).note(2, 1, 0);
    let noted = ledgers.note(&name, &job, &[batch(2, 0, &[1.0, f32::NAN, 3.0])]).expect("a batch");
    assert_eq!((noted.noted, noted.left_out, noted.nan), (2, 1, 0));
    assert_eq!(ledgers.book("", |_| true).expect("a book").0.totals(), (2, 0));
}

#[test]
fn a_row_that_is_a_batch_has_a_loss_for_each_of_its_samples() {
    let indices = "AAAAAAEAAAACAAAAAwAAAAQAAAA="; // 0 to 4
    let spec = format!(
        r#"{{"order":{{"sampler":"SAMPLER_EXPLICIT","lists":[{{"indices":"{indices}","sizes":[2,3]}}]}}}}"#
    );
    let job = job_of(&spec, 5);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    let fault = ledgers.note(&name, &job, &[batch(0, 1, &[1.0, 2.0])]).expect_err("the second has three");
    assert!(fault.message.contains("2 losses of a batch that has 3 samples"), "{fault}");
    ledgers.note(&name, &job, &[batch(0, 1, &[1.0, 2.0, 3.0])]).expect("a batch");
    let found = by_key(&ledgers.book("", |_| true).expect("a book").0, &job);
    assert_eq!(["k2", "k3", "k4"].map(|key| found[key].sum), [1.0, 2.0, 3.0]);
}

#[test]
fn rubbish_changes_nothing_and_says_what_is_wrong() {
    let job = job_of(SHUFFLED, 50);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    for first_row in [50 + u64::from(u32::MAX), u64::MAX] {
        let fault = ledgers.note(&name, &job, &[batch(0, first_row, &[1.0])]).expect_err("no such row");
        assert!(fault.kind == Kind::Invalid && fault.message.contains("behind the epoch's 50 rows"));
    }
    // Far behind the end all rows repeat others.
    let noted = ledgers.note(&name, &job, &[batch(1 << 50, 51, &[1.0; 1000])]).expect("a padded tail");
    assert_eq!((noted.noted, noted.left_out), (0, 1000));
    assert_eq!(ledgers.book("", |_| true).expect("a book").0.entries, []);
}

#[test]
fn what_has_no_room_is_counted_and_the_oldest_ledger_makes_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LedgerStore::open(folder.path(), "one").expect("a store");
    let (old, new) = (job_of(SHUFFLED, 50), job_of(SHUFFLED, 60));
    let ledgers = ledgers(PAGE_BYTES + 1000, Some(store));
    let noted = |job: &Arc<Job>, id: &str| {
        let noted = ledgers.note(&name_of(id, job), job, &[batch(0, 0, &[1.0])]).expect("a batch");
        (noted.noted, noted.unkept)
    };
    assert_eq!(noted(&old, "old"), (1, 0));
    assert_eq!(noted(&new, "new"), (0, 1));
    assert_eq!(noted(&new, "new"), (1, 0), "the old one made way");
    let fault = ledgers.book("old", |_| true).map(drop).expect_err("it is gone");
    assert!(fault.message.contains("there are new"), "{fault}");
    assert_eq!(read_place(folder.path(), "old").expect("it was written first").totals(), (1, 0));
}

#[test]
fn only_those_that_a_caller_may_see_are_told() {
    let job = job_of(SHUFFLED, 50);
    let ledgers = ledgers(u64::MAX, None);
    for uid in [1, 2] {
        let name = LedgerName { owner_uid: Some(uid), ..name_of("run", &job) };
        ledgers.note(&name, &job, &[batch(0, 0, &[uid as f32])]).expect("a batch");
    }
    let of = |uid| ledgers.book("run", |name| name.owner_uid == Some(uid));
    assert_eq!(of(2).expect("a book").0.entries[0].stat.sum, 2.0);
    assert_eq!(of(3).map(drop).expect_err("nothing of theirs").kind, Kind::NotFound);
    let (both, _) = ledgers.book("run", |_| true).expect("a book");
    assert_eq!((both.ledgers, both.entries.len(), both.entries[0].stat.sum), (2, 1, 3.0));
}

/// One daemon's ledger of some epochs, written.
fn written(
    folder: &std::path::Path,
    instance: &str,
    job: &Arc<Job>,
    epochs: std::ops::Range<u64>,
) -> PathBuf {
    let store = LedgerStore::open(folder, instance).expect("a store");
    let (ledgers, name) = (ledgers(u64::MAX, Some(store)), name_of("run:7", job));
    report(&ledgers, &name, job, (0, 1), epochs);
    ledgers.save_all();
    folder.join(format!("jobs/run:7/losses/{instance}-0.parquet"))
}

#[test]
fn files_of_several_daemons_are_one_ledger() {
    let (apart, whole) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let job = job_of(SHUFFLED, 9000);
    written(apart.path(), "one", &job, 0..2);
    written(apart.path(), "two", &job, 2..3);
    written(whole.path(), "all", &job, 0..3);
    let [apart, whole] = [apart, whole].map(|folder| read_place(folder.path(), "").expect("a book"));
    assert_eq!((apart.ledgers, whole.ledgers, apart.job_id.as_str()), (2, 1, "run:7"));
    let [apart, whole] = [apart, whole].map(|book| {
        let stats = by_key(&book, &job).into_iter();
        // The moving average hangs on the order that the losses came in, which files do not tell.
        stats.map(|(key, stat)| (key, Stat { recent: 0.0, ..stat })).collect::<HashMap<_, _>>()
    });
    assert_eq!(apart, whole);
}

#[test]
fn a_data_set_that_grew_is_added_up_by_key_and_weighed_as_it_is_now() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), "before", &job_of(SHUFFLED, 20), 0..1);
    let file = written(folder.path(), "now", &job_of(SHUFFLED, 30), 1..2);
    let book = read_place(folder.path(), "run:7").expect("a book");
    assert_eq!((book.sources[0].samples, book.entries.len()), (30, 30));
    assert_eq!(book.entries.iter().filter(|entry| entry.stat.count == 2).count(), 20);
    assert_eq!(book.weights(&WeightOptions::default()).expect("weights").len(), 30);
    let alone = read_place(&file, "").expect("a file is a place");
    assert_eq!((alone.ledgers, alone.totals()), (1, (30, 0)));
}

#[test]
fn a_file_has_all_that_the_ledger_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LedgerStore::open(folder.path(), "one").expect("a store");
    let job = job_of(SHUFFLED, 40);
    let (ledgers, name) = (ledgers(u64::MAX, Some(store)), name_of(".run", &job));
    ledgers.note(&name, &job, &[batch(3, 8, &[1.5, f32::NAN, f32::NEG_INFINITY, 0.0])]).expect("a batch");
    ledgers.save_all();
    let (kept, _) = ledgers.book("", |_| true).expect("a book");
    let stored = read_place(folder.path(), ".run").expect("a dot in front leads nowhere");
    assert_eq!((&stored.job_id, &stored.sources), (&kept.job_id, &kept.sources));
    // NaN is not equal to itself.
    let text = |book: &Book| {
        let stats = by_key(book, &job).into_iter().map(|(key, stat)| format!("{key} {stat:?}"));
        let mut lines: Vec<_> =
            stats.chain(book.steps.iter().map(|step| format!("{:?}", step.loss))).collect();
        lines.sort();
        lines
    };
    assert_eq!(text(&stored), text(&kept));
    assert_eq!((stored.steps.len(), stored.steps[0].nan, stored.steps[0].first_row), (1, 2, 8));
    assert!(stored.steps[0].worst[0].1.is_nan());
}

#[test]
fn a_damaged_file_is_named_and_never_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path(), "one", &job_of(SHUFFLED, 300), 0..1);
    let whole = fs::read(&file).expect("the file");
    for cut in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        fs::write(&file, &whole[..cut]).expect("a shorter file");
        let fault = read_place(&file, "").expect_err("a part of a file");
        assert!(fault.kind == Kind::Corrupt && fault.message.contains("one-0.parquet"), "{fault}");
    }
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5A;
        fs::write(&file, &bytes).expect("a changed file");
        if let Ok(book) = read_place(&file, "") {
            // A bit of a loss may flip unseen; whatever is read is a ledger of this data.
            assert!(book.entries.iter().all(|entry| entry.sample < Some(300) && entry.stat.is_seen()));
        }
    }
}

#[test]
fn what_a_crash_left_half_written_is_not_read_and_the_file_before_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = job_of(SHUFFLED, 30);
    let file = written(folder.path(), "one", &job, 0..1);
    fs::write(file.with_extension("part"), b"PAR1 half").expect("half a file");
    assert_eq!(read_place(folder.path(), "").expect("the whole one").totals(), (30, 0));
}

#[test]
fn a_ledger_that_could_not_be_written_is_written_the_next_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LedgerStore::open(folder.path(), "one").expect("a store");
    let job = job_of(SHUFFLED, 30);
    let (ledgers, name) = (ledgers(u64::MAX, Some(store)), name_of("run", &job));
    report(&ledgers, &name, &job, (0, 1), 0..1);
    // A file stands where the run's folder is to be.
    fs::write(folder.path().join("jobs/run"), b"").expect("a file");
    ledgers.save_all();
    assert_eq!(read_place(folder.path(), "").expect_err("nothing was written").kind, Kind::Denied);
    fs::remove_file(folder.path().join("jobs/run")).expect("it goes");
    ledgers.save_all();
    let file = folder.path().join("jobs/run/losses/one-0.parquet");
    assert_eq!(read_place(folder.path(), "").expect("a book").totals(), (30, 0));
    // Without news it is left alone.
    fs::remove_file(&file).expect("it goes");
    ledgers.save_all();
    assert!(!file.exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, b"").expect("a file");
    let fault = LedgerStore::open(&file, "one").expect_err("no folder");
    assert!(fault.message.contains("ledger_dir") && fault.hint.is_some());
}

#[test]
fn several_runs_in_a_folder_are_told_apart_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = job_of(SHUFFLED, 30);
    for id in ["a", "b"] {
        let store = LedgerStore::open(folder.path(), id).expect("a store");
        let ledgers = ledgers(u64::MAX, Some(store));
        report(&ledgers, &name_of(id, &job), &job, (0, 1), 0..1);
        ledgers.save_all();
    }
    let fault = read_place(folder.path(), "").expect_err("which?");
    assert!(fault.line().contains("2 jobs have losses: a, b") && fault.hint.is_some(), "{fault}");
    assert_eq!(read_place(folder.path(), "b").expect("b").job_id, "b");
    let fault = read_place(folder.path(), "c").expect_err("no such run");
    assert!(fault.kind == Kind::NotFound && fault.line().contains("there are a, b"), "{fault}");
}

fn book_of(losses: &[(u64, f32)], samples: u64) -> Book {
    let job = job_of("{}", samples);
    let (ledgers, name) = (ledgers(u64::MAX, None), name_of("run", &job));
    for &(sample, loss) in losses {
        ledgers.note(&name, &job, &[batch(0, sample, &[loss])]).expect("a batch");
    }
    ledgers.book("", |_| true).expect("a book").0
}

#[test]
fn samples_are_ranked_by_what_they_are_looked_at_for() {
    let book = book_of(&[(0, 4.0), (0, 4.0), (1, 1.0), (1, 9.0), (2, f32::NAN), (3, 4.0), (3, 0.5)], 9);
    let top = |by, count| book.top(by, count).iter().filter_map(|entry| entry.sample).collect::<Vec<_>>();
    assert_eq!(top(By::Loss, 9), [1, 0, 3], "a sample without a finite loss has no mean");
    assert_eq!(top(By::Max, 2), [1, 0]);
    assert_eq!(top(By::Last, 2), [1, 0]);
    assert_eq!(top(By::Recent, 1), [0]);
    assert_eq!(top(By::Nan, 9), [2]);
    assert_eq!(top(By::Count, 3), [0, 1, 3]);
    assert_eq!(top(By::Count, 0), [0u64; 0]);
}

#[test]
fn weights_are_losses_beside_the_average_flattened_and_clipped() {
    let book = book_of(&[(0, 1.0), (1, 2.0), (2, 3.0), (3, f32::NAN)], 5);
    let weights = |options| book.weights(&options).expect("weights");
    let plain = WeightOptions::default();
    assert_eq!(weights(plain.clone()), [0.5, 1.0, 1.5, 1.0, 1.0]);
    assert_eq!(weights(WeightOptions { least: 0.8, most: 1.2, ..plain.clone() }), [0.8, 1.0, 1.2, 1.0, 1.0]);
    let flat = weights(WeightOptions { temperature: 2.0, ..plain.clone() });
    assert!((flat[0] - 0.5f64.sqrt()).abs() < 1e-12 && (flat[2] - 1.5f64.sqrt()).abs() < 1e-12);
    let fault = book_of(&[(0, f32::NAN)], 5).weights(&plain).expect_err("nothing to go by");
    assert!(fault.message.contains("no sample has a finite loss"));
    let fault = book_of(&[(0, -1.0)], 5).weights(&plain).expect_err("no scale");
    assert!(fault.message.contains("the average loss of 1 samples is -1"), "{fault}");
    for asked in [
        v1::LossWeights { temperature: -1.0, ..Default::default() },
        v1::LossWeights { temperature: f64::NAN, ..Default::default() },
        v1::LossWeights { least: 2.0, most: 1.0, ..Default::default() },
        v1::LossWeights { least: f64::NAN, ..Default::default() },
        v1::LossWeights { by: v1::LossOrder::Nan.into(), ..Default::default() },
    ] {
        assert_eq!(WeightOptions::of(&asked).expect_err("no such weights").kind, Kind::Invalid);
    }
}

#[test]
fn a_source_is_named_where_there_are_several() {
    let mut book = book_of(&[(0, 1.0)], 5);
    book.sources.push(BookSource { name: "code".into(), samples: 3, snapshot: String::new() });
    let weights =
        |source: &str| book.weights(&WeightOptions { source: source.to_owned(), ..WeightOptions::default() });
    assert!(weights("").expect_err("which?").message.contains("sources 0, code"));
    assert!(weights("web").expect_err("none").message.contains("there are 0, code"));
    assert_eq!(weights("0").expect("weights").len(), 5);
}

#[test]
fn more_than_a_reply_holds_is_refused() {
    let request = v1::LossesRequest { samples: LISTED_MAX + 1, ..Default::default() };
    let fault = book_of(&[(0, 1.0)], 5).answer(&request, |_| String::new()).expect_err("too many");
    assert_eq!(fault.kind, Kind::Invalid);
}

#[test]
fn reports_go_on_while_several_write_the_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = LedgerStore::open(folder.path(), "one").expect("a store");
    let job = job_of(SHUFFLED, 5000);
    let (ledgers, name) = (Arc::new(ledgers(u64::MAX, Some(store))), name_of("run", &job));
    let done = Arc::new(Mutex::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !*done.lock().expect("the flag") {
                    ledgers.save_all();
                    match read_place(folder.path(), "run") {
                        Ok(book) => assert!(book.entries.len() <= 5000),
                        Err(fault) => assert_eq!(fault.kind, Kind::NotFound, "{fault}"),
                    }
                }
            });
        }
        report(&ledgers, &name, &job, (0, 1), 0..4);
        *done.lock().expect("the flag") = true;
    });
    ledgers.save_all();
    assert_eq!(read_place(folder.path(), "run").expect("a book").totals(), (20_000, 0));
}
