//! Which samples of a batch one read may serve: small ones whose bytes lie close together in one file, as those of a shard
//! do that is read in its order.
//!
//! They stand behind each other in their session's queue, start together and go to storage together, which brings their
//! bytes by one read where that serves. Each stays a sample of its own: what fails, fails and is asked for again alone.

use forebay_plan::{Extent, ReadPart, merge};

use super::Task;
use super::files::{self, Wanted};
use crate::prefetch::{Ask, ReadBudget};

/// A longer sample gains nothing: from about here on a read more costs nothing beside its bytes.
const SAMPLE_BYTES_MAX: u64 = 256 << 10;
/// Of one read: with what it takes to whole blocks, a mebibyte.
const SPAN_BYTES_MAX: u64 = (1 << 20) - (8 << 10);
/// More of them gain nothing: what a sample costs is no longer its read.
const SAMPLES_MAX: u64 = 64;
/// Unwanted bytes between two samples: an archive's headers, or a field that nobody asked for. The file is open, so a read
/// of its own costs a sample a microsecond or two where its bytes are in memory; copying these takes as long.
const GAP_BYTES_MAX: u64 = 8 << 10;
/// One read stands for at most this part of the reads, or bytes, that may be in flight: others stay beside it.
const BUDGET_PART: u64 = 8;

/// What one read may serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanLimits {
    samples: usize,
    bytes: u64,
}

impl SpanLimits {
    /// Within what may be in flight.
    pub(super) fn new(budget: ReadBudget) -> Self {
        let samples = (u64::from(budget.reads) / BUDGET_PART).min(SAMPLES_MAX) as usize;
        Self { samples, bytes: SPAN_BYTES_MAX.min(budget.bytes / BUDGET_PART) }
    }
}

/// The samples of a batch as they ask for bytes, in its order but for those that a read serves with one before them.
///
/// `sample_bytes_max`: of any sample.
pub(super) fn asks(
    tasks: Vec<Task>,
    limits: SpanLimits,
    sample_bytes_max: u64,
) -> impl Iterator<Item = Ask<Task>> {
    let places = places(tasks.len(), &groups(spots(&tasks, limits), limits));
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    places.into_iter().map(move |Place { sample, mates, gap_bytes }| {
        let item = tasks[sample].take().expect("each sample has one place");
        let known_bytes = item.known_bytes(sample_bytes_max).map(|bytes| bytes.saturating_add(gap_bytes));
        Ask { item, known_bytes, mates }
    })
}

/// Where all bytes of a sample lie, in one piece of one file.
#[derive(Clone, Copy, Debug)]
struct Spot<'a> {
    sample: usize,
    source: u32,
    /// Its first field's.
    want: Wanted<'a>,
    extent: Extent,
}

/// Samples of one read.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// In the batch's order.
    samples: Vec<usize>,
    /// What the read brings beside their bytes.
    gap_bytes: u64,
}

/// A sample's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sample: usize,
    /// How many right behind it share its read.
    mates: u32,
    gap_bytes: u64,
}

/// Those that are short and lie in one piece.
fn spots(tasks: &[Task], limits: SpanLimits) -> Vec<Spot<'_>> {
    // A packed row reads one part after another.
    let is_packed = |task: &Task| task.part_in_hand().is_some();
    if limits.samples < 2 || tasks.first().is_none_or(is_packed) {
        return Vec::new();
    }
    let numbered = tasks.iter().enumerate();
    numbered.filter_map(|(sample, task)| spot(sample, task)).collect()
}

fn spot(sample: usize, task: &Task) -> Option<Spot<'_>> {
    let (want, extent) = in_one_piece(task.wanted())?;
    let is_short = extent.len_bytes <= SAMPLE_BYTES_MAX;
    is_short.then_some(Spot { sample, source: task.pick.source, want, extent })
}

/// What the fields of a sample want, where one read brings all of it.
fn in_one_piece<'a>(mut wanted: impl Iterator<Item = Wanted<'a>>) -> Option<(Wanted<'a>, Extent)> {
    let first = wanted.next()?;
    let grow = |all: Extent, other: Wanted<'a>| {
        let extent = other.extent.filter(|_| other.is_of_the_same_file(&first))?;
        all.joined(extent, files::GAP_BYTES_MAX, SAMPLE_BYTES_MAX)
    };
    let extent = wanted.try_fold(first.extent?, grow)?;
    Some((first, extent))
}

/// Those of which one read serves several.
fn groups(mut spots: Vec<Spot<'_>>, limits: SpanLimits) -> Vec<Group> {
    spots.sort_by_key(|spot| (spot.source, spot.want.path));
    let is_same = |one: &Spot<'_>, other: &Spot<'_>| {
        one.source == other.source && one.want.is_of_the_same_file(&other.want)
    };
    let mut groups = Vec::new();
    for file in spots.chunk_by(is_same).filter(|file| file.len() > 1) {
        let extents: Vec<_> = file.iter().map(|spot| spot.extent).collect();
        for span in merge(&extents, GAP_BYTES_MAX, limits.bytes) {
            let shared = cut(&span.parts, limits).filter(|parts| parts.len() > 1);
            groups.extend(shared.map(|parts| group(file, parts)));
        }
    }
    groups
}

/// The samples of a span, by so many and so many bytes of theirs: where they lie in the same bytes each still has its own.
fn cut(mut parts: &[ReadPart], limits: SpanLimits) -> impl Iterator<Item = &[ReadPart]> {
    std::iter::from_fn(move || {
        let mut bytes = 0_u64;
        let mut fits = |part: &ReadPart| {
            bytes = bytes.saturating_add(part.len_bytes);
            bytes <= limits.bytes
        };
        let count = parts.iter().take(limits.samples).take_while(|part| fits(part)).count();
        let (group, rest) = parts.split_at(count.max(1).min(parts.len()));
        parts = rest;
        (!group.is_empty()).then_some(group)
    })
}

fn group(file: &[Spot<'_>], parts: &[ReadPart]) -> Group {
    let mut samples: Vec<_> = parts.iter().map(|part| file[part.extent_index].sample).collect();
    samples.sort_unstable();
    let end_bytes = parts.iter().map(|part| part.offset_bytes + part.len_bytes).max().unwrap_or(0);
    let span_bytes = end_bytes - parts[0].offset_bytes;
    let wanted_bytes = parts.iter().map(|part| part.len_bytes).sum();
    Group { samples, gap_bytes: span_bytes.saturating_sub(wanted_bytes) }
}

/// The order of a batch's `count` samples in which those of a group stand behind the first of them.
fn places(count: usize, groups: &[Group]) -> Vec<Place> {
    let mut group_of = vec![None; count];
    for group in groups {
        group.samples.iter().for_each(|&sample| group_of[sample] = Some(group));
    }
    let mut places = Vec::with_capacity(count);
    for (sample, group) in group_of.into_iter().enumerate() {
        let Some(Group { samples, gap_bytes }) = group else {
            places.push(Place { sample, mates: 0, gap_bytes: 0 });
            continue;
        };
        if samples[0] == sample {
            let mates = (0..samples.len() as u32).rev();
            let gaps = std::iter::once(*gap_bytes).chain(std::iter::repeat(0));
            let together = samples.iter().zip(mates).zip(gaps);
            places.extend(together.map(|((&sample, mates), gap_bytes)| Place { sample, mates, gap_bytes }));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SpanLimits = SpanLimits { samples: 4, bytes: 100_000 };

    /// Spots of a batch, one a sample, by the file's name, where in it and how long.
    fn spots<'a>(samples: &[(&'a str, u64, u64)]) -> Vec<Spot<'a>> {
        let spot = |(sample, &(path, offset_bytes, len_bytes)): (usize, &(&'a str, u64, u64))| {
            let extent = Extent { offset_bytes, len_bytes };
            Spot { sample, source: 0, want: Wanted::of(path.as_bytes(), Some(extent)), extent }
        };
        samples.iter().enumerate().map(spot).collect()
    }

    /// The samples of each group, and the bytes between them.
    fn grouped(samples: &[(&str, u64, u64)]) -> Vec<(Vec<usize>, u64)> {
        let groups = groups(spots(samples), LIMITS);
        groups.into_iter().map(|group| (group.samples, group.gap_bytes)).collect()
    }

    #[test]
    fn neighbours_in_a_file_share_a_read_whatever_stands_between_them_in_the_batch() {
        let samples = [("a", 3000, 1000), ("b", 0, 10), ("a", 0, 1000), ("b", 8202, 10), ("b", 10, 8)];
        assert_eq!(grouped(&samples), [(vec![0, 2], 2000), (vec![1, 3, 4], 8184)]);
        assert_eq!(grouped(&[("a", 0, 10), ("a", 10 + GAP_BYTES_MAX + 1, 10), ("b", 10, 10)]), []);
    }

    #[test]
    fn a_read_serves_so_many_samples_and_bytes_and_no_more() {
        let tiny: Vec<_> = (0..9).map(|number| ("a", 10 * number, 10)).collect();
        assert_eq!(grouped(&tiny), [(vec![0, 1, 2, 3], 0), (vec![4, 5, 6, 7], 0)], "the ninth is alone");
        let large: Vec<_> = (0..4).map(|number| ("a", 40_000 * number, 40_000)).collect();
        assert_eq!(grouped(&large), [(vec![0, 1], 0), (vec![2, 3], 0)]);
    }

    #[test]
    fn samples_that_lie_in_the_same_bytes_share_them() {
        assert_eq!(grouped(&[("a", 5, 100), ("a", 5, 100), ("a", 50, 10)]), [(vec![0, 1, 2], 0)]);
        let long = ("a", 0, 40_000);
        assert_eq!(
            grouped(&[long, long, long, long]),
            [(vec![0, 1], 0), (vec![2, 3], 0)],
            "each has its own copy"
        );
    }

    #[test]
    fn sources_share_no_read_even_of_files_of_one_name() {
        let mut spots = spots(&[("a", 0, 10), ("a", 10, 10)]);
        spots[1].source = 1;
        assert!(groups(spots, LIMITS).is_empty());
    }

    #[test]
    fn a_sample_in_two_pieces_or_in_two_files_has_its_reads_for_itself() {
        let extent = |offset_bytes| Some(Extent { offset_bytes, len_bytes: 10 });
        let (one, next, far) = (extent(0), extent(600), extent(1 << 20));
        let all = |wanted: &[(&'static str, Option<Extent>)]| {
            let wanted = wanted.iter().map(|(path, extent)| Wanted::of(path.as_bytes(), *extent));
            in_one_piece(wanted).map(|(_, extent)| (extent.offset_bytes, extent.len_bytes))
        };
        assert_eq!(all(&[("a", one)]), Some((0, 10)));
        assert_eq!(all(&[("a", next), ("a", one)]), Some((0, 610)));
        assert_eq!(all(&[("a", one), ("a", far)]), None);
        assert_eq!(all(&[("a", one), ("b", next)]), None);
        assert_eq!(all(&[("a", None)]), None);
        assert_eq!(all(&[]), None);
    }

    #[test]
    fn those_of_a_group_stand_behind_its_first_and_the_read_asks_for_what_lies_between() {
        let group = |samples: &[usize], gap_bytes| Group { samples: samples.to_vec(), gap_bytes };
        let places = places(6, &[group(&[1, 3, 4], 7), group(&[2, 5], 0)]);
        let place = |sample, mates, gap_bytes| Place { sample, mates, gap_bytes };
        let expected =
            [place(0, 0, 0), place(1, 2, 7), place(3, 1, 0), place(4, 0, 0), place(2, 1, 0), place(5, 0, 0)];
        assert_eq!(places, expected);
    }

    proptest! {
        #[test]
        fn every_sample_has_one_place_and_those_together_lie_within_a_read(
            samples in prop::collection::vec((0_usize..3, 0_u64..200_000, 0_u64..50_000), 0..40),
            limit in 2_usize..9,
        ) {
            let samples: Vec<_> = samples.iter().map(|(file, offset, len)| (["a", "b", "c"][*file], *offset, *len)).collect();
            let limits = SpanLimits { samples: limit, ..LIMITS };
            let places = places(samples.len(), &groups(spots(&samples), limits));
            let mut seen: Vec<_> = places.iter().map(|place| place.sample).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..samples.len()));
            let mut rest = &places[..];
            while let Some(first) = rest.first() {
                let (group, behind) = rest.split_at(1 + first.mates as usize);
                let of = group.iter().map(|place| samples[place.sample]);
                let begin = of.clone().map(|(_, offset, _)| offset).min().expect("one");
                let end = of.clone().map(|(_, offset, len)| offset + len).max().expect("one");
                let longest = of.clone().map(|(_, _, len)| len).max().expect("one");
                prop_assert!(group.len() <= limit && end - begin <= LIMITS.bytes.max(longest));
                prop_assert!(of.clone().all(|(path, ..)| path == samples[first.sample].0));
                let wanted: u64 = of.map(|(_, _, len)| len).sum();
                prop_assert!(group.len() == 1 || first.gap_bytes + wanted >= end - begin);
                prop_assert!(wanted <= LIMITS.bytes.max(longest));
                rest = behind;
            }
        }
    }
}
