//! `forebay show` as a person runs it: over a folder, over a spec, over a daemon that knows the job.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn photos(root: &Path) -> PathBuf {
    for index in 0..12_u8 {
        let class = root.join("photos").join(["cat", "dog"][usize::from(index % 2)]);
        std::fs::create_dir_all(&class).expect("a folder");
        let pixel = |x: u32, y: u32| image::Rgb([index * 20, (x * 6) as u8, (y * 6) as u8]);
        image::RgbImage::from_fn(40, 32, pixel).save(class.join(format!("{index}.png"))).expect("an image");
    }
    root.join("photos")
}

fn show(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command
        .arg("show")
        .args(words)
        .current_dir(folder)
        .env_remove("FOREBAY_SOCKET")
        .output()
        .expect("it runs")
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn a_folder_becomes_a_sheet_and_a_table() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let output = show(dir.path(), &["photos", "--rows", "3", "--batch", "4", "--step", "1", "--original"]);
    let table = done(&output);
    assert!(table.contains("RandomResizedCrop(224)") && table.contains("rows 4 to 6 of 12"), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains(".png")).count(), 3, "{table}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("forebay-show.png"));
    let sheet = image::open(dir.path().join("forebay-show.png")).expect("a PNG");
    assert!(sheet.width() > 3 * 224);

    let named = show(
        dir.path(),
        &["photos", "-o", "named.png", "--transform", "eval", "--dtype", "float32", "--tile", "64"],
    );
    assert!(done(&named).contains("shown de-normalised · shown in 64×64 pixels"));
    assert!(image::open(dir.path().join("named.png")).is_ok());
}

#[test]
fn the_sheet_can_go_to_standard_output_and_the_rows_come_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let output = show(dir.path(), &["photos", "--rows", "2", "-o", "-"]);
    assert!(output.status.success() && image::load_from_memory(&output.stdout).is_ok());
    assert!(String::from_utf8_lossy(&output.stderr).contains("crop"));
    let rows: Value = serde_json::from_str(&done(&show(dir.path(), &["photos", "--json"]))).expect("JSON");
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row["images"][0]["width"] == 40 && row["state"] == "ROW_STATE_OK"));
}

#[test]
fn what_is_beyond_the_end_or_not_there_is_named_with_the_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    photos(dir.path());
    let said = refused(&show(dir.path(), &["photos", "--batch", "4", "--step", "3"]));
    assert!(said.contains("has 3, of 4 rows each") && said.contains("hint: steps go from 0 to 2"), "{said}");
    assert!(refused(&show(dir.path(), &["nowhere"])).contains("hint:"));
    assert!(refused(&show(dir.path(), &["photos", "--field", "mask"])).contains("its images are image"));
    assert!(refused(&show(dir.path(), &["photos", "-o", "no/such.png"])).contains("write no/such.png"));
    assert!(refused(&show(dir.path(), &[])).contains("--spec"));
    std::fs::write(dir.path().join("job.json"), "{\"sauces\":[]}").expect("a file");
    assert!(refused(&show(dir.path(), &["--spec", "job.json"])).contains("JobSpec"));
}

#[test]
fn any_job_can_be_shown_by_its_spec_and_by_its_digests_on_a_daemon() {
    let dir = tempfile::tempdir().expect("a folder");
    let photos = photos(dir.path());
    let spec = format!(
        r#"{{"sources":[{{"folder":{{"path":"{}"}}}}],"fields":[{{"name":"picture","column":"image","transforms":[{{"centerCrop":{{"size":[16]}}}}]}}]}}"#,
        photos.display()
    );
    std::fs::write(dir.path().join("job.json"), spec).expect("a file");
    let own = done(&show(dir.path(), &["--spec", "job.json"]));
    assert!(own.contains("picture: CenterCrop(16)") && own.contains("in order"), "{own}");

    let socket = dir.path().join("node.sock");
    let config = format!("[[root]]\npath = {:?}\n", dir.path());
    std::fs::write(dir.path().join("node.toml"), config).expect("a file");
    let mut node = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["serve", "--config", "node.toml", "--socket", "node.sock"])
        .current_dir(dir.path())
        .spawn()
        .expect("a daemon");
    while !socket.exists() {
        assert!(node.try_wait().expect("a child").is_none(), "the daemon ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let first_sheet = std::fs::read(dir.path().join("forebay-show.png")).expect("a sheet");
    let theirs = show(dir.path(), &["--spec", "job.json", "--socket", "node.sock", "-o", "theirs.png"]);
    assert_eq!(done(&theirs), own);
    assert_eq!(
        std::fs::read(dir.path().join("theirs.png")).expect("a sheet"),
        first_sheet,
        "the same row, the same sheet"
    );

    let request: forebay_proto::v1::JobSpec =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("job.json")).expect("a file"))
            .expect("a spec");
    let job = forebay::operate::connect(&socket).expect("a connection").resolve(request).expect("a job");
    let digests = ["--order-digest", &job.order_digest, "--content-digest", &job.content_digest];
    let words = [&["--socket", "node.sock", "--rows", "8"][..], &digests[..]].concat();
    assert_eq!(done(&show(dir.path(), &words)), own);
    let unknown = [
        "--socket",
        "node.sock",
        "--order-digest",
        &job.content_digest,
        "--content-digest",
        &job.content_digest,
    ];
    assert!(refused(&show(dir.path(), &unknown)).contains("not known here"));
    node.kill().expect("it is ours");
    node.wait().expect("it ended");
}
