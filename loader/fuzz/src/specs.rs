//! Job specs over a small snapshot: what resolves has a layout, rows and values, and is one job in both encodings.

use std::sync::{Arc, OnceLock};

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use forebay::decode::array::ArrayScratch;
use forebay::decode::{ImageDecoder, ImageFormat, ImageInfo, ImageLimits};
use forebay::job::{self, EpochRows, FieldMaker, Job, PartPlan, RowWalker, START_VIEW};
use forebay::transform::{ImagePipeline, RowDraws, Scratch};
use forebay_plan::orders::Pick;
use forebay_plan::{BatchRange, RowRng, SUBSTITUTE_ATTEMPTS_MAX};
use forebay_proto::v1::{self, windows::Grouping};

/// Larger outputs are planned and not made.
const SAMPLE_BYTES_MAX: u64 = 1 << 18;
/// Windows over a billion rows are a minute's work by design, and packs of 2^26 pieces a gigabyte: no findings.
const WINDOWED_ROWS_MAX: u64 = 1 << 16;
const PIECES_MAX: u64 = 1 << 21;
/// The longest in the column `tokens` of the first source and of both.
const LONGEST: [u64; 2] = [900, 4_000_000_000];
const SOURCES_MAX: usize = 5;
const EPOCHS: [u64; 3] = [0, 1, 1 << 40];

/// Two sources with the same columns.
const LINES: [&str; 2] = [
    r#"{"path":"a.jpg","label":3,"score":0.5,"box":[1,2,3],"name":"cat","tags":[0,2],"w":2,"tokens":7,"at":0,"text":[5,-1,7]}
{"path":"b.jpg","label":-4,"score":1.5,"box":[4,5,6],"name":"é","tags":[],"w":0,"tokens":900,"at":7,"text":[]}
{"path":"c.jpg","label":0,"score":-1e9,"box":[0,0,0],"name":"","tags":[1],"w":0.5,"tokens":1,"at":9000000000,"text":[1,2,3,4,5,6,7,8,9]}
"#,
    r#"{"path":"d.jpg","label":1,"score":0,"box":[0,0,1],"name":"a longer name","tags":[0,1,2],"w":1,"tokens":0,"at":3,"text":[2147483647]}
{"path":"e.jpg","label":1,"score":2,"box":[0,1,0],"name":"dog","tags":[],"w":1e-30,"tokens":4000000000,"at":0,"text":[0,0]}
"#,
];

/// Three pixels by two, and one by sixty-four: what crops and resizes have to cope with.
const IMAGES: [&[u8]; 2] =
    [include_bytes!("../seeds/png/ok-rgb-3x2.png"), include_bytes!("../seeds/png/ok-grey-1x64.png")];

/// Headers that a draw must stay within.
const SIDES: [(u32, u32); 5] = [(1, 1), (65_535, 1), (1, 65_535), (500, 375), (13_377, 13_377)];

/// A job spec, in JSON or protobuf, over as many sources as it has.
pub fn spec(input: &[u8]) -> bool {
    let Some(spec) = super::requests::message::<v1::JobSpec>(input) else { return false };
    let Some(job) = resolved(&spec) else { return false };
    let json = serde_json::to_string(&spec).expect("a job is made of known choices alone");
    let again: v1::JobSpec = serde_json::from_str(&json).expect("our own words");
    let again = job::resolve_all(&again, snapshots(&again)).expect("it resolved a moment ago");
    assert_eq!((job.order_digest, job.content_digest), (again.order_digest, again.content_digest));
    exercise(&job);
    true
}

/// What a list is without a spec: a job of all its columns, or an error.
pub fn is_a_job(snapshot: Arc<Snapshot>) {
    if let Ok(job) = job::resolve(&v1::JobSpec::default(), snapshot) {
        exercise(&job);
    }
}

fn resolved(spec: &v1::JobSpec) -> Option<Job> {
    if spec.sources.len() > SOURCES_MAX {
        return None;
    }
    if let Some(windows) = spec.order.as_ref().and_then(|order| order.windows.as_ref()) {
        let mut plain = spec.clone();
        plain.order.as_mut()?.windows = None;
        // Some fields are of packed rows alone.
        plain.fields = vec![v1::Field { name: "label".to_owned(), ..Default::default() }];
        let rows = job::resolve_all(&plain, snapshots(&plain)).ok()?.rows;
        let pieces = match &windows.grouping {
            Some(Grouping::Packed(packed)) => {
                LONGEST[usize::from(spec.sources.len() > 1)].div_ceil(u64::from(packed.capacity.max(1)))
            }
            _ => 1,
        };
        if rows > WINDOWED_ROWS_MAX || rows * pieces > PIECES_MAX {
            return None;
        }
    }
    job::resolve_all(spec, snapshots(spec)).ok()
}

fn snapshots(spec: &v1::JobSpec) -> Vec<Arc<Snapshot>> {
    static SNAPSHOTS: OnceLock<[Arc<Snapshot>; 2]> = OnceLock::new();
    let both = SNAPSHOTS.get_or_init(|| LINES.map(snapshot));
    both.iter().cycle().take(spec.sources.len().max(1)).cloned().collect()
}

fn snapshot(lines: &str) -> Arc<Snapshot> {
    let column = |(name, kind): (&str, ColumnKind)| ColumnSpec { name: name.to_owned(), kind };
    let columns = [
        ("path", ColumnKind::Path),
        ("label", ColumnKind::Int),
        ("score", ColumnKind::Float),
        ("box", ColumnKind::FloatVector { len: None }),
        ("name", ColumnKind::Text),
        ("tags", ColumnKind::MultiHot { classes: 3 }),
        ("w", ColumnKind::Weight),
        ("tokens", ColumnKind::Int),
        ("at", ColumnKind::Int),
        ("text", ColumnKind::Tokens),
    ];
    let columns = columns.map(column).to_vec();
    let source = SourceSpec::Records { root: Some("/".into()), json_lines: lines.into(), columns };
    Arc::new(catalog::open(&source, &CatalogLimits::default()).expect("a sound list"))
}

/// Layouts, orders and rows of a job that was resolved.
fn exercise(job: &Job) {
    let _ = job.to_proto();
    assert_eq!(job.specs(true).len(), job.fields.len() + 1);
    for rows in [1, 256, u32::MAX] {
        let _ = job.layout(job.order.samples_max(rows), true);
    }
    for epoch in EPOCHS {
        let Ok(epoch_rows) = job.epoch(epoch) else { continue };
        assert!(epoch != 0 || epoch_rows.rows() == job.rows, "the first epoch is as long as the job says");
        let mut walker = RowWalker::new(Arc::clone(&epoch_rows));
        let last = epoch_rows.rows().saturating_sub(1);
        for first_row in [0, 1.min(last), last] {
            let range =
                BatchRange { epoch, first_row, rows: if job.order.rows_are_batches() { 1 } else { 3 } };
            let planned = walker.plan(range).expect("rows of an epoch can be planned");
            let alone = RowWalker::new(Arc::clone(&epoch_rows)).plan(range).expect("as before");
            assert_eq!(planned, alone, "rows depend on nothing that was asked before");
            assert!(planned.len() <= job.order.samples_max(range.rows), "a batch fits its layout");
            (0..planned.len()).for_each(|row| check_row(job, &epoch_rows, planned.parts(row)));
        }
    }
}

/// Each part is of a sample that is there, can be made, and has substitutes that are there too.
fn check_row(job: &Job, epoch: &EpochRows, parts: &[PartPlan]) {
    assert!(!parts.is_empty(), "a row holds something");
    let is_there = |pick: Pick| assert!(pick.sample.0 < job.snapshot(pick.source).len(), "{pick:?}");
    // A packed row may have thousands of parts of few samples.
    for part in parts.iter().take(4) {
        is_there(part.pick);
        let _ = job.key(part.pick);
        (1..=SUBSTITUTE_ATTEMPTS_MAX).for_each(|attempt| is_there(epoch.substitute(part.position, attempt)));
        if job.order.packed_capacity().is_none() {
            make(job, part.pick, |view| Draws(epoch.draws(part.position, view, 0)));
        }
    }
    if let Some(capacity) = job.order.packed_capacity() {
        let tokens: u64 = parts.iter().map(|part| u64::from(part.len)).sum();
        assert!(tokens <= u64::from(capacity), "a row holds what it has room for");
        pack(job, parts);
    }
}

/// A packed row: its parts one behind the other, and what says which token belongs where.
fn pack(job: &Job, parts: &[PartPlan]) {
    for field in &job.fields {
        let sample_bytes = field.spec.sample_bytes().expect("a resolved field has a size");
        if sample_bytes > SAMPLE_BYTES_MAX {
            continue;
        }
        let (mut row, mut filled) = (vec![0; sample_bytes as usize], 0);
        for part in parts {
            match field.maker(part.pick.source) {
                FieldMaker::Tokens(tokens) if tokens.reads() => {
                    let bytes = tokens.extent_of_part(job, part).map_or(16, |(_, bytes)| bytes);
                    let file = vec![1; bytes.min(SAMPLE_BYTES_MAX) as usize];
                    let _ = tokens.write_part(
                        job.snapshot(part.pick.source),
                        part,
                        filled,
                        Some(&file),
                        &mut row,
                    );
                }
                FieldMaker::Tokens(tokens) => {
                    let written =
                        tokens.write_part(job.snapshot(part.pick.source), part, filled, None, &mut row);
                    written.expect("a list was checked when it was read");
                }
                FieldMaker::Packed(ids) => ids.write(parts, &mut row),
                FieldMaker::Length { .. } => assert_eq!(sample_bytes, 4),
                _ => unreachable!("packed rows are made of tokens alone"),
            }
            filled += part.len;
        }
        field.makers[0].blank(&mut row);
    }
}

fn make(job: &Job, pick: Pick, draws: impl Fn(u32) -> Draws) {
    for field in &job.fields {
        let sample_bytes = field.spec.sample_bytes().expect("a resolved field has a size");
        match field.maker(pick.source) {
            FieldMaker::Image { pipeline, views, device, .. } => {
                SIDES.iter().for_each(|&sides| draw(pipeline, sides, &mut draws(0)));
                let pixel_bytes = pipeline.view_bytes() as u64 * u64::from(*views);
                match device {
                    None => assert_eq!(sample_bytes, pixel_bytes),
                    Some(device) => assert!(sample_bytes >= pixel_bytes.max(device.bytes_max.into())),
                }
                if pixel_bytes <= SAMPLE_BYTES_MAX {
                    IMAGES.iter().for_each(|image| run(pipeline, image, *views, &draws, pixel_bytes));
                }
            }
            FieldMaker::DeviceNumbers => assert_eq!(sample_bytes, 64),
            FieldMaker::Clip { clip, .. } => {
                let chosen = clip.chosen(job.snapshot(pick.source), pick.sample.0, || draws(START_VIEW).0);
                let count = chosen.names.len();
                assert!(
                    (0..clip.frames())
                        .all(|nth| chosen.number(nth) < count && !chosen.name(nth).contains('/'))
                );
            }
            FieldMaker::Value(value) => {
                value.write(job.snapshot(pick.source), pick.sample.0, &mut vec![0; sample_bytes as usize]);
            }
            FieldMaker::Source => assert_eq!(sample_bytes, 8),
            FieldMaker::Length { .. } => assert_eq!(sample_bytes, 4),
            FieldMaker::Tokens(tokens) => {
                let (snapshot, sample) = (job.snapshot(pick.source), pick.sample.0);
                let file = tokens.extent(snapshot, sample, sample_bytes).map_or(16, |(_, bytes)| bytes);
                if sample_bytes <= SAMPLE_BYTES_MAX {
                    let file = vec![1; file.min(SAMPLE_BYTES_MAX) as usize];
                    let file = tokens.reads().then_some(&file[..]);
                    let written = tokens.write(snapshot, sample, file, &mut vec![0; sample_bytes as usize]);
                    assert!(written.is_ok() || file.is_some(), "a list was checked when it was read");
                }
            }
            FieldMaker::Packed(_) => unreachable!("it is planned for packed rows alone"),
            FieldMaker::Raw { .. } => assert!(sample_bytes > 0),
            FieldMaker::Array { spec, .. } if sample_bytes <= SAMPLE_BYTES_MAX => {
                let mut row = vec![0; sample_bytes as usize];
                let written = spec.write(&[1; 16], &mut ArrayScratch::default(), &mut row);
                assert!(written.is_err(), "16 bytes are no array");
            }
            FieldMaker::Array { .. } => {}
            FieldMaker::Stored(_) => unreachable!("no spec asks for bytes that are cut"),
        }
    }
}

fn draw(pipeline: &ImagePipeline, (width, height): (u32, u32), draws: &mut Draws) {
    let drawn = pipeline.draw(ImageInfo { width, height, format: ImageFormat::Jpeg }, draws);
    let inside =
        |start: u32, len: u32, end: u32| len > 0 && u64::from(start) + u64::from(len) <= u64::from(end);
    let crop = drawn.crop;
    assert!(inside(crop.left, crop.width, width) && inside(crop.top, crop.height, height), "{crop}");
    assert!(drawn.resized_height > 0 && drawn.resized_width > 0, "{drawn:?}");
    let shown = drawn.shows(pipeline.height(), pipeline.width());
    assert!(inside(shown.left, shown.width, width) && inside(shown.top, shown.height, height), "{shown}");
}

/// All views from one decode, and the last of them alone.
fn run(pipeline: &ImagePipeline, image: &[u8], views: u32, draws: impl Fn(u32) -> Draws, sample_bytes: u64) {
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let mut sample = vec![0; sample_bytes as usize];
    let decoded = pipeline.decode(image, &mut decoder, (0..views).map(&draws)).expect("a sound image");
    pipeline.write(&decoded, &mut scratch, &mut sample).expect("the target is as long as the spec says");
    let mut alone = vec![0; pipeline.view_bytes()];
    let drawn = pipeline.run(image, &mut decoder, &mut scratch, &mut draws(views - 1), &mut alone);
    drawn.expect("a sound image");
    assert!(sample.ends_with(&alone), "a view hangs on its own draw alone");
}

struct Draws(RowRng);

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }
}
