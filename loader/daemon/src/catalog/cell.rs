//! One value of a row as its file gives it, and what it is as a number, a text, a list.

use std::borrow::Cow;

use super::fault::CellFault;

/// One value as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    /// Null, or the key is not there.
    Missing,
    /// Characters whose type is up to the reader: CSV.
    Raw(&'a [u8]),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, [u8]>),
    Numbers(Vec<f64>),
    /// Something no column can hold, by its name.
    Other(&'static str),
}

/// So much of a wrong value is shown.
const SHOWN_CHARS: usize = 40;

/// The largest size up to which every whole f64 is one integer.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Cell<'_> {
    pub(super) fn int(&self) -> Result<i64, CellFault> {
        match self {
            Self::Bool(value) => Ok(i64::from(*value)),
            Self::Int(value) => Ok(*value),
            Self::Float(value) if value.is_nan() => Err(CellFault::Missing),
            Self::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT_MAX => Ok(*value as i64),
            Self::Raw(raw) => filled(raw)?.parse().map_err(|_| self.wrong("an integer")),
            _ => Err(self.wrong("an integer")),
        }
    }

    pub(super) fn float(&self) -> Result<f32, CellFault> {
        let value = match self {
            Self::Bool(value) => f64::from(u8::from(*value)),
            Self::Int(value) => *value as f64,
            Self::Float(value) => *value,
            Self::Raw(raw) => parse_f64(filled(raw)?).ok_or_else(|| self.wrong("a number"))?,
            _ => return Err(self.wrong("a number")),
        };
        if value.is_nan() { Err(CellFault::Missing) } else { narrow(value) }
    }

    /// The bytes of a text or path; an empty one may mean missing, which the kind of the column decides.
    pub(super) fn bytes(&self) -> Result<&[u8], CellFault> {
        match self {
            Self::Raw(raw) => Ok(raw),
            Self::Text(text) => Ok(text),
            _ => Err(self.wrong("text")),
        }
    }

    /// Appends the numbers of a list. In CSV: separated by spaces, commas, semicolons or bars, in brackets or not.
    pub(super) fn numbers(&self, target: &mut Vec<f64>) -> Result<(), CellFault> {
        match self {
            Self::Numbers(numbers) => target.extend_from_slice(numbers),
            Self::Raw(raw) => {
                let text = str::from_utf8(raw).map_err(|_| CellFault::NotUtf8)?.trim();
                let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
                for part in inner.split([' ', ',', ';', '|', '\n']).filter(|part| !part.is_empty()) {
                    target.push(parse_f64(part).ok_or_else(|| self.wrong("a list of numbers"))?);
                }
            }
            _ => return Err(self.wrong("a list of numbers")),
        }
        Ok(())
    }

    fn wrong(&self, expected: &'static str) -> CellFault {
        let found = match self {
            Self::Missing => return CellFault::Missing,
            Self::Raw(bytes) => shown("", bytes),
            Self::Text(bytes) => shown("the text ", bytes),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Numbers(numbers) => format!("a list of {}", numbers.len()),
            Self::Other(name) => (*name).to_owned(),
        };
        CellFault::WrongType { expected, found }
    }
}

/// The characters of a raw cell that must hold something.
pub(super) fn filled(raw: &[u8]) -> Result<&str, CellFault> {
    let text = str::from_utf8(raw).map_err(|_| CellFault::NotUtf8)?.trim();
    if text.is_empty() { Err(CellFault::Missing) } else { Ok(text) }
}

/// A number; digits that mean infinity (`1e999`) are none.
pub(super) fn parse_f64(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let overflowed = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflowed).then_some(value)
}

/// The nearest f32, but never an infinity that was none.
pub(super) fn narrow(value: f64) -> Result<f32, CellFault> {
    let narrowed = value as f32;
    if narrowed.is_infinite() && value.is_finite() {
        return Err(CellFault::TooLarge { value: format!("{value:e}") });
    }
    Ok(narrowed)
}

/// The start of a value in quotes, control characters escaped.
fn shown(what: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{what}{start:?}{}", if start.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_lists_may_be_written_in_several_ways() {
        for raw in ["1 2.5 -3", "[1, 2.5, -3]", "1;2.5;-3", "1|2.5|-3", " [1,2.5,-3] "] {
            let mut numbers = Vec::new();
            Cell::Raw(raw.as_bytes()).numbers(&mut numbers).unwrap();
            assert_eq!(numbers, [1.0, 2.5, -3.0], "{raw}");
        }
    }

    #[test]
    fn whole_floats_are_integers_and_others_are_not() {
        assert_eq!(Cell::Float(3.0).int(), Ok(3));
        assert!(matches!(Cell::Float(3.5).int(), Err(CellFault::WrongType { .. })));
        assert!(matches!(Cell::Float(1e300).int(), Err(CellFault::WrongType { .. })));
    }

    #[test]
    fn a_number_past_f32_is_an_error_not_an_infinity() {
        assert!(matches!(Cell::Float(1e300).float(), Err(CellFault::TooLarge { .. })));
        assert!(matches!(Cell::Raw(b"1e999").float(), Err(CellFault::WrongType { .. })));
        assert_eq!(Cell::Raw(b"inf").float(), Ok(f32::INFINITY));
    }

    #[test]
    fn a_wrong_value_is_shown_short_and_escaped() {
        let long = "x\n".repeat(1000);
        let fault = Cell::Raw(long.as_bytes()).int().unwrap_err().to_string();
        assert!(fault.len() < 120 && fault.contains("x\\nx"), "{fault}");
    }
}
