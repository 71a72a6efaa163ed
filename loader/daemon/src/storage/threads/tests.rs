use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::conformance::{FILES, conformance, read_of};
use super::super::{Root, StorageErrorKind};
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
    read_file(&mut read).map(|()| read.buf.bytes.to_vec())
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
    let outcome = ThreadsEngine::start(TWO, 1 << 60, &done);
    assert!(matches!(outcome, Err(StorageError::Threads { threads: 2, .. })));
}

#[test]
fn a_receiver_that_went_away_stops_nothing() {
    let (done, completions) = flume::bounded(1);
    let engine = ThreadsEngine::new(TWO, &done).unwrap();
    drop((completions, done));
    (0..100).for_each(|tag| engine.submit(read_of(&Root::unbacked("gone"), "x", tag)));
}
