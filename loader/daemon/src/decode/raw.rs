//! Bytes as they are, in their place: nothing is decoded, and nothing is cut that nobody asked to have cut.

/// Why bytes could not be taken: a verdict on complete bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// More bytes than the field takes.
    #[error("{len_bytes} bytes, the field takes {capacity_bytes}")]
    TooLong {
        /// How many there are.
        len_bytes: u64,
        /// What the field takes.
        capacity_bytes: u64,
    },
}

/// Checks that a sample has room in its row.
///
/// # Errors
/// [`RawError::TooLong`].
pub fn check(len_bytes: u64, capacity_bytes: u64) -> Result<(), RawError> {
    if len_bytes > capacity_bytes {
        return Err(RawError::TooLong { len_bytes, capacity_bytes });
    }
    Ok(())
}

/// Writes bytes over a row and zeros behind them; those that have no room are left out.
pub fn write(bytes: &[u8], target: &mut [u8]) {
    let (held, rest) = target.split_at_mut(bytes.len().min(target.len()));
    held.copy_from_slice(&bytes[..held.len()]);
    rest.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_or_end_in_zeros() {
        let mut row = [7; 4];
        write(b"abcdef", &mut row);
        assert_eq!(&row, b"abcd");
        write(b"x", &mut row);
        assert_eq!(&row, b"x\0\0\0");
        write(b"", &mut row);
        assert_eq!(&row, b"\0\0\0\0");
    }

    #[test]
    fn what_has_no_room_is_named_with_both_lengths() {
        assert_eq!(check(4, 4), Ok(()));
        let error = check(5, 4).expect_err("a byte too many");
        assert_eq!(error.to_string(), "5 bytes, the field takes 4");
    }
}
