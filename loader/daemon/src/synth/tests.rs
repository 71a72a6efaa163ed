use std::collections::BTreeMap;

use super::*;

fn tiny(directory: &Path, threads: usize) -> SynthOptions {
    SynthOptions {
        directory: directory.to_owned(),
        classes: 3,
        images: 30,
        seed: 7,
        size: SynthSize::Tiny,
        threads: Some(threads),
    }
}

/// Every file below the folder, by relative path.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// FNV-1a, 64 bit, over names and bytes.
fn digest(files: &BTreeMap<PathBuf, Vec<u8>>) -> u64 {
    let bytes =
        files.iter().flat_map(|(path, bytes)| path.to_str().unwrap().bytes().chain(bytes.iter().copied()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
}

fn no_progress(_done: usize, _total: usize) {}

#[test]
fn the_bytes_are_the_same_for_any_number_of_threads_and_in_every_build() {
    let (one, four) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    synth(&tiny(one.path(), 1), no_progress).unwrap();
    synth(&tiny(four.path(), 4), no_progress).unwrap();
    let (one, four) = (files(one.path()), files(four.path()));
    assert_eq!(one.len(), 30 + 1, "30 pictures and the recipe");
    assert!(one == four, "the thread count changed a byte");
    // Another value here means another recipe: raise RECIPE_VERSION.
    assert_eq!(digest(&one), 3_119_489_270_903_810_774);
}

#[test]
fn another_seed_gives_other_pictures() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    synth(&tiny(first.path(), 2), no_progress).unwrap();
    synth(&SynthOptions { seed: 8, ..tiny(second.path(), 2) }, no_progress).unwrap();
    let (first, second) = (files(first.path()), files(second.path()));
    let same = first.iter().filter(|(path, bytes)| second.get(*path) == Some(bytes)).count();
    assert_eq!(same, 0);
}

#[test]
fn every_class_has_pictures_in_train_and_in_val() {
    let folder = tempfile::tempdir().unwrap();
    let report = synth(&tiny(folder.path(), 2), no_progress).unwrap();
    assert_eq!((report.train_images, report.val_images, report.drawn_images), (24, 6, 30));
    for class in ["class000", "class001", "class002"] {
        assert_eq!(fs::read_dir(folder.path().join("train").join(class)).unwrap().count(), 8);
        assert_eq!(fs::read_dir(folder.path().join("val").join(class)).unwrap().count(), 2);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "train, val and the recipe, nothing partial");
}

#[test]
fn progress_counts_every_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    synth(&tiny(folder.path(), 4), |done, total| seen.push((done, total))).unwrap();
    assert_eq!(seen, (1..=30).map(|done| (done, 30)).collect::<Vec<_>>());
}

#[test]
fn a_repeated_call_draws_only_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let options = tiny(folder.path(), 2);
    synth(&options, no_progress).unwrap();
    let whole = files(folder.path());
    let lost = folder.path().join("train/class001/000002.jpg");
    fs::remove_file(lost).unwrap();
    fs::write(folder.path().join(".partial-1-0"), b"left by a killed run").unwrap();
    assert_eq!(synth(&options, no_progress).unwrap().drawn_images, 1);
    fs::remove_file(folder.path().join(".partial-1-0")).unwrap();
    assert!(files(folder.path()) == whole);
    assert_eq!(synth(&options, no_progress).unwrap().drawn_images, 0);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), b"").unwrap();
    let error = synth(&tiny(folder.path(), 1), no_progress).unwrap_err();
    assert!(matches!(error, SynthError::NotEmpty { .. }), "{error}");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn another_recipe_in_the_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    synth(&tiny(folder.path(), 2), no_progress).unwrap();
    let error = synth(&SynthOptions { seed: 8, ..tiny(folder.path(), 2) }, no_progress).unwrap_err();
    assert!(matches!(error, SynthError::OtherRecipe { .. }));
    let text = error.to_string();
    assert!(text.contains("\"seed\":7") && text.contains("\"seed\":8"), "{text}");
}

#[test]
fn numbers_that_make_no_data_set_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = tiny(folder.path(), 1);
    for wrong in [
        SynthOptions { classes: 0, ..options.clone() },
        SynthOptions { classes: 1001, images: 10_000, ..options.clone() },
        SynthOptions { images: 14, ..options.clone() },
    ] {
        let error = synth(&wrong, no_progress).unwrap_err();
        assert!(matches!(error, SynthError::Option { .. }), "{error}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = synth(&tiny(&file.join("below"), 1), no_progress).unwrap_err();
    assert!(matches!(&error, SynthError::File { action: "create", .. }), "{error}");
}

#[test]
fn a_full_disk_has_its_own_error_with_the_way_on() {
    const ENOSPC: i32 = 28;
    let error = SynthError::file("write", Path::new("a.jpg"))(io::Error::from_raw_os_error(ENOSPC));
    assert!(matches!(error, SynthError::DiskFull { .. }));
    assert_eq!(error.to_string(), "no space left for a.jpg");
    assert!(error.hint().contains("it goes on"));
}

#[test]
fn every_picture_decodes_at_its_size() {
    let folder = tempfile::tempdir().unwrap();
    synth(&tiny(folder.path(), 2), no_progress).unwrap();
    for (path, bytes) in
        files(folder.path()).iter().filter(|(path, _)| path.extension() == Some("jpg".as_ref()))
    {
        let picture =
            image::load_from_memory(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!((16..=64).contains(&picture.width()) && (16..=64).contains(&picture.height()));
    }
}

#[test]
fn sizes_and_codings_are_spread_as_in_imagenet() {
    const DRAWS: usize = 20_000;
    let mut draw = SplitMix64::for_purpose("test", &[1]);
    let sizes: Vec<_> = (0..DRAWS).map(|_| encode::draw_size(SynthSize::Photo, &mut draw)).collect();
    let pixels_mean = sizes.iter().map(|(width, height)| width * height).sum::<usize>() / DRAWS;
    assert!((188_000..208_000).contains(&pixels_mean), "{pixels_mean}");
    let codings: Vec<_> = (0..DRAWS).map(|_| encode::Coding::draw(&mut draw)).collect();
    let per_mille =
        |wanted: fn(encode::Coding) -> bool| codings.iter().filter(|c| wanted(**c)).count() * 1000 / DRAWS;
    assert!((10..30).contains(&per_mille(encode::Coding::is_grey)));
    assert!((170..230).contains(&per_mille(encode::Coding::is_420)));
}

#[test]
fn a_photograph_takes_the_bytes_that_imagenet_spends_on_a_pixel() {
    let (mut bytes, mut pixels) = (0, 0);
    for number in 0..24 {
        let mut draw = SplitMix64::for_purpose("picture", &[1, 0, number]);
        let size = (240, 180);
        let picture = scene::draw_picture(number as u32 % 10, 10, size, &mut draw);
        bytes += encode::encode(&picture, encode::Coding::draw(&mut draw)).len();
        pixels += size.0 * size.1;
    }
    let bits_a_pixel = bytes as f64 * 8.0 / pixels as f64;
    assert!((3.2..6.0).contains(&bits_a_pixel), "{bits_a_pixel}");
}
