//! Writes finished RGB8 pixels as the batch wants them: mirrored, normalised, in planes or whole pixels; one pass.

use super::normalize::Tables;
use super::{OutputOrder, OutputType};

/// How a sample lies in its range of the batch.
pub(super) struct Layout {
    pub output: OutputType,
    pub order: OutputOrder,
    pub tables: Option<Box<Tables>>,
}

impl Layout {
    /// Writes `rgb`, rows of `width` pixels, into `target`, which has exactly the sample's bytes and is only written.
    pub fn write(&self, rgb: &[u8], width: usize, flip: bool, target: &mut [u8]) {
        match (&self.tables, self.order) {
            (None, OutputOrder::ChannelsLast) => pixels(rgb, width, flip, target, |_, value| [value]),
            (None, OutputOrder::ChannelsFirst) => planes(rgb, width, flip, target, |_, value| [value]),
            (Some(tables), OutputOrder::ChannelsLast) => {
                let tables: [_; 3] = std::array::from_fn(|c| tables.channel(c));
                pixels(rgb, width, flip, target, |c, value| tables[c][usize::from(value)].to_ne_bytes());
            }
            (Some(tables), OutputOrder::ChannelsFirst) => {
                let tables: [_; 3] = std::array::from_fn(|c| tables.channel(c));
                planes(rgb, width, flip, target, |c, value| tables[c][usize::from(value)].to_ne_bytes());
            }
        }
    }
}

impl Layout {
    /// What [`Layout::write`] was given, but for a flip: `sample`'s RGB8 pixels, row-major. No hot path.
    pub fn read(&self, sample: &[u8]) -> Vec<u8> {
        let value = |index: usize, c: usize| match &self.tables {
            None => sample[index],
            Some(tables) => {
                let bytes = sample[index * 4..index * 4 + 4].try_into().expect("four bytes");
                tables.byte(c, f32::from_ne_bytes(bytes))
            }
        };
        let count = sample.len() / self.output.bytes();
        let plane = count / 3;
        let element = |index: usize| match self.order {
            OutputOrder::ChannelsLast => index,
            OutputOrder::ChannelsFirst => index % 3 * plane + index / 3,
        };
        (0..count).map(|index| value(element(index), index % 3)).collect()
    }
}

/// H, W, C; an element has `N` bytes.
#[inline]
fn pixels<const N: usize>(
    rgb: &[u8],
    width: usize,
    flip: bool,
    target: &mut [u8],
    element: impl Fn(usize, u8) -> [u8; N],
) {
    let write = |pixel: &[u8], to: &mut [u8]| {
        for c in 0..3 {
            to[c * N..(c + 1) * N].copy_from_slice(&element(c, pixel[c]));
        }
    };
    for (row, to) in rgb.chunks_exact(width * 3).zip(target.chunks_exact_mut(width * 3 * N)) {
        let (from, to) = (row.chunks_exact(3), to.chunks_exact_mut(3 * N));
        if flip {
            from.rev().zip(to).for_each(|(pixel, to)| write(pixel, to));
        } else {
            from.zip(to).for_each(|(pixel, to)| write(pixel, to));
        }
    }
}

/// C, H, W; an element has `N` bytes.
#[inline]
fn planes<const N: usize>(
    rgb: &[u8],
    width: usize,
    flip: bool,
    target: &mut [u8],
    element: impl Fn(usize, u8) -> [u8; N],
) {
    let plane_bytes = rgb.len() / 3 * N;
    for (c, plane) in target.chunks_exact_mut(plane_bytes).enumerate() {
        for (row, to) in rgb.chunks_exact(width * 3).zip(plane.chunks_exact_mut(width * N)) {
            let (from, to) = (row.chunks_exact(3), to.chunks_exact_mut(N));
            if flip {
                from.rev().zip(to).for_each(|(pixel, to)| to.copy_from_slice(&element(c, pixel[c])));
            } else {
                from.zip(to).for_each(|(pixel, to)| to.copy_from_slice(&element(c, pixel[c])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of two pixels.
    const RGB: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn written(output: OutputType, order: OutputOrder, flip: bool) -> Vec<u8> {
        let tables = (output == OutputType::F32).then(|| Box::new(Tables::unit()));
        let mut target = vec![0; RGB.len() * output.bytes()];
        Layout { output, order, tables }.write(&RGB, 2, flip, &mut target);
        target
    }

    #[test]
    fn bytes_are_mirrored_by_whole_pixels() {
        let mirrored = written(OutputType::U8, OutputOrder::ChannelsLast, true);
        assert_eq!(mirrored, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
    }

    #[test]
    fn planes_hold_one_colour_each() {
        let planes = written(OutputType::U8, OutputOrder::ChannelsFirst, false);
        assert_eq!(planes, [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
        let mirrored = written(OutputType::U8, OutputOrder::ChannelsFirst, true);
        assert_eq!(mirrored, [4, 1, 10, 7, 5, 2, 11, 8, 6, 3, 12, 9]);
    }

    #[test]
    fn what_was_written_in_any_way_reads_back_as_the_pixels() {
        for order in [OutputOrder::ChannelsFirst, OutputOrder::ChannelsLast] {
            for output in [OutputType::U8, OutputType::F32] {
                let tables = (output == OutputType::F32).then(|| Box::new(Tables::unit()));
                let read = Layout { output, order, tables }.read(&written(output, order, false));
                assert_eq!(read, RGB, "{output:?} {order:?}");
            }
        }
    }

    #[test]
    fn floats_are_the_same_values_in_either_order() {
        for (order, u8_order) in [OutputOrder::ChannelsFirst, OutputOrder::ChannelsLast].map(|o| (o, o)) {
            for flip in [false, true] {
                let floats = written(OutputType::F32, order, flip);
                let bytes = written(OutputType::U8, u8_order, flip);
                let expected: Vec<u8> =
                    bytes.iter().flat_map(|b| (*b as f32 / 255.0).to_ne_bytes()).collect();
                assert_eq!(floats, expected);
            }
        }
    }
}
