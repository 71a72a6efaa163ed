//! Every seed of the fuzz targets through its parser, with this compiler: what fuzzing starts from stays true between runs.

#[allow(
    clippy::pedantic,
    dead_code,
    reason = "written for another workspace, with other lints and more callers"
)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a file").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn every_seed_is_answered_as_its_name_says() {
    let mut wrong = Vec::new();
    for (target, check) in TARGETS {
        let seeds = folder().join("seeds").join(target);
        let names = names(&seeds);
        assert!(names.iter().any(|name| name.starts_with("ok-")), "{target}: a seed that is accepted");
        assert!(names.iter().any(|name| name.starts_with("bad-")), "{target}: a seed that is refused");
        for name in names {
            let accepted = check(&fs::read(seeds.join(&name)).expect("a seed"));
            match (name.split('-').next(), accepted) {
                (Some("ok"), true) | (Some("bad"), false) | (Some("any"), _) => {}
                (Some("ok"), false) => wrong.push(format!("{target}/{name} is refused")),
                (Some("bad"), true) => wrong.push(format!("{target}/{name} is accepted")),
                _ => wrong.push(format!("{target}/{name} begins with none of ok-, bad- and any-")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_target_has_a_binary_and_every_binary_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let sources = names(&folder().join("fuzz_targets"));
    assert_eq!(sources, targets.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("a manifest");
    for target in targets {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
            "{target} is in Cargo.toml"
        );
    }
}
