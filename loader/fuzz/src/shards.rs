//! Files that hold many samples: what is found lies in the file, and what is indexed makes a job.

use std::fs;
use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ShardFormat, Shards, Snapshot, SourceSpec};
use forebay::container::tar::Tar;
use forebay::container::tfrecord::Records;
use forebay::container::{Example, Feature};
use forebay::decode::record::checksum;

use super::lists::{LIMITS, in_folder, touch};

/// Names and texts in containers have limits of their own, which an input need not reach.
const ROOMY: CatalogLimits = CatalogLimits { text_bytes_max: 1 << 17, vector_len_max: 1 << 20, ..LIMITS };

/// A tar archive, as it is and with right checksums, which no made-up one has; whether there are samples in it as it is.
pub fn tar(input: &[u8]) -> bool {
    archive(&with_checksums(input));
    archive(input)
}

/// A TFRecord file, as it is and with right checksums; whether there are samples in it as it is.
pub fn tfrecord(input: &[u8]) -> bool {
    records(&with_record_checksums(input));
    records(input)
}

fn archive(input: &[u8]) -> bool {
    let mut archive = Tar::new(input, input.len() as u64);
    let mut behind = 0;
    // Ends by itself: every member costs a header.
    while let Ok(Some(member)) = archive.next_member() {
        assert!(member.offset >= behind + 512, "members lie one behind the other");
        behind = member.offset.checked_add(member.len).expect("it was checked");
        assert!(behind <= input.len() as u64, "members lie in the archive");
    }
    indexed(input, "x.tar", ShardFormat::Tar)
}

fn records(input: &[u8]) -> bool {
    let mut records = Records::new(input, input.len() as u64);
    while let Ok(Some(record)) = records.next_record() {
        let inside = record.offset..=record.offset + record.len;
        assert!(*inside.end() + 4 <= input.len() as u64, "records lie in the file");
        let Ok(example) = Example::read(records.window(), record) else { continue };
        for (_, feature) in example.features {
            let Feature::Bytes(values) = feature else { continue };
            assert!(values.iter().all(|&(at, len)| inside.contains(&at) && inside.contains(&(at + len))));
        }
    }
    indexed(input, "x.tfrecord", ShardFormat::TfRecord)
}

fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

fn with_record_checksums(input: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at) = (input.to_vec(), 0);
    while let Some(Ok(length)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let data = at + 12;
        let end = usize::try_from(u64::from_le_bytes(length)).ok().and_then(|len| data.checked_add(len));
        let Some(end) = end.filter(|end| end.checked_add(4).is_some_and(|end| end <= bytes.len())) else {
            break;
        };
        bytes[at + 8..data].copy_from_slice(&checksum(&length).to_le_bytes());
        let sum = checksum(&bytes[data..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
    bytes
}

/// Indexed twice, it is the same snapshot, which can be stored and makes a job.
fn indexed(input: &[u8], name: &str, format: ShardFormat) -> bool {
    in_folder(|folder| {
        let file = folder.join(name);
        fs::write(&file, input).expect("our own folder");
        let patterns = vec![file.to_str().expect("TMPDIR is UTF-8").to_owned()];
        let shards = Shards { root: folder.to_owned(), patterns, format: Some(format), columns: None };
        let open = || catalog::open(&SourceSpec::Shards(shards.clone()), &ROOMY);
        let snapshot = match open() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = (error.kind(), error.hint());
                return false;
            }
        };
        touch(&snapshot);
        assert_eq!(open().expect("it opened a moment ago").id(), snapshot.id(), "equal content has one name");
        let stored = snapshot.to_parquet().expect("any snapshot can be stored");
        let stored = Snapshot::from_parquet("stored", stored.into(), Some(&snapshot.digest()), None, &ROOMY);
        assert_eq!(stored.expect("it is what was stored").id(), snapshot.id());
        super::specs::is_a_job(Arc::new(snapshot));
        true
    })
}
