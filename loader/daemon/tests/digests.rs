//! The sums of an epoch are those of its rows, however they were cut, made, broken off and taken up again; and any
//! other row changes them. A recomputation comes to the same.

mod support;

use std::path::Path;

use forebay::config::Config;
use forebay::delivery::local::record::FLAG_LAST;
use forebay::error::Kind;
use forebay::run::Daemon;
use forebay::server::Peer;
use forebay::session::{Outgoing, Session};
use forebay::storage::Faults;
use forebay_plan::{Cursor, RowSum, Tail, Tally};
use forebay_proto::v1;
use support::{Node, OpenAs, next, png, release};

const ROWS: usize = 50;

fn spec(seed: u32, policy: &str, flip: &str) -> String {
    format!(
        r#"{{"sources":[{{"records":{{"root":"ROOT","jsonLines":"LINES"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"{seed}"}},"onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}},
        "fields":[{{"name":"image","column":"path","transforms":[{{"randomResizedCrop":{{"size":[8]}}}}{flip}]}},{{"name":"label"}}]}}"#
    )
}

fn plain() -> String {
    spec(7, "FAIL", r#",{"randomHorizontalFlip":{}}"#)
}

fn node() -> Node {
    Node::new(ROWS, 2, Faults::default())
}

/// Adds up `steps` batches, or those to the end of the epoch.
async fn sum(session: &mut Session, steps: usize) -> (Tally, u64) {
    session.credit(1 << 20);
    let (mut tally, mut end_row) = (Tally::default(), 0);
    for _ in 0..steps {
        let Outgoing::Ready(ready) = next(session).await else { panic!("a fault") };
        release(session, &ready);
        let step = ready.tally.expect("it was asked for");
        tally.merge(&step.tally);
        end_row = step.end_row;
        if ready.flags & FLAG_LAST != 0 {
            break;
        }
    }
    (tally, end_row)
}

/// The sums of a whole epoch over all ranks.
async fn epoch_of(node: &Node, spec: &str, world: u32, rows: u32, tail: Tail, depth: u32) -> Tally {
    let mut whole = Tally::default();
    for rank in 0..world {
        let open = OpenAs { rows, partition: (rank, world), tail, depth, digest: true, ..OpenAs::default() };
        whole.merge(&sum(&mut node.open(spec, &open), usize::MAX).await.0);
    }
    whole
}

async fn epoch(node: &Node, spec: &str) -> Tally {
    epoch_of(node, spec, 1, 8, Tail::Partial, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_adds_up_to_the_same_for_any_world_batch_tail_and_depth() {
    let node = node();
    let whole = epoch(&node, &plain()).await;
    assert_eq!(whole.rows, ROWS as u64);
    for (world, rows, tail, depth) in [
        (1, 50, Tail::Drop, 1),
        (2, 7, Tail::Partial, 3),
        (3, 4, Tail::Pad, 2),
        (8, 3, Tail::Partial, 2),
        (8, 16, Tail::Pad, 5),
        (5, 10, Tail::Drop, 1),
    ] {
        assert_eq!(
            epoch_of(&node, &plain(), world, rows, tail, depth).await,
            whole,
            "{world} x {rows}, {tail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_reads_that_fail_and_pass_change_nothing() {
    let whole = epoch(&node(), &plain()).await;
    let faults = Faults {
        seed: 3,
        io_error_per_mille: 200,
        delay_per_mille: 200,
        delay_max: std::time::Duration::from_millis(3),
        ..Faults::default()
    };
    assert_eq!(epoch(&Node::new(ROWS, 5, faults), &plain()).await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_run_that_was_stopped_and_resumed_under_another_world_add_up_to_the_epoch() {
    let node = node();
    let whole = epoch(&node, &plain()).await;
    let (mut parts, mut position) = (Tally::default(), 0);
    for (world, rows, steps) in [(4, 3, 2), (2, 5, 1), (8, 2, usize::MAX)] {
        let (cursor, mut ends) = (Cursor { epoch: 0, position }, Vec::new());
        for rank in 0..world {
            let partition = (rank, world);
            let open = OpenAs { rows, partition, cursor, digest: true, ..OpenAs::default() };
            let (part, end_row) = sum(&mut node.open(&plain(), &open), steps).await;
            parts.merge(&part);
            ends.push(end_row);
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "all ranks stand at the same row");
        position = ends[0];
    }
    assert_eq!((parts, position), (whole, ROWS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_and_given_up_is_not_counted() {
    let node = node();
    let mut session = node.open(&plain(), &OpenAs { digest: true, depth: 4, ..OpenAs::default() });
    let (first, end_row) = sum(&mut session, 2).await;
    session.seek(1, Cursor { epoch: 0, position: end_row }, 1 << 20).expect("in sequence");
    let mut whole = sum(&mut session, usize::MAX).await.0;
    whole.merge(&first);
    assert_eq!(whole, epoch(&node, &plain()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pixel_changes_the_content_and_not_the_order() {
    let whole = epoch(&node(), &plain()).await;
    let other = Node::with(ROWS, 2, Faults::default(), |files| {
        let mut image = image::load_from_memory(&png(11)).expect("a PNG").into_rgb8();
        image.put_pixel(8, 6, image::Rgb([200, 1, 200]));
        files[11].clear();
        image.write_to(&mut std::io::Cursor::new(&mut files[11]), image::ImageFormat::Png).expect("memory");
    });
    let changed = epoch(&other, &plain()).await;
    assert_eq!((changed.rows, changed.order), (whole.rows, whole.order));
    assert_ne!(changed.content, whole.content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_changes_both_and_a_transform_the_content() {
    let node = node();
    let whole = epoch(&node, &plain()).await;
    let seed = epoch(&node, &spec(8, "FAIL", r#",{"randomHorizontalFlip":{}}"#)).await;
    assert!(seed.order != whole.order && seed.content != whole.content);
    let transform = epoch(&node, &spec(7, "FAIL", "")).await;
    assert_eq!(transform.order, whole.order);
    assert_ne!(transform.content, whole.content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substitute_and_a_masked_row_change_the_content_and_not_the_order() {
    let bad = || Node::with(ROWS, 2, Faults::default(), |files| files[17] = b"no image".to_vec());
    let whole = epoch(&node(), &plain()).await;
    let flip = r#",{"randomHorizontalFlip":{}}"#;
    let mut contents = vec![whole.content];
    for policy in ["SUBSTITUTE", "MASK"] {
        let spec = spec(7, policy, flip);
        let sums = epoch(&bad(), &spec).await;
        assert_eq!((sums.rows, sums.order), (whole.rows, whole.order), "{policy}");
        assert_eq!(epoch_of(&bad(), &spec, 3, 5, Tail::Pad, 4).await, sums, "{policy}");
        assert!(!contents.contains(&sums.content), "{policy}");
        contents.push(sums.content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_not_asked_counts_nothing() {
    let mut session = node().open(&plain(), &OpenAs::default());
    session.credit(1);
    let Outgoing::Ready(ready) = next(&mut session).await else { panic!("a fault") };
    assert_eq!(ready.tally, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_files_and_rows_that_are_batches_add_up_too() {
    let values = r#"{"sources":[{"records":{"root":"ROOT","jsonLines":"LINES"}}],"order":{"sampler":"SAMPLER_SHUFFLED","seed":"7"},"fields":[{"name":"label"}]}"#;
    let node = node();
    let whole = epoch(&node, values).await;
    assert_eq!(epoch_of(&node, values, 3, 4, Tail::Pad, 2).await, whole);
    // Batches of 1 to 5 samples of similar "length", one row each.
    let budget = values.replace(
        r#""seed":"7""#,
        r#""seed":"7","windows":{"lengthColumn":"label","windowRows":16,"budgeted":{"tokens":120,"samplesMax":5}}"#,
    );
    let whole = epoch_of(&node, &budget, 1, 1, Tail::Partial, 2).await;
    assert!((10..ROWS as u64).contains(&whole.rows), "{} batches", whole.rows);
    assert_eq!(epoch_of(&node, &budget, 4, 1, Tail::Partial, 2).await, whole);
}

fn photos(root: &Path) {
    for index in 0..30_u8 {
        let class = root.join(["ant", "bee"][usize::from(index % 2)]);
        std::fs::create_dir_all(&class).expect("a folder");
        let pixel = |x: u32, y: u32| image::Rgb([index * 8, (x * 9) as u8, (y * 11) as u8]);
        image::RgbImage::from_fn(20, 24, pixel).save(class.join(format!("{index}.png"))).expect("an image");
    }
}

async fn resolved(daemon: &Daemon, root: &Path, job_id: &str) -> v1::JobRef {
    let json = format!(
        r#"{{"spec":{{"sources":[{{"folder":{{"path":"{}"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"3"}},"job_id":"{job_id}",
            "fields":[{{"name":"image","transforms":[{{"randomResizedCrop":{{"size":[9]}}}}]}},{{"name":"label"}}]}}}}"#,
        root.display()
    );
    let request = serde_json::from_str(&json).expect("a request");
    let job = daemon.service.resolve(Peer::Parent, request).await.expect("a job").job.expect("a job");
    v1::JobRef { order_digest: job.order_digest, content_digest: job.content_digest }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recomputation_comes_to_what_a_session_delivers_in_one_piece_and_in_many() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let job = resolved(&daemon, dir.path(), "").await;
    let open = v1::OpenRequest {
        job: Some(job.clone()),
        cursor: Some(v1::Cursor { epoch: 2, position: 0 }),
        rows: 7,
        digest: true,
        ..Default::default()
    };
    let (opened, _entry) = daemon.service.open(Peer::Parent, "test".to_owned(), &open).expect("a session");
    let mut session = daemon.service.sessions().take(opened.session).expect("it waits");
    let (delivered, _) = sum(&mut session, usize::MAX).await;

    let digest = async |from_row, to_row, content| {
        let request = v1::DigestRequest { job: Some(job.clone()), epoch: 2, from_row, to_row, content };
        daemon.service.digest(Peer::Parent, &request).await
    };
    let whole = digest(0, 0, true).await.expect("sums");
    assert_eq!((whole.epoch_rows, whole.to_row, whole.rows), (30, 30, 30));
    assert_eq!((whole.order, whole.content), (delivered.order.to_string(), delivered.content.to_string()));
    let mut pieces = Tally::default();
    for (from_row, to_row) in [(0, 11), (11, 12), (12, 0)] {
        let piece = digest(from_row, to_row, true).await.expect("sums");
        let sum = |digits: &str| digits.parse::<RowSum>().expect("64 digits");
        pieces.merge(&Tally { rows: piece.rows, order: sum(&piece.order), content: sum(&piece.content) });
    }
    assert_eq!(pieces, delivered);
    let planned = digest(0, 0, false).await.expect("sums");
    assert_eq!((planned.order, planned.content), (delivered.order.to_string(), String::new()));

    for (from_row, to_row) in [(30, 0), (5, 5), (9, 4), (0, 31), (u64::MAX, u64::MAX)] {
        let fault = digest(from_row, to_row, false).await.expect_err("no such rows");
        assert_eq!(fault.kind, Kind::Invalid, "{fault}");
        assert!(fault.message.contains("of an epoch of 30"), "{fault}");
    }
    let unknown = v1::DigestRequest { job: Some(job.clone()), epoch: u64::MAX, ..Default::default() };
    assert_eq!(
        daemon.service.digest(Peer::Parent, &unknown).await.expect_err("no epoch").kind,
        Kind::Invalid
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_found_by_its_name_and_an_unknown_name_lists_those_there_are() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let named = async |job_id: &str| {
        let request = v1::ResolveRequest { job_id: job_id.to_owned(), ..Default::default() };
        daemon.service.resolve(Peer::Parent, request).await.map(|reply| reply.job.expect("a job"))
    };
    let none = named("run-7").await.expect_err("nothing was resolved");
    assert_eq!(none.kind, Kind::NotFound);
    let job = resolved(&daemon, dir.path(), "run-7").await;
    assert_eq!(named("run-7").await.expect("known").order_digest, job.order_digest);
    let fault = named("run-8").await.expect_err("no such job");
    assert!(fault.hint.expect("a cure").contains("run-7"));

    let other = tempfile::tempdir().expect("a folder");
    photos(other.path());
    std::fs::remove_file(other.path().join("ant/0.png")).expect("it is there");
    resolved(&daemon, other.path(), "run-7").await;
    let fault = named("run-7").await.expect_err("two of them");
    assert_eq!(fault.message, "2 jobs are named run-7");
    assert!(fault.hint.expect("a cure").contains(&job.order_digest));
}
