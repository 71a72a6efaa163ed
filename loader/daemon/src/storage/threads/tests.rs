use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::FileType;

use super::super::conformance::{FILES, Places, conformance, read_of};
use super::super::{Root, StorageErrorKind, file};
use super::*;

const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

fn write_files(dir: &Path) {
    fs::create_dir(dir.join("dir")).unwrap();
    for (path, bytes) in FILES {
        fs::write(dir.join(path), bytes).unwrap();
    }
}

fn read_one(root: &Arc<Root>, path: &str) -> Result<Vec<u8>, StorageError> {
    let mut read = read_of(root, path, 0);
    let crew = crew();
    let lane = crew.lanes.add();
    assert!(crew.line.push(InLine::One(Queued::new(read_of(root, path, 0)))).is_ok());
    let (_, turn) = crew.line.take(None).expect("it has just been put there");
    let post = Post { crew: &crew, lane: &lane, turn, taken: Instant::now() };
    read_file(&mut read, &post).map(|()| read.buf.bytes.to_vec())
}

/// What the one thread of an engine has.
fn crew() -> Arc<Crew<u64>> {
    let (done, _completions) = flume::unbounded();
    let (desk, stopping) = (OnceLock::new(), AtomicBool::new(false));
    let (pieces, sharing, lanes) = (Pieces::new(3), Arc::default(), Lanes::new(1));
    Arc::new(Crew { line: line(), done, desk, pieces, sharing, lanes, stopping })
}

#[test]
fn the_thread_pool_conforms() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    conformance(|done| (Root::open(dir.path()).unwrap(), Box::new(ThreadsEngine::new(TWO, &done).unwrap())));
}

#[test]
fn the_thread_pool_conforms_without_openat2() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    conformance(|done| (Root::open_walking(dir.path()), Box::new(ThreadsEngine::new(TWO, &done).unwrap())));
}

#[test]
fn the_thread_pool_conforms_with_reads_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    for piece_bytes in [7, 50_000] {
        let start = |done: flume::Sender<Done<u64>>| {
            let engine = ThreadsEngine::start(TWO, STACK_BYTES, Pieces::of(piece_bytes, 3), &done);
            (Root::open(dir.path()).unwrap(), Box::new(engine.unwrap()) as Box<dyn Engine<u64>>)
        };
        conformance(start);
    }
}

#[test]
fn what_is_in_memory_goes_straight_to_its_place_and_is_finished_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("small"), b"0123456789").unwrap();
    fs::write(dir.path().join("large"), [7; 5000]).unwrap();
    let root = Root::open(dir.path()).unwrap();
    // Files that are new are looked at twice, others once.
    for rests in [Duration::ZERO, file::AGE_MIN + Duration::from_millis(100)] {
        thread::sleep(rests);
        goes_straight_to_its_place(&root);
    }
}

/// Reads `small` of ten digits and `large` of 5000 sevens, and looks where the bytes went.
fn goes_straight_to_its_place(root: &Arc<Root>) {
    let ((done, completions), (finished, tags)) = (flume::unbounded(), flume::unbounded());
    let engine = ThreadsEngine::new(TWO, &done).unwrap();
    let desk = Arc::new(Places { room_bytes: 4096, filled: Mutex::default(), finished });
    engine.serve(Arc::clone(&desk) as Arc<dyn Desk<u64>>);
    engine.submit(read_of(root, "small", 1));
    engine.submit(Read { extent: Some((3, 4)), ..read_of(root, "small", 2) });
    engine.submit(read_of(root, "large", 3));
    engine.submit(read_of(root, "missing", 4));
    engine.submit(Read { extent: Some((8, 4)), ..read_of(root, "small", 5) });
    let placed = if root.has_nowait_reads() { 2 } else { 0 };
    let mut finished: Vec<_> = tags.iter().take(placed).collect();
    let others: Vec<_> = completions.iter().take(5 - placed).collect();
    drop((engine, done));
    let mut filled = std::mem::take(&mut *desk.filled.lock().unwrap());
    // A place that turned out too small, or for a file that is too new, was written to and does not count.
    filled.retain(|(tag, _)| finished.contains(tag));
    filled.sort_unstable();
    finished.sort_unstable();
    if root.has_nowait_reads() {
        assert_eq!(filled, [(1, b"0123456789".to_vec()), (2, b"3456".to_vec())]);
        assert_eq!(finished, [1, 2], "and nowhere else");
    } else {
        assert!(filled.is_empty() && finished.is_empty(), "no file system for it here");
    }
    assert!(tags.is_empty() && completions.is_empty(), "each comes back once");
    let told = |tag: u64| others.iter().find(|done| done.read.tag == tag);
    let large = told(3).expect("it has no room in its place");
    assert!(large.result.is_ok() && large.read.buf.bytes.iter().all(|byte| *byte == 7));
    assert_eq!((large.read.buf.len_bytes(), large.read.buf.is_placed()), (5000, false));
    assert!(told(4).expect("it is missing").result.is_err());
    assert!(told(5).expect("it ends before").result.is_err());
}

#[test]
fn a_large_read_has_helpers_only_where_no_other_read_waits() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let crew = crew();
    assert!(crew.pieces().is_some());
    assert!(crew.line.push(InLine::One(Queued::new(read_of(&root, "x", 0)))).is_ok());
    assert!(crew.pieces().is_none());
}

/// Takes every thread that reads for one that hangs, so that others take their places and leave again.
struct Restless(ThreadsEngine<u64>);

impl Engine<u64> for Restless {
    fn name(&self) -> &'static str {
        "restless"
    }

    fn submit(&self, read: Read<u64>) {
        self.0.submit(read);
        self.0.tend();
    }

    fn tend(&self) {
        self.0.tend();
    }

    fn hanging(&self) -> usize {
        self.0.hanging()
    }
}

#[test]
fn the_thread_pool_conforms_while_threads_take_the_places_of_others() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    conformance(|done| {
        let lanes = Lanes::hanging_after(2, Duration::ZERO);
        let engine = ThreadsEngine::with(Arc::default(), lanes, TWO, STACK_BYTES, Pieces::new(1), &done);
        (Root::open(dir.path()).unwrap(), Box::new(Restless(engine.unwrap())))
    });
}

#[test]
fn links_that_stay_beneath_are_followed_and_others_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    symlink("../small", dir.path().join("dir/inside")).unwrap();
    symlink("/etc/passwd", dir.path().join("outside")).unwrap();
    for root in [Root::open(dir.path()).unwrap(), Root::open_walking(dir.path())] {
        assert_eq!(read_one(&root, "dir/inside").unwrap(), b"abc");
        assert_eq!(read_one(&root, "outside").unwrap_err().kind(), StorageErrorKind::Invalid);
    }
}

#[test]
fn a_pipe_among_the_samples_holds_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let error = read_one(&Root::open(dir.path()).unwrap(), "pipe").unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error}");
}

#[test]
fn threads_that_cannot_start_are_an_error() {
    let (done, _completions) = flume::unbounded::<Done<u64>>();
    let outcome = ThreadsEngine::start(TWO, 1 << 60, Pieces::new(1), &done);
    assert!(matches!(outcome, Err(StorageError::Threads { threads: 2, .. })));
}

#[test]
fn a_receiver_that_went_away_stops_nothing() {
    let (done, completions) = flume::bounded(1);
    let engine = ThreadsEngine::new(TWO, &done).unwrap();
    drop((completions, done));
    (0..100).for_each(|tag| engine.submit(read_of(&Root::unbacked("gone"), "x", tag)));
}

/// Bare open, read and close of every path, split between two threads, into as many buffers as the engine has reads in
/// flight: one buffer would stay in the processor's cache. The ceiling of the test below.
fn bare(dir: &Path, paths: &[String]) {
    let read_all = |part: &[String]| {
        let mut buffers = vec![vec![0; 64 << 10]; 32];
        for (turn, path) in part.iter().enumerate() {
            let file = fs::File::open(dir.join(path)).unwrap();
            std::os::unix::fs::FileExt::read_at(&file, &mut buffers[turn % 32], 0).unwrap();
        }
    };
    let (left, right) = paths.split_at(paths.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| read_all(left));
        read_all(right);
    });
}

fn through_the_engine(root: &Arc<Root>, paths: &[String]) {
    let (done, completions) = flume::unbounded();
    let engine = ThreadsEngine::new(TWO, &done).unwrap();
    let mut submitted = paths.iter();
    submitted.by_ref().take(64).for_each(|path| engine.submit(read_of(root, path, 0)));
    for _ in paths {
        let mut read = completions.recv().map(|done| done.result.map(|()| done.read)).unwrap().unwrap();
        if let Some(path) = submitted.next() {
            read.buf.set_path(path.as_bytes());
            engine.submit(read);
        }
    }
}

/// Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "writes a gigabyte"]
fn how_close_to_a_bare_loop_are_warm_small_files() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..20_000).map(|n| format!("{}", (n * 7919) % 20_000)).collect();
    for path in &paths {
        fs::write(dir.path().join(path), vec![1; 50 << 10]).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    for _ in 0..4 {
        let start = Instant::now();
        bare(dir.path(), &paths);
        let (bare_s, start) = (start.elapsed().as_secs_f64(), Instant::now());
        through_the_engine(&root, &paths);
        let engine_s = start.elapsed().as_secs_f64();
        println!(
            "bare {:.0} files/s, engine {:.0} files/s, ratio {:.2}",
            20_000.0 / bare_s,
            20_000.0 / engine_s,
            bare_s / engine_s
        );
    }
}
