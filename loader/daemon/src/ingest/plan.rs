//! Two folders -> what is to be copied, what is known, what differs.

use std::io;

use super::folder::{Folder, Stat};

/// What becomes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there yet.
    Copy,
    /// It is there. Its checksum, where both were read.
    Known(Option<blake3::Hash>),
    /// Another one is there.
    Differs,
}

/// What the two sides have of one name.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    pub verdict: Verdict,
    pub source: Stat,
    pub target: Option<Stat>,
}

/// Compares one file. Of equal size and time is equal, unless all is to be verified; of equal size alone is read.
pub fn compare(source: &Folder, target: &Folder, name: &[u8], verify: bool) -> io::Result<Compared> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "it is gone since it was listed");
    let own = source.stat(name)?.ok_or_else(gone)?;
    let theirs = target.stat(name)?;
    let verdict = match theirs {
        None => Verdict::Copy,
        Some(there) if there.bytes != own.bytes => Verdict::Differs,
        Some(there) if there.modified == own.modified && !verify => Verdict::Known(None),
        Some(_) => {
            let (own, theirs) = (source.hash(name, &|_| ())?, target.hash(name, &|_| ())?);
            if own == theirs { Verdict::Known(Some(own)) } else { Verdict::Differs }
        }
    };
    Ok(Compared { verdict, source: own, target: theirs })
}
