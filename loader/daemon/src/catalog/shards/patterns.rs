//! From what a person writes for many shards to the files: braces as in a shell (`train-{000..127}.tar`), and `*`, `?`
//! and `[a-z]` within one part of a path.
//!
//! Braces name files, each of which must be there; the others find what is there. Braces keep their order, what is found
//! is sorted by its bytes, and a file whose name has such signs in it can be named as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::catalog::error::CatalogError;
use crate::catalog::scan::{Entry, entries, open_dir};
use crate::storage::Root;

/// Shards of a source.
const SHARDS_MAX: usize = 1 << 20;
/// Braces inside of braces.
const DEPTH_MAX: usize = 8;
const PATTERN_BYTES_MAX: usize = 4096;

const BRACE: char = '{';
const WILD: [char; 3] = ['*', '?', '['];

/// The folder that all shards lie beneath: what stands before the first sign of any pattern.
///
/// * `patterns`: absolute.
///
/// # Errors
/// [`CatalogError::Pattern`]: there is none, or one is not absolute.
pub fn root_of(patterns: &[String]) -> Result<PathBuf, CatalogError> {
    let mut common: Option<PathBuf> = None;
    for pattern in patterns {
        if !pattern.starts_with('/') || pattern.len() > PATTERN_BYTES_MAX || pattern.contains('\0') {
            return Err(wrong(pattern, "is no absolute path of at most 4096 bytes"));
        }
        let end = pattern.find(|sign| sign == BRACE || WILD.contains(&sign)).unwrap_or(pattern.len());
        let folder = Path::new(&pattern[..=pattern[..end].rfind('/').unwrap_or(0)]);
        if folder.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(wrong(pattern, "has a `..`"));
        }
        common = Some(match common {
            None => folder.components().collect(),
            Some(common) => shared(&common, folder),
        });
    }
    common.ok_or_else(|| wrong("", "names no shard"))
}

/// The folder that holds both.
fn shared(one: &Path, other: &Path) -> PathBuf {
    one.components()
        .zip(other.components())
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| one)
        .collect()
}

/// The files that the patterns name, beneath the root, none twice.
///
/// * `root`: opened at what [`root_of`] says, or at where that leads.
///
/// # Errors
/// [`CatalogError::Pattern`]: a pattern that is wrong or finds nothing; what the system says of a folder.
pub(super) fn files(root: &Arc<Root>, patterns: &[String]) -> Result<Vec<Vec<u8>>, CatalogError> {
    let above = root_of(patterns)?;
    let mut files = Vec::new();
    for pattern in patterns {
        let relative =
            Path::new(pattern).strip_prefix(&above).map_err(|_| wrong(pattern, "lies elsewhere"))?;
        // Without doubled slashes and single dots, so that a file has one name.
        let relative: PathBuf = relative.components().collect();
        let relative = relative.to_str().unwrap_or_default();
        if relative.contains(WILD) || relative.contains(BRACE) {
            if is_there(root, relative) {
                files.push(relative.as_bytes().to_vec());
                continue;
            }
            for name in braces(relative, 0).map_err(|detail| wrong(pattern, detail))? {
                find(root, pattern, &name, &mut files)?;
            }
        } else {
            files.push(relative.as_bytes().to_vec());
        }
        if files.len() > SHARDS_MAX {
            return Err(wrong(pattern, TOO_MANY));
        }
    }
    let mut met = std::collections::HashSet::new();
    match files.iter().find(|file| !met.insert(*file)) {
        Some(file) => Err(wrong(&root.display(file), "is named twice")),
        None => Ok(files),
    }
}

const TOO_MANY: &str = "names more than a million shards";

fn wrong(pattern: &str, detail: &'static str) -> CatalogError {
    CatalogError::Pattern { pattern: pattern.to_owned(), detail }
}

fn is_there(root: &Root, path: &str) -> bool {
    root.open_beneath(path.as_bytes(), OFlags::PATH).is_ok()
}

/// Every text that braces stand for.
fn braces(text: &str, depth: usize) -> Result<Vec<String>, &'static str> {
    if depth > DEPTH_MAX {
        return Err("has braces too deep in braces");
    }
    let Some((before, inside, behind)) = first_braces(text) else { return Ok(vec![text.to_owned()]) };
    let choices = match choices(inside) {
        choices if choices.len() > 1 => {
            let choices = choices.into_iter().map(|choice| braces(choice, depth + 1));
            choices.collect::<Result<Vec<_>, _>>()?.concat()
        }
        _ => range(inside)?.ok_or("has braces without `..` or a comma in them")?,
    };
    let ends = braces(behind, depth)?;
    if choices.len().saturating_mul(ends.len()) > SHARDS_MAX {
        return Err(TOO_MANY);
    }
    Ok(choices
        .iter()
        .flat_map(|choice| ends.iter().map(move |end| format!("{before}{choice}{end}")))
        .collect())
}

/// What is before the first pair of braces, inside of it and behind it.
fn first_braces(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('{')?;
    let mut depth = 0;
    for (at, sign) in text[open..].char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..open], &text[open + 1..open + at], &text[open + at + 1..]));
        }
    }
    None
}

/// Parted by the commas that stand in no inner braces.
fn choices(inside: &str) -> Vec<&str> {
    let mut depth = 0;
    inside
        .split(|sign| {
            match sign {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            sign == ',' && depth == 0
        })
        .collect()
}

/// `000..127`, and maybe `..STEP`: numbers as wide as they are written. `None`: it is something else.
fn range(inside: &str) -> Result<Option<Vec<String>>, &'static str> {
    let parts: Vec<_> = inside.split("..").collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, "1"),
        [first, last, step] => (first, last, step),
        _ => return Ok(None),
    };
    let number = |text: &str| -> Option<u64> {
        (text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    let (Some(from), Some(to), Some(step)) = (number(first), number(last), number(step)) else {
        return Ok(None);
    };
    if step == 0 {
        return Err("has a range with the step 0");
    }
    let count = from.abs_diff(to) / step + 1;
    if count > SHARDS_MAX as u64 {
        return Err(TOO_MANY);
    }
    let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    let numbers = (0..count).map(|n| if from <= to { from + n * step } else { from - n * step });
    Ok(Some(numbers.map(|number| format!("{number:0width$}")).collect()))
}

/// Adds what one pattern without braces names.
fn find(root: &Arc<Root>, pattern: &str, name: &str, files: &mut Vec<Vec<u8>>) -> Result<(), CatalogError> {
    if !name.contains(WILD) {
        files.push(name.as_bytes().to_vec());
        return Ok(());
    }
    if name.contains("**") {
        return Err(wrong(pattern, "has `**`, which is not supported: name each level of folders"));
    }
    let parts: Vec<_> = name.split('/').collect();
    let mut found = vec![Vec::new()];
    for (index, part) in parts.iter().enumerate() {
        let wanted = if index + 1 < parts.len() { Entry::Folder } else { Entry::File };
        let mut next = Vec::new();
        for above in &found {
            if part.contains(WILD) {
                next.extend(matching(root, above, part, wanted)?);
            } else {
                next.push(join(above, part.as_bytes()));
            }
        }
        if next.len() > SHARDS_MAX {
            return Err(wrong(pattern, TOO_MANY));
        }
        found = next;
    }
    // A plain part behind a wild one is not in every folder.
    found.retain(|path| root.open_beneath(path, OFlags::PATH).is_ok());
    if found.is_empty() {
        return Err(wrong(pattern, "finds no file"));
    }
    files.extend(found);
    Ok(())
}

/// The names in a folder that fit, sorted. Hidden ones only where the pattern says so.
fn matching(root: &Arc<Root>, above: &[u8], part: &str, wanted: Entry) -> Result<Vec<Vec<u8>>, CatalogError> {
    let opened = match open_dir(root, above) {
        Ok(opened) => opened,
        // Behind a wild part, a folder need not be everywhere.
        Err(CatalogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    entries(root, above, &opened.fd, &mut |name, entry| {
        let shown = !name.starts_with(b".") || part.starts_with('.');
        if entry == wanted && shown && fits(part.as_bytes(), name) {
            found.push(join(above, name));
        }
        Ok(())
    })?;
    found.sort_unstable();
    Ok(found)
}

fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

/// Whether a name is one that the pattern stands for. A star is tried again one byte further each time, and only the
/// last one, so that this takes no more steps than both lengths multiplied.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next, mut star) = (0, 0, None);
    while next < name.len() {
        match one(&pattern[at..], name[next]) {
            Some(len) => (at, next) = (at + len, next + 1),
            None if pattern.get(at) == Some(&b'*') => {
                star = Some((at + 1, next));
                at += 1;
            }
            None => {
                let Some((behind, from)) = star else { return false };
                (at, next) = (behind, from + 1);
                star = Some((behind, next));
            }
        }
    }
    pattern[at..].iter().all(|&sign| sign == b'*')
}

/// How long the first sign of a pattern is where it stands for `byte`; `None` where it does not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'*', ..] | [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref rest @ ..] => match set(rest) {
            Some((set, len)) => is_in(set, byte).then_some(len + 1),
            None => (byte == b'[').then_some(1),
        },
        [sign, ..] => (sign == byte).then_some(1),
    }
}

/// What stands in brackets, and the length with the closing one; `None` where nothing closes them.
fn set(rest: &[u8]) -> Option<(&[u8], usize)> {
    let first = usize::from(rest.first() == Some(&b'!')) + 1;
    let end = rest.iter().skip(first).position(|&sign| sign == b']')? + first;
    Some((&rest[..end], end + 1))
}

fn is_in(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set {
        [b'!', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    while let [first, rest @ ..] = set {
        if let [b'-', last, rest @ ..] = rest {
            found |= (first..=last).contains(&&byte);
            set = rest;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        braces(text, 0).unwrap()
    }

    #[test]
    fn braces_are_numbers_as_wide_as_written_or_one_of_several() {
        assert_eq!(expanded("x-{08..11}.tar"), ["x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"]);
        assert_eq!(expanded("{9..11}"), ["9", "10", "11"]);
        assert_eq!(expanded("{3..0..2}"), ["3", "1"]);
        assert_eq!(expanded("{a,b}{0..1}"), ["a0", "a1", "b0", "b1"]);
        assert_eq!(expanded("{train/{0..1},val}.tar"), ["train/0.tar", "train/1.tar", "val.tar"]);
        assert_eq!(expanded("{,x}y"), ["y", "xy"]);
        assert_eq!(expanded("open{"), ["open{"]);
    }

    #[test]
    fn braces_that_mean_nothing_or_too_much_are_refused() {
        for text in ["{}", "{a}", "{a..b}", "{0..9..0}", "{0..9999999999}", "{0..9999}{0..9999}", "{-1..3}"] {
            assert!(braces(text, 0).is_err(), "{text}");
        }
        assert!(braces(&format!("{}{}", "{,".repeat(100), "}".repeat(100)), 0).is_err());
    }

    #[test]
    fn the_root_is_what_all_patterns_share_before_their_first_sign() {
        let root = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            root_of(&patterns).map(|root| root.to_str().unwrap().to_owned())
        };
        assert_eq!(root(&["/data/a.tar"]).unwrap(), "/data");
        assert_eq!(root(&["/data/x-{0..3}/a.tar", "/data/y/b.tar"]).unwrap(), "/data");
        assert_eq!(root(&["/data/x/*.tar", "/data/xy/*.tar"]).unwrap(), "/data");
        assert_eq!(root(&["/a/x.tar", "/b/x.tar"]).unwrap(), "/");
        assert!(root(&["a.tar"]).is_err() && root(&[]).is_err() && root(&["/a/../b/x.tar"]).is_err());
    }

    #[test]
    fn stars_question_marks_and_sets_stand_for_names() {
        for (pattern, name, expected) in [
            ("*.tar", "a.tar", true),
            ("*.tar", ".tar", true),
            ("*.tar", "a.tar.gz", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("?", "", false),
            ("x-?.tar", "x-1.tar", true),
            ("x-[0-3].tar", "x-2.tar", true),
            ("x-[0-3].tar", "x-4.tar", false),
            ("x-[!0-3].tar", "x-4.tar", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("**", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        let long = "a".repeat(200);
        assert!(!fits(format!("{}b", "a*".repeat(50)).as_bytes(), long.as_bytes()));
    }

    #[test]
    fn patterns_find_files_in_order_and_none_twice() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.tar", "b/10.tar", "a/1.tar", "a/.hidden.tar", "a/x.txt", "odd[1].tar"] {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |patterns: &[&str]| {
            let root = dir.path().to_str().unwrap();
            let patterns: Vec<_> = patterns.iter().map(|pattern| format!("{root}/{pattern}")).collect();
            let opened = Root::open(root_of(&patterns).unwrap()).unwrap();
            let files = files(&opened, &patterns)?;
            Ok::<_, CatalogError>(
                files.into_iter().map(|file| String::from_utf8(file).unwrap()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(found(&["*/*.tar"]).unwrap(), ["a/1.tar", "b/10.tar", "b/2.tar"]);
        assert_eq!(found(&["b/{2,10}.tar"]).unwrap(), ["2.tar", "10.tar"]);
        assert_eq!(found(&["*/1.tar"]).unwrap(), ["a/1.tar"]);
        assert_eq!(found(&["odd[1].tar"]).unwrap(), ["odd[1].tar"]);
        assert_eq!(found(&["b//./2.tar", "b/3.tar"]).unwrap(), ["2.tar", "3.tar"]);
        for patterns in [&["*.zip"][..], &["b/2.tar", "b/*.tar"], &["**/1.tar"]] {
            let error = found(patterns).unwrap_err();
            assert!(matches!(error, CatalogError::Pattern { .. }) && error.hint().is_some(), "{error}");
        }
    }
}
