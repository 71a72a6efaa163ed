//! Which JPEGs a device decodes: the plain ones, which every decoder takes for the same picture.
//!
//! A function of the bytes alone, so that a row is decoded in the same place on every machine. What is left out is rare, and
//! there decoders differ (what colours three components without a word are) or have no way (arithmetic coding).

use super::SIDE_MAX;
use super::markers::{Colors, Frame, Walk};

const BASELINE: u8 = 0xC0;
const PROGRESSIVE: u8 = 0xC2;

/// One factor for each side, in one byte: of grey, and of both colours.
const NOT_SAMPLED: u8 = 0x11;
/// Those of Y: 4:4:4, 4:4:0, 4:2:2, 4:2:0, 4:1:1.
const SAMPLED: [u8; 5] = [0x11, 0x12, 0x21, 0x22, 0x41];

/// Whether a device decodes a file that was walked to its end.
pub(super) fn decodes(walk: &Walk) -> bool {
    let Frame { code, components, width, height, .. } = walk.frame;
    // A baseline file has all its components in its one scan.
    let is_coded_plainly = match code {
        BASELINE => walk.scans == 1 && !walk.multi_scan,
        PROGRESSIVE => true,
        _ => false,
    };
    let is_whole = walk.reaches_end && walk.frames == 1 && walk.has_tables;
    let has_plain_colors = match components {
        1 => walk.frame.factors[0] == NOT_SAMPLED,
        3 => is_y_cb_cr(walk),
        _ => false,
    };
    is_whole && is_coded_plainly && has_plain_colors && width.max(height) <= SIDE_MAX
}

/// Three components that nothing calls anything but Y, Cb and Cr, sampled in one of the usual ways.
fn is_y_cb_cr(walk: &Walk) -> bool {
    let Frame { ids, factors: [y, cb, cr, _], .. } = walk.frame;
    let Colors { jfif, adobe } = walk.colors;
    let is_said = jfif || adobe.is_some() || ids == [1, 2, 3, 0];
    let is_denied = ids == [b'R', b'G', b'B', 0] || adobe.is_some_and(|transform| transform != 1);
    is_said && !is_denied && SAMPLED.contains(&y) && (cb, cr) == (NOT_SAMPLED, NOT_SAMPLED)
}
