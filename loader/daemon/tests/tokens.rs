//! Rows of tokens through sessions: from lists, one file and many files; packed, cut, bucketed, by budget; and files
//! that are wrong.

mod support;
mod token_rows;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use forebay::delivery::local::record::FLAG_LAST;
use forebay::error::{Fault, Kind};
use forebay::job::Job;
use forebay::session::{Outgoing, Session};
use forebay::storage::Faults;
use forebay_plan::{Cursor, Tail};
use proptest::prelude::*;
use support::{Node, OpenAs};
use token_rows::{CUT_FIELDS, Corpus, PACKED_FIELDS, Stored, order, packed, token, tokens_field, try_job};

/// One row of a batch: of each tensor its int32s, `valid` last.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    tensors: Vec<Vec<i32>>,
    valid: bool,
}

fn ints(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|&bytes| i32::from_ne_bytes(bytes)).collect()
}

/// Up to `steps` batches of a session, to the end of its epoch.
async fn batches(session: &mut Session, steps: usize) -> Vec<Vec<Row>> {
    session.credit(steps as u32);
    let mut made = Vec::new();
    while made.len() < steps {
        let ready = match support::next(session).await {
            Outgoing::Ready(ready) => ready,
            Outgoing::Fault { fault, .. } => panic!("{fault}"),
        };
        let tensors = support::tensors(session, &ready);
        support::release(session, &ready);
        let rows = ready.tensors[0].dims[0] as usize;
        let (valid, tensors) = tensors.split_last().expect("valid is the last");
        let row = |row: usize| Row {
            tensors: tensors
                .iter()
                .map(|bytes| ints(&bytes[bytes.len() / rows * row..][..bytes.len() / rows]))
                .collect(),
            valid: valid[row] == 1,
        };
        made.push((0..rows).map(row).collect());
        if ready.flags & FLAG_LAST != 0 {
            break;
        }
    }
    made
}

/// The rows that count of an epoch, as one set of ranks after another gets them: so many, of so many rows, for so many
/// steps. Behind a rank's rows of a step come those of the next.
async fn stream(node: &Node, job: &Arc<Job>, epoch: u64, chain: &[(u32, u32, usize)]) -> Vec<Row> {
    let (mut position, mut seen) = (0, Vec::new());
    let end = job.epoch(epoch).expect("an epoch").rows();
    for &(size, rows, steps) in chain {
        if position >= end {
            break;
        }
        let mut ranks = Vec::new();
        for rank in 0..size {
            let cursor = Cursor { epoch, position };
            let open = OpenAs { rows, cursor, partition: (rank, size), tail: Tail::Pad, ..OpenAs::default() };
            ranks.push(batches(&mut node.open_job(job, &open), steps).await);
        }
        for step in 0..ranks[0].len() {
            seen.extend(ranks.iter().flat_map(|batches| batches[step].clone()).filter(|row| row.valid));
        }
        position += u64::from(size * rows) * ranks[0].len() as u64;
    }
    seen
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Checks what a packed row says of itself against its tokens, and gives its tokens.
fn check_packed(row: &Row, capacity: usize) -> Vec<(u32, u32)> {
    let [tokens, places, segments, ends, length] = &row.tensors[..] else { panic!("five tensors") };
    let count = length[0] as usize;
    assert!((1..=capacity).contains(&count) && tokens.len() == capacity);
    let mut found = Vec::new();
    for (segment, span) in ends.windows(2).enumerate().filter(|(_, span)| span[0] < span[1]) {
        let part = span[0] as usize..span[1] as usize;
        assert!(segments[part.clone()].iter().all(|&id| id == segment as i32));
        assert!(places[part.clone()].iter().copied().eq(0..(part.len() as i32)));
        let of = tokens[part].iter().map(|&token| ((token - 1) as u32 / 4096, (token - 1) as u32 % 4096));
        let of: Vec<_> = of.collect();
        assert!(of.windows(2).all(|pair| pair[1] == (pair[0].0, pair[0].1 + 1)), "one document in its order");
        found.extend(of);
    }
    assert_eq!(found.len(), count);
    assert!(ends.iter().skip_while(|&&end| end < count as i32).all(|&end| end == count as i32));
    assert!(tokens[count..].iter().chain(&places[count..]).all(|&padding| padding == 0));
    assert!(segments[count..].iter().all(|&id| id == -1));
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_rows_hold_every_token_of_every_document_once_wherever_they_are_stored(
        lengths in prop::collection::vec(prop_oneof![Just(0_u32), 1_u32..40, 40_u32..700], 1..120),
        capacity in 1_u32..300, documents_max in prop_oneof![Just(0_u32), 1_u32..6], epoch in 0_u64..3,
    ) {
        prop_assume!(lengths.iter().any(|&len| len > 0));
        let mut streams = Vec::new();
        for stored in [Stored::Lists, Stored::OneFile, Stored::AFileEach] {
            let corpus = Corpus::new(&lengths, stored, 0);
            let packing = format!(r#""capacity":{capacity},"documentsMax":{documents_max}"#);
            let job = packed(&corpus, stored, &packing, "");
            streams.push(run(async {
                let node = Node::of(corpus.files, 2, Faults::default());
                stream(&node, &job, epoch, &[(1, 4, usize::MAX >> 40)]).await
            }));
        }
        prop_assert!(streams.iter().all(|stream| *stream == streams[0]));
        let mut tokens: Vec<_> = streams[0].iter().flat_map(|row| check_packed(row, capacity as usize)).collect();
        tokens.sort_unstable();
        let due = (0..).zip(&lengths).flat_map(|(document, &len)| (0..len).map(move |place| (document, place)));
        prop_assert!(tokens.into_iter().eq(due));
        let room = if documents_max == 0 { capacity } else { documents_max.min(capacity) } as usize + 1;
        prop_assert!(streams[0].iter().all(|row| row.tensors[3].len() == room));
    }
}

fn lengths(count: u32) -> Vec<u32> {
    (0..count).map(|document| 1 + document * 37 % 90).collect()
}

/// Jobs that go by lengths, over one source and over two, and the rows that a rank takes a step.
fn windowed_jobs(stored: Stored, corpora: [&Corpus; 2]) -> Vec<(String, Arc<Job>, bool)> {
    let mut jobs = Vec::new();
    for grouping in [
        r#""packed":{"capacity":128}"#,
        r#""bucketed":{"batchRows":12}"#,
        r#""budgeted":{"tokens":400,"samplesMax":20}"#,
    ] {
        let is_packed = grouping.contains("packed");
        let more = if is_packed { "" } else { r#","capacity":90"# };
        let fields = tokens_field(stored, more) + if is_packed { PACKED_FIELDS } else { CUT_FIELDS };
        let one = order(grouping, 96);
        let mixed = one.replace("SHUFFLED", "MIXTURE").replacen('{', r#"{"epochRows":"1024","#, 1);
        let snapshots = corpora.map(|corpus| Arc::clone(&corpus.snapshot));
        let job = try_job(&fields, &one, "", vec![Arc::clone(&snapshots[0])]).expect("a job");
        let sources = r#","sources":[{"name":"a","share":3},{"name":"b","share":1}]"#;
        let mixture = try_job(&fields, &mixed, sources, snapshots.to_vec()).expect("a job");
        let is_budgeted = grouping.contains("budgeted");
        jobs.push((grouping.to_owned(), Arc::new(job), is_budgeted));
        jobs.push((format!("mixed {grouping}"), Arc::new(mixture), is_budgeted));
    }
    jobs
}

#[test]
fn any_cut_into_ranks_batches_and_restarts_gives_the_same_bytes() {
    for stored in [Stored::Lists, Stored::OneFile, Stored::AFileEach] {
        let corpora = [Corpus::new(&lengths(300), stored, 0), Corpus::new(&lengths(50), stored, 1000)];
        let jobs = windowed_jobs(stored, [&corpora[0], &corpora[1]]);
        let files = corpora.into_iter().flat_map(|corpus| corpus.files).collect();
        run(async {
            let node = Node::of(files, 3, Faults::default());
            for (name, job, rows_are_batches) in jobs {
                let all = usize::MAX >> 40;
                // Where a row is a batch, each rank takes one a step.
                let rows = |rows: u32| if rows_are_batches { 1 } else { rows };
                let whole = stream(&node, &job, 1, &[(1, rows(8), all)]).await;
                let chain = [(2, rows(4), 2), (3, rows(5), 1), (1, rows(1), 3), (4, rows(2), all)];
                let cut = stream(&node, &job, 1, &chain).await;
                assert!(whole == cut, "{stored:?} {name}: {} rows, cut {}", whole.len(), cut.len());
                assert!(whole != stream(&node, &job, 0, &[(1, rows(8), all)]).await, "{name}: epochs differ");
            }
        });
    }
}

#[test]
fn each_sample_comes_whole_with_its_length_where_rows_are_samples() {
    for stored in [Stored::Lists, Stored::OneFile, Stored::AFileEach] {
        let corpus = Corpus::new(&[5, 0, 9, 2], stored, 0);
        // Cut to 6, padded with -100; a length says what is left.
        let fields = tokens_field(stored, r#","capacity":6,"pad":"-100""#) + CUT_FIELDS;
        let job = try_job(&fields, "{}", "", vec![corpus.snapshot]).expect("a job");
        let rows = run(async {
            let node = Node::of(corpus.files, 1, Faults::default());
            stream(&node, &Arc::new(job), 0, &[(1, 4, 1)]).await
        });
        let due = |document: u32, count: u32| {
            let tokens = (0..count).map(|place| token(document, place) as i32);
            let padding = (count..6).map(|_| -100);
            tokens.chain(padding).collect::<Vec<_>>()
        };
        let got: Vec<_> = rows.iter().map(|row| (row.tensors[0].clone(), row.tensors[1][0])).collect();
        assert_eq!(got, [(due(0, 5), 5), (due(1, 0), 0), (due(2, 6), 6), (due(3, 2), 2)], "{stored:?}");
    }
}

#[test]
fn buckets_leave_little_to_pad() {
    // Lengths as of sentences: many short ones, a long tail.
    let lengths: Vec<u32> = (0..2000_u32).map(|i| 4 + (i * 7919 % 2000).pow(2) / 8000).collect();
    let corpus = Corpus::new(&lengths, Stored::Lists, 0);
    let fields = tokens_field(Stored::Lists, "") + CUT_FIELDS;
    let padding = |order: &str| {
        let job = Arc::new(try_job(&fields, order, "", vec![Arc::clone(&corpus.snapshot)]).expect("a job"));
        let batches = run(async {
            let node = Node::of(Vec::new(), 1, Faults::default());
            let open = OpenAs { rows: 32, tail: Tail::Partial, ..OpenAs::default() };
            batches(&mut node.open_job(&job, &open), 1000).await
        });
        let counts = batches.iter().map(|rows| rows.iter().map(|row| row.tensors[1][0]).collect::<Vec<_>>());
        let waste = |counts: Vec<i32>| {
            let longest = *counts.iter().max().expect("a row");
            counts.iter().map(|count| longest - count).sum::<i32>()
        };
        f64::from(counts.map(waste).sum::<i32>()) / f64::from(lengths.iter().sum::<u32>())
    };
    let shuffled = padding(r#"{"sampler":"SAMPLER_SHUFFLED","seed":"7"}"#);
    let bucketed = padding(&order(r#""bucketed":{"batchRows":32}"#, 1024));
    assert!(
        shuffled > 1.0 && bucketed < 0.1,
        "padding a token: {shuffled:.3} shuffled, {bucketed:.3} bucketed"
    );
}

/// What is done to the files of a corpus: names and bytes.
type Damage = dyn Fn(&mut Vec<(String, Vec<u8>)>);

/// A corpus of a file each whose files are then changed.
fn damaged(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Corpus {
    let mut corpus = Corpus::new(&[10, 20, 30, 40], Stored::AFileEach, 0);
    change(&mut corpus.files);
    corpus
}

/// The fault that a session of a job ends with.
fn fault_of(corpus: Corpus, job: &Arc<Job>) -> Fault {
    run(async {
        let node = Node::of(corpus.files, 2, Faults::default());
        support::fault(&mut node.open_job(job, &OpenAs { rows: 4, ..OpenAs::default() })).await
    })
}

#[test]
fn files_that_are_not_what_the_data_set_says_are_corrupt_by_name() {
    let cut = |files: &mut Vec<(String, Vec<u8>)>| files[2].1.truncate(117);
    let short = |files: &mut Vec<(String, Vec<u8>)>| files[2].1.truncate(100);
    let long = |files: &mut Vec<(String, Vec<u8>)>| files[2].1.extend([0; 8]);
    let large = |files: &mut Vec<(String, Vec<u8>)>| files[2].1[40..44].fill(0xFF);
    let cases: [(&Damage, &str); 4] = [
        (&cut, "117 bytes are no whole number of tokens of 4 bytes"),
        (&short, "the file holds 25 tokens and its column of lengths says 30"),
        (&long, "the file holds 32 tokens and its column of lengths says 30"),
        (&large, "token 4294967295 at 10 does not fit int32"),
    ];
    for (change, says) in cases {
        let corpus = damaged(change);
        let job = packed(&corpus, Stored::AFileEach, r#""capacity":100"#, "");
        let fault = fault_of(corpus, &job);
        assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("2.bin")), "{fault}");
        assert!(fault.to_string().contains(says) && fault.hint.is_some(), "{fault}");
    }
}

#[test]
fn a_row_with_a_corrupt_document_is_masked_whole_and_the_others_stand() {
    let corpus = damaged(|files| files[2].1.truncate(117));
    let mask = r#","onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"}"#;
    let fields = tokens_field(Stored::AFileEach, r#","pad":"-100""#) + PACKED_FIELDS;
    // Documents 1 and 2 share a row, so do 0 and 3.
    let order = order(r#""packed":{"capacity":50,"documentsMax":4}"#, 64);
    let job = Arc::new(try_job(&fields, &order, mask, vec![Arc::clone(&corpus.snapshot)]).expect("a job"));
    let rows = run(async {
        let node = Node::of(corpus.files, 2, Faults::default());
        let open = OpenAs { rows: 2, tail: Tail::Drop, ..OpenAs::default() };
        batches(&mut node.open_job(&job, &open), 1).await.remove(0)
    });
    let (sound, masked): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.valid);
    let documents: HashSet<i32> = sound[0].tensors[0].iter().map(|token| (token - 1) / 4096).collect();
    assert_eq!((sound.len(), documents), (1, HashSet::from([0, 3])));
    let [tokens, places, segments, ends, length] = &masked[0].tensors[..] else { panic!("five tensors") };
    assert!(tokens.iter().all(|&token| token == -100) && places.iter().all(|&place| place == 0));
    assert!(segments.iter().all(|&id| id == -1) && ends.iter().all(|&end| end == 0));
    assert_eq!((masked.len(), &length[..]), (1, &[0][..]));
}

#[test]
fn another_sample_stands_in_for_a_corrupt_one_where_rows_are_samples() {
    let corpus = damaged(|files| files[2].1.truncate(117));
    let substitute = r#","onBadSample":{"policy":"BAD_SAMPLE_POLICY_SUBSTITUTE"}"#;
    let fields = tokens_field(Stored::AFileEach, r#","capacity":64"#) + CUT_FIELDS;
    let order = order(r#""bucketed":{"batchRows":4}"#, 64);
    let job = try_job(&fields, &order, substitute, vec![Arc::clone(&corpus.snapshot)]).expect("a job");
    let rows = run(async {
        let node = Node::of(corpus.files, 2, Faults::default());
        stream(&node, &Arc::new(job), 0, &[(1, 4, 1)]).await
    });
    let mut counts = BTreeMap::new();
    for row in &rows {
        // Length, label and tokens are of one sample, whichever it is.
        let document = (row.tensors[0][0] - 1) / 4096;
        assert_eq!(row.tensors[1][0], 10 * (document + 1));
        *counts.entry(document).or_insert(0) += 1;
    }
    assert!(counts.values().sum::<i32>() == 4 && !counts.contains_key(&2), "{counts:?}");
}

#[test]
fn a_file_that_ends_before_its_extent_is_changed_and_never_masked() {
    let mut corpus = Corpus::new(&[10, 20, 30], Stored::OneFile, 0);
    corpus.files[0].1.truncate(200);
    let mask = r#","onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"}"#;
    let job = packed(&corpus, Stored::OneFile, r#""capacity":100"#, mask);
    let fault = fault_of(corpus, &job);
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Changed, Some("d2")), "{fault}");
    assert!(fault.to_string().contains("has 200 bytes, but the sample should end at byte 240"), "{fault}");
}

#[test]
fn errors_that_pass_change_no_token() {
    let corpus = || Corpus::new(&lengths(60), Stored::OneFile, 0);
    let faults = Faults { seed: 3, io_error_per_mille: 200, changed_per_mille: 50, ..Faults::default() };
    let streams = [Faults::default(), faults].map(|faults| {
        let corpus = corpus();
        let job = packed(&corpus, Stored::OneFile, r#""capacity":128"#, "");
        run(async {
            let node = Node::of(corpus.files, 2, faults);
            stream(&node, &job, 0, &[(2, 3, usize::MAX >> 40)]).await
        })
    });
    assert!(streams[0] == streams[1]);
}
