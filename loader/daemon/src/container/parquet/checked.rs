//! Pages whose bytes are not those that were written, by the checksums in their headers.

use super::header::{HeaderError, page_header};
use super::{Chunk, HEADER_BYTES};
use crate::container::{ReadAt, Window};

/// What is read at once of a page.
const PIECE_BYTES: usize = 1 << 20;

/// Tells the pages of a chunk that do not have the checksum in their header, by where they begin and end. Pages without a
/// checksum are passed by, without reading them.
///
/// What is no page, or cannot be read, ends it: whoever reads a value there is told.
pub fn damaged_pages<R: ReadAt>(window: &mut Window<R>, chunk: &Chunk, damaged: &mut dyn FnMut(u64, u64)) {
    let (mut at, behind) = (chunk.offset, chunk.offset.saturating_add(chunk.len));
    while at < behind {
        let Some((header_bytes, stored_bytes, checksum)) = header(window, at) else { return };
        let (first, end) = (at + header_bytes, at + header_bytes + stored_bytes);
        if end > behind {
            return;
        }
        if let Some(said) = checksum {
            match checksum_of(window, first, end) {
                Some(found) if found == said => {}
                Some(_) => damaged(at, end),
                None => return,
            }
        }
        at = end;
    }
}

/// Of the page at this place: the bytes of its header, those behind it, their checksum.
fn header<R: ReadAt>(window: &mut Window<R>, at: u64) -> Option<(u64, u64, Option<u32>)> {
    for bytes in HEADER_BYTES {
        match page_header(window.get(at, bytes).ok()?) {
            Ok(header) => {
                return Some((header.header_bytes as u64, header.stored_bytes.into(), header.checksum));
            }
            Err(HeaderError::Short) => {}
            Err(HeaderError::Damaged) => return None,
        }
    }
    None
}

fn checksum_of<R: ReadAt>(window: &mut Window<R>, first: u64, end: u64) -> Option<u32> {
    let (mut hasher, mut at) = (crc32fast::Hasher::new(), first);
    while at < end {
        let len = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let piece = window.get(at, len).ok().filter(|piece| piece.len() == len)?;
        hasher.update(piece);
        at += len as u64;
    }
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use super::super::header::tests::{encoded, int};
    use super::*;

    const I32: u8 = 5;
    const STRUCT: u8 = 12;

    fn page(stored: &[u8], checksum: Option<u32>) -> Vec<u8> {
        let data = encoded(&[(1, I32, int(1)), (2, I32, int(0)), (3, I32, int(3)), (4, I32, int(3))]);
        let len = int(stored.len() as i64);
        let mut fields = vec![(1, I32, int(0)), (2, I32, len.clone()), (3, I32, len)];
        fields.extend(checksum.map(|sum| (4, I32, int(i64::from(sum as i32)))));
        fields.push((5, STRUCT, data));
        [encoded(&fields), stored.to_vec()].concat()
    }

    #[test]
    fn a_page_with_another_checksum_is_told_by_its_place_and_one_without_is_not() {
        let long = vec![7; 3 * PIECE_BYTES + 5];
        let pages = [
            page(b"sound", Some(crc32fast::hash(b"sound"))),
            page(b"damaged", Some(1)),
            page(b"unchecked", None),
            page(&long, Some(crc32fast::hash(&long))),
            page(&long, Some(2)),
        ];
        let file = [&b"PAR1"[..], &pages.concat()].concat();
        let starts: Vec<_> =
            pages.iter().scan(4, |at, page| Some(std::mem::replace(at, *at + page.len() as u64))).collect();
        let chunk = |len: usize| Chunk {
            offset: 4,
            len: len as u64,
            rows: 5,
            codec: Codec::Plain,
            level_max: 0,
            has_no_nulls: true,
        };
        let found = |chunk: &Chunk| {
            let (mut window, mut found) = (Window::new(&file[..], file.len() as u64), Vec::new());
            damaged_pages(&mut window, chunk, &mut |first, end| found.push((first, end)));
            found
        };
        let whole = chunk(file.len() - 4);
        assert_eq!(found(&whole), [(starts[1], starts[2]), (starts[4], file.len() as u64)]);
        // One that reaches behind its column is no page.
        assert_eq!(found(&chunk(file.len() - 5)), [(starts[1], starts[2])]);
    }
}
