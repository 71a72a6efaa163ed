//! What is read for one sample: its fields that lie close together in one file share a read, and a field of a clip has
//! one a frame.

use forebay_plan::orders::Pick;
use forebay_plan::{Extent, RowRng};

use crate::catalog::FrameNames;
use crate::job::{Chosen, FieldMaker, PartPlan};
use crate::prefetch::BatchWork;
use crate::storage::{ReadBuf, SpareBuffers};

/// Unwanted bytes that a shared read may bring between two fields: copying them takes about as long as another open, read
/// and close of a file in memory, and less than another trip to storage.
pub(super) const GAP_BYTES_MAX: u64 = 32 << 10;
/// The longest shared read, but where one field alone is longer: from here on a read more costs nothing beside its bytes.
const SPAN_BYTES_MAX: u64 = 8 << 20;

/// What one field of a sample, or one frame of it, needs of storage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The file, or the folder that it lies in.
    pub(super) path: &'a [u8],
    /// Which of the files in the folder.
    frame: Option<(FrameNames<'a>, u64)>,
    /// All of the file where absent.
    pub(super) extent: Option<Extent>,
    /// How long the file has to be, where that is known.
    pub(super) file_bytes: Option<u64>,
}

#[cfg(test)]
impl<'a> Wanted<'a> {
    /// Of a file with a path of its own.
    pub(super) fn of(path: &'a [u8], extent: Option<Extent>) -> Self {
        Self { path, frame: None, extent, file_bytes: None }
    }
}

impl Wanted<'_> {
    /// Points a buffer at the file.
    pub(super) fn address(&self, buf: &mut ReadBuf) {
        buf.set_path(self.path);
        if let Some((names, number)) = self.frame {
            buf.path.push(b'/');
            names.push(number, &mut buf.path);
        }
        buf.file_bytes = self.file_bytes;
    }

    pub(super) fn is_of_the_same_file(&self, other: &Self) -> bool {
        let number = |want: &Self| want.frame.map(|(_, number)| number);
        (self.path, number(self), self.file_bytes) == (other.path, number(other), other.file_bytes)
    }
}

/// The reads of one sample that has several, and what has come back of them. Used again for other samples, so that it
/// allocates nothing after warm-up; one that has a single read needs none of it, leaves it empty, and is that much shorter.
#[derive(Debug, Default)]
pub(super) struct Files(Option<Box<Several>>);

#[derive(Debug, Default)]
struct Several {
    /// One a field that reads, in their order.
    places: Vec<Place>,
    reads: Vec<Shared>,
    /// What the first of `reads` brought.
    came: Vec<ReadBuf>,
}

/// What a single read needs.
static NONE: Several = Several { places: Vec::new(), reads: Vec::new(), came: Vec::new() };

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of the read that brings it, once that is planned.
    read: Option<usize>,
    extent: Option<Extent>,
}

/// One read, for one field or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// The first of the fields that it is for, among those that read.
    pub(super) field: usize,
    /// All of the file where absent.
    pub(super) extent: Option<Extent>,
}

impl Files {
    /// Plans the reads of a sample anew. None is longer than `limit_bytes` unless a field alone is.
    pub(super) fn plan<'a>(&mut self, wanted: &(impl Iterator<Item = Wanted<'a>> + Clone), limit_bytes: u64) {
        self.0.get_or_insert_default().plan(wanted, limit_bytes);
    }

    /// What is to be read next; nothing where the sample has a single read, or all are in.
    pub(super) fn next(&self) -> Option<Shared> {
        self.several().reads.get(self.several().came.len()).copied()
    }

    /// Takes in what a read brought; gives it back where it was the last one.
    pub(super) fn take(&mut self, buf: ReadBuf) -> Option<ReadBuf> {
        match &mut self.0 {
            Some(several) if several.came.len() + 1 < several.reads.len() => several.came.push(buf),
            _ => return Some(buf),
        }
        None
    }

    /// What all reads are taken to bring where those that came and the one in hand are `bytes` together: as much each.
    pub(super) fn expected_bytes(&self, bytes: u64) -> u64 {
        let Several { reads, came, .. } = self.several();
        bytes.saturating_mul(reads.len().max(1) as u64) / (came.len() as u64 + 1)
    }

    /// Bytes of what has come.
    pub(super) fn bytes_held(&self) -> u64 {
        self.several().came.iter().map(|buf| buf.bytes.len() as u64).sum()
    }

    /// The bytes of one field, counted among those that read. `last`: what the last read brought.
    pub(super) fn of_field<'a>(&'a self, field: usize, last: &'a ReadBuf) -> &'a [u8] {
        let Several { places, reads, came } = self.several();
        let Some(Place { read: Some(read), extent }) = places.get(field) else { return &last.bytes };
        let buf = came.get(*read).unwrap_or(last);
        match (extent, reads[*read].extent) {
            (Some(own), Some(all)) => {
                &buf.bytes[(own.offset_bytes - all.offset_bytes) as usize..][..own.len_bytes as usize]
            }
            _ => &buf.bytes,
        }
    }

    /// Gives the buffers back.
    pub(super) fn clear(&mut self, buffers: &SpareBuffers) {
        self.0.iter_mut().flat_map(|several| several.came.drain(..)).for_each(|buf| buffers.put(buf));
    }

    /// Whether it has memory that is worth keeping.
    pub(super) fn is_used(&self) -> bool {
        self.0.is_some()
    }

    fn several(&self) -> &Several {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl Several {
    fn plan<'a>(&mut self, wanted: &(impl Iterator<Item = Wanted<'a>> + Clone), limit_bytes: u64) {
        self.reads.clear();
        self.places.clear();
        self.places.extend(wanted.clone().map(|want| Place { read: None, extent: want.extent }));
        let span_bytes_max = limit_bytes.min(SPAN_BYTES_MAX);
        for (field, want) in wanted.clone().enumerate() {
            if self.places[field].read.is_none() {
                let extent = self.gather(field, want, wanted, span_bytes_max);
                self.reads.push(Shared { field, extent });
            }
        }
    }

    /// Puts a field, and all behind it that may share its read, into the next read; gives that read's extent.
    fn gather<'a>(
        &mut self,
        field: usize,
        want: Wanted<'a>,
        wanted: &(impl Iterator<Item = Wanted<'a>> + Clone),
        span_bytes_max: u64,
    ) -> Option<Extent> {
        let read = Some(self.reads.len());
        self.places[field].read = read;
        let mut all = want.extent;
        loop {
            let before = all;
            for (place, other) in self.places.iter_mut().zip(wanted.clone()).skip(field + 1) {
                if place.read.is_none()
                    && other.is_of_the_same_file(&want)
                    && join(&mut all, other.extent, span_bytes_max)
                {
                    place.read = read;
                }
            }
            // A read that has grown may have come close to what it passed by.
            if all == before {
                return all;
            }
        }
    }
}

/// Grows a read over another, where that serves; whole files only share with whole files, whose size and time are checked.
fn join(all: &mut Option<Extent>, other: Option<Extent>, span_bytes_max: u64) -> bool {
    let (Some(one), Some(other)) = (*all, other) else { return all.is_none() && other.is_none() };
    let both = one.joined(other, GAP_BYTES_MAX, span_bytes_max);
    *all = both.or(*all);
    both.is_some()
}

/// What the fields of a sample read, in their order.
///
/// * `part`: the one in hand, of a packed row.
/// * `starts`: what the starts of its clips are drawn from.
pub(super) fn wanted(
    work: &BatchWork,
    pick: Pick,
    part: Option<PartPlan>,
    starts: impl Fn() -> RowRng + Clone,
) -> impl Iterator<Item = Wanted<'_>> + Clone {
    let (job, snapshot) = (&work.job, work.job.snapshot(pick.source));
    let of_file = move |maker: &FieldMaker, row_bytes: u64| {
        let path = snapshot.columns()[maker.path_column()?].path(pick.sample.0);
        let extent = if let Some(part) = &part {
            maker.extent_of_part(job, part)
        } else {
            maker.extent(snapshot, pick.sample.0, row_bytes)
        };
        let extent = extent.map(|(offset_bytes, len_bytes)| Extent { offset_bytes, len_bytes });
        let file_bytes = maker.file_bytes(snapshot, pick.sample.0);
        Some(Wanted { path, frame: None, extent, file_bytes })
    };
    job.fields.iter().flat_map(move |field| {
        let maker = field.maker(pick.source);
        let frames = match maker {
            FieldMaker::Clip { clip, .. } => {
                Some(frames(clip.chosen(snapshot, pick.sample.0, starts.clone()), clip.frames()))
            }
            _ => None,
        };
        let file = of_file(maker, field.spec.sample_bytes().expect("its layout was made"));
        file.into_iter().chain(frames.into_iter().flatten())
    })
}

fn frames(chosen: Chosen<'_>, frames: u32) -> impl Iterator<Item = Wanted<'_>> + Clone {
    (0..frames).map(move |nth| Wanted {
        path: chosen.folder,
        frame: Some((chosen.names, chosen.number(nth))),
        extent: None,
        file_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 1 << 30;

    fn want(path: &str, extent: Option<(u64, u64)>) -> Wanted<'_> {
        let extent = extent.map(|(offset_bytes, len_bytes)| Extent { offset_bytes, len_bytes });
        Wanted::of(path.as_bytes(), extent)
    }

    /// The first `frames` files that a text names, in one folder.
    fn clip(names: &str, frames: u64) -> Vec<Wanted<'_>> {
        let names = FrameNames::known(names);
        let frame = |number| Wanted { frame: Some((names, number)), ..want("clip", None) };
        (0..frames).map(frame).collect()
    }

    /// The reads of these fields: of each the first field, where it begins and how long it is.
    fn reads(wanted: &[Wanted<'_>], limit_bytes: u64) -> Vec<(usize, Option<(u64, u64)>)> {
        let mut files = Files::default();
        files.plan(&wanted.iter().copied(), limit_bytes);
        let pair = |extent: Extent| (extent.offset_bytes, extent.len_bytes);
        files.several().reads.iter().map(|read| (read.field, read.extent.map(pair))).collect()
    }

    #[test]
    fn fields_side_by_side_in_one_file_are_one_read_and_others_stay_apart() {
        let jpg = want("a.tar", Some((512, 50_000)));
        let json = want("a.tar", Some((51_200, 300)));
        let far = want("a.tar", Some((1 << 20, 300)));
        let other = want("b.tar", Some((0, 50)));
        let expected = [(0, Some((512, 50_988))), (1, Some((0, 50))), (3, Some((1 << 20, 300)))];
        assert_eq!(reads(&[json, other, jpg, far], LIMIT), expected);
        assert_eq!(reads(&[jpg, json], 50_987).len(), 2, "never longer than a sample may be");
    }

    #[test]
    fn a_file_that_two_fields_need_whole_is_read_once_and_an_extent_of_it_by_itself() {
        let whole = want("a", None);
        assert_eq!(reads(&[whole, want("a", Some((0, 9))), whole], LIMIT), [(0, None), (1, Some((0, 9)))]);
    }

    #[test]
    fn a_field_between_two_that_are_too_far_apart_brings_them_together() {
        let gap = GAP_BYTES_MAX;
        let (first, last, middle) =
            (want("a", Some((0, 1))), want("a", Some((2 * gap, 1))), want("a", Some((gap, 1))));
        assert_eq!(reads(&[first, last, middle], LIMIT), [(0, Some((0, 2 * gap + 1)))]);
    }

    #[test]
    fn every_frame_of_a_clip_is_a_read_of_its_own_and_one_that_comes_again_is_none() {
        let mut wanted = clip("{08..10}.jpg/x.jpg", 4);
        let paths: Vec<_> = wanted
            .iter()
            .map(|want| {
                let mut buf = ReadBuf::default();
                want.address(&mut buf);
                String::from_utf8(buf.path).unwrap()
            })
            .collect();
        assert_eq!(paths, ["clip/08.jpg", "clip/09.jpg", "clip/10.jpg", "clip/x.jpg"]);
        wanted.extend([wanted[3], wanted[3]]);
        assert_eq!(reads(&wanted, LIMIT), [(0, None), (1, None), (2, None), (3, None)]);
    }

    #[test]
    fn what_is_still_to_come_is_taken_to_be_like_what_has_come() {
        let mut files = Files::default();
        assert_eq!(files.expected_bytes(7), 7, "a single read");
        files.plan(&clip("{1..4}.jpg", 4).into_iter(), LIMIT);
        assert_eq!(files.expected_bytes(10), 40);
        assert!(files.take(ReadBuf::default()).is_none());
        assert_eq!(files.expected_bytes(10), 20);
    }

    #[test]
    fn a_sample_with_a_single_read_plans_nothing() {
        let mut files = Files::default();
        assert_eq!((files.next(), files.is_used()), (None, false));
        let buf = files.take(ReadBuf::default()).expect("it is the last one");
        assert!(files.of_field(0, &buf).is_empty());
    }

    proptest! {
        #[test]
        fn every_field_gets_its_own_bytes_whatever_shares_a_read(
            fields in prop::collection::vec((0_u8..3, prop::option::of((0_u64..200_000, 0_u64..60_000))), 2..9),
            limit_bytes in prop::sample::select(vec![1_u64, 70_000, 1 << 20]),
        ) {
            let byte = |file: u8, at: u64| (at.wrapping_mul(0x9E37_79B9).wrapping_add(u64::from(file) * 77) >> 7) as u8;
            let file_bytes = |file: u8, extent: Option<(u64, u64)>| -> Vec<u8> {
                let (offset, len) = extent.unwrap_or((0, 300_000));
                (offset..offset + len).map(|at| byte(file, at)).collect()
            };
            let names = ["x", "y", "z"];
            let wanted: Vec<_> =
                fields.iter().map(|&(file, extent)| want(names[usize::from(file)], extent)).collect();
            let mut files = Files::default();
            files.plan(&wanted.iter().copied(), limit_bytes);
            let mut last = None;
            while let Some(Shared { field, extent }) = files.next() {
                let alone = wanted[field].extent.map_or(0, |extent| extent.len_bytes);
                if let Some(extent) = extent {
                    let fields = wanted.iter().filter_map(|want| want.extent).map(|extent| extent.len_bytes);
                    prop_assert!(extent.len_bytes <= limit_bytes.max(alone).max(fields.max().unwrap_or(0)));
                }
                let extent = extent.map(|extent| (extent.offset_bytes, extent.len_bytes));
                let mut buf = ReadBuf::default();
                let bytes = file_bytes(fields[field].0, extent);
                buf.bytes.overwrite(bytes.len()).expect("memory").copy_from_slice(&bytes);
                last = files.take(buf);
                if last.is_some() {
                    break;
                }
            }
            let last = last.expect("the last read ends it");
            for (number, &(file, extent)) in fields.iter().enumerate() {
                prop_assert_eq!(files.of_field(number, &last), &file_bytes(file, extent)[..]);
            }
        }
    }
}
