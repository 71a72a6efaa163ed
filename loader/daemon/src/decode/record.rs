//! Records of TFRecord files: a length, its checksum, the data, its checksum. Both are CRC32C, stored masked.
//!
//! Source: TensorFlow, `tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/lib/hash/crc32c.h`.

/// The length and its checksum, before the data.
pub const HEAD_BYTES: u64 = 12;
/// The checksum behind the data.
pub const FOOT_BYTES: u64 = 4;

/// Why a record could not be taken: a verdict on complete bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The data is not what was written.
    #[error("the record's checksum is {found:08x}, and {said:08x} is stored behind it")]
    Checksum {
        /// What is stored.
        said: u32,
        /// Of the data as it is.
        found: u32,
    },
    /// The place of the value is not inside of the record.
    #[error("bytes {offset} to {end} of a record of {len_bytes} bytes")]
    Outside {
        /// Where the value should begin.
        offset: u64,
        /// Where it should end.
        end: u64,
        /// The record's length.
        len_bytes: u64,
    },
}

/// The checksum that stands for `bytes` in a file.
pub fn checksum(bytes: &[u8]) -> u32 {
    // So that the checksum of bytes that hold a checksum is no special one.
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The bytes `offset..offset + len` of a record, all of which is what was written.
///
/// * `stored`: its data, and the checksum behind it.
///
/// # Errors
/// [`RecordError`].
pub fn value(stored: &[u8], offset: u64, len: u64) -> Result<&[u8], RecordError> {
    let (data, said) = stored.split_last_chunk().unwrap_or((&[], &[0; 4]));
    let (said, found) = (u32::from_le_bytes(*said), checksum(data));
    if said != found {
        return Err(RecordError::Checksum { said, found });
    }
    let end = offset.saturating_add(len);
    let outside = RecordError::Outside { offset, end, len_bytes: data.len() as u64 };
    data.get(offset as usize..end as usize).ok_or(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_tensorflow() {
        // The length 5 as TensorFlow writes it, and the checksum that it writes behind it.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283, "RFC 3720, the check value");
        assert_eq!(checksum(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn a_value_is_given_only_where_all_of_its_record_is_right() {
        let mut stored = b"the data".to_vec();
        stored.extend(checksum(b"the data").to_le_bytes());
        assert_eq!(value(&stored, 4, 4), Ok(&b"data"[..]));
        assert_eq!(value(&stored, 8, 0), Ok(&b""[..]));
        assert!(matches!(value(&stored, 4, 5), Err(RecordError::Outside { len_bytes: 8, .. })));
        assert!(matches!(value(&stored, u64::MAX, 2), Err(RecordError::Outside { .. })));
        // Also where the damage is not in the value.
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x40;
            assert!(matches!(value(&damaged, 4, 4), Err(RecordError::Checksum { .. })), "{at}");
        }
        assert!(value(b"abc", 0, 0).is_err());
    }
}
