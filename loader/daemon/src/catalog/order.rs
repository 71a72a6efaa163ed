//! The order of file names in Python's `sorted`, which torchvision's sample order rests on.

use std::cmp::Ordering;

/// Compares two names as Python compares the strings that `os.fsdecode` makes of them: by code point, where a byte
/// that is no UTF-8 counts as the surrogate U+DC00 + byte (PEP 383). For valid UTF-8 this is the order of the bytes.
pub(super) fn python_order(a: &[u8], b: &[u8]) -> Ordering {
    let differ = a.iter().zip(b).find(|(x, y)| x != y);
    match differ {
        None => a.len().cmp(&b.len()),
        Some((x, y)) if x.is_ascii() && y.is_ascii() => x.cmp(y),
        Some(_) => code_points(a).cmp(code_points(b)),
    }
}

fn code_points(name: &[u8]) -> impl Iterator<Item = u32> {
    name.utf8_chunks().flat_map(|chunk| {
        let escaped = chunk.invalid().iter().map(|&byte| 0xDC00 + u32::from(byte));
        chunk.valid().chars().map(u32::from).chain(escaped)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_in_python() {
        // sorted(os.fsdecode(name) for name in [...]), CPython 3.11
        let sorted: [&[u8]; 8] =
            [b"A", b"a", b"a-b", b"a/b", b"a\xc3\xa4", "\u{d7ff}".as_bytes(), b"\xff", "\u{e000}".as_bytes()];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(python_order(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
