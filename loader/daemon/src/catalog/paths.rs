//! Makes a listed path relative to its root, or refuses it.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::fault::CellFault;

/// The root as it was given and as the file system resolves it; an absolute path may lie in either.
pub(super) struct PathRule {
    prefixes: Vec<Vec<u8>>,
}

impl PathRule {
    pub(super) fn new(root: &Path) -> Self {
        let given = Some(root.to_owned()).filter(|root| root.is_absolute());
        let prefixes = given.into_iter().chain(root.canonicalize().ok());
        Self { prefixes: prefixes.map(|prefix| clean(prefix.as_os_str().as_bytes()).into_owned()).collect() }
    }

    /// A rule for paths that must be relative as they stand.
    pub(super) fn without_root() -> Self {
        Self { prefixes: Vec::new() }
    }

    /// The path without root, `.` and doubled slashes: equal for the same data wherever the root is mounted.
    pub(super) fn relative<'a>(&self, value: &'a [u8]) -> Result<Cow<'a, [u8]>, CellFault> {
        let shown = || String::from_utf8_lossy(value).into_owned();
        if value.is_empty() {
            return Err(CellFault::Missing);
        }
        if value.contains(&0) {
            return Err(CellFault::BadPath { path: shown() });
        }
        if value.split(|&byte| byte == b'/').any(|part| part == b"..") {
            return Err(CellFault::Climbs { path: shown() });
        }
        let path = clean(value);
        let beneath = if value.starts_with(b"/") { self.strip(path) } else { Some(path) };
        let path = beneath.ok_or_else(|| CellFault::OutsideRoot { path: shown() })?;
        if path.is_empty() { Err(CellFault::BadPath { path: shown() }) } else { Ok(path) }
    }

    /// The rest of an absolute path below the root. [`clean`] has taken its first slash.
    fn strip<'a>(&self, path: Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
        let rest = self.prefixes.iter().find_map(|prefix| match path.strip_prefix(&prefix[..])? {
            rest if prefix.is_empty() => Some(rest.len()),
            [] => Some(0),
            [b'/', rest @ ..] => Some(rest.len()),
            _ => None,
        })?;
        Some(tail(path, rest))
    }
}

fn tail(path: Cow<'_, [u8]>, len: usize) -> Cow<'_, [u8]> {
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[path.len() - len..]),
        Cow::Owned(mut path) => {
            path.drain(..path.len() - len);
            Cow::Owned(path)
        }
    }
}

/// The parts of a path joined by single slashes, without `.` and without a slash at either end.
fn clean(path: &[u8]) -> Cow<'_, [u8]> {
    let inner = path.strip_prefix(b"/").unwrap_or(path);
    let mut parts = inner.split(|&byte| byte == b'/');
    if parts.all(|part| !part.is_empty() && part != b".") {
        return Cow::Borrowed(inner);
    }
    let parts = inner.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    Cow::Owned(parts.collect::<Vec<_>>().join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(root: &str, value: &str) -> Result<String, CellFault> {
        let rule = PathRule::new(Path::new(root));
        rule.relative(value.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn the_same_file_has_one_name() {
        for value in ["a/b.jpg", "./a/b.jpg", "a//b.jpg", "a/./b.jpg", "/data/a/b.jpg", "//data/./a/b.jpg"] {
            assert_eq!(relative("/data/", value).unwrap(), "a/b.jpg", "{value}");
        }
        assert_eq!(relative("/", "/a/b.jpg").unwrap(), "a/b.jpg");
    }

    #[test]
    fn what_does_not_lie_beneath_the_root_is_refused() {
        assert!(matches!(relative("/data", "/database/x"), Err(CellFault::OutsideRoot { .. })));
        assert!(matches!(relative("/data", "a/../b"), Err(CellFault::Climbs { .. })));
        assert!(matches!(relative("/data", "a\0b"), Err(CellFault::BadPath { .. })));
        assert!(matches!(relative("/data", "/data"), Err(CellFault::BadPath { .. })));
        assert!(matches!(relative("/data", "./"), Err(CellFault::BadPath { .. })));
        assert_eq!(relative("/data", ""), Err(CellFault::Missing));
        assert_eq!(relative("/data", "a..b/..c").unwrap(), "a..b/..c");
    }
}
