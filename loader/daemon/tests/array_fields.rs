//! Fields of arrays: what a spec may ask for, what is read off the first sample, and what is refused with the cure.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, Snapshot, SourceSpec};
use forebay::error::{Fault, Kind};
use forebay::job::{self, Job};
use forebay_proto::v1;

/// A file of version 1.0 of so many elements of one byte.
fn npy(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), &vec![7; bytes]].concat()
}

fn snapshot(root: &Path, names: &[&str]) -> Arc<Snapshot> {
    let line = |(index, name): (usize, &&str)| format!(r#"{{"path":"{name}","n":{}}}"#, index + 1);
    let lines: Vec<_> = names.iter().enumerate().map(line).collect();
    let json_lines = lines.join("\n").into_bytes();
    let spec = SourceSpec::Records { root: Some(root.to_owned()), json_lines, columns: Vec::new() };
    Arc::new(catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot"))
}

fn array(more: &str) -> String {
    format!(r#"{{"name":"x","column":"path","decode":"DECODE_ARRAY"{more}}}"#)
}

fn try_job(fields: &str, more: &str, snapshots: Vec<Arc<Snapshot>>) -> Result<Job, Fault> {
    let spec = format!(r#"{{"fields":[{fields}]{more}}}"#);
    let spec: v1::JobSpec = serde_json::from_str(&spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    job::resolve_all(&spec, snapshots)
}

fn shape(job: &Job) -> (String, Vec<u32>) {
    let spec = &job.fields[0].spec;
    (spec.dtype.as_str().to_owned(), spec.dims.clone())
}

#[test]
fn type_and_shape_are_what_the_field_says_or_what_the_first_sample_has() {
    let root = tempfile::tempdir().expect("a folder");
    fs::write(root.path().join("a.npy"), npy("<i2", "(3, 4)", 24)).expect("our own folder");
    let data = snapshot(root.path(), &["a.npy", "gone.npy"]);
    let read = try_job(&array(""), "", vec![Arc::clone(&data)]).expect("a job");
    assert_eq!(shape(&read), ("int16".to_owned(), vec![3, 4]));
    let said = array(r#","dtype":"DTYPE_INT16","shape":{"dims":[3,4]}"#);
    let said = try_job(&said, "", vec![Arc::clone(&data)]).expect("a job");
    assert_eq!(said.content_digest, read.content_digest, "what is read off is what could have been said");
    let typed = try_job(&array(r#","dtype":"DTYPE_INT16""#), "", vec![Arc::clone(&data)]).expect("a job");
    assert_eq!(typed.content_digest, read.content_digest);
    let scalar = array(r#","dtype":"DTYPE_FLOAT64","shape":{}"#);
    let scalar =
        try_job(&scalar, "", vec![snapshot(root.path(), &["gone.npy"])]).expect("no file is looked at");
    assert_eq!(shape(&scalar), ("float64".to_owned(), vec![]));
    let words = |job: &Job| {
        job.content_parts.iter().find(|(name, _)| *name == "field x").map(|(_, text)| text.to_owned())
    };
    assert_eq!(words(&read).as_deref(), Some("column path; array [3, 4]; int16"));
    let member = array(r#","dtype":"DTYPE_INT16","shape":{"dims":[3,4]},"member":"y""#);
    let member = try_job(&member, "", vec![data]).expect("a job");
    assert_ne!(member.content_digest, read.content_digest);
    assert_eq!(words(&member).as_deref(), Some("column path; array [3, 4]; member y; int16"));
}

#[test]
fn a_first_sample_that_tells_nothing_is_named_with_the_cure() {
    let root = tempfile::tempdir().expect("a folder");
    let files: [(&str, Vec<u8>); 4] = [
        ("objects.npy", npy("|O", "(3,)", 24)),
        ("text.npy", b"no array".to_vec()),
        ("empty.npy", npy("<i2", "(0, 4)", 0)),
        ("sound.npy", npy("<i2", "(2,)", 4)),
    ];
    files.iter().for_each(|(name, bytes)| fs::write(root.path().join(name), bytes).expect("our own folder"));
    for (name, more, kind, says) in [
        ("objects.npy", "", Kind::Corrupt, "Python objects is refused"),
        ("text.npy", "", Kind::Corrupt, "neither .npy nor .npz"),
        ("empty.npy", "", Kind::Invalid, "arrays of shape [0, 4]"),
        ("gone.npy", "", Kind::Unavailable, "read the shape off sample gone.npy"),
        ("sound.npy", r#","dtype":"DTYPE_INT32""#, Kind::Invalid, "it is int16 (2,)"),
        ("sound.npy", r#","member":"x""#, Kind::Corrupt, "a .npy file has no member \"x\""),
    ] {
        let fault = try_job(&array(more), "", vec![snapshot(root.path(), &[name])]).err().expect(says);
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.line().contains(says), "{}", fault.line());
        assert!(fault.hint.is_some(), "{fault}: no cure");
    }
    let sources =
        r#","sources":[{"name":"a","share":1},{"name":"b","share":1}],"order":{"sampler":"SAMPLER_MIXTURE"}"#;
    fs::write(root.path().join("other.npy"), npy("<i2", "(5,)", 10)).expect("our own folder");
    let both = ["sound.npy", "other.npy"].map(|name| snapshot(root.path(), &[name]));
    let fault = try_job(&array(""), sources, both.to_vec()).err().expect("two shapes");
    assert!(fault.to_string().contains("int16 [2] in source a and int16 [5] in source b"), "{fault}");
}

#[test]
fn what_arrays_cannot_be_is_refused_with_the_cure() {
    let root = tempfile::tempdir().expect("a folder");
    let data = snapshot(root.path(), &["a.npy"]);
    let said = |more: &str| array(&format!(r#","dtype":"DTYPE_INT16","shape":{{"dims":[3]}},{more}"#));
    let shaped = |dims: &str| array(&format!(r#","dtype":"DTYPE_INT16","shape":{{"dims":[{dims}]}}"#));
    let long = format!(r#""member":"{}""#, "m".repeat(257));
    let packed =
        r#","order":{"sampler":"SAMPLER_SHUFFLED","windows":{"lengthColumn":"n","packed":{"capacity":8}}}"#;
    let cases = [
        (array(r#","shape":{"dims":[3]}"#), "", "a shape without a dtype"),
        (shaped("1,1,1,1,1,1,1,1"), "", "arrays of shape"),
        (shaped("3,0"), "", "arrays of shape [3, 0]"),
        (shaped("4294967295,4294967295,4294967295"), "", "arrays of shape"),
        (shaped("3").replace("INT16", "BFLOAT16"), "", "numpy has no bfloat16"),
        (said(&long), "", "a member's name of 257 bytes"),
        (said(r#""views":2"#), "", "2 views of what is no image"),
        (said(r#""capacity":5"#), "", "are of tokens"),
        (said(r#""transforms":[{"centerCrop":{"size":[8]}}]"#), "", "transforms work on images"),
        (said(r#""decodeScale":"DECODE_SCALE_AUTO""#), "", "of what is no image"),
        (shaped("3").replace("\"path\"", "\"n\""), "", "column n is int, and no paths"),
        (shaped("3"), packed, "holds several samples"),
        (shaped("3").replace("DECODE_ARRAY", "DECODE_RAW"), "", "shape and member are of arrays"),
        (r#"{"name":"n","member":"x"}"#.to_owned(), "", "shape and member are of arrays"),
    ];
    for (fields, more, says) in cases {
        let fault = try_job(&fields, more, vec![Arc::clone(&data)]).err();
        let fault = fault.unwrap_or_else(|| panic!("{fields} is a job"));
        assert_eq!(fault.kind, Kind::Invalid, "{fields}: {fault}");
        assert!(fault.to_string().contains(says), "{fields}: {fault}");
        assert!(fault.hint.is_some(), "{fields}: no cure");
    }
}
