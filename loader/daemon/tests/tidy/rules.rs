//! The rules, one function each, in the table [`RULES`].

use crate::tree::{File, Tree};

/// One invariant.
pub struct Rule {
    pub name: &'static str,
    /// What is wrong in the file; empty where nothing is.
    pub check: fn(&File, &Tree) -> Vec<String>,
    /// Path and text it must refuse.
    pub bad: (&'static str, &'static str),
    /// Path and text it must let pass.
    pub good: (&'static str, &'static str),
}

pub const RULES: &[Rule] = &[
    Rule {
        name: "the plan does no IO, reads no clock and draws nothing of its own",
        check: plan_is_pure,
        bad: ("loader/plan/src/order.rs", "//! O.\nlet seed = std::time::SystemTime::now();\n"),
        good: ("loader/plan/src/order.rs", "//! O. It never reads std::time.\nlet seed = seed;\n"),
    },
    Rule {
        name: "the plan forbids unsafe code",
        check: plan_forbids_unsafe,
        bad: ("loader/plan/src/lib.rs", "//! The plan.\n"),
        good: ("loader/plan/src/lib.rs", "//! The plan.\n#![forbid(unsafe_code)]\n"),
    },
    Rule {
        name: "a crate is named only where its effects are kept",
        check: crates_stay_in_their_place,
        bad: ("loader/daemon/src/session/mod.rs", "use tonic::Status;\n"),
        good: ("loader/daemon/src/server/mod.rs", "use tonic::Status;\n"),
    },
    Rule {
        name: "unsafe code lives in the listed files",
        check: unsafe_is_listed,
        bad: ("loader/daemon/src/catalog/mod.rs", "//! C.\nunsafe { call() }\n"),
        good: (
            "loader/daemon/src/gpu/pin.rs",
            "//! P.\n// SAFETY: the range is mapped.\nunsafe { call() }\n",
        ),
    },
    Rule {
        name: "unsafe code says why it is sound",
        check: unsafe_is_argued,
        bad: ("loader/daemon/src/gpu/pin.rs", "//! P.\nlet a = unsafe { call() };\n"),
        good: (
            "loader/daemon/src/gpu/pin.rs",
            "//! P.\n// SAFETY: the range is mapped.\nlet a = unsafe { call() };\n",
        ),
    },
    Rule {
        name: "plan, arena and proto know nothing of each other",
        check: crates_point_one_way,
        bad: ("loader/arena/Cargo.toml", "[dependencies]\nforebay-plan.workspace = true\n"),
        good: ("loader/daemon/Cargo.toml", "[dependencies]\nforebay-plan.workspace = true\n"),
    },
    Rule {
        name: "shipped code says what cannot happen instead of unwrapping",
        check: nothing_unwraps,
        bad: ("loader/daemon/src/args.rs", "//! A.\nlet a = b.unwrap();\n"),
        good: (
            "loader/daemon/src/args.rs",
            "//! A, which is never `b.unwrap()`.\nlet a = b.expect(\"set above\");\n",
        ),
    },
    Rule {
        name: "nothing is left to do in the code",
        check: nothing_is_left_open,
        bad: ("loader/daemon/src/args.rs", "//! A.\ntodo!()\n"),
        good: ("loader/daemon/src/args.rs", "//! A.\ndone()\n"),
    },
    Rule {
        name: "a file of code opens with what it is",
        check: files_open_with_a_sentence,
        bad: ("loader/daemon/src/args.rs", "use std::fs;\n"),
        good: ("loader/daemon/src/args.rs", "//! The command line as typed.\n"),
    },
    Rule {
        name: "a file of code has at most 500 lines",
        check: files_are_short,
        bad: ("loader/daemon/src/args.rs", TOO_LONG),
        good: ("loader/daemon/src/args.rs", "//! A.\n"),
    },
    Rule {
        name: "no file pins the tool chain",
        check: no_pinned_tool_chain,
        bad: ("rust-toolchain", "1.88\n"),
        good: ("README.md", "rust-toolchain\n"),
    },
    Rule {
        name: "the commands a page shows exist",
        check: shown_commands_exist,
        bad: ("README.md", "```sh\n./dev dmeo\n```\n"),
        good: ("README.md", "```sh\n./dev demo\nmake test\n```\n"),
    },
    Rule {
        name: "links within the project lead somewhere",
        check: links_resolve,
        bad: ("docs/guide.md", "See [the page](missing.md).\n"),
        good: ("docs/guide.md", "See [the script](../dev#top) and [the web](https://example.org/a).\n"),
    },
];

/// The findings of a rule that looks for words in code: each line that has one.
fn lines_with(file: &File, words: &[&str]) -> Vec<String> {
    let named = |line: &str| words.iter().copied().find(|word| has_word(line, word));
    file.code_lines().filter_map(|(number, line)| Some(format!("line {number}: {}", named(line)?))).collect()
}

/// Whether the line has the word, and not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let goes_on = before.is_some_and(is_name) && word.starts_with(is_name);
        !(goes_on || after.is_some_and(is_name) && word.ends_with(is_name))
    })
}

const PLAN_FORBIDS: [&str; 12] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::time",
    "SystemTime",
    "Instant",
    "thread_rng",
    "getrandom",
    "RandomState",
];

fn plan_is_pure(file: &File, _tree: &Tree) -> Vec<String> {
    let concerned = file.path.starts_with("loader/plan/src/") && file.is_shipped_rust();
    if concerned { lines_with(file, &PLAN_FORBIDS) } else { Vec::new() }
}

fn plan_forbids_unsafe(file: &File, _tree: &Tree) -> Vec<String> {
    let kept = file.path != "loader/plan/src/lib.rs" || file.text.contains("#![forbid(unsafe_code)]");
    if kept { Vec::new() } else { vec!["no #![forbid(unsafe_code)]".to_owned()] }
}

/// A crate, and the beginnings of the paths that may name it.
const KEPT_CRATES: [(&str, &[&str]); 6] = [
    ("tokio_uring", &["loader/daemon/src/storage/uring"]),
    ("cudarc", &["loader/daemon/src/gpu/"]),
    ("tonic", &["loader/daemon/src/server", "loader/daemon/src/delivery/remote", "proto/"]),
    ("anyhow", &["loader/daemon/src/main.rs"]),
    (
        "object_store",
        &[
            "loader/daemon/src/records/object.rs",
            "loader/daemon/src/storage/object",
            "loader/daemon/src/ingest/bucket.rs",
        ],
    ),
    ("rustls", &["loader/daemon/src/records/object.rs", "loader/daemon/src/storage/object"]),
];

fn crates_stay_in_their_place(file: &File, _tree: &Tree) -> Vec<String> {
    if !file.is_shipped_rust() {
        return Vec::new();
    }
    let elsewhere = |places: &[&str]| !places.iter().any(|place| file.path.starts_with(place));
    KEPT_CRATES
        .iter()
        .filter(|(_, places)| elsewhere(places))
        .flat_map(|(name, _)| lines_with(file, &[*name]))
        .collect()
}

/// The arena's mapping, the engine's ring, the GPU, the JPEG binding, the SIMD kernels, the system calls.
const UNSAFE_PLACES: [&str; 7] = [
    "loader/arena/src/map.rs",
    "loader/arena/src/sample.rs",
    "loader/daemon/src/storage/uring",
    "loader/daemon/src/gpu/",
    "loader/daemon/src/decode/jpeg/turbo",
    "loader/daemon/src/transform/kernels/",
    "loader/daemon/src/sys",
];

fn unsafe_is_listed(file: &File, _tree: &Tree) -> Vec<String> {
    let listed = UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place));
    if listed || !file.is_shipped_rust() { Vec::new() } else { lines_with(file, &["unsafe"]) }
}

/// Lines above an unsafe block among which its reason may stand.
const SAFETY_LINES: usize = 8;

fn unsafe_is_argued(file: &File, _tree: &Tree) -> Vec<String> {
    if !file.is_rust() || !file.path.contains("/src/") {
        return Vec::new();
    }
    let lines: Vec<_> = file.text.lines().collect();
    let argued = |number: usize| {
        let above = &lines[number.saturating_sub(SAFETY_LINES + 1)..number];
        above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
    };
    let opens = |line: &str| {
        has_word(line, "unsafe {") || has_word(line, "unsafe impl") || has_word(line, "unsafe fn")
    };
    let code = file.code_lines().filter(|(number, line)| opens(line) && !argued(*number));
    code.map(|(number, _)| format!("line {number}: unsafe without a // SAFETY: line")).collect()
}

fn crates_point_one_way(file: &File, _tree: &Tree) -> Vec<String> {
    let low = ["loader/plan/Cargo.toml", "loader/arena/Cargo.toml", "proto/Cargo.toml"];
    if !low.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let depends = |line: &&str| line.starts_with("forebay");
    file.text.lines().filter(depends).map(|line| format!("depends on {line}")).collect()
}

fn nothing_unwraps(file: &File, _tree: &Tree) -> Vec<String> {
    if file.is_shipped_rust() { lines_with(file, &[".unwrap()", ".unwrap_err()"]) } else { Vec::new() }
}

fn nothing_is_left_open(file: &File, _tree: &Tree) -> Vec<String> {
    if file.is_shipped_rust() { lines_with(file, &["todo!", "unimplemented!", "dbg!"]) } else { Vec::new() }
}

fn files_open_with_a_sentence(file: &File, _tree: &Tree) -> Vec<String> {
    let opening = match file.extension() {
        "rs" if file.is_shipped_rust() => "//! ",
        "py" if file.path.starts_with("client-py/src/") || file.path.starts_with("examples/") => "\"\"\"",
        _ => return Vec::new(),
    };
    if file.text.starts_with(opening) { Vec::new() } else { vec![format!("does not open with {opening}")] }
}

const LINES_MAX: usize = 500;

const TOO_LONG: &str = match std::str::from_utf8(&[b'\n'; LINES_MAX + 1]) {
    Ok(text) => text,
    Err(_) => panic!("newlines are UTF-8"),
};

fn files_are_short(file: &File, _tree: &Tree) -> Vec<String> {
    let lines = file.text.lines().count();
    let concerned = matches!(file.extension(), "rs" | "py");
    if concerned && lines > LINES_MAX { vec![format!("{lines} lines")] } else { Vec::new() }
}

fn no_pinned_tool_chain(file: &File, _tree: &Tree) -> Vec<String> {
    let pins = file.path == "rust-toolchain" || file.path == "rust-toolchain.toml";
    if pins { vec!["makes rustup download a tool chain".to_owned()] } else { Vec::new() }
}

/// In blocks of commands: `./dev X` is a branch of the script, and so is `make X`.
fn shown_commands_exist(file: &File, tree: &Tree) -> Vec<String> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let commands: Vec<_> =
        tree.text_of("dev").lines().filter_map(|line| line.strip_suffix(") ;;").or(branch(line))).collect();
    let exists =
        |command: &str| commands.iter().any(|line| line.split('|').any(|name| name.trim() == command));
    let shown = file.text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().skip_while(|word| word.contains('=')).collect();
        match words[..] {
            ["./dev" | "make", command, ..] => Some(command),
            _ => None,
        }
    });
    shown.filter(|command| !exists(command)).map(|command| format!("no command {command}")).collect()
}

/// `a | b) something`: the names of a branch.
fn branch(line: &str) -> Option<&str> {
    line.split_once(") ").map(|(names, _)| names)
}

fn links_resolve(file: &File, tree: &Tree) -> Vec<String> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let leads = |link: &&str| tree.holds(&joined(folder, link.split('#').next().unwrap_or("")));
    links_of(&file.text)
        .into_iter()
        .filter(|link| !leads(link))
        .map(|link| format!("dead link {link}"))
        .collect()
}

/// The targets of `[text](target)` that lie within the project, outside blocks of code.
fn links_of(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let targets = prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|link| !link.contains("://") && !link.starts_with('#') && !link.starts_with("mailto:"))
        .collect()
}

fn joined(folder: &str, link: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}
