//! `CenterCrop`: the middle of an image, with zeros around it where the image is smaller.
//!
//! Source: torchvision v2 `_center_crop_compute_padding` and `_center_crop_compute_crop_anchor`.

/// Where a crop of `crop_len` starts along a side of `image_len`; negative: that many zeros come first.
pub(super) fn start(image_len: u32, crop_len: u32) -> i64 {
    let (image, crop) = (i64::from(image_len), i64::from(crop_len));
    if crop > image {
        return -((crop - image) / 2);
    }
    // Python's round() goes to the even neighbour, so 3 / 2 is 2 and 5 / 2 is 2 too.
    ((image - crop) as f64 / 2.0).round_ties_even() as i64
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn odd_rests_round_to_the_even_side_as_in_python() {
        let starts = [(227, 224), (229, 224), (225, 224), (224, 224), (256, 224)].map(|(i, c)| start(i, c));
        assert_eq!(starts, [2, 2, 0, 0, 16]);
    }

    #[test]
    fn a_smaller_image_is_padded_with_the_odd_pixel_behind() {
        assert_eq!((start(221, 224), start(100, 224)), (-1, -62));
    }
}
