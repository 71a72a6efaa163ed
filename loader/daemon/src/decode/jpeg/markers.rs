//! Reads a JPEG's markers: its header, how many scans it has, and whether it reaches its end.
//!
//! The whole file is walked (estimated at 10 us for 110 KB: `memchr` for 0xFF through the entropy-coded data), so that
//! a cut file is known as cut even when the wanted part lies above the cut; see
//! docs/decisions/0003-a-verdict-is-crop-independent.md. Marker numbers: ITU-T T.81, table B.1.

use super::JPEG;
use super::tables::Tables;
use crate::decode::DecodeError;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DHT: u8 = 0xC4;
const DQT: u8 = 0xDB;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;
const TEM: u8 = 0x01;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;

/// What the frame header (SOF) says, with what later decides how to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub components: u8,
    /// The largest horizontal sampling factor: an iMCU is 8 times as wide.
    pub h_max: u8,
    pub progressive: bool,
    /// The SOF marker's own number: 0xC0 of a baseline file.
    pub code: u8,
    /// Each component's identifier, zeros behind them.
    pub ids: [u8; 4],
    /// The number of each component's quantisation table.
    pub quantisation: [u8; 4],
    /// Each component's sampling factors, the horizontal one in the upper half; zeros behind them.
    pub factors: [u8; 4],
}

/// The whole file, walked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    pub frame: Frame,
    /// Coefficients arrive in more than one scan.
    pub multi_scan: bool,
    pub scans: u32,
    pub reaches_end: bool,
    /// Frame headers; the first one counts.
    pub frames: u32,
    /// Each scan finds its tables in the file.
    pub has_tables: bool,
    /// What stands before its first scan says of its colours.
    pub colors: Colors,
}

/// What application segments say of a file's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Colors {
    /// It is a JFIF: grey, or Y, Cb and Cr.
    pub jfif: bool,
    /// Adobe's transform: 0 none, 1 Y, Cb and Cr, 2 Y, C, C and K.
    pub adobe: Option<u8>,
}

/// Reads up to the frame header and no further.
pub(super) fn read_frame(encoded: &[u8]) -> Result<Frame, DecodeError> {
    let mut markers = Markers { encoded, at: 2 };
    while let Some((code, payload)) = markers.next_segment()? {
        if is_frame(code) {
            return parse_frame(code, payload);
        }
        if code == SOS || code == EOI {
            break;
        }
    }
    Err(no_frame(encoded))
}

/// Walks the whole file, over at most `markers_max` segments.
pub(super) fn walk(encoded: &[u8], markers_max: u32) -> Result<Walk, DecodeError> {
    let mut markers = Markers { encoded, at: 2 };
    let mut frame = None;
    let (mut scans, mut segments, mut frames, mut multi_scan) = (0, 0, 0, false);
    let (mut tables, mut colors) = (Tables::default(), Colors::default());
    let reaches_end = loop {
        let (code, payload) = match markers.next_segment() {
            Ok(Some(segment)) => segment,
            Ok(None) => break false,
            // Past the first scan a broken marker proves nothing: libjpeg decides, on the slow path.
            Err(_) if scans > 0 => break false,
            Err(error) => return Err(error),
        };
        segments += 1;
        if segments > markers_max {
            return Err(DecodeError::TooManyMarkers { markers_max });
        }
        match code {
            EOI => break true,
            SOS => {
                let frame: Frame = frame.ok_or_else(|| no_frame(encoded))?;
                scans += 1;
                let in_scan = payload.first().copied().unwrap_or(0);
                tables.scan(&frame, payload);
                multi_scan |= frame.progressive || in_scan < frame.components;
                markers.skip_entropy_coded();
            }
            code if is_frame(code) => {
                frames += 1;
                if frame.is_none() {
                    frame = Some(parse_frame(code, payload)?);
                }
            }
            DHT => tables.huffman(payload),
            DQT => tables.quantisation(payload),
            code if scans == 0 => colors.read(code, payload),
            _ => {}
        }
    };
    match frame {
        Some(frame) if scans > 0 => {
            let has_tables = tables.are_complete();
            Ok(Walk { frame, multi_scan, scans, reaches_end, frames, has_tables, colors })
        }
        _ if reaches_end => Err(corrupt("it ends before its first scan")),
        _ => Err(truncated(encoded)),
    }
}

impl Colors {
    /// Takes what one segment says, as libjpeg reads it.
    fn read(&mut self, code: u8, payload: &[u8]) {
        match code {
            APP0 if payload.starts_with(b"JFIF\0") => self.jfif = true,
            APP14 if payload.starts_with(b"Adobe") => self.adobe = payload.get(11).copied().or(self.adobe),
            _ => {}
        }
    }
}

struct Markers<'a> {
    encoded: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// The next marker with its payload (without the length); `None` where the bytes end between two markers.
    fn next_segment(&mut self) -> Result<Option<(u8, &'a [u8])>, DecodeError> {
        let Some(code) = self.next_code() else { return Ok(None) };
        if matches!(code, SOI | EOI | TEM | RST0..=RST7) {
            return Ok(Some((code, &[])));
        }
        let Some(length) = self.encoded.get(self.at..self.at + 2) else {
            return Err(truncated(self.encoded));
        };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(corrupt("a segment is shorter than its own length field"));
        }
        let Some(payload) = self.encoded.get(self.at + 2..self.at + length) else {
            return Err(truncated(self.encoded));
        };
        self.at += length;
        Ok(Some((code, payload)))
    }

    /// Like libjpeg's `next_marker`: skips stray bytes and fill bytes.
    fn next_code(&mut self) -> Option<u8> {
        loop {
            self.at += memchr::memchr(0xFF, self.encoded.get(self.at..)?)? + 1;
            while *self.encoded.get(self.at)? == 0xFF {
                self.at += 1;
            }
            self.at += 1;
            let code = self.encoded[self.at - 1];
            if code != 0 {
                return Some(code);
            }
        }
    }

    /// Moves to the first marker that is not part of the entropy-coded data, or to the end.
    fn skip_entropy_coded(&mut self) {
        while let Some(found) = self.encoded.get(self.at..).and_then(|rest| memchr::memchr(0xFF, rest)) {
            let marker = self.at + found;
            match self.encoded.get(marker + 1) {
                Some(0x00 | RST0..=RST7) => self.at = marker + 2,
                Some(0xFF) => self.at = marker + 1,
                Some(_) => {
                    self.at = marker;
                    return;
                }
                None => break,
            }
        }
        self.at = self.encoded.len();
    }
}

/// SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range.
fn is_frame(code: u8) -> bool {
    matches!(code, 0xC0..=0xCF) && !matches!(code, 0xC4 | 0xC8 | 0xCC)
}

fn parse_frame(code: u8, payload: &[u8]) -> Result<Frame, DecodeError> {
    let unsupported = |feature| Err(DecodeError::UnsupportedFeature { format: JPEG, feature });
    match code {
        0xC3 | 0xCB => return unsupported("lossless coding"),
        0xC5..=0xC7 | 0xCD..=0xCF => return unsupported("hierarchical coding"),
        _ => {}
    }
    let [precision, h1, h0, w1, w0, components, factors @ ..] = payload else {
        return Err(corrupt("its frame header is too short"));
    };
    match precision {
        8 => {}
        12 => return unsupported("12-bit samples"),
        _ => return unsupported("samples of other than 8 bits"),
    }
    let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
    if width == 0 || height == 0 {
        return Err(corrupt("its header says that it has no pixels"));
    }
    if !matches!(components, 1 | 3 | 4) {
        return unsupported("other than 1, 3 or 4 components");
    }
    if factors.len() < usize::from(*components) * 3 {
        return Err(corrupt("its frame header is too short"));
    }
    let [mut ids, mut sampling, mut quantisation] = [[0; 4]; 3];
    let named = factors.as_chunks::<3>().0.iter().take(usize::from(*components));
    for (index, component) in named.enumerate() {
        [ids[index], sampling[index], quantisation[index]] = *component;
    }
    let factors = &sampling[..usize::from(*components)];
    if !factors.iter().all(|&factor| sampling_is_legal(factor)) {
        return Err(corrupt("a sampling factor is not 1 to 4"));
    }
    Ok(Frame {
        width: width.into(),
        height: height.into(),
        components: *components,
        h_max: factors.iter().map(|factor| factor >> 4).max().unwrap_or(1),
        progressive: matches!(code, 0xC2 | 0xCA),
        code,
        ids,
        quantisation,
        factors: sampling,
    })
}

fn sampling_is_legal(factor: u8) -> bool {
    (1..=4).contains(&(factor >> 4)) && (1..=4).contains(&(factor & 15))
}

fn no_frame(encoded: &[u8]) -> DecodeError {
    let mut last = Markers { encoded, at: encoded.len().saturating_sub(2) };
    if last.next_code() == Some(EOI) { corrupt("it has no frame header") } else { truncated(encoded) }
}

fn truncated(encoded: &[u8]) -> DecodeError {
    DecodeError::Truncated { format: JPEG, len_bytes: encoded.len() as u64 }
}

fn corrupt(detail: &str) -> DecodeError {
    DecodeError::Corrupt { format: JPEG, detail: detail.to_owned() }
}
