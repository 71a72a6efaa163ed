//! What every engine must do; each engine's tests run it over the same few files.

use std::sync::{Arc, Mutex};

use super::{Account, Desk, Done, Engine, Read, ReadBuf, Root, StorageError, StorageErrorKind};

/// What lies beneath the root of every engine under test.
pub(super) static FILES: [(&str, &[u8]); 4] =
    [("empty", b""), ("small", b"abc"), ("dir/middle", b"0123456789"), ("dir/large", &LARGE)];

/// No two stretches of it are alike, so that bytes in the wrong place show.
static LARGE: [u8; 200_000] = {
    let mut bytes = [0; 200_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251 + at / 251 % 241) as u8;
        at += 1;
    }
    bytes
};

const LIMIT_BYTES: u64 = 1 << 20;

/// A read of a whole file.
pub(super) fn read_of(root: &Arc<Root>, path: &str, tag: u64) -> Read<u64> {
    let buf = ReadBuf { path: path.into(), ..ReadBuf::default() };
    Read { root: root.clone(), buf, extent: None, limit_bytes: LIMIT_BYTES, account: Account::ONLY, tag }
}

struct Bench {
    root: Arc<Root>,
    engine: Box<dyn Engine<u64>>,
    completions: flume::Receiver<Done<u64>>,
}

impl Bench {
    fn ask(&self, read: Read<u64>) -> Done<u64> {
        let tag = read.tag;
        self.engine.submit(read);
        let done = self.completions.recv().expect("a submitted read comes back");
        assert_eq!(done.read.tag, tag);
        assert!(done.result.is_ok() || done.read.buf.bytes.is_empty(), "an error leaves no bytes");
        done
    }

    fn read(&self, path: &str, extent: Option<(u64, u64)>) -> Result<Vec<u8>, StorageError> {
        let done = self.ask(Read { extent, ..read_of(&self.root, path, 1) });
        done.result.map(|()| done.read.buf.bytes.to_vec())
    }

    fn kind(&self, path: &str, extent: Option<(u64, u64)>) -> StorageErrorKind {
        self.read(path, extent).expect_err(path).kind()
    }
}

/// Runs the whole suite; `make` gives a root with [`FILES`] and an engine that completes to the channel.
pub(super) fn conformance(make: impl Fn(flume::Sender<Done<u64>>) -> (Arc<Root>, Box<dyn Engine<u64>>)) {
    let bench = || {
        let (done, completions) = flume::unbounded();
        let (root, engine) = make(done);
        Bench { root, engine, completions }
    };
    brings_whole_files_and_extents(&bench());
    brings_long_extents_in_their_order(&bench());
    refuses_what_cannot_be_read(&bench());
    keeps_limits(&bench());
    tells_a_file_of_another_size(&bench());
    brings_near_reads_as_it_does_each_alone(&bench());
    reuses_memory(&bench());
    brings_every_read_back_once(bench(), 0);
    brings_every_read_back_once(bench(), 500);
}

fn brings_whole_files_and_extents(bench: &Bench) {
    for (path, bytes) in FILES {
        assert_eq!(bench.read(path, None).unwrap(), bytes, "{path}");
    }
    assert_eq!(bench.read("dir/middle", Some((3, 4))).unwrap(), b"3456");
    assert_eq!(bench.read("dir/middle", Some((7, 3))).unwrap(), b"789");
    assert_eq!(bench.read("dir/middle", Some((10, 0))).unwrap(), b"");
}

/// Around where an engine may cut them.
fn brings_long_extents_in_their_order(bench: &Bench) {
    for len in [99_999, 100_000, 100_001, 149_999, 150_000, 150_001, 199_999] {
        for offset in [0, 1, 200_000 - len] {
            let bytes = bench.read("dir/large", Some((offset, len))).unwrap();
            assert!(bytes == LARGE[offset as usize..][..len as usize], "{len} from {offset}");
        }
    }
    let error = bench.read("dir/large", Some((1, 200_000))).unwrap_err();
    assert!(matches!(error, StorageError::PastEnd { .. }), "{error}");
}

fn refuses_what_cannot_be_read(bench: &Bench) {
    for path in ["missing", "dir/missing", "small/below_a_file"] {
        assert_eq!(bench.kind(path, None), StorageErrorKind::Unavailable, "{path}");
    }
    for path in ["../small", "/etc/passwd", "dir/../../small"] {
        let error = bench.read(path, None).unwrap_err();
        assert!(matches!(error, StorageError::Escapes { .. }), "{error}");
    }
    for path in ["", "sm\0all"] {
        let error = bench.read(path, None).unwrap_err();
        assert!(matches!(error, StorageError::BadPath { .. }), "{error}");
    }
    for path in ["dir", "."] {
        let error = bench.read(path, None).unwrap_err();
        assert!(matches!(error, StorageError::NotAFile { .. }), "{error}");
    }
    for extent in [(8, 3), (11, 0), (u64::MAX, 1)] {
        let error = bench.read("dir/middle", Some(extent)).unwrap_err();
        assert!(matches!(error, StorageError::PastEnd { size_bytes: 10, .. }), "{error}");
        assert_eq!(error.kind(), StorageErrorKind::Changed);
    }
}

fn keeps_limits(bench: &Bench) {
    let limited = |extent, limit_bytes| {
        bench.ask(Read { extent, limit_bytes, ..read_of(&bench.root, "dir/middle", 2) })
    };
    assert!(limited(None, 10).result.is_ok());
    assert!(limited(Some((0, 5)), 5).result.is_ok());
    for extent in [None, Some((0, 10)), Some((0, u64::MAX))] {
        let done = limited(extent, 9);
        assert_eq!(done.result.unwrap_err().kind(), StorageErrorKind::TooLarge);
        assert_eq!(done.read.buf.bytes.capacity(), 0, "nothing is reserved for what is refused");
    }
}

fn tells_a_file_of_another_size(bench: &Bench) {
    let known = |file_bytes, extent| {
        let mut read = Read { extent, ..read_of(&bench.root, "dir/middle", 4) };
        read.buf.file_bytes = Some(file_bytes);
        bench.ask(read).result
    };
    for extent in [None, Some((3, 4))] {
        assert!(known(10, extent).is_ok());
        for file_bytes in [9, 11] {
            let error = known(file_bytes, extent).unwrap_err();
            assert!(matches!(error, StorageError::OtherSize { size_bytes: 10, .. }), "{error}");
            assert_eq!(error.kind(), StorageErrorKind::Changed);
        }
    }
}

/// Neighbours, some of which can't be read: each is told what it would have been told alone.
fn brings_near_reads_as_it_does_each_alone(bench: &Bench) {
    let near = |path, extents: &[(u64, u64)], limit_bytes| {
        let read = |(tag, extent): (usize, &(u64, u64))| Read {
            extent: Some(*extent),
            limit_bytes,
            ..read_of(&bench.root, path, tag as u64)
        };
        bench.engine.submit_near(extents.iter().enumerate().map(read).collect());
        let mut done: Vec<_> = bench.completions.iter().take(extents.len()).collect();
        done.sort_unstable_by_key(|done| done.read.tag);
        assert!(done.iter().map(|done| done.read.tag).eq(0..extents.len() as u64), "each comes back once");
        assert!(done.iter().all(|done| done.result.is_ok() || done.read.buf.bytes.is_empty()));
        done
    };
    let long: Vec<_> = (0..9).map(|number| (number * 20_000, 19_999)).collect();
    for extents in [
        &long[..],
        &[(0, 1), (1, 1), (2, 3)],
        &[(700, 30_000), (0, 500), (699, 2), (0, 0)],
        &[(150_000, 50_000), (90_000, 70_000), (150_000, 50_000)],
        &[(5, 10)],
    ] {
        for (done, (at, len)) in near("dir/large", extents, LIMIT_BYTES).iter().zip(extents) {
            assert!(done.result.is_ok() && done.read.buf.bytes[..] == LARGE[*at as usize..][..*len as usize]);
        }
    }
    let done = near("dir/middle", &[(0, 3), (7, 4), (5, 2), (11, 1)], LIMIT_BYTES);
    assert!(done[0].read.buf.bytes[..] == *b"012" && done[2].read.buf.bytes[..] == *b"56");
    for past_end in [1, 3] {
        assert!(matches!(done[past_end].result, Err(StorageError::PastEnd { .. })));
    }
    let kinds = near("dir/middle", &[(0, 3), (3, 5), (8, 2)], 4).into_iter();
    let kinds: Vec<_> = kinds.map(|done| done.result.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Ok(()), Err(StorageErrorKind::TooLarge), Ok(())]);
    for done in near("missing", &[(0, 3), (3, 5)], LIMIT_BYTES) {
        assert_eq!(done.result.unwrap_err().kind(), StorageErrorKind::Unavailable);
    }
}

fn reuses_memory(bench: &Bench) {
    let mut read = bench.ask(read_of(&bench.root, "dir/large", 3)).read;
    let capacity = read.buf.bytes.capacity();
    for (path, bytes) in [("small", &b"abc"[..]), ("empty", b""), ("dir/middle", b"0123456789")] {
        read.buf.set_path(path.as_bytes());
        let done = bench.ask(read);
        assert_eq!(&done.read.buf.bytes[..], bytes);
        assert_eq!(done.read.buf.bytes.capacity(), capacity);
        assert_eq!(done.read.buf.path, path.as_bytes());
        read = done.read;
    }
}

/// Submits a thousand reads, some of them together, drops the engine when so many are back, and counts.
fn brings_every_read_back_once(bench: Bench, before_drop: usize) {
    let paths = ["small", "dir/large", "missing", "../out"];
    let of = |tag: u64, path| read_of(&bench.root, path, tag);
    for tag in 0..800 {
        bench.engine.submit(of(tag, paths[tag as usize % 4]));
    }
    for group in 0..50 {
        let extent = |tag: u64| Some((tag % 4 * 50_000, 50_000));
        let tags = (0..4).map(|member| 800 + 4 * group + member);
        let reads = tags.map(|tag| Read { extent: extent(tag), ..of(tag, paths[group as usize % 4]) });
        bench.engine.submit_near(reads.collect());
    }
    let Bench { engine, completions, .. } = bench;
    let mut tags: Vec<u64> = completions.iter().take(before_drop).map(|done| done.read.tag).collect();
    drop(engine);
    tags.extend(completions.iter().map(|done| done.read.tag));
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..1000), "each read comes back exactly once, then the channel closes");
}

/// A caller whose places have room for so many bytes, and which finishes what came there.
pub(super) struct Places {
    pub(super) room_bytes: u64,
    pub(super) filled: Mutex<Vec<(u64, Vec<u8>)>>,
    pub(super) finished: flume::Sender<u64>,
}

impl Desk<u64> for Places {
    fn in_place(&self, read: &Read<u64>, len_bytes: u64, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let mut place = vec![0xAA; len_bytes as usize];
        let filled = len_bytes <= self.room_bytes && fill(&mut place);
        if filled {
            let mut all = self.filled.lock().unwrap();
            all.retain(|(tag, _)| *tag != read.tag);
            all.push((read.tag, place));
        }
        filled
    }

    fn in_place_whole(&self, read: &Read<u64>, fill: &mut dyn FnMut(&mut [u8]) -> Option<usize>) -> bool {
        let mut place = vec![0xAA; self.room_bytes as usize];
        let filled = fill(&mut place);
        if let Some(bytes) = filled {
            place.truncate(bytes);
            let mut all = self.filled.lock().unwrap();
            // What comes last counts.
            all.retain(|(tag, _)| *tag != read.tag);
            all.push((read.tag, place));
        }
        filled.is_some()
    }

    fn has_place(&self, _read: &Read<u64>, len_bytes: u64) -> bool {
        len_bytes <= self.room_bytes
    }

    fn finish(&self, done: Done<u64>) -> Option<Done<u64>> {
        if !done.read.buf.is_placed() {
            return Some(done);
        }
        self.finished.send(done.read.tag).unwrap();
        None
    }
}
