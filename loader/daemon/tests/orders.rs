//! Orders as a job has them: whatever the cut into ranks, batches and parts of a run, the same rows.

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use forebay::error::{Fault, Kind};
use forebay::job::{self, Job, RowWalker};
use forebay::storage::Faults;
use forebay_plan::{Cursor, Cut, Partition, Tail};
use forebay_proto::v1;
use support::{Node, OpenAs, drain};

/// `samples` records of a source: an id, a class, a length and a weight.
fn source(first: u64, samples: u64) -> Arc<Snapshot> {
    let line = |id: u64| {
        let (class, tokens, w) = (id * id % 3, 1 + id * 37 % 90, 1 + id % 4);
        format!(r#"{{"key":"s{id}","id":{id},"class":{class},"tokens":{tokens},"w":{w}}}"#)
    };
    let lines: Vec<_> = (first..first + samples).map(line).collect();
    let column = |name: &str, kind| ColumnSpec { name: name.to_owned(), kind };
    let columns = vec![
        column("key", ColumnKind::Text),
        column("id", ColumnKind::Int),
        column("class", ColumnKind::Int),
        column("tokens", ColumnKind::Int),
        column("w", ColumnKind::Weight),
    ];
    let spec = SourceSpec::Records { root: None, json_lines: lines.join("\n").into_bytes(), columns };
    Arc::new(catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot"))
}

/// A job over three sources of 700, 90 and 5 samples, or over the first alone.
fn job(sources: &str, order: &str) -> Result<Job, Fault> {
    // A packed row holds several samples and the values of none.
    let is_packed = order.contains("packed") && !order.contains("PACKED");
    let field =
        if is_packed { r#"{"name":"place","decode":"DECODE_POSITION_IDS"}"# } else { r#"{"name":"id"}"# };
    let spec = format!(r#"{{"sources":[{sources}],"fields":[{field}],"order":{order}}}"#);
    let spec: v1::JobSpec = serde_json::from_str(&spec).expect("a spec");
    let all = [source(0, 700), source(10_000, 90), source(20_000, 5)];
    let count = spec.sources.len().max(1);
    job::resolve_all(&spec, all.into_iter().take(count).collect())
}

const THREE: &str = r#"{"name":"web","share":6},{"name":"code","share":3},{"name":"rare","share":0.01}"#;

/// Base64 of little-endian numbers, as the JSON mapping has bytes.
fn bytes(numbers: &[u32]) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let sign = |chunk: &[u8], at: usize| {
        let word =
            chunk.iter().enumerate().fold(0_u32, |word, (i, &byte)| word | u32::from(byte) << (16 - 8 * i));
        if at <= chunk.len() { SIGNS[(word >> (18 - 6 * at) & 63) as usize] as char } else { '=' }
    };
    bytes.chunks(3).flat_map(|chunk| (0..4).map(move |at| sign(chunk, at))).collect()
}

fn orders() -> Vec<(&'static str, Job)> {
    let one = |order: &str| job("", order).unwrap_or_else(|fault| panic!("{order}: {fault}"));
    let list: Vec<u32> = (0..311).map(|i| i * 17 % 700).collect();
    let list = bytes(&list);
    let windows = |grouping: &str| {
        format!(
            r#"{{"sampler":"SAMPLER_SHUFFLED","seed":"7","windows":{{"lengthColumn":"tokens","windowRows":96,{grouping}}}}}"#
        )
    };
    let mixed = format!(
        r#"{{"sampler":"SAMPLER_MIXTURE","seed":"7","epochRows":"2048","windows":{{"lengthColumn":"tokens","windowRows":96,{}}}}}"#,
        r#""packed":{"capacity":128}"#
    );
    vec![
        ("shuffled", one(r#"{"sampler":"SAMPLER_SHUFFLED","seed":"7"}"#)),
        ("mixture", job(THREE, r#"{"sampler":"SAMPLER_MIXTURE","seed":"7"}"#).expect("a mixture")),
        ("balanced", one(r#"{"sampler":"SAMPLER_BALANCED","column":"class","seed":"7"}"#)),
        ("weighted", one(r#"{"sampler":"SAMPLER_WEIGHTED","column":"w","seed":"7","epochRows":"501"}"#)),
        ("explicit", one(&format!(r#"{{"sampler":"SAMPLER_EXPLICIT","lists":[{{"indices":"{list}"}}]}}"#))),
        (
            "repeated",
            one(r#"{"sampler":"SAMPLER_SHUFFLED","seed":"7","repeat":{"times":3,"windowRows":16}}"#),
        ),
        ("bucketed", one(&windows(r#""bucketed":{"batchRows":24}"#))),
        ("packed", one(&windows(r#""packed":{"capacity":128}"#))),
        ("packed mixture", job(THREE, &mixed).expect("a mixture")),
    ]
}

/// What stands in the rows `from..` of an epoch as one consumer after another gets them: `(row, keys, starts)`.
fn stream(job: &Job, epoch: u64, chain: &[(u32, u32, u64)]) -> Vec<(u64, Vec<String>)> {
    let rows = job.epoch(epoch).expect("an epoch");
    let (mut position, mut seen) = (0, Vec::new());
    for &(size, batch, steps) in chain {
        let mut next = position;
        for rank in 0..size {
            let part = Partition::new(rank, size).expect("a rank");
            let cut = Cut::new(rows.rows(), part, batch, Tail::Pad).expect("a cut");
            // Each rank walks for itself, and some begin in the middle.
            let mut walker = RowWalker::new(Arc::clone(&rows));
            let mut cursor = Cursor { epoch, position };
            for _ in 0..steps {
                let Some(plan) = cut.batch_at(cursor).filter(|_| cursor.epoch == epoch) else { break };
                let planned = walker.plan(plan.range()).expect("rows");
                for row in 0..planned.len() {
                    if planned.row(row).valid {
                        let part = |part: &job::PartPlan| format!("{}+{}", job.key(part.pick), part.start);
                        seen.push((planned.row(row).position, planned.parts(row).iter().map(part).collect()));
                    }
                }
                cursor = plan.next;
            }
            next = if cursor.epoch == epoch { cursor.position } else { rows.rows() };
        }
        position = next;
    }
    seen.sort();
    seen
}

#[test]
fn any_cut_into_ranks_batches_and_restarts_gives_the_same_rows() {
    for (name, job) in orders() {
        for epoch in [0, 3] {
            let whole = stream(&job, epoch, &[(1, 32, u64::MAX)]);
            let rows = job.epoch(epoch).expect("an epoch").rows();
            assert_eq!(whole.len() as u64, rows, "{name}: each row once");
            assert!(whole.iter().zip(0..).all(|((row, _), at)| *row == at), "{name}: in order");
            let chain = [(2, 8, 3), (3, 5, 2), (1, 1, 7), (8, 4, 2), (6, 16, u64::MAX)];
            assert_eq!(stream(&job, epoch, &chain), whole, "{name}, epoch {epoch}");
        }
    }
}

#[test]
fn epochs_of_an_order_that_is_drawn_differ() {
    for (name, job) in orders() {
        let (first, second) = (stream(&job, 0, &[(1, 64, 99)]), stream(&job, 1, &[(1, 64, 99)]));
        assert_eq!(first == second, name == "explicit", "{name}");
    }
}

#[test]
fn a_mixture_keeps_its_shares_in_every_block_of_1024_rows_and_its_sources_in_their_names() {
    let job =
        job(THREE, r#"{"sampler":"SAMPLER_MIXTURE","seed":"7","epochRows":"4096"}"#).expect("a mixture");
    let rows = stream(&job, 2, &[(4, 16, u64::MAX)]);
    for block in rows.chunks(1024) {
        let mut counts = HashMap::new();
        for (_, keys) in block {
            *counts.entry(keys[0].split(':').next().expect("a source").to_owned()).or_insert(0) += 1;
        }
        let exact = |share: f64| share / 9.01 * 1024.0;
        for (source, share) in [("web", 6.0), ("code", 3.0), ("rare", 0.01)] {
            let count = f64::from(counts.get(source).copied().unwrap_or(0));
            assert!((count - exact(share)).abs() < 1.0, "{source}: {count} of {}", exact(share));
        }
    }
}

#[test]
fn windows_that_are_packed_hold_every_token_of_every_document_once() {
    let (_, job) = orders().into_iter().find(|(name, _)| *name == "packed").expect("it is one");
    let rows = job.epoch(1).expect("an epoch");
    let mut walker = RowWalker::new(Arc::clone(&rows));
    let mut tokens: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
    for first_row in 0..rows.rows() {
        let range = forebay_plan::BatchRange { epoch: 1, first_row, rows: 1 };
        let planned = walker.plan(range).expect("a row");
        assert!(planned.parts(0).iter().map(|part| part.len).sum::<u32>() <= 128);
        planned.parts(0).iter().for_each(|part| {
            tokens.entry(part.pick.sample.0).or_default().push((part.start, part.len));
        });
    }
    assert_eq!(tokens.len(), 700);
    for (sample, mut pieces) in tokens {
        pieces.sort_unstable();
        let end = pieces.iter().fold(0, |end, &(start, len)| if start == end { end + len } else { u32::MAX });
        assert_eq!(u64::from(end), 1 + sample * 37 % 90, "sample {sample}: {pieces:?}");
    }
}

#[test]
fn a_budget_of_tokens_makes_batches_that_hold_it_padding_and_all() {
    let order = r#"{"sampler":"SAMPLER_SHUFFLED","seed":"7","windows":
        {"lengthColumn":"tokens","budgeted":{"tokens":400,"samplesMax":30}}}"#;
    let job = job("", order).expect("a job");
    let rows = job.epoch(0).expect("an epoch");
    let mut walker = RowWalker::new(Arc::clone(&rows));
    let mut samples = 0;
    for first_row in 0..rows.rows() {
        let planned =
            walker.plan(forebay_plan::BatchRange { epoch: 0, first_row, rows: 1 }).expect("a batch");
        let longest = (0..planned.len()).map(|row| planned.part(row).len).max().expect("some");
        assert!(planned.len() <= 30 && longest * planned.len() <= 400);
        samples += planned.len();
    }
    assert_eq!((samples, job.order.samples_max(1)), (700, 30));
    assert!(job.order.rows_are_batches());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_batches_of_any_sizes_arrive_as_they_were_written_one_a_rank_a_step() {
    let node = Node::new(12, 2, Faults::default());
    let list = bytes(&[3, 1, 4, 1, 5, 9, 2, 6, 11]);
    let spec = format!(
        r#"{{"fields":[{{"name":"image","column":"path","transforms":[{{"centerCrop":{{"size":[8]}}}}]}},{{"name":"label"}}],
            "order":{{"sampler":"SAMPLER_EXPLICIT","lists":[{{"indices":"{list}","sizes":[2,4,1,2]}}]}}}}"#
    );
    let mut labels = Vec::new();
    for rank in 0..2 {
        let open = OpenAs { rows: 1, partition: (rank, 2), tail: Tail::Drop, ..OpenAs::default() };
        let mut session = node.open(&spec, &open);
        session.credit(100);
        labels.push(drain(&mut session).await.into_iter().map(|batch| batch.labels).collect::<Vec<_>>());
    }
    assert_eq!(labels, [[vec![3, 1], vec![2]], [vec![4, 1, 5, 9], vec![6, 11]]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_several_epochs_follow_each_other_in_one_session_though_their_lengths_differ() {
    let node = Node::new(12, 2, Faults::default());
    let (first, second) = (bytes(&[3, 1, 4]), bytes(&[9, 8, 7, 6, 5]));
    let spec = format!(
        r#"{{"fields":[{{"name":"image","column":"path","transforms":[{{"centerCrop":{{"size":[8]}}}}]}},{{"name":"label"}}],
            "order":{{"sampler":"SAMPLER_EXPLICIT","lists":[{{"indices":"{first}"}},{{"indices":"{second}"}}]}}}}"#
    );
    let mut session = node.open(&spec, &OpenAs { rows: 2, rolling: true, ..OpenAs::default() });
    session.credit(6);
    let mut labels = Vec::new();
    for _ in 0..3 {
        labels.push(drain(&mut session).await.into_iter().map(|batch| batch.labels).collect::<Vec<_>>());
        session.credit(6);
    }
    let (short, long) = (vec![vec![3, 1], vec![4]], vec![vec![9, 8], vec![7, 6], vec![5]]);
    assert_eq!(labels, [short.clone(), long, short]);
}

#[test]
fn the_state_tells_orders_apart_by_what_they_are_made_of() {
    let digest = |sources: &str, order: &str| {
        let job = job(sources, order).expect("a job");
        (job.order_digest, job.order_parts.entries().next().expect("a part").1.to_owned())
    };
    let mixture = r#"{"sampler":"SAMPLER_MIXTURE","seed":"7"}"#;
    let (one, one_words) = digest(THREE, mixture);
    let (other, other_words) = digest(&THREE.replace("\"share\":3", "\"share\":4"), mixture);
    assert!(one != other && one_words != other_words, "{one_words} {other_words}");
    assert!(one_words.contains("mixture of web 6, code 3, rare 0.01"), "{one_words}");
    assert_eq!(one, digest(&THREE.replace("\"share\":6", "\"share\":6.0"), mixture).0);
}

#[test]
fn orders_that_cannot_be_made_say_why_and_what_to_do() {
    let wrong = [
        (THREE, r#"{"sampler":"SAMPLER_SHUFFLED"}"#, "3 sources in the order SAMPLER_SHUFFLED"),
        (
            r#"{"name":"a","share":1},{"name":"a","share":1}"#,
            r#"{"sampler":"SAMPLER_MIXTURE"}"#,
            "given twice",
        ),
        (r#"{"name":"a"},{"name":"b"}"#, r#"{"sampler":"SAMPLER_MIXTURE"}"#, "all weights are 0"),
        (THREE, r#"{"sampler":"SAMPLER_MIXTURE","epochRows":"1000"}"#, "1024"),
        (THREE, r#"{"sampler":"SAMPLER_MIXTURE","epochSource":"nix"}"#, "no source \"nix\""),
        (
            THREE,
            r#"{"sampler":"SAMPLER_MIXTURE","phases":[{"fromRow":"0","shares":[1,2]}]}"#,
            "2 weights for 3",
        ),
        ("", r#"{"sampler":"SAMPLER_BALANCED"}"#, "no column \"label\""),
        ("", r#"{"sampler":"SAMPLER_BALANCED","column":"w"}"#, "does not hold whole numbers"),
        ("", r#"{"sampler":"SAMPLER_WEIGHTED","weights":"AAAAAAAA8D8="}"#, "1 weights for 700 samples"),
        ("", r#"{"sampler":"SAMPLER_WEIGHTED","column":"key"}"#, "does not hold numbers"),
        ("", r#"{"sampler":"SAMPLER_EXPLICIT"}"#, "list"),
        ("", r#"{"sampler":"SAMPLER_EXPLICIT","lists":[{"indices":"AAA="}]}"#, "cut short"),
        ("", r#"{"sampler":"SAMPLER_EXPLICIT","lists":[{"indices":"vAIAAA=="}]}"#, "700"),
        ("", r#"{"sampler":"SAMPLER_EXPLICIT","lists":[{"indices":"AAAAAA==","sizes":[2]}]}"#, "2"),
        ("", r#"{"repeat":{"times":0}}"#, "0"),
        ("", r#"{"windows":{"lengthColumn":"tokens"}}"#, "windows without"),
        ("", r#"{"windows":{"packed":{"capacity":9}}}"#, "no column of lengths"),
        ("", r#"{"windows":{"lengthColumn":"tokens","packed":{"capacity":9,"failOnLong":true}}}"#, "9"),
        ("", r#"{"windows":{"lengthColumn":"tokens","bucketed":{"batchRows":0}}}"#, "batch_rows"),
        (
            THREE,
            r#"{"sampler":"SAMPLER_MIXTURE","epochRows":"281474976710656","windows":{"lengthColumn":"tokens","packed":{"capacity":9}}}"#,
            "at most 1073741824",
        ),
    ];
    for (sources, order, expected) in wrong {
        let fault = job(sources, order).err().unwrap_or_else(|| panic!("{order} is no order"));
        assert_eq!(fault.kind, Kind::Invalid, "{order}: {fault}");
        assert!(fault.to_string().contains(expected), "{order}: {fault}");
    }
}
