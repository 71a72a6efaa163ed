use super::super::conformance::{FILES, conformance, read_of};
use super::super::{MemoryEngine, Root, StorageErrorKind};
use super::*;

fn faulty(faults: Faults, done: flume::Sender<Done<u64>>) -> FaultyEngine<u64> {
    let files = FILES.iter().map(|&(path, bytes)| (path, bytes));
    let inner = Arc::new(MemoryEngine::new(files, done.clone()));
    FaultyEngine::new(inner, faults, done).unwrap()
}

/// The outcomes of ten attempts at each of a hundred paths, in order of submission.
fn outcomes(faults: Faults) -> Vec<Option<String>> {
    let (done, completions) = flume::unbounded();
    let engine = faulty(faults, done);
    for tag in 0..1000 {
        let mut read = read_of(&Root::unbacked("m"), "dir/middle", tag);
        read.buf.path.extend_from_slice(b"/.".repeat(tag as usize % 100).as_slice());
        engine.submit(read);
    }
    drop(engine);
    let mut outcomes = vec![None; 1000];
    for Done { read, result, .. } in completions {
        outcomes[read.tag as usize] = result.err().map(|error| error.to_string());
    }
    outcomes
}

#[test]
fn an_engine_without_faults_conforms() {
    conformance(|done| (Root::unbacked("faulty"), Box::new(faulty(Faults::default(), done))));
}

#[test]
fn a_slow_engine_conforms() {
    let faults = Faults { delay_per_mille: 500, delay_max: Duration::from_millis(2), ..Faults::default() };
    conformance(|done| (Root::unbacked("slow"), Box::new(faulty(faults, done))));
}

#[test]
fn the_same_seed_fails_in_the_same_way_and_another_seed_elsewhere() {
    let faults = Faults { seed: 1, io_error_per_mille: 100, changed_per_mille: 100, ..Faults::default() };
    assert_eq!(outcomes(faults), outcomes(faults));
    assert_ne!(outcomes(faults), outcomes(Faults { seed: 2, ..faults }));
}

#[test]
fn each_fault_is_the_kind_of_error_that_the_real_thing_would_be() {
    let always = |faults: Faults| {
        let (done, completions) = flume::unbounded();
        faulty(faults, done).submit(read_of(&Root::unbacked("m"), "dir/middle", 0));
        completions.recv().unwrap().result.unwrap_err()
    };
    let io_error = always(Faults { io_error_per_mille: 1000, ..Faults::default() });
    let missing = always(Faults { missing_per_mille: 1000, ..Faults::default() });
    let short = always(Faults { short_per_mille: 1000, ..Faults::default() });
    let changed = always(Faults { changed_per_mille: 1000, ..Faults::default() });
    assert!(matches!(&io_error, StorageError::Io { action: "read", .. }), "{io_error}");
    assert!(matches!(&missing, StorageError::Io { action: "open", .. }), "{missing}");
    assert_eq!(
        (io_error.kind(), missing.kind()),
        (StorageErrorKind::Unavailable, StorageErrorKind::Unavailable)
    );
    assert_eq!((short.kind(), changed.kind()), (StorageErrorKind::Changed, StorageErrorKind::Changed));
}

#[test]
fn faults_strike_about_as_often_as_asked_and_a_retry_can_succeed() {
    let faults = Faults { io_error_per_mille: 300, ..Faults::default() };
    let fates: Vec<_> = (1..=10_000).map(|attempt| faults.fate(b"path", attempt).outcome).collect();
    let failed = fates.iter().filter(|&&outcome| outcome == Outcome::IoError).count();
    assert!((2800..3200).contains(&failed), "{failed} of 10000");
    assert!(fates.windows(2).any(|pair| pair == [Outcome::IoError, Outcome::Served]));
}

#[test]
fn reads_still_held_back_when_the_engine_goes_come_back_as_shutdown() {
    let (done, completions) = flume::unbounded();
    let day = Duration::from_secs(86_400);
    let engine = faulty(Faults { delay_per_mille: 1000, delay_max: day, ..Faults::default() }, done);
    (0..10).for_each(|tag| engine.submit(read_of(&Root::unbacked("m"), "dir/middle", tag)));
    drop(engine);
    let errors: Vec<_> = completions.iter().map(|done| done.result.unwrap_err()).collect();
    assert_eq!(errors.len(), 10);
    assert!(errors.iter().all(|error| matches!(error, StorageError::Shutdown { .. })));
}
