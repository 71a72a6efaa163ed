//! Walks a TFRecord file: the place and length of each record.
//!
//! The checksum of each length is verified, so that a wrong one leads nowhere; that of the data is when it is read. The
//! format has no end mark: a file that is cut between two records is a shorter file.

use super::{ContainerError, ReadAt, Window};
use crate::decode::record::{FOOT_BYTES, HEAD_BYTES, checksum};

/// Where a record's data lies. Its checksum is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Where its data begins in the file.
    pub offset: u64,
    /// Of its data.
    pub len: u64,
}

/// A file that is being walked.
pub struct Records<R> {
    window: Window<R>,
    at: u64,
}

impl<R: ReadAt> Records<R> {
    /// Nothing is read yet. `file_bytes`: the file's size.
    pub fn new(source: R, file_bytes: u64) -> Self {
        Self { window: Window::new(source, file_bytes), at: 0 }
    }

    /// What records are read through.
    pub fn window(&mut self) -> &mut Window<R> {
        &mut self.window
    }

    /// The next record; `None` behind the last.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn next_record(&mut self) -> Result<Option<Record>, ContainerError> {
        let (at, file_bytes) = (self.at, self.window.file_bytes());
        let cut = || ContainerError::Cut { what: format!("the record at byte {at}"), file_bytes };
        let head = self.window.get(at, HEAD_BYTES as usize)?;
        let Ok(head) = <&[u8; HEAD_BYTES as usize]>::try_from(head) else {
            return match (at, head) {
                (0, []) => Err(ContainerError::Empty),
                (_, []) => Ok(None),
                (0, start) => Err(unknown(start)),
                _ => Err(cut()),
            };
        };
        let (length, said) = head.split_at(8);
        if checksum(length).to_le_bytes() != said {
            return Err(match at {
                0 => unknown(head),
                _ => ContainerError::Header { at, detail: "the checksum of its length is another" },
            });
        }
        let len = length.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let offset = at + HEAD_BYTES;
        let end = offset.checked_add(len).and_then(|end| end.checked_add(FOOT_BYTES));
        self.at = end.filter(|&end| end <= file_bytes).ok_or_else(cut)?;
        Ok(Some(Record { offset, len }))
    }
}

/// What a file is whose first length is none.
fn unknown(start: &[u8]) -> ContainerError {
    match start {
        [0x1f, 0x8b, ..] => ContainerError::Compressed { how: "gzip" },
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => ContainerError::Compressed { how: "zlib" },
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ContainerError::Compressed { how: "zstd" },
        _ => ContainerError::Unknown { format: "TFRecord file" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        let sums = [checksum(&length), checksum(data)].map(u32::to_le_bytes);
        [&length[..], &sums[0], data, &sums[1]].concat()
    }

    fn walk(bytes: &[u8]) -> Result<Vec<Vec<u8>>, ContainerError> {
        let mut records = Records::new(bytes, bytes.len() as u64);
        let mut found = Vec::new();
        while let Some(Record { offset, len }) = records.next_record()? {
            found.push(bytes[offset as usize..][..len as usize].to_vec());
        }
        Ok(found)
    }

    #[test]
    fn records_of_any_length_are_found() {
        let datas = [vec![1; 10_000], Vec::new(), b"abc".to_vec()];
        let file: Vec<u8> = datas.iter().flat_map(|data| framed(data)).collect();
        assert_eq!(walk(&file).unwrap(), datas);
    }

    #[test]
    fn a_cut_or_damaged_file_is_refused() {
        let file = [framed(b"first"), framed(b"second")].concat();
        for len in 0..file.len() {
            assert_eq!(walk(&file[..len]).is_ok(), len == framed(b"first").len(), "{len}");
        }
        for at in 21..33 {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(matches!(walk(&damaged), Err(ContainerError::Header { at: 21, .. })), "{at}");
        }
    }

    #[test]
    fn what_is_no_tfrecord_is_named() {
        assert!(matches!(
            walk(b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0"),
            Err(ContainerError::Compressed { how: "gzip" })
        ));
        assert!(matches!(walk(b"\x78\x9c\0"), Err(ContainerError::Compressed { how: "zlib" })));
        assert!(matches!(walk(&[0; 64]), Err(ContainerError::Unknown { .. })));
    }
}
