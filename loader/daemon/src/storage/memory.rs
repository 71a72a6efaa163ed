//! Files that lie in memory, for tests and synthetic benches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::error::StorageError;
use super::whole::{self, Source, Stamp};
use super::{Done, Engine, Read};

/// Serves reads from a map of path to bytes, in the caller's own thread; the root of a read only names it.
pub struct MemoryEngine<T> {
    files: HashMap<Vec<u8>, Arc<[u8]>>,
    done: flume::Sender<Done<T>>,
}

impl<T> MemoryEngine<T> {
    /// Takes the files in; completions go to `done`, which must have room for every read in flight.
    pub fn new<P, B>(files: impl IntoIterator<Item = (P, B)>, done: flume::Sender<Done<T>>) -> Self
    where
        P: Into<Vec<u8>>,
        B: Into<Arc<[u8]>>,
    {
        let files = files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect();
        Self { files, done }
    }
}

impl<T: Send> Engine<T> for MemoryEngine<T> {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn submit(&self, mut read: Read<T>) {
        let taken = Instant::now();
        let result = serve(&self.files, &mut read);
        let came_back = Instant::now();
        let (queue_wait, read_time) = (Duration::ZERO, came_back - taken);
        let _ = self.done.send(Done { read, result, queue_wait, read_time, came_back, together: 1 });
    }

    fn tend(&self) {}

    fn hanging(&self) -> usize {
        0
    }
}

fn serve<T>(files: &HashMap<Vec<u8>, Arc<[u8]>>, read: &mut Read<T>) -> Result<(), StorageError> {
    let Read { root, buf, extent, limit_bytes, .. } = read;
    buf.clear();
    let file = find(files, &buf.path).map_err(|errno| StorageError::open(root.display(&buf.path), errno))?;
    whole::read(file, root, buf, *extent, *limit_bytes)
}

/// Finds a file, and answers otherwise as a directory would.
fn find<'a>(files: &'a HashMap<Vec<u8>, Arc<[u8]>>, path: &[u8]) -> Result<&'a Arc<[u8]>, Errno> {
    if let Some(file) = files.get(path) {
        return Ok(file);
    }
    let mut depth = 0_i64;
    for part in path.split(|&byte| byte == b'/') {
        depth += if part == b".." { -1 } else { i64::from(!part.is_empty() && part != b".") };
        if depth < 0 {
            return Err(Errno::XDEV);
        }
    }
    let is_dir = |file: &Vec<u8>| file.starts_with(path) && file.get(path.len()) == Some(&b'/');
    match path {
        [b'/', ..] => Err(Errno::XDEV),
        _ if path.is_empty() || path.contains(&0) => Err(Errno::INVAL),
        _ if depth == 0 || files.keys().any(is_dir) => Err(Errno::ISDIR),
        _ => Err(Errno::NOENT),
    }
}

impl Source for Arc<[u8]> {
    fn stamp(&self) -> Result<Stamp, Errno> {
        Ok(Stamp { size_bytes: self.len() as u64, written_s: 0, written_ns: 0 })
    }

    fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        let rest = self.get(offset_bytes as usize..).unwrap_or_default();
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::super::conformance::{FILES, conformance};
    use super::*;

    #[test]
    fn the_memory_engine_conforms() {
        conformance(|done| {
            let files = FILES.iter().map(|&(path, bytes)| (path, bytes));
            (Root::unbacked("memory"), Box::new(MemoryEngine::new(files, done)))
        });
    }
}
