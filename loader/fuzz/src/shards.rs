//! Files that hold many samples: what is found lies in the file, and what is indexed makes a job.

use std::fs;
use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ShardFormat, Shards, Snapshot, SourceSpec};
use forebay::container::tar::Tar;
use forebay::container::tfrecord::Records;
use forebay::container::{Example, Feature};

use super::lists::{LIMITS, in_folder, touch};

/// Names and texts in containers have limits of their own, which an input need not reach.
const ROOMY: CatalogLimits = CatalogLimits { text_bytes_max: 1 << 17, vector_len_max: 1 << 20, ..LIMITS };

/// A tar archive; whether there are samples in it.
pub fn tar(input: &[u8]) -> bool {
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

/// A TFRecord file; whether there are samples in it.
pub fn tfrecord(input: &[u8]) -> bool {
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
