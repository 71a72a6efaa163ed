//! Where the rows of a resized image go: into the sample as they are, or through one row of scratch that is padded and
//! laid out.

use super::kernels::Target;
use super::layout::Layout;
use super::window::Window;
use crate::buffer::grown;

/// A sample's rows.
pub(super) struct SampleRows<'a> {
    layout: &'a Layout,
    /// Bytes of a whole row, RGB8.
    row_bytes: usize,
    /// Where the visible part of a row begins, and how long it is, in bytes.
    visible: (usize, usize),
    /// Rows of zeros above the visible part.
    above: usize,
    /// One row, where rows are not written in place.
    scratch: Option<&'a mut [u8]>,
    target: &'a mut [u8],
}

impl<'a> SampleRows<'a> {
    /// The rows of a sample of `height * width` pixels. What lies outside of the image is zero and written now.
    pub fn new(
        layout: &'a Layout,
        (height, width): (u32, u32),
        window: &Window,
        mirrored: bool,
        scratch: &'a mut Vec<u8>,
        target: &'a mut [u8],
    ) -> Self {
        let (x, y) = (&window.x, &window.y);
        let pad = if mirrored { width - x.pad - x.len } else { x.pad };
        let row_bytes = width as usize * 3;
        let in_place = layout.is_rgb8() && x.len == width;
        let mut rows = Self {
            layout,
            row_bytes,
            visible: (pad as usize * 3, x.len as usize * 3),
            above: y.pad as usize,
            scratch: (!in_place).then(|| &mut grown(scratch, row_bytes)[..row_bytes]),
            target,
        };
        rows.pad(0..y.pad as usize);
        rows.pad((y.pad + y.len) as usize..height as usize);
        rows
    }

    /// Rows of zeros.
    fn pad(&mut self, rows: std::ops::Range<usize>) {
        if let Some(scratch) = &mut self.scratch {
            // The visible rows leave what is beside them as it is.
            scratch.fill(0);
            rows.for_each(|y| self.layout.write_row(scratch, y, self.target));
        } else {
            self.target[rows.start * self.row_bytes..rows.end * self.row_bytes].fill(0);
        }
    }
}

impl Target for SampleRows<'_> {
    fn row(&mut self, y: usize) -> &mut [u8] {
        let (start, len) = self.visible;
        match &mut self.scratch {
            Some(scratch) => &mut scratch[start..start + len],
            None => &mut self.target[(self.above + y) * self.row_bytes..][..len],
        }
    }

    fn written(&mut self, y: usize) {
        if let Some(scratch) = &self.scratch {
            self.layout.write_row(scratch, self.above + y, self.target);
        }
    }
}
