//! Ten thousand damaged images through what fuzzing holds every image to: one verdict for every part, the pixels of the
//! whole in each, and the same from a used decoder as from a new one. And damaged shards and journals: what is found lies in them.

#[allow(
    clippy::pedantic,
    dead_code,
    reason = "written for another workspace, with other lints and more callers"
)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Jpeg, SplitMix, mutate};
use jpeg_encoder::SamplingFactor;

const FILES: usize = 10_000;
const SHARDS: usize = 2_000;

/// The seeds of fuzzing that are sound, and larger files: more than one row of MCUs, and restart markers.
fn sound() -> Vec<(String, Vec<u8>)> {
    let folder = |format: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(format);
    let listed =
        |format| fs::read_dir(folder(format)).expect("seeds").map(|entry| entry.expect("a file").path());
    let mut paths: Vec<PathBuf> = listed("jpeg").chain(listed("png")).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let seeds = paths.iter().map(|path| (name(path), fs::read(path).expect("a seed")));
    let halved = Jpeg::rgb(120, 90, SamplingFactor::R_4_2_0);
    let larger = [
        ("120 x 90", halved),
        ("progressive", Jpeg { progressive: true, ..halved }),
        ("restarts", Jpeg { restart_interval: 2, ..Jpeg::rgb(64, 48, SamplingFactor::R_4_4_4) }),
    ];
    let larger = larger.map(|(name, jpeg)| (name.to_owned(), jpeg.encode()));
    seeds.filter(|(name, _)| !name.starts_with("bad-")).chain(larger).collect()
}

#[test]
fn ten_thousand_mutated_files_never_panic_never_hang_and_never_answer_twice() {
    let sound = sound();
    let (mut accepted, mut rng) = (0, SplitMix(20));
    for n in 0..FILES {
        let (name, seed) = &sound[n % sound.len()];
        let file = mutate(seed, &mut rng);
        // A failed check panics: with the mutation's number it can be made again.
        let checked = std::panic::catch_unwind(|| fuzz::images::jpeg(&file) | fuzz::images::png(&file));
        accepted += usize::from(checked.unwrap_or_else(|_| panic!("mutation {n}, of {name}")));
    }
    assert!(
        (FILES / 20..FILES * 9 / 10).contains(&accepted),
        "{accepted} accepted: do the mutations still bite?"
    );
}

/// Seeds of a target, sound ones and others: what is cut or joined leads further with another byte.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let listed = fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("a file").path());
    let mut paths: Vec<PathBuf> = listed.collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

#[test]
fn mutated_shards_and_journals_never_panic_and_never_point_outside_of_themselves() {
    for (target, check) in [
        ("tar", fuzz::shards::tar as fuzz::Check),
        ("tfrecord", fuzz::shards::tfrecord),
        ("listing", fuzz::stored::listing),
    ] {
        let (seeds, mut accepted, mut rng) = (seeds(target), 0, SplitMix(6));
        for n in 0..SHARDS {
            let shard = mutate(&seeds[n % seeds.len()], &mut rng);
            let checked = std::panic::catch_unwind(|| check(&shard));
            accepted += usize::from(checked.unwrap_or_else(|_| panic!("mutation {n} of {target}")));
        }
        assert!(
            (1..SHARDS * 9 / 10).contains(&accepted),
            "{accepted} of {target}: do the mutations still bite?"
        );
    }
}
