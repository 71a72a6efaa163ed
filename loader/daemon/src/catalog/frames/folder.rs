//! A clip's folder as it is now beside the names that its frames had: which have gone, and which have come.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, FileType};

use super::super::error::CatalogError;
use super::super::scan::open_dir;
use super::names::{FrameNames, natural_order};
use crate::storage::Root;

/// Frames that are told by name.
const NAMED: usize = 5;

/// How many frames, and the first of them: each name with its number in the clip, where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// All of them.
    pub count: u64,
    /// Some.
    pub first: Vec<(Option<u64>, String)>,
}

/// How a folder differs from what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Frames that are no longer there.
    pub lost: Named,
    /// Files there that end as a frame of the clip does, and are none of its frames.
    pub gained: Named,
}

/// Lists a clip's folder, once, and asks nothing of any file.
///
/// * `folder`: beneath the root.
///
/// # Errors
/// [`CatalogError::Io`]: the folder cannot be listed.
pub fn compare(root: &Arc<Root>, folder: &[u8], names: FrameNames<'_>) -> Result<Differences, CatalogError> {
    let mut there: HashMap<_, _> = files(root, folder)?.into_iter().map(|name| (name, false)).collect();
    let (mut differences, mut endings) = (Differences::default(), HashSet::new());
    for (number, name) in (0..).zip(names.all()) {
        endings.insert(ending(&name));
        match there.get_mut(&name) {
            Some(is_frame) => *is_frame = true,
            None => differences.lost.add(Some(number), &name),
        }
    }
    let is_like_a_frame = |name: &Vec<u8>| endings.contains(&ending(name));
    let mut gained: Vec<_> =
        there.into_iter().filter(|(_, is_frame)| !is_frame).map(|(name, _)| name).collect();
    gained.retain(is_like_a_frame);
    gained.sort_unstable_by(|a, b| natural_order(a, b));
    gained.iter().for_each(|name| differences.gained.add(None, name));
    Ok(differences)
}

/// The names in a folder that are no folders. Where a link leads is not asked: who reads it will see.
fn files(root: &Arc<Root>, folder: &[u8]) -> Result<Vec<Vec<u8>>, CatalogError> {
    let opened = open_dir(root, folder)?;
    let failed = |errno: rustix::io::Errno| CatalogError::Io {
        action: "list",
        path: root.display(folder),
        source: errno.into(),
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&opened.fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type() != FileType::Directory {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}

/// In small letters; empty where there is none.
fn ending(name: &[u8]) -> Vec<u8> {
    let name = String::from_utf8_lossy(name);
    let ending = Path::new(name.as_ref()).extension().unwrap_or_default();
    ending.as_encoded_bytes().to_ascii_lowercase()
}

impl Named {
    fn add(&mut self, number: Option<u64>, name: &[u8]) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push((number, String::from_utf8_lossy(name).into_owned()));
        }
    }
}

/// `frame 3 (000004.png), 000021.png and 7 more`.
impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (number, name)) in self.first.iter().enumerate() {
            f.write_str(if at > 0 { ", " } else { "" })?;
            match number {
                Some(number) => write!(f, "frame {number} ({name})")?,
                None => f.write_str(name)?,
            }
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[&str], names: &str) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("clip/folder.jpg")).unwrap();
        files.iter().for_each(|file| std::fs::write(dir.path().join("clip").join(file), "x").unwrap());
        let root = Root::open(dir.path()).unwrap();
        let Differences { lost, gained } =
            compare(&root, b"clip", FrameNames::parse(names).unwrap()).unwrap();
        (lost.to_string(), gained.to_string())
    }

    fn pair(lost: &str, gained: &str) -> (String, String) {
        (lost.to_owned(), gained.to_owned())
    }

    #[test]
    fn frames_that_have_gone_have_numbers_and_those_that_have_come_stand_in_natural_order() {
        assert_eq!(told(&["1.jpg", "2.jpg"], "{1..2}.jpg"), pair("", ""));
        assert_eq!(
            told(&["1.jpg", "3.jpg", "10.jpg", "9.JPG", "notes.txt"], "{1..3}.jpg"),
            pair("frame 1 (2.jpg)", "9.JPG, 10.jpg")
        );
        assert_eq!(told(&["a", "b"], "a/a"), pair("", "b"), "a name may come twice");
        assert_eq!(
            told(&[], "{1..7}.png").0,
            "frame 0 (1.png), frame 1 (2.png), frame 2 (3.png), frame 3 (4.png), frame 4 (5.png) and 2 more"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_an_error_and_not_without_frames() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in ["away", "file", "../.."] {
            let error = compare(&root, folder.as_bytes(), FrameNames::parse("1.jpg").unwrap()).unwrap_err();
            assert!(matches!(error, CatalogError::Io { .. }), "{folder}: {error}");
        }
    }
}
