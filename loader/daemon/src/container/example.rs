//! The features of a `tf.train.Example`: numbers as they are, and of bytes the place in the file, so that an image inside
//! is never read while records are indexed.
//!
//! Source: `tensorflow/core/example/example.proto` and `feature.proto`, and protobuf's wire format.

use super::tfrecord::Record;
use super::{ContainerError, ReadAt, Window};

/// Features of one record.
const FEATURES_MAX: u64 = 1024;
/// Bytes of a feature's name.
const NAME_BYTES_MAX: u64 = 1024;
/// Values of one feature.
const VALUES_MAX: u64 = 1 << 20;

/// The values of one feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Feature {
    /// Where each lies: (offset, length) in the file.
    Bytes(Vec<(u64, u64)>),
    /// 32-bit floats.
    Floats(Vec<f32>),
    /// 64-bit integers.
    Ints(Vec<i64>),
}

/// A record's features, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Example {
    /// In the order of the record; no name twice.
    pub features: Vec<(String, Feature)>,
}

impl Example {
    /// Reads the features of a record.
    ///
    /// # Errors
    /// [`ContainerError::Example`] and [`ContainerError::TooMuch`]: it holds something else; [`ContainerError::Read`].
    pub fn read<R: ReadAt>(window: &mut Window<R>, record: Record) -> Result<Self, ContainerError> {
        let mut example = Self::default();
        let mut reading = Reading { window, record: record.offset };
        let mut fields = Span { at: record.offset, end: record.offset + record.len };
        while let Some(field) = reading.next(&mut fields)? {
            match field {
                Field { number: 1, value: Value::Bytes(features) } => {
                    reading.features(features, &mut example)?;
                }
                Field { number: 2, value: Value::Bytes(_) } => {
                    return reading.fails("it has lists of features, as a tf.train.SequenceExample");
                }
                Field { number: 1 | 2, .. } => return reading.fails("its first field is no message"),
                _ => {}
            }
        }
        Ok(example)
    }
}

/// A stretch of the file that is still to be read.
#[derive(Clone, Copy)]
struct Span {
    at: u64,
    end: u64,
}

struct Field {
    number: u64,
    value: Value,
}

enum Value {
    Varint(u64),
    /// With a length.
    Bytes(Span),
    /// Four bytes or eight.
    Fixed(Span),
}

struct Reading<'a, R> {
    window: &'a mut Window<R>,
    /// Where the record begins.
    record: u64,
}

impl<R: ReadAt> Reading<'_, R> {
    fn fails<T>(&self, detail: &'static str) -> Result<T, ContainerError> {
        Err(ContainerError::Example { at: self.record, detail })
    }

    fn limit(&self, what: &'static str, found: u64, max: u64) -> Result<(), ContainerError> {
        if found > max { Err(ContainerError::TooMuch { what, at: self.record, found, max }) } else { Ok(()) }
    }

    /// Entries of the map from names to features.
    fn features(&mut self, mut entries: Span, example: &mut Example) -> Result<(), ContainerError> {
        while let Some(field) = self.next(&mut entries)? {
            let Field { number: 1, value: Value::Bytes(entry) } = field else { continue };
            let (name, feature) = self.entry(entry)?;
            // The last of two entries counts, as protobuf has it; one without values is none.
            example.features.retain(|(known, _)| *known != name);
            example.features.extend(feature.map(|feature| (name, feature)));
            self.limit("the number of features", example.features.len() as u64, FEATURES_MAX)?;
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Span) -> Result<(String, Option<Feature>), ContainerError> {
        let (mut name, mut feature) = (String::new(), None);
        while let Some(field) = self.next(&mut entry)? {
            match field {
                Field { number: 1, value: Value::Bytes(text) } => name = self.name(text)?,
                Field { number: 2, value: Value::Bytes(value) } => feature = self.feature(value)?,
                _ => {}
            }
        }
        Ok((name, feature))
    }

    fn name(&mut self, text: Span) -> Result<String, ContainerError> {
        self.limit("the name of a feature", text.end - text.at, NAME_BYTES_MAX)?;
        let bytes = self.window.get(text.at, (text.end - text.at) as usize)?.to_vec();
        String::from_utf8(bytes).or_else(|_| self.fails("the name of a feature is not UTF-8"))
    }

    /// One of the three lists; the last counts where there are several.
    fn feature(&mut self, mut span: Span) -> Result<Option<Feature>, ContainerError> {
        let mut feature = None;
        while let Some(field) = self.next(&mut span)? {
            let Field { number, value: Value::Bytes(list) } = field else { continue };
            feature = match number {
                1 => Some(Feature::Bytes(self.bytes(list)?)),
                2 => Some(Feature::Floats(self.floats(list)?)),
                3 => Some(Feature::Ints(self.ints(list)?)),
                _ => feature,
            };
        }
        let is_empty = match &feature {
            Some(Feature::Bytes(values)) => values.is_empty(),
            Some(Feature::Floats(values)) => values.is_empty(),
            Some(Feature::Ints(values)) => values.is_empty(),
            None => true,
        };
        Ok(feature.filter(|_| !is_empty))
    }

    fn bytes(&mut self, mut list: Span) -> Result<Vec<(u64, u64)>, ContainerError> {
        let mut values = Vec::new();
        while let Some(field) = self.next(&mut list)? {
            if let Field { number: 1, value: Value::Bytes(Span { at, end }) } = field {
                values.push((at, end - at));
                self.limit("the number of values of a feature", values.len() as u64, VALUES_MAX)?;
            }
        }
        Ok(values)
    }

    /// Packed, as they are written today, or one by one.
    fn floats(&mut self, mut list: Span) -> Result<Vec<f32>, ContainerError> {
        let mut values = Vec::new();
        while let Some(field) = self.next(&mut list)? {
            let Field { number: 1, value: Value::Bytes(span) | Value::Fixed(span) } = field else { continue };
            let len = span.end - span.at;
            if !len.is_multiple_of(4) {
                return self.fails("a list of floats ends inside of one");
            }
            self.limit("the number of values of a feature", values.len() as u64 + len / 4, VALUES_MAX)?;
            let bytes = self.window.get(span.at, len as usize)?;
            values.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        }
        Ok(values)
    }

    fn ints(&mut self, mut list: Span) -> Result<Vec<i64>, ContainerError> {
        let mut values = Vec::new();
        while let Some(field) = self.next(&mut list)? {
            match field {
                Field { number: 1, value: Value::Varint(value) } => values.push(value as i64),
                Field { number: 1, value: Value::Bytes(mut packed) } => {
                    while packed.at < packed.end {
                        values.push(self.varint(&mut packed)? as i64);
                        self.limit("the number of values of a feature", values.len() as u64, VALUES_MAX)?;
                    }
                }
                _ => {}
            }
            self.limit("the number of values of a feature", values.len() as u64, VALUES_MAX)?;
        }
        Ok(values)
    }

    /// The next field of a message; `None` at its end.
    fn next(&mut self, span: &mut Span) -> Result<Option<Field>, ContainerError> {
        if span.at == span.end {
            return Ok(None);
        }
        let tag = self.varint(span)?;
        let (number, kind) = (tag >> 3, tag & 7);
        let value = match kind {
            0 => Value::Varint(self.varint(span)?),
            1 => Value::Fixed(self.part(span, 8)?),
            5 => Value::Fixed(self.part(span, 4)?),
            2 => {
                let len = self.varint(span)?;
                Value::Bytes(self.part(span, len)?)
            }
            _ => return self.fails("a field of a kind that protobuf does not have"),
        };
        if number == 0 {
            return self.fails("a field without a number");
        }
        Ok(Some(Field { number, value }))
    }

    /// The first `len` bytes of a span, which goes on behind them.
    fn part(&self, span: &mut Span, len: u64) -> Result<Span, ContainerError> {
        let at = span.at;
        match at.checked_add(len).filter(|&end| end <= span.end) {
            Some(end) => span.at = end,
            None => return self.fails("a field is longer than what it stands in"),
        }
        Ok(Span { at, end: span.at })
    }

    fn varint(&mut self, span: &mut Span) -> Result<u64, ContainerError> {
        let bytes = self.window.get(span.at, (span.end - span.at).min(10) as usize)?;
        let (mut value, mut len) = (0_u64, None);
        for (index, &byte) in bytes.iter().enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                len = Some(index as u64 + 1);
                break;
            }
        }
        match len {
            Some(len) => span.at += len,
            None => return self.fails("a number does not end"),
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128);
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn feature(name: &str, list: u8, values: &[u8]) -> Vec<u8> {
        framed(1, &[framed(1, name.as_bytes()), framed(2, &framed(list, values))].concat())
    }

    fn read(bytes: &[u8]) -> Result<Example, ContainerError> {
        let mut window = Window::new(bytes, bytes.len() as u64);
        Example::read(&mut window, Record { offset: 0, len: bytes.len() as u64 })
    }

    #[test]
    fn features_are_numbers_and_places_of_bytes() {
        let features = [
            feature("image", 1, &framed(1, b"jpeg bytes")),
            feature("label", 3, &framed(1, &[0xAC, 0x02])),
            feature("old", 3, &[8, 7, 8, 9]),
            feature("box", 2, &framed(1, &[1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat())),
            feature("one", 2, &[&[13][..], &0.5_f32.to_le_bytes()].concat()),
            feature("minus", 3, &framed(1, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1])),
            feature("none", 3, b""),
        ];
        let bytes = framed(1, &features[..2].concat());
        let bytes = [bytes, framed(1, &features[2..5].concat()), framed(1, &features[5..].concat())].concat();
        let at = bytes.windows(10).position(|window| window == b"jpeg bytes").unwrap() as u64;
        let expected = [
            ("image", Feature::Bytes(vec![(at, 10)])),
            ("label", Feature::Ints(vec![300])),
            ("old", Feature::Ints(vec![7, 9])),
            ("box", Feature::Floats(vec![1.5, -2.0])),
            ("one", Feature::Floats(vec![0.5])),
            ("minus", Feature::Ints(vec![-1])),
        ];
        let found = read(&bytes).unwrap().features;
        assert_eq!(found, expected.map(|(name, feature)| (name.to_owned(), feature)));
    }

    #[test]
    fn a_record_cut_or_of_another_kind_is_refused_or_empty_and_never_read_past_its_end() {
        let whole = framed(1, &feature("image", 1, &framed(1, b"bytes")));
        for len in 0..whole.len() {
            let outcome = read(&whole[..len]);
            assert!(outcome.is_err() || len == 0, "{len}: {outcome:?}");
        }
        assert!(matches!(read(&framed(2, b"")), Err(ContainerError::Example { .. })));
        assert!(matches!(read(b"\x0b"), Err(ContainerError::Example { .. })), "a group");
        assert!(matches!(read(b"\x02\x00"), Err(ContainerError::Example { .. })), "field 0");
        assert!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert_eq!(read(b"").unwrap(), Example::default());
    }

    #[test]
    fn the_last_feature_of_a_name_counts() {
        let twice = [feature("a", 3, &framed(1, &[1])), feature("a", 3, &framed(1, &[2]))].concat();
        assert_eq!(read(&framed(1, &twice)).unwrap().features, [("a".to_owned(), Feature::Ints(vec![2]))]);
    }
}
