//! Messages in the proto's two encodings.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message, as JSON where the input opens with a brace, else as protobuf. What is read in one says the same in both.
///
/// `None`: it is none. One with a choice that this version has no name for has no JSON, and is given as it is.
pub fn message<M: Message + Default + PartialEq + Serialize + DeserializeOwned>(input: &[u8]) -> Option<M> {
    let read: M = match input.first() {
        Some(b'{') => serde_json::from_slice(input).ok()?,
        _ => M::decode(input).ok()?,
    };
    let bytes = read.encode_to_vec();
    let Ok(json) = serde_json::to_string(&read) else { return Some(read) };
    // NaN is unlike itself, so the text is compared.
    let again = M::decode(bytes.as_slice()).expect("our own bytes");
    assert_eq!(serde_json::to_string(&again).expect("as before"), json);
    let again: M = serde_json::from_str(&json).expect("our own words");
    assert_eq!(serde_json::to_string(&again).expect("as before"), json);
    Some(read)
}
