//! Names things by what they hold: BLAKE3 over named, length-prefixed fields, one domain a purpose.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::PlanError;

/// 32 bytes that name a value by its content; shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes 32 bytes that a [`DigestBuilder`] once made.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for messages to people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = PlanError;

    /// Reads 64 lower-case hexadecimal digits; upper case is refused, so that a digest has one spelling.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let bad = || PlanError::NotADigest { len_bytes: text.len(), start: text.chars().take(16).collect() };
        if text.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (high, low) = (nibble(pair[0]).ok_or_else(bad)?, nibble(pair[1]).ok_or_else(bad)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Builds a [`Digest`] from fields; two builders agree only where purpose, names, values and their order do.
#[derive(Clone)]
pub struct DigestBuilder(blake3::Hasher);

impl DigestBuilder {
    /// Starts a digest in the domain of `purpose`, a fixed name such as `"order"`.
    pub fn new(purpose: &str) -> Self {
        let mut context = String::from("forebay/v1 ");
        context.write_str(purpose).expect("a String takes any text");
        Self(blake3::Hasher::new_derive_key(&context))
    }

    /// Adds a field of bytes. Both name and bytes go in after their lengths, so no field runs into the next.
    #[must_use]
    pub fn field(mut self, name: &str, bytes: &[u8]) -> Self {
        for part in [name.as_bytes(), bytes] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a field of one number: its 8 little-endian bytes.
    #[must_use]
    pub fn u64(self, name: &str, value: u64) -> Self {
        self.field(name, &value.to_le_bytes())
    }

    /// The digest of all fields so far.
    pub fn finish(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// The three digests of a job: what must match to resume, what must match or be waived, and what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Which sample stands in which row: [`crate::OrderSpec::digest`]. Must match to resume.
    pub order: Digest,
    /// What a row is made into: fields, decoders, transforms, numerics. Must match or be waived by name.
    pub content: Digest,
    /// How it is handed over: batch size, world, device, depth. Free to change.
    pub layout: Digest,
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_from_its_text() {
        let digest = DigestBuilder::new("test").u64("n", 7).finish();
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
        assert!(digest.to_string().starts_with(&digest.short()));
        assert_eq!(digest.short().len(), 12);
    }

    #[test]
    fn text_that_is_no_digest_is_refused_with_its_length() {
        let upper = "A".repeat(64);
        for text in ["", "00", upper.as_str(), &"é".repeat(32), &"0".repeat(65)] {
            let error = text.parse::<Digest>().expect_err("not a digest");
            assert!(matches!(error, PlanError::NotADigest { len_bytes, .. } if len_bytes == text.len()));
        }
    }

    #[test]
    fn no_field_runs_into_the_next_and_no_purpose_into_another() {
        let digests = [
            DigestBuilder::new("a").field("x", b"yz").finish(),
            DigestBuilder::new("a").field("xy", b"z").finish(),
            DigestBuilder::new("a").field("x", b"y").field("", b"z").finish(),
            DigestBuilder::new("b").field("x", b"yz").finish(),
            DigestBuilder::new("a").field("x", b"yz").field("", b"").finish(),
        ];
        for (i, one) in digests.iter().enumerate() {
            assert!(digests[i + 1..].iter().all(|other| other != one), "digest {i}");
        }
    }
}
