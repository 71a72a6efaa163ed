//! A batch shown is the batch delivered: its pixels, its rows, its crops; and looking at it is bounded.

use std::path::Path;

use forebay::config::{Allow, Config, RootConfig};
use forebay::error::{Fault, Kind};
use forebay::run::Daemon;
use forebay::server::Peer;
use forebay_plan::{EpochPrf, Purpose};
use forebay_proto::v1::{self, RowState};
use image::RgbImage;
use tokio::sync::mpsc;

/// Photographs of 20 to 49 columns and 24 rows, in two classes, each pixel telling where it is.
fn photos(root: &Path) {
    for index in 0..30_u8 {
        photo(index).save(file(root, index)).expect("an image");
    }
}

fn photo(index: u8) -> RgbImage {
    let pixel = |x: u32, y: u32| image::Rgb([index * 8, (x * 5) as u8, (y * 10) as u8]);
    RgbImage::from_fn(20 + u32::from(index), 24, pixel)
}

fn file(root: &Path, index: u8) -> std::path::PathBuf {
    let class = root.join(["ant", "bee"][usize::from(index % 2)]);
    std::fs::create_dir_all(&class).expect("a folder");
    class.join(format!("{index:02}.png"))
}

/// `image`: the transforms and more of the image field; `policy` of bad samples.
async fn resolved(daemon: &Daemon, root: &Path, image: &str, policy: &str) -> v1::Job {
    let json = format!(
        r#"{{"spec":{{"sources":[{{"folder":{{"path":"{}"}}}}],"order":{{"sampler":"SAMPLER_SHUFFLED","seed":"3"}},
            "fields":[{{"name":"image",{image}}},{{"name":"label"}}],
            "on_bad_sample":{{"policy":"BAD_SAMPLE_POLICY_{policy}"}}}}}}"#,
        root.display()
    );
    let request = serde_json::from_str(&json).expect("a request");
    daemon.service.resolve(Peer::Parent, request).await.expect("a job").job.expect("a job")
}

fn key(job: &v1::Job, epoch: u64, first_row: u64, rows: u32) -> v1::BatchKey {
    let (order_digest, content_digest) = (job.order_digest.clone(), job.content_digest.clone());
    v1::BatchKey { order_digest, content_digest, epoch, first_row, rows, stage: 0 }
}

async fn show(daemon: &Daemon, request: v1::ShowRequest) -> Result<v1::ShowReply, Fault> {
    daemon.service.show(Peer::Parent, request).await
}

/// The tensors of a batch as bytes.
async fn fetched(daemon: &Daemon, key: v1::BatchKey) -> Vec<Vec<u8>> {
    let (sender, mut receiver) = mpsc::channel(1024);
    daemon.service.fetch(Peer::Parent, key, sender).await.expect("a batch");
    let head = receiver.recv().await.expect("a head").expect("a head").head.expect("the head comes first");
    let mut bytes = Vec::new();
    while let Some(reply) = receiver.recv().await {
        bytes.extend(reply.expect("bytes").data);
    }
    let part = |part: &v1::TensorPart| {
        bytes[part.offset_bytes as usize..(part.offset_bytes + part.len_bytes) as usize].to_vec()
    };
    head.tensors.iter().map(part).collect()
}

fn sheet(reply: &v1::ShowReply) -> RgbImage {
    image::load_from_memory_with_format(&reply.png, image::ImageFormat::Png).expect("a PNG").into_rgb8()
}

fn tile(sheet: &RgbImage, row: &v1::RowReport) -> RgbImage {
    let place = row.tile.expect("it is on the sheet");
    image::imageops::crop_imm(sheet, place.left, place.top, place.width, place.height).to_image()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pixels_on_the_sheet_are_the_batchs_whatever_their_type_and_order() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let crop = r#"{"randomResizedCrop":{"size":[9,11]}},{"randomHorizontalFlip":{}}"#;
    let plain = resolved(&daemon, dir.path(), &format!(r#""transforms":[{crop}]"#), "FAIL").await;
    let bytes = fetched(&daemon, key(&plain, 4, 20, 7)).await;
    let samples: Vec<_> = bytes[0].chunks_exact(9 * 11 * 3).collect();
    for image in [
        format!(r#""transforms":[{crop}]"#),
        format!(r#""transforms":[{crop}],"memory_order":"MEMORY_ORDER_ROW_MAJOR""#),
        format!(r#""transforms":[{crop}],"dtype":"DTYPE_FLOAT32""#),
        format!(r#""transforms":[{crop},{{"normalize":{{}}}}],"memory_order":"MEMORY_ORDER_ROW_MAJOR""#),
    ] {
        let job = resolved(&daemon, dir.path(), &image, "FAIL").await;
        for original in [false, true] {
            let key = Some(key(&job, 4, 20, 7));
            let request = v1::ShowRequest { key, tile_px: 11, original, ..Default::default() };
            let reply = show(&daemon, request).await.expect("a sheet");
            let drawn = sheet(&reply);
            for (row, sample) in reply.rows.iter().zip(&samples) {
                assert_eq!(tile(&drawn, row).as_raw(), sample, "{image}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_tells_its_own_key_label_crop_and_flip() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let crop = r#""transforms":[{"centerCrop":{"size":[10,8]}},{"randomHorizontalFlip":{}}]"#;
    let job = resolved(&daemon, dir.path(), crop, "FAIL").await;
    let labels = fetched(&daemon, key(&job, 1, 0, 30)).await.swap_remove(1);
    let request = v1::ShowRequest { key: Some(key(&job, 1, 0, 30)), tile_px: 10, ..Default::default() };
    let reply = show(&daemon, request).await.expect("a sheet");
    let drawn = sheet(&reply);
    for (number, row) in reply.rows.iter().enumerate() {
        let [image] = row.images.as_slice() else { panic!("one image: {row:?}") };
        let stored = image::open(dir.path().join(&row.key)).expect("the file of that key").into_rgb8();
        assert_eq!((image.width, image.height), stored.dimensions());
        let part = image.crop.expect("a crop");
        let mut cut =
            image::imageops::crop_imm(&stored, part.left, part.top, part.width, part.height).to_image();
        if image.flip {
            image::imageops::flip_horizontal_in_place(&mut cut);
        }
        assert_eq!(tile(&drawn, row).as_raw(), cut.as_raw(), "{row:?}");
        let label = i64::from_ne_bytes(labels[number * 8..][..8].try_into().expect("8 bytes"));
        assert_eq!((row.values[0].name.as_str(), row.values[0].text.clone()), ("label", label.to_string()));
        assert_eq!(row.class_name, ["ant", "bee"][label as usize]);
        assert_eq!((row.epoch, row.position, row.state(), row.valid), (1, number as u64, RowState::Ok, true));
    }
    let flips = reply.rows.iter().filter(|row| row.images[0].flip).count();
    assert!((1..30).contains(&flips), "{flips} of 30 are flipped");
    assert_eq!(reply.text.lines().count(), 3 + 1 + 30, "head, columns, rows: {}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_is_told_by_its_own_draw_and_they_stand_in_a_grid() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let crop =
        r#""transforms":[{"randomResizedCrop":{"size":[9,11]}},{"randomHorizontalFlip":{}}],"views":3"#;
    let job = resolved(&daemon, dir.path(), crop, "FAIL").await;
    let images = fetched(&daemon, key(&job, 0, 0, 10)).await.swap_remove(0);
    let request =
        v1::ShowRequest { key: Some(key(&job, 0, 0, 10)), tile_px: 23, original: true, ..Default::default() };
    let reply = show(&daemon, request).await.expect("a sheet");
    let drawn = sheet(&reply);
    for (row, views) in reply.rows.iter().zip(images.chunks_exact(3 * 9 * 11 * 3)) {
        assert_eq!(row.images.iter().map(|image| image.view).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(row.images[0].crop != row.images[1].crop || row.images[1].crop != row.images[2].crop);
        let tile = tile(&drawn, row);
        assert_eq!(tile.dimensions(), (23, 19));
        for (view, (x, y)) in views.chunks_exact(9 * 11 * 3).zip([(0, 0), (12, 0), (0, 10)]) {
            assert_eq!(image::imageops::crop_imm(&tile, x, y, 11, 9).to_image().as_raw(), view);
        }
    }
    assert!(
        reply.text.contains("3 views of uint8 9×11×3") && reply.text.contains("crop 2"),
        "{}",
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_samples_are_shown_as_the_policy_has_them_and_named() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    for index in [4, 9, 17] {
        std::fs::write(file(dir.path(), index), b"\xff\xd8\xff no image").expect("a file");
    }
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let crop = r#""transforms":[{"resize":{"size":[8,8]}}]"#;
    for (policy, state) in
        [("SUBSTITUTE", RowState::Substituted), ("MASK", RowState::Masked), ("FAIL", RowState::Failed)]
    {
        let job = resolved(&daemon, dir.path(), crop, policy).await;
        let request =
            v1::ShowRequest { key: Some(key(&job, 0, 0, 32)), original: true, ..Default::default() };
        let reply = show(&daemon, request).await.expect("a sheet, whatever the policy");
        let marked: Vec<_> = reply.rows[..30].iter().filter(|row| row.state() != RowState::Ok).collect();
        assert_eq!(marked.len(), 3, "{policy}");
        for row in marked {
            assert_eq!(row.state(), state);
            assert!(!row.bad.is_empty() && row.bad[0].attempt == 0 && !row.bad[0].reason.is_empty());
            assert!(["ant/04.png", "bee/09.png", "bee/17.png"].contains(&row.bad[0].key.as_str()));
            let stands = state == RowState::Substituted;
            assert_eq!((row.valid, row.images.len(), row.attempt > 0), (stands, usize::from(stands), stands));
            assert_eq!(row.key == row.bad[0].key, !stands);
        }
        assert!(reply.rows[30..].iter().all(|row| !row.valid && row.position < 2));
        if policy != "FAIL" {
            let valid = fetched(&daemon, key(&job, 0, 0, 32)).await.swap_remove(2);
            let shown: Vec<_> = reply.rows.iter().map(|row| u8::from(row.valid)).collect();
            assert_eq!(shown, valid, "{policy}");
        }
        assert!(!sheet(&reply).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_images_has_rows_and_no_sheet() {
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let lines = (0..9).map(|n| format!(r#"{{"age":{n},"words":"no {n}","where":[{n}.5,1,2,3,4,5,6,7,8]}}"#));
    let records = v1::Records { json_lines: lines.collect::<Vec<_>>().join("\n"), ..Default::default() };
    let source = v1::Source { origin: Some(v1::source::Origin::Records(records)), ..Default::default() };
    let spec = Some(v1::JobSpec { sources: vec![source], ..Default::default() });
    let request = v1::ResolveRequest { spec, ..Default::default() };
    let job = daemon.service.resolve(Peer::Parent, request).await.expect("a job").job.expect("a job");
    let request = v1::ShowRequest { key: Some(key(&job, 0, 7, 3)), original: true, ..Default::default() };
    let reply = show(&daemon, request).await.expect("rows");
    assert!(reply.png.is_empty() && reply.text.contains("nothing to draw"), "{}", reply.text);
    let values = |row: &v1::RowReport| row.values.iter().map(|value| value.text.clone()).collect::<Vec<_>>();
    assert_eq!(values(&reply.rows[1]), ["8", "no 8", "[8.5, 1, 2, 3, 4, 5, 6, 7, ... 9 in all]"]);
    assert_eq!((reply.rows[2].state(), reply.rows[2].position), (RowState::Repeated, 0));
    let field = "image".to_owned();
    let request = v1::ShowRequest { key: Some(key(&job, 0, 7, 3)), field, ..Default::default() };
    let fault = show(&daemon, request).await.expect_err("it has no image");
    assert!(fault.kind == Kind::Invalid && fault.hint.is_some_and(|hint| hint.contains("none")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_bounded_and_only_for_those_who_may_read_it() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let allow = Allow { uids: vec![1000], gids: Vec::new() };
    let roots = vec![RootConfig { path: dir.path().to_owned(), allow }];
    let daemon = Daemon::start(Config { roots, ..Config::default() }).expect("a daemon");
    let job = resolved(&daemon, dir.path(), r#""transforms":[{"centerCrop":{"size":[8]}}]"#, "FAIL").await;
    let request = |rows, tile_px, field: &str, epoch| v1::ShowRequest {
        key: Some(key(&job, epoch, 0, rows)),
        field: field.to_owned(),
        tile_px,
        original: false,
        ..Default::default()
    };
    for (wrong, said) in [
        (request(0, 0, "", 0), "rows 0"),
        (request(257, 0, "", 0), "rows 257"),
        (request(1, 513, "", 0), "tile_px 513"),
        (request(1, 0, "label", 0), "no image"),
        (request(1, 0, "", u64::MAX), "epoch"),
        (v1::ShowRequest::default(), "key"),
    ] {
        let fault = show(&daemon, wrong).await.expect_err(said);
        assert!(fault.kind == Kind::Invalid && fault.message.contains(said), "{fault}");
    }
    let shown = show(&daemon, request(256, 512, "image", 0)).await.expect("the most that may be asked for");
    assert_eq!((shown.rows.len(), shown.rows[30].state()), (256, RowState::Repeated));

    let other = Peer::Process { uid: 1001, gid: 1001 };
    let denied = daemon.service.show(other, request(1, 0, "", 0)).await.expect_err("not theirs");
    assert_eq!(denied.kind, Kind::Denied);
    let owner = Peer::Process { uid: 1000, gid: 1000 };
    daemon.service.show(owner, request(1, 0, "", 0)).await.expect("theirs");

    let known =
        v1::JobRef { order_digest: job.order_digest.clone(), content_digest: job.content_digest.clone() };
    let again = v1::ResolveRequest { job: Some(known), ..Default::default() };
    let told = daemon.service.resolve(Peer::Parent, again.clone()).await.expect("it is known").job;
    assert_eq!(told, Some(job.clone()));
    assert_eq!(daemon.service.resolve(other, again).await.expect_err("not theirs").kind, Kind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_the_sheet_shows_without_decoding_and_is_bounded_too() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let job =
        resolved(&daemon, dir.path(), r#""transforms":[{"randomResizedCrop":{"size":[9]}}]"#, "SUBSTITUTE")
            .await;
    let ask = async |rows, detail: v1::ShowDetail| {
        let key = Some(key(&job, 2, 25, rows));
        show(&daemon, v1::ShowRequest { key, detail: detail.into(), ..Default::default() }).await
    };
    let made = ask(8, v1::ShowDetail::Rows).await.expect("rows");
    let planned = ask(8, v1::ShowDetail::Plan).await.expect("rows");
    assert!(made.png.is_empty() && planned.png.is_empty());
    let facts = |reply: &v1::ShowReply| -> Vec<_> {
        let of = |row: &v1::RowReport| {
            (row.position, row.key.clone(), row.valid, row.images.clone(), row.values.clone())
        };
        reply.rows.iter().map(of).collect()
    };
    assert_eq!(facts(&made), facts(&planned));
    let states = |reply: &v1::ShowReply| reply.rows.iter().map(v1::RowReport::state).collect::<Vec<_>>();
    let (sure, unsure, filler) = (RowState::Ok, RowState::Planned, RowState::Repeated);
    assert_eq!(states(&made), [sure, sure, sure, sure, sure, filler, filler, filler]);
    assert_eq!(states(&planned), [unsure, unsure, unsure, unsure, unsure, filler, filler, filler]);

    // What a ledger says of a row is followed, and its last substitute is the end.
    let own = planned.rows[0].key.clone();
    let line = |attempt| v1::BadSample {
        epoch: 2,
        position: 25,
        attempt,
        key: own.clone(),
        reason: "cut".to_owned(),
    };
    for (attempts, state, attempt) in
        [(1, RowState::Substituted, 1), (3, RowState::Substituted, 3), (9, RowState::Failed, 8)]
    {
        let bad = (0..attempts).rev().map(line).collect();
        let request = v1::ShowRequest {
            key: Some(key(&job, 2, 25, 1)),
            detail: v1::ShowDetail::Plan.into(),
            bad,
            ..Default::default()
        };
        let row = show(&daemon, request).await.expect("a row").rows.remove(0);
        assert_eq!((row.state(), row.attempt, row.bad.len()), (state, attempt, attempts as usize));
        assert_ne!(row.key, own, "another sample stands there");
    }
    assert_eq!(ask(4097, v1::ShowDetail::Plan).await.expect_err("too many").kind, Kind::Invalid);
    assert_eq!(ask(257, v1::ShowDetail::Rows).await.expect_err("too many").kind, Kind::Invalid);
    assert_eq!(ask(4096, v1::ShowDetail::Plan).await.expect("rows").rows.len(), 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_device_decodes_are_told_and_shown_as_the_cpu_decodes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    for index in 0..20 {
        let (photo, mut encoded) = (photo(index), Vec::new());
        let (width, height) = (photo.width() as u16, photo.height() as u16);
        let encoder = jpeg_encoder::Encoder::new(&mut encoded, 90);
        encoder.encode(photo.as_raw(), width, height, jpeg_encoder::ColorType::Rgb).expect("a JPEG");
        // Whole by its markers, and broken within: what a device alone finds out.
        if index == 7 {
            let tables = encoded.windows(2).position(|pair| pair == [0xFF, 0xC4]).expect("tables");
            encoded[tables + 5..][..16].fill(0xFF);
        }
        std::fs::write(file(dir.path(), index), encoded).expect("a file");
    }
    let daemon = Daemon::start(Config::default()).expect("a daemon");
    let crop =
        r#""transforms":[{"randomResizedCrop":{"size":[9,11]}},{"randomHorizontalFlip":{}}]"#.to_owned();
    let plain = resolved(&daemon, dir.path(), &crop, "FAIL").await;
    let device = crop + r#","deviceDecode":{"ratio":0.8,"maxBytes":4000}"#;
    let device = resolved(&daemon, dir.path(), &device, "FAIL").await;
    for original in [false, true] {
        let ask = |job| v1::ShowRequest {
            key: Some(key(job, 1, 0, 30)),
            tile_px: 11,
            original,
            ..Default::default()
        };
        let expected = show(&daemon, ask(&plain)).await.expect("a sheet");
        let reply = show(&daemon, ask(&device)).await.expect("a sheet");
        let (drawn, wanted) = (sheet(&reply), sheet(&expected));
        let mut jpegs = 0;
        for (row, other) in reply.rows.iter().zip(&expected.rows) {
            assert_eq!((&row.key, &row.images, row.state()), (&other.key, &other.images, other.state()));
            if row.key == "bee/07.png" {
                let prf = EpochPrf::new(3, Purpose::DeviceDecode, 1);
                assert!(prf.is_among(row.position, 0.8), "else this says nothing");
            }
            assert_eq!(row.state() == RowState::Failed, row.key == "bee/07.png", "{row:?}");
            assert_eq!(tile(&drawn, row), tile(&wanted, other), "{}", row.key);
            let told = row.values.iter().find(|value| value.name == "image.decode").map(|value| &value.text);
            jpegs += u32::from(told.is_some_and(|text| text.starts_with("JPEG of ")));
        }
        assert!((9..20).contains(&jpegs), "{jpegs} of 19 sound JPEGs");
        assert!(reply.text.contains("a device decodes 0.8 of the rows"), "{}", reply.text);
    }
    let planned = v1::ShowRequest {
        key: Some(key(&device, 1, 0, 30)),
        detail: v1::ShowDetail::Plan.into(),
        ..Default::default()
    };
    assert!(show(&daemon, planned).await.is_ok_and(|reply| reply.rows.len() == 30));
}
