//! Which part of the resized image is visible in the result, and which part of the source it needs.
//!
//! After `Resize(256)` a `CenterCrop(224)` keeps 77 % of the pixels; only those are decoded and computed.

use super::draw::Draw;
use super::kernels::{Filter, Whole};
use crate::decode::{Part, Pixels, Rect};

/// One side of the geometry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Side {
    /// Zeros before the visible part, in pixels of the result.
    pub pad: u32,
    /// Length of the visible part, in pixels of the result.
    pub len: u32,
    /// First pixel of the source that is needed, relative to the crop.
    pub need_start: u32,
    /// Pixels of the source that are needed.
    pub need_len: u32,
    /// Where the visible part starts in the needed source, in pixels of the source.
    pub from: f64,
    /// How long the visible part is in the source, in pixels of the source.
    pub span: f64,
    /// The crop and all of its resized image.
    pub whole: Whole,
}

impl Side {
    /// Every visible pixel is one pixel of the source.
    #[expect(clippy::float_cmp, reason = "both are whole numbers exactly where nothing is scaled")]
    pub fn is_unscaled(&self) -> bool {
        self.span == f64::from(self.len) && self.from.fract() == 0.0
    }
}

impl Side {
    /// The same over an image with one pixel for `by` of this one's.
    ///
    /// * `start`: where what is needed begins, in pixels of this image behind the first that there is of the other.
    /// * `held_len`: how many there are of the other.
    fn shrunk(&self, start: i64, held_len: u32, by: u32) -> Side {
        let (start, scale) = (start as f64, f64::from(by));
        let first = (start / scale).floor();
        let end = ((start + f64::from(self.need_len)) / scale).ceil().min(f64::from(held_len));
        let (need_start, need_len) = (first as u32, (end - first) as u32);
        let from = (start + self.from) / scale - first;
        let span = (self.span / scale).min(f64::from(need_len) - from);
        // Its filters are antialiased and count in no whole.
        let whole = Whole { source_len: need_len, len: self.len, first: 0, skipped: 0 };
        Side { need_start, need_len, from, span, whole, ..*self }
    }
}

/// `start` is where the result, `out_len` long, begins in the resized image.
fn side(crop_len: u32, resized_len: u32, start: i64, out_len: u32, filter: Filter) -> Side {
    let first = start.max(0);
    let end = (start + i64::from(out_len)).min(i64::from(resized_len)).max(first);
    let (pad, len) = ((first - start) as u32, (end - first) as u32);
    let whole = Whole { source_len: crop_len, len: resized_len, first: first as u32, skipped: 0 };
    if len == resized_len {
        let span = f64::from(crop_len);
        return Side { pad, len, need_start: 0, need_len: crop_len, from: 0.0, span, whole };
    }
    let scale = f64::from(crop_len) / f64::from(resized_len);
    let reach = filter.reach(scale);
    let (from, to) = (first as f64 * scale, end as f64 * scale);
    let need_start = (from - reach).floor().max(0.0) as u32;
    let need_end = ((to + reach).ceil() as u32).min(crop_len);
    let need_len = need_end - need_start;
    let from = from - f64::from(need_start);
    let span = (len as f64 * scale).min(f64::from(need_len) - from);
    let whole = Whole { skipped: need_start, ..whole };
    Side { pad, len, need_start, need_len, from, span, whole }
}

/// Both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub x: Side,
    pub y: Side,
}

impl Window {
    /// What a result of `out_height` x `out_width` shows of a draw that is resized with `filter`.
    pub fn of(draw: &Draw, out_height: u32, out_width: u32, filter: Filter) -> Window {
        Window {
            x: side(draw.crop.width, draw.resized_width, draw.left, out_width, filter),
            y: side(draw.crop.height, draw.resized_height, draw.top, out_height, filter),
        }
    }

    /// The pixels of `source` that the draw needs, and the same window over these pixels alone. `source` holds what
    /// [`Window::need`] says, or an image made smaller of it.
    pub fn within<'a>(&self, draw: &Draw, source: &Part<'a>) -> (Pixels<'a>, Window) {
        let need = self.need(draw);
        if source.shrink == 1 {
            let (left, top) = (i64::from(need.left) - source.left, i64::from(need.top) - source.top);
            return (source.pixels.part(Rect { left: left as u32, top: top as u32, ..need }), *self);
        }
        let region = source.pixels.region;
        let x = self.x.shrunk(i64::from(need.left) - source.left, region.width, source.shrink);
        let y = self.y.shrunk(i64::from(need.top) - source.top, region.height, source.shrink);
        let part = Rect { left: x.need_start, top: y.need_start, width: x.need_len, height: y.need_len };
        (source.pixels.part(part), Window { x, y })
    }

    /// The part of the image that has to be decoded.
    pub fn need(&self, draw: &Draw) -> Rect {
        Rect {
            left: draw.crop.left + self.x.need_start,
            top: draw.crop.top + self.y.need_start,
            width: self.x.need_len,
            height: self.y.need_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, side as filtered};
    use crate::transform::kernels::Filter;

    fn side(crop_len: u32, resized_len: u32, start: i64, out_len: u32) -> Side {
        filtered(crop_len, resized_len, start, out_len, Filter::DEFAULT)
    }

    #[test]
    fn a_wholly_visible_side_needs_the_whole_crop() {
        let s = side(500, 224, 0, 224);
        assert_eq!((s.pad, s.len, s.need_start, s.need_len, s.from, s.span), (0, 224, 0, 500, 0.0, 500.0));
    }

    #[test]
    fn the_middle_needs_its_own_source_and_the_filters_reach() {
        let s = side(512, 256, 16, 224);
        assert_eq!((s.pad, s.len, s.need_start, s.need_len, s.from, s.span), (0, 224, 29, 454, 3.0, 448.0));
    }

    #[test]
    fn a_result_larger_than_the_image_is_padded() {
        let s = side(100, 100, -62, 224);
        assert_eq!((s.pad, s.len, s.need_len), (62, 100, 100));
    }
}
