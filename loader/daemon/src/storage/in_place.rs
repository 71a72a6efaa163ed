//! Reads straight to where their bytes end up, of what is in the page cache.
//!
//! Saves the copy out of a read's buffer. Only of what is in memory: a read that waits may hang, or be raced by a second
//! one, and its place would be held by whoever the kernel keeps.

use super::error::StorageError;
use super::file::{self, OpenFile, Unseen};
use super::whole::{Source, Wanted, read_fully};
use super::{Desk, Read};

/// What came of a read of a whole file that nobody had looked at.
pub(super) enum AtOnce {
    /// All of it went to its place.
    Placed,
    /// It is open, and was looked at only now. `is_absent`: not all of it is in memory.
    Opened { file: OpenFile, is_absent: bool },
}

/// Reads to its place what may go there. `None`: not all of that is in memory, or it may not; nothing is said of the file.
pub(super) fn read<T>(
    source: &impl Source,
    wanted: &Wanted,
    read: &mut Read<T>,
    desk: &dyn Desk<T>,
) -> Option<Result<(), StorageError>> {
    if !read.root.has_nowait_reads() {
        return None;
    }
    let mut fill = |target: &mut [u8]| {
        let got = read_fully(|target, at| source.read_now_at(target, at), target, wanted.offset_bytes);
        got == Ok(wanted.len_bytes)
    };
    if !desk.in_place(read, wanted.len_bytes, &mut fill) {
        return None;
    }
    read.buf.placed_bytes = wanted.len_bytes;
    Some(wanted.check(&read.root, &read.buf.path, wanted.len_bytes, || source.stamp()))
}

/// Reads a whole file to its place before anything was asked of it. What one asks then, how long it is and when it was last
/// changed, tells whether this was all of it and one version: it spares the question before. A place of more than
/// `len_max` bytes is not taken. `None` says nothing: its names are not in memory, or it is no file.
pub(super) fn read_whole<T>(read: &mut Read<T>, len_max: usize, desk: &dyn Desk<T>) -> Option<AtOnce> {
    let unseen = Unseen::open_at_once(&read.root, &read.buf.path)?;
    let (began, mut came) = (file::now(), None);
    let mut fill = |target: &mut [u8]| {
        if target.len() <= len_max {
            came = Some(unseen.read_now(target));
        }
        came.filter(|&bytes| bytes > 0)
    };
    let is_placed = desk.in_place_whole(read, &mut fill);
    let file = unseen.look()?;
    let bytes = came.unwrap_or(0) as u64;
    if is_placed && bytes == file.size_bytes() && file.is_unchanged_since(began) {
        let wanted =
            file.stamp().map(|stamp| Wanted::new(stamp, &read.root, &read.buf, None, read.limit_bytes));
        if matches!(wanted, Ok(Ok(_))) {
            read.buf.placed_bytes = bytes;
            return Some(AtOnce::Placed);
        }
    }
    Some(AtOnce::Opened { file, is_absent: came == Some(0) })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::super::conformance::read_of;
    use super::super::{Done, Root};
    use super::*;

    /// A place, and what happens right behind the read to it.
    struct Shelf<'a> {
        place: Mutex<Vec<u8>>,
        then: &'a (dyn Fn() + Sync),
    }

    impl Desk<u64> for Shelf<'_> {
        fn in_place(&self, _: &Read<u64>, _: u64, _: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
            unreachable!("nobody asks for a part")
        }

        fn in_place_whole(&self, _: &Read<u64>, fill: &mut dyn FnMut(&mut [u8]) -> Option<usize>) -> bool {
            let filled = fill(&mut self.place.lock().unwrap());
            (self.then)();
            filled.is_some()
        }

        fn has_place(&self, _: &Read<u64>, _: u64) -> bool {
            unreachable!("nobody asks")
        }

        fn finish(&self, done: Done<u64>) -> Option<Done<u64>> {
            Some(done)
        }
    }

    #[test]
    fn a_whole_file_goes_to_its_place_unlooked_at_unless_it_may_have_changed_or_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("old", b"0123456789");
        write("rewritten", b"0123456789");
        write("long", b"0123456789");
        write("empty", b"");
        fs::create_dir(dir.path().join("folder")).unwrap();
        std::thread::sleep(file::AGE_MIN + Duration::from_millis(100));
        write("new", b"0123456789");
        let root = Root::open(dir.path()).unwrap();
        if !root.has_nowait_reads() {
            return eprintln!("skipped: no file system for it");
        }
        let look = |name: &str, room_bytes: usize, len_max: usize, then: &(dyn Fn() + Sync)| {
            let shelf = Shelf { place: Mutex::new(vec![7; room_bytes]), then };
            let mut read = read_of(&root, name, 0);
            let came = read_whole(&mut read, len_max, &shelf);
            (came, read.buf.placed_bytes, shelf.place.into_inner().unwrap())
        };
        let (came, bytes, place) = look("old", 12, 12, &|| ());
        assert!(matches!(came, Some(AtOnce::Placed)) && bytes == 10 && place == *b"0123456789\x07\x07");
        assert!(matches!(look("old", 10, 10, &|| ()), (Some(AtOnce::Placed), 10, _)));
        // The same bytes, written again while they are read: nothing but the file's times tells.
        let rewrite = || write("rewritten", b"0123456789");
        let chmod = || {
            fs::set_permissions(dir.path().join("old"), fs::metadata(dir.path()).unwrap().permissions())
                .unwrap();
        };
        for (name, room_bytes, len_max, then) in [
            ("rewritten", 12, 12, &rewrite as &(dyn Fn() + Sync)),
            ("new", 12, 12, &|| ()),
            ("old", 9, 12, &|| ()),
            ("old", 12, 11, &|| ()),
            ("empty", 12, 12, &|| ()),
            ("old", 12, 12, &chmod),
        ] {
            let (came, bytes, _) = look(name, room_bytes, len_max, then);
            let Some(AtOnce::Opened { file, .. }) = came else { panic!("{name} of {room_bytes}") };
            assert!(bytes == 0 && file.size_bytes() == if name == "empty" { 0 } else { 10 }, "{name}");
        }
        for name in ["folder", "missing", "../out"] {
            assert!(look(name, 12, 12, &|| ()).0.is_none(), "{name}");
        }
        let mut read = Read { limit_bytes: 9, ..read_of(&root, "long", 0) };
        let shelf = Shelf { place: Mutex::new(vec![7; 12]), then: &|| () };
        assert!(
            matches!(read_whole(&mut read, 12, &shelf), Some(AtOnce::Opened { .. })),
            "more than it may have"
        );
    }
}
