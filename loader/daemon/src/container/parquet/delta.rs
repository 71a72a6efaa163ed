//! Numbers as differences: how long the lists of lengths are that some pages of strings begin with.
//!
//! Source: `Encodings.md` of Parquet (DELTA_BINARY_PACKED).

/// Values of a block, and blocks of differences in it: what writers choose is 128 and 4.
const BLOCK_VALUES_MAX: u64 = 1 << 20;

/// Whether the first `lists` lists in these bytes have `values` numbers at most, and lie in them.
pub fn are_no_longer(bytes: &[u8], lists: usize, values: u64) -> bool {
    let mut bytes = bytes;
    // A page without values may have nothing at all.
    bytes.is_empty() || (0..lists).all(|_| skip(&mut bytes).is_some_and(|count| count <= values))
}

/// Goes behind a list; how many numbers it has.
fn skip(bytes: &mut &[u8]) -> Option<u64> {
    let (block_values, parts, count) = (varint(bytes)?, varint(bytes)?, varint(bytes)?);
    let _first = varint(bytes)?;
    if parts == 0 || block_values < parts || block_values > BLOCK_VALUES_MAX {
        return None;
    }
    let part_values = block_values / parts;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = varint(bytes)?;
        let (widths, rest) = bytes.split_at_checked(parts as usize)?;
        *bytes = rest;
        for width in widths.iter().map(|&width| u64::from(width)) {
            // Parts behind the last number have a width and no bytes.
            let len = if left > 0 { width * part_values / 8 } else { 0 };
            *bytes = bytes.get(len as usize..)?;
            left = left.saturating_sub(part_values);
        }
    }
    Some(count)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 numbers: a block of 128 in four parts, and another that ends in its second part.
    fn list() -> Vec<u8> {
        let mut list = vec![0x80, 1, 4, 0xAC, 2, 0];
        for (widths, len) in [([1, 0, 2, 8], 4 + 8 + 32), ([3, 3, 3, 3], 4 * 12), ([1, 1, 7, 7], 8)] {
            list.push(1);
            list.extend(widths);
            list.extend(vec![0; len]);
        }
        list
    }

    #[test]
    fn a_list_ends_where_its_last_block_ends() {
        let one = list();
        assert!(are_no_longer(&one, 1, 300));
        assert!(!are_no_longer(&one, 1, 299));
        for len in 1..one.len() {
            assert!(!are_no_longer(&one[..len], 1, 300), "{len} bytes");
        }
        let two = [one.clone(), one].concat();
        assert!(are_no_longer(&two, 2, 300));
        assert!(!are_no_longer(&two[..two.len() - 1], 2, 300));
        assert!(are_no_longer(&[0x80, 1, 4, 0, 0], 1, 0), "of no numbers the header is all");
    }

    #[test]
    fn a_list_that_announces_more_than_it_has_is_told() {
        assert!(!are_no_longer(&[0x80, 1, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0], 1, 5));
        for no_blocks in [[0, 4], [4, 0], [1, 2]] {
            assert!(!are_no_longer(&[&no_blocks[..], &[9, 0, 0, 0, 0, 0]].concat(), 1, 9), "{no_blocks:?}");
        }
    }
}
