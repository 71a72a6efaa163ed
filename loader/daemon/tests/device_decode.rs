//! Rows that a device decodes: always the same ones, of files that are fit for it, with the geometry that the CPU would
//! have drawn; and everything else is as without them.

mod common;
mod support;

use common::{Jpeg, with_exif};
use forebay::decode::{ImageDecoder, ImageInfo, ImageLimits};
use forebay::error::{Fault, Kind};
use forebay::session::Outgoing;
use forebay::storage::Faults;
use forebay::transform::{
    DeviceRow, Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, RowDraws, Scratch,
};
use forebay_plan::{Cursor, EpochPrf, Purpose, RowRng, Tail, Tally};
use jpeg_encoder::{ColorType, SamplingFactor};
use support::{Node, OpenAs, digest_of};

const SEED: u64 = 7;
/// Pixels of a row: 8 x 8 RGB.
const VIEW: usize = 8 * 8 * 3;
const OPS: &str = r#"{"randomResizedCrop":{"size":[8]}},{"randomHorizontalFlip":{}}"#;

/// A job over all files, shuffled; `more` goes into the image's field.
fn spec(more: &str) -> String {
    format!(
        r#"{{"sources":[{{"records":{{"root":"ROOT","jsonLines":"LINES"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"{SEED}"}},
        "fields":[{{"name":"image","column":"path","transforms":[{OPS}]{more}}},{{"name":"label"}}]}}"#
    )
}

fn device(ratio: f64, max_bytes: u32) -> String {
    format!(r#","deviceDecode":{{"ratio":{ratio},"maxBytes":{max_bytes}}}"#)
}

fn pipeline() -> ImagePipeline {
    let [height, width] = [8; 2];
    let (scale, ratio, filter) = (ImageOp::SCALE, ImageOp::RATIO, Filter::DEFAULT);
    let crop = ImageOp::RandomResizedCrop { height, width, scale, ratio, filter };
    let ops = [crop, ImageOp::RandomHorizontalFlip { p: 0.5 }];
    ImagePipeline::new(&ops, OutputType::U8, OutputOrder::ChannelsLast).expect("sound")
}

/// A JPEG of a size that tells its number.
fn jpeg(index: usize) -> Vec<u8> {
    Jpeg::rgb(16 + index as u32 % 50, 12 + index as u32 / 50, SamplingFactor::R_4_2_0).encode()
}

/// A row as it is delivered: what stands in `image`, and the numbers beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    image: Vec<u8>,
    numbers: Vec<i32>,
    label: i64,
}

impl Row {
    fn file(&self) -> Option<&[u8]> {
        (self.numbers[0] == 1).then(|| &self.image[..self.numbers[1] as usize])
    }
}

/// The rows of batches whose tensors are image, numbers and label.
fn rows(batch: &support::Copied) -> Vec<Row> {
    let [images, numbers, labels, ..] = &batch.tensors[..] else { panic!("three tensors") };
    let count = labels.len() / 8;
    let number = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().expect("4 bytes"));
    let label = |bytes: &[u8]| i64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
    let images = images.chunks_exact(images.len() / count);
    let numbers = numbers.chunks_exact(64).map(|row| row.chunks_exact(4).map(number).collect());
    let rows = images.zip(numbers).zip(labels.chunks_exact(8).map(label));
    rows.map(|((image, numbers), label)| Row { image: image.to_vec(), numbers, label }).collect()
}

/// The rows of an epoch of one consumer, batch by batch.
async fn epoch(node: &Node, spec: &str, open: &OpenAs) -> Vec<Vec<Row>> {
    support::epoch(&mut node.open(spec, open)).await.iter().map(rows).collect()
}

/// A small image of each kind, and whether a device decodes it.
fn kinds() -> Vec<(&'static str, Vec<u8>, bool)> {
    let rgb = |sampling| Jpeg::rgb(60, 44, sampling);
    let progressive = |sampling| Jpeg { progressive: true, ..rgb(sampling) };
    let plain = rgb(SamplingFactor::R_4_2_0);
    let encoded = plain.encode();
    let luma = Jpeg { color: ColorType::Luma, ..rgb(SamplingFactor::R_4_4_4) };
    let cmyk = Jpeg { color: ColorType::Cmyk, ..rgb(SamplingFactor::R_4_4_4) };
    vec![
        ("4:2:0", encoded.clone(), true),
        ("4:4:4", rgb(SamplingFactor::R_4_4_4).encode(), true),
        ("4:2:2", rgb(SamplingFactor::R_4_2_2).encode(), true),
        ("4:4:0", rgb(SamplingFactor::R_4_4_0).encode(), true),
        ("4:1:1", progressive(SamplingFactor::R_4_1_1).encode(), true),
        ("in three scans", rgb(SamplingFactor::R_4_1_1).encode(), false),
        ("progressive", progressive(SamplingFactor::R_4_2_0).encode(), true),
        ("restarts", Jpeg { restart_interval: 2, ..plain }.encode(), true),
        ("grey", luma.encode(), true),
        ("turned", with_exif(&encoded, 6), true),
        ("4:1:0", progressive(SamplingFactor::R_4_1_0).encode(), false),
        ("CMYK", cmyk.encode(), false),
        ("PNG", common::png(60, 44, image::ExtendedColorType::Rgb8), false),
        ("Adobe's RGB", adobe(&encoded, 0), false),
        ("RGB by its ids", with_ids(&encoded, *b"RGB"), false),
        ("usual ids alone", with_ids(&without(&encoded, 0xE0), [1, 2, 3]), true),
        ("Adobe's YCbCr alone", adobe(&without(&encoded, 0xE0), 1), true),
        ("unnamed colours", with_ids(&without(&encoded, 0xE0), [0, 1, 2]), false),
        ("without Huffman tables", without(&encoded, 0xC4), false),
        ("one Huffman table too few", without_last(&encoded, 0xC4), false),
        ("extended", with_code(&encoded, 0xC1), false),
        ("no end marker", encoded[..encoded.len() - 2].to_vec(), false),
    ]
}

/// With Adobe's segment behind the first marker.
fn adobe(encoded: &[u8], transform: u8) -> Vec<u8> {
    let segment = [&[0xFF, 0xEE, 0, 14][..], b"Adobe\0\x64\0\0\0\0", &[transform]].concat();
    [&encoded[..2], &segment, &encoded[2..]].concat()
}

/// Where each segment before the first scan begins, and where it ends.
fn segments(encoded: &[u8]) -> Vec<(u8, usize, usize)> {
    let (mut at, mut found) = (2, Vec::new());
    while encoded[at + 1] != 0xDA {
        let end = at + 2 + usize::from(u16::from_be_bytes([encoded[at + 2], encoded[at + 3]]));
        found.push((encoded[at + 1], at, end));
        at = end;
    }
    found
}

fn without(encoded: &[u8], code: u8) -> Vec<u8> {
    let mut file = encoded.to_vec();
    for (found, start, end) in segments(encoded).into_iter().rev() {
        if found == code {
            file.drain(start..end);
        }
    }
    assert_ne!(file.len(), encoded.len(), "it had such a segment");
    file
}

/// Without the last segment of a kind: the encoder writes one a table.
fn without_last(encoded: &[u8], code: u8) -> Vec<u8> {
    let segments = segments(encoded);
    let (_, start, end) = segments.iter().rfind(|(found, ..)| *found == code).expect("such a segment");
    [&encoded[..*start], &encoded[*end..]].concat()
}

/// With its components called otherwise, in the frame header and in the scan's.
fn with_ids(encoded: &[u8], ids: [u8; 3]) -> Vec<u8> {
    let mut file = encoded.to_vec();
    let (_, start, _) = *segments(encoded).iter().find(|(code, ..)| *code == 0xC0).expect("a baseline file");
    let scan = segments(encoded).last().expect("segments").2;
    for (nth, id) in ids.into_iter().enumerate() {
        file[start + 10 + nth * 3] = id;
        file[scan + 5 + nth * 2] = id;
    }
    file
}

/// A baseline file under another frame marker.
fn with_code(encoded: &[u8], code: u8) -> Vec<u8> {
    let mut file = encoded.to_vec();
    let (_, start, _) = *segments(encoded).iter().find(|(code, ..)| *code == 0xC0).expect("a baseline file");
    file[start + 1] = code;
    file
}

#[test]
fn what_a_device_decodes_is_told_from_the_bytes_of_files_by_other_encoders() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/jpeg");
    let mut decoder = ImageDecoder::new(ImageLimits::default());
    let mut fit: Vec<_> = std::fs::read_dir(folder)
        .expect("the seeds")
        .map(|entry| entry.expect("a seed").path())
        .filter(|path| decoder.components_for_device(&std::fs::read(path).expect("a seed")).is_some())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    fit.sort_unstable();
    let names = [
        "ok-1x1",
        "ok-411",
        "ok-420",
        "ok-422",
        "ok-440",
        "ok-444",
        "ok-bytes-after-the-end",
        "ok-fill-bytes",
        "ok-grey",
        "ok-own-tables",
        "ok-progressive",
        "ok-progressive-restarts",
        "ok-restarts",
    ];
    assert_eq!(fit, names);
}

fn of(kinds: &[(&'static str, Vec<u8>, bool)], threads: usize) -> Node {
    Node::with(kinds.len(), threads, Faults::default(), |files| {
        for (file, (_, bytes, _)) in files.iter_mut().zip(kinds) {
            file.clone_from(bytes);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_are_for_a_device_whatever_the_threads_depth_world_and_point_of_resume() {
    const ROWS: usize = 1000;
    let spec = spec(&device(0.3, 1 << 16));
    let node = |threads| {
        Node::with(ROWS, threads, Faults::default(), |files| {
            files.iter_mut().enumerate().for_each(|(index, file)| *file = jpeg(index));
        })
    };
    let (one, three) = (node(1), node(3));
    let open = |rows, partition, depth, position| OpenAs {
        rows,
        partition,
        depth,
        digest: true,
        cursor: Cursor { epoch: 0, position },
        ..OpenAs::default()
    };
    let whole = epoch(&one, &spec, &open(50, (0, 1), 1, 0)).await.concat();
    let prf = EpochPrf::new(SEED, Purpose::DeviceDecode, 0);
    let chosen: Vec<_> = (0..ROWS as u64).filter(|&position| prf.is_among(position, 0.3)).collect();
    let found: Vec<_> = (0_u64..).zip(&whole).filter(|(_, row)| row.numbers[0] == 1).collect();
    assert_eq!(found.iter().map(|(position, _)| *position).collect::<Vec<_>>(), chosen);
    assert!((250..350).contains(&chosen.len()), "{}", chosen.len());
    for (position, row) in found {
        assert_eq!(row.file(), Some(&jpeg(row.label as usize)[..]), "row {position}");
    }

    assert_eq!(epoch(&three, &spec, &open(8, (0, 1), 5, 0)).await.concat(), whole);
    assert_eq!(epoch(&three, &spec, &open(50, (0, 1), 2, 600)).await.concat(), whole[600..]);
    for rank in 0..4_usize {
        let own = epoch(&three, &spec, &open(25, (rank as u32, 4), 3, 0)).await;
        let expected: Vec<_> = whole.chunks(100).map(|step| step[rank * 25..][..25].to_vec()).collect();
        assert_eq!(own, expected, "rank {rank}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fill_up_the_last_batch_are_those_of_the_epochs_start_and_the_digests_count_each_once() {
    let node = Node::with(30, 2, Faults::default(), |files| {
        files.iter_mut().enumerate().for_each(|(index, file)| *file = jpeg(index));
    });
    let spec = spec(&device(0.5, 1 << 16));
    let batches = epoch(&node, &spec, &OpenAs { rows: 8, tail: Tail::Pad, ..OpenAs::default() }).await;
    let mut all = batches.concat();
    let repeated = all.split_off(30);
    assert_eq!(repeated, all[..2]);

    let sums = async |rows: u32, depth: u32| {
        let mut session = node.open(&spec, &OpenAs { rows, depth, digest: true, ..OpenAs::default() });
        session.credit(1 << 20);
        let mut sums = Tally::default();
        loop {
            let Outgoing::Ready(ready) = support::next(&mut session).await else { panic!("a fault") };
            support::release(&mut session, &ready);
            sums.merge(&ready.tally.expect("it was asked for").tally);
            if ready.flags & forebay::delivery::local::record::FLAG_LAST != 0 {
                return sums;
            }
        }
    };
    let whole = sums(30, 1).await;
    assert_eq!(whole.rows, 30);
    // What slots held before stands in none of the sums.
    assert_eq!([sums(7, 3).await, sums(2, 2).await], [whole; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_decoded_where_it_is_fit_to_be_and_with_the_draws_that_the_cpu_makes() {
    let kinds = kinds();
    let node = of(&kinds, 2);
    let open = OpenAs { rows: 5, ..OpenAs::default() };
    for exif in ["", r#","applyExifOrientation":true"#] {
        let plain = support::epoch(&mut node.open(&spec(exif), &open)).await;
        let plain: Vec<_> = plain.iter().flat_map(|batch| batch.images.chunks_exact(VIEW)).collect();
        let rows = epoch(&node, &spec(&(device(1.0, 20_000) + exif)), &open).await.concat();
        assert_eq!((rows.len(), plain.len()), (kinds.len(), kinds.len()));
        let prf = EpochPrf::new(SEED, Purpose::Augment, 0);
        for (position, (row, pixels)) in rows.iter().zip(plain).enumerate() {
            let (name, file, is_fit) = &kinds[row.label as usize];
            assert_eq!(row.file().is_some(), *is_fit, "{name}");
            let (taken, rest) = row.image.split_at(if *is_fit { file.len() } else { VIEW });
            assert!(rest.iter().all(|byte| *byte == 0) && row.image.len() == 20_032, "{name}");
            if !is_fit {
                assert_eq!(taken, pixels, "{name}");
                let numbers = [&[0, VIEW as i32][..], &[0; 14]].concat();
                assert_eq!(row.numbers, numbers, "{name}");
                continue;
            }
            assert_eq!(taken, file, "{name}");
            let pipeline = pipeline().with_exif_orientation(!exif.is_empty());
            check_numbers(row, name, &pipeline, prf.rng(position as u64, 0, 0));
            assert_eq!(run(&pipeline, row), pixels, "{name}");
        }
    }
}

/// The pixels of a device's row, decoded here with the numbers beside it.
fn run(pipeline: &ImagePipeline, row: &Row) -> Vec<u8> {
    let bytes: Vec<u8> = row.numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let DeviceRow::Jpeg(len_bytes, draw) = DeviceRow::read(&bytes) else { panic!("a device's row") };
    let (mut decoder, mut scratch) = (ImageDecoder::new(ImageLimits::default()), Scratch::new());
    let (file, mut pixels) = (&row.image[..len_bytes as usize], vec![0; pipeline.view_bytes()]);
    pipeline.run_drawn(file, &mut decoder, &mut scratch, &draw, &mut pixels).expect("a sound image");
    pixels
}

/// The numbers one by one, each from where it comes.
fn check_numbers(row: &Row, name: &str, pipeline: &ImagePipeline, rng: RowRng) {
    let turned = name == "turned" && pipeline.applies_exif_orientation();
    let (width, height) = if turned { (44, 60) } else { (60, 44) };
    let upright = ImageInfo { width, height, format: forebay::decode::ImageFormat::Jpeg };
    let draw = pipeline.draw(upright, &mut Draws(rng));
    let crop = [draw.crop.left, draw.crop.top, draw.crop.width, draw.crop.height].map(|side| side as i32);
    let file = [1, row.file().expect("a file").len() as i32, 60, 44, if turned { 6 } else { 1 }];
    let rest = [8, 8, 0, 0, draw.flip.into(), 3, if name == "grey" { 1 } else { 3 }];
    assert_eq!(row.numbers, [&file[..], &crop, &rest].concat(), "{name}");
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

#[tokio::test(flavor = "multi_thread")]
async fn zeros_around_a_small_image_and_each_filter_have_their_numbers() {
    let node = Node::with(1, 1, Faults::default(), |files| files[0] = jpeg(0));
    let numbers = async |ops: &str| {
        let spec = spec(&device(1.0, 0)).replace(OPS, ops);
        epoch(&node, &spec, &OpenAs { rows: 1, ..OpenAs::default() }).await.concat()[0].numbers.clone()
    };
    // 16 x 12 pixels in the middle of 64 x 64.
    let centred = numbers(r#"{"centerCrop":{"size":[64]}}"#).await;
    assert_eq!(centred[5..14], [0, 0, 16, 12, 12, 16, -26, -24, 0]);
    let side = |more: &str| format!(r#"{{"resize":{{"size":[64,48]{more}}}}}"#);
    for (number, more) in [
        (0, r#","interpolation":"INTERPOLATION_NEAREST""#),
        (1, r#","interpolation":"INTERPOLATION_NEAREST_EXACT""#),
        (2, r#","antialias":false"#),
        (3, ""),
        (4, r#","interpolation":"INTERPOLATION_BICUBIC","antialias":false"#),
        (5, r#","interpolation":"INTERPOLATION_BICUBIC""#),
    ] {
        let numbers = numbers(&side(more)).await;
        assert_eq!((&numbers[9..13], numbers[14]), (&[64, 48, 0, 0][..], number), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_longer_than_its_row_has_room_for_is_decoded_by_the_cpu() {
    let kinds = kinds();
    let (len_bytes, node) = (kinds[0].1.len() as u32, of(&kinds[..1], 1));
    for (max_bytes, kind) in [(len_bytes, 1), (len_bytes - 1, 0)] {
        let (spec, open) = (spec(&device(1.0, max_bytes)), OpenAs { rows: 1, ..OpenAs::default() });
        assert_eq!(epoch(&node, &spec, &open).await.concat()[0].numbers[0], kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_ends_the_session_with_the_same_words_as_without_a_device() {
    let whole = jpeg(3);
    let halved = whole[..whole.len() / 2].to_vec();
    let tableless = without_last(&whole, 0xDB);
    for bad in [halved, tableless, b"no image at all".to_vec(), whole[..30].to_vec(), Vec::new()] {
        let node = Node::with(4, 1, Faults::default(), |files| {
            files.fill(whole.clone());
            files[2].clone_from(&bad);
        });
        let open = OpenAs { rows: 4, ..OpenAs::default() };
        let plain = support::fault(&mut node.open(&spec(""), &open)).await;
        let with = support::fault(&mut node.open(&spec(&device(1.0, 1 << 16)), &open)).await;
        assert_eq!((plain.kind, plain.object.as_deref()), (Kind::Corrupt, Some("2.png")));
        let words = |fault: &Fault| {
            (fault.kind, fault.object.clone(), Fault { hint: None, ..fault.clone() }.to_string())
        };
        assert_eq!(words(&with), words(&plain));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_refuses_a_devices_file_as_it_refuses_any_other() {
    let stored = vec![("0.png".to_owned(), jpeg(0))];
    let limits = ImageLimits { pixels_max: 100, ..ImageLimits::default() };
    let node = Node::bounded(stored, 1, Faults::default(), limits, std::time::Duration::from_secs(3600));
    let fault = support::fault(
        &mut node.open(&spec(&device(1.0, 1 << 16)), &OpenAs { rows: 1, ..OpenAs::default() }),
    )
    .await;
    assert!(fault.to_string().contains("pixels_max"), "{fault}");
    let hint = fault.hint.unwrap_or_default();
    assert!(
        hint.contains("raise pixels_max") && !hint.contains("mask"),
        "only what such a job can do: {hint}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_fail_for_a_while_change_nothing() {
    let faults = Faults { seed: 3, io_error_per_mille: 200, missing_per_mille: 50, ..Faults::default() };
    let mut digests = Vec::new();
    for faults in [Faults::default(), faults] {
        let node = Node::with(40, 2, faults, |files| {
            files.iter_mut().enumerate().for_each(|(index, file)| *file = jpeg(index));
        });
        let open = OpenAs { rows: 16, ..OpenAs::default() };
        let batches = support::epoch(&mut node.open(&spec(&device(0.5, 1 << 16)), &open)).await;
        digests.push((digest_of(&batches), batches.iter().map(|b| b.tensors.clone()).collect::<Vec<_>>()));
    }
    assert!(digests[0] == digests[1]);
}
