//! What the daemon makes of a pin and of snapshots that another process was told, and what it refuses.

use std::path::Path;

use forebay::config::{Allow, Config, RootConfig};
use forebay::error::{Fault, Kind};
use forebay::run::Daemon;
use forebay::server::Peer;
use forebay_proto::v1;

const PEER: Peer = Peer::Process { uid: 1000, gid: 100 };

/// Some more images in a folder of two classes.
fn images(root: &Path, from: u8, to: u8) {
    for index in from..to {
        let class = root.join(["ant", "bee"][usize::from(index % 2)]);
        std::fs::create_dir_all(&class).expect("a folder");
        image::RgbImage::new(8, 8).save(class.join(format!("{index:02}.png"))).expect("an image");
    }
}

fn spec(root: &Path, seed: u64) -> v1::JobSpec {
    let json = format!(
        r#"{{"job_id":"run-7","sources":[{{"folder":{{"path":"{}"}}}}],"fields":[{{"name":"label"}}],
            "order":{{"sampler":"SAMPLER_SHUFFLED","seed":"{seed}"}}}}"#,
        root.display()
    );
    serde_json::from_str(&json).expect("a spec")
}

fn pin(state: &Path, epoch: Option<u64>) -> v1::Pin {
    let follow = if epoch.is_some() { v1::Follow::Epoch } else { v1::Follow::Run };
    let state_root = state.display().to_string();
    v1::Pin { state_root, follow: follow.into(), epoch: epoch.unwrap_or(0), ..Default::default() }
}

async fn resolve(daemon: &Daemon, request: v1::ResolveRequest) -> Result<v1::ResolveReply, Fault> {
    daemon.service.resolve(Peer::Parent, request).await
}

async fn pinned(daemon: &Daemon, spec: v1::JobSpec, pin: v1::Pin) -> Result<v1::Job, Fault> {
    let request = v1::ResolveRequest { spec: Some(spec), pin: Some(pin), ..Default::default() };
    resolve(daemon, request).await.map(|reply| reply.job.expect("a job"))
}

fn open(daemon: &Daemon, job: &v1::Job, epoch: u64, rolling: bool) -> Result<(), Fault> {
    let (order_digest, content_digest) = (job.order_digest.clone(), job.content_digest.clone());
    let request = v1::OpenRequest {
        job: Some(v1::JobRef { order_digest, content_digest }),
        cursor: Some(v1::Cursor { epoch, position: 0 }),
        rows: 2,
        rolling,
        ..Default::default()
    };
    daemon.service.open(Peer::Parent, "test".to_owned(), &request).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_in_the_epoch_that_its_data_is_pinned_for() {
    let (data, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    images(data.path(), 0, 8);
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let job = pinned(&daemon, spec(data.path(), 1), pin(state.path(), Some(3))).await.expect("a job");
    assert!(job.pinned && job.epoch_pinned && job.epoch == 3);
    open(&daemon, &job, 3, false).expect("its own epoch");
    for (epoch, rolling) in [(3, true), (4, false), (2, false)] {
        let fault = open(&daemon, &job, epoch, rolling).expect_err("another epoch, undecided");
        assert_eq!(fault.kind, Kind::Invalid);
        assert!(fault.to_string().contains("resolve each epoch"), "{fault}");
    }
    // The same data, not pinned: nothing is undecided about it.
    let request = v1::ResolveRequest { spec: Some(spec(data.path(), 1)), ..Default::default() };
    resolve(&daemon, request).await.expect("a job");
    open(&daemon, &job, 4, true).expect("what the other one said does not bind this");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_epoch_takes_the_data_as_it_is_and_an_earlier_one_as_it_was() {
    let (data, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    images(data.path(), 0, 8);
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let at = |epoch| pin(state.path(), Some(epoch));
    let first = pinned(&daemon, spec(data.path(), 1), at(0)).await.expect("a job");
    images(data.path(), 8, 11);
    let looked = pinned(&daemon, spec(data.path(), 1), v1::Pin { find_only: true, ..at(1) }).await;
    assert_eq!(looked.expect_err("nobody has begun it").kind, Kind::NotFound);
    let second = pinned(&daemon, spec(data.path(), 1), at(1)).await.expect("a job");
    // A daemon that knows neither has only the records.
    let other = Daemon::start(Config::default()).expect("a daemon");
    for (epoch, was, rows) in [(0, &first, 8), (1, &second, 11)] {
        let again = pinned(&other, spec(data.path(), 1), at(epoch)).await.expect("a job");
        assert_eq!((again.rows, &again.order_digest), (rows, &was.order_digest), "epoch {epoch}");
    }
    let fault = pinned(&other, spec(data.path(), 2), at(0)).await.expect_err("another seed");
    assert!(fault.message.contains("epoch 0 of job run-7 is pinned with another order, by "), "{fault}");
    let fault =
        pinned(&other, spec(data.path(), 1), pin(state.path(), None)).await.expect_err("another follow");
    assert_eq!(fault.message, "job run-7 was begun with follow=\"epoch\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_others_may_decide_first_is_waited_for() {
    let (data, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    images(data.path(), 0, 4);
    let (first, second) = (
        Daemon::start(Config::default()).expect("a daemon"),
        Daemon::start(Config::default()).expect("a daemon"),
    );
    let waits = v1::Pin { wait_ms: 60_000, ..pin(state.path(), None) };
    let spec_of = || spec(data.path(), 1);
    let waiting = tokio::spawn({
        let (service, spec) = (first.service.clone(), spec_of());
        async move {
            let request = v1::ResolveRequest { spec: Some(spec), pin: Some(waits), ..Default::default() };
            service.resolve(Peer::Parent, request).await
        }
    });
    let decided = pinned(&second, spec_of(), pin(state.path(), None)).await.expect("a job");
    let read = waiting.await.expect("a task").expect("a job").job.expect("a job");
    assert_eq!(read.snapshot, decided.snapshot);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_another_process_was_told_stand_in_for_a_look_at_the_data() {
    let data = tempfile::tempdir().expect("a folder");
    images(data.path(), 0, 8);
    let (first, second) = (
        Daemon::start(Config::default()).expect("a daemon"),
        Daemon::start(Config::default()).expect("a daemon"),
    );
    let request =
        v1::ResolveRequest { spec: Some(spec(data.path(), 1)), want_snapshots: true, ..Default::default() };
    let told = resolve(&first, request).await.expect("a job");
    let was = told.job.expect("a job");
    images(data.path(), 8, 11);
    let with = |snapshots: Vec<Vec<u8>>| v1::ResolveRequest {
        spec: Some(spec(data.path(), 1)),
        snapshots,
        ..Default::default()
    };
    let same = resolve(&second, with(told.snapshots.clone())).await.expect("a job").job.expect("a job");
    assert_eq!((same.order_digest, same.classes), (was.order_digest.clone(), was.classes.clone()));
    // A job that is known tells them too.
    let reference = v1::JobRef { order_digest: was.order_digest, content_digest: was.content_digest };
    let request = v1::ResolveRequest { job: Some(reference), want_snapshots: true, ..Default::default() };
    assert_eq!(resolve(&first, request).await.expect("a job").snapshots, told.snapshots);

    let twice = resolve(&second, with(vec![told.snapshots[0].clone(); 2])).await.expect_err("one source");
    assert_eq!(twice.message, "2 snapshots for 1 sources");
    let mut cut = told.snapshots[0].clone();
    cut.truncate(cut.len() / 2);
    assert_eq!(resolve(&second, with(vec![cut])).await.expect_err("cut").kind, Kind::Invalid);
    let both = v1::ResolveRequest { pin: Some(pin(data.path(), None)), ..with(told.snapshots) };
    assert!(resolve(&second, both).await.expect_err("both").message.contains("both a pin and snapshots"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_only_where_the_configuration_lets_the_caller() {
    let (data, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    images(data.path(), 0, 4);
    let allow = Allow { uids: vec![7], gids: Vec::new() };
    let place = |path: &str, allow: &Allow| RootConfig { path: path.into(), allow: allow.clone() };
    let folder = state.path().to_str().expect("UTF-8");
    let config = Config {
        roots: vec![place(data.path().to_str().expect("UTF-8"), &Allow::default())],
        state_roots: vec![place(folder, &allow), place("s3://bucket/runs/", &allow)],
        ..Config::default()
    };
    let daemon = Daemon::start(config).expect("a daemon");
    let ask = async |state_root: &str| {
        let pin = v1::Pin { state_root: state_root.to_owned(), ..Default::default() };
        let request =
            v1::ResolveRequest { spec: Some(spec(data.path(), 1)), pin: Some(pin), ..Default::default() };
        daemon.service.resolve(PEER, request).await.expect_err("it may not")
    };
    for (place, says) in [
        (folder, "does not allow uid 1000"),
        ("/elsewhere", "lies outside of the daemon's state roots"),
        ("s3://bucket/runs/a", "does not allow uid 1000"),
        ("s3://bucket/runs-of-others", "lies outside of the daemon's state roots"),
        ("s3://other", "lies outside of the daemon's state roots"),
    ] {
        let fault = ask(place).await;
        assert!(fault.kind == Kind::Denied && fault.message.contains(says), "{place}: {fault}");
        assert!(fault.hint.is_some());
    }
}
