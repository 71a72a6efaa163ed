//! Saved states: alone, and inside other files.

use forebay::state::read;
use forebay_plan::{Differences, STATE_BYTES_MAX, State};

/// One state, or two with 0xFF between them: what parses comes back from what it writes, and any two can be compared.
pub fn state(input: &[u8]) -> bool {
    let [saved, now] = super::parts(input);
    let (saved, now) = (parsed(saved), parsed(now));
    if let Some(saved) = &saved {
        let now = now.as_ref().unwrap_or(saved);
        let found = saved.differences(now);
        assert_eq!(found.order.is_empty(), saved.order == now.order, "an order differs and says where");
        assert_eq!(
            found.content.is_empty(),
            saved.content == now.content,
            "a content differs and says where"
        );
        assert_eq!(now.differences(now), Differences::default());
    }
    saved.is_some()
}

/// A file that may hold a state, behind a key and 0xFF or without one: what is found is a state.
pub fn state_file(input: &[u8]) -> bool {
    let found = match input.iter().position(|byte| *byte == 0xFF) {
        Some(at) => read::parse(&input[at + 1..], std::str::from_utf8(&input[..at]).ok()),
        None => read::parse(input, None),
    };
    let Ok(state) = found else { return false };
    let json = state.to_json().expect("what was read can be written");
    assert_eq!(read::parse(json.as_bytes(), None).expect("our own record"), state);
    true
}

fn parsed(bytes: &[u8]) -> Option<State> {
    let state = State::from_json(std::str::from_utf8(bytes).ok()?).ok()?;
    let json = state.to_json().expect("what was read can be written");
    assert!(json.len() <= STATE_BYTES_MAX, "{} bytes", json.len());
    assert_eq!(State::from_json(&json).expect("our own record"), state);
    Some(state)
}
