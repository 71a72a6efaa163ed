//! Two ends -> what is to be copied, what is known, what differs.

use std::io;

use super::end::{End, Stat};

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
pub fn compare(source: &dyn End, target: &dyn End, name: &[u8], verify: bool) -> io::Result<Compared> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "it is gone since it was listed");
    let own = source.source(name)?.ok_or_else(gone)?;
    let theirs = target.copy(name)?;
    let same_time = |there: Stat| there.modified.is_some() && there.modified == own.modified;
    let verdict = match theirs {
        None => Verdict::Copy,
        Some(there) if there.bytes != own.bytes => Verdict::Differs,
        Some(there) if same_time(there) && !verify => Verdict::Known(None),
        Some(_) => {
            let (own, theirs) = (source.hash(name)?, target.hash(name)?);
            if own == theirs { Verdict::Known(Some(own)) } else { Verdict::Differs }
        }
    };
    Ok(Compared { verdict, source: own, target: theirs })
}
