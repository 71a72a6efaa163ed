//! Along one side of an image: which pixels of the source each pixel of the result is made of, and how much of each.
//!
//! Antialiased weights are those of Pillow and torchvision: a filter as wide as the larger of a source and a target
//! pixel, normalised. Without antialias they are torch's: a filter as wide as a source pixel, where pixels beyond an edge
//! are those at the edge. All as 16-bit whole numbers of the finest precision that holds the largest of them.

use super::filter::{Filter, cubic, triangle};

/// A result's pixels are sums of so many bits before they are shifted down: weights of one pixel add up to 1.
const PRECISION_MAX: u32 = 21;

/// One side's weights; its memory is used again for every image.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    /// Of each pixel of the result, the first of the source that counts.
    starts: Vec<u32>,
    /// `taps` a pixel of the result, zeros after those that count.
    weights: Vec<i16>,
    taps: usize,
    precision: u32,
    /// Weights before they are rounded, those of one pixel behind those of another.
    exact: Vec<f64>,
    /// Where each pixel's end there.
    ends: Vec<usize>,
}

/// Where a result's pixels lie along one side of the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Pixels of the source.
    pub source_len: u32,
    /// Where the result begins, in pixels of the source.
    pub from: f64,
    /// How much of the source it shows, above 0.
    pub span: f64,
    /// Pixels of the result.
    pub len: u32,
    /// What this is a part of.
    pub whole: Whole,
}

/// A whole side. Filters without antialias count in it, so that a part has the very pixels that the whole has there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Whole {
    /// Pixels of the whole source.
    pub source_len: u32,
    /// Pixels of the whole result.
    pub len: u32,
    /// Where the part of the result begins in it.
    pub first: u32,
    /// Where the part of the source does.
    pub skipped: u32,
}

impl Whole {
    /// Pixels of the source a pixel of the result.
    fn scale(&self) -> f64 {
        f64::from(self.source_len) / f64::from(self.len)
    }
}

impl Span {
    /// All of a side.
    pub fn all(source_len: u32, len: u32) -> Self {
        let whole = Whole { source_len, len, first: 0, skipped: 0 };
        Self { source_len, from: 0.0, span: f64::from(source_len), len, whole }
    }
}

impl Axis {
    /// Computes the weights of a side. With `mirrored` the result is written from its other end.
    ///
    /// How fine they are follows from the whole side, as torch resizes it before it crops. The default filter has always
    /// asked the part alone, and its bytes are promised.
    pub fn set(&mut self, side: Span, filter: Filter, mirrored: bool) {
        let mut largest = 0.0;
        if side.len != side.whole.len && filter != Filter::DEFAULT {
            self.fill(Span::all(side.whole.source_len, side.whole.len), filter, false);
            largest = self.largest();
        }
        self.fill(side, filter, mirrored);
        self.round(self.largest().max(largest));
    }

    /// The weights of a side before they are rounded.
    fn fill(&mut self, side: Span, filter: Filter, mirrored: bool) {
        self.starts.clear();
        self.ends.clear();
        self.exact.clear();
        let order = (0..side.len).map(|to| if mirrored { side.len - 1 - to } else { to });
        match filter {
            Filter::Bilinear { antialias: true } => self.antialiased(&side, order, 1.0, triangle),
            Filter::Bicubic { antialias: true } => self.antialiased(&side, order, 2.0, |x| cubic(-0.5, x)),
            Filter::Bilinear { antialias: false } => order.for_each(|to| self.push_linear(to, &side.whole)),
            Filter::Bicubic { antialias: false } => order.for_each(|to| self.push_cubic(to, &side.whole)),
            Filter::Nearest => order.for_each(|to| self.push_one(nearest(to, &side.whole), &side.whole)),
            Filter::NearestExact => {
                order.for_each(|to| self.push_one(nearest_exact(to, &side.whole), &side.whole));
            }
        }
    }

    /// Pixels of the result.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// [`Axis::start`] of all pixels: they rise, or fall where the result is mirrored.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Weights of each pixel, zeros included; even.
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// By how many bits a weighted sum is shifted down.
    pub fn precision(&self) -> u32 {
        self.precision
    }

    /// The first pixel of the source that counts for pixel `to`.
    pub fn start(&self, to: usize) -> usize {
        self.starts[to] as usize
    }

    /// The weights of pixel `to`, `taps` of them.
    pub fn weights(&self, to: usize) -> &[i16] {
        &self.weights[to * self.taps..(to + 1) * self.taps]
    }

    /// The weights of the pixels in `order`. `weight`: of the filter at a distance, 0 from `support` on.
    fn antialiased(
        &mut self,
        side: &Span,
        order: impl Iterator<Item = u32>,
        support: f64,
        weight: impl Fn(f64) -> f64,
    ) {
        // In this order of operations, so that the last bits are those of every other implementation.
        let scale = (side.from + side.span - side.from) / f64::from(side.len);
        let stretch = scale.max(1.0);
        for to in order {
            let center = side.from + (f64::from(to) + 0.5) * scale;
            self.push_all(center, stretch, support * stretch, side.source_len, &weight);
        }
    }

    fn push_all(
        &mut self,
        center: f64,
        stretch: f64,
        reach: f64,
        source_len: u32,
        weight: impl Fn(f64) -> f64,
    ) {
        let first = (center - reach).floor().max(0.0) as u32;
        let end = ((center + reach).ceil().min(f64::from(source_len)) as u32).max(first + 1);
        let weight = |at: u32| weight(((f64::from(at) - (center - 0.5)) * (1.0 / stretch)).abs());
        // Zeros at either end say nothing and would only take room. A cubic's own zeros inside count, so that starts rise.
        let counts = |at: &u32| f64::from(*at) > center - reach || weight(*at) != 0.0;
        let first = (first..end).find(counts).unwrap_or(first);
        let begin = self.exact.len();
        self.exact.extend((first..end).map(weight));
        while self.exact.len() > begin + 1 && self.exact.last() == Some(&0.0) {
            self.exact.pop();
        }
        let sum: f64 = self.exact[begin..].iter().sum();
        self.exact[begin..].iter_mut().for_each(|weight| *weight /= sum);
        self.starts.push(first);
        self.ends.push(self.exact.len());
    }

    /// Two neighbours, of which the first lies inside.
    fn push_linear(&mut self, to: u32, whole: &Whole) {
        let place = ((f64::from(whole.first + to) + 0.5) * whole.scale() - 0.5).max(0.0);
        self.push_neighbours(place, 0, whole, |distance| triangle(distance.abs()), 2);
    }

    /// Four neighbours, one of them before the place.
    fn push_cubic(&mut self, to: u32, whole: &Whole) {
        let place = (f64::from(whole.first + to) + 0.5) * whole.scale() - 0.5;
        self.push_neighbours(place, 1, whole, |distance| cubic(-0.75, distance.abs()), 4);
    }

    /// `taps` pixels from `before` the one at `place` on; what lies beyond an edge counts for the pixel at the edge.
    fn push_neighbours(
        &mut self,
        place: f64,
        before: i64,
        whole: &Whole,
        weight: impl Fn(f64) -> f64,
        taps: i64,
    ) {
        let last = i64::from(whole.source_len) - 1;
        let at = (place.floor() as i64).min(last);
        let past = (place - at as f64).clamp(0.0, 1.0);
        let first = (at - before).clamp(0, last);
        let end = (at - before + taps - 1).clamp(0, last) + 1;
        let begin = self.exact.len();
        self.exact.resize(begin + (end - first) as usize, 0.0);
        for tap in 0..taps {
            let pixel = (at - before + tap).clamp(0, last);
            self.exact[begin + (pixel - first) as usize] += weight((tap - before) as f64 - past);
        }
        self.starts.push(first as u32 - whole.skipped);
        self.ends.push(self.exact.len());
    }

    /// One pixel alone.
    fn push_one(&mut self, pixel: u32, whole: &Whole) {
        self.exact.push(1.0);
        self.starts.push(pixel - whole.skipped);
        self.ends.push(self.exact.len());
    }

    /// The largest weight.
    fn largest(&self) -> f64 {
        self.exact.iter().fold(0.0_f64, |largest, weight| largest.max(*weight))
    }

    /// Turns the weights into whole numbers, as fine as `largest` allows.
    fn round(&mut self, largest: f64) {
        let fits =
            |precision: u32| (largest * f64::from(1_u32 << (precision + 1))).round() < f64::from(1 << 15);
        self.precision = (0..PRECISION_MAX).find(|precision| !fits(*precision)).unwrap_or(PRECISION_MAX);
        let unit = f64::from(1_u32 << self.precision);
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let most = begins.zip(&self.ends).map(|(begin, end)| end - begin).max().unwrap_or(0);
        // Taps are taken two at a time.
        self.taps = most.next_multiple_of(2);
        self.weights.clear();
        let mut begin = 0;
        for (to, &end) in self.ends.iter().enumerate() {
            let whole = self.exact[begin..end].iter().map(|weight| (weight * unit).round() as i16);
            self.weights.extend(whole);
            self.weights.resize((to + 1) * self.taps, 0);
            begin = end;
        }
    }
}

/// The pixel under the upper left corner. In f32 as torch computes it: source `nearest_neighbor_compute_source_index`.
fn nearest(to: u32, whole: &Whole) -> u32 {
    let scale = whole.source_len as f32 / whole.len as f32;
    (((whole.first + to) as f32 * scale).floor() as u32).min(whole.source_len - 1)
}

/// The pixel under the middle. Rounded as torch rounds it: source `nearest_neighbor_exact_compute_source_index`.
fn nearest_exact(to: u32, whole: &Whole) -> u32 {
    let scale = whole.source_len as f32 / whole.len as f32;
    let place = ((f64::from(whole.first + to) + 0.5) * f64::from(scale)) as f32;
    (place.floor() as u32).min(whole.source_len - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(source_len: u32, len: u32, filter: Filter, mirrored: bool) -> Axis {
        let mut axis = Axis::default();
        axis.set(Span::all(source_len, len), filter, mirrored);
        axis
    }

    fn axis(source_len: u32, len: u32, mirrored: bool) -> Axis {
        filtered(source_len, len, Filter::DEFAULT, mirrored)
    }

    /// All filters.
    const FILTERS: [Filter; 6] = [
        Filter::Nearest,
        Filter::NearestExact,
        Filter::Bilinear { antialias: true },
        Filter::Bilinear { antialias: false },
        Filter::Bicubic { antialias: true },
        Filter::Bicubic { antialias: false },
    ];

    #[test]
    fn half_the_size_weighs_four_pixels_and_an_edge_those_it_has() {
        let half = axis(8, 4, false);
        let unit = f64::from(1 << half.precision());
        let parts = |to| half.weights(to).iter().map(|w| f64::from(*w) / unit).collect::<Vec<_>>();
        assert_eq!((half.start(1), half.taps()), (1, 4));
        assert!(
            parts(1).iter().zip([0.125, 0.375, 0.375, 0.125, 0.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-4)
        );
        assert_eq!(half.start(0), 0);
    }

    #[test]
    fn mirrored_is_the_same_from_the_other_end() {
        for filter in FILTERS {
            let [plain, mirrored] = [false, true].map(|mirrored| filtered(301, 224, filter, mirrored));
            for to in 0..224 {
                assert_eq!(plain.start(to), mirrored.start(223 - to));
                assert_eq!(plain.weights(to), mirrored.weights(223 - to));
            }
        }
    }

    #[test]
    fn taps_stay_inside_the_source_and_weights_add_up_and_starts_rise() {
        for (source_len, len) in
            [(1, 7), (2, 1), (3, 224), (100, 300), (224, 224), (500, 224), (5000, 3), (16_384, 1)]
        {
            for filter in FILTERS {
                let axis = filtered(source_len, len, filter, false);
                for to in 0..len as usize {
                    let counted = axis.weights(to).iter().rposition(|w| *w != 0).expect("a weight") + 1;
                    let what = format!("{filter:?}: {source_len} -> {len}, {to}");
                    assert!(axis.start(to) + counted <= source_len as usize, "{what}");
                    let sum: i32 = axis.weights(to).iter().map(|w| i32::from(*w)).sum();
                    let off = (sum - (1 << axis.precision())).abs();
                    assert!(off <= axis.taps() as i32, "{what}: {off} off");
                }
                assert!(axis.starts().is_sorted(), "{filter:?}: {source_len} -> {len}");
            }
        }
    }

    #[test]
    fn nearest_takes_the_corner_and_nearest_exact_the_middle() {
        assert_eq!(filtered(10, 4, Filter::Nearest, false).starts(), [0, 2, 5, 7]);
        assert_eq!(filtered(10, 4, Filter::NearestExact, false).starts(), [1, 3, 6, 8]);
        assert_eq!(filtered(3, 6, Filter::Nearest, false).starts(), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn without_antialias_a_small_result_looks_at_its_neighbours_alone() {
        let unit = |axis: &Axis, to| {
            let unit = f64::from(1 << axis.precision());
            axis.weights(to).iter().map(|w| f64::from(*w) / unit).collect::<Vec<_>>()
        };
        let linear = filtered(16, 4, Filter::Bilinear { antialias: false }, false);
        assert_eq!((linear.starts(), unit(&linear, 1)), (&[1, 5, 9, 13][..], vec![0.5, 0.5]));
        let cubic = filtered(16, 4, Filter::Bicubic { antialias: false }, false);
        assert_eq!((cubic.start(1), unit(&cubic, 1)), (4, vec![-0.09375, 0.59375, 0.59375, -0.09375]));
    }

    #[test]
    fn what_lies_beyond_an_edge_counts_for_the_pixel_at_the_edge() {
        let cubic = filtered(4, 16, Filter::Bicubic { antialias: false }, false);
        // Place -0.375: its neighbours are pixels -2, -1, 0 and 1.
        let outer: f64 = [1.625, 0.625, 0.375].map(|distance| super::cubic(-0.75, distance)).iter().sum();
        let unit = f64::from(1 << cubic.precision());
        assert_eq!(cubic.start(0), 0);
        assert!((f64::from(cubic.weights(0)[0]) / unit - outer).abs() < 1e-4);
    }

    #[test]
    fn a_part_without_antialias_is_the_very_part_of_the_whole() {
        for filter in FILTERS.into_iter().filter(|filter| !filter.is_antialiased()) {
            let whole = filtered(301, 97, filter, false);
            let mut part = Axis::default();
            let skipped = 70;
            let given = Whole { source_len: 301, len: 97, first: 30, skipped };
            part.set(Span { len: 40, source_len: 160, whole: given, ..Span::all(301, 97) }, filter, false);
            for to in 0..40 {
                assert_eq!(part.start(to) + skipped as usize, whole.start(30 + to), "{filter:?}");
                let unit =
                    |axis: &Axis, to| f64::from(axis.weights(to)[0]) / f64::from(1 << axis.precision());
                assert!((unit(&part, to) - unit(&whole, 30 + to)).abs() < 1e-4, "{filter:?}");
            }
        }
    }
}
