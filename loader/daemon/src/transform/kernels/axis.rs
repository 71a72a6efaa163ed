//! Along one side of an image: which pixels of the source each pixel of the result is made of, and how much of each.
//!
//! Weights are those of Pillow and torchvision's antialiased `Resize`: a triangle as wide as the larger of a source and
//! a target pixel, normalised, as 16-bit whole numbers of the finest precision that holds the largest of them.

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
}

impl Axis {
    /// Computes the weights of a side. With `mirrored` the result is written from its other end.
    pub fn set(&mut self, side: Span, mirrored: bool) {
        // In this order of operations, so that the last bits are those of every other implementation.
        let scale = (side.from + side.span - side.from) / f64::from(side.len);
        let stretch = scale.max(1.0);
        self.starts.clear();
        self.ends.clear();
        self.exact.clear();
        for to in 0..side.len {
            let to = if mirrored { side.len - 1 - to } else { to };
            self.push(side.from + (f64::from(to) + 0.5) * scale, stretch, side.source_len);
        }
        self.round();
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

    fn push(&mut self, center: f64, stretch: f64, source_len: u32) {
        let first = (center - stretch).floor().max(0.0) as u32;
        let end = ((center + stretch).ceil().min(f64::from(source_len)) as u32).max(first + 1);
        let triangle = |at: u32| {
            let distance = ((f64::from(at) - (center - 0.5)) * (1.0 / stretch)).abs();
            if distance < 1.0 { 1.0 - distance } else { 0.0 }
        };
        // Zeros at either end say nothing and would only take room.
        let first = (first..end).find(|&at| triangle(at) != 0.0).unwrap_or(first);
        let begin = self.exact.len();
        self.exact.extend((first..end).map(triangle));
        while self.exact.len() > begin + 1 && self.exact.last() == Some(&0.0) {
            self.exact.pop();
        }
        let sum: f64 = self.exact[begin..].iter().sum();
        self.exact[begin..].iter_mut().for_each(|weight| *weight /= sum);
        self.starts.push(first);
        self.ends.push(self.exact.len());
    }

    /// Turns the weights into whole numbers.
    fn round(&mut self) {
        let largest = self.exact.iter().fold(0.0_f64, |largest, weight| largest.max(*weight));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(source_len: u32, len: u32, mirrored: bool) -> Axis {
        let mut axis = Axis::default();
        axis.set(Span { source_len, from: 0.0, span: f64::from(source_len), len }, mirrored);
        axis
    }

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
        let (plain, mirrored) = (axis(301, 224, false), axis(301, 224, true));
        for to in 0..224 {
            assert_eq!(plain.start(to), mirrored.start(223 - to));
            assert_eq!(plain.weights(to), mirrored.weights(223 - to));
        }
    }

    #[test]
    fn taps_stay_inside_the_source_and_weights_add_up() {
        for (source_len, len) in [(1, 7), (2, 1), (3, 224), (224, 224), (500, 224), (5000, 3), (16_384, 1)] {
            let axis = axis(source_len, len, false);
            for to in 0..len as usize {
                let counted = axis.weights(to).iter().rposition(|w| *w != 0).expect("a weight") + 1;
                assert!(axis.start(to) + counted <= source_len as usize, "{source_len} -> {len}, {to}");
                let sum: i32 = axis.weights(to).iter().map(|w| i32::from(*w)).sum();
                let off = (sum - (1 << axis.precision())).abs();
                assert!(off <= axis.taps() as i32, "{source_len} -> {len}: {off} off");
            }
        }
    }
}
