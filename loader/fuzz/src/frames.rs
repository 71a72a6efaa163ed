//! The names of a clip's frames as one text, which a list or a data set may bring.

use forebay::catalog::{FrameNames, text_of_frames};

/// Names that are all made again, to compare them.
const COMPARED: u64 = 2000;

/// What is accepted names files of one folder, at least one, and the names give a text that names the same.
pub fn frames(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let Ok(names) = FrameNames::parse(text) else { return false };
    let name = |names: FrameNames<'_>, number| {
        let mut name = Vec::new();
        names.push(number, &mut name);
        assert!(
            !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
        );
        String::from_utf8(name).expect("it is made of text")
    };
    let count = names.len();
    [0, count / 2, count - 1].into_iter().for_each(|number| drop(name(names, number)));
    if count <= COMPARED {
        let all: Vec<_> = (0..count).map(|number| name(names, number)).collect();
        let again = text_of_frames(all.iter().map(String::as_str));
        let again = FrameNames::parse(&again).expect("what is written can be read");
        assert!(again.len() == count && (0..count).all(|number| name(again, number) == all[number as usize]));
    }
    true
}
