//! Samples as files of their own, and clips as folders of them: each written by the thread that made it, whole or not at
//! all. Of a clip a thread holds one frame at a time, however many there are.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::fields::{self, Field, Made};
use super::picture::Pipeline;
use super::recipe::{failed, whole};
use super::{Export, Means};
use crate::catalog::{FrameNames, Location, natural_order, text_of_frames};
use crate::error::Fault;

/// Frames that a further thread is worth.
const FRAMES_A_THREAD: usize = 64;

/// What a field of a sample is called where it was written.
pub struct Written {
    /// Its file, or a clip's folder, beneath the export.
    pub name: String,
    /// Of a clip, what its frames are called in there, as [`FrameNames`] reads it.
    pub frames: Option<String>,
}

/// A clip that is written.
struct Share<'a> {
    /// Its folder beneath the root, and its frames there.
    source: &'a [u8],
    frames: FrameNames<'a>,
    /// What these are called in the folder that is made.
    names: &'a [String],
    folder: &'a Path,
    pipeline: Option<&'a Pipeline>,
    /// Whether one of its frames could not be written.
    stop: AtomicBool,
}

impl Export<'_> {
    /// Writes the files of a sample, unless they are there.
    ///
    /// # Errors
    /// Corrupt and Unavailable, naming the sample, and the frame of a clip; what the file system says.
    pub(super) fn write(&self, means: &mut Means<'_>, row: u64) -> Result<Vec<Written>, Fault> {
        self.fields.iter().map(|field| self.write_field(means, field, row)).collect()
    }

    fn write_field(&self, means: &mut Means<'_>, field: &Field<'_>, row: u64) -> Result<Written, Fault> {
        let base = self.names.of_row(row);
        let told = |fault| self.told(fault, row);
        if let Some(clip) = field.clip(row).map_err(told)? {
            let name = base.file(&field.suffix_of_clip());
            let frames = self.write_clip(means, field, clip, &name).map_err(told)?;
            return Ok(Written { name, frames: Some(frames) });
        }
        let Made { suffix, bytes } = self.make_field(means, field, row)?;
        let name = base.file(&suffix);
        let file = self.out.join(&name);
        if !file.exists() {
            make_folder(file.parent().unwrap_or(self.out))?;
            whole(&file, &bytes).map_err(|error| failed(&file, &error))?;
        }
        Ok(Written { name, frames: None })
    }

    /// Writes the frames of a clip into a folder; tells what they are called. Where there are threads to spare, each takes
    /// some of the frames.
    fn write_clip(
        &self,
        means: &mut Means<'_>,
        field: &Field<'_>,
        (source, frames): (&[u8], FrameNames<'_>),
        folder: &str,
    ) -> Result<String, Fault> {
        let pipeline = self.pipeline_of(field);
        let names = frame_names(frames, pipeline.map(Pipeline::suffix));
        let folder = self.out.join(folder);
        make_folder(&folder)?;
        let stop = AtomicBool::new(false);
        let share = Share { source, frames, names: &names, folder: &folder, pipeline, stop };
        let spare = self.threads / self.threads.min(self.snapshot.len().max(1) as usize);
        let threads = spare.min(names.len() / FRAMES_A_THREAD).max(1);
        let start = |thread: usize| names.len() * thread / threads;
        thread::scope(|scope| {
            let further = |number: usize| {
                let (share, range) = (&share, start(number)..start(number + 1));
                move || self.write_some(&mut Means::new(&self.root), share, range)
            };
            let further: Vec<_> = (1..threads).map(|number| scope.spawn(further(number))).collect();
            let own = self.write_some(means, &share, start(0)..start(1));
            let further = further.into_iter().map(|done| done.join().expect("exporting does not panic"));
            [own].into_iter().chain(further).collect::<Result<(), Fault>>()
        })?;
        Ok(text_of_frames(names.iter().map(String::as_str)))
    }

    /// Writes some frames of a clip, one after another, until one on whatever thread could not be written.
    fn write_some(&self, means: &mut Means<'_>, share: &Share<'_>, range: Range<usize>) -> Result<(), Fault> {
        let some = share.frames.all().skip(range.start);
        for (number, own) in range.zip(some) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Fault::internal("another sample could not be exported"));
            }
            if share.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            share.write(means, number, &own).map_err(|fault| {
                share.stop.store(true, Ordering::Relaxed);
                fault.context(format!("frame {number} ({})", String::from_utf8_lossy(&own)))
            })?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Share<'_> {
    /// Writes a frame, unless it is there.
    ///
    /// * `own`: what it is called in the data set.
    fn write(&self, means: &mut Means<'_>, number: usize, own: &[u8]) -> Result<(), Fault> {
        let file = self.folder.join(&self.names[number]);
        if file.exists() {
            return Ok(());
        }
        let path = [self.source, b"/", own].concat();
        let read = means.values.get(&Location::own_file(&path), u64::MAX);
        let encoded = read.map_err(|error| fields::fault(&error))?;
        let written = match self.pipeline {
            Some(pipeline) => whole(&file, &means.painter.paint(pipeline, encoded)?),
            None => whole(&file, encoded),
        };
        written.map_err(|error| failed(&file, &error))
    }
}

fn make_folder(folder: &Path) -> Result<(), Fault> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))
}

/// What a clip's frames are called: as before, but for what they end in where they are stored anew. Where these names would
/// not stand in the clip's order in a folder that is listed, or one would come twice, the frames are numbered instead.
///
/// * `suffix`: of frames that are stored anew.
fn frame_names(frames: FrameNames<'_>, suffix: Option<&str>) -> Vec<String> {
    let own = |name: Vec<u8>| String::from_utf8(name).expect("names are parts of a text");
    let split = |name: &str| {
        let dot = name.rfind('.').filter(|&at| at > 0);
        dot.map_or((name.to_owned(), None), |at| (name[..at].to_owned(), Some(name[at + 1..].to_owned())))
    };
    let called = |stem: String, ending: Option<&str>| match ending {
        Some(ending) => format!("{stem}.{ending}"),
        None => stem,
    };
    let kept = |name: String| match suffix {
        Some(suffix) => called(split(&name).0, Some(suffix)),
        None => name,
    };
    let names: Vec<_> = frames.all().map(|name| kept(own(name))).collect();
    let rise = |pair: &[String]| natural_order(pair[0].as_bytes(), pair[1].as_bytes()).is_lt();
    if names.windows(2).all(rise) {
        return names;
    }
    let digits = (names.len() - 1).to_string().len().max(DIGITS);
    let numbered = |(number, name): (usize, Vec<u8>)| {
        let (_, ending) = split(&own(name));
        called(format!("{number:0digits$}"), suffix.or(ending.as_deref()))
    };
    frames.all().enumerate().map(numbered).collect()
}

/// Of frames that are numbered, at least.
const DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn called(names: &str, suffix: Option<&str>) -> String {
        let names = frame_names(FrameNames::parse(names).unwrap(), suffix);
        text_of_frames(names.iter().map(String::as_str))
    }

    #[test]
    fn frames_keep_their_names_and_those_that_are_stored_anew_their_stems() {
        for (names, kept, anew) in [
            ("{1..12}.png", "{1..12}.png", "{1..12}.jpg"),
            ("a.v1.jpg/b", "a.v1.jpg/b", "a.v1.jpg/b.jpg"),
            (".1.png/x{7..9}.PNG", ".1.png/x{7..9}.PNG", ".1.jpg/x{7..9}.jpg"),
        ] {
            assert_eq!((called(names, None), called(names, Some("jpg"))), (kept.to_owned(), anew.to_owned()));
        }
    }

    #[test]
    fn frames_are_numbered_where_a_listing_of_their_names_would_be_another_clip() {
        assert_eq!(called("2.png/1.png", None), "{000000..000001}.png", "another order");
        assert_eq!(called("a/a/b.jpg", None), "{000000..000001}/000002.jpg", "a frame that comes twice");
        assert_eq!(called("1.jpg/1.png", None), "1.jpg/1.png");
        assert_eq!(called("1.jpg/1.png", Some("jpg")), "{000000..000001}.jpg", "stems that are equal");
    }
}
