//! CMYK to RGB as Pillow does it: the stored values are inverted (Adobe's convention), then
//! `rgb = k - (255 - c) * k / 255`, rounded. Source: Pillow `Convert.c`, `cmyk2rgb`, and `JpegImagePlugin`.

/// Turns `cmyk` (4 bytes a pixel, inverted) into RGB at the front of the same buffer.
pub(super) fn to_rgb_in_place(cmyk: &mut [u8]) {
    for pixel in 0..cmyk.len() / 4 {
        let [cyan, magenta, yellow, key]: [u8; 4] =
            cmyk[pixel * 4..pixel * 4 + 4].try_into().expect("a pixel has four bytes");
        let rgb = [cyan, magenta, yellow].map(|ink| key - times_over_255(255 - ink, key));
        cmyk[pixel * 3..pixel * 3 + 3].copy_from_slice(&rgb);
    }
}

/// `a * b / 255`, rounded, without a division (Pillow's `MULDIV255`).
fn times_over_255(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ink_is_the_key_and_full_ink_is_black() {
        let mut pixels = [255, 255, 255, 200, 0, 0, 0, 200, 255, 0, 128, 255];
        to_rgb_in_place(&mut pixels);
        assert_eq!(pixels[..9], [200, 200, 200, 0, 0, 0, 255, 0, 128]);
    }

    #[test]
    fn times_over_255_rounds() {
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            let rounded = (u32::from(a) * u32::from(b) * 2 + 255) / 510;
            assert_eq!(u32::from(times_over_255(a, b)), rounded);
        }
    }
}
