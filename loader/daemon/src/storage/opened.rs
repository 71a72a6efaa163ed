//! Many reads here and there in few files, one after another and without an engine: the file of the last one stays open.

use super::buf::ReadBuf;
use super::error::StorageError;
use super::file::OpenFile;
use super::root::Root;
use super::{threads, whole};

/// Reads beneath a root. Each blocks, and asks once.
pub struct Opened<'a> {
    root: &'a Root,
    /// The file of the last extent, by its path.
    last: Option<(Vec<u8>, OpenFile)>,
}

impl<'a> Opened<'a> {
    /// Nothing is open yet.
    pub fn new(root: &'a Root) -> Self {
        Self { root, last: None }
    }

    /// The directory that paths resolve beneath.
    pub fn root(&self) -> &'a Root {
        self.root
    }

    /// Reads the file that `buf` names, or an extent of it as (offset, length) in bytes.
    ///
    /// A file whose extents are read stays what it was when it was opened, also where another is put under its name, until
    /// another one is read.
    ///
    /// * `limit_bytes`: more are refused before any memory is reserved.
    ///
    /// # Errors
    /// As any read.
    pub fn read(
        &mut self,
        buf: &mut ReadBuf,
        extent: Option<(u64, u64)>,
        limit_bytes: u64,
    ) -> Result<(), StorageError> {
        if extent.is_none() {
            return threads::read_now(self.root, buf, None, limit_bytes);
        }
        buf.bytes.clear();
        // Taken, so that one that failed (a stale handle, say) is opened anew.
        let (path, file) = match self.last.take() {
            Some((path, file)) if path == buf.path => (path, file),
            _ => (buf.path.clone(), OpenFile::open(self.root, &buf.path)?),
        };
        whole::read(&file, self.root, buf, extent, limit_bytes)?;
        self.last = Some((path, file));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_of_several_files_come_as_asked_for_and_one_file_is_opened_once() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(name), format!("{name}123456789")).expect("a file");
        }
        let root = Root::open(dir.path()).expect("it is there");
        let (mut opened, mut buf) = (Opened::new(&root), ReadBuf::default());
        let mut read = |path: &str, extent: Option<(u64, u64)>| {
            buf.set_path(path.as_bytes());
            opened.read(&mut buf, extent, 100).map(|()| String::from_utf8_lossy(&buf.bytes).into_owned())
        };
        assert_eq!(read("a", Some((0, 3))).expect("bytes"), "a12");
        assert_eq!(read("b", Some((8, 2))).expect("bytes"), "89");
        std::fs::write(dir.path().join("c"), "c!").expect("a file");
        std::fs::rename(dir.path().join("c"), dir.path().join("b")).expect("it is replaced");
        assert_eq!(read("b", Some((0, 2))).expect("bytes"), "b1", "it is still open");
        assert_eq!(read("b", None).expect("bytes"), "c!", "a whole file is what lies there");
        assert!(matches!(read("a", Some((8, 9))), Err(StorageError::PastEnd { .. })));
        assert_eq!(read("b", Some((0, 2))).expect("bytes"), "c!", "another one was opened meanwhile");
    }
}
