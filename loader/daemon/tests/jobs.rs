//! What a spec becomes: defaults that have one name, settings that each show, and errors that say what is wrong.

use std::collections::HashSet;
use std::sync::Arc;

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, SourceSpec};
use forebay::error::{Fault, Kind};
use forebay::job::{self, FieldMaker, Job};
use forebay_proto::v1::{self, transform::Op};

const LINES: &str = r#"{"path":"a.jpg","label":3,"score":0.5,"box":[1,2,3],"name":"cat","tags":[0,2],"w":2}
{"path":"b.jpg","label":-4,"score":1.5,"box":[4,5,6],"name":"é","tags":[],"w":0}
"#;

fn job(spec: &str) -> Result<Job, Fault> {
    resolved(&serde_json::from_str(spec).expect("a spec"))
}

fn resolved(spec: &v1::JobSpec) -> Result<Job, Fault> {
    let dir = tempfile::tempdir().expect("a folder");
    let column = |name: &str, kind| ColumnSpec { name: name.to_owned(), kind };
    let columns = vec![
        column("path", ColumnKind::Path),
        column("label", ColumnKind::Int),
        column("score", ColumnKind::Float),
        column("box", ColumnKind::FloatVector { len: None }),
        column("name", ColumnKind::Text),
        column("tags", ColumnKind::MultiHot { classes: 3 }),
        column("w", ColumnKind::Weight),
    ];
    let source = SourceSpec::Records { root: Some(dir.path().to_owned()), json_lines: LINES.into(), columns };
    let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
    job::resolve(spec, Arc::new(snapshot))
}

fn image(transforms: &str, more: &str) -> String {
    format!(r#"{{"fields":[{{"name":"image","column":"path","transforms":[{transforms}]{more}}}]}}"#)
}

fn value(column: &str, dtype: &str, sample: u64) -> Vec<u8> {
    let job = job(&format!(r#"{{"fields":[{{"name":"{column}"{dtype}}}]}}"#)).expect("a job");
    let field = &job.fields[0];
    let mut target = vec![0xAA; field.spec.sample_bytes().expect("a size") as usize];
    let FieldMaker::Value(maker) = &field.makers[0] else { panic!("a value") };
    maker.write(job.snapshot(0), sample, &mut target);
    target
}

const CROP: &str = r#"{"centerCrop":{"size":[8]}}"#;

#[test]
fn each_kind_of_column_becomes_its_own_tensor() {
    assert_eq!(value("label", "", 1), (-4_i64).to_ne_bytes());
    assert_eq!(value("label", r#","dtype":"DTYPE_INT32""#, 1), (-4_i32).to_ne_bytes());
    assert_eq!(value("label", r#","dtype":"DTYPE_FLOAT32""#, 0), 3_f32.to_ne_bytes());
    assert_eq!(value("score", "", 1), 1.5_f32.to_ne_bytes());
    assert_eq!(value("score", r#","dtype":"DTYPE_FLOAT64""#, 1), 1.5_f64.to_ne_bytes());
    assert_eq!(value("score", r#","dtype":"DTYPE_FLOAT16""#, 1), 0x3E00_u16.to_ne_bytes());
    assert_eq!(value("score", r#","dtype":"DTYPE_BFLOAT16""#, 1), 0x3FC0_u16.to_ne_bytes());
    assert_eq!(value("label", r#","dtype":"DTYPE_FLOAT16""#, 1), 0xC400_u16.to_ne_bytes());
    assert_eq!(value("box", "", 1), [4_f32, 5.0, 6.0].map(f32::to_ne_bytes).concat());
    assert_eq!(value("tags", "", 0), [1_f32, 0.0, 1.0].map(f32::to_ne_bytes).concat());
    assert_eq!(value("tags", r#","dtype":"DTYPE_UINT8""#, 0), [1, 0, 1]);
    assert_eq!(value("tags", r#","dtype":"DTYPE_INT64""#, 1), [0; 24]);
    assert_eq!((value("name", "", 0), value("name", "", 1)), (b"cat".to_vec(), "é\0".as_bytes().to_vec()));
    assert_eq!(value("w", "", 0), 2_f32.to_ne_bytes());
}

#[test]
fn a_default_and_the_same_said_aloud_are_one_content() {
    let short = r#"{"randomResizedCrop":{"size":[8]}},{"randomHorizontalFlip":{}},{"normalize":{}}"#;
    let long = r#"{"randomResizedCrop":{"size":[8,8],"scale":[0.08,1.0],"ratio":[0.75,1.3333333333333333]}},
        {"randomHorizontalFlip":{"p":0.5}},{"normalize":{"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}}"#;
    let aloud = r#","dtype":"DTYPE_FLOAT32","memoryOrder":"MEMORY_ORDER_CHANNELS_LAST","decode":"DECODE_IMAGE","views":1"#;
    let (short, long) = (job(&image(short, "")).expect("a job"), job(&image(long, aloud)).expect("a job"));
    assert_eq!(short.content_digest, long.content_digest);
    assert_eq!(short.order_digest, long.order_digest);
}

#[test]
fn a_filters_defaults_are_those_of_before_there_was_a_choice() {
    let content = |op: &str, more: &str| {
        job(&image(&format!(r#"{{"{op}":{{"size":[8,8]{more}}}}}"#), "")).expect("a job").content_digest
    };
    for op in ["resize", "randomResizedCrop"] {
        let before = content(op, "");
        let aloud = content(op, r#","interpolation":"INTERPOLATION_BILINEAR","antialias":true"#);
        assert_eq!([aloud, content(op, r#","antialias":true"#)], [before; 2]);
        // Nothing is smoothed where one pixel is taken.
        let nearest = |antialias| {
            let more = format!(r#","interpolation":"INTERPOLATION_NEAREST","antialias":{antialias}"#);
            content(op, &more)
        };
        assert_eq!(nearest(true), nearest(false));
    }
    // Written down before there was one: a state of then must go on.
    assert_eq!(
        content("resize", "").to_string(),
        "2473366551514feaf40b26b5f4ecf3f2426b8afc202b6066d65b6f2437bdc12c"
    );
}

#[test]
fn each_setting_that_changes_bytes_changes_the_content_and_only_it() {
    let specs = [
        image(CROP, ""),
        image(r#"{"centerCrop":{"size":[9]}}"#, ""),
        image(r#"{"resize":{"size":[8,8]}}"#, ""),
        image(r#"{"resize":{"size":[8,8],"antialias":false}}"#, ""),
        image(r#"{"resize":{"size":[8,8],"interpolation":"INTERPOLATION_BICUBIC"}}"#, ""),
        image(r#"{"resize":{"size":[8,8],"interpolation":"INTERPOLATION_BICUBIC","antialias":false}}"#, ""),
        image(r#"{"resize":{"size":[8,8],"interpolation":"INTERPOLATION_NEAREST"}}"#, ""),
        image(r#"{"resize":{"size":[8,8],"interpolation":"INTERPOLATION_NEAREST_EXACT"}}"#, ""),
        image(&format!("{CROP},{}", r#"{"randomHorizontalFlip":{"p":0.25}}"#), ""),
        image(&format!("{CROP},{}", r#"{"normalize":{}}"#), ""),
        image(&format!("{CROP},{}", r#"{"normalize":{"mean":[0,0,0],"std":[1,1,1]}}"#), ""),
        image(CROP, r#","dtype":"DTYPE_FLOAT32""#),
        image(CROP, r#","dtype":"DTYPE_FLOAT16""#),
        image(CROP, r#","dtype":"DTYPE_BFLOAT16""#),
        image(CROP, r#","applyExifOrientation":true"#),
        image(CROP, r#","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#),
        image(CROP, r#","views":2"#),
        image(CROP, r#","views":3"#),
        image(CROP, "").replace(r#""name":"image""#, r#""name":"picture""#),
        image(CROP, "")
            .replace(r#"{"fields""#, r#"{"onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"},"fields""#),
    ];
    let jobs: Vec<_> =
        specs.iter().map(|spec| job(spec).unwrap_or_else(|fault| panic!("{spec}: {fault}"))).collect();
    assert_eq!(jobs.iter().map(|job| job.content_digest).collect::<HashSet<_>>().len(), jobs.len());
    assert_eq!(jobs.iter().map(|job| job.order_digest).collect::<HashSet<_>>().len(), 1);
}

#[test]
fn images_as_stored_are_the_content_of_before_and_only_images_are_turned() {
    let content = |more: &str| job(&image(CROP, more)).expect("a job").content_digest;
    assert_eq!(content(r#","applyExifOrientation":false"#), content(""));
    assert_eq!(content(r#","decodeScale":"DECODE_SCALE_FULL""#), content(""));
    let scaled = r#"{"fields":[{"name":"label","decodeScale":"DECODE_SCALE_AUTO"}]}"#;
    let fault = job(scaled).err().expect("no image");
    assert!(fault.to_string().contains("decode_scale of what is no image"), "{fault}");
    for other in [
        r#"{"fields":[{"name":"label","applyExifOrientation":true}]}"#,
        r#"{"fields":[{"name":"s","decode":"DECODE_SOURCE","applyExifOrientation":true}]}"#,
    ] {
        let fault = job(other).err().expect("no image");
        assert_eq!(fault.kind, Kind::Invalid);
        assert!(fault.to_string().contains("apply_exif_orientation of what is no image"), "{fault}");
    }
}

#[cfg(feature = "turbo")] // the pure decoder leaves nothing out
#[test]
fn a_decode_scale_is_a_content_of_its_own_and_needs_an_antialiased_resize() {
    let resize = |more: &str| format!(r#"{{"resize":{{"size":[8,8]{more}}}}}"#);
    let auto = r#","decodeScale":"DECODE_SCALE_AUTO""#;
    let contents = ["", auto].map(|more| job(&image(&resize(""), more)).expect("a job").content_digest);
    assert_ne!(contents[0], contents[1]);
    job(&image(&resize(r#","interpolation":"INTERPOLATION_BICUBIC""#), auto)).expect("antialiased too");
    for transforms in [
        CROP.to_owned(),
        resize(r#","antialias":false"#),
        resize(r#","interpolation":"INTERPOLATION_NEAREST""#),
    ] {
        let fault = job(&image(&transforms, auto)).err().expect("nothing is smoothed");
        assert_eq!(fault.kind, Kind::Invalid);
        assert!(fault.to_string().contains("decode_scale needs a Resize"), "{fault}");
    }
}

#[test]
fn views_are_a_dimension_before_the_images_own_and_zero_and_one_are_none() {
    let dims = |more: &str| job(&image(CROP, more)).expect("a job").fields[0].spec.dims.clone();
    assert_eq!(dims(r#","views":2"#), [2, 3, 8, 8]);
    assert_eq!(dims(r#","views":16,"memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#), [16, 3, 8, 8]);
    let one = r#","views":1"#;
    assert_eq!([dims(""), dims(r#","views":0"#), dims(one)], [[3, 8, 8], [3, 8, 8], [3, 8, 8]]);
    let content = |more: &str| job(&image(CROP, more)).expect("a job").content_digest;
    assert_eq!([content(""), content(r#","views":0"#)], [content(one); 2]);
}

#[test]
fn seed_and_sampler_change_the_order_and_a_budget_changes_nothing() {
    let base = image(CROP, "");
    let with = |more: &str| job(&base.replacen('{', &format!("{{{more},"), 1)).expect("a job");
    let plain = job(&base).expect("a job");
    let shuffled = with(r#""order":{"sampler":"SAMPLER_SHUFFLED"}"#);
    let seeded = with(r#""order":{"sampler":"SAMPLER_SHUFFLED","seed":"1"}"#);
    let orders: HashSet<_> = [&plain, &shuffled, &seeded].map(|job| job.order_digest).into();
    assert_eq!((orders.len(), plain.content_digest), (3, seeded.content_digest));
    let budget = with(r#""onBadSample":{"budgetCount":"9"}"#);
    assert_eq!((budget.order_digest, budget.content_digest), (plain.order_digest, plain.content_digest));
    assert_eq!(budget.bad_sample.budget_count, Some(9));
}

#[test]
fn each_setting_is_told_by_its_part_in_the_words_of_the_python_that_asks_for_it() {
    let exact = r#"{"resize":{"size":[8,9]}}"#;
    let steps = r#"{"resize":{"size":[8]}},{"centerCrop":{"size":[8]}},
        {"randomHorizontalFlip":{"p":0.25}},{"normalize":{"mean":[0,0,0],"std":[1,1,1]}}"#;
    let crop = r#"{"randomResizedCrop":{"size":[8,9],"scale":[0.5,1]}},{"randomHorizontalFlip":{}},{"normalize":{}}"#;
    let row_major = r#","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#;
    let both = r#"{"fields":[{"name":"label"},{"name":"score","dtype":"DTYPE_FLOAT64"}],
        "onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"},"order":{"sampler":"SAMPLER_SHUFFLED"}}"#;
    for (spec, part, text) in [
        (
            image(steps, ""),
            "field image",
            "column path; Resize(8); CenterCrop(8); RandomHorizontalFlip(0.25); \
             Normalize((0, 0, 0), (1, 1, 1)); float32; channels last",
        ),
        (
            image(crop, row_major),
            "field image",
            "column path; RandomResizedCrop((8, 9), scale=(0.5, 1)); RandomHorizontalFlip; Normalize; float32; \
             channels first",
        ),
        (image(exact, ""), "field image", "column path; Resize((8, 9)); uint8; channels last"),
        (
            image(exact, r#","views":2"#),
            "field image",
            "column path; Resize((8, 9)); 2 views; uint8; channels last",
        ),
        (
            image(r#"{"resize":{"size":[8,9],"interpolation":"INTERPOLATION_NEAREST_EXACT"}}"#, ""),
            "field image",
            "column path; Resize((8, 9), interpolation=nearest-exact); uint8; channels last",
        ),
        (
            image(
                r#"{"randomResizedCrop":{"size":[8],"interpolation":"INTERPOLATION_BICUBIC","antialias":false}}"#,
                "",
            ),
            "field image",
            "column path; RandomResizedCrop(8, interpolation=bicubic, antialias=False); uint8; channels last",
        ),
        (
            image(exact, r#","applyExifOrientation":true,"dtype":"DTYPE_BFLOAT16""#),
            "field image",
            "column path; apply_exif_orientation=True; Resize((8, 9)); bfloat16; channels last",
        ),
        (both.into(), "field label", "value"),
        (both.into(), "field score", "value; float64"),
        (both.into(), "fields", "label; score"),
        (both.into(), "on_bad_sample", "mask"),
        (both.into(), "sampler", "shuffled; order version 1"),
    ] {
        let job = job(&spec).expect("a job");
        let found = job.order_parts.iter().chain(job.content_parts.iter()).find(|(name, _)| *name == part);
        assert_eq!(found.map(|(_, text)| text), Some(text), "{part} of {spec}");
        assert!(job.to_proto().order_parts.len() == 1 && job.to_proto().content_parts.len() >= 4);
    }
}

#[test]
fn a_change_is_told_by_the_part_that_changed_and_by_no_other() {
    let base = r#"{"fields":[{"name":"label"},{"name":"image","column":"path","transforms":[{"centerCrop":{"size":[8]}}]}]}"#;
    let was = job(base).expect("a job").content_parts;
    for (from, to, part, words) in [
        ("[8]", "[9]", "field image", "CenterCrop(8) is now CenterCrop(9)"),
        (r#""label""#, r#""label","dtype":"DTYPE_INT32""#, "field label", "int32 was added"),
        (
            r#"{"fields""#,
            r#"{"onBadSample":{"policy":"BAD_SAMPLE_POLICY_MASK"},"fields""#,
            "on_bad_sample",
            "fail is now mask",
        ),
    ] {
        let now = job(&base.replace(from, to)).expect("a job").content_parts;
        let found: Vec<_> = was.differences(&now);
        let told: Vec<_> = found.iter().map(|found| (found.part.as_str(), found.words.as_str())).collect();
        assert_eq!(told, [(part, words)]);
    }
}

#[test]
fn the_job_id_is_the_clients_or_the_digests() {
    assert_eq!(
        job(&image(CROP, "").replacen('{', r#"{"jobId":"run-7.a:b_c","#, 1)).expect("a job").id,
        "run-7.a:b_c"
    );
    let derived = job(&image(CROP, "")).expect("a job");
    assert!(derived.id.starts_with(&derived.order_digest.to_string()[..12]));
    let bad = job(&image(CROP, "").replacen('{', r#"{"jobId":"a b","#, 1));
    assert!(bad.is_err_and(|fault| fault.kind == Kind::Invalid && fault.hint.is_some()));
}

#[test]
fn what_is_wrong_is_named_with_the_field() {
    let wrong = [
        (image("", ""), "own sizes"),
        (image(r#"{"centerCrop":{"size":[0]}}"#, ""), "size 0"),
        (image(r#"{"centerCrop":{"size":[1,2,3]}}"#, ""), "CenterCrop: size"),
        (image(r#"{"randomResizedCrop":{"size":[8],"scale":[1.0,0.1]}}"#, ""), "scale"),
        (image(r#"{"randomHorizontalFlip":{"p":1.5}}"#, ""), "p 1.5"),
        (image(&format!("{CROP},{}", r#"{"normalize":{"mean":[0,0]}}"#), ""), "mean"),
        (image(&format!("{CROP},{}", r#"{"normalize":{"mean":[0,0,0],"std":[1,0,1]}}"#), ""), "std"),
        (image("{}", ""), "without an operation"),
        (image(CROP, r#","dtype":"DTYPE_INT64""#), "can't be int64"),
        (image(CROP, r#","views":17"#), "field image: 17 views, at most 16"),
        (image(CROP, r#","views":4294967295"#), "at most 16"),
        (r#"{"fields":[{"name":"label","views":2}]}"#.into(), "field label: 2 views of what is no image"),
        (
            r#"{"fields":[{"name":"from","decode":"DECODE_SOURCE","views":2}]}"#.into(),
            "field from: 2 views of what",
        ),
        (r#"{"fields":[{"name":"nose"}]}"#.into(), "no column \"nose\""),
        (r#"{"fields":[{"name":"label"},{"name":"label"}]}"#.into(), "given twice"),
        (r#"{"fields":[{"name":"valid","column":"label"}]}"#.into(), "reserved"),
        (r#"{"fields":[{"name":"label","decode":"DECODE_IMAGE"}]}"#.into(), "holds no paths"),
        (r#"{"fields":[{"name":"score","dtype":"DTYPE_INT32"}]}"#.into(), "can't become int32"),
        (
            r#"{"fields":[{"name":"label","transforms":[{"centerCrop":{"size":[8]}}]}]}"#.into(),
            "transforms work on images",
        ),
        (r#"{"order":{"version":99},"fields":[{"name":"label"}]}"#.into(), "order version 99"),
    ];
    for (spec, expected) in wrong {
        let fault = job(&spec).err().unwrap_or_else(|| panic!("{spec} is no job"));
        assert_eq!(fault.kind, Kind::Invalid, "{fault}");
        assert!(fault.to_string().contains(expected), "{spec}: {fault}");
    }
}

#[test]
fn what_is_reserved_answers_unimplemented_by_name() {
    let reserved = [
        (r#"{"fields":[{"name":"path","decode":"DECODE_AUDIO"}]}"#.to_owned(), "DECODE_AUDIO"),
        (r#"{"order":{"sampler":"SAMPLER_PACKED"},"fields":[{"name":"label"}]}"#.into(), "sampler PACKED"),
    ];
    for (spec, expected) in reserved {
        let fault = job(&spec).err().unwrap_or_else(|| panic!("{spec} is no job"));
        assert_eq!(fault.kind, Kind::Unimplemented, "{fault}");
        assert!(fault.to_string().contains(expected), "{spec}: {fault}");
    }
}

#[test]
fn a_choice_that_this_version_does_not_know_is_refused_and_never_taken_for_the_default() {
    let field = |change: &dyn Fn(&mut v1::Field)| {
        let mut field = v1::Field { name: "label".into(), ..Default::default() };
        change(&mut field);
        v1::JobSpec { fields: vec![field], ..Default::default() }
    };
    let transform = |op| v1::Transform { op: Some(op) };
    let resize = v1::Resize { interpolation: 99, ..Default::default() };
    let crop = v1::RandomResizedCrop { interpolation: 99, ..Default::default() };
    let source = |source| v1::JobSpec { sources: vec![source], ..Default::default() };
    let columns = vec![v1::Column { kind: 99, ..Default::default() }];
    let records = v1::source::Origin::Records(v1::Records { columns, ..Default::default() });
    let list = v1::source::Origin::List(v1::List { format: 99, ..Default::default() });
    let order = v1::Order { sampler: 99, ..Default::default() };
    let on_bad_sample = v1::OnBadSample { policy: 99, ..Default::default() };
    for (spec, what) in [
        (v1::JobSpec { order: Some(order), ..Default::default() }, "sampler"),
        (source(v1::Source { sampler: 99, ..Default::default() }), "sampler"),
        (source(v1::Source { origin: Some(list), ..Default::default() }), "format"),
        (source(v1::Source { origin: Some(records), ..Default::default() }), "kind"),
        (field(&|field| field.decode = 99), "decode"),
        (field(&|field| field.dtype = 99), "dtype"),
        (field(&|field| field.memory_order = 99), "memory_order"),
        (field(&|field| field.decode_scale = 99), "decode_scale"),
        (field(&|field| field.transforms = vec![transform(Op::Resize(resize.clone()))]), "interpolation"),
        (
            field(&|field| field.transforms = vec![transform(Op::RandomResizedCrop(crop.clone()))]),
            "interpolation",
        ),
        (v1::JobSpec { on_bad_sample: Some(on_bad_sample), ..Default::default() }, "on_bad_sample policy"),
    ] {
        let Err(fault) = resolved(&spec) else { panic!("{what} is accepted") };
        assert_eq!((fault.kind, fault.message), (Kind::Invalid, format!("{what} 99 is unknown")));
    }
}
