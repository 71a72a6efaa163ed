//! A state reads back, of every version; what is none is refused by name; what differs is told.

use std::error::Error as _;

use super::*;
use crate::{CONTENT_PARTS_BYTES_MAX, ORDER_PARTS_BYTES_MAX, Part};

fn parts(texts: &[(&str, &str)]) -> Parts {
    let parts: Vec<_> = texts.iter().map(|(name, text)| Part::of_text(name, text)).collect();
    Parts::fit(&parts, CONTENT_PARTS_BYTES_MAX)
}

fn state() -> State {
    State {
        version: 2,
        job_id: "run-7".into(),
        snapshot: Digest::from_bytes([1; 32]),
        order: Digest::from_bytes([2; 32]),
        content: Digest::from_bytes([3; 32]),
        seed: 42,
        epoch: 1,
        position: 96,
        rows: Some(480),
        order_parts: Some(parts(&[("sampler", "shuffled")])),
        content_parts: Some(parts(&[("numerics", "n"), ("field image", "RandomResizedCrop(224); uint8")])),
        commits: None,
    }
}

fn of_commits(commits: &str) -> State {
    State { version: STATE_VERSION, commits: Some(commits.into()), ..state() }
}

fn first_version() -> State {
    State { version: 1, rows: None, order_parts: None, content_parts: None, ..state() }
}

#[test]
fn a_state_of_any_version_reads_back_from_its_json() {
    for state in [state(), first_version(), of_commits("7"), of_commits("3,0,12")] {
        let json = state.to_json().expect("a plain job id");
        assert_eq!(State::from_json(&json).expect("our own record"), state);
    }
    assert_eq!(state().cursor(), Cursor { epoch: 1, position: 96 });
    assert_eq!(state().at(Cursor { epoch: 2, position: 3 }).cursor(), Cursor { epoch: 2, position: 3 });
}

#[test]
fn the_largest_state_is_under_one_kilobyte_even_with_pythons_spaces() {
    let text = "x".repeat(1000);
    let fill = |bytes_max| Some(Parts::fit(&[Part::of_text(&"n".repeat(40), &text)], bytes_max));
    let largest = State {
        job_id: "x".repeat(128),
        seed: u64::MAX,
        rows: Some(u64::MAX),
        order_parts: fill(ORDER_PARTS_BYTES_MAX),
        content_parts: fill(CONTENT_PARTS_BYTES_MAX),
        ..of_commits("99999999999")
    };
    let largest = largest.at(Cursor { epoch: u64::MAX, position: u64::MAX });
    let spaced = |state: &State| {
        let json = state.to_json().expect("a plain job id");
        json.replace("\":", "\": ").replace(",\"", ", \"")
    };
    assert!(spaced(&largest).len() < 1024, "{} bytes", spaced(&largest).len());
    assert!(spaced(&largest).len() > 950, "{} bytes: the parts have more room", spaced(&largest).len());
    let commits = Some("1,".repeat(STATE_COMMITS_BYTES_MAX / 2).trim_end_matches(',').to_owned());
    let mixture = spaced(&State { commits, ..largest });
    assert!(mixture.len() < STATE_BYTES_MAX, "{} bytes", mixture.len());
    State::from_json(&mixture).expect("our own record");
}

#[test]
fn a_job_id_that_is_no_plain_name_is_neither_written_nor_read() {
    for job_id in ["", "a b", "a/b", "ü", "\"", &"x".repeat(129)] {
        let bad = State { job_id: job_id.into(), ..first_version() };
        assert!(matches!(bad.to_json(), Err(StateError::JobId { .. })), "{job_id}");
        let json = serde_json::to_string(&bad).expect("still JSON");
        assert!(matches!(State::from_json(&json), Err(StateError::JobId { .. })), "{job_id}");
    }
}

#[test]
fn an_oversized_record_is_refused_before_it_is_parsed() {
    let padded = format!("{}{}", state().to_json().expect("a plain job id"), " ".repeat(STATE_BYTES_MAX));
    assert!(matches!(State::from_json(&padded), Err(StateError::TooLarge { len_bytes_max: 1224, .. })));
}

#[test]
fn what_is_no_record_is_told_from_a_record_of_another_version() {
    for text in ["", "null", "[]", "[1,2]", "{}", "{\"version\":\"1\"}", "{\"version\":1", "{\"version\":-1}"]
    {
        assert!(matches!(State::from_json(text), Err(StateError::NotARecord { .. })), "{text}");
    }
    for (text, version) in [("{\"version\":4,\"later\":true}", 4), ("{\"version\":0}", 0)] {
        let error = State::from_json(text).expect_err("another version");
        assert!(matches!(error, StateError::Version { found, known: 3 } if found == version));
        assert!(error.to_string().contains("resume with the forebay that wrote it"));
    }
}

#[test]
fn a_missing_a_mistyped_and_an_unknown_field_are_named() {
    let json = state().to_json().expect("a plain job id");
    let broken = [
        (json.replace("\"seed\":42,", ""), "seed"),
        (json.replace("\"seed\":42", "\"seed\":\"42\""), "string"),
        (json.replace("\"seed\":42", "\"seed\":-1"), "-1"),
        (json.replace("\"seed\":42", "\"seed\":1.5"), "1.5"),
        (json.replace("\"seed\":42", "\"seed\":42,\"world\":8"), "world"),
        (json.replace("\"seed\":42", "\"seed\":42,\"seed\":42"), "seed"),
        (json.replace("0101", "01"), "64 lower-case hexadecimal digits"),
        (json.replace("\"rows\":480,", ""), "missing field `rows`"),
        (json.replace("\"version\":2", "\"version\":1"), "unknown field `rows`"),
        (json.replace("\"order_parts\":{", "\"order_parts\":{\"x\":\"y\","), "part \"x\""),
        (json.replace("\"version\":2", "\"version\":3"), "missing field `commits`"),
        (json.replace("\"rows\"", "\"commits\":\"1\",\"rows\""), "unknown field `commits` in version 2"),
    ];
    let commits = ["", "0", "0,0", "1,", "01", "-1", "1, 2", "99999999999999999999", &"1,".repeat(101)];
    let commits = commits.map(|commits| {
        let json = serde_json::to_string(&of_commits(commits)).expect("still JSON");
        (json, "is not a number a source")
    });
    let broken = broken.into_iter().chain(commits);
    for (text, fact) in broken {
        let error = State::from_json(&text).expect_err("a broken record");
        assert!(matches!(error, StateError::Field { .. }), "{error:?}");
        let source = error.source().expect("the parser's word").to_string();
        assert!(source.contains(fact), "{source:?} does not say {fact:?}");
    }
}

#[test]
fn a_state_of_the_same_job_may_go_on_under_another_id_and_at_another_position() {
    let now = State { job_id: "run-8".into(), epoch: 0, position: 0, ..state() };
    assert_eq!(state().differences(&now), Differences::default());
    assert_eq!(first_version().differences(&now), Differences::default());
}

#[test]
fn another_order_is_told_by_snapshot_seed_and_parts() {
    let other = Digest::from_bytes([9; 32]);
    let told = |now: State| state().differences(&State { order: other, ..now }).order;
    let snapshot = State { snapshot: other, rows: Some(481), seed: 43, ..state() };
    let expected =
        ["snapshot 010101010101 with 480 rows is now 090909090909 with 481 rows", "seed 42 is now 43"];
    assert_eq!(told(snapshot), expected);
    let later = State { snapshot: other, ..of_commits("5,0") };
    let words = of_commits("3,0").differences(&State { order: other, ..later }).order;
    assert_eq!(words[1], "commit 3,0 is now 5,0");
    let sequential = State { order_parts: Some(parts(&[("sampler", "sequential")])), ..state() };
    assert_eq!(told(sequential), ["sampler: shuffled is now sequential"]);
    assert_eq!(told(first_version()), ["the sampler, or a detail that the states do not keep"]);
    assert!(told(State { content: other, ..state() }).len() == 1, "and the content beside it");
}

#[test]
fn another_content_is_told_by_its_parts() {
    let other = Digest::from_bytes([9; 32]);
    let told = |now: State| {
        let differences = state().differences(&State { content: other, ..now });
        assert!(differences.order.is_empty());
        differences
            .content
            .into_iter()
            .map(|found| format!("{}: {}", found.part, found.words))
            .collect::<Vec<_>>()
    };
    let smaller = parts(&[("numerics", "n"), ("field image", "RandomResizedCrop(192); uint8")]);
    let smaller = State { content_parts: Some(smaller), ..state() };
    assert_eq!(told(smaller), ["field image: RandomResizedCrop(224) is now RandomResizedCrop(192)"]);
    for silent in [state(), first_version()] {
        assert_eq!(told(silent), ["content: differs in a detail that the states do not keep"]);
    }
}
