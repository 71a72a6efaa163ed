//! The project's invariants that can be checked by reading its files.
//!
//! A rule is a function from one file to what is wrong in it; beside it stand a text it must refuse and one it must
//! let pass, so that a rule that has gone blind fails too.

mod rules;
mod tree;

use rules::RULES;
use tree::{File, Tree};

#[test]
fn the_tree_keeps_every_rule() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for rule in RULES {
        for file in &tree.files {
            found.extend(
                (rule.check)(file, &tree)
                    .into_iter()
                    .map(|wrong| format!("{}: {wrong} [{}]", file.path, rule.name)),
            );
        }
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_rule_refuses_its_bad_example_and_passes_its_good_one() {
    for rule in RULES {
        let (path, text) = rule.bad;
        let tree = Tree::of(&[(path, text), ("dev", "case $command in\ndemo | test) ;;\nesac\n")]);
        let found = (rule.check)(&tree.files[0], &tree);
        assert!(!found.is_empty(), "{}: the bad example passes", rule.name);
        let (path, text) = rule.good;
        let tree = Tree::of(&[(path, text), ("dev", "case $command in\ndemo | test) ;;\nesac\n")]);
        let found = (rule.check)(&tree.files[0], &tree);
        assert!(found.is_empty(), "{}: the good example is refused: {found:?}", rule.name);
    }
}

#[test]
fn the_walk_sees_the_files_that_the_rules_are_about() {
    let tree = Tree::read();
    let sees = |path: &str| tree.files.iter().any(|file| file.path == path);
    for path in ["dev", "README.md", "Cargo.toml", "loader/plan/src/lib.rs", "loader/daemon/src/synth/mod.rs"]
    {
        assert!(sees(path), "{path}");
    }
    assert!(!tree.files.iter().any(|file| file.path.starts_with("target/")));
}

#[test]
fn comments_and_test_modules_are_no_code() {
    let text = "let a = 1; // b.unwrap()\n/// c.unwrap()\nlet url = \"http://x\";\n#[cfg(test)]\nmod tests {\n    d.unwrap();\n}\n";
    let file = File::new("loader/daemon/src/a.rs", text);
    let code: Vec<_> = file.code_lines().map(|(_, line)| line.trim_end().to_owned()).collect();
    assert_eq!(code, ["let a = 1;", "", "let url = \"http://x\";"]);
}
