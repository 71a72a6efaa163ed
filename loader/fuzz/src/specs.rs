//! Job specs over a small snapshot: what resolves has a layout, rows and values, and is one job in both encodings.

use std::sync::{Arc, OnceLock};

use forebay::catalog::{self, CatalogLimits, ColumnKind, ColumnSpec, Snapshot, SourceSpec};
use forebay::decode::{ImageDecoder, ImageFormat, ImageInfo, ImageLimits};
use forebay::job::{self, FieldMaker, Job};
use forebay::transform::{ImagePipeline, RowDraws, Scratch};
use forebay_plan::RowRng;
use forebay_proto::v1;

/// Larger outputs are planned and not made.
const SAMPLE_BYTES_MAX: u64 = 1 << 18;
const EPOCHS: [u64; 3] = [0, 1, 1 << 40];

const LINES: &str = r#"{"path":"a.jpg","label":3,"score":0.5,"box":[1,2,3],"name":"cat","tags":[0,2],"w":2,"tokens":7}
{"path":"b.jpg","label":-4,"score":1.5,"box":[4,5,6],"name":"é","tags":[],"w":0,"tokens":900}
{"path":"c.jpg","label":0,"score":-1e9,"box":[0,0,0],"name":"","tags":[1],"w":0.5,"tokens":1}
"#;

/// Three pixels by two, and one by sixty-four: what crops and resizes have to cope with.
const IMAGES: [&[u8]; 2] =
    [include_bytes!("../seeds/png/ok-rgb-3x2.png"), include_bytes!("../seeds/png/ok-grey-1x64.png")];

/// Headers that a draw must stay within.
const SIDES: [(u32, u32); 5] = [(1, 1), (65_535, 1), (1, 65_535), (500, 375), (13_377, 13_377)];

/// A job spec, in JSON or protobuf.
pub fn spec(input: &[u8]) -> bool {
    let Some(spec) = super::requests::message::<v1::JobSpec>(input) else { return false };
    let Ok(job) = job::resolve(&spec, snapshot()) else { return false };
    let json = serde_json::to_string(&spec).expect("it was JSON a moment ago");
    let again: v1::JobSpec = serde_json::from_str(&json).expect("our own words");
    let again = job::resolve(&again, snapshot()).expect("it resolved a moment ago");
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

fn snapshot() -> Arc<Snapshot> {
    static SNAPSHOT: OnceLock<Arc<Snapshot>> = OnceLock::new();
    Arc::clone(SNAPSHOT.get_or_init(|| {
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
        ];
        let columns = columns.map(column).to_vec();
        let source = SourceSpec::Records { root: Some("/".into()), json_lines: LINES.into(), columns };
        Arc::new(catalog::open(&source, &CatalogLimits::default()).expect("a sound list"))
    }))
}

/// Layouts, orders and rows of a job that was resolved.
fn exercise(job: &Job) {
    let _ = job.to_proto();
    let with_valid = job.specs(true).len();
    assert_eq!(with_valid, job.fields.len() + 1);
    for rows in [1, 256, u32::MAX] {
        let _ = job.layout(rows, true);
    }
    for epoch in EPOCHS {
        let rows = job.epoch(epoch);
        for position in [0, 1, job.order.rows - 1].map(|position| position.min(job.order.rows - 1)) {
            let sample = rows.order.sample(position);
            assert!(sample.0 < job.snapshot.len());
            make(job, sample.0, || Draws(rows.augment.rng(position, 0, 0)));
        }
    }
}

fn make(job: &Job, sample: u64, draws: impl Fn() -> Draws) {
    for field in &job.fields {
        let sample_bytes = field.spec.sample_bytes().expect("a resolved field has a size");
        match &field.maker {
            FieldMaker::Image { pipeline, .. } => {
                SIDES.iter().for_each(|&sides| draw(pipeline, sides, &mut draws()));
                if sample_bytes <= SAMPLE_BYTES_MAX {
                    IMAGES.iter().for_each(|image| run(pipeline, image, &mut draws(), sample_bytes));
                }
            }
            FieldMaker::Value(value) => {
                value.write(&job.snapshot, sample, &mut vec![0; sample_bytes as usize])
            }
            FieldMaker::Stored(_) => unreachable!("no spec asks for stored bytes"),
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

fn run(pipeline: &ImagePipeline, image: &[u8], draws: &mut Draws, sample_bytes: u64) {
    let mut target = vec![0; sample_bytes as usize];
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    pipeline.run(image, &mut decoder, &mut Scratch::new(), draws, &mut target).expect("a sound image");
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
