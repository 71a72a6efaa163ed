//! Writes finished rows of RGB8 pixels as the batch wants them: normalised, in planes or whole pixels.

use half::{bf16, f16};

use super::kernels::Float;
use super::normalize::Tables;
use super::{OutputOrder, OutputType};

/// How a sample lies in its range of the batch.
pub(super) struct Layout {
    pub output: OutputType,
    pub order: OutputOrder,
    pub tables: Option<Box<Tables>>,
}

impl Layout {
    /// Whether a row of the result is its RGB8 pixels as they are.
    pub fn is_rgb8(&self) -> bool {
        self.output == OutputType::U8 && self.order == OutputOrder::ChannelsLast
    }

    /// Writes row number `y`, RGB8 pixels, into `target`, which has exactly the sample's bytes and is only written.
    pub fn write_row(&self, rgb: &[u8], y: usize, target: &mut [u8]) {
        let Some(tables) = &self.tables else { return self.put(rgb, y, target, |_, value| [value]) };
        if let (OutputOrder::ChannelsLast, Some(norm)) = (self.order, tables.norm()) {
            let bytes = self.output.bytes();
            let row = &mut target[y * rgb.len() * bytes..][..rgb.len() * bytes];
            let done = norm.write(rgb, self.float(), row);
            // What is left are whole pixels.
            return self.look_up(tables, &rgb[done..], 0, &mut row[done * bytes..]);
        }
        self.look_up(tables, rgb, y, target);
    }

    fn look_up(&self, tables: &Tables, rgb: &[u8], y: usize, target: &mut [u8]) {
        if let Some(halves) = tables.halves() {
            return self.put(rgb, y, target, |c, value| halves[c][usize::from(value)].to_ne_bytes());
        }
        let floats: [_; 3] = std::array::from_fn(|c| tables.channel(c));
        self.put(rgb, y, target, |c, value| floats[c][usize::from(value)].to_ne_bytes());
    }

    /// What is written where there are tables.
    fn float(&self) -> Float {
        match self.output {
            OutputType::F16 => Float::F16,
            OutputType::Bf16 => Float::Bf16,
            OutputType::U8 | OutputType::F32 => Float::F32,
        }
    }

    /// An element has `N` bytes.
    #[inline]
    fn put<const N: usize>(
        &self,
        rgb: &[u8],
        y: usize,
        target: &mut [u8],
        element: impl Fn(usize, u8) -> [u8; N],
    ) {
        match self.order {
            OutputOrder::ChannelsLast => pixels(rgb, y, target, element),
            OutputOrder::ChannelsFirst => planes(rgb, y, target, element),
        }
    }
}

impl Layout {
    /// The rows that [`Layout::write_row`] was given: `sample`'s RGB8 pixels, row-major. No hot path.
    pub fn read(&self, sample: &[u8]) -> Vec<u8> {
        let value = |index: usize, c: usize| match &self.tables {
            None => sample[index],
            Some(tables) => tables.byte(c, self.element(sample, index)),
        };
        let count = sample.len() / self.output.bytes();
        let plane = count / 3;
        let place = |index: usize| match self.order {
            OutputOrder::ChannelsLast => index,
            OutputOrder::ChannelsFirst => index % 3 * plane + index / 3,
        };
        (0..count).map(|index| value(place(index), index % 3)).collect()
    }

    /// Element number `index` of a sample of floats.
    fn element(&self, sample: &[u8], index: usize) -> f32 {
        let two = |sample: &[u8]| [sample[index * 2], sample[index * 2 + 1]];
        match self.output {
            OutputType::U8 => f32::from(sample[index]),
            OutputType::F16 => f16::from_ne_bytes(two(sample)).to_f32(),
            OutputType::Bf16 => bf16::from_ne_bytes(two(sample)).to_f32(),
            OutputType::F32 => {
                f32::from_ne_bytes(sample[index * 4..index * 4 + 4].try_into().expect("four bytes"))
            }
        }
    }
}

/// H, W, C; an element has `N` bytes.
#[inline]
fn pixels<const N: usize>(rgb: &[u8], y: usize, target: &mut [u8], element: impl Fn(usize, u8) -> [u8; N]) {
    let row_bytes = rgb.len() * N;
    let row = &mut target[y * row_bytes..(y + 1) * row_bytes];
    for (pixel, to) in rgb.as_chunks::<3>().0.iter().zip(row.chunks_exact_mut(3 * N)) {
        for c in 0..3 {
            to[c * N..(c + 1) * N].copy_from_slice(&element(c, pixel[c]));
        }
    }
}

/// C, H, W; an element has `N` bytes.
#[inline]
fn planes<const N: usize>(rgb: &[u8], y: usize, target: &mut [u8], element: impl Fn(usize, u8) -> [u8; N]) {
    let (plane_bytes, row_bytes) = (target.len() / 3, rgb.len() / 3 * N);
    for (c, plane) in target.chunks_exact_mut(plane_bytes).enumerate() {
        let row = &mut plane[y * row_bytes..(y + 1) * row_bytes];
        for (pixel, to) in rgb.as_chunks::<3>().0.iter().zip(row.chunks_exact_mut(N)) {
            to.copy_from_slice(&element(c, pixel[c]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of two pixels.
    const RGB: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn tables(output: OutputType) -> Option<Box<Tables>> {
        (output != OutputType::U8).then(|| Box::new(Tables::unit().rounded(output)))
    }

    fn written(output: OutputType, order: OutputOrder) -> Vec<u8> {
        let tables = tables(output);
        let mut target = vec![0; RGB.len() * output.bytes()];
        let layout = Layout { output, order, tables };
        RGB.chunks_exact(6).enumerate().for_each(|(y, row)| layout.write_row(row, y, &mut target));
        target
    }

    #[test]
    fn whole_pixels_stay_as_they_are() {
        assert_eq!(written(OutputType::U8, OutputOrder::ChannelsLast), RGB);
    }

    #[test]
    fn planes_hold_one_colour_each() {
        let planes = written(OutputType::U8, OutputOrder::ChannelsFirst);
        assert_eq!(planes, [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
    }

    #[test]
    fn what_was_written_in_any_way_reads_back_as_the_pixels() {
        for order in [OutputOrder::ChannelsFirst, OutputOrder::ChannelsLast] {
            for output in [OutputType::U8, OutputType::F32, OutputType::F16, OutputType::Bf16] {
                let tables = tables(output);
                let read = Layout { output, order, tables }.read(&written(output, order));
                assert_eq!(read, RGB, "{output:?} {order:?}");
            }
        }
    }

    #[test]
    fn long_rows_are_written_as_short_ones_whatever_their_end() {
        for (output, width) in [OutputType::F32, OutputType::F16, OutputType::Bf16]
            .into_iter()
            .flat_map(|output| [15, 16, 17, 224, 250].map(|width| (output, width)))
        {
            let rgb: Vec<u8> = (0..2 * width * 3).map(|at| (at * 89) as u8).collect();
            let layout = |order| Layout { output, order, tables: tables(output) };
            let mut made = vec![0; rgb.len() * output.bytes()];
            let wide = layout(OutputOrder::ChannelsLast);
            rgb.chunks_exact(width * 3).enumerate().for_each(|(y, row)| wide.write_row(row, y, &mut made));
            let each = rgb.chunks_exact(3).flat_map(|pixel| {
                let mut one = vec![0; 3 * output.bytes()];
                layout(OutputOrder::ChannelsFirst).write_row(pixel, 0, &mut one);
                one
            });
            assert!(made.iter().copied().eq(each), "{output:?}, {width}");
        }
    }

    #[test]
    fn floats_are_the_same_values_in_either_order() {
        for order in [OutputOrder::ChannelsFirst, OutputOrder::ChannelsLast] {
            let floats = written(OutputType::F32, order);
            let bytes = written(OutputType::U8, order);
            let expected: Vec<u8> = bytes.iter().flat_map(|b| (*b as f32 / 255.0).to_ne_bytes()).collect();
            assert_eq!(floats, expected);
            let half = |b: &u8| f16::from_f32(*b as f32 / 255.0).to_ne_bytes();
            let expected: Vec<u8> = bytes.iter().flat_map(half).collect();
            assert_eq!(written(OutputType::F16, order), expected);
            let half = |b: &u8| bf16::from_f32(*b as f32 / 255.0).to_ne_bytes();
            let expected: Vec<u8> = bytes.iter().flat_map(half).collect();
            assert_eq!(written(OutputType::Bf16, order), expected);
        }
    }
}
