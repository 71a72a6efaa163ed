//! Real processes that index into one place at once: nothing is lost, nothing comes twice, no label changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn forebay(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(words).current_dir(dir);
    command
}

#[track_caller]
fn told(dir: &Path, words: &[&str]) -> String {
    let output = forebay(dir, words).output().expect("forebay runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn ended(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Each class with its label and how many samples it has.
fn classes(dir: &Path) -> BTreeMap<String, (u64, u64)> {
    let shown: Value = serde_json::from_str(&told(dir, &["dataset", "show", "set", "--json"])).expect("JSON");
    let classes = shown["classes"].as_array().expect("a list").iter().map(|class| {
        let number = |name: &str| class[name].as_u64().expect("a number");
        (class["name"].as_str().expect("a name").to_owned(), (number("label"), number("samples")))
    });
    classes.collect()
}

#[test]
fn indexers_that_race_over_one_place_lose_nothing() {
    let rounds = if std::env::var("FOREBAY_TEST_FULL").is_ok_and(|full| !full.is_empty() && full != "0") {
        50
    } else {
        10
    };
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    std::fs::create_dir(dir.join("photos")).expect("made");
    let (mut wanted, mut known) = (BTreeSet::new(), BTreeMap::new());
    for round in 0..rounds {
        // Each has files and a class of its own, a class that both find, and a file that both find.
        let racers = ["a", "z"].map(|racer| {
            let mut list = format!("both-{round}/both.jpg\n");
            for file in 0..3 {
                let _ = writeln!(list, "{racer}-{round}/{file}.jpg\nboth-{round}/{racer}{file}.jpg");
            }
            wanted.extend(list.lines().map(str::to_owned));
            let name = format!("{racer}.txt");
            std::fs::write(dir.join(&name), list).expect("written");
            let words = ["index", "photos", "--dataset", "set", "--from", &name, "--json"];
            let spawned = forebay(dir, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            spawned.expect("forebay runs")
        });
        let [first, second] = racers.map(ended);
        let commits = [&first, &second].map(|racer| racer["commit"].as_u64().expect("a number"));
        assert_eq!(
            BTreeSet::from(commits),
            BTreeSet::from([2 * round + 1, 2 * round + 2]),
            "one commit each"
        );
        let added = [&first, &second].map(|racer| racer["counts"]["added"].as_u64().expect("a number"));
        assert_eq!(added.iter().sum::<u64>(), 13, "what both found came in once: {added:?}");
        let now = classes(dir);
        assert!(known.iter().all(|(class, is)| now.get(class) == Some(is)), "{known:?} {now:?}");
        assert_eq!(now.len() as u64, 3 * (round + 1));
        known = now;
    }
    let keys = told(dir, &["dataset", "files", "set", "--keys"]);
    assert_eq!(keys.lines().count(), wanted.len(), "none twice");
    assert_eq!(keys.lines().map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
    for (class, (_, samples)) in known {
        let own = wanted.iter().filter(|key| key.starts_with(&format!("{class}/")));
        assert_eq!(samples, own.count() as u64, "{class}");
    }
}
