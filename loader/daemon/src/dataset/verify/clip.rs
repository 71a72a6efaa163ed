//! A clip: its folder listed once, then its frames read, decoded and hashed one after another. No more than one of them is
//! held at a time, however many there are.

use std::collections::BTreeMap;

use super::check::{Checker, Seen, Sound, Trouble};
use super::parts::{Part, Promise};
use crate::catalog::{FrameNames, Location, compare_frames};
use crate::error::with_causes;

/// What the first frame was, which all others have to be like.
type Size = Option<(u64, (u32, u32))>;

impl Checker<'_> {
    /// Checks all frames of a clip. Its hash is that of its frames' hashes, in their order.
    ///
    /// * `names`: of its frames, as [`FrameNames`] reads them.
    pub(super) fn clip(&mut self, part: &Part<'_>, names: &str) -> Result<Sound, Trouble> {
        let names = FrameNames::parse(names).map_err(|error| Trouble::Corrupt(error.to_string()))?;
        let folder = part.place.path;
        let differences = compare_frames(self.root, folder, names)
            .map_err(|error| Trouble::Unavailable(with_causes(&error)))?;
        match (differences.lost.count, names.len()) {
            (0, _) => {}
            (lost, all) if lost == all => return Err(self.empty(folder, all)),
            (lost, all) => {
                let which = differences.lost;
                return Err(Trouble::Corrupt(format!("{lost} of {all} frames gone: {which}")));
            }
        }
        let gained = Some(differences.gained).filter(|gained| part.is_key && gained.count > 0);
        let gained = gained.map(|gained| format!("{} more: {gained}", gained.count));
        Ok(Sound { gained, ..self.frames(folder, names)? })
    }

    /// A folder without any of its frames is more likely one that is not mounted than a clip that was emptied.
    fn empty(&self, folder: &[u8], frames: u64) -> Trouble {
        let folder = self.root.display(folder);
        Trouble::Unavailable(format!("{folder} holds none of the clip's {frames} frames: is it mounted?"))
    }

    fn frames(&mut self, folder: &[u8], names: FrameNames<'_>) -> Result<Sound, Trouble> {
        let (mut hasher, mut formats, mut bytes) = (blake3::Hasher::new(), BTreeMap::new(), 0);
        let (mut first, mut bad, mut bad_count) = (None, None, 0_u64);
        for (number, name) in (0..).zip(names.all()) {
            match self.frame(folder, &name, number, &mut first) {
                Ok(seen) => {
                    hasher.update(seen.hash.as_bytes());
                    *formats.entry(seen.format).or_default() += 1;
                    bytes += seen.bytes;
                }
                Err(Trouble::Corrupt(why)) => {
                    bad_count += 1;
                    bad.get_or_insert_with(|| {
                        format!("frame {number} ({}): {why}", String::from_utf8_lossy(&name))
                    });
                }
                Err(unavailable) if bad.is_none() => return Err(unavailable),
                // What is known to be bad stays so, whatever the storage says of the rest.
                Err(Trouble::Unavailable(_)) => break,
            }
        }
        match (bad, bad_count) {
            (None, _) => Ok(Sound { hash: hasher.finalize(), formats, bytes, gained: None }),
            (Some(said), 1) => Err(Trouble::Corrupt(said)),
            (Some(said), count) => Err(Trouble::Corrupt(format!("{said}; bad frames of the clip: {count}"))),
        }
    }

    /// Checks one frame.
    fn frame(&mut self, folder: &[u8], name: &[u8], number: u64, first: &mut Size) -> Result<Seen, Trouble> {
        let path = [folder, b"/", name].concat();
        let place = Location::own_file(&path);
        let promise = Some(Promise::Image);
        let frame = Part { column: "", place, promise, damage: None, frames: None, is_key: false };
        let seen = self.file(&frame)?;
        let Some(size) = seen.size else { return Ok(seen) };
        let (other, expected) = *first.get_or_insert((number, size));
        if size == expected {
            return Ok(seen);
        }
        let ((width, height), (other_width, other_height)) = (size, expected);
        Err(Trouble::Corrupt(format!(
            "it is {width} x {height} pixels, frame {other} {other_width} x {other_height}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicU64;

    use super::super::check::Outcome;
    use super::*;
    use crate::storage::Root;

    /// One colour, `side` pixels wide and high.
    fn frame(shade: u8, side: u16, format: &str) -> Vec<u8> {
        let (mut bytes, rgb) = (Vec::new(), vec![shade; usize::from(side) * usize::from(side) * 3]);
        if format == "jpg" {
            let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
            encoder.encode(&rgb, side, side, jpeg_encoder::ColorType::Rgb).unwrap();
        } else {
            let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            let (side, color) = (u32::from(side), image::ExtendedColorType::Rgb8);
            image::ImageEncoder::write_image(encoder, &rgb, side, side, color).unwrap();
        }
        bytes
    }

    /// Frames 1 to 5, those that are odd as JPEG and the others as PNG.
    const NAMES: &str = "1.jpg/2.png/3.jpg/4.png/5.jpg";

    fn write(root: &Path, clip: &str) {
        std::fs::create_dir_all(root.join(clip)).unwrap();
        for number in 1..=5_u8 {
            let format = if number % 2 == 1 { "jpg" } else { "png" };
            std::fs::write(
                root.join(clip).join(format!("{number}.{format}")),
                frame(number * 40, 24, format),
            )
            .unwrap();
        }
    }

    fn check(root: &Path, clip: &str, names: &str) -> Outcome {
        let (root, files) = (Root::open(root).unwrap(), AtomicU64::new(0));
        Checker::new(&root, &files).check(&[Part::clip(clip.as_bytes(), names)])
    }

    fn reason(root: &Path, clip: &str) -> String {
        match check(root, clip, NAMES) {
            Outcome::Corrupt { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn content(outcome: Outcome) -> String {
        match outcome {
            Outcome::Sound { content, .. } => content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clip_of_frames_in_several_formats_is_sound_and_its_hash_is_that_of_its_frames_in_order() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a");
        let hash = |name: &str| blake3::hash(&std::fs::read(dir.path().join("a").join(name)).unwrap());
        let hashes: Vec<_> = NAMES.split('/').flat_map(|name| *hash(name).as_bytes()).collect();
        match check(dir.path(), "a", NAMES) {
            Outcome::Sound { content, formats, gained, .. } => {
                assert_eq!(content, blake3::hash(&hashes).to_hex()[..32]);
                assert_eq!(formats, BTreeMap::from([("JPEG".to_owned(), 3), ("PNG".to_owned(), 2)]));
                assert_eq!(gained, None);
            }
            other => panic!("{other:?}"),
        }
        write(dir.path(), "b");
        let other_order = content(check(dir.path(), "a", "2.png/1.jpg/3.jpg/4.png/5.jpg"));
        let [a, b] = ["a", "b"].map(|clip| content(check(dir.path(), clip, NAMES)));
        assert!(a == b && a != other_order);
    }

    #[test]
    fn a_bad_frame_is_named_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        for (clip, name, number) in [("a", "1.jpg", 0), ("b", "3.jpg", 2), ("c", "5.jpg", 4)] {
            write(dir.path(), clip);
            let file = dir.path().join(clip).join(name);
            let whole = std::fs::read(&file).unwrap();
            std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
            let said = reason(dir.path(), clip);
            assert!(said.starts_with(&format!("frame {number} ({name}): truncated JPEG")), "{said}");
            std::fs::write(&file, "a page that says 404").unwrap();
            let said = reason(dir.path(), clip);
            assert!(said.contains("named as an image, and none: it starts with \"a page that"), "{said}");
            std::fs::write(&file, "").unwrap();
            assert_eq!(reason(dir.path(), clip), format!("frame {number} ({name}): it is empty"));
        }
        std::fs::write(dir.path().join("a/4.png"), "").unwrap();
        let said = reason(dir.path(), "a");
        assert_eq!(said, "frame 0 (1.jpg): it is empty; bad frames of the clip: 2");
    }

    #[test]
    fn a_frame_of_another_size_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a");
        std::fs::write(dir.path().join("a/4.png"), frame(1, 25, "png")).unwrap();
        assert_eq!(reason(dir.path(), "a"), "frame 3 (4.png): it is 25 x 25 pixels, frame 0 24 x 24");
    }

    #[test]
    fn frames_that_have_gone_are_named_and_a_folder_without_any_is_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a");
        std::fs::remove_file(dir.path().join("a/1.jpg")).unwrap();
        std::fs::remove_file(dir.path().join("a/4.png")).unwrap();
        assert_eq!(reason(dir.path(), "a"), "2 of 5 frames gone: frame 0 (1.jpg), frame 3 (4.png)");
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        for (clip, said) in [("empty", "is it mounted?"), ("away", "No such file")] {
            match check(dir.path(), clip, NAMES) {
                Outcome::Unavailable { reason } => assert!(reason.contains(said), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn frames_that_have_come_are_told_of_a_sample_that_is_the_whole_folder() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a");
        let before = content(check(dir.path(), "a", NAMES));
        std::fs::write(dir.path().join("a/6.png"), frame(9, 24, "png")).unwrap();
        std::fs::write(dir.path().join("a/notes.txt"), "none of them").unwrap();
        match check(dir.path(), "a", NAMES) {
            Outcome::Sound { content, gained, .. } => {
                assert_eq!((content, gained.as_deref()), (before, Some("1 more: 6.png")));
            }
            other => panic!("{other:?}"),
        }
        let (root, files) = (Root::open(dir.path()).unwrap(), AtomicU64::new(0));
        let part_of_it = Part { is_key: false, ..Part::clip(b"a", NAMES) };
        let said = Checker::new(&root, &files).check(&[part_of_it]);
        assert!(matches!(said, Outcome::Sound { gained: None, .. }), "{said:?}");
    }

    #[test]
    fn names_that_nobody_can_read_are_corrupt_and_not_the_end_of_the_run() {
        let dir = tempfile::tempdir().unwrap();
        match check(dir.path(), "a", "{3..1}.jpg") {
            Outcome::Corrupt { reason } => assert!(reason.contains("numbers in braces rise"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
