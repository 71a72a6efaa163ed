//! Walks a tar archive: the name, place and length of each regular file in it.
//!
//! All that tar programs write is understood: v7, ustar, GNU's long names, pax headers for one member (`x`) and for all
//! that follow (`g`), sizes in base 256. Links and devices have no bytes of their own and are counted; folders are passed
//! over; what has bytes that do not lie in one piece (sparse files, further volumes) is refused by name. Every header's
//! checksum is verified, and an archive that does not end as one must is cut.
//!
//! The `tar` crate, which writes our exports, is not used here: it reads 512 bytes at a time through one cursor, takes
//! long names and pax headers of any size into memory, and ends in silence where an archive is cut between two members.

mod header;
mod pax;
#[cfg(test)]
mod tests;

use super::{ContainerError, ReadAt, Window};
use header::Header;
use pax::Extended;

const BLOCK_BYTES: u64 = 512;

/// As long as a path can be; a longer one is damage.
const NAME_BYTES_MAX: u64 = 4096;

/// All that pax says of one member. Extended attributes may be among it.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// So much behind the end must be empty: programs fill up their last record, of 10 KiB or at most some hundred.
const TAIL_BYTES: usize = 64 << 10;

/// A regular file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, as it was written.
    pub name: Vec<u8>,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
}

/// What else is in an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Hard and symbolic links.
    pub links: u64,
    /// Devices and pipes.
    pub devices: u64,
}

/// An archive that is being walked.
pub struct Tar<R> {
    window: Window<R>,
    /// Where the next header stands.
    at: u64,
    /// What pax says of all that follow.
    global: Extended,
    passed: Passed,
}

impl<R: ReadAt> Tar<R> {
    /// Nothing is read yet. `file_bytes`: the archive's size.
    pub fn new(source: R, file_bytes: u64) -> Self {
        let (global, passed) = (Extended::default(), Passed::default());
        Self { window: Window::new(source, file_bytes), at: 0, global, passed }
    }

    /// What was passed over so far.
    pub fn passed(&self) -> Passed {
        self.passed
    }

    /// The next regular file; `None` behind the last.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, ContainerError> {
        let mut own = Extended::default();
        loop {
            let at = self.at;
            let Some(header) = self.header()? else {
                return if own == Extended::default() {
                    Ok(None)
                } else {
                    Err(ContainerError::Header {
                        at,
                        detail: "the archive ends where the member of a long name should be",
                    })
                };
            };
            match header.kind {
                b'L' => own.path = Some(self.long_name(header.size)?),
                b'K' => self.skip(header.size, || "a long link".to_owned())?,
                b'x' | b'X' => {
                    own.add(self.pax(header.size)?)
                        .map_err(|detail| ContainerError::Header { at, detail })?;
                }
                b'g' => {
                    let records = self.pax(header.size)?.to_vec();
                    self.global.add(&records).map_err(|detail| ContainerError::Header { at, detail })?;
                }
                _ => {
                    if let Some(member) = self.member(header, std::mem::take(&mut own), at)? {
                        return Ok(Some(member));
                    }
                }
            }
        }
    }

    /// Bytes of a member, or the first of them, `len` at most.
    ///
    /// # Errors
    /// [`ContainerError::Read`].
    pub fn bytes_of(&mut self, member: &Member, len: usize) -> Result<&[u8], ContainerError> {
        let len = len.min(usize::try_from(member.len).unwrap_or(usize::MAX));
        self.window.get(member.offset, len)
    }

    /// Reads the next header and goes on behind it; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, ContainerError> {
        let (at, file_bytes) = (self.at, self.window.file_bytes());
        let block = self.window.get(at, BLOCK_BYTES as usize)?;
        let Ok(block) = <&[u8; BLOCK_BYTES as usize]>::try_from(block) else {
            return Err(match (at, block) {
                (0, []) => ContainerError::Empty,
                (0, bytes) => unknown(bytes),
                (_, []) => ContainerError::NoEnd { file_bytes },
                _ => ContainerError::Cut { what: format!("the header at byte {at}"), file_bytes },
            });
        };
        if block.iter().all(|&byte| byte == 0) {
            return self.end().map(|()| None);
        }
        let header = Header::parse(block).map_err(|detail| match at {
            0 => unknown(block),
            _ => ContainerError::Header { at, detail },
        })?;
        self.at = at + BLOCK_BYTES;
        Ok(Some(header))
    }

    /// At an empty block: nothing may come behind it.
    fn end(&mut self) -> Result<(), ContainerError> {
        let end = self.at;
        let tail = self.window.get(end, TAIL_BYTES)?;
        match tail.iter().position(|&byte| byte != 0) {
            Some(at) => Err(ContainerError::BehindEnd { end, at: end + at as u64 }),
            None => Ok(()),
        }
    }

    /// What an entry is that has no extension to say: a member, or something to pass over.
    fn member(&mut self, header: Header, own: Extended, at: u64) -> Result<Option<Member>, ContainerError> {
        let (own_name, own_size) = (header.name, header.size);
        let name = own.path.or_else(|| self.global.path.clone()).unwrap_or(own_name);
        let size = own.size.or(self.global.size).unwrap_or(own_size);
        let shown = || String::from_utf8_lossy(&name).into_owned();
        let unreadable = |what| Err(ContainerError::Unreadable { name: shown(), what });
        if name.len() as u64 > NAME_BYTES_MAX {
            let (found, max) = (name.len() as u64, NAME_BYTES_MAX);
            return Err(ContainerError::TooMuch { what: "the name", at, found, max });
        }
        if own.sparse || self.global.sparse {
            return unreadable("sparse: its bytes do not lie in one piece");
        }
        match header.kind {
            // Before there was a kind for them, folders were files whose name ends in a slash.
            0 if name.ends_with(b"/") => Ok(None),
            0 | b'0' | b'7' => {
                let offset = self.at;
                self.skip(size, || format!("member {}", shown()))?;
                Ok(Some(Member { name, offset, len: size }))
            }
            b'1' | b'2' => {
                self.passed.links += 1;
                Ok(None)
            }
            b'3' | b'4' | b'6' => {
                self.passed.devices += 1;
                Ok(None)
            }
            // A folder's size is room that is reserved for it; a label has none.
            b'5' | b'V' => Ok(None),
            // A list of a folder's names (GNU), access rights (Solaris, star): bytes that belong to no file.
            b'D' | b'A' | b'E' => self.skip(size, || format!("member {}", shown())).map(|()| None),
            b'S' => unreadable("sparse: its bytes do not lie in one piece"),
            b'M' => unreadable("the rest of a file that begins in another volume"),
            _ => unreadable("of a kind that this version does not know"),
        }
    }

    /// Goes on behind data of `size` bytes and what fills up its last block.
    fn skip(&mut self, size: u64, what: impl Fn() -> String) -> Result<(), ContainerError> {
        let file_bytes = self.window.file_bytes();
        match self.at.checked_add(size).filter(|&end| end <= file_bytes) {
            Some(end) => self.at = end.next_multiple_of(BLOCK_BYTES),
            None => return Err(ContainerError::Cut { what: what(), file_bytes }),
        }
        Ok(())
    }

    /// GNU's name of the next member, which a zero byte ends.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ContainerError> {
        let data = self.extension("a long name", size, NAME_BYTES_MAX + 1)?;
        let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
        Ok(data[..end].to_vec())
    }

    fn pax(&mut self, size: u64) -> Result<&[u8], ContainerError> {
        self.extension("a pax header", size, PAX_BYTES_MAX)
    }

    /// The data of a header that says something of others.
    fn extension(&mut self, what: &'static str, size: u64, max: u64) -> Result<&[u8], ContainerError> {
        let at = self.at;
        if size > max {
            return Err(ContainerError::TooMuch { what, at, found: size, max });
        }
        self.skip(size, || what.to_owned())?;
        let file_bytes = self.window.file_bytes();
        let data = self.window.get(at, size as usize)?;
        if data.len() as u64 == size {
            Ok(data)
        } else {
            Err(ContainerError::Cut { what: what.to_owned(), file_bytes })
        }
    }
}

/// What a file is whose first block is no header.
fn unknown(start: &[u8]) -> ContainerError {
    const COMPRESSED: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x1f\x9d", "compress"),
    ];
    match COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some(&(_, how)) => ContainerError::Compressed { how },
        None => ContainerError::Unknown { format: "tar archive" },
    }
}
