//! Deflated bytes to inflated ones, as many as are asked for and no more, with their checksum.

use flate2::{Decompress, FlushDecompress, Status};

use super::error::ArrayError;

/// What inflating needs, kept from one member to the next.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Begins at the first byte of a member.
    pub fn start<'a>(&'a mut self, input: &'a [u8]) -> Inflated<'a> {
        self.0.reset(false);
        Inflated { state: &mut self.0, input, has_ended: false, checksum: crc32fast::Hasher::new() }
    }
}

/// A member while it is inflated.
pub struct Inflated<'a> {
    state: &'a mut Decompress,
    input: &'a [u8],
    has_ended: bool,
    checksum: crc32fast::Hasher,
}

impl Inflated<'_> {
    /// Inflates the next bytes over all of `out`.
    ///
    /// # Errors
    /// There are fewer, or the bytes are not deflated.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), ArrayError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.some(&mut out[filled..])? {
                0 => return Err(broken("a deflated member ends early")),
                made => filled += made,
            }
        }
        self.checksum.update(out);
        Ok(())
    }

    /// What was inflated so far.
    pub fn total_bytes(&self) -> u64 {
        self.state.total_out()
    }

    /// The CRC-32 of all bytes, none of which is left.
    ///
    /// # Errors
    /// Some are.
    pub fn end(mut self) -> Result<u32, ArrayError> {
        let is_longer = self.some(&mut [0])? > 0 || (self.has_ended && !self.input.is_empty());
        if is_longer {
            return Err(broken("a deflated member is longer than the directory says"));
        }
        if !self.has_ended {
            return Err(broken("a deflated member ends early"));
        }
        Ok(self.checksum.finalize())
    }

    /// How many bytes were made: none only at the end of what there is.
    fn some(&mut self, out: &mut [u8]) -> Result<usize, ArrayError> {
        while !self.has_ended {
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.input, out, FlushDecompress::None);
            let status = status.map_err(|_| broken("a deflated member is damaged"))?;
            let (taken, made) = (self.state.total_in() - taken, self.state.total_out() - made);
            self.input = &self.input[taken as usize..];
            self.has_ended = status == Status::StreamEnd;
            if made > 0 || taken == 0 {
                return Ok(made as usize);
            }
        }
        Ok(0)
    }
}

fn broken(detail: &'static str) -> ArrayError {
    ArrayError::Archive { detail }
}
