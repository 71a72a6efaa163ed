//! Fields of raw bytes: how many a row has, what is too long, parts of files, and what is refused with the cure.

mod support;

use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use forebay::error::{Fault, Kind};
use forebay::job::{self, Job};
use forebay::session::Outgoing;
use forebay::storage::Faults;
use forebay_plan::Tail;
use forebay_proto::v1;
use support::{Node, OpenAs};

const WHOLE: &str = r#"{"path":"a.bin","n":1}
{"path":"b.bin","n":2}
{"path":"c.bin","n":3}"#;
const PARTS: &str = r#"{"path":"all.bin","path.offset":0,"path.length":3,"n":1,"key":"a"}
{"path":"all.bin","path.offset":5,"path.length":0,"n":2,"key":"b"}
{"path":"all.bin","path.offset":2,"path.length":6,"n":3,"key":"c"}"#;
const SIZES: &str = r#"{"path":"a.bin","size_bytes":9,"n":1}
{"path":"b.bin","size_bytes":4,"n":2}"#;

fn snapshot(lines: &str) -> Arc<Snapshot> {
    let mut columns = vec![("path", ColumnKind::Path), ("n", ColumnKind::Int)];
    let ints = ["path.offset", "path.length", "size_bytes"];
    columns.extend(ints.into_iter().filter(|name| lines.contains(name)).map(|name| (name, ColumnKind::Int)));
    columns.extend(lines.contains("key").then_some(("key", ColumnKind::Text)));
    let columns = columns.into_iter().map(|(name, kind)| ColumnSpec { name: name.to_owned(), kind });
    let root = Some(std::env::temp_dir());
    let spec = SourceSpec::Records { root, json_lines: lines.into(), columns: columns.collect() };
    Arc::new(catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot"))
}

fn raw(more: &str) -> String {
    format!(r#"{{"name":"bytes","column":"path","decode":"DECODE_RAW"{more}}}"#)
}

fn try_job(fields: &str, more: &str, snapshots: Vec<Arc<Snapshot>>) -> Result<Job, Fault> {
    let spec = format!(r#"{{"fields":[{fields}]{more}}}"#);
    let spec: v1::JobSpec = serde_json::from_str(&spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    job::resolve_all(&spec, snapshots)
}

/// The tensors of one batch of `rows`, or the error that there was instead.
fn batch(files: &[(&str, &[u8])], job: Job, rows: u32) -> Result<Vec<Vec<u8>>, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let stored = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let node = Node::of(stored, 1, Faults::default());
        let open = OpenAs { rows, tail: Tail::Pad, ..OpenAs::default() };
        let mut session = node.open_job(&Arc::new(job), &open);
        session.credit(1);
        match support::next(&mut session).await {
            Outgoing::Ready(ready) => Ok(support::tensors(&session, &ready)),
            Outgoing::Fault { fault, .. } => Err(fault),
        }
    })
}

fn ints(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|&bytes| i32::from_ne_bytes(bytes)).collect()
}

#[test]
fn a_row_is_the_files_bytes_and_zeros_and_a_length_counts_them() {
    let fields = raw(r#","capacity":5"#) + r#",{"name":"length","decode":"DECODE_LENGTH"},{"name":"n"}"#;
    let job = try_job(&fields, "", vec![snapshot(WHOLE)]).expect("a job");
    assert_eq!((job.fields[0].spec.dims.as_slice(), job.fields[0].spec.dtype.as_str()), (&[5][..], "uint8"));
    let files: [(&str, &[u8]); 3] = [("a.bin", b"one"), ("b.bin", b""), ("c.bin", b"\0five")];
    let tensors = batch(&files, job, 3).expect("a batch");
    assert_eq!(tensors[0], b"one\0\0\0\0\0\0\0\0five");
    assert_eq!(ints(&tensors[1]), [3, 0, 5]);
}

#[test]
fn a_part_of_a_file_is_read_alone_where_columns_beside_the_path_name_it() {
    let fields = raw("") + r#",{"name":"length","decode":"DECODE_LENGTH","column":"path"}"#;
    let job = try_job(&fields, "", vec![snapshot(PARTS)]).expect("a job");
    assert_eq!(job.fields[0].spec.dims, [6], "as long as the longest part");
    let tensors = batch(&[("all.bin", b"0123456789")], job, 3).expect("a batch");
    assert_eq!(tensors[0], b"012\x00\x00\x00\x00\x00\x00\x00\x00\x00234567");
    assert_eq!(ints(&tensors[1]), [3, 0, 6]);
    let wrong = PARTS.replace("\"path.offset\":2", "\"path.offset\":-2");
    let fault = try_job(&fields, "", vec![snapshot(&wrong)]).err().expect("no file has it");
    assert!(fault.to_string().contains("column path.offset: -2 for sample c"), "{fault}");
}

#[test]
fn a_longer_file_is_corrupt_and_never_cut() {
    let files: [(&str, &[u8]); 3] = [("a.bin", b"one"), ("b.bin", b"too long"), ("c.bin", b"four")];
    let of = |policy: &str| {
        let policy = format!(r#","onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}}"#);
        let fields = raw(r#","capacity":5"#) + r#",{"name":"length","decode":"DECODE_LENGTH"}"#;
        batch(&files, try_job(&fields, &policy, vec![snapshot(WHOLE)]).expect("a job"), 3)
    };
    let fault = of("FAIL").expect_err("b.bin has no room");
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("b.bin")));
    assert!(fault.to_string().contains("8 bytes, the field takes 5"), "{fault}");
    let masked = of("MASK").expect("a batch");
    assert_eq!(masked[0], b"one\0\0\0\0\0\0\0four\0");
    assert_eq!((ints(&masked[1]), &masked[2][..]), (vec![3, 0, 4], &[1, 0, 1][..]));
    let substituted = of("SUBSTITUTE").expect("a batch");
    assert!([&b"one\0\0"[..], b"four\0"].contains(&&substituted[0][5..10]), "another sample stands there");
}

#[test]
fn rows_are_as_long_as_the_longest_sample_of_all_sources_where_columns_say_it() {
    let (parts, sizes) = (snapshot(PARTS), snapshot(SIZES));
    let dims = |fields: &str, snapshots: Vec<Arc<Snapshot>>| {
        let many = r#","sources":[{"share":1},{"share":1}],"order":{"sampler":"SAMPLER_MIXTURE"}"#;
        let more = if snapshots.len() > 1 { many } else { "" };
        try_job(fields, more, snapshots).map(|job| job.fields[0].spec.dims.clone())
    };
    assert_eq!(dims(&raw(""), vec![Arc::clone(&sizes)]).expect("a job"), [9]);
    assert_eq!(dims(&raw(""), vec![Arc::clone(&parts), sizes]).expect("a job"), [9]);
    assert_eq!(dims(&raw(r#","capacity":4096"#), vec![parts]).expect("a job"), [4096]);
    let fault = dims(&raw(""), vec![snapshot(WHOLE)]).expect_err("nobody knows");
    assert_eq!(fault.kind, Kind::Invalid);
    assert!(fault.to_string().contains("not known before they are read"), "{fault}");
}

#[test]
fn what_bytes_cannot_be_is_refused_with_the_cure() {
    let packed =
        r#","order":{"sampler":"SAMPLER_SHUFFLED","windows":{"lengthColumn":"n","packed":{"capacity":8}}}"#;
    let some = |more: &str| raw(&format!(r#","capacity":8,{more}"#));
    let cases = [
        (raw(r#","capacity":2147483648"#), "", "at most 2147483647"),
        (raw(r#","capacity":8"#).replace("\"path\"", "\"n\""), "", "column n is int, and no paths"),
        (raw(r#","capacity":8"#).replace("\"path\"", "\"m\""), "", "no column \"m\""),
        (some(r#""dtype":"DTYPE_FLOAT32""#), "", "bytes are uint8"),
        (some(r#""views":2"#), "", "2 views of what is no image"),
        (some(r#""failOnLong":true"#), "", "are of tokens"),
        (some(r#""pad":"1""#), "", "are of tokens"),
        (some(r#""transforms":[{"centerCrop":{"size":[8]}}]"#), "", "transforms work on images"),
        (some(r#""applyExifOrientation":true"#), "", "of what is no image"),
        (raw(r#","capacity":8"#), packed, "holds several samples"),
        (r#"{"name":"path","decode":"DECODE_VALUE"}"#.to_owned(), "", "a path column holds files"),
    ];
    for (fields, more, says) in cases {
        let fault = try_job(&fields, more, vec![snapshot(WHOLE)]).err();
        let fault = fault.unwrap_or_else(|| panic!("{fields} is a job"));
        assert_eq!(fault.kind, Kind::Invalid, "{fields}: {fault}");
        assert!(fault.to_string().contains(says), "{fields}: {fault}");
        assert!(fault.hint.is_some() || says.contains("at most"), "{fields}: no cure");
    }
    let two = raw(r#","capacity":8"#) + "," + &raw(r#","capacity":9"#).replace("\"bytes\"", "\"again\"");
    let fault = try_job(&(two + r#",{"name":"n","decode":"DECODE_LENGTH"}"#), "", vec![snapshot(WHOLE)]);
    assert!(fault.err().expect("a length of which?").to_string().contains("of which tokens"));
}

#[test]
fn how_many_bytes_a_row_has_is_part_of_the_content_and_its_words() {
    let job = |more: &str| try_job(&raw(more), "", vec![snapshot(SIZES)]).expect("a job");
    let (four, five, known) = (job(r#","capacity":4"#), job(r#","capacity":5"#), job(""));
    assert_ne!(four.content_digest, five.content_digest);
    assert_ne!(four.content_digest, known.content_digest);
    let same = job(r#","capacity":4,"dtype":"DTYPE_UINT8","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#);
    assert_eq!(four.content_digest, same.content_digest, "what is the default anyway says nothing");
    let words = four.content_parts.iter().find(|(name, _)| *name == "field bytes").map(|(_, text)| text);
    assert_eq!(words, Some("column path; raw; capacity 4; uint8"));
}
