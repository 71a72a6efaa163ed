//! An export is a function of its recipe, and whole or not there.

use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::catalog::dataset::place_beside;
use crate::catalog::{CatalogLimits, SourceSpec, Table, open};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: ExportArgs,
}

fn args(words: &[&str]) -> ExportArgs {
    Line::try_parse_from([&["export"], words].concat()).unwrap().args
}

/// Seven photographs in two classes, indexed; the place of the data.
fn photos(dir: &Path) -> String {
    let root = dir.join("photos");
    let picture = |shade: u8| {
        let (mut bytes, rgb) = (Vec::new(), vec![shade; 40 * 30 * 3]);
        jpeg_encoder::Encoder::new(&mut bytes, 90)
            .encode(&rgb, 40, 30, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        bytes
    };
    for (class, count) in [("ant", 4), ("bee.x", 3)] {
        fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..count {
            fs::write(root.join(class).join(format!("a.{number}.jpg")), picture(number * 40 + 20)).unwrap();
        }
    }
    indexed(&SourceSpec::Folder { root: root.clone(), extensions: None }, &root)
}

/// Makes a data set beside the data; the place of both.
fn indexed(spec: &SourceSpec, root: &Path) -> String {
    let place = root.to_str().unwrap().to_owned();
    let snapshot = open(spec, &CatalogLimits::default()).unwrap();
    let dataset = Dataset::create(&place_beside(&place)).unwrap();
    dataset
        .commit(|head| {
            let mut next = head.clone();
            next.root.clone_from(&place);
            next.classes = snapshot.class_map().unwrap().names().to_vec();
            next.admit_columns(&Table::of(&snapshot))?;
            next.samples.push(dataset.put(&snapshot)?);
            Ok(Some(next))
        })
        .unwrap();
    place
}

/// One long clip and two short ones, whose frames are all different, indexed; the place of the data.
fn clips(dir: &Path) -> String {
    let root = dir.join("clips");
    for (clip, frames) in [("a/long", 300), ("a/short", 3), ("b.x/other.y", 2)] {
        fs::create_dir_all(root.join(clip)).unwrap();
        for number in 1..=frames {
            let rgb: Vec<_> = (0..8 * 6 * 3).map(|at| (at * number) as u8).collect();
            let mut bytes = Vec::new();
            let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            image::ImageEncoder::write_image(encoder, &rgb, 8, 6, image::ExtendedColorType::Rgb8).unwrap();
            fs::write(root.join(clip).join(format!("f{number:05}.png")), bytes).unwrap();
        }
    }
    indexed(&SourceSpec::Frames { root: root.clone(), extensions: None, classes: true }, &root)
}

#[test]
fn a_long_clip_is_the_same_bytes_whatever_the_threads_and_its_bad_frame_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (clips(dir.path()), |name: &str| dir.path().join(name).to_str().unwrap().to_owned());
    let (one, many) = (out("one"), out("many"));
    for (out, jobs) in [(&one, "1"), (&many, "16")] {
        run(&args(&[&place, out, "--format", "files", "--crop", "4", "--jobs", jobs])).unwrap();
    }
    let made = files(Path::new(&one));
    assert_eq!(made, files(Path::new(&many)));
    assert_eq!(made.len(), 300 + 3 + 2 + 3);
    let list = String::from_utf8(made["samples.csv"].clone()).unwrap();
    assert_eq!(
        list,
        "clip,clip.frames,label\na/long,f{00001..00300}.jpg,0\na/short,f{00001..00003}.jpg,0\nb.x/other.y,f{00001..00002}.jpg,1\n"
    );
    fs::write(dir.path().join("clips/a/long/f00200.png"), b"no image").unwrap();
    let fault =
        run(&args(&[&place, &out("bad"), "--format", "files", "--crop", "4", "--jobs", "16"])).unwrap_err();
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("a/long")));
    assert!(fault.line().contains("frame 199 (f00200.png)"), "{}", fault.line());
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            found.extend(files(&path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    found
}

fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn shards_hold_files_as_they_are_with_class_and_columns_under_keys_without_dots() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (photos(dir.path()), dir.path().join("out"));
    let told = run(&args(&[&place, out.to_str().unwrap(), "--shard-samples", "5"])).unwrap();
    assert!(told.starts_with("7 samples of commit 1 in "), "{told}");
    let made = files(&out);
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        ["CACHEDIR.TAG", "recipe.json", "shard-000000.tar", "shard-000001.tar"]
    );
    let second = members(&made["shard-000001.tar"]);
    let names: Vec<_> = second.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(&names[..3], ["bee.x/a_1.jpg", "bee.x/a_1.cls", "bee.x/a_1.json"]);
    assert_eq!(second[0].1, fs::read(dir.path().join("photos/bee.x/a.1.jpg")).unwrap());
    assert_eq!(second[1].1, b"1");
    let columns: serde_json::Value = serde_json::from_slice(&second[2].1).unwrap();
    assert_eq!(columns, json!({ "key": "bee.x/a.1.jpg", "class": "bee.x", "label": 1 }));
}

#[test]
fn the_same_again_is_the_same_bytes_whatever_the_threads_and_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let place = photos(dir.path());
    let out = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second, third) = (out("first"), out("second"), out("third"));
    let words = ["--resize", "20", "--shard-samples", "3", "--encode", "png"];
    run(&args(&[&[&place, first.as_str(), "--jobs", "1"], &words[..]].concat())).unwrap();
    run(&args(&[&[&place, second.as_str(), "--jobs", "5"], &words[..]].concat())).unwrap();
    // Stopped after its first shard, in the middle of the second.
    fs::remove_file(Path::new(&second).join("shard-000002.tar")).unwrap();
    fs::write(Path::new(&second).join("shard-000001.tar.part"), b"half").unwrap();
    fs::remove_file(Path::new(&second).join("shard-000001.tar")).unwrap();
    fs::rename(Path::new(&second).join("recipe.json"), Path::new(&second).join("recipe.json.part")).unwrap();
    run(&args(&[&[&place, second.as_str()], &words[..]].concat())).unwrap();
    run(&args(&["--again", &first, &third])).unwrap();
    assert_eq!(files(Path::new(&first)), files(Path::new(&second)));
    assert_eq!(files(Path::new(&first)), files(Path::new(&third)));
    let shard = members(&files(Path::new(&third))["shard-000000.tar"]);
    let image = image::load_from_memory_with_format(&shard[0].1, image::ImageFormat::Png).unwrap();
    assert_eq!((image.width(), image.height()), (26, 20));
}

#[test]
fn files_keep_their_folders_and_the_list_that_comes_with_them_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (photos(dir.path()), dir.path().join("out"));
    run(&args(&[&place, out.to_str().unwrap(), "--format", "files", "--crop", "16"])).unwrap();
    let list = SourceSpec::List {
        file: out.join("samples.csv"),
        root: out.clone(),
        format: None,
        columns: Vec::new(),
    };
    let listed = open(&list, &CatalogLimits::default()).unwrap();
    assert_eq!((listed.len(), listed.key(6).into_owned()), (7, b"bee.x/a_2.jpg".to_vec()));
    let file = fs::read(out.join("bee.x/a_2.jpg")).unwrap();
    let info = crate::decode::ImageDecoder::new(crate::decode::ImageLimits::default()).info(&file).unwrap();
    assert_eq!((info.width, info.height), (16, 16));
}

#[test]
fn another_export_is_never_written_over_and_what_is_corrupt_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (photos(dir.path()), dir.path().join("out"));
    let out = out.to_str().unwrap();
    run(&args(&[&place, out])).unwrap();
    run(&args(&[&place, out])).unwrap();
    let other = run(&args(&[&place, out, "--resize", "8"])).unwrap_err();
    assert!(other.message.ends_with("/out holds something else"), "{}", other.message);
    fs::write(dir.path().join("photos/ant/a.2.jpg"), b"no image").unwrap();
    let corrupt = run(&args(&[&place, &format!("{out}2"), "--resize", "8"])).unwrap_err();
    assert_eq!((corrupt.kind, corrupt.object.as_deref()), (Kind::Corrupt, Some("ant/a.2.jpg")));
    assert!(!Path::new(&format!("{out}2")).join("recipe.json").exists());
}
