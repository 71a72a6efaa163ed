//! Pins on real state roots: a folder and an S3, and two processes that race for every one of them.

mod s3;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use forebay::catalog::{self, CatalogLimits, SourceSpec};
use forebay::error::Kind;
use forebay::pins::{
    Created, Draft, Faults, JobId, Patience, Pinned, RecordError, RecordName, Stamp, StateRoot, When, decide,
    find, load_snapshot, store_snapshot,
};
use forebay::storage::RetryPolicy;
use forebay_plan::{Digest, DigestBuilder};

const EPOCHS: u64 = 500;

/// Asks again soon; gives up only where something is broken.
const PATIENCE: Patience = Patience {
    retry: RetryPolicy {
        deadline: Duration::from_secs(120),
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
    },
    attempt: Duration::from_secs(60),
};

fn digest(text: &str) -> Digest {
    DigestBuilder::new("test").field("text", text.as_bytes()).finish()
}

fn record(name: &str) -> RecordName {
    RecordName::new(name).expect("a name")
}

fn job() -> JobId {
    JobId::new("run-7").expect("a name")
}

fn draft(by: &str) -> Draft {
    let pinned = Pinned { source: String::new(), digest: digest(by), rows: 10 };
    let (order_digest, content_digest) = (digest("order"), digest("content"));
    Draft { snapshots: vec![pinned], order_digest, content_digest, class_map_digest: None }
}

/// What a racing process is told, by its environment.
struct Racer {
    who: String,
    root: String,
    /// Where the two wait for each other, and leave what they read.
    meeting: PathBuf,
    faults: bool,
}

#[test]
#[ignore = "one of the two processes that the races below start"]
fn racer() {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by the race"));
    let who = var("RACE_WHO");
    let racer = Racer {
        who,
        root: var("RACE_ROOT"),
        meeting: var("RACE_MEETING").into(),
        faults: var("RACE_FAULTS") == "yes",
    };
    let pins = racer.pins();
    fs::write(racer.meeting.join(format!("{}.read", racer.who)), pins).expect("the meeting place is there");
}

impl Racer {
    fn start(&self, env: &[(String, String)]) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "racer", "--ignored", "--quiet"]).envs(env.iter().cloned());
        command.env("RACE_WHO", &self.who).env("RACE_ROOT", &self.root).env("RACE_MEETING", &self.meeting);
        command.env("RACE_FAULTS", if self.faults { "yes" } else { "no" });
        command.spawn().expect("this test runs again")
    }

    /// Decides every epoch, and tells what was read as one line each.
    fn pins(&self) -> String {
        let mut root = StateRoot::open(&self.root, std::env::vars(), PATIENCE).expect("the root is there");
        if self.faults {
            root = root.with_faults(Faults {
                seed: u64::from(self.who.as_bytes()[0]),
                lost_before_per_mille: 100,
                lost_after_per_mille: 200,
                doubled_per_mille: 100,
                unseen_per_mille: 100,
                slow_per_mille: 50,
                delay_max: Duration::from_millis(5),
            });
        }
        let stamp = Stamp { unix_ms: 0, by: self.who.clone() };
        let mut read = String::new();
        for epoch in 0..EPOCHS {
            // Neither has written when the other one looks: both find nothing, and both write.
            let make = || {
                self.meet(epoch);
                Ok(draft(&self.who))
            };
            let pin = decide(&root, &job(), When::Epoch(epoch), &stamp, make).expect("it is settled in time");
            writeln!(read, "{epoch} {} {}", pin.nonce, pin.by).expect("a String takes any text");
        }
        read
    }

    fn meet(&self, epoch: u64) {
        fs::write(self.meeting.join(format!("{epoch}-{}", self.who)), "")
            .expect("the meeting place is there");
        let other = if self.who == "a" { "b" } else { "a" };
        let (other, since) = (self.meeting.join(format!("{epoch}-{other}")), Instant::now());
        while !other.exists() {
            assert!(since.elapsed() < Duration::from_secs(120), "the other process is gone");
            sleep(Duration::from_micros(200));
        }
    }
}

/// Two processes race for each of the epochs; what both read is what a third one reads afterwards.
fn race(root: &str, env: &[(String, String)], faults: bool) {
    let meeting = tempfile::tempdir().expect("a folder");
    let racer = |who: &str| Racer {
        who: who.to_owned(),
        root: root.to_owned(),
        meeting: meeting.path().to_owned(),
        faults,
    };
    let children = [racer("a").start(env), racer("b").start(env)];
    for mut child in children {
        assert!(child.wait().expect("a child").success(), "a racing process failed");
    }
    let read =
        |who: &str| fs::read_to_string(meeting.path().join(format!("{who}.read"))).expect("it was left");
    let (a, b) = (read("a"), read("b"));
    assert_eq!(a, b);
    assert_eq!(a.lines().count() as u64, EPOCHS);
    let root = StateRoot::open(root, env.iter().cloned(), PATIENCE).expect("the root is there");
    for (epoch, line) in a.lines().enumerate() {
        let pin =
            find(&root, &job(), When::Epoch(epoch as u64)).expect("it can be read").expect("it is there");
        assert_eq!(line, format!("{epoch} {} {}", pin.nonce, pin.by));
        assert_eq!(pin.snapshots[0].digest, digest(&pin.by), "the pin is whole: one writer's");
    }
    assert_eq!(root.list(&record("jobs/run-7/epochs")).expect("a folder").len() as u64, EPOCHS);
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("a temporary folder's name is UTF-8")
}

#[test]
fn two_processes_that_race_for_500_epochs_on_a_folder_always_agree() {
    let dir = tempfile::tempdir().expect("a folder");
    race(path(dir.path()), &[], false);
}

#[test]
fn two_processes_that_race_on_a_folder_agree_where_replies_are_lost_and_doubled() {
    let dir = tempfile::tempdir().expect("a folder");
    race(path(dir.path()), &[], true);
}

#[test]
fn two_processes_that_race_for_500_epochs_on_an_s3_always_agree() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = s3::serve(dir.path(), 0);
    race(&format!("s3://{}/runs", s3::BUCKET), &server.env(), false);
}

#[test]
fn two_processes_that_race_on_an_s3_agree_where_it_answers_5xx_and_409_behind_the_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = s3::serve(dir.path(), 3);
    race(&format!("s3://{}/runs", s3::BUCKET), &server.env(), true);
}

/// What every state root does.
fn conformance(root: &StateRoot) {
    root.check_writable().expect("it is writable");
    let name = record("jobs/x/1.json");
    assert_eq!(root.read(&name, 100).expect("an answer"), None);
    assert_eq!(root.create(&name, b"one").expect("made"), Created::Ours);
    assert_eq!(root.create(&name, b"one").expect("made"), Created::Ours);
    assert_eq!(root.create(&name, b"two").expect("read"), Created::Theirs(b"one".to_vec()));
    assert_eq!(root.read(&name, 3).expect("an answer").expect("it is there"), b"one");
    assert!(matches!(root.read(&name, 2), Err(RecordError::TooLarge { .. })));
    root.create(&record("jobs/x/deep/er.json"), b"").expect("made");
    assert_eq!(root.list(&record("jobs/x")).expect("a list"), ["1.json", "deep"]);
    assert!(root.list(&record("jobs/y")).expect("a list").is_empty());
    root.ensure(&record("snapshots/s"), || Ok(vec![7; 3 << 20])).expect("made");
    root.ensure(&record("snapshots/s"), || panic!("it is there")).expect("found");
    assert_eq!(root.read(&record("snapshots/s"), 4 << 20).expect("an answer").expect("there").len(), 3 << 20);
}

#[test]
fn a_folder_is_a_state_root() {
    let dir = tempfile::tempdir().expect("a folder");
    conformance(&StateRoot::open(path(dir.path()), [], PATIENCE).expect("a folder"));
}

#[test]
fn a_bucket_and_a_prefix_of_it_are_state_roots() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = s3::serve(dir.path(), 0);
    for place in ["s3://state", "s3://state/runs/of/ours/"] {
        conformance(&StateRoot::open(place, server.env(), PATIENCE).expect("settings"));
    }
    assert!(dir.path().join("state/runs/of/ours/jobs/x/1.json").exists());
}

#[test]
fn a_bucket_that_is_missing_or_closed_is_refused_at_once_and_one_that_is_away_unavailable() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = s3::serve(dir.path(), 0);
    let create = |place: &str, env: Vec<(String, String)>| {
        let retry = RetryPolicy { deadline: Duration::from_millis(1), ..PATIENCE.retry };
        let root = StateRoot::open(place, env, Patience { retry, ..PATIENCE }).expect("settings");
        root.create(&record("x"), b"x").expect_err("it cannot be made")
    };
    let error = create("s3://other", server.env());
    assert!(matches!(error, RecordError::Refused { .. }), "{error:?}");
    let changed = |name: &str, value: &str| {
        let mut env = server.env();
        env.iter_mut().filter(|(key, _)| key == name).for_each(|(_, old)| *old = value.to_owned());
        env
    };
    let error = create("s3://state", changed("AWS_SECRET_ACCESS_KEY", "wrong"));
    assert!(matches!(error, RecordError::Refused { .. }), "{error:?}");
    let error = create("s3://state", changed("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
    assert!(matches!(error, RecordError::Unavailable { .. }), "{error:?}");
}

#[test]
fn a_snapshot_is_had_again_after_its_folder_has_grown() {
    let (data, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = |name: &str| {
        let path = data.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, "").expect("a file");
    };
    file("cats/1.jpg");
    file("dogs/1.jpg");
    let spec = SourceSpec::Folder { root: data.path().to_owned(), extensions: None };
    let open = || catalog::open(&spec, &CatalogLimits::default()).expect("a folder of classes");
    let root = StateRoot::open(path(state.path()), [], PATIENCE).expect("a folder");
    let before = open();
    store_snapshot(&root, &before).expect("stored");
    store_snapshot(&root, &before).expect("there");
    file("birds/1.jpg");
    assert_ne!(open().id(), before.id());

    let limits = CatalogLimits::default();
    let again =
        load_snapshot(&root, &before.digest(), before.root().map(Arc::clone), &limits).expect("it is there");
    assert_eq!(again.id(), before.id());
    assert_eq!(again.class_map(), before.class_map());
    assert_eq!(again.column("image").expect("a column").path(1), b"dogs/1.jpg");
    let missing = load_snapshot(&root, &open().digest(), None, &limits).expect_err("never stored");
    assert_eq!(missing.kind, Kind::NotFound);

    let stored = state.path().join(format!("snapshots/{}.parquet", before.digest()));
    fs::write(stored, "cut").expect("a file");
    assert_eq!(
        load_snapshot(&root, &before.digest(), None, &limits).expect_err("damaged").kind,
        Kind::Corrupt
    );
}
