//! Fields of clips: which frames of a folder a row has, and the edge where a client asks for them.

use forebay_plan::{RowRng, TensorSpec};
use forebay_proto::v1;

use super::JobSource;
use super::fields::FieldMaker;
use super::images::{Pixels, pixels};
use super::order::JobOrder;
use super::raw_fields::path_column;
use super::spec::{Planned, not_packed, only_one_view, views};
use super::token_fields::no_token_settings;
use crate::catalog::{FRAMES, FrameNames, Snapshot, names_column};
use crate::error::{Fault, Kind};
use crate::transform::SampleError;

const FRAMES_MAX: u32 = 1024;
const STRIDE_MAX: u32 = 1 << 16;

/// What the draw of a clip's start is numbered by where views are: no view has the number, so crops are drawn as of an
/// image.
pub const START_VIEW: u32 = u32::MAX;

/// Where the frames of a clip lie, and which of them a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipPlan {
    /// Number of the column of folders.
    path: usize,
    /// Number of the column of frames' names.
    names: usize,
    frames: u32,
    stride: u32,
    start: Start,
    /// Whether a clip with too few frames is corrupt.
    fail_on_short: bool,
}

/// Where the chosen frames of a longer clip begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Random,
    Center,
    First,
}

/// The frames of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The clip's folder.
    pub folder: &'a [u8],
    /// All of its frames.
    pub names: FrameNames<'a>,
    first: u64,
    stride: u64,
    last: u64,
}

impl Chosen<'_> {
    /// The number of the row's frame number `nth` in its clip: the last one's from there on where the clip is short.
    pub fn number(&self, nth: u32) -> u64 {
        self.last.min(self.first + u64::from(nth) * self.stride)
    }

    /// The name of the row's frame number `nth`, for people.
    pub fn name(&self, nth: u32) -> String {
        let mut name = Vec::new();
        self.names.push(self.number(nth), &mut name);
        String::from_utf8_lossy(&name).into_owned()
    }

    /// The path of the row's frame number `nth`, beneath the root.
    pub fn path(&self, nth: u32) -> Vec<u8> {
        [self.folder, b"/", self.name(nth).as_bytes()].concat()
    }
}

impl ClipPlan {
    /// Frames of a row: so many files are read for it.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The frames of a sample's row: a function of what it draws and of how many frames the clip has.
    ///
    /// * `draws`: of the row, numbered [`START_VIEW`].
    pub fn chosen<'a>(
        &self,
        snapshot: &'a Snapshot,
        sample: u64,
        draws: impl FnOnce() -> RowRng,
    ) -> Chosen<'a> {
        let columns = snapshot.columns();
        let names = FrameNames::known(columns[self.names].text(sample));
        let count = names.len();
        let room = count.saturating_sub(self.span());
        let first = match self.start {
            Start::Random if room > 0 => draws().below(room + 1),
            Start::Center => room / 2,
            Start::Random | Start::First => 0,
        };
        let (folder, stride) = (columns[self.path].path(sample), self.stride.into());
        Chosen { folder, names, first, stride, last: count - 1 }
    }

    /// The frames of a row in a few words.
    pub fn words(&self, chosen: &Chosen<'_>) -> String {
        match self.frames {
            1 => chosen.name(0),
            frames => format!("{} to {}", chosen.name(0), chosen.name(frames - 1)),
        }
    }

    /// Whether a clip may stand in a row.
    ///
    /// # Errors
    /// [`SampleError::ShortClip`].
    pub fn check(&self, chosen: &Chosen<'_>) -> Result<(), SampleError> {
        let (frames, needed) = (chosen.last + 1, self.span());
        if self.fail_on_short && frames < needed {
            return Err(SampleError::ShortClip { frames, needed });
        }
        Ok(())
    }

    /// Frames from the first to the last that a row has.
    fn span(&self) -> u64 {
        u64::from(self.frames - 1) * u64::from(self.stride) + 1
    }
}

/// A field of clips, over one source.
///
/// # Errors
/// Invalid, naming the field and the cure.
pub fn plan_clip(given: &v1::Field, source: &JobSource, order: &JobOrder) -> Result<Planned, Fault> {
    not_packed(given, order)?;
    no_token_settings(given)?;
    let mut field = given.clone();
    field.views = views(&field)?;
    only_one_view(&field)?;
    let path = path_column(&mut field, &source.snapshot)?;
    let names = names_of(&field, path, &source.snapshot)?;
    let clip = clip_of(&mut field, path, names)?;
    field.set_decode(v1::Decode::Clip);
    let Pixels { field, pipeline, dtype, order } = pixels(field)?;
    let dims = vec![clip.frames, 3, pipeline.height(), pipeline.width()];
    let spec = TensorSpec { name: field.name.clone(), dtype, dims, order };
    Ok((field, spec, FieldMaker::Clip { clip, pipeline: Box::new(pipeline) }))
}

/// Refuses what only a field of clips has, so that nothing is left without effect.
///
/// # Errors
/// Invalid.
pub fn no_clip_settings(field: &v1::Field) -> Result<(), Fault> {
    if field.clip.is_none() {
        return Ok(());
    }
    let message = format!("field {}: frames of what is no clip", field.name);
    Err(Fault::invalid(message).hint("leave them out of this field"))
}

/// The column that names the frames, every text of which does.
fn names_of(field: &v1::Field, path: usize, snapshot: &Snapshot) -> Result<usize, Fault> {
    let Some(names) = names_column(snapshot, path) else {
        let (name, column) = (&field.name, &field.column);
        let message =
            format!("field {name}: no column of texts {column}{FRAMES} says which frames its clips have");
        return Err(Fault::invalid(message).hint(
            "frames in class/clip/000001.jpg are a forebay.Frames(path); a list names them itself, as \
             {000001..000120}.jpg",
        ));
    };
    let column = &snapshot.columns()[names];
    for row in 0..snapshot.len() {
        FrameNames::parse(column.text(row)).map_err(|error| {
            let key = String::from_utf8_lossy(&snapshot.key(row)).into_owned();
            Fault::from_error(Kind::Invalid, &error)
                .context(format!("column {}, sample {key}", column.name()))
                .hint("name them as {000001..000120}.jpg, several pieces with a slash between them")
        })?;
    }
    Ok(names)
}

/// What a client says of frames, every default filled in.
fn clip_of(field: &mut v1::Field, path: usize, names: usize) -> Result<ClipPlan, Fault> {
    let name = field.name.clone();
    let clip = field.clip.get_or_insert_default();
    clip.stride = clip.stride.max(1);
    let v1::ClipFrames { frames, stride, .. } = *clip;
    if !(1..=FRAMES_MAX).contains(&frames) || stride > STRIDE_MAX {
        let message = format!("field {name}: {frames} frames of a clip, {stride} apart");
        return Err(Fault::invalid(message).hint(format!(
            "say how many frames a row has, 1 to {FRAMES_MAX}, and a stride of at most {STRIDE_MAX}: forebay.Clip(frames=16)"
        )));
    }
    let start = match clip.start() {
        v1::ClipStart::Unspecified | v1::ClipStart::Random => Start::Random,
        v1::ClipStart::Center => Start::Center,
        v1::ClipStart::First => Start::First,
    };
    let fail_on_short = clip.on_short() == v1::ShortClip::Error;
    // What is the default has one name.
    if start == Start::Random {
        clip.set_start(v1::ClipStart::Unspecified);
    }
    if !fail_on_short {
        clip.set_on_short(v1::ShortClip::Unspecified);
    }
    Ok(ClipPlan { path, names, frames, stride, start, fail_on_short })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use forebay_plan::{EpochPrf, Purpose};

    use super::*;
    use crate::catalog::{self, CatalogLimits, SourceSpec};

    fn snapshot(names: &str) -> Snapshot {
        let json_lines = format!(r#"{{"path":"c","path.frames":"{names}"}}"#).into_bytes();
        let spec = SourceSpec::Records { root: Some(std::env::temp_dir()), json_lines, columns: Vec::new() };
        catalog::open(&spec, &CatalogLimits::default()).expect("a snapshot")
    }

    fn plan(frames: u32, stride: u32, start: Start) -> ClipPlan {
        ClipPlan { path: 0, names: 1, frames, stride, start, fail_on_short: false }
    }

    fn numbers(plan: ClipPlan, names: &str, position: u64) -> Vec<u64> {
        let (snapshot, prf) = (snapshot(names), EpochPrf::new(3, Purpose::Augment, 0));
        let chosen = plan.chosen(&snapshot, 0, || prf.rng(position, START_VIEW, 0));
        (0..plan.frames).map(|nth| chosen.number(nth)).collect()
    }

    #[test]
    fn frames_stand_a_stride_apart_from_the_start_that_was_asked_for() {
        assert_eq!(numbers(plan(3, 2, Start::First), "{0..9}.jpg", 0), [0, 2, 4]);
        assert_eq!(numbers(plan(3, 2, Start::Center), "{0..9}.jpg", 0), [2, 4, 6]);
        assert_eq!(numbers(plan(4, 1, Start::Center), "{0..6}.jpg", 0), [1, 2, 3, 4]);
        assert_eq!(numbers(plan(10, 1, Start::Random), "{0..9}.jpg", 0), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn every_start_is_drawn_and_none_leaves_the_clip() {
        let starts = |position| numbers(plan(3, 2, Start::Random), "{0..9}.jpg", position);
        let drawn: HashSet<_> = (0..200)
            .map(|position| {
                let numbers = starts(position);
                assert_eq!(numbers, starts(position));
                assert!(numbers[2] == numbers[0] + 4 && numbers[2] < 10, "{numbers:?}");
                numbers[0]
            })
            .collect();
        assert_eq!(drawn.len(), 6);
    }

    #[test]
    fn a_short_clip_repeats_its_last_frame_or_is_corrupt() {
        for start in [Start::Random, Start::Center, Start::First] {
            assert_eq!(numbers(plan(4, 2, start), "a.jpg/b.jpg/c.jpg", 7), [0, 2, 2, 2]);
            assert_eq!(numbers(plan(3, 1, start), "a.jpg", 7), [0, 0, 0]);
        }
        let snapshot = snapshot("{1..6}.jpg");
        let check = |frames, fail_on_short| {
            let plan = ClipPlan { fail_on_short, ..plan(frames, 2, Start::First) };
            plan.check(&plan.chosen(&snapshot, 0, || unreachable!("nothing is drawn")))
        };
        assert_eq!((check(3, true), check(4, false)), (Ok(()), Ok(())));
        assert_eq!(check(4, true), Err(SampleError::ShortClip { frames: 6, needed: 7 }));
    }
}
