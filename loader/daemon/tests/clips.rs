//! Clips through sessions: which frames a row is made of, and that neither faults, threads, budgets nor hedges change it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use forebay::catalog::{self, CatalogLimits, SourceSpec};
use forebay::decode::{ImageDecoder, ImageLimits};
use forebay::error::{Fault, Kind};
use forebay::job::{self, Job};
use forebay::prefetch::ReadBudget;
use forebay::storage::{Engine, Faults, FaultyEngine, HedgeAfter, MemoryEngine};
use forebay::transform::{Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, Scratch};
use forebay::workers::{Draws, PoolOptions};
use forebay_plan::{Cursor, EpochPrf, Purpose};
use forebay_proto::v1;
use support::{Node, OpenAs, digest_of, options, png};

const SEED: u64 = 7;
const CLIPS: usize = 30;
const FRAMES: u32 = 4;
/// One frame as bytes: 8 x 8 RGB.
const FRAME: usize = 8 * 8 * 3;

/// Frames of clip number `clip`: 3 to 12, so that some have fewer than a row takes.
fn count(clip: usize) -> usize {
    3 + clip % 10
}

/// Every frame of every clip, no two alike.
fn files() -> Vec<(String, Vec<u8>)> {
    let frame = |clip, frame: usize| (format!("c{clip}/{:03}.png", frame + 1), png(clip * 16 + frame));
    (0..CLIPS).flat_map(|clip| (0..count(clip)).map(move |number| frame(clip, number))).collect()
}

fn try_job(clip: &str) -> Result<Arc<Job>, Fault> {
    let line = |clip| {
        format!(r#"{{"clip":"c{clip}","clip.frames":"{{001..{:03}}}.png","label":{clip}}}"#, count(clip))
    };
    let json_lines = (0..CLIPS).map(line).collect::<Vec<_>>().join("\n").into_bytes();
    let source = SourceSpec::Records { root: Some(std::env::temp_dir()), json_lines, columns: Vec::new() };
    let snapshot = catalog::open(&source, &CatalogLimits::default()).expect("a snapshot");
    let spec = format!(
        r#"{{"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"{SEED}"}},
        "fields":[{{"name":"clip","clip":{{"frames":{FRAMES}{clip}}},"transforms":[{{"randomResizedCrop":{{"size":[8]}}}},{{"randomHorizontalFlip":{{}}}}]}},{{"name":"label"}}]}}"#
    );
    let spec: v1::JobSpec = serde_json::from_str(&spec).expect("a spec");
    job::resolve(&spec, Arc::new(snapshot)).map(Arc::new)
}

fn job(clip: &str) -> Arc<Job> {
    try_job(clip).expect("a job")
}

/// A row, made here from its definition: where a clip begins and how it is cropped are two draws.
fn made(clip: usize, position: u64, stride: u64) -> Vec<u8> {
    let prf = EpochPrf::new(SEED, Purpose::Augment, 0);
    let room = (count(clip) as u64).checked_sub(u64::from(FRAMES - 1) * stride + 1);
    let first = room.map_or(0, |room| prf.rng(position, u32::MAX, 0).below(room + 1));
    let size = 8;
    let (scale, ratio, filter) = (ImageOp::SCALE, ImageOp::RATIO, Filter::DEFAULT);
    let crop = ImageOp::RandomResizedCrop { height: size, width: size, scale, ratio, filter };
    let ops = [crop, ImageOp::RandomHorizontalFlip { p: 0.5 }];
    let pipeline = ImagePipeline::new(&ops, OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let mut row = vec![0; FRAMES as usize * FRAME];
    for (nth, target) in (0..).zip(row.chunks_exact_mut(FRAME)) {
        let number = (first + nth * stride).min(count(clip) as u64 - 1) as usize;
        let mut rng = Draws(prf.rng(position, 0, 0));
        let encoded = png(clip * 16 + number);
        pipeline.run(&encoded, &mut decoder, &mut scratch, &mut rng, target).expect("a picture");
    }
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_its_frames_one_by_one_each_with_the_draw_of_the_row() {
    let node = Node::of(files(), 2, Faults::default());
    for (clip, stride) in [("", 1), (r#","stride":2"#, 2)] {
        let open = OpenAs { rows: 10, ..OpenAs::default() };
        let batches = support::epoch(&mut node.open_job(&job(clip), &open)).await;
        for (batch, first) in batches.iter().zip((0..).step_by(10)) {
            let rows = batch.images.chunks_exact(FRAMES as usize * FRAME);
            for ((row, clip), label) in (first..).zip(rows).zip(&batch.labels) {
                assert!(
                    clip == made(*label as usize, row, stride),
                    "row {row}, clip {label}, stride {stride}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_threads_small_budgets_hedges_and_seeks_change_nothing() {
    let rough = Faults {
        seed: 3,
        io_error_per_mille: 80,
        missing_per_mille: 40,
        changed_per_mille: 40,
        delay_per_mille: 100,
        delay_max: Duration::from_millis(3),
        ..Faults::default()
    };
    let open = OpenAs { rows: 8, digest: true, ..OpenAs::default() };
    let calm = Node::of(files(), 1, Faults::default());
    let whole = support::epoch(&mut calm.open_job(&job(""), &open)).await;
    let with = |change: fn(&mut PoolOptions)| {
        let mut options = options(3);
        change(&mut options);
        Node::around(options, |done| {
            let memory: Arc<dyn Engine<_>> = Arc::new(MemoryEngine::new(files(), done.clone()));
            Arc::new(FaultyEngine::new(memory, rough, done).expect("a thread"))
        })
    };
    let nodes = [
        with(|_| ()),
        // Less than the frames of one row.
        with(|options| options.budget = ReadBudget { bytes: 500, reads: 2 }),
        with(|options| options.hedge_after = HedgeAfter::Time(Duration::from_millis(1))),
    ];
    for node in nodes {
        let mut session = node.open_job(&job(""), &open);
        assert_eq!(digest_of(&support::epoch(&mut session).await), digest_of(&whole));
        session.seek(1, Cursor { epoch: 0, position: 16 }, 64).expect("the next sequence");
        assert_eq!(digest_of(&support::drain(&mut session).await), digest_of(&whole[2..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_not_there_fails_by_name_and_one_that_is_no_image_is_a_verdict() {
    let missing = files().into_iter().filter(|(name, _)| name != "c9/001.png").collect();
    let node = Node::of(missing, 2, Faults::default());
    let first = job(r#","start":"CLIP_START_FIRST""#);
    let fault = support::fault(&mut node.open_job(&first, &OpenAs { rows: 30, ..OpenAs::default() })).await;
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Unavailable, Some("c9")));
    assert!(fault.to_string().contains("c9/001.png"), "{fault}");
    let mut bad = files();
    bad.iter_mut().find(|(name, _)| name == "c9/001.png").expect("a frame").1 = b"no image".to_vec();
    let node = Node::of(bad, 2, Faults::default());
    let fault = support::fault(&mut node.open_job(&first, &OpenAs { rows: 30, ..OpenAs::default() })).await;
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("c9")));
    assert!(fault.causes.iter().any(|cause| cause.contains("frame 001.png")), "{fault}");
}

#[test]
fn what_is_said_of_frames_is_checked_and_part_of_the_content() {
    let plain = job("");
    assert_eq!(plain.reads_a_row(), FRAMES as usize);
    assert_eq!(plain.fields[0].spec.dims, [FRAMES, 3, 8, 8]);
    let same = job(r#","stride":1,"start":"CLIP_START_RANDOM","onShort":"SHORT_CLIP_REPEAT""#);
    assert_eq!(same.content_digest, plain.content_digest, "the defaults have one name");
    for other in [r#","stride":2"#, r#","start":"CLIP_START_CENTER""#, r#","onShort":"SHORT_CLIP_ERROR""#] {
        assert_ne!(job(other).content_digest, plain.content_digest, "{other}");
        assert_eq!(job(other).order_digest, plain.order_digest, "{other}");
    }
    let said = |clip: &str| {
        let fault = try_job(clip).err().expect("it is refused");
        assert!(fault.hint.is_some(), "{fault}");
        fault.to_string()
    };
    assert!(said(r#","stride":70000"#).contains("4 frames of a clip, 70000 apart"));
}
