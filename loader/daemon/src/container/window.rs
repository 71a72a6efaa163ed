//! Reads a file wherever it is asked to, some kilobytes at a time: headers that lie close together cost one read.

use std::fs::File;
use std::io;

use super::ContainerError;

/// What is read at once: the header of a sample's image skips the image, and those of its label and caption behind it
/// come with one read.
const WINDOW_BYTES: usize = 8 << 10;

/// Something with bytes at offsets; a read may bring fewer than asked for, and none at the end.
pub trait ReadAt {
    /// Reads into `target` from `offset` on.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, target: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, target: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, target, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, target: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let len = rest.len().min(target.len());
        target[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A file, and the part of it that was read last.
pub struct Window<R> {
    source: R,
    file_bytes: u64,
    start: u64,
    held: Vec<u8>,
}

impl<R: ReadAt> Window<R> {
    /// * `file_bytes`: its size when it was opened; what is behind does not exist.
    pub fn new(source: R, file_bytes: u64) -> Self {
        Self { source, file_bytes, start: 0, held: Vec::new() }
    }

    /// The file's size.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// `len` bytes from `offset` on; fewer where the file ends.
    ///
    /// # Errors
    /// [`ContainerError::Read`].
    pub fn get(&mut self, offset: u64, len: usize) -> Result<&[u8], ContainerError> {
        let left = self.file_bytes.saturating_sub(offset);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        let inside = |start: u64, held: usize| {
            offset.checked_sub(start).is_some_and(|skip| skip + len as u64 <= held as u64)
        };
        if !inside(self.start, self.held.len()) {
            self.fill(offset, len.max(WINDOW_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX)))?;
        }
        let skip = (offset - self.start) as usize;
        Ok(&self.held[skip.min(self.held.len())..(skip + len).min(self.held.len())])
    }

    fn fill(&mut self, offset: u64, len: usize) -> Result<(), ContainerError> {
        self.start = offset;
        self.held.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            match self.source.read_at(&mut self.held[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    self.held.clear();
                    return Err(ContainerError::Read { at: offset, source });
                }
            }
        }
        self.held.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Brings three bytes a read, and counts.
    struct Slow<'a>(&'a [u8], Cell<usize>);

    impl ReadAt for Slow<'_> {
        fn read_at(&self, target: &mut [u8], offset: u64) -> io::Result<usize> {
            self.1.set(self.1.get() + 1);
            let len = target.len().min(3);
            self.0.read_at(&mut target[..len], offset)
        }
    }

    #[test]
    fn bytes_come_whole_or_as_far_as_the_file_goes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let mut window = Window::new(Slow(&bytes, Cell::new(0)), bytes.len() as u64);
        for (offset, len) in
            [(0, 10), (5, 20_000), (19_990, 100), (0, 1), (20_000, 5), (30_000, 5), (8_190, 4)]
        {
            let end = (offset + len).min(bytes.len());
            let expected = &bytes[offset.min(end)..end];
            assert_eq!(window.get(offset as u64, len).unwrap(), expected, "{offset} {len}");
        }
    }

    #[test]
    fn neighbours_cost_no_further_read() {
        let bytes = vec![7; 4096];
        let mut window = Window::new(Slow(&bytes, Cell::new(0)), 4096);
        window.get(0, 512).unwrap();
        let reads = window.source.1.get();
        window.get(512, 512).unwrap();
        window.get(3584, 512).unwrap();
        assert_eq!(window.source.1.get(), reads);
    }

    #[test]
    fn a_file_that_shrank_gives_what_is_there() {
        let mut window = Window::new(&b"abc"[..], 10);
        assert_eq!(window.get(1, 5).unwrap(), b"bc");
        assert_eq!(window.get(7, 2).unwrap(), b"");
    }
}
