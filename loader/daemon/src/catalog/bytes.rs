//! Many byte strings in one allocation: eight bytes each beside their content.

/// Byte strings by index.
#[derive(Debug, Clone, Default)]
pub(super) struct ByteStrings {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    longest_bytes: usize,
}

impl ByteStrings {
    pub(super) fn with_capacity(strings: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(strings), longest_bytes: 0 }
    }

    pub(super) fn push(&mut self, string: &[u8]) {
        self.push_joined(&[string]);
    }

    /// Adds the parts as one string.
    pub(super) fn push_joined(&mut self, parts: &[&[u8]]) {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.longest_bytes = self.longest_bytes.max(self.bytes.len() - start);
        self.ends.push(self.bytes.len() as u64);
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// All strings end to end, and where each of them ends.
    pub(super) fn parts(&self) -> (&[u8], &[u64]) {
        (&self.bytes, &self.ends)
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_went_in() {
        let mut strings = ByteStrings::default();
        for string in [&b"one"[..], b"", b"three"] {
            strings.push(string);
        }
        strings.push_joined(&[b"a", b"/", b"b"]);
        assert_eq!([0, 1, 2, 3].map(|index| strings.get(index)), [&b"one"[..], b"", b"three", b"a/b"]);
        assert_eq!((strings.len(), strings.longest_bytes()), (4, 5));
    }
}
