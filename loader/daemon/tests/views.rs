//! Several views of an image through a session: what each is drawn from, and what happens to all of them together.

mod support;

use std::collections::HashSet;

use forebay::decode::{ImageDecoder, ImageLimits};
use forebay::storage::Faults;
use forebay::transform::{Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, RowDraws, Scratch};
use forebay_plan::{Cursor, EpochPrf, OrderSpec, Purpose, RowRng, Sampler};
use support::{Copied, Node, OpenAs, digest_of, png};

const SEED: u64 = 7;
/// One view as bytes: 8 x 8 RGB.
const VIEW: usize = 8 * 8 * 3;

/// `more` goes into the image's field, `fields` behind the two that are always there.
fn spec(policy: &str, more: &str, fields: &str) -> String {
    format!(
        r#"{{"sources":[{{"records":{{"root":"ROOT","jsonLines":"LINES"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"{SEED}"}},"onBadSample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}},
        "fields":[{{"name":"image","column":"path","transforms":[{TRANSFORMS}]{more}}},{{"name":"label"}}{fields}]}}"#
    )
}

const TRANSFORMS: &str = r#"{"randomResizedCrop":{"size":[8]}},{"randomHorizontalFlip":{}}"#;

fn views(count: u32) -> String {
    format!(r#","views":{count}"#)
}

/// The plan's generator as the transforms' source of draws.
struct Draws(RowRng);

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }
}

/// One view of a sample, made here from the definition of a row.
fn made(sample: usize, position: u64, view: u32, attempt: u32) -> Vec<u8> {
    let crop = ImageOp::RandomResizedCrop {
        height: 8,
        width: 8,
        scale: ImageOp::SCALE,
        ratio: ImageOp::RATIO,
        filter: Filter::DEFAULT,
    };
    let ops = [crop, ImageOp::RandomHorizontalFlip { p: 0.5 }];
    let pipeline = ImagePipeline::new(&ops, OutputType::U8, OutputOrder::ChannelsLast).expect("sound");
    let mut rng = Draws(EpochPrf::new(SEED, Purpose::Augment, 0).rng(position, view, attempt));
    let (mut decoder, mut target) = (ImageDecoder::new(ImageLimits::default()), vec![0; VIEW]);
    pipeline.run(&png(sample), &mut decoder, &mut Scratch::new(), &mut rng, &mut target).expect("a picture");
    target
}

async fn batches(node: &Node, spec: &str, rows: u32) -> Vec<Copied> {
    support::epoch(&mut node.open(spec, &OpenAs { rows, ..OpenAs::default() })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_is_the_row_drawn_with_the_number_of_the_view() {
    let node = Node::new(30, 2, Faults::default());
    let batches = batches(&node, &spec("FAIL", &views(3), ""), 10).await;
    let mut seen = HashSet::new();
    for (batch, first) in batches.iter().zip((0..).step_by(10)) {
        for ((row, image), label) in (first..).zip(batch.images.chunks_exact(3 * VIEW)).zip(&batch.labels) {
            for (view, pixels) in (0..).zip(image.chunks_exact(VIEW)) {
                assert_eq!(pixels, made(*label as usize, row, view, 0), "view {view} of row {row}");
                seen.insert(pixels.to_vec());
            }
        }
    }
    assert_eq!(seen.len(), 90, "no two views are the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_has_the_bytes_of_the_same_job_with_one_in_every_layout() {
    let node = Node::new(20, 2, Faults::default());
    for more in [
        "",
        r#","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#,
        r#","dtype":"DTYPE_FLOAT32""#,
        r#","dtype":"DTYPE_FLOAT32","memoryOrder":"MEMORY_ORDER_ROW_MAJOR""#,
    ] {
        let one = batches(&node, &spec("FAIL", more, ""), 20).await.remove(0);
        let four = batches(&node, &spec("FAIL", &(views(4) + more), ""), 20).await.remove(0);
        assert_eq!((four.images.len(), &four.labels), (4 * one.images.len(), &one.labels));
        let view = one.images.len() / 20;
        let first: Vec<u8> =
            four.images.chunks_exact(4 * view).flat_map(|row| row[..view].to_vec()).collect();
        assert!(first == one.images, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_the_same_on_any_number_of_threads_and_behind_a_seek() {
    let spec = spec("FAIL", &views(2), "");
    let open = OpenAs { rows: 8, ..OpenAs::default() };
    let whole = support::epoch(&mut Node::new(40, 1, Faults::default()).open(&spec, &open)).await;
    let mut session = Node::new(40, 3, Faults::default()).open(&spec, &open);
    assert_eq!(digest_of(&support::epoch(&mut session).await), digest_of(&whole));
    session.seek(1, Cursor { epoch: 0, position: 24 }, 64).expect("the next sequence");
    assert_eq!(digest_of(&support::drain(&mut session).await), digest_of(&whole[3..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_sample_loses_all_of_its_views_and_its_substitute_gives_all_of_them() {
    const BAD: usize = 5;
    let node = Node::with(20, 2, Faults::default(), |files| files[BAD] = b"no image at all".to_vec());
    let masked = batches(&node, &spec("MASK", &views(2), ""), 20).await.remove(0);
    let replaced = batches(&node, &spec("SUBSTITUTE", &views(2), ""), 20).await.remove(0);
    let order = OrderSpec::new(Sampler::Shuffled, SEED, 20).expect("an order").epoch(0);
    for row in 0..20 {
        let own = order.sample(row).0 as usize;
        let bytes = |batch: &Copied| batch.images[row as usize * 2 * VIEW..][..2 * VIEW].to_vec();
        let two = |sample, attempt| [0, 1].map(|view| made(sample, row, view, attempt)).concat();
        if own == BAD {
            assert_eq!((bytes(&masked), masked.valid[row as usize]), (vec![0; 2 * VIEW], 0));
            let attempt = (1..=8).find(|attempt| order.substitute(row, *attempt).0 != BAD as u64);
            let attempt = attempt.expect("another sample");
            let sample = order.substitute(row, attempt).0 as usize;
            assert_eq!(
                (bytes(&replaced), replaced.labels[row as usize]),
                (two(sample, attempt), sample as i64)
            );
        } else {
            assert_eq!((bytes(&masked), masked.valid[row as usize]), (two(own, 0), 1));
            assert_eq!(bytes(&replaced), two(own, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spatial_field_of_a_sample_shares_the_draw_of_the_same_view() {
    let node = Node::new(12, 2, Faults::default());
    let field = |name: &str, more: &str| {
        format!(r#",{{"name":"{name}","column":"path","transforms":[{TRANSFORMS}]{more}}}"#)
    };
    let fields = field("mask", &views(2)) + &field("thumb", "");
    let batch = batches(&node, &spec("FAIL", &views(3), &fields), 12).await.remove(0);
    let [image, _, mask, thumb, ..] = &batch.tensors[..] else { panic!("four fields") };
    let rows = image.chunks_exact(3 * VIEW).zip(mask.chunks_exact(2 * VIEW)).zip(thumb.chunks_exact(VIEW));
    for ((image, mask), thumb) in rows {
        assert_eq!((&image[..2 * VIEW], &image[..VIEW]), (mask, thumb));
        assert_ne!(image[..VIEW], image[VIEW..2 * VIEW]);
    }
}
