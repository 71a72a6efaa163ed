//! The whole daemon over storage that fails: what it delivers is right, what it refuses has the right kind and names its
//! file, and nothing is held at the end.
//!
//! In the gate for some hundred batches; for longer:
//!
//!   FOREBAY_SOAK_MINUTES=10 cargo test -p forebay --test soak -- --nocapture

mod stage;
mod vandal;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forebay::delivery::local::client::Consumer;
use forebay::delivery::local::record::Ready;
use forebay::error::{Fault, Kind};
use forebay::storage::{EngineName, Faults, UringProbe};
use forebay_proto::v1;
use stage::{Link, Stage, held};
use vandal::{Seen, Vandal};

/// Batches of each session, where no minutes are set.
const BATCHES: u64 = 100;
/// Batches between one file's disappearance and the next.
const BETWEEN_OUTAGES: u64 = 40;

/// The tests look at what the whole process holds, so they take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What tokio keeps for signals is made once a process, and stays.
    stage::ended(tokio::runtime::Runtime::new().expect("threads"), None);
    alone
}

/// When a session has had enough.
#[derive(Clone, Copy)]
enum Until {
    Batches(u64),
    Time(Instant),
}

impl Until {
    fn set() -> Self {
        let minutes = std::env::var("FOREBAY_SOAK_MINUTES").ok();
        let minutes = minutes.map(|text| text.parse::<f64>().expect("FOREBAY_SOAK_MINUTES is a number"));
        // Both tests share the time.
        minutes.map_or(Self::Batches(BATCHES), |minutes| {
            Self::Time(Instant::now() + Duration::from_secs_f64(30.0 * minutes))
        })
    }

    fn is_over(self, batches: u64) -> bool {
        match self {
            Self::Batches(most) => batches >= most,
            Self::Time(end) => Instant::now() >= end,
        }
    }
}

/// The engine under the daemon that has it hard: rings where this machine allows them.
fn engine_to_try() -> EngineName {
    if UringProbe::take() == UringProbe::Works { EngineName::Uring } else { EngineName::Threads }
}

/// What came of it.
#[derive(Default)]
struct Tally {
    batches: AtomicU64,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    named: AtomicU64,
}

impl Tally {
    /// Counts a session's error; it must be one that storage can be blamed for, say what to do, and name a file.
    fn fault(&self, fault: &Fault) -> String {
        assert!(matches!(fault.kind, Kind::Unavailable | Kind::Changed), "{:?}: {fault}", fault.kind);
        assert!(fault.hint.is_some(), "no hint: {fault}");
        let kind = if fault.kind == Kind::Changed { "changed" } else { "unavailable" };
        *self.faults.lock().expect("no panic holds it").entry(kind).or_default() += 1;
        fault.object.clone().unwrap_or_else(|| panic!("no object: {fault}"))
    }

    fn say(&self, what: &str, more: &str) {
        let faults = self.faults.lock().expect("no panic holds it");
        println!("{what}: {} batches right, errors {faults:?}{more}", self.batches.load(Ordering::Relaxed));
    }
}

/// A folder of two classes of small images; every eighth of a `dirty` one is no image.
fn images(root: &Path, dirty: bool) {
    for number in 0..64_u32 {
        let class = root.join(["ant", "bee"][number as usize % 2]);
        std::fs::create_dir_all(&class).expect("a folder");
        let file = class.join(format!("{number:02}.png"));
        if dirty && number % 8 == 3 {
            std::fs::write(file, b"no image at all").expect("a file");
        } else {
            let pixel = |x, y| image::Rgb([(number * 7) as u8, (x * 16) as u8, (y * 16) as u8]);
            image::RgbImage::from_fn(16, 12, pixel).save(file).expect("an image");
        }
    }
}

/// The same images in a shard.
fn shard(folder: &Path, shard: &Path) {
    let mut archive = tar::Builder::new(std::fs::File::create(shard).expect("a file"));
    for number in 0..64_u32 {
        let member = format!("{}/{number:02}.png", ["ant", "bee"][number as usize % 2]);
        archive.append_path_with_name(folder.join(&member), &member).expect("a member");
    }
    archive.finish().expect("its end");
}

/// What one session asks for.
#[derive(Clone, Copy)]
struct Asked {
    seed: u64,
    /// Of the shard, where one read serves many samples.
    in_order: bool,
    policy: &'static str,
    rows: u32,
    depth: u32,
    weight: u32,
}

const SESSIONS: [Asked; 5] = [
    Asked { seed: 1, in_order: false, policy: "FAIL", rows: 16, depth: 2, weight: 1 },
    Asked { seed: 2, in_order: false, policy: "SUBSTITUTE", rows: 8, depth: 8, weight: 1 },
    Asked { seed: 3, in_order: false, policy: "MASK", rows: 5, depth: 1, weight: 3 },
    Asked { seed: 4, in_order: false, policy: "FAIL", rows: 3, depth: 4, weight: 2 },
    Asked { seed: 5, in_order: true, policy: "FAIL", rows: 16, depth: 2, weight: 1 },
];

impl Asked {
    fn spec(&self, root: &Path) -> v1::JobSpec {
        let (seed, policy) = (self.seed, self.policy);
        let folder = root.join(if policy == "FAIL" { "clean" } else { "dirty" });
        let (folder, shard) = (folder.display(), root.join("clean.tar"));
        let (source, sampler, image, label) = if self.in_order {
            let source = format!(r#"{{"shards":{{"paths":["{}"]}}}}"#, shard.display());
            (source, "SEQUENTIAL", r#""column":"png","#, "")
        } else {
            (format!(r#"{{"folder":{{"path":"{folder}"}}}}"#), "SHUFFLED", "", r#",{"name":"label"}"#)
        };
        let json = format!(
            r#"{{"sources":[{source}],"order":{{"sampler":"SAMPLER_{sampler}","seed":"{seed}"}},
                "onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}},"fields":[{{"name":"image",{image}"transforms":
                [{{"randomResizedCrop":{{"size":[8]}}}},{{"randomHorizontalFlip":{{}}}}]}}{label}]}}"#
        );
        serde_json::from_str(&json).expect("a spec")
    }

    fn open(&self, link: &mut Link, spec: &v1::JobSpec, at: (u64, u64)) -> Consumer {
        let request = v1::OpenRequest {
            cursor: Some(v1::Cursor { epoch: at.0, position: at.1 }),
            rows: self.rows,
            depth: self.depth,
            weight: self.weight,
            tail: v1::Tail::Drop.into(),
            rolling: true,
            ..Default::default()
        };
        link.open(spec, request)
    }
}

/// Where the row behind a batch stands.
fn behind(ready: &Ready) -> (u64, u64) {
    (ready.next_epoch, ready.next_position)
}

/// A batch's own bytes and place; the slot is free again.
fn taken(consumer: &mut Consumer, ready: &Ready) -> (u64, u64, u32, Vec<Vec<u8>>) {
    let tensors = (0..ready.tensors.len()).map(|index| consumer.tensor(ready, index).expect("its bytes"));
    let taken = (ready.epoch, ready.position, ready.valid_rows, tensors.collect());
    consumer.release(ready).expect("it listens");
    consumer.credit(1).expect("it listens");
    taken
}

/// Takes batches from both daemons until it is enough; where the rough one gives up, it is asked to go on there.
fn compare(asked: Asked, root: &Path, rough: &Stage, calm: &Stage, until: Until, tally: &Tally) {
    let spec = asked.spec(root);
    let (mut rough_link, mut calm_link) = (rough.connect(), calm.connect());
    let mut right = asked.open(&mut calm_link, &spec, (0, 0));
    let (mut next, mut batches) = ((0, 0), 0);
    let mut stream = asked.open(&mut rough_link, &spec, next);
    while !until.is_over(batches) {
        match stream.next_batch() {
            Ok(ready) => {
                next = behind(&ready);
                let wanted = right.next_batch().expect("nothing fails here");
                let (found, wanted) = (taken(&mut stream, &ready), taken(&mut right, &wanted));
                assert!(found == wanted, "another batch at {}/{}", ready.epoch, ready.position);
                batches += 1;
                tally.batches.fetch_add(1, Ordering::Relaxed);
                if asked.seed == 1 && batches % BETWEEN_OUTAGES == 0 {
                    rough.outages.lose(&format!(
                        "{}/{:02}.png",
                        ["ant", "bee"][(batches % 2) as usize],
                        batches % 64
                    ));
                }
            }
            Err(fault) => {
                let object = tally.fault(&fault);
                let place = if asked.in_order { "clean.tar/" } else { "" };
                let name = object.strip_prefix(place).unwrap_or_default();
                assert!(name.starts_with("ant/") || name.starts_with("bee/"), "no file of ours: {fault}");
                if rough.outages.is_lost(&object) {
                    assert_eq!(fault.kind, Kind::Unavailable, "{fault}");
                    tally.named.fetch_add(1, Ordering::Relaxed);
                    rough.outages.find();
                }
                stream = asked.open(&mut rough_link, &spec, next);
            }
        }
    }
}

#[test]
fn every_batch_over_failing_storage_is_right_or_the_error_is_and_nothing_is_held_at_the_end() {
    let _alone = alone();
    let before = held();
    let root = tempfile::tempdir().expect("a folder");
    images(&root.path().join("clean"), false);
    images(&root.path().join("dirty"), true);
    shard(&root.path().join("clean"), &root.path().join("clean.tar"));
    let faults = Faults {
        seed: 6,
        io_error_per_mille: 60,
        missing_per_mille: 20,
        short_per_mille: 20,
        changed_per_mille: 20,
        delay_per_mille: 200,
        delay_max: Duration::from_millis(20),
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (rough, calm) = (
        Stage::new(&runtime, engine_to_try(), faults),
        Stage::new(&runtime, EngineName::Threads, Faults::default()),
    );
    let (until, tally) = (Until::set(), Tally::default());
    std::thread::scope(|scope| {
        for asked in SESSIONS {
            let (rough, calm, tally) = (&rough, &calm, &tally);
            let root = root.path();
            scope.spawn(move || compare(asked, root, rough, calm, until, tally));
        }
    });
    tally.say(
        "faulty storage",
        &format!(", {} of them for a file that was gone", tally.named.load(Ordering::Relaxed)),
    );
    assert!(!tally.faults.lock().expect("no panic").is_empty(), "storage this bad ends some session");
    assert!(
        tally.named.load(Ordering::Relaxed) > 0,
        "a file that is gone ends the session that needs it, by name"
    );
    rough.end("the rough daemon");
    calm.end("the calm daemon");
    stage::ended(runtime, Some(&before));
}

#[test]
fn files_that_change_under_a_run_are_delivered_as_they_were_at_some_moment_or_not_at_all() {
    let _alone = alone();
    let before = held();
    let root = tempfile::tempdir().expect("a folder");
    let vandal = Vandal::new(root.path());
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let daemon = Stage::new(&runtime, engine_to_try(), Faults::default());
    let (until, tally, seen) = (Until::set(), Tally::default(), Seen::default());
    std::thread::scope(|scope| {
        let readers: Vec<_> = [(8, 2), (3, 6)]
            .into_iter()
            .map(|(rows, depth)| {
                let (vandal, daemon, tally, seen) = (&vandal, &daemon, &tally, &seen);
                scope.spawn(move || read(vandal, daemon, (rows, depth), until, tally, seen))
            })
            .collect();
        let work = scope.spawn(|| vandal.work());
        for reader in readers {
            reader.join().expect("its own panic is told");
        }
        vandal.stop();
        work.join().expect("it ends");
    });
    tally.say("changing files", &format!("; {} changes, rows {seen}", vandal.changes()));
    assert!(seen.is_any(), "rows of other versions came too");
    daemon.end("the daemon");
    stage::ended(runtime, Some(&before));
}

/// Takes batches until it is enough, each row of them as its file was at some moment.
fn read(
    vandal: &Vandal,
    daemon: &Stage,
    (rows, depth): (u32, u32),
    until: Until,
    tally: &Tally,
    seen: &Seen,
) {
    let (spec, mut link) = (vandal.spec(), daemon.connect());
    let open = |link: &mut Link, at: (u64, u64)| {
        let cursor = Some(v1::Cursor { epoch: at.0, position: at.1 });
        let tail = v1::Tail::Drop.into();
        link.open(&spec, v1::OpenRequest { cursor, rows, depth, tail, rolling: true, ..Default::default() })
    };
    let (mut next, mut batches) = ((0, 0), 0);
    let mut stream = open(&mut link, next);
    while !until.is_over(batches) {
        match stream.next_batch() {
            Ok(ready) => {
                next = behind(&ready);
                let (.., tensors) = taken(&mut stream, &ready);
                vandal.check(rows as usize, &tensors, seen);
                batches += 1;
                tally.batches.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => {
                let object = tally.fault(&fault);
                assert!(vandal.has_touched(&object), "{fault}");
                stream = open(&mut link, next);
            }
        }
    }
}
