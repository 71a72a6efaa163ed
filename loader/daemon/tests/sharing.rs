//! Sessions side by side on one pool: who reads when, by weight, by priority and by size. An engine holds every read until
//! the test serves it, so that what is counted hangs on no clock.

mod held;
mod support;
mod token_rows;

use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, SourceSpec};
use forebay::job::Job;
use forebay::prefetch::ReadBudget;
use forebay::session::Session;
use forebay::workers::PoolOptions;
use held::{Asked, Held, drained, until};
use support::{Node, OpenAs};
use token_rows::{Corpus, Stored, tokens_field, try_job};

const MIB: u64 = 1 << 20;

/// A pool over files whose reads are held.
fn held(files: Vec<(String, Vec<u8>)>, budget: ReadBudget) -> (Node, Arc<Held>) {
    let options = PoolOptions { budget, sample_bytes_max: 16 * MIB, ..support::options(2) };
    held::node(files, options)
}

/// Serves waiting reads one by one, each when the one before has had its effect, until `so`.
async fn serve_until(node: &Node, engine: &Held, so: impl Fn() -> bool) {
    loop {
        until("something is asked for", || so() || engine.waiting() > 0).await;
        if so() {
            return;
        }
        let before = node.pool.worked().reads;
        engine.serve(|_| true);
        until("a read comes back", || node.pool.worked().reads > before).await;
        // What it held is given back, and the next is asked for, before its thread looks for another.
        until("all that may be in flight is", || node.pool.in_flight().0 as usize == engine.waiting()).await;
    }
}

/// 256 samples of 4 KiB in one file, and a job over them.
fn small(first: u32) -> (Vec<(String, Vec<u8>)>, Arc<Job>) {
    let corpus = Corpus::new(&[1024; 256], Stored::OneFile, first);
    let job = try_job(&tokens_field(Stored::OneFile, ""), "{}", "", vec![corpus.snapshot]);
    (corpus.files, Arc::new(job.expect("a job")))
}

/// Starts what the session has slots for: all 256 samples.
fn start(session: &mut Session) {
    session.credit(1);
    assert!(session.advance().is_none(), "nothing is served yet");
}

fn open(node: &Node, job: &Arc<Job>, id: u64, weight: u32, priority: i32) -> Session {
    node.open_job(
        job,
        &OpenAs { id, rows: 64, depth: 4, max_leases: 4, weight, priority, ..OpenAs::default() },
    )
}

/// 20 samples of two fields each in one file, `apart_bytes` between their beginnings: sample `n` holds `n` and `100 + n`.
fn pairs(apart_bytes: u64) -> (Vec<(String, Vec<u8>)>, Arc<Job>) {
    let mut bytes = vec![0; 20 * 8 + apart_bytes as usize];
    let line = |n: u64| {
        for (at, value) in [(n * 8, n), (n * 8 + apart_bytes, 100 + n)] {
            bytes[at as usize..][..4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        let (one, other) = (n * 2, n * 2 + apart_bytes / 4);
        format!(r#"{{"path":"pairs.bin","key":"{n}","one":{one},"other":{other},"count":1}}"#)
    };
    let lines = (0..20).map(line).collect::<Vec<_>>().join("\n");
    let columns = [("path", ColumnKind::Path), ("key", ColumnKind::Text)].into_iter();
    let columns = columns.chain(["one", "other", "count"].map(|name| (name, ColumnKind::Int)));
    let columns = columns.map(|(name, kind)| ColumnSpec { name: name.to_owned(), kind }).collect();
    let root = Some(std::env::temp_dir());
    let source = SourceSpec::Records { root, json_lines: lines.into(), columns };
    let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
    let field = |name: &str| {
        format!(
            r#"{{"name":"{name}","decode":"DECODE_TOKENS","column":"path","storedDtype":"DTYPE_UINT32","offsetColumn":"{name}","lengthColumn":"count"}}"#
        )
    };
    let fields = field("one") + "," + &field("other");
    let job = try_job(&fields, "{}", "", vec![Arc::new(snapshot)]).expect("a job");
    (vec![("pairs.bin".to_owned(), bytes)], Arc::new(job))
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_lie_close_in_one_file_share_a_read_and_others_do_not() {
    for (apart_bytes, reads, len_bytes) in [(4, 20, 8), (20_000, 20, 20_004), (40_000, 40, 4)] {
        let (files, job) = pairs(apart_bytes);
        let (node, engine) = held(files, ReadBudget { bytes: MIB, reads: 8 });
        engine.serve_all("pairs");
        let mut session = node.open_job(&job, &OpenAs { rows: 20, ..OpenAs::default() });
        let batch = &support::epoch(&mut session).await[0];
        let ints = |tensor: usize| -> Vec<i64> {
            let int = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
            batch.tensors[tensor].chunks_exact(batch.tensors[tensor].len() / 20).map(int).collect()
        };
        assert_eq!((ints(0), ints(1)), ((0..20).collect(), (100..120).collect()));
        let asked = engine.asked("pairs");
        assert_eq!(asked.len(), reads, "{apart_bytes} bytes apart");
        assert!(asked.iter().all(|asked| asked.extent.is_some_and(|(_, len)| len == len_bytes)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_read_in_the_proportion_of_their_weights() {
    let ((files, light), (more, heavy)) = (small(0), small(1000));
    let (node, engine) = held([files, more].concat(), ReadBudget { bytes: MIB, reads: 8 });
    let (mut light, mut heavy) = (open(&node, &light, 1, 1, 0), open(&node, &heavy, 2, 3, 0));
    start(&mut light);
    assert_eq!(engine.asked("all0").len(), 1 + 8, "alone it has all: its reserve and the budget");
    start(&mut heavy);
    assert_eq!(engine.asked("all1000").len(), 1, "its reserve");
    serve_until(&node, &engine, || engine.asked("all").len() >= 210).await;
    let heavy_reads = engine.asked("all1000").len();
    assert!((146..=154).contains(&heavy_reads), "{heavy_reads} of 200 for weight 3 beside weight 1");
    engine.serve_all("all");
    drained(&mut light, 4).await;
    drained(&mut heavy, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_reads_nothing_while_production_has_something_to_read_and_goes_on_when_it_pauses() {
    let ((files, experiment), (more, production)) = (small(0), small(1000));
    let (node, engine) = held([files, more].concat(), ReadBudget { bytes: MIB, reads: 8 });
    let mut experiment = open(&node, &experiment, 1, 1000, -1);
    start(&mut experiment);
    let before = engine.asked("all0").len();
    assert_eq!(before, 1 + 8);
    let mut production = open(&node, &production, 2, 1, 5);
    start(&mut production);
    // Until one sample of production is left to start.
    serve_until(&node, &engine, || engine.asked("all1000").len() == 255).await;
    assert_eq!(engine.asked("all0").len(), before, "what was in flight ended, and nothing was added");
    // Production's consumer takes nothing, so production has all that it may.
    serve_until(&node, &engine, || engine.asked("all0").len() == 128).await;
    let of_experiment = |asked: &Asked| asked.path.starts_with("all0");
    let in_flight = engine.waiting();
    assert!(in_flight <= 1 + 8 / 4, "{in_flight} stand before production's next batch");
    let asked = engine.asked("all0").len();
    serve_until(&node, &engine, || engine.asked("all0").len() == 256 && engine.waiting() == 0).await;
    assert!(asked < 256 && !engine.serve(of_experiment));
    drained(&mut experiment, 4).await;
    drained(&mut production, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_samples_are_in_memory_one_at_a_time_and_keep_no_small_file_waiting() {
    const LARGE_TOKENS: u32 = 3 << 18;
    let bulk = Corpus::new(&[LARGE_TOKENS; 12], Stored::AFileEach, 0);
    let tiny = Corpus::new(&[10; 500], Stored::AFileEach, 100);
    let job = |corpus: &Corpus| {
        let fields = tokens_field(Stored::AFileEach, r#","capacity":16"#);
        Arc::new(try_job(&fields, "{}", "", vec![Arc::clone(&corpus.snapshot)]).expect("a job"))
    };
    let is_bulk = |asked: &Asked| asked.path.len() < "100.bin".len();
    let (bulk_job, tiny_job) = (job(&bulk), job(&tiny));
    let (node, engine) = held([bulk.files, tiny.files].concat(), ReadBudget { bytes: MIB, reads: 64 });
    let mut large = node.open_job(&bulk_job, &OpenAs { id: 1, rows: 6, ..OpenAs::default() });
    start(&mut large);
    let first = engine.asked("");
    let (whole, guessed): (Vec<_>, Vec<_>) = first.iter().partition(|asked| asked.limit_bytes == 16 * MIB);
    assert_eq!(
        (whole.len(), guessed.len()),
        (1, 8),
        "the reserve, and a mebibyte by what it is taken to need"
    );
    // Those that were taken to be small are refused unread and wait for their true size.
    while engine.serve(|asked| asked.limit_bytes < 16 * MIB) {}
    until("only the reserve is in flight", || node.pool.in_flight().0 == 1).await;
    let mut small = node.open_job(&tiny_job, &OpenAs { id: 2, rows: 50, ..OpenAs::default() });
    (100..600).for_each(|number| engine.serve_all(&format!("{number}.bin")));
    assert_eq!(support::epoch(&mut small).await.len(), 10, "all of its batches");
    let waiting =
        engine.asked("").iter().filter(|asked| is_bulk(asked) && asked.limit_bytes >= 3 * MIB).count();
    assert_eq!(waiting, 1, "and the large sample is not even served");
    let mut most_bytes = 0;
    for served in 1..=12 {
        until("the next large sample is asked for", || engine.waiting() == 1).await;
        most_bytes = most_bytes.max(node.pool.in_flight().1);
        assert!(engine.serve(is_bulk), "sample {served}");
    }
    assert!(most_bytes <= MIB + 3 * MIB, "{most_bytes} bytes in flight, of a budget of a mebibyte");
    drained(&mut large, 2).await;
    let whole = engine.asked("").into_iter().filter(|asked| is_bulk(asked) && asked.limit_bytes >= 3 * MIB);
    assert_eq!(whole.count(), 12, "each is read once");
}
