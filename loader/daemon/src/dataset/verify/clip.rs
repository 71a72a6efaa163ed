//! A clip: its folder listed once, then its frames read, decoded and hashed one after another. A thread holds no more than
//! one of them at a time, however many there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread;

use super::check::{Checker, Seen, Sound, Trouble};
use super::parts::{Part, Promise};
use crate::catalog::{FrameNames, Location, compare_frames};
use crate::error::with_causes;

/// Frames that a further thread is worth.
const FRAMES_A_THREAD: u64 = 64;

/// What the first frame was, which all others have to be like.
type Size = Option<(u64, (u32, u32))>;

/// What was found of some frames that follow each other.
#[derive(Default)]
struct Piece {
    hashes: Vec<blake3::Hash>,
    formats: BTreeMap<String, u64>,
    bytes: u64,
    /// What is said of the first bad frame.
    bad: Option<String>,
    bad_count: u64,
    /// Why not all of them arrived.
    unavailable: Option<Trouble>,
}

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

    /// Checks all frames, where there are threads to spare some of them on each.
    fn frames(&mut self, folder: &[u8], names: FrameNames<'_>) -> Result<Sound, Trouble> {
        let frames = names.len();
        let threads = (self.threads_a_clip as u64).min(frames / FRAMES_A_THREAD).max(1);
        let mut first = None;
        if threads > 1 {
            // What is wrong with it is told by the thread whose frame it is.
            let name = names.all().next().expect("there is one frame at least");
            let _ = self.frame(folder, &name, 0, &mut first);
        }
        let start = |thread: u64| frames * thread / threads;
        let range = |thread: u64| start(thread)..start(thread + 1);
        let (root, files) = (self.root, self.files);
        let pieces = thread::scope(|scope| {
            let further =
                |thread| move || Checker::new(root, files).piece(folder, names, range(thread), first);
            let further: Vec<_> = (1..threads).map(|thread| scope.spawn(further(thread))).collect();
            let own = self.piece(folder, names, range(0), first);
            let further = further.into_iter().map(|piece| piece.join().expect("checking does not panic"));
            [own].into_iter().chain(further).collect::<Vec<_>>()
        });
        joined(pieces)
    }

    /// Checks some frames, one after another.
    fn piece(&mut self, folder: &[u8], names: FrameNames<'_>, range: Range<u64>, mut first: Size) -> Piece {
        let mut piece = Piece::default();
        let some = names.all().skip(range.start as usize);
        for (number, name) in range.zip(some) {
            match self.frame(folder, &name, number, &mut first) {
                Ok(seen) => {
                    piece.hashes.push(seen.hash);
                    *piece.formats.entry(seen.format).or_default() += 1;
                    piece.bytes += seen.bytes;
                }
                Err(Trouble::Corrupt(why)) => {
                    piece.bad_count += 1;
                    piece.bad.get_or_insert_with(|| {
                        format!("frame {number} ({}): {why}", String::from_utf8_lossy(&name))
                    });
                }
                Err(unavailable) => {
                    piece.unavailable = Some(unavailable);
                    break;
                }
            }
        }
        piece
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

/// All pieces of a clip, in their order. What is known to be bad stays so, whatever the storage says of the rest.
fn joined(pieces: Vec<Piece>) -> Result<Sound, Trouble> {
    let (mut hasher, mut all) = (blake3::Hasher::new(), Piece::default());
    for piece in pieces {
        for hash in &piece.hashes {
            hasher.update(hash.as_bytes());
        }
        piece
            .formats
            .into_iter()
            .for_each(|(format, count)| *all.formats.entry(format).or_default() += count);
        all.bytes += piece.bytes;
        all.bad = all.bad.or(piece.bad);
        all.bad_count += piece.bad_count;
        all.unavailable = all.unavailable.or(piece.unavailable);
    }
    match (all.bad, all.bad_count, all.unavailable) {
        (Some(said), 1, _) => Err(Trouble::Corrupt(said)),
        (Some(said), count, _) => Err(Trouble::Corrupt(format!("{said}; bad frames of the clip: {count}"))),
        (None, _, Some(unavailable)) => Err(unavailable),
        (None, _, None) => {
            Ok(Sound { hash: hasher.finalize(), formats: all.formats, bytes: all.bytes, gained: None })
        }
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
    fn a_long_clip_comes_to_the_same_on_any_number_of_threads() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let frames = FRAMES_A_THREAD * 5;
        let name = |number: u64| dir.path().join(format!("a/{number}.png"));
        let png = |side| frame(9, side, "png");
        (0..frames).for_each(|number| std::fs::write(name(number), png(4 + (number == 77) as u16)).unwrap());
        let names = format!("{{0..{}}}.png", frames - 1);
        let (root, files) = (Root::open(dir.path()).unwrap(), AtomicU64::new(0));
        let check = |threads| {
            let mut checker = Checker::new(&root, &files);
            checker.threads_a_clip = threads;
            checker.check(&[Part::clip(b"a", &names)])
        };
        let said = "frame 77 (77.png): it is 5 x 5 pixels, frame 0 4 x 4";
        for threads in [1, 2, 3, 16] {
            assert_eq!(check(threads), Outcome::Corrupt { reason: said.to_owned() }, "{threads} threads");
        }
        std::fs::write(name(77), png(4)).unwrap();
        let sound = check(1);
        assert!(matches!(&sound, Outcome::Sound { formats, .. } if formats["PNG"] == frames), "{sound:?}");
        assert!([2, 3, 16].into_iter().all(|threads| check(threads) == sound));
        [0, 99, frames - 1].into_iter().for_each(|number| std::fs::write(name(number), "").unwrap());
        let said = "frame 0 (0.png): it is empty; bad frames of the clip: 3";
        assert!(
            [1, 3].into_iter().all(|threads| check(threads) == Outcome::Corrupt { reason: said.to_owned() })
        );
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
