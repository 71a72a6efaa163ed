//! What `forebay state` finds, tells, refuses and writes.

use std::path::PathBuf;

use forebay_plan::{CONTENT_PARTS_BYTES_MAX, Digest, Part, Parts};

use super::options::{DiffArgs, FindArgs, SeekArgs, ShowArgs};
use super::read::parse;
use super::*;

fn state(crop: u32) -> State {
    let parts =
        |name: &str, text: &str| Some(Parts::fit(&[Part::of_text(name, text)], CONTENT_PARTS_BYTES_MAX));
    State {
        version: 2,
        job_id: "run-7".into(),
        snapshot: Digest::from_bytes([1; 32]),
        order: Digest::from_bytes([2; 32]),
        content: Digest::from_bytes([u8::try_from(crop).expect("small"); 32]),
        seed: 42,
        epoch: 1,
        position: 96,
        rows: Some(480),
        order_parts: parts("sampler", "shuffled; order version 1"),
        content_parts: parts("field image", &format!("RandomResizedCrop({crop}); uint8")),
        commits: None,
    }
}

fn over_data_sets(commits: &str) -> State {
    State { version: forebay_plan::STATE_VERSION, commits: Some(commits.into()), ..state(24) }
}

fn text(state: &State) -> String {
    state.to_json().expect("a plain job id")
}

/// A folder with the states in files of these names.
fn files(states: &[(&str, &State)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a folder");
    let paths = states.iter().map(|(name, state)| {
        let path = dir.path().join(name);
        fs::write(&path, text(state)).expect("a file");
        path
    });
    let paths = paths.collect();
    (dir, paths)
}

fn diffed(saved: &State, now: &State, json: bool) -> (String, u8) {
    let (_dir, paths) = files(&[("saved.json", saved), ("now.json", now)]);
    let find = FindArgs { key: None, shown_as: vec![format!("{}=model.pt", paths[0].display())] };
    diff(&DiffArgs { saved: paths[0].clone(), now: paths[1].clone(), find, json }).expect("two states")
}

fn seek_args(file: PathBuf) -> SeekArgs {
    SeekArgs {
        file,
        find: FindArgs::default(),
        epoch: None,
        step: None,
        global_batch_size: None,
        row: None,
        output: "-".into(),
        force: false,
    }
}

fn sought(change: impl FnOnce(&mut SeekArgs)) -> Result<Cursor, Fault> {
    let mut args = seek_args("unread".into());
    change(&mut args);
    target(&state(224_u32 / 2), &args)
}

#[test]
fn a_state_is_found_alone_as_python_prints_it_and_inside_a_checkpoint() {
    let json = text(&state(24));
    for (file, key) in [
        (json.clone(), None),
        (json.replace('"', "'"), None),
        (format!("{{\"epoch\":3,\"loader\":{json}}}"), None),
        (format!("{{\"loader\":{json}}}"), Some("loader")),
        (format!("{{\"loaders\":[{json},{{\"train\":{json}}}]}}"), Some("loaders.1.train")),
    ] {
        assert_eq!(parse(file.as_bytes(), key).expect("a state"), state(24), "{file}");
    }
}

#[test]
fn a_file_without_a_state_says_what_it_is_and_what_to_do() {
    let json = text(&state(24));
    let two = format!("{{\"train\":{json},\"val\":{json}}}");
    for (file, key, message) in [
        (b"PK\x03\x04rest".to_vec(), None, "torch checkpoint"),
        (b"\x80\x02}".to_vec(), None, "torch checkpoint"),
        (b"\xff\xfe".to_vec(), None, "not text"),
        (json[..200].into(), None, "not JSON"),
        (b"[1]".to_vec(), None, "not an object"),
        (b"{\"model\":{}}".to_vec(), None, "no loader state"),
        (
            two.clone().into(),
            None,
            "2 loader states are in it: train, val\nhint: choose one, as in --key train",
        ),
        (two.into(), Some("test"), "nothing is called \"test\"\nhint: loader states: train, val"),
        (json.replace("\"seed\":42,", "").into(), None, "missing field `seed`"),
        (json.replace("\"version\":2", "\"version\":9").into(), None, "version 9"),
        (json.replace("\"seed\":42", &format!("\"seed\":1{}", "0".repeat(30))).into(), None, "wrong field"),
        (json.replace("run-7", "run 7").into(), None, "job id"),
        ([b"[".repeat(200), b"]".repeat(200)].concat(), None, "recursion"),
    ] {
        let fault = parse(&file, key).expect_err(message).to_string();
        assert!(fault.contains(message), "{fault:?} does not say {message:?}");
    }
}

#[test]
fn ten_thousand_broken_files_are_states_or_errors_and_never_a_panic() {
    let whole = format!("{{\"loader\":{}}}", text(&state(24))).into_bytes();
    let mut rng = forebay_plan::EpochPrf::new(1, forebay_plan::Purpose::Shuffle, 0).rng(0, 0, 0);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let mut file = whole.clone();
        for _ in 0..=rng.below(3) {
            let at = usize::try_from(rng.below(file.len().max(1) as u64)).expect("small");
            match rng.below(5) {
                0 => file.truncate(at),
                1 => file.insert(at.min(file.len()), b"{}[]\",:0e-9\\"[rng.below(12) as usize]),
                2 if at < file.len() => drop(file.remove(at)),
                3 => drop(file.splice(at..at, whole[..at.min(40)].iter().copied())),
                _ if at < file.len() => file[at] = rng.below(256) as u8,
                _ => {}
            }
        }
        match parse(&file, None) {
            Ok(state) => read += u32::from(!text(&state).is_empty()),
            Err(fault) => refused += u32::from(fault.kind == Kind::Invalid && !fault.message.is_empty()),
        }
    }
    assert_eq!(read + refused, 10_000);
    assert!(read > 50 && refused > 5000, "{read} read, {refused} refused: both happen");
}

#[test]
fn show_gives_the_place_and_the_parts() {
    let (_dir, paths) = files(&[("a.json", &state(24))]);
    let args = ShowArgs { file: paths[0].clone(), find: FindArgs::default(), json: false };
    let page = show(&args).expect("a state");
    for line in [
        "stands at      epoch 1, row 96 of 480",
        "  sampler      shuffled; order version 1",
        "  field image  RandomR",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert!(!page.contains("commit"), "{page}");
    let json = show(&ShowArgs { json: true, ..args }).expect("a state");
    assert_eq!(parse(json.as_bytes(), None).expect("our own"), state(24));
}

#[test]
fn show_gives_the_commits_of_data_sets_in_words() {
    for (commits, line) in
        [("12", "commit         12\n"), ("3,0,12", "commits        3 of source 0, 12 of source 2\n")]
    {
        let (_dir, paths) = files(&[("a.json", &over_data_sets(commits))]);
        let args = ShowArgs { file: paths[0].clone(), find: FindArgs::default(), json: false };
        let page = show(&args).expect("a state");
        assert!(page.contains(line), "{page}");
    }
    let (words, _) = diffed(
        &over_data_sets("3"),
        &State { order: Digest::from_bytes([9; 32]), ..over_data_sets("5") },
        false,
    );
    assert!(words.contains("order differs: commit 3 is now 5\n"), "{words}");
}

#[test]
fn diff_says_whether_a_job_goes_on_and_what_differs() {
    let (same, code) = diffed(&state(24), &state(24).at(Cursor { epoch: 9, position: 0 }), false);
    assert!(same.starts_with("model.pt: epoch 1, row 96 of 480, job run-7\n"), "{same}");
    assert!(code == 0 && same.ends_with("the job goes on from the saved state\n"), "{same}");
    let (content, code) = diffed(&state(24), &state(19), false);
    assert_eq!(code, 3);
    assert!(
        content.contains("field image: RandomResizedCrop(24) is now RandomResizedCrop(19)\n"),
        "{content}"
    );
    assert!(content.contains("allow_changed=\"field image\")"), "{content}");
    let other = State { order: Digest::from_bytes([9; 32]), seed: 43, ..state(19) };
    let (order, code) = diffed(&state(24), &other, false);
    assert!(code == 1 && order.contains("order differs: seed 42 is now 43\n"), "{order}");
    let (json, code) = diffed(&state(24), &state(19), true);
    let reply: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((reply["resumes"].as_str(), code), (Some("if_waived"), 3));
    assert_eq!(reply["content"][0]["part"], "field image");
}

#[test]
fn seek_goes_to_a_row_or_a_step_and_never_behind_the_epoch() {
    let at = |epoch, position| Cursor { epoch, position };
    assert_eq!(sought(|_| {}).expect("the start"), at(1, 0));
    assert_eq!(sought(|args| args.row = Some(479)).expect("a row"), at(1, 479));
    assert_eq!(sought(|args| (args.epoch, args.row) = (Some(3), Some(480))).expect("the end"), at(4, 0));
    let step = |step, size| sought(|args| (args.step, args.global_batch_size) = (Some(step), Some(size)));
    assert_eq!(step(3, 100).expect("a step"), at(1, 300));
    assert_eq!(step(5, 100).expect("the end of a partial epoch"), at(2, 0));
    let fault = step(12, 100).expect_err("5 steps").to_string();
    assert!(fault.starts_with("--step 12: an epoch has 5 steps of 100 rows\nhint: "), "{fault}");
    assert!(fault.contains("--epoch 2 --step 2"), "{fault}");
    assert!(sought(|args| args.row = Some(481)).is_err_and(|fault| fault.message.contains("480 rows")));
    assert!(step(u64::MAX, u32::MAX).is_err());
    assert!(sought(|args| (args.epoch, args.row) = (Some(u64::MAX), Some(480))).is_err());
}

#[test]
fn seek_writes_a_whole_file_and_over_none_unless_forced() {
    let (dir, paths) = files(&[("a.json", &state(24))]);
    let output = dir.path().join("b.json");
    let mut args = SeekArgs { row: Some(7), output: output.clone(), ..seek_args(paths[0].clone()) };
    assert!(seek(&args).expect("written").contains("epoch 1, row 7 of 480, where"));
    let fault = seek(&args).expect_err("it exists").to_string();
    assert!(fault.contains("the file exists\nhint: --force"), "{fault}");
    (args.row, args.force) = (Some(8), true);
    seek(&args).expect("written over");
    let written = parse(&fs::read(&output).expect("a file"), None).expect("a state");
    assert_eq!(written, state(24).at(Cursor { epoch: 1, position: 8 }));
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2, "nothing is left beside");
}
