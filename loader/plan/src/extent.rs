//! Merges extents that lie close together, so that one read serves several samples.

/// A range of bytes in one stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// From the start of the object.
    pub offset_bytes: u64,
    /// How many.
    pub len_bytes: u64,
}

impl Extent {
    /// The first byte behind it, or `None` where that overflows 64 bits.
    pub fn end_bytes(self) -> Option<u64> {
        self.offset_bytes.checked_add(self.len_bytes)
    }

    /// Both and what lies between them, where one read may serve both: with at most `gap_bytes_max` unwanted bytes between
    /// them, and at most `span_bytes_max` in all unless one of them already holds the other. In either order.
    pub fn joined(self, other: Self, gap_bytes_max: u64, span_bytes_max: u64) -> Option<Self> {
        let (first, second) =
            if other.offset_bytes < self.offset_bytes { (other, self) } else { (self, other) };
        let (first_end, second_end) = (first.end_bytes()?, second.end_bytes()?);
        let gap_bytes = second.offset_bytes.saturating_sub(first_end);
        let both = Self { len_bytes: first_end.max(second_end) - first.offset_bytes, ..first };
        let fits = both.len_bytes <= span_bytes_max || both == first || both == second;
        (gap_bytes <= gap_bytes_max && fits).then_some(both)
    }
}

/// One of the extents that a read serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPart {
    /// Which of the extents given to [`merge`], from 0.
    pub extent_index: usize,
    /// Where it begins in the span's bytes.
    pub offset_bytes: u64,
    /// How long it is.
    pub len_bytes: u64,
}

/// Extents merged for one read: what to read and which parts of it are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSpan {
    /// From the first wanted byte to the last.
    pub extent: Extent,
    /// The extents inside, by rising offset; at least one.
    pub parts: Vec<ReadPart>,
}

/// Merges extents of one object into reads.
///
/// Neighbours share a read where at most `gap_bytes_max` unwanted bytes lie between them and the read stays within
/// `span_bytes_max`. Extents may touch, overlap, repeat, be empty and come in any order. An extent is never split:
/// one longer than `span_bytes_max` is a read of its own, and so is one whose end overflows 64 bits. Spans come by
/// rising offset, and every extent is in exactly one.
pub fn merge(extents: &[Extent], gap_bytes_max: u64, span_bytes_max: u64) -> Vec<ReadSpan> {
    let mut indices: Vec<usize> = (0..extents.len()).collect();
    indices.sort_by_key(|&i| (extents[i].offset_bytes, extents[i].len_bytes));
    let mut spans: Vec<ReadSpan> = Vec::new();
    for extent_index in indices {
        let extent = extents[extent_index];
        let merged = spans.last().and_then(|span| span.extent.joined(extent, gap_bytes_max, span_bytes_max));
        let (grown, mut parts) = match merged {
            Some(grown) => (grown, spans.pop().expect("a span was just merged with").parts),
            None => (extent, Vec::new()),
        };
        let offset_bytes = extent.offset_bytes - grown.offset_bytes;
        parts.push(ReadPart { extent_index, offset_bytes, len_bytes: extent.len_bytes });
        spans.push(ReadSpan { extent: grown, parts });
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(offset_bytes: u64, len_bytes: u64) -> Extent {
        Extent { offset_bytes, len_bytes }
    }

    fn spans(extents: &[Extent], gap_bytes_max: u64, span_bytes_max: u64) -> Vec<(u64, u64, usize)> {
        let spans = merge(extents, gap_bytes_max, span_bytes_max);
        spans.iter().map(|s| (s.extent.offset_bytes, s.extent.len_bytes, s.parts.len())).collect()
    }

    #[test]
    fn neighbours_share_a_read_up_to_the_gap_and_the_span() {
        let extents = [extent(100, 10), extent(0, 10), extent(14, 6)];
        assert_eq!(spans(&extents, 3, 1000), [(0, 10, 1), (14, 6, 1), (100, 10, 1)]);
        assert_eq!(spans(&extents, 4, 1000), [(0, 20, 2), (100, 10, 1)]);
        assert_eq!(spans(&extents, 80, 1000), [(0, 110, 3)]);
        assert_eq!(spans(&extents, 80, 109), [(0, 20, 2), (100, 10, 1)]);
    }

    #[test]
    fn an_extent_over_the_span_limit_is_read_whole_and_serves_what_lies_inside() {
        assert_eq!(spans(&[extent(0, 50), extent(10, 5), extent(60, 5)], 100, 20), [(0, 50, 2), (60, 5, 1)]);
    }

    #[test]
    fn two_extents_join_in_either_order_or_not_at_all() {
        let pairs = [
            ((0, 10), (12, 3), Some((0, 15))),
            ((0, 10), (13, 3), None),
            ((0, 30), (28, 3), None),
            ((0, 30), (4, 5), Some((0, 30))),
            ((0, 30), (0, 5), Some((0, 30))),
            ((3, 0), (3, 0), Some((3, 0))),
            ((u64::MAX, 2), (u64::MAX, 2), None),
        ];
        for (one, other, both) in pairs {
            let (one, other) = (extent(one.0, one.1), extent(other.0, other.1));
            let both = both.map(|(offset, len)| extent(offset, len));
            assert_eq!(
                (one.joined(other, 2, 20), other.joined(one, 2, 20)),
                (both, both),
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn parts_say_where_each_extent_lies_in_the_span() {
        let span = merge(&[extent(30, 5), extent(20, 4)], 10, 100).remove(0);
        let part = |extent_index, offset_bytes, len_bytes| ReadPart { extent_index, offset_bytes, len_bytes };
        assert_eq!(span.parts, [part(1, 0, 4), part(0, 10, 5)]);
    }

    #[test]
    fn an_extent_that_overflows_stays_alone_and_nothing_panics() {
        let extents = [extent(u64::MAX, 2), extent(u64::MAX - 5, 5), extent(u64::MAX - 1, u64::MAX)];
        assert_eq!(merge(&extents, u64::MAX, u64::MAX).len(), 3);
        assert_eq!(merge(&[], 0, 0), []);
    }

    proptest! {
        #[test]
        fn every_extent_is_whole_in_exactly_one_span_within_the_limits(
            extents in prop::collection::vec((0_u64..500, 0_u64..40).prop_map(|(o, l)| extent(o, l)), 0..40),
            gap_bytes_max in 0_u64..30,
            span_bytes_max in 0_u64..200,
        ) {
            let spans = merge(&extents, gap_bytes_max, span_bytes_max);
            let mut seen = vec![0; extents.len()];
            for span in &spans {
                let longest = span.parts.iter().map(|part| part.len_bytes).max().expect("a part");
                prop_assert!(span.extent.len_bytes <= span_bytes_max.max(longest));
                let mut covered_bytes = span.extent.offset_bytes;
                for part in &span.parts {
                    seen[part.extent_index] += 1;
                    let placed = extent(span.extent.offset_bytes + part.offset_bytes, part.len_bytes);
                    prop_assert_eq!(placed, extents[part.extent_index]);
                    prop_assert!(placed.offset_bytes <= covered_bytes + gap_bytes_max);
                    covered_bytes = covered_bytes.max(placed.offset_bytes + placed.len_bytes);
                }
                prop_assert_eq!(Some(covered_bytes), span.extent.end_bytes());
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
            prop_assert!(spans.is_sorted_by_key(|span| span.extent.offset_bytes));
        }

        #[test]
        fn two_spans_in_a_row_could_not_have_been_one(
            extents in prop::collection::vec((0_u64..500, 0_u64..40).prop_map(|(o, l)| extent(o, l)), 0..40),
            gap_bytes_max in 0_u64..30,
            span_bytes_max in 0_u64..200,
        ) {
            for pair in merge(&extents, gap_bytes_max, span_bytes_max).windows(2) {
                let first_part = extents[pair[1].parts[0].extent_index];
                prop_assert_eq!(pair[0].extent.joined(first_part, gap_bytes_max, span_bytes_max), None);
            }
        }
    }
}
