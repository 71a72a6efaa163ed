//! Buffers that grow to the largest image and stay.

/// The first `len_bytes` of `buffer`, grown where it is shorter and never shrunk. What is in them is old.
pub(crate) fn grown(buffer: &mut Vec<u8>, len_bytes: usize) -> &mut [u8] {
    if buffer.len() < len_bytes {
        buffer.resize(len_bytes, 0);
    }
    &mut buffer[..len_bytes]
}
