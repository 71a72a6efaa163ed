//! One window, grouped: its rows, and what a consumer needs to know of each.

use std::ops::Range;

use super::Cut;
use super::group::Groups;
use crate::orders::Pick;

/// A sample, or a piece of one, in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// The row of the inner order that it comes from. Draws are keyed by it, so that they differ within a row too.
    pub position: u64,
    /// Which sample.
    pub pick: Pick,
    /// Where in the sample it begins: 0 but for the later pieces of a split one.
    pub start: u32,
    /// How much of it there is.
    pub len: u32,
}

/// The rows of one window. Made by [`super::WindowedEpoch::window`]; about 40 bytes a sample.
#[derive(Debug, Clone)]
pub struct Window {
    first_row: u64,
    cut: Cut,
    groups: Groups,
}

impl Window {
    pub(super) fn new(first_row: u64, cut: Cut, groups: Groups) -> Self {
        Self { first_row, cut, groups }
    }

    /// The rows of the epoch that it holds.
    pub fn rows(&self) -> Range<u64> {
        self.first_row..self.first_row + self.groups.len() as u64
    }

    /// A row, by its number in the epoch, which is one of [`Window::rows`].
    pub fn row(&self, row: u64) -> Row<'_> {
        assert!(self.rows().contains(&row), "row {row} of a window of rows {:?}", self.rows());
        Row { cut: &self.cut, pieces: self.groups.row((row - self.first_row) as u32) }
    }
}

/// One row of a window: one or more parts, in the order of the positions they come from.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    cut: &'a Cut,
    pieces: &'a [super::group::Piece],
}

impl<'a> Row<'a> {
    /// What it holds, end to end.
    pub fn parts(self) -> impl ExactSizeIterator<Item = Part> + 'a {
        self.pieces.iter().map(move |piece| Part {
            position: self.cut.first + piece.at as u64,
            pick: self.cut.picks[piece.at as usize],
            start: piece.start,
            len: piece.len,
        })
    }

    /// Tokens of all parts together.
    pub fn tokens(self) -> u64 {
        self.pieces.iter().map(|piece| piece.len as u64).sum()
    }

    /// The longest part: what a batch is padded to.
    pub fn longest(self) -> u32 {
        self.pieces.iter().map(|piece| piece.len).max().unwrap_or(0)
    }

    /// Where parts begin, and the end of the last: `cu_seqlens`. A token attends to those between two neighbours of these.
    pub fn boundaries(self) -> impl Iterator<Item = u64> + 'a {
        let ends = self.pieces.iter().scan(0, |end, piece| {
            *end += piece.len as u64;
            Some(*end)
        });
        std::iter::once(0).chain(ends)
    }

    /// Each token's place in its part, from 0; add [`Part::start`] for its place in the document.
    pub fn position_ids(self) -> impl Iterator<Item = u32> + 'a {
        self.pieces.iter().flat_map(|piece| 0..piece.len)
    }

    /// The number of each token's part in the row, from 0.
    pub fn segment_ids(self) -> impl Iterator<Item = u32> + 'a {
        let numbered = self.pieces.iter().enumerate();
        numbered.flat_map(|(number, piece)| std::iter::repeat_n(number as u32, piece.len as usize))
    }
}
