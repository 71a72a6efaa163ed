//! What a copy goes from and to, and what it asks of both: a folder, or what lies under a prefix of a bucket.

use std::io;
use std::time::SystemTime;

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its length.
    pub bytes: u64,
    /// When it was written; of a copy, when what it was copied from was. Absent: nobody knows.
    pub modified: Option<SystemTime>,
}

/// The files of one end.
#[derive(Default)]
pub struct Listing {
    /// Names relative to it, sorted.
    pub files: Vec<Vec<u8>>,
    /// What is no file: devices, links that lead nowhere, marks of folders.
    pub passed_over: Vec<String>,
}

/// Is told of bytes that were read, in their order.
pub type Take<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// A file that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// What it was while it was read.
    pub stat: Stat,
    /// Of what was read.
    pub sum: blake3::Hash,
}

/// One end of a copy. Names are relative to it, with `/` between their parts.
pub trait End: Sync {
    /// A file as people see it.
    fn shown(&self, name: &[u8]) -> String;

    /// All files at any depth; `count` is told how many so far.
    fn list(&self, count: &mut dyn FnMut(u64)) -> io::Result<Listing>;

    /// Gets ready to be copied to.
    fn begin(&self, count: &mut dyn FnMut(u64)) -> io::Result<()>;

    /// What is known of a file to copy; `None` where there is none.
    fn source(&self, name: &[u8]) -> io::Result<Option<Stat>>;

    /// What is known of a copy; `None` where there is none.
    fn copy(&self, name: &[u8]) -> io::Result<Option<Stat>>;

    /// Reads a file that stays what it is meanwhile, or says that it changed.
    fn read(&self, name: &[u8], take: Take<'_>) -> io::Result<Whole>;

    /// The checksum of a file as the storage has it, and not a cache of this machine.
    fn hash(&self, name: &[u8]) -> io::Result<blake3::Hash>;

    /// Takes a file of another end in, whole or not at all.
    ///
    /// * `replace`: over one that is there.
    /// * `moved`: is told of the bytes.
    fn take(&self, from: &dyn End, name: &[u8], replace: bool, moved: &dyn Fn(u64)) -> io::Result<Whole>;

    /// Removes what writers that are gone have left beside these files.
    fn sweep(&self, names: &mut dyn Iterator<Item = &[u8]>);

    /// Has all that was written outlive a power cut.
    fn sync(&self) -> io::Result<()>;
}
