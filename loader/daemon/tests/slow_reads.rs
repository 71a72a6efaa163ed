//! Reads that are slow, and reads that never come back: a second one races the first, and a lost one ends its session alone.

mod held;
mod support;
mod token_rows;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay::error::Kind;
use forebay::job::Job;
use forebay::prefetch::ReadBudget;
use forebay::session::{Counters, Session};
use forebay::storage::HedgeAfter;
use forebay::workers::PoolOptions;
use held::{drained, until};
use support::{Node, OpenAs};
use token_rows::{Corpus, Stored, tokens_field, try_job};

const MS: Duration = Duration::from_millis(1);

/// So many small files, and a job over them.
fn files(count: usize, first: u32) -> (Vec<(String, Vec<u8>)>, Arc<Job>) {
    let corpus = Corpus::new(&vec![10; count], Stored::AFileEach, first);
    let fields = tokens_field(Stored::AFileEach, r#","capacity":10"#);
    let job = try_job(&fields, "{}", "", vec![corpus.snapshot]);
    (corpus.files, Arc::new(job.expect("a job")))
}

const BUDGET: ReadBudget = ReadBudget { bytes: 1 << 20, reads: 8 };

fn hedging() -> PoolOptions {
    PoolOptions { hedge_after: HedgeAfter::Time(MS), budget: BUDGET, ..support::options(2) }
}

/// A session of one batch, which it starts at once.
fn start(node: &Node, job: &Arc<Job>, id: u64, rows: u32) -> (Session, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let open = OpenAs { id, rows, ..OpenAs::default() };
    let mut session = node.open_counted(job, &open, &counters);
    session.credit(1);
    assert!(session.advance().is_none(), "nothing is served yet");
    (session, counters)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_read_makes_the_sample_where_the_first_is_slow_and_one_is_out_at_a_time() {
    let (files, job) = files(4, 0);
    let (node, engine) = held::node(files, hedging());
    let (mut session, counters) = start(&node, &job, 1, 4);
    assert_eq!(engine.waiting(), 4);
    for second in 1..=4 {
        until("a second read is asked for", || engine.waiting() == 5).await;
        let asked = engine.asked("");
        assert_eq!(asked.len(), 4 + second);
        let newest = asked[3 + second].clone();
        assert!(asked[..4].contains(&newest), "the same bytes");
        assert!(engine.serve_newest());
        until("the sample is made", || get(&counters.hedges_won) == second as u64).await;
    }
    let seconds: HashSet<_> = engine.asked("")[4..].iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(seconds.len(), 4, "each is raced once");
    drained(&mut session, 1).await;
    assert_eq!((get(&counters.hedged), get(&counters.reads), get(&counters.retries)), (4, 4, 0));
    engine.serve_all("");
    let (mut again, _) = start_again(&node, &job);
    drained(&mut again, 1).await;
    assert_eq!(node.pool.in_flight(), (0, 0));
}

/// As `start`, where everything is served at once.
fn start_again(node: &Node, job: &Arc<Job>) -> (Session, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let open = OpenAs { id: 99, rows: 4, ..OpenAs::default() };
    (node.open_counted(job, &open, &counters), counters)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_of_two_reads_fails_the_other_decides_and_only_both_are_asked_again() {
    for second_fails in [false, true] {
        let (files, job) = files(1, 0);
        let (node, engine) = held::node(files, hedging());
        let (mut session, counters) = start(&node, &job, 1, 1);
        until("a second read is asked for", || engine.waiting() == 2).await;
        assert!(engine.fail(|_| true));
        if second_fails {
            assert!(engine.fail(|_| true));
            until("it is asked again", || engine.waiting() > 0).await;
        }
        engine.serve_all("");
        drained(&mut session, 1).await;
        assert_eq!(get(&counters.retries), u64::from(second_fails));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_never_comes_back_ends_its_session_by_name_and_no_other() {
    let ((dead, dead_job), (alive, alive_job)) = (files(20, 0), files(20, 100));
    let options = PoolOptions { patience: 300 * MS, budget: BUDGET, ..support::options(2) };
    let (node, engine) = held::node([dead, alive].concat(), options);
    (100..120).for_each(|number| engine.serve_all(&format!("{number}.bin")));
    let (mut hangs, counters) = start(&node, &dead_job, 1, 20);
    let in_flight = engine.waiting();
    assert_eq!(in_flight, 1 + 8, "all that a session may have");
    let mut goes_on = node.open_job(&alive_job, &OpenAs { id: 2, rows: 20, ..OpenAs::default() });
    drained(&mut goes_on, 1).await;
    let fault = support::fault(&mut hangs).await;
    assert_eq!(fault.kind, Kind::Unavailable);
    assert!(fault.line().contains("has not answered for 300ms") && fault.hint.is_some(), "{fault}");
    assert!(fault.object.as_deref().is_some_and(|object| object.contains(".bin")), "{fault}");
    assert_eq!(get(&counters.reads_lost), in_flight as u64);
    assert_eq!((engine.waiting(), node.pool.in_flight()), (in_flight, (0, 0)), "the budget is free");
    // They come back after all, to nobody.
    engine.serve_all("");
    let mut later = node.open_job(&dead_job, &OpenAs { id: 3, rows: 20, ..OpenAs::default() });
    drained(&mut later, 1).await;
    assert_eq!(get(&counters.reads), 0);
}
