//! Which tables a JPEG brings along: each scan must find its own, for nobody else knows those of the file before.
//!
//! libjpeg has the usual Huffman tables at hand where a file has none (frames of Motion JPEG); other decoders do not.
//! Source: ITU-T T.81, B.2.3 and B.2.4.

use super::markers::Frame;

/// Values of a quantisation table.
const QUANTISATION_VALUES: usize = 64;
/// How many codes there are of each length.
const LENGTHS: usize = 16;

/// The tables that were met so far, a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tables {
    quantisation: u8,
    dc: u8,
    ac: u8,
    /// A segment of tables breaks the rules.
    is_broken: bool,
    /// A scan named a table that had not come.
    is_missing: bool,
}

impl Tables {
    /// Whether every scan so far had its tables.
    pub fn are_complete(self) -> bool {
        !self.is_broken && !self.is_missing
    }

    /// A DQT segment.
    pub fn quantisation(&mut self, mut payload: &[u8]) {
        while let [head, rest @ ..] = payload {
            let (is_wide, number) = (head >> 4, head & 15);
            let len_bytes = QUANTISATION_VALUES << is_wide.min(1);
            let Some(rest) = rest.get(len_bytes..).filter(|_| is_wide <= 1 && number <= 3) else {
                self.is_broken = true;
                return;
            };
            self.quantisation |= 1 << number;
            payload = rest;
        }
    }

    /// A DHT segment.
    pub fn huffman(&mut self, mut payload: &[u8]) {
        while let [head, rest @ ..] = payload {
            let (class, number) = (head >> 4, head & 15);
            let codes =
                rest.get(..LENGTHS).map(|counts| counts.iter().map(|&count| usize::from(count)).sum());
            let rest = codes.and_then(|codes: usize| rest.get(LENGTHS + codes..));
            let Some(rest) = rest.filter(|_| class <= 1 && number <= 3) else {
                self.is_broken = true;
                return;
            };
            *(if class == 0 { &mut self.dc } else { &mut self.ac }) |= 1 << number;
            payload = rest;
        }
    }

    /// An SOS segment: which components, with which tables, and which part of their coefficients.
    pub fn scan(&mut self, frame: &Frame, payload: &[u8]) {
        let [count, rest @ ..] = payload else {
            self.is_missing = true;
            return;
        };
        let (named, band) = rest.as_chunks::<2>().0.split_at_checked((*count).into()).unwrap_or_default();
        let (first, refines) = match (frame.progressive, band.as_flattened()) {
            (true, [first, ..]) => (*first, rest.get(named.len() * 2 + 2).is_some_and(|bits| bits >> 4 > 0)),
            _ => (0, false),
        };
        let has = |tables: u8, number: u8| number <= 3 && tables >> number & 1 == 1;
        for [id, numbers] in named {
            let component = frame.ids.iter().position(|known| known == id);
            let quantised = component.is_some_and(|at| has(self.quantisation, frame.quantisation[at]));
            // A scan of first coefficients alone needs no table of the others; one that refines them needs none at all.
            let dc = first > 0 || refines || has(self.dc, numbers >> 4);
            let ac = (frame.progressive && first == 0) || has(self.ac, numbers & 15);
            self.is_missing |= !(quantised && dc && ac);
        }
        self.is_missing |= named.is_empty();
    }
}
