//! Pages of a Parquet column: every place that is found lies in the file, and every value in its page.

use forebay::container::Window;
use forebay::container::parquet::{Chunk, Codec, Place, places, value};

const CODECS: [Codec; 3] = [Codec::Plain, Codec::Snappy, Codec::Zstd];

/// How the pages are compressed, the level of a value, rows, and whether the footer knows of no nulls: a byte each. Then the
/// pages. Whether each row has its value, or none.
pub fn pages(input: &[u8]) -> bool {
    let Some((&[codec, level_max, rows, flags], file)) = input.split_first_chunk::<4>() else { return false };
    let chunk = Chunk {
        offset: 0,
        len: file.len() as u64,
        rows: rows.into(),
        codec: CODECS[usize::from(codec) % CODECS.len()],
        level_max: u32::from(level_max % 4),
        has_no_nulls: flags & 1 == 1,
    };
    let mut found = Vec::new();
    let outcome = places(&mut Window::new(file, file.len() as u64), &chunk, &mut |place| found.push(place));
    assert!(found.len() <= rows.into() || outcome.is_err(), "no more rows than there are");
    let (mut scratch, mut values) = (Vec::new(), 0);
    for Place { offset, len, cell } in found.iter().flatten() {
        let bytes = &file[*offset as usize..][..*len as usize];
        values += usize::from(cell.is_none_or(|cell| value(bytes, cell, &mut scratch).is_ok()));
    }
    outcome.is_ok() && found.len() == usize::from(rows) && values == found.iter().flatten().count()
}
