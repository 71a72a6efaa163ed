//! Stored tokens to int32 or int64 in their place: widened or narrowed, never changed.

use forebay_plan::DType;

/// What a token is stored as, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredToken {
    /// One byte: characters, bytes.
    U8,
    /// Two bytes: vocabularies below 65,536.
    U16,
    /// Four bytes.
    U32,
    /// Four bytes, signed.
    I32,
    /// Eight bytes, signed.
    I64,
}

/// Why tokens could not be taken: a verdict on complete bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The bytes end inside a token.
    #[error("{len_bytes} bytes are no whole number of tokens of {token_bytes} bytes")]
    CutToken {
        /// How many bytes there are.
        len_bytes: u64,
        /// Of one token.
        token_bytes: u64,
    },
    /// A token that the tensor's type cannot hold.
    #[error("token {value} at {index} does not fit int32")]
    TooLarge {
        /// What is there.
        value: i64,
        /// Its place among those that were read.
        index: u64,
    },
    /// A file that holds another number of tokens than its row of the data set says.
    #[error("the file holds {found} tokens and its column of lengths says {expected}")]
    OtherLength {
        /// What the column says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// More tokens than the field takes, where that is an error.
    #[error("{found} tokens, the field takes {capacity}")]
    TooMany {
        /// How many there are.
        found: u64,
        /// What the field takes.
        capacity: u64,
    },
}

impl StoredToken {
    /// Of one token.
    pub fn size_bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// How many tokens some bytes are.
    ///
    /// # Errors
    /// [`TokenError::CutToken`].
    pub fn count(self, encoded: &[u8]) -> Result<u64, TokenError> {
        let (len_bytes, token_bytes) = (encoded.len() as u64, self.size_bytes());
        if len_bytes.is_multiple_of(token_bytes) {
            return Ok(len_bytes / token_bytes);
        }
        Err(TokenError::CutToken { len_bytes, token_bytes })
    }

    /// Writes tokens over `target`, of [`DType::I32`] or [`DType::I64`] and as many.
    ///
    /// # Errors
    /// [`TokenError::TooLarge`]; `target` is then partly written.
    pub fn write(self, encoded: &[u8], dtype: DType, target: &mut [u8]) -> Result<(), TokenError> {
        match self {
            Self::U8 => each(encoded, dtype, target, |[byte]: [u8; 1]| byte.into()),
            Self::U16 => each(encoded, dtype, target, |bytes| u16::from_le_bytes(bytes).into()),
            Self::U32 => each(encoded, dtype, target, |bytes| u32::from_le_bytes(bytes).into()),
            Self::I32 => each(encoded, dtype, target, |bytes| i32::from_le_bytes(bytes).into()),
            Self::I64 => each(encoded, dtype, target, i64::from_le_bytes),
        }
    }
}

/// Writes tokens that a column holds over `target`, as [`StoredToken::write`]. All of them fit.
pub fn write_list(tokens: &[i32], dtype: DType, target: &mut [u8]) {
    if dtype == DType::I32 {
        let (places, _) = target.as_chunks_mut();
        places.iter_mut().zip(tokens).for_each(|(place, token)| *place = token.to_ne_bytes());
    } else {
        let (places, _) = target.as_chunks_mut();
        places.iter_mut().zip(tokens).for_each(|(place, &token)| *place = i64::from(token).to_ne_bytes());
    }
}

/// Fills `target` with one value of [`DType::I32`], which it fits, or [`DType::I64`].
pub fn fill(value: i64, dtype: DType, target: &mut [u8]) {
    if dtype == DType::I32 {
        target.as_chunks_mut().0.fill((value as i32).to_ne_bytes());
    } else {
        target.as_chunks_mut().0.fill(value.to_ne_bytes());
    }
}

/// One loop a pair of types, so that each becomes vector instructions.
fn each<const N: usize>(
    encoded: &[u8],
    dtype: DType,
    target: &mut [u8],
    read: impl Fn([u8; N]) -> i64,
) -> Result<(), TokenError> {
    let (encoded, _) = encoded.as_chunks();
    if dtype == DType::I64 {
        let (places, _) = target.as_chunks_mut();
        places.iter_mut().zip(encoded).for_each(|(place, &bytes)| *place = read(bytes).to_ne_bytes());
        return Ok(());
    }
    let (places, _) = target.as_chunks_mut();
    let mut all_fit = true;
    for (place, &bytes) in places.iter_mut().zip(encoded) {
        let value = read(bytes);
        all_fit &= value == i64::from(value as i32);
        *place = (value as i32).to_ne_bytes();
    }
    if all_fit {
        return Ok(());
    }
    let values = encoded.iter().map(|&bytes| read(bytes)).zip(0..);
    let (value, index) =
        values.into_iter().find(|(value, _)| i32::try_from(*value).is_err()).expect("one did not fit");
    Err(TokenError::TooLarge { value, index })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stored: StoredToken, encoded: &[u8], dtype: DType) -> Result<Vec<i64>, TokenError> {
        let size = dtype.size_bytes() as usize;
        let mut target = vec![0xAA; stored.count(encoded)? as usize * size];
        stored.write(encoded, dtype, &mut target)?;
        Ok(target.chunks_exact(size).map(value).collect())
    }

    fn value(bytes: &[u8]) -> i64 {
        match *bytes {
            [a, b, c, d] => i32::from_ne_bytes([a, b, c, d]).into(),
            _ => i64::from_ne_bytes(bytes.try_into().expect("4 or 8 bytes")),
        }
    }

    #[test]
    fn every_stored_type_keeps_its_values() {
        use StoredToken::{I32, I64, U8, U16, U32};
        for dtype in [DType::I32, DType::I64] {
            assert_eq!(written(U8, &[0, 255], dtype), Ok(vec![0, 255]));
            assert_eq!(written(U16, &[1, 2, 255, 255], dtype), Ok(vec![513, 65_535]));
            assert_eq!(written(U32, &2_000_000_000_u32.to_le_bytes(), dtype), Ok(vec![2_000_000_000]));
            assert_eq!(written(I32, &(-100_i32).to_le_bytes(), dtype), Ok(vec![-100]));
            assert_eq!(written(I64, &(-100_i64).to_le_bytes(), dtype), Ok(vec![-100]));
        }
        assert_eq!(written(U32, &u32::MAX.to_le_bytes(), DType::I64), Ok(vec![4_294_967_295]));
        assert_eq!(written(I64, &i64::MIN.to_le_bytes(), DType::I64), Ok(vec![i64::MIN]));
    }

    #[test]
    fn a_token_that_does_not_fit_is_named_with_its_place() {
        let stored = [7_u32, 3_000_000_000].map(u32::to_le_bytes).concat();
        let error = written(StoredToken::U32, &stored, DType::I32);
        assert_eq!(error, Err(TokenError::TooLarge { value: 3_000_000_000, index: 1 }));
        let stored = (1_i64 << 40).to_le_bytes();
        assert!(written(StoredToken::I64, &stored, DType::I32).is_err());
    }

    #[test]
    fn bytes_that_end_inside_a_token_are_refused() {
        let error = StoredToken::U16.count(&[1, 2, 3]).expect_err("three bytes");
        assert_eq!(error, TokenError::CutToken { len_bytes: 3, token_bytes: 2 });
        assert_eq!(StoredToken::I64.count(&[]), Ok(0));
    }

    #[test]
    fn lists_and_padding_are_written_in_the_type_of_the_tensor() {
        let mut target = [0; 16];
        write_list(&[-1, 5], DType::I64, &mut target);
        assert_eq!(target, [-1_i64, 5].map(i64::to_ne_bytes).concat()[..]);
        write_list(&[-1, 5], DType::I32, &mut target[..8]);
        assert_eq!(target[..8], [-1_i32, 5].map(i32::to_ne_bytes).concat()[..]);
        fill(-100, DType::I32, &mut target);
        assert_eq!(target, [-100_i32; 4].map(i32::to_ne_bytes).concat()[..]);
        fill(i64::MIN, DType::I64, &mut target);
        assert_eq!(target, [i64::MIN; 2].map(i64::to_ne_bytes).concat()[..]);
    }
}
