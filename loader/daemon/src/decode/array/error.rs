//! Why an array could not be taken: a verdict on complete bytes and what the field asks for.

/// What is wrong with one `.npy` file or `.npz` archive, or with it for its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// Neither of the two formats starts with these bytes.
    #[error("neither .npy nor .npz: the bytes start with {start:02x?}")]
    NotAnArray {
        /// The first bytes, zeros where there are fewer.
        start: [u8; 8],
    },
    /// A header of a version that numpy has not defined.
    #[error("npy version {major}.{minor} is not supported; 1.0, 2.0 and 3.0 are")]
    Version {
        /// Before the point.
        major: u8,
        /// Behind it.
        minor: u8,
    },
    /// The bytes break the rules of `.npy`.
    #[error("corrupt npy header: {detail}")]
    Header {
        /// What is wrong.
        detail: &'static str,
    },
    /// Elements that are Python objects.
    #[error("an array of Python objects is refused: only pickle reads them, and pickle runs code")]
    Objects,
    /// Elements that no tensor of ours holds.
    #[error(
        "elements of type {descr:?} are not supported; bool, int8 to int64, uint8 to uint32 and float16 to float64 are"
    )]
    Elements {
        /// As the header has it.
        descr: String,
    },
    /// Another type or shape than the field's.
    #[error("an array of {found}, the field takes {expected}")]
    Other {
        /// As in `float32 (3, 4)`.
        found: String,
        /// The same of the field.
        expected: String,
    },
    /// More or fewer bytes than the header announces.
    #[error("{found_bytes} bytes of elements, the header announces {expected_bytes}")]
    Length {
        /// How many there are.
        found_bytes: u64,
        /// How many there should be.
        expected_bytes: u64,
    },
    /// The bytes break the rules of zip archives.
    #[error("corrupt npz: {detail}")]
    Archive {
        /// What is wrong.
        detail: &'static str,
    },
    /// A zip archive that uses a part of its standard we do not read.
    #[error("npz with {feature} is not supported")]
    Feature {
        /// What it uses, by name.
        feature: &'static str,
    },
    /// An archive without the array that the field is of.
    #[error("no member {member:?}; there are {members}")]
    NoMember {
        /// The one that is asked for.
        member: String,
        /// The first of those there are.
        members: String,
    },
    /// An archive of several arrays, of which the field names none.
    #[error("several members: {members}; the field names none")]
    WhichMember {
        /// The first of those there are.
        members: String,
    },
    /// A file of one array, for a field that names a member.
    #[error("a .npy file has no member {member:?}")]
    NoArchive {
        /// The one that is asked for.
        member: String,
    },
    /// Bytes that are not those that were written.
    #[error("member {member:?} has not the checksum that was written with it")]
    Checksum {
        /// Of the archive.
        member: String,
    },
}

/// The first bytes, for a message.
pub(super) fn start_of(bytes: &[u8]) -> [u8; 8] {
    let mut start = [0; 8];
    let len = bytes.len().min(8);
    start[..len].copy_from_slice(&bytes[..len]);
    start
}
