//! The rings, held to what every engine must do and to what only they can get wrong.

mod measure;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::super::conformance::{FILES, Places, conformance, read_of};
use super::super::whole::{Stamp, Wanted};
use super::super::{Account, ByteBuf, ReadBuf, Root, StorageErrorKind};
use super::DirectReads::{Always, Auto, Never};
use super::file::RingFile;
use super::pieces::{Cut, Pieces};
use super::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// False, with a word about it, where this kernel or a filter forbids io_uring.
fn is_there() -> bool {
    let objection = UringProbe::take().objection();
    objection.iter().for_each(|objection| eprintln!("skipped: io_uring: {objection}"));
    objection.is_none()
}

fn options(threads: usize, depth: u32, direct: DirectReads) -> RingOptions {
    let (threads, depth) = (NonZeroUsize::new(threads).unwrap(), NonZeroU32::new(depth).unwrap());
    // A page cache for next to nothing, so that `Auto` has something to do.
    RingOptions { threads, depth, direct, page_cache_bytes: 1 }
}

fn write_files(dir: &Path) {
    fs::create_dir(dir.join("dir")).unwrap();
    for (path, bytes) in FILES {
        fs::write(dir.join(path), bytes).unwrap();
    }
}

/// An engine of one ring whose thread does as `change` says.
fn one_ring(
    options: RingOptions,
    done: &flume::Sender<Done<u64>>,
    change: impl FnOnce(&mut Ring<u64>),
) -> UringEngine<u64> {
    let (queue, reads) = flume::unbounded();
    let shared = Shared::<u64>::new(Arc::default());
    let mut ring = Ring::new(reads, done.clone(), Arc::clone(&shared), options);
    change(&mut ring);
    ring::start(0, ring, ONE).unwrap();
    UringEngine { rings: vec![queue], submitted: AtomicUsize::new(0), shared }
}

/// Descriptors of this process that lie beneath a folder.
fn open_beneath(dir: &Path) -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to.starts_with(dir)))
        .count()
}

/// Whether one of them is read past the page cache.
fn any_direct_beneath(dir: &Path) -> bool {
    let mut entries = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    entries.any(|fd| {
        let about = Path::new("/proc/self/fdinfo").join(fd.file_name());
        let text = fs::read_to_string(about).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:\t"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok()).unwrap_or(0);
        let is_direct = flags & rustix::fs::OFlags::DIRECT.bits() != 0;
        is_direct && fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(dir))
    })
}

/// Whether the file system of a folder lets a descriptor be switched to direct reads.
fn takes_direct(dir: &Path) -> bool {
    let file = fs::File::create(dir.join("tried")).unwrap();
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::DIRECT).is_ok()
}

fn answer(
    engine: &UringEngine<u64>,
    completions: &flume::Receiver<Done<u64>>,
    read: Read<u64>,
) -> Result<Vec<u8>, StorageError> {
    engine.submit(read);
    let Done { read, result, .. } = completions.recv().unwrap();
    result.map(|()| read.buf.bytes.to_vec())
}

#[test]
fn rings_conform_at_any_depth_through_the_page_cache_and_past_it() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    for options in [options(1, 1, Never), options(2, 128, Never), options(1, 3, Always), options(2, 9, Auto)]
    {
        conformance(|done| {
            let root = Root::open(dir.path()).unwrap();
            (root, Box::new(UringEngine::new(options, &done).unwrap()))
        });
    }
    conformance(|done| {
        let engine = one_ring(options(1, 8, Always), &done, |ring| ring.always_from_bytes = 0);
        (Root::open_walking(dir.path()), Box::new(engine))
    });
    for options in [options(1, 1, Never), options(1, 8, Always)] {
        conformance(|done| {
            let engine = one_ring(options, &done, |ring| (ring.always_from_bytes, ring.cut) = (1, FINE));
            (Root::open(dir.path()).unwrap(), Box::new(engine))
        });
    }
    assert_eq!(open_beneath(dir.path()), 0, "the roots and all files are closed");
}

#[test]
fn there_are_as_many_rings_as_descriptors_and_one_at_least() {
    let three = options(3, 128, Never);
    let all = three.open_files_max();
    let threads = |open_files| three.within(open_files).threads.get();
    assert_eq!([u64::MAX, all, all - 1, all / 3, 0].map(threads), [3, 3, 2, 1, 1]);
}

#[test]
fn a_ring_that_cannot_be_made_is_an_error() {
    let (done, _completions) = flume::unbounded::<Done<u64>>();
    let outcome = UringEngine::new(options(1, 1 << 20, Never), &done);
    let error = outcome.err().expect("more entries than any kernel gives");
    assert!(matches!(error, StorageError::Ring { .. }), "{error}");
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
}

/// Pieces that files of tests are long enough for.
const FINE: Cut = Cut { piece_bytes: 4096, at_once: 3 };

/// Around where blocks, and pieces of one, begin and end.
const ENDS: [u64; 9] = [0, 1, 4095, 4096, 4097, 50_000, 250_000, 299_999, 300_001];

/// A file, and all of its parts between [`ENDS`].
fn file_of_parts(dir: &Path) -> (Vec<u8>, Vec<(u64, u64)>) {
    let bytes: Vec<u8> = (0..300_001_u32).map(|at| (at % 251) as u8).collect();
    fs::write(dir.join("x"), &bytes).unwrap();
    let from =
        |start: u64| ENDS.into_iter().filter(move |end| *end >= start).map(move |end| (start, end - start));
    (bytes, ENDS.into_iter().flat_map(from).collect())
}

#[test]
fn parts_read_past_the_page_cache_are_the_bytes_that_lie_there() {
    if !is_there() {
        return;
    }
    for (direct, cut) in [(Always, Cut::default()), (Auto, Cut::default()), (Always, FINE)] {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, parts) = file_of_parts(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let (done, completions) = flume::unbounded();
        let engine =
            one_ring(options(1, 8, direct), &done, |ring| (ring.always_from_bytes, ring.cut) = (1, cut));
        for (start, len) in parts {
            let extent = Some((start, len));
            let got = answer(&engine, &completions, Read { extent, ..read_of(&root, "x", 0) }).unwrap();
            assert!(got == bytes[start as usize..][..len as usize], "{start} and {len} more");
        }
        assert_eq!(
            any_direct_beneath(dir.path()),
            takes_direct(dir.path()),
            "past the page cache where that can be"
        );
        let beyond = Read { extent: Some((300_000, 2)), ..read_of(&root, "x", 0) };
        assert_eq!(answer(&engine, &completions, beyond).unwrap_err().kind(), StorageErrorKind::Changed);
    }
}

#[test]
fn pieces_through_the_page_cache_are_the_bytes_that_lie_there_also_where_completions_have_little_room() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (bytes, parts) = file_of_parts(dir.path());
    let root = Root::open(dir.path()).unwrap();
    for at_once in [2, 64] {
        let (done, completions) = flume::unbounded();
        let cut = Cut { at_once, ..FINE };
        // The queue of completions of such a ring has room for two.
        let engine = one_ring(options(1, 1, Never), &done, |ring| ring.cut = cut);
        for (start, len) in &parts {
            let extent = Some((*start, *len));
            let got = answer(&engine, &completions, Read { extent, ..read_of(&root, "x", 0) }).unwrap();
            assert!(got == bytes[*start as usize..][..*len as usize], "{start} and {len} more");
        }
    }
}

#[test]
fn of_a_file_that_was_cut_short_the_first_missing_byte_is_told() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (bytes, _) = file_of_parts(dir.path());
    let (root, buf) = (Root::open(dir.path()).unwrap(), ReadBuf::default());
    let was = Stamp { size_bytes: 900_000, written_s: 0, written_ns: 0 };
    tokio_uring::start(async {
        let file = RingFile::of(fs::File::open(dir.path().join("x")).unwrap().into()).unwrap();
        for (cut, past_cache) in
            [Cut::default(), FINE].into_iter().flat_map(|cut| [(cut, false), (cut, true)])
        {
            for start in [0, 5, 4096, 299_999] {
                let wanted = Wanted::new(was, &root, &buf, Some((start, 600_000)), u64::MAX).unwrap();
                let (mut filled, pieces) = (ByteBuf::default(), Pieces { cut, large: None });
                let got = file.read(&mut filled, &wanted, past_cache, pieces).await.unwrap().unwrap();
                assert_eq!(got, bytes.len() as u64 - start, "past the page cache: {past_cache}");
                assert!(filled[..got as usize] == bytes[start as usize..]);
            }
        }
    });
}

#[test]
fn parts_go_to_their_place_through_the_page_cache_and_past_it() {
    if !is_there() {
        return;
    }
    for direct in [Never, Always, Auto] {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, parts) = file_of_parts(dir.path());
        let root = Root::open(dir.path()).unwrap();
        let ((done, completions), (finished, tags)) = (flume::unbounded(), flume::unbounded());
        let engine = one_ring(options(1, 8, direct), &done, |ring| ring.always_from_bytes = 1);
        // Of 50,000 bytes: what is longer comes back in its buffer.
        let desk = Arc::new(Places { room_bytes: 50_000, filled: Mutex::default(), finished });
        engine.serve(Arc::clone(&desk) as Arc<dyn Desk<u64>>);
        for (tag, extent) in parts.iter().enumerate() {
            engine.submit(Read { extent: Some(*extent), ..read_of(&root, "x", tag as u64) });
        }
        let is_long = |tag: u64| parts[tag as usize].1 > 50_000;
        let wanted = |tag: u64| &bytes[parts[tag as usize].0 as usize..][..parts[tag as usize].1 as usize];
        let (mut in_buffers, mut in_places) = (0, 0);
        while in_buffers + in_places < parts.len() {
            if let Ok(Done { read, result, .. }) = completions.recv_timeout(Duration::from_millis(10)) {
                result.unwrap();
                assert!(read.buf.bytes[..] == *wanted(read.tag), "{:?}", read.extent);
                in_buffers += 1;
            }
            in_places += tags.try_iter().inspect(|tag| assert!(!is_long(*tag))).count();
        }
        let filled = desk.filled.lock().unwrap();
        assert!(filled.iter().all(|(tag, place)| place == wanted(*tag)));
        // What is in the page cache goes there from any file system that says so; past it, from any that can be read so.
        let expected = parts.iter().filter(|(_, len)| (1..=50_000).contains(len)).count();
        if direct == Never || takes_direct(dir.path()) {
            assert_eq!(in_places, expected, "{direct:?}");
        }
        assert!(in_buffers >= parts.len() - expected);
    }
}

#[test]
fn large_parts_go_in_steps_beside_short_reads_of_others_and_are_whole() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..5_000_001_u32).map(|at| (at % 251) as u8).collect();
    fs::write(dir.path().join("x"), &bytes).unwrap();
    let root = Root::open(dir.path()).unwrap();
    for (direct, beside) in [(Never, false), (Never, true), (Auto, false), (Auto, true)] {
        let (sharing, (done, completions)) = (Arc::<Sharing>::default(), flume::unbounded());
        let engine = UringEngine::beside(Arc::clone(&sharing), options(2, 16, direct), &done).unwrap();
        let other = Account { session: 9, ..Account::ONLY };
        // A large read is under way elsewhere, or nobody would count.
        let _large = sharing.flight.large(&root, Account::ONLY);
        let _short = beside.then(|| sharing.flight.short(&root, other, 1));
        for tag in 0..12 {
            let extent = Some((tag * 12_345, 4_800_000));
            engine.submit(Read { extent, limit_bytes: u64::MAX, ..read_of(&root, "x", tag) });
        }
        for Done { read, result, .. } in completions.iter().take(12) {
            result.unwrap();
            let (start, len) = read.extent.unwrap();
            assert!(read.buf.bytes[..] == bytes[start as usize..][..len as usize], "{direct:?}, {beside}");
        }
    }
}

#[test]
fn short_parts_of_others_hold_large_reads_back_and_are_counted_by_turns() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), [7; 9]).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let (sharing, (done, completions)) = (Arc::<Sharing>::default(), flume::unbounded());
    let engine = UringEngine::beside(Arc::clone(&sharing), options(1, 4, Never), &done).unwrap();
    let (large, _) = sharing.large(&root, Account { session: 9, ..Account::ONLY });
    assert!((0..9).all(|_| large.step_now(1 << 20, || true)), "nobody is beside it");
    let part = Read { extent: Some((1, 5)), ..read_of(&root, "x", 0) };
    assert_eq!(answer(&engine, &completions, part).unwrap(), [7; 5]);
    assert!(large.step_now(1 << 20, || true), "it begins beside the other one");
    assert!(!large.step_now(1 << 20, || true), "and is ahead of it then, which reads through a ring");
    assert!(!sharing.any_in_line(), "what was in line has been taken up");
}

#[test]
fn a_part_that_is_not_there_any_more_is_told_where_registered_memory_was_to_take_it() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    file_of_parts(dir.path());
    let root = Root::open(dir.path()).unwrap();
    let ((done, completions), (finished, _tags)) = (flume::unbounded(), flume::unbounded());
    let engine = one_ring(options(1, 8, Auto), &done, |_| ());
    let desk = Places { room_bytes: 50_000, filled: Mutex::default(), finished };
    engine.serve(Arc::new(desk) as Arc<dyn Desk<u64>>);
    for extent in [(299_000, 2000), (400_000, 1)] {
        let read = Read { extent: Some(extent), ..read_of(&root, "x", 0) };
        assert_eq!(answer(&engine, &completions, read).unwrap_err().kind(), StorageErrorKind::Changed);
    }
}

#[test]
fn no_more_reads_are_in_flight_than_the_depth() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let root = Root::open(dir.path()).unwrap();
    let (done, completions) = flume::unbounded();
    let peak = Arc::new(AtomicUsize::new(0));
    let engine = one_ring(options(1, 5, Never), &done, |ring| ring.peak = Arc::clone(&peak));
    (0..1000).for_each(|tag| engine.submit(read_of(&root, "dir/large", tag)));
    assert!(completions.iter().take(1000).all(|done| done.result.is_ok()));
    let peak = peak.load(Ordering::Relaxed);
    assert!((2..=5).contains(&peak), "{peak} reads at a time");
}

#[test]
fn ten_thousand_reads_that_are_dropped_in_flight_come_back_once_and_leave_nothing_open() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(dir.path().join("x"), &bytes).unwrap();
    let root = Root::open(dir.path()).unwrap();
    for is_cut in [false, true] {
        let (done, completions) = flume::unbounded();
        let engine = if is_cut {
            one_ring(options(1, 128, Always), &done, |ring| (ring.always_from_bytes, ring.cut) = (1, FINE))
        } else {
            UringEngine::new(options(2, 128, Never), &done).unwrap()
        };
        for tag in 0..10_000 {
            let extent = (tag % 2 == 0).then_some((tag * 10, 50_000));
            engine.submit(Read { extent, ..read_of(&root, "x", tag) });
        }
        drop((engine, done));
        let mut tags = Vec::new();
        for Done { read, result, .. } in completions {
            let (start, len) = read.extent.unwrap_or((0, bytes.len() as u64));
            match result {
                Ok(()) => assert!(read.buf.bytes[..] == bytes[start as usize..][..len as usize]),
                Err(error) => assert!(matches!(error, StorageError::Shutdown { .. }), "{error}"),
            }
            tags.push(read.tag);
        }
        tags.sort_unstable();
        assert!(tags.into_iter().eq(0..10_000), "each comes back exactly once, then the channel closes");
    }
    drop(root);
    assert_eq!(open_beneath(dir.path()), 0);
}

#[test]
fn nobody_who_listens_stops_nothing() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path());
    let root = Root::open(dir.path()).unwrap();
    let (done, completions) = flume::unbounded();
    let engine = UringEngine::new(options(1, 16, Never), &done).unwrap();
    drop((completions, done));
    (0..1000).for_each(|tag| engine.submit(read_of(&root, "dir/large", tag)));
}

#[test]
fn a_large_file_is_opened_once_for_its_parts_and_again_once_that_is_long_ago() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), b"old old").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let (done, completions) = flume::unbounded();
    let part = || Read { extent: Some((0, 3)), ..read_of(&root, "x", 0) };
    for (fresh, sees) in [(Duration::from_secs(3600), b"old"), (Duration::ZERO, b"new")] {
        fs::write(dir.path().join("x"), b"old old").unwrap();
        let engine = one_ring(options(1, 4, Never), &done, |ring| ring.fresh = fresh);
        assert_eq!(answer(&engine, &completions, part()).unwrap(), b"old");
        fs::write(dir.path().join("y"), b"new new").unwrap();
        fs::rename(dir.path().join("y"), dir.path().join("x")).unwrap();
        assert_eq!(answer(&engine, &completions, part()).unwrap(), sees);
        let whole = answer(&engine, &completions, read_of(&root, "x", 0)).unwrap();
        assert_eq!(whole, b"new new", "whole files are always opened");
    }
}

#[test]
fn many_files_read_in_parts_hold_a_bounded_number_of_descriptors() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let (done, completions) = flume::unbounded();
    let engine = one_ring(options(1, 4, Never), &done, |ring| ring.fresh = Duration::from_secs(3600));
    for number in 0..300 {
        let name = number.to_string();
        fs::write(dir.path().join(&name), b"abc").unwrap();
        let part = Read { extent: Some((1, 1)), ..read_of(&root, &name, 0) };
        assert_eq!(answer(&engine, &completions, part).unwrap(), b"b");
    }
    let open = open_beneath(dir.path());
    assert!((2..=66).contains(&open), "{open} descriptors: the root, 64 files, and one on its way");
}
