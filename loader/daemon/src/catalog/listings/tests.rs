//! A kept listing gives what a fresh one gives, reads no directory that is as it was, and is made once at a time.

use std::fs::{self, File};
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use super::*;
use crate::catalog::{SourceSpec, open};

/// A clock by which everything that the test makes was made long before it is listed.
fn later() -> i64 {
    stamp::now_ns() + 3_600_000_000_000
}

/// Folders `a` and `b`, with one more in `b`: three directories.
fn data(dir: &Path) -> PathBuf {
    let root = dir.join("data");
    for name in ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/0.jpg"] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), "").unwrap();
    }
    root
}

/// Gives a directory another time: two changes within one step of the clock would leave the same.
fn date(dir: &Path, seconds: u64) {
    let when = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(dir).unwrap().set_modified(when).unwrap();
}

fn fresh(root: &Path) -> Snapshot {
    let spec = SourceSpec::Folder { root: root.to_owned(), extensions: None };
    open(&spec, &CatalogLimits::default()).unwrap()
}

fn kept(listings: &Listings, root: &Path) -> Arc<Snapshot> {
    listings.open(root, None, &CatalogLimits::default()).unwrap()
}

/// Listings of another process: nothing in memory.
fn process(dir: &Path) -> Listings {
    Listings::with_clock(Some(dir.join("cache")), later)
}

/// Directories that a new process reads, when what it is given is what is there.
fn reads(dir: &Path, root: &Path) -> u64 {
    let process = process(dir);
    let (given, there) = (kept(&process, root), fresh(root));
    assert_eq!((given.id(), given.len()), (there.id(), there.len()));
    assert_eq!(given.class_map(), there.class_map());
    process.directories_read()
}

#[test]
fn a_folder_that_did_not_change_is_read_once_by_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    assert_eq!([reads(dir.path(), &root), reads(dir.path(), &root)], [3, 0]);
}

#[test]
fn only_directories_that_changed_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    reads(dir.path(), &root);
    fs::write(root.join("b/deep/9.jpg"), "").unwrap();
    date(&root.join("b/deep"), 1_000);
    assert_eq!(reads(dir.path(), &root), 1, "a new file");
    fs::create_dir_all(root.join("a/x/y")).unwrap();
    fs::write(root.join("a/x/y/1.jpg"), "").unwrap();
    date(&root.join("a"), 1_001);
    assert_eq!(reads(dir.path(), &root), 3, "a, and the two that are new in it");
    fs::create_dir(root.join("0")).unwrap();
    fs::write(root.join("0/1.jpg"), "").unwrap();
    date(&root, 1_002);
    assert_eq!(reads(dir.path(), &root), 1, "a new class, before all others");
    fs::remove_dir_all(root.join("b")).unwrap();
    date(&root, 1_003);
    assert_eq!(reads(dir.path(), &root), 0, "a class that has gone");
    fs::remove_file(root.join("a/1.jpg")).unwrap();
    fs::rename(root.join("a/2.jpg"), root.join("a/3.jpg")).unwrap();
    date(&root.join("a"), 1_004);
    assert_eq!([reads(dir.path(), &root), reads(dir.path(), &root)], [1, 0]);
}

#[test]
fn a_directory_that_was_made_anew_with_its_old_time_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    date(&root.join("a"), 1_000);
    reads(dir.path(), &root);
    fs::rename(root.join("a"), dir.path().join("old")).unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/7.jpg"), "").unwrap();
    date(&root.join("a"), 1_000);
    date(&root, 1_001);
    assert_eq!(reads(dir.path(), &root), 1);
}

#[test]
fn what_changed_just_before_the_listing_is_listed_again_by_whoever_asks_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    let listings = Listings::with_clock(Some(dir.path().join("cache")), ticking);
    let first = kept(&listings, &root);
    assert_eq!((first.len(), listings.directories_read()), (4, 3));
    // As a change in the same step of the clock would be: neither inode nor times tell.
    assert_eq!((kept(&listings, &root).id(), listings.directories_read()), (first.id(), 6));
}

/// A clock that is behind everything that the test makes.
fn ticking() -> i64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    TICKS.fetch_add(1, Ordering::Relaxed) as i64
}

#[test]
fn sixteen_processes_that_open_a_cold_folder_cause_one_scan() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    let start = Barrier::new(16);
    let read: u64 = thread::scope(|scope| {
        let open = || {
            let process = process(dir.path());
            start.wait();
            assert_eq!(kept(&process, &root).len(), 4);
            process.directories_read()
        };
        let openers: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).sum()
    });
    assert_eq!(read, 3, "as many directories as there are");
}

#[test]
fn sixteen_clients_of_one_daemon_without_a_cache_cause_one_scan_and_share_its_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    let (start, listings) = (Barrier::new(16), Listings::with_clock(None, later));
    let opened: Vec<_> = thread::scope(|scope| {
        let open = || {
            start.wait();
            kept(&listings, &root)
        };
        let openers: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    // Whoever came when nobody held the listing any more made a new one: all hold it here.
    assert!(opened.iter().all(|snapshot| Arc::ptr_eq(snapshot, &opened[0])));
    assert_eq!(listings.directories_read(), 3);
    drop(opened);
    kept(&listings, &root);
    assert_eq!(listings.directories_read(), 6, "nothing is kept that nobody uses");
}

#[test]
fn whoever_asked_before_a_listing_began_takes_it_though_its_folder_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    let asked = |since_ns| Asked {
        root: Root::open(&root).unwrap(),
        extensions: Extensions::new(None),
        limits: &LIMITS,
        since_ns,
    };
    let listings = Listings::new(None);
    let (_, memory) = listings.list(&asked(0), None).unwrap();
    assert!(!memory.dirs[&b"a".to_vec()].settled, "it was made just now");
    assert!(
        asked(memory.listed_ns).still_holds(&memory) && !asked(memory.listed_ns + 1).still_holds(&memory)
    );
    let elsewhere = Memory { by_this_clock: false, ..Arc::into_inner(memory).unwrap() };
    assert!(!asked(0).still_holds(&elsewhere), "another machine's clock says nothing");
}

static LIMITS: std::sync::LazyLock<CatalogLimits> = std::sync::LazyLock::new(CatalogLimits::default);

#[test]
fn other_extensions_are_another_listing() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    for class in ["a", "b"] {
        fs::write(root.join(class).join("1.png"), "").unwrap();
    }
    let listings = process(dir.path());
    let open = |extensions: &[&str]| {
        let extensions: Vec<_> = extensions.iter().map(|&extension| extension.to_owned()).collect();
        listings.open(&root, Some(&extensions), &CatalogLimits::default()).unwrap().len()
    };
    assert_eq!([open(&["png"]), open(&["jpg"]), open(&["jpg", "png"]), open(&["png", "jpg"])], [2, 4, 6, 6]);
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 6, "three listings and their locks");
}

#[test]
fn a_listing_that_is_cut_or_not_ours_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    reads(dir.path(), &root);
    let files = || fs::read_dir(dir.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let file = files().find(|path| path.extension().is_some_and(|ending| ending == "listing")).unwrap();
    let whole = fs::read(&file).unwrap();
    for cut in [0, 1, 50, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert_eq!(reads(dir.path(), &root), 3, "cut at {cut}");
    }
    let mut changed = whole.clone();
    let at = whole.iter().position(|&byte| byte == b'1').unwrap();
    changed[at] = b'9';
    fs::write(&file, &changed).unwrap();
    assert_eq!([reads(dir.path(), &root), reads(dir.path(), &root)], [3, 0]);
}

#[test]
fn a_place_that_cannot_be_written_or_lies_among_the_data_is_no_error_and_stays_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let root = data(dir.path());
    fs::write(dir.path().join("file"), "").unwrap();
    for folder in [dir.path().join("file/cache"), root.join("cache"), root.join("a")] {
        let listings = Listings::with_clock(Some(folder), later);
        assert_eq!(kept(&listings, &root).len(), 4);
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 2);
}

#[test]
fn the_oldest_listings_go() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..70 {
        let root = dir.path().join(format!("data{number}"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/1.jpg"), "").unwrap();
        kept(&process(dir.path()), &root);
    }
    assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 2 * 64);
}

#[test]
fn a_process_of_its_own_keeps_listings_where_its_user_keeps_caches() {
    let env = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    };
    assert_eq!(
        own_folder(env(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")])),
        Some("/x/forebay/listings".into())
    );
    assert_eq!(own_folder(env(&[("HOME", "/h")])), Some("/h/.cache/forebay/listings".into()));
    assert_eq!(own_folder(env(&[("HOME", "")])), None);
}
