use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;

use super::*;

const ROWS: usize = 40;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/container/parquet/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `make.py` puts in a row.
fn expected(row: usize, has_nulls: bool) -> Option<Vec<u8>> {
    let bytes = [&vec![row as u8; row * 7 % 40][..], row.to_string().as_bytes()].concat();
    (!has_nulls || row % 5 != 3).then_some(bytes)
}

/// The chunks of the first binary column.
fn chunks(file: &[u8]) -> Vec<Result<Chunk, ContainerError>> {
    let reader = SerializedFileReader::new(Bytes::from(file.to_vec())).expect("a footer");
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let is_it = |&leaf: &usize| schema.column(leaf).path().string().starts_with("image");
    let leaf = (0..schema.num_columns()).find(is_it).expect("a column");
    metadata.row_groups().iter().map(|group| Chunk::of(group.column(leaf), group.num_rows() as u64)).collect()
}

type Rows = Vec<Option<Vec<u8>>>;

/// Each row's bytes, and how many of them come out of a page.
fn read(file: &[u8]) -> Result<(Rows, usize), ContainerError> {
    let mut window = Window::new(file, file.len() as u64);
    let mut found = Vec::new();
    for chunk in chunks(file) {
        places(&mut window, &chunk?, &mut |place| found.push(place))?;
    }
    let in_pages = found.iter().flatten().filter(|place| place.cell.is_some()).count();
    let mut scratch = Vec::new();
    let bytes = found.into_iter().map(|place| {
        let Place { offset, len, cell } = place?;
        let bytes = &file[offset as usize..][..len as usize];
        Some(cell.map_or(Ok(bytes), |cell| value(bytes, cell, &mut scratch)).expect("a sound page").to_vec())
    });
    Ok((bytes.collect(), in_pages))
}

#[test]
fn every_value_is_found_in_files_of_pyarrow_and_duckdb() {
    for (name, has_nulls, in_pages) in [
        ("arrow-plain.parquet", false, false),
        ("arrow-dictionary.parquet", false, false),
        ("arrow-plain-v2-nulls.parquet", true, false),
        ("arrow-snappy.parquet", false, true),
        ("arrow-snappy-nulls.parquet", true, true),
        ("arrow-zstd-v2-nulls.parquet", true, true),
        ("hugging-face.parquet", false, true),
        ("duckdb-plain.parquet", false, false),
        ("duckdb-snappy.parquet", false, true),
    ] {
        let (found, pages) = read(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let due: Vec<_> = (0..ROWS).map(|row| expected(row, has_nulls)).collect();
        assert_eq!(found, due, "{name}");
        assert_eq!(pages > 0, in_pages, "{name}: {pages}");
    }
}

#[test]
fn a_value_of_a_large_page_costs_the_blocks_that_it_lies_in() {
    for name in [
        "arrow-snappy-large",
        "arrow-snappy-large-v2",
        "arrow-snappy-large-dictionary",
        "duckdb-snappy-large",
    ] {
        let file = fixture(&format!("{name}.parquet"));
        let (found, _) = read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let large = |row| [vec![row as u8; 9000], expected(row, false).expect("none is missing")].concat();
        assert!(found.into_iter().eq((0..ROWS).map(|row| Some(large(row)))), "{name}");
        let (mut window, mut places_found) = (Window::new(&file[..], file.len() as u64), Vec::new());
        let chunk = chunks(&file).remove(0).expect("a chunk");
        places(&mut window, &chunk, &mut |place| places_found.extend(place)).expect("sound pages");
        let longest = places_found.iter().map(|place| place.len).max().expect("rows");
        assert!(longest * 2 < chunk.len, "{name}: {longest} of {} bytes", chunk.len);
        assert!(places_found.iter().all(|place| matches!(place.cell, Some(Cell::InBlocks { .. }))), "{name}");
    }
}

#[test]
fn what_has_no_place_is_named() {
    let says = |name: &str, says: &str| {
        let error = read(&fixture(name)).expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
    };
    says("arrow-delta.parquet", "encoding 7");
    says("arrow-gzip.parquet", "GZIP");
}

#[test]
fn no_changed_byte_makes_it_panic_or_reach_behind_the_file() {
    for name in ["arrow-plain-v2-nulls.parquet", "arrow-snappy-nulls.parquet", "arrow-dictionary.parquet"] {
        let sound = fixture(name);
        let chunks: Vec<_> = chunks(&sound).into_iter().map(|chunk| chunk.expect("a chunk")).collect();
        let end = chunks.iter().map(|chunk| (chunk.offset + chunk.len) as usize).max().expect("a group");
        let mut scratch = Vec::new();
        for at in 4..end {
            for byte in [0, 0x7F, 0xFF, sound[at] ^ 1] {
                let mut changed = sound.clone();
                changed[at] = byte;
                let mut window = Window::new(&changed[..], changed.len() as u64);
                for chunk in &chunks {
                    let _ = places(&mut window, chunk, &mut |place| {
                        let Some(Place { offset, len, cell }) = place else { return };
                        let bytes = &changed[offset as usize..][..len as usize];
                        let _ = cell.map(|cell| value(bytes, cell, &mut scratch).map(<[u8]>::len));
                    });
                }
            }
        }
    }
}
