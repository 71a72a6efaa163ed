//! A file, or its first bytes, at once and without an engine: for work that looks at every file once.

use super::buf::ReadBuf;
use super::error::StorageError;
use super::root::Root;
use super::threads;

/// How a file begins.
#[derive(Debug)]
pub struct Head {
    /// At most as many bytes as were asked for.
    pub bytes: Vec<u8>,
    /// Of the whole file, or of the extent that was asked for.
    pub file_bytes: u64,
}

/// Reads up to `len_max` bytes from the beginning of a file. Blocks, and asks once.
///
/// # Errors
/// As any read: the file is not there, is none, or lies outside of the root.
pub fn head(root: &Root, path: &[u8], len_max: u64) -> Result<Head, StorageError> {
    let mut buf = ReadBuf::default();
    buf.set_path(path);
    let file_bytes = threads::read_head(root, &mut buf, len_max)?;
    Ok(Head { bytes: buf.bytes.to_vec(), file_bytes })
}

/// The same for an extent of a file, as (offset, length) in bytes.
///
/// # Errors
/// As any read.
pub fn head_of(
    root: &Root,
    path: &[u8],
    (offset, len): (u64, u64),
    len_max: u64,
) -> Result<Head, StorageError> {
    let mut buf = ReadBuf::default();
    buf.set_path(path);
    threads::read_now(root, &mut buf, Some((offset, len.min(len_max))), len_max)?;
    Ok(Head { bytes: buf.bytes.to_vec(), file_bytes: len })
}

/// Reads the file that `buf` names, or an extent of it as (offset, length) in bytes. Blocks, and asks once.
///
/// * `limit_bytes`: more are refused before any memory is reserved.
///
/// # Errors
/// As any read.
pub fn read_now(
    root: &Root,
    buf: &mut ReadBuf,
    extent: Option<(u64, u64)>,
    limit_bytes: u64,
) -> Result<(), StorageError> {
    threads::read_now(root, buf, extent, limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_comes_whole_and_a_long_one_begins() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("a"), b"0123456789").expect("a file");
        let root = Root::open(dir.path()).expect("it is there");
        for (len_max, bytes) in [(4, &b"0123"[..]), (10, b"0123456789"), (99, b"0123456789")] {
            let head = head(&root, b"a", len_max).expect("bytes");
            assert_eq!((&head.bytes[..], head.file_bytes), (bytes, 10));
        }
        for name in [&b"b"[..], b"../a", b"."] {
            assert!(head(&root, name, 4).is_err());
        }
    }
}
