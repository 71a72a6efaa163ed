//! Several views of each row of a batch: where they stand when a batch is laid out flat.

/// How the views of a batch's rows follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViewLayout {
    /// All views of a row side by side: `[batch, view, ..]`.
    RowMajor,
    /// The first view of all rows, then the second: `[view, batch, ..]`, what `torch.cat(views)` gives.
    ViewMajor,
}

/// `count` views of each of `rows` rows. The draws of view `v` at a position are `prf.rng(position, v, attempt)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Views {
    /// Rows of the batch, at least 1.
    pub rows: u32,
    /// Views of each, at least 1.
    pub count: u32,
    /// How they lie.
    pub layout: ViewLayout,
}

impl Views {
    /// Where view `view` of row `row` stands among all `rows * count`.
    pub fn flat(self, row: u32, view: u32) -> u64 {
        assert!(row < self.rows && view < self.count, "view {view} of row {row} of {self:?}");
        match self.layout {
            ViewLayout::RowMajor => row as u64 * self.count as u64 + view as u64,
            ViewLayout::ViewMajor => view as u64 * self.rows as u64 + row as u64,
        }
    }

    /// The row and the view that stand at `flat`, which is below `rows * count`.
    pub fn row_and_view(self, flat: u64) -> (u32, u32) {
        let (rows, count) = (self.rows as u64, self.count as u64);
        assert!(flat < rows * count, "place {flat} of {self:?}");
        match self.layout {
            ViewLayout::RowMajor => ((flat / count) as u32, (flat % count) as u32),
            ViewLayout::ViewMajor => ((flat % rows) as u32, (flat / rows) as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_of_every_row_has_one_place_and_is_found_there() {
        for layout in [ViewLayout::RowMajor, ViewLayout::ViewMajor] {
            let views = Views { rows: 5, count: 3, layout };
            let mut seen = [false; 15];
            for (row, view) in (0..5).flat_map(|row| (0..3).map(move |view| (row, view))) {
                let flat = views.flat(row, view);
                assert!(!std::mem::replace(&mut seen[flat as usize], true));
                assert_eq!(views.row_and_view(flat), (row, view));
            }
        }
    }

    #[test]
    fn row_major_keeps_a_rows_views_together_and_view_major_the_rows_of_a_view() {
        let views = Views { rows: 5, count: 3, layout: ViewLayout::RowMajor };
        assert_eq!((views.flat(1, 0), views.flat(0, 1)), (3, 1));
        let views = Views { layout: ViewLayout::ViewMajor, ..views };
        assert_eq!((views.flat(1, 0), views.flat(0, 1)), (1, 5));
    }

    #[test]
    #[should_panic(expected = "view 3 of row 0")]
    fn a_view_that_is_not_there_is_refused() {
        Views { rows: 5, count: 3, layout: ViewLayout::RowMajor }.flat(0, 3);
    }
}
