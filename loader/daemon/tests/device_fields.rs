//! What a spec says of rows for a device: their tensors, their part in the digests, and what is refused with which cure.

use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, SourceSpec};
use forebay::error::{Fault, Kind};
use forebay::job::{self, Job};
use forebay_proto::v1;

/// Bytes of the pixels of a row.
const VIEW: u32 = 8 * 8 * 3;

/// A job over one image and its label; `more` goes into the image's field.
fn spec(more: &str) -> String {
    format!(
        r#"{{"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"7"}},"fields":[{{"name":"image","column":"path",
        "transforms":[{{"randomResizedCrop":{{"size":[8]}}}},{{"randomHorizontalFlip":{{}}}}]{more}}},{{"name":"label"}}]}}"#
    )
}

fn device(ratio: f64, max_bytes: u32) -> String {
    format!(r#","deviceDecode":{{"ratio":{ratio},"maxBytes":{max_bytes}}}"#)
}

fn resolved(spec: &str) -> Result<Job, Fault> {
    let spec: v1::JobSpec = serde_json::from_str(spec).expect("a spec");
    let lines = r#"{"path":"a.jpg","label":3,"bytes":"b.bin"}"#;
    let column = |name: &str, kind| ColumnSpec { name: name.to_owned(), kind };
    let columns = vec![
        column("path", ColumnKind::Path),
        column("label", ColumnKind::Int),
        column("bytes", ColumnKind::Path),
    ];
    let (root, json_lines) = (Some(std::env::temp_dir()), lines.into());
    let source = SourceSpec::Records { root, json_lines, columns };
    let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
    job::resolve(&spec, Arc::new(snapshot))
}

fn error(spec: &str) -> String {
    let fault = resolved(spec).err().expect("an error");
    assert_eq!(fault.kind, Kind::Invalid);
    format!("{} | {}", fault.message, fault.hint.expect("a cure"))
}

#[test]
fn ratio_and_room_are_part_of_the_content_and_not_of_the_order() {
    let job = |more: &str| resolved(&spec(more)).expect("a job");
    let plain = job("");
    let jobs = [device(0.5, 0), device(0.25, 0), device(0.5, 7), device(0.5, 193)].map(|more| job(&more));
    let mut contents: Vec<_> = jobs.iter().chain([&plain]).map(|job| job.content_digest).collect();
    assert!(jobs.iter().all(|job| job.order_digest == plain.order_digest));
    contents.sort_unstable();
    contents.dedup();
    assert_eq!(contents.len(), 5);
    // What is the default has one name.
    assert_eq!(job(&device(0.5, VIEW)).content_digest, jobs[0].content_digest);
    let told: Vec<_> = jobs[0].content_parts.iter().collect();
    assert!(told.iter().any(|(_, text)| text.contains("device_decode=0.5 of up to 192 bytes")), "{told:?}");
}

#[test]
fn a_job_without_a_device_is_called_what_it_always_was() {
    let job = resolved(&spec("")).expect("a job");
    assert_eq!(
        job.content_digest.to_string(),
        "9281857eafe0d9ab2f69b617413ee510a26d1907be8c23ff08fb314736d1bbe3"
    );
}

#[test]
fn the_rows_have_room_for_pixels_and_files_and_the_numbers_stand_behind_them() {
    for (max_bytes, row_bytes) in [(0, 192), (192, 192), (193, 256), (20_000, 20_032), (7, 192)] {
        let job = resolved(&spec(&device(0.5, max_bytes))).expect("a job").to_proto();
        let tensors: Vec<_> = job.tensors.iter().map(|t| (t.name.as_str(), t.dtype(), &t.dims[..])).collect();
        assert_eq!(
            tensors,
            [
                ("image", v1::DType::DtypeUint8, &[row_bytes][..]),
                ("image.decode", v1::DType::DtypeInt32, &[16]),
                ("label", v1::DType::DtypeInt64, &[]),
            ]
        );
    }
}

#[test]
fn a_length_behind_such_an_image_still_finds_its_bytes() {
    let more = device(0.5, 0);
    let spec = spec(&more).replace(
        r#"{"name":"label"}"#,
        r#"{"name":"bytes","decode":"DECODE_RAW","capacity":8},{"name":"length","decode":"DECODE_LENGTH"}"#,
    );
    let job = resolved(&spec).expect("a job");
    let names: Vec<_> = job.fields.iter().map(|field| field.spec.name.as_str()).collect();
    assert_eq!(names, ["image", "image.decode", "bytes", "length"]);
    let job::FieldMaker::Length { of } = job.fields[3].makers[0] else { panic!("a length") };
    assert_eq!(of, 2);
}

#[test]
fn what_a_device_cannot_do_is_refused_with_its_cure() {
    for ratio in ["0", "-0.1", "1.1", r#""NaN""#, r#""Infinity""#] {
        let said = error(&spec(&format!(r#","deviceDecode":{{"ratio":{ratio}}}"#)));
        assert!(said.contains("device_decode with ratio") && said.contains("above 0 and up to 1"), "{said}");
    }
    assert!(error(&spec(r#","deviceDecode":{}"#)).contains("ratio 0 "));
    let half = device(0.5, 0);
    let with = |more: &str| error(&spec(&format!("{half}{more}")));
    assert!(error(&spec(&device(0.5, u32::MAX))).contains("max_bytes 4294967295"));
    assert!(error(&spec(&device(0.5, (64 << 20) + 1))).contains("at most 67108864"));
    assert!(resolved(&spec(&device(0.5, 64 << 20))).is_ok());
    for (more, cure) in [
        (r#","dtype":"DTYPE_FLOAT32""#, "leave Normalize and dtype to the device"),
        (r#","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#, "channels_last"),
        (r#","views":2"#, "leave views out"),
        (r#","decodeScale":"DECODE_SCALE_AUTO""#, "leave one of the two out"),
    ] {
        let said = with(more);
        assert!(said.contains(cure), "{said}");
    }
    let long = "x".repeat(58);
    assert!(error(&spec(&half).replace(r#""name":"image""#, &format!(r#""name":"{long}""#))).contains("57"));
    for policy in ["SUBSTITUTE", "MASK"] {
        let bad = format!(r#""onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}},"fields""#);
        let said = error(&spec(&half).replace(r#""fields""#, &bad));
        assert!(said.contains("on_bad_sample") && said.contains("\"fail\""), "{said}");
    }
    let value = spec("").replace(r#"{"name":"label"}"#, &format!(r#"{{"name":"label"{half}}}"#));
    assert!(error(&value).contains("no single image"));
    let (own, first) = (r#"{"name":"image.decode","column":"label"}"#, r#"{"name":"image""#);
    let behind = spec(&half).replace(r#"{"name":"label"}"#, own);
    let before = spec(&half).replace(first, &format!("{own},{first}"));
    assert!([behind, before].iter().all(|spec| error(spec).contains("given twice")));
}
