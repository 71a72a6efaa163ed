//! What an order or a content is made of, a few words a part: so that two states can say where they differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestBuilder};

/// The most bytes that the parts of an order take in a state, as Python's `json.dumps` writes them.
pub const ORDER_PARTS_BYTES_MAX: usize = 100;
/// The most bytes that the parts of a content take.
pub const CONTENT_PARTS_BYTES_MAX: usize = 330;

/// Hexadecimal digits that stand for a part's value; a person tells parts apart by them, no decision hangs on them.
const DIGITS: usize = 8;
/// Two pairs of quotes, `: ` and `, `.
const ENTRY_BYTES: usize = 8;
/// A text cut shorter than this says nothing.
const TEXT_BYTES_MIN: usize = 12;
const CUT: &str = "...";
/// Stands for the parts that found no room.
const OTHERS: &str = "others";

/// One part of an order or a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, such as `sampler` or `field image`.
    pub name: String,
    /// Names its value.
    pub digest: Digest,
    /// The value as a person would write it, in pieces between `; `.
    pub text: String,
}

impl Part {
    /// A part whose text is its whole value.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), digest: digest(text.as_bytes()), text: text.to_owned() }
    }

    /// A part with the value `bytes`, of which `text` tells people.
    pub fn new(name: &str, bytes: &[u8], text: String) -> Self {
        Self { name: name.to_owned(), digest: digest(bytes), text }
    }
}

fn digest(bytes: &[u8]) -> Digest {
    DigestBuilder::new("part").field("value", bytes).finish()
}

/// Parts as a state keeps them: name -> 8 digits of the digest, then the text or its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Parts(BTreeMap<String, String>);

/// A part that is not the same in two states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartDifference {
    /// The part's name, by which it can be waived.
    pub part: String,
    /// What it was and what it is now.
    pub words: String,
}

impl Parts {
    /// Keeps as much of `parts` as fits `bytes_max`: every text up to one length, then only digests, and where even
    /// these are too many, one digest for the last ones together. Everything kept is printable ASCII without quotes.
    pub fn fit(parts: &[Part], bytes_max: usize) -> Self {
        let parts: Vec<_> =
            parts.iter().map(|part| Part { text: plain(&part.text), ..part.clone() }).collect();
        let longest = parts.iter().map(|part| part.text.len()).max().unwrap_or(0);
        let entries = |text_bytes| parts.iter().map(move |part| entry(part, text_bytes)).collect::<Vec<_>>();
        let longest = longest.clamp(TEXT_BYTES_MIN, bytes_max.max(TEXT_BYTES_MIN));
        let lengths = (TEXT_BYTES_MIN..=longest).rev().chain([0]);
        let fitting = lengths.map(entries).find(|entries| size_bytes(entries) <= bytes_max);
        Self(fitting.unwrap_or_else(|| fold(&parts, bytes_max)).into_iter().collect())
    }

    /// Each part's name and text, by name. The text is empty where it found no room.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), text_of(value)))
    }

    /// Each part's name and its value as it is kept, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts that are not the same in `self`, the saved state, and `now`, by name.
    pub fn differences(&self, now: &Self) -> Vec<PartDifference> {
        let mut found = BTreeMap::new();
        for (name, value) in &self.0 {
            match now.0.get(name) {
                Some(other) if value[..DIGITS] == other[..DIGITS] => {}
                Some(other) => drop(found.insert(name, changed(text_of(value), text_of(other)))),
                // It may be one of the others.
                None if now.0.contains_key(OTHERS) || name == OTHERS => {}
                None => drop(found.insert(name, "was there and is not now".to_owned())),
            }
        }
        for name in now.0.keys().filter(|name| !self.0.contains_key(*name)) {
            if !self.0.contains_key(OTHERS) && name != OTHERS {
                found.insert(name, "is new".to_owned());
            }
        }
        found.into_iter().map(|(part, words)| PartDifference { part: part.clone(), words }).collect()
    }
}

impl TryFrom<BTreeMap<String, String>> for Parts {
    type Error = String;

    fn try_from(parts: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in &parts {
            let digits = value.as_bytes().get(..DIGITS).unwrap_or_default();
            let named =
                digits.len() == DIGITS && digits.iter().all(|digit| b"0123456789abcdef".contains(digit));
            let separate = value.len() == DIGITS || value.as_bytes().get(DIGITS) == Some(&b' ');
            if name.is_empty() || !(named && separate) || plain(name) != *name || plain(value) != *value {
                let start: String = name.chars().take(64).collect();
                return Err(format!("part {start:?} is not a name with {DIGITS} digits and a plain text"));
            }
        }
        Ok(Self(parts))
    }
}

/// Printable ASCII without quotes and backslashes, so that JSON and Python's repr write it as it is.
fn plain(text: &str) -> String {
    let fine = |c: char| (c == ' ' || c.is_ascii_graphic()) && !"\"'\\".contains(c);
    text.chars().map(|c| if fine(c) { c } else { '?' }).collect()
}

fn entry(part: &Part, text_bytes: usize) -> (String, String) {
    let mut value = part.digest.to_string();
    value.truncate(DIGITS);
    if !part.text.is_empty() && part.text.len() <= text_bytes {
        value = format!("{value} {}", part.text);
    } else if text_bytes >= TEXT_BYTES_MIN && !part.text.is_empty() {
        value = format!("{value} {}{CUT}", &part.text[..text_bytes - CUT.len()]);
    }
    (plain(&part.name), value)
}

fn size_bytes(entries: &[(String, String)]) -> usize {
    entries.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
}

/// The digests of the first parts, and one for all others.
fn fold(parts: &[Part], bytes_max: usize) -> Vec<(String, String)> {
    let others = |rest: &[Part]| {
        let all = rest.iter().fold(DigestBuilder::new("parts"), |builder, part| {
            builder.field(&part.name, part.digest.as_bytes())
        });
        entry(&Part { name: OTHERS.to_owned(), digest: all.finish(), text: String::new() }, 0)
    };
    let kept = |count: usize| {
        let first = parts[..count].iter().map(|part| entry(part, 0));
        first.chain([others(&parts[count..])]).collect::<Vec<_>>()
    };
    (0..parts.len()).rev().map(kept).find(|entries| size_bytes(entries) <= bytes_max).unwrap_or_default()
}

fn text_of(value: &str) -> &str {
    value.get(DIGITS + 1..).unwrap_or("")
}

/// What differs between two texts: without the pieces that both begin with and those that both end with.
fn changed(saved: &str, now: &str) -> String {
    if saved.is_empty() || now.is_empty() {
        return "is not what it was; the state has no room for how".to_owned();
    }
    let (saved, now): (Vec<_>, Vec<_>) = (saved.split("; ").collect(), now.split("; ").collect());
    let head = saved.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let (saved, now) = (&saved[head..], &now[head..]);
    let tail = saved.iter().rev().zip(now.iter().rev()).take_while(|(a, b)| a == b).count();
    let (saved, now) = (saved[..saved.len() - tail].join("; "), now[..now.len() - tail].join("; "));
    match (saved.is_empty(), now.is_empty()) {
        (true, true) => "differs in a detail that the state does not keep".to_owned(),
        (true, false) => format!("{now} was added"),
        (false, true) => format!("{saved} was dropped"),
        (false, false) => format!("{saved} is now {now}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(texts: &[(&str, &str)]) -> Parts {
        let parts: Vec<_> = texts.iter().map(|(name, text)| Part::of_text(name, text)).collect();
        Parts::fit(&parts, CONTENT_PARTS_BYTES_MAX)
    }

    fn words(saved: &[(&str, &str)], now: &[(&str, &str)]) -> Vec<String> {
        let differences = parts(saved).differences(&parts(now));
        differences.into_iter().map(|found| format!("{}: {}", found.part, found.words)).collect()
    }

    #[test]
    fn a_difference_is_told_by_the_pieces_that_changed() {
        let saved = "RandomResizedCrop(224); RandomHorizontalFlip; uint8";
        for (now, expected) in [
            (
                "RandomResizedCrop(192); RandomHorizontalFlip; uint8",
                "RandomResizedCrop(224) is now RandomResizedCrop(192)",
            ),
            ("RandomResizedCrop(224); uint8", "RandomHorizontalFlip was dropped"),
            ("RandomResizedCrop(224); RandomHorizontalFlip; Normalize; uint8", "Normalize was added"),
        ] {
            assert_eq!(words(&[("image", saved)], &[("image", now)]), [format!("image: {expected}")]);
        }
        assert_eq!(
            words(&[("a", "x"), ("b", "y")], &[("b", "y"), ("c", "z")]),
            ["a: was there and is not now", "c: is new"]
        );
        assert!(words(&[("a", "x"), ("b", "y")], &[("a", "x"), ("b", "y")]).is_empty());
    }

    #[test]
    fn what_the_texts_do_not_tell_is_still_a_difference() {
        let of = |value: &[u8], text: &str| Parts::fit(&[Part::new("image", value, text.into())], 300);
        let same_words = of(b"1", "crop").differences(&of(b"2", "crop"));
        assert_eq!(same_words[0].words, "differs in a detail that the state does not keep");
        let no_words = of(b"1", "").differences(&of(b"2", "crop"));
        assert_eq!(no_words[0].words, "is not what it was; the state has no room for how");
        assert!(of(b"1", "crop").differences(&of(b"1", "another word for it")).is_empty());
    }

    #[test]
    fn long_texts_are_cut_before_any_is_left_out_and_parts_are_folded_last() {
        let cut = parts(&[("image", &"x".repeat(400)), ("label", "value")]);
        let texts: Vec<_> = cut.iter().collect();
        assert!(texts[0].1.ends_with("x...") && texts[0].1.len() > 200);
        assert_eq!(texts[1], ("label", "value"));
        let names: Vec<_> = (0..32).map(|index| format!("field number{index:02}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "value")).collect();
        let folded = parts(&many);
        assert!(folded.iter().all(|(_, text)| text.is_empty()) && folded.0.contains_key("others"));
        let mut other = many.clone();
        other[31].1 = "int64";
        assert_eq!(folded.differences(&parts(&other)).len(), 1);
        assert_eq!(folded.differences(&parts(&other))[0].part, "others");
    }

    #[test]
    fn what_is_no_part_is_refused_by_name() {
        for json in [
            r#"{"image":"1a2b3c4"}"#,
            r#"{"image":"1A2B3C4D text"}"#,
            r#"{"image":"1a2b3c4dtext"}"#,
            r#"{"image":"1a2b3c4d \u00e9"}"#,
            r#"{"ima\"ge":"1a2b3c4d"}"#,
            r#"{"":"1a2b3c4d"}"#,
            r#"{"image":"ééééé"}"#,
        ] {
            let error = serde_json::from_str::<Parts>(json).expect_err(json).to_string();
            assert!(error.contains("part \""), "{error}");
        }
        assert!(serde_json::from_str::<Parts>(r#"{"image":"1a2b3c4d","a b":"1a2b3c4d text"}"#).is_ok());
    }

    proptest! {
        #[test]
        fn any_parts_fit_and_read_back(texts in proptest::collection::vec((".{1,70}", ".{0,300}"), 0..40)) {
            let given: Vec<_> = texts.iter().map(|(name, text)| Part::of_text(name, text)).collect();
            for bytes_max in [ORDER_PARTS_BYTES_MAX, CONTENT_PARTS_BYTES_MAX] {
                let fitted = Parts::fit(&given, bytes_max);
                let entries: Vec<_> = fitted.0.clone().into_iter().collect();
                prop_assert!(size_bytes(&entries) <= bytes_max);
                prop_assert_eq!(fitted.is_empty(), given.is_empty());
                let json = serde_json::to_string(&fitted).expect("texts");
                prop_assert_eq!(serde_json::from_str::<Parts>(&json).expect("our own"), fitted);
            }
        }
    }
}
