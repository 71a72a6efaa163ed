//! Parts of a Snappy stream: its writers compress 64 KiB at a time, and no such block refers to another.
//!
//! The format does not say so, and a stream that is otherwise is told by [`blocks`]. Without this, one image of a page that
//! holds hundreds would cost the reading and inflating of all of them: pyarrow looks at the size of a page once in 1024 rows.
//!
//! Source: Snappy's `format_description.txt`.

/// What is compressed at a time.
pub const BLOCK_BYTES: usize = 1 << 16;

/// Bytes as they are, or some that were there before.
enum Element {
    Literal { len: usize },
    Copy { len: usize, offset: usize },
}

/// Where each block of a stream begins, and behind them where the last ends; `None` where blocks refer to each other, or
/// the stream is none of `len` bytes.
pub fn blocks(stream: &[u8], len: usize) -> Option<Vec<usize>> {
    let (announced, mut at) = varint(stream)?;
    if announced != len as u64 {
        return None;
    }
    let (mut starts, mut made) = (Vec::new(), 0);
    while at < stream.len() {
        let inside = made % BLOCK_BYTES;
        if inside == 0 {
            starts.push(at);
        }
        let (element, head) = element(&stream[at..])?;
        let (len, stored) = match element {
            Element::Literal { len } => (len, head.checked_add(len)?),
            Element::Copy { len, offset } if (1..=inside).contains(&offset) => (len, head),
            Element::Copy { .. } => return None,
        };
        if inside + len > BLOCK_BYTES {
            return None;
        }
        (made, at) = (made + len, at + stored);
    }
    starts.push(at);
    (made == len && at == stream.len()).then_some(starts)
}

/// Inflates whole blocks over the beginning of `out`; how many bytes they are. `None` where they are none, or have no room.
pub fn inflate(mut blocks: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut made = 0;
    while !blocks.is_empty() {
        let (element, head) = element(blocks)?;
        blocks = &blocks[head..];
        match element {
            Element::Literal { len } => {
                let (literal, rest) = blocks.split_at_checked(len)?;
                out.get_mut(made..made + len)?.copy_from_slice(literal);
                (made, blocks) = (made + len, rest);
            }
            Element::Copy { len, offset } => {
                let from = made.checked_sub(offset).filter(|_| offset > 0)?;
                let target = out.get_mut(..made + len)?;
                // They may overlap: bytes that were just written are copied again.
                (0..len).for_each(|index| target[made + index] = target[from + index]);
                made += len;
            }
        }
    }
    Some(made)
}

/// An element and how long its head is.
fn element(bytes: &[u8]) -> Option<(Element, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    let number = |count: usize| {
        let bytes = rest.get(..count)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    let high = usize::from(tag >> 2);
    Some(match tag & 3 {
        0 if high < 60 => (Element::Literal { len: high + 1 }, 1),
        0 => (Element::Literal { len: number(high - 59)? + 1 }, high - 58),
        1 => (Element::Copy { len: (high & 7) + 4, offset: usize::from(tag >> 5) << 8 | number(1)? }, 2),
        2 => (Element::Copy { len: high + 1, offset: number(2)? }, 3),
        _ => (Element::Copy { len: high + 1, offset: number(4)? }, 5),
    })
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which some repeat and some do not.
    fn bytes(len: usize) -> Vec<u8> {
        let noise = |index: usize| (index.wrapping_mul(2_654_435_761) >> 13) as u8;
        (0..len).map(|index| if index % 9000 < 5000 { noise(index) } else { (index % 7) as u8 }).collect()
    }

    #[test]
    fn every_run_of_blocks_inflates_alone_to_what_stands_there() {
        for len in [1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 777] {
            let bytes = bytes(len);
            let stream = snap::raw::Encoder::new().compress_vec(&bytes).expect("memory takes it");
            let starts = blocks(&stream, len).expect("blocks of their own");
            assert_eq!(starts.len(), len.div_ceil(BLOCK_BYTES) + 1);
            for first in 0..starts.len() - 1 {
                for last in first + 1..starts.len() {
                    let mut out = vec![0; (last - first) * BLOCK_BYTES];
                    let made = inflate(&stream[starts[first]..starts[last]], &mut out).expect("blocks");
                    let expected = &bytes[first * BLOCK_BYTES..(last * BLOCK_BYTES).min(len)];
                    assert!(out[..made] == *expected, "{len}: {first} to {last}");
                }
            }
        }
    }

    #[test]
    fn streams_whose_blocks_refer_to_each_other_or_that_are_none_are_told() {
        let long =
            [&[0x80, 0x80, 0x08][..], &[62 << 2, 0xFF, 0xFF, 0x01], &vec![7; 2 * BLOCK_BYTES]].concat();
        assert_eq!(blocks(&long, 2 * BLOCK_BYTES), None, "a literal over two blocks");
        let literal = [&[61 << 2, 0xFF, 0xFF][..], &vec![7; BLOCK_BYTES]].concat();
        let back = [&[0x84, 0x80, 0x04][..], &literal, &[1, 4]].concat();
        assert_eq!(blocks(&back, BLOCK_BYTES + 4), None, "a copy out of the block before");
        let sound = [&[0x80, 0x80, 0x04][..], &literal].concat();
        assert!(blocks(&sound, BLOCK_BYTES).is_some());
        assert_eq!(blocks(&sound, BLOCK_BYTES + 1), None);
        assert_eq!(blocks(&sound[..sound.len() - 1], BLOCK_BYTES), None);
        assert_eq!(blocks(&[0xFF; 9], 5), None);
        let mut out = [0; 8];
        for damaged in [&[1, 0][..], &[1, 1], &[0], &[2, 1], &[63 << 2, 255, 255, 255, 255], &[31 << 2]] {
            assert_eq!(inflate(damaged, &mut out), None, "{damaged:?}");
        }
        assert_eq!(inflate(&[0, 5, 1, 1], &mut out), Some(5));
        assert_eq!(out[..5], [5; 5], "a copy of what it has just written");
    }
}
