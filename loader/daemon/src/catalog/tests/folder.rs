use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn labels(snapshot: &Snapshot) -> Vec<i64> {
    let label = snapshot.column("label").unwrap();
    (0..snapshot.len()).map(|row| label.int(row)).collect()
}

#[test]
fn classes_folders_and_files_come_in_torchvisions_order() {
    let dir = dir_of(&[
        "dog/2.JPG",
        "dog/10.png",
        "dog/notes.txt",
        "Cat/a/x.jpeg",
        "Cat/a-b/x.webp",
        "Cat/a/b/x.tiff",
        "Cat/z.jpg",
        "beside.jpg",
    ]);
    let snapshot = open_folder(dir.path()).unwrap();
    assert_eq!(snapshot.class_map().unwrap().names(), ["Cat", "dog"]);
    assert_eq!(
        paths(&snapshot, "image"),
        ["Cat/z.jpg", "Cat/a/x.jpeg", "Cat/a-b/x.webp", "Cat/a/b/x.tiff", "dog/10.png", "dog/2.JPG"]
    );
    assert_eq!(labels(&snapshot), [0, 0, 0, 0, 1, 1]);
    assert_eq!(&*snapshot.key(5), b"dog/2.JPG");
    assert_eq!(snapshot.root().unwrap().path(), dir.path());
}

#[test]
fn the_order_does_not_depend_on_how_many_threads_list() {
    let names: Vec<_> = (0..300).map(|n| format!("c{}/{}/{n}.jpg", n % 7, n % 5)).collect();
    let dir = dir_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let open_with = |threads| {
        let scan_threads = std::num::NonZeroUsize::new(threads).unwrap();
        let limits = CatalogLimits { scan_threads, ..CatalogLimits::default() };
        let source = SourceSpec::Folder { root: dir.path().to_owned(), extensions: None };
        paths(&open(&source, &limits).unwrap(), "image")
    };
    assert_eq!(open_with(1), open_with(9));
    assert_eq!(open_with(1).len(), 300);
}

#[test]
fn extensions_may_be_named_in_any_case_with_or_without_their_dot() {
    let dir = dir_of(&["a/1.wav", "a/2.FLAC", "a/3.jpg"]);
    let extensions = Some(vec!["WAV".to_owned(), ".flac".to_owned()]);
    let source = SourceSpec::Folder { root: dir.path().to_owned(), extensions };
    assert_eq!(paths(&open(&source, &CatalogLimits::default()).unwrap(), "image"), ["a/1.wav", "a/2.FLAC"]);
}

#[test]
fn links_beneath_the_root_are_followed_and_broken_ones_kept() {
    let dir = dir_of(&["a/1.jpg"]);
    symlink("a", dir.path().join("b")).unwrap();
    symlink("1.jpg", dir.path().join("a/2.jpg")).unwrap();
    symlink("gone", dir.path().join("a/3.jpg")).unwrap();
    let found = paths(&open_folder(dir.path()).unwrap(), "image");
    assert_eq!(found, ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"]);
}

#[test]
fn a_link_that_leaves_the_root_or_goes_round_is_an_error() {
    let dir = dir_of(&["a/1.jpg"]);
    symlink("/etc/passwd", dir.path().join("a/2.jpg")).unwrap();
    assert_says(open_folder(dir.path()), "a/2.jpg links to something outside the root");
    for target in ["..", ".", "../a"] {
        let dir = dir_of(&["a/1.jpg"]);
        symlink(target, dir.path().join("a/round")).unwrap();
        assert_says(open_folder(dir.path()), "a/round links to a folder that it lies in");
    }
}

#[test]
fn a_missing_folder_a_file_and_an_empty_folder_are_told_apart() {
    let dir = dir_of(&["file.jpg"]);
    let missing = open_folder(&dir.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), CatalogErrorKind::NotFound);
    assert!(missing.hint().unwrap().contains("mounted"));
    let file = open_folder(&dir.path().join("file.jpg")).unwrap_err();
    assert_eq!(file.kind(), CatalogErrorKind::Invalid);
    assert_says(
        open_folder(dir.path()),
        &format!("couldn't find any class folder in {}", dir.path().display()),
    );
}

#[test]
fn classes_without_samples_are_named_as_torchvision_names_them() {
    let dir = dir_of(&["a/1.jpg", "b/", "c/notes.txt", ".cache/"]);
    let error = open_folder(dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "found no valid file for the classes .cache, b, c; supported extensions are: \
         .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp"
    );
    assert!(error.hint().unwrap().contains("remove .cache"));
}

#[test]
fn a_class_name_that_is_not_utf8_is_an_error_and_a_file_name_is_not() {
    let dir = dir_of(&["a/1.jpg"]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.jpg");
    fs::write(dir.path().join("a").join(name), "").unwrap();
    assert_eq!(open_folder(dir.path()).unwrap().column("image").unwrap().path(1), b"a/\xff.jpg");
    fs::create_dir(dir.path().join(name)).unwrap();
    assert_says(open_folder(dir.path()), "has a name that is not UTF-8");
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error_and_not_left_out() {
    let dir = dir_of(&["a/1.jpg", "a/closed/2.jpg"]);
    let closed = dir.path().join("a/closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        eprintln!("skipped: this user reads everything");
        return;
    }
    let error = open_folder(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("a/closed"), "{error}");
    assert!(error.hint().unwrap().contains("user that the daemon runs as"));
}

#[test]
fn more_files_than_the_limit_are_an_error() {
    let dir = dir_of(&["a/1.jpg", "a/2.jpg", "b/3.jpg"]);
    let limits = CatalogLimits { rows_max: 2, ..CatalogLimits::default() };
    let source = SourceSpec::Folder { root: dir.path().to_owned(), extensions: None };
    assert_says(open(&source, &limits), "has more than 2 samples");
}
