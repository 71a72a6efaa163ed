//! The names of a clip's frames as one text: runs of numbers in braces, as a shell writes them.
//!
//! `{000001..000120}.jpg` is 120 names, `{7..11..2}.png` three. Several pieces are parted by a slash, which no name holds;
//! a piece behind an empty one is a name as it stands, whatever signs are in it. Twenty bytes say so much of a clip of any
//! length whose frames were numbered; names without a pattern take their own bytes.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// Digits of a number in a name: what 64 bits hold.
const DIGITS_MAX: usize = 19;

/// Frames of one clip.
pub const FRAMES_MAX: u64 = 1 << 31;

/// Names of frames, in order, at least one; checked when made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameNames<'a>(&'a str);

/// What is wrong with a text that should name frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no frames: {why}")]
pub struct BadNames {
    /// As it was given, or how it begins.
    text: String,
    why: &'static str,
}

impl<'a> FrameNames<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// [`BadNames`]: nothing, or something that no file in a folder is called.
    pub fn parse(text: &'a str) -> Result<Self, BadNames> {
        let bad = |why| BadNames { text: text.chars().take(80).collect(), why };
        let mut count = 0_u64;
        for piece in pieces(text) {
            count = count.saturating_add(piece.map_err(bad)?.len());
        }
        match count {
            0 => Err(bad("it is empty")),
            1..=FRAMES_MAX => Ok(Self(text)),
            _ => Err(bad("these are more than 2147483648")),
        }
    }

    /// A text that was read before.
    pub fn known(text: &'a str) -> Self {
        Self(text)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(self) -> u64 {
        self.pieces().map(Piece::len).sum()
    }

    /// Writes name number `number` behind what `path` holds.
    ///
    /// # Panics
    /// There are fewer.
    pub fn push(self, number: u64, path: &mut Vec<u8>) {
        let mut left = number;
        for piece in self.pieces() {
            if left < piece.len() {
                return piece.push(left, path);
            }
            left -= piece.len();
        }
        panic!("frame {number} of {}", self.len());
    }

    /// All names, in order. Of many without a pattern this is quicker than asking for each by its number.
    pub fn all(self) -> impl Iterator<Item = Vec<u8>> + 'a {
        let name = |piece: Piece<'a>, number| {
            let mut name = Vec::new();
            piece.push(number, &mut name);
            name
        };
        self.pieces().flat_map(move |piece| (0..piece.len()).map(move |number| name(piece, number)))
    }

    fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        pieces(self.0).map(|piece| piece.expect("it was checked when it was made"))
    }
}

/// Some of the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Name(&'a str),
    Run { before: &'a str, after: &'a str, first: u64, step: u64, len: u64, width: usize },
}

impl Piece<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Name(_) => 1,
            Self::Run { len, .. } => len,
        }
    }

    fn push(self, number: u64, path: &mut Vec<u8>) {
        use std::io::Write as _;
        match self {
            Self::Name(name) => path.extend_from_slice(name.as_bytes()),
            Self::Run { before, after, first, step, width, .. } => {
                let number = first + number * step;
                write!(path, "{before}{number:0width$}{after}").expect("memory takes it");
            }
        }
    }
}

/// The pieces of a text, or what is wrong with one.
fn pieces(text: &str) -> impl Iterator<Item = Result<Piece<'_>, &'static str>> {
    let mut parts = text.split('/');
    std::iter::from_fn(move || {
        let part = parts.next()?;
        Some(if part.is_empty() { parts.next().map_or(Err("a name is missing"), name) } else { piece(part) })
    })
}

fn name(name: &str) -> Result<Piece<'_>, &'static str> {
    match name {
        "" => Err("a name is missing"),
        "." | ".." => Err("a frame is a file"),
        name if name.contains('\0') => Err("no file has a NUL in its name"),
        name => Ok(Piece::Name(name)),
    }
}

fn piece(part: &str) -> Result<Piece<'_>, &'static str> {
    let Some((before, rest)) = part.split_once('{') else { return name(part) };
    let (inside, after) = rest.split_once('}').ok_or("a brace is not closed")?;
    if part.contains('\0') {
        return Err("no file has a NUL in its name");
    }
    let mut numbers = inside.split("..");
    let (Some(first), Some(last), step, None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err("braces hold two numbers, as in {001..120}");
    };
    let number = |digits: &str| number(digits).ok_or("braces hold two numbers, as in {001..120}");
    let is_padded = [first, last].iter().any(|digits| digits.len() > 1 && digits.starts_with('0'));
    let width = if is_padded { first.len().max(last.len()) } else { 0 };
    let (first, last, step) = (number(first)?, number(last)?, step.map_or(Ok(1), number)?);
    if last < first || step == 0 {
        return Err("numbers in braces rise");
    }
    let len = (last - first) / step + 1;
    Ok(Piece::Run { before, after, first, step, len, width })
}

fn number(digits: &str) -> Option<u64> {
    let is_number = digits.len() <= DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// The text of some names, which are in their order.
pub fn text_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut run: Option<Run<'_>> = None;
    for name in names {
        if run.as_mut().is_some_and(|run| run.take(name)) {
            continue;
        }
        if let Some(run) = run.replace(Run::new(name)) {
            run.write(&mut text);
        }
    }
    if let Some(run) = run {
        run.write(&mut text);
    }
    text
}

/// Names that follow each other, as far as they have come.
struct Run<'a> {
    name: &'a str,
    /// The first name around its last number, where it has one that may count.
    parts: Option<Numbered<'a>>,
    last: u64,
    step: u64,
    len: u64,
}

#[derive(Clone, Copy)]
struct Numbered<'a> {
    before: &'a str,
    digits: &'a str,
    after: &'a str,
    number: u64,
}

impl<'a> Numbered<'a> {
    /// Takes a name apart at the last number before its extension.
    fn of(name: &'a str) -> Option<Self> {
        if name.contains('{') {
            return None;
        }
        let stem = &name[..name.rfind('.').filter(|&at| at > 0).unwrap_or(name.len())];
        let end = stem.rfind(|sign: char| sign.is_ascii_digit())? + 1;
        let start = stem[..end].rfind(|sign: char| !sign.is_ascii_digit());
        let start = start.map_or(0, |at| at + stem[at..].chars().next().map_or(1, char::len_utf8));
        let (before, digits, after) = (&name[..start], &name[start..end], &name[end..]);
        number(digits).map(|number| Self { before, digits, after, number })
    }

    fn is_padded(&self) -> bool {
        self.digits.len() > 1 && self.digits.starts_with('0')
    }
}

impl<'a> Run<'a> {
    fn new(name: &'a str) -> Self {
        let parts = Numbered::of(name);
        Self { name, parts, last: parts.map_or(0, |parts| parts.number), step: 0, len: 1 }
    }

    /// Takes the name in where it is the next one.
    fn take(&mut self, name: &str) -> bool {
        let (Some(parts), Some(next)) = (self.parts, Numbered::of(name)) else { return false };
        let same_width =
            if parts.is_padded() { next.digits.len() == parts.digits.len() } else { !next.is_padded() };
        let rises = next.number > self.last && (self.step == 0 || next.number - self.last == self.step);
        if (parts.before, parts.after) != (next.before, next.after) || !same_width || !rises {
            return false;
        }
        (self.step, self.last, self.len) = (next.number - self.last, next.number, self.len + 1);
        true
    }

    fn write(&self, text: &mut String) {
        if !text.is_empty() {
            text.push('/');
        }
        let Some(Numbered { before, digits, after, .. }) = self.parts.filter(|_| self.len > 1) else {
            if self.name.contains('{') {
                text.push('/');
            }
            return text.push_str(self.name);
        };
        let (last, width) = (self.last, if digits.starts_with('0') { digits.len() } else { 0 });
        let step = if self.step == 1 { String::new() } else { format!("..{}", self.step) };
        write!(text, "{before}{{{digits}..{last:0width$}{step}}}{after}").expect("memory takes it");
    }
}

/// The order of frames: numbers in names by their value, so that `f2.jpg` comes before `f10.jpg`; else by bytes.
pub fn natural_order(one: &[u8], other: &[u8]) -> Ordering {
    let (mut a, mut b) = (one, other);
    while let (Some((&x, a_rest)), Some((&y, b_rest))) = (a.split_first(), b.split_first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(&mut a), digits(&mut b));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (a, b) = (a_rest, b_rest);
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len()).then_with(|| one.cmp(other))
}

/// Takes the digits at the start; gives them without leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let first = digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len());
    &digits[first..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<String> {
        let names = FrameNames::parse(text).unwrap();
        let name = |number| {
            let mut path = Vec::new();
            names.push(number, &mut path);
            String::from_utf8(path).unwrap()
        };
        let one_by_one: Vec<_> = (0..names.len()).map(name).collect();
        assert!(names.all().eq(one_by_one.iter().map(|name| name.clone().into_bytes())));
        one_by_one
    }

    fn sorted(mut names: Vec<&str>) -> Vec<&str> {
        names.sort_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
        names
    }

    #[test]
    fn numbered_names_are_a_few_bytes_whatever_their_number() {
        let names: Vec<_> = (1..=20_000).map(|number| format!("img_{number:05}.jpg")).collect();
        let text = text_of(names.iter().map(String::as_str));
        assert_eq!(text, "img_{00001..20000}.jpg");
        assert_eq!(all(&text), names);
    }

    #[test]
    fn gaps_strides_and_what_has_no_number_are_pieces() {
        for (names, text) in [
            (vec!["1.jpg", "2.jpg", "4.jpg"], "{1..2}.jpg/4.jpg"),
            (vec!["000.png", "005.png", "010.png"], "{000..010..5}.png"),
            (vec!["8.jpg", "9.jpg", "10.jpg"], "{8..10}.jpg"),
            (vec!["98.jpg", "99.jpg", "100.jpg"], "{98..100}.jpg"),
            (vec!["08.jpg", "09.jpg", "10.jpg", "100.jpg"], "{08..10}.jpg/100.jpg"),
            (vec!["a.jpg", "b.jpg"], "a.jpg/b.jpg"),
            (vec!["x{1..2}.jpg", "x{1..3}.jpg"], "/x{1..2}.jpg//x{1..3}.jpg"),
            (vec!["1.jp2", "2.jp2"], "{1..2}.jp2"),
            (vec!["c1_f1", "c1_f2"], "c1_f{1..2}"),
            (vec![".1", ".2"], ".{1..2}"),
            (vec!["ä٣1ö.png", "ä٣2ö.png"], "ä٣{1..2}ö.png"),
            (vec!["0.jpg", "1.jpg"], "{0..1}.jpg"),
        ] {
            assert_eq!(
                (text_of(names.iter().copied()), all(text)),
                (text.to_owned(), names.iter().map(|&name| name.to_owned()).collect())
            );
        }
    }

    #[test]
    fn frames_stand_by_their_numbers_padded_or_not() {
        assert_eq!(sorted(vec!["f10.jpg", "f2.jpg", "f1.jpg"]), ["f1.jpg", "f2.jpg", "f10.jpg"]);
        assert_eq!(sorted(vec!["2_9.jpg", "10_1.jpg", "2_10.jpg"]), ["2_9.jpg", "2_10.jpg", "10_1.jpg"]);
        assert_eq!(
            sorted(vec!["1.jpg", "01.jpg", "a", "1", "2.jpg"]),
            ["1", "01.jpg", "1.jpg", "2.jpg", "a"]
        );
    }

    #[test]
    fn a_text_that_names_nothing_or_leaves_its_folder_is_refused() {
        for text in [
            "",
            "/",
            "a//",
            "..",
            "a/./b",
            "//..",
            "a\0b",
            "{1..2",
            "{2..1}",
            "{1..9..0}",
            "{a..b}",
            "{1}",
            "{1..2..3..4}",
            "{0..9999999999}",
            "x{1..2\0}",
        ] {
            assert!(FrameNames::parse(text).is_err(), "{text:?}");
        }
        let said = FrameNames::parse("{3..1}.jpg").unwrap_err().to_string();
        assert_eq!(said, "\"{3..1}.jpg\" names no frames: numbers in braces rise");
    }

    proptest! {
        #[test]
        fn names_come_back_as_they_went_in(
            names in prop::collection::vec("[a-c0-2{}._]{1,5}", 1..40),
            numbers in prop::collection::vec((0_u64..2000, 1_usize..5), 0..40),
        ) {
            let numbered = numbers.iter().map(|(number, width)| format!("f{number:0width$}.jpg"));
            let mut names: Vec<_> = names.into_iter().filter(|name| name != "." && name != "..").chain(numbered).collect();
            names.push("last".to_owned());
            names.sort_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
            prop_assert_eq!(all(&text_of(names.iter().map(String::as_str))), names);
        }

        #[test]
        fn any_text_is_refused_or_gives_names_of_files_in_the_folder(text in "[{}./,0-9a]{0,24}") {
            if let Ok(names) = FrameNames::parse(&text) {
                for number in [0, names.len() / 2, names.len() - 1] {
                    let mut name = Vec::new();
                    names.push(number, &mut name);
                    prop_assert!(!name.is_empty() && !name.contains(&b'/') && name != b"..");
                }
            }
        }
    }
}
