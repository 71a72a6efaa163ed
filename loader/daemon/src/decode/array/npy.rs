//! The header of a `.npy` file: a Python literal that says what the bytes behind it are.
//!
//! Source: numpy's format description, `numpy/lib/_format_impl.py`, versions 1.0, 2.0 and 3.0. The literal is read by a
//! parser that knows nothing else: no names, no calls, no escapes.

use forebay_plan::DType;

use super::error::{ArrayError, start_of};

/// What every file begins with.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// Magic, version and the longer of the two kinds of length; no sound file is shorter.
pub const START_BYTES: usize = 12;
/// A header that is longer describes no plain array; numpy itself reads 10,000 bytes at the most.
pub const HEADER_BYTES_MAX: usize = 1 << 16;
/// Of numpy's arrays.
const DIMS_MAX: usize = 64;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type of an element.
    pub dtype: DType,
    /// Whether elements of several bytes are big-endian.
    pub is_big_endian: bool,
    /// Whether the first dimension is the contiguous one.
    pub is_fortran: bool,
    /// Lengths of the dimensions, outermost first; none for a scalar.
    pub shape: Vec<u64>,
}

impl Header {
    /// Bytes of all elements; `None` where they overflow 64 bits.
    pub fn data_bytes(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1_u64, |elements, &dim| elements.checked_mul(dim));
        elements?.checked_mul(self.dtype.size_bytes())
    }

    /// As in `float32 (3, 4)`.
    pub fn words(&self) -> String {
        super::words(self.dtype, &self.shape)
    }
}

/// Where the elements begin. `start`: the first [`START_BYTES`] of a file, or more.
///
/// # Errors
/// No such file, or a header of an unknown version or beyond [`HEADER_BYTES_MAX`].
pub fn data_offset(start: &[u8]) -> Result<usize, ArrayError> {
    if !start.starts_with(MAGIC) {
        return Err(ArrayError::NotAnArray { start: start_of(start) });
    }
    let Some(&[major, minor, a, b, c, d]) = start.get(MAGIC.len()..START_BYTES) else {
        return Err(ArrayError::Header { detail: "the file ends inside of it" });
    };
    let (before, len) = match (major, minor) {
        (1, 0) => (10, u32::from(u16::from_le_bytes([a, b]))),
        (2 | 3, 0) => (12, u32::from_le_bytes([a, b, c, d])),
        _ => return Err(ArrayError::Version { major, minor }),
    };
    let end = before + len as usize;
    if end > HEADER_BYTES_MAX {
        return Err(ArrayError::Header { detail: "it is longer than 65536 bytes" });
    }
    Ok(end)
}

/// Reads a header. `head`: all that lies before [`data_offset`].
///
/// # Errors
/// What is wrong with it.
pub fn header(head: &[u8]) -> Result<Header, ArrayError> {
    let before = if head.get(MAGIC.len()) == Some(&1) { 10 } else { 12 };
    let text = head.get(before..).ok_or(ArrayError::Header { detail: "the file ends inside of it" })?;
    Literal { text, at: 0 }.header()
}

/// The literal, and how far it is read.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Literal<'a> {
    fn header(mut self) -> Result<Header, ArrayError> {
        let (mut elements, mut is_fortran, mut shape) = (None, None, None);
        self.expect(b'{', "it is no dict")?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.expect(b':', "a key without a value")?;
            let is_new = match key {
                b"descr" => elements.replace(self.elements()?).is_none(),
                b"fortran_order" => is_fortran.replace(self.boolean()?).is_none(),
                b"shape" => shape.replace(self.shape()?).is_none(),
                _ => return Err(wrong("a key that is none of descr, fortran_order and shape")),
            };
            if !is_new {
                return Err(wrong("a key twice"));
            }
            if !self.take(b',') {
                self.expect(b'}', "no comma between two keys")?;
                break;
            }
        }
        if self.peek().is_some() {
            return Err(wrong("something behind the dict"));
        }
        let Some((((dtype, is_big_endian), is_fortran), shape)) = elements.zip(is_fortran).zip(shape) else {
            return Err(wrong("descr, fortran_order or shape is missing"));
        };
        Ok(Header { dtype, is_big_endian, is_fortran, shape })
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, byte: u8, detail: &'static str) -> Result<(), ArrayError> {
        if self.take(byte) { Ok(()) } else { Err(wrong(detail)) }
    }

    /// Without quotes; an escape is none of ours.
    fn string(&mut self) -> Result<&'a [u8], ArrayError> {
        let quote =
            self.peek().filter(|byte| b"'\"".contains(byte)).ok_or(wrong("no text where one is due"))?;
        let rest = &self.text[self.at + 1..];
        let len = rest.iter().position(|&byte| byte == quote).ok_or(wrong("a text without an end"))?;
        if rest[..len].contains(&b'\\') {
            return Err(wrong("an escape in a text"));
        }
        self.at += len + 2;
        Ok(&rest[..len])
    }

    fn boolean(&mut self) -> Result<bool, ArrayError> {
        self.peek();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(wrong("fortran_order is neither True nor False"))
    }

    fn elements(&mut self) -> Result<(DType, bool), ArrayError> {
        if self.peek() == Some(b'[') {
            let is_of_objects = self.text[self.at..].windows(2).any(|pair| pair == b"|O");
            let several = || ArrayError::Elements { descr: "several named fields".to_owned() };
            return Err(if is_of_objects { ArrayError::Objects } else { several() });
        }
        let descr = self.string()?;
        if descr.contains(&b'O') {
            return Err(ArrayError::Objects);
        }
        let unknown =
            || ArrayError::Elements { descr: String::from_utf8_lossy(descr).chars().take(32).collect() };
        let [order, kind @ ..] = descr else { return Err(unknown()) };
        let dtype = match kind {
            b"b1" => DType::Bool,
            b"u1" => DType::U8,
            b"u2" => DType::U16,
            b"u4" => DType::U32,
            b"i1" => DType::I8,
            b"i2" => DType::I16,
            b"i4" => DType::I32,
            b"i8" => DType::I64,
            b"f2" => DType::F16,
            b"f4" => DType::F32,
            b"f8" => DType::F64,
            _ => return Err(unknown()),
        };
        match order {
            b'<' | b'=' => Ok((dtype, false)),
            b'>' => Ok((dtype, true)),
            b'|' if dtype.size_bytes() == 1 => Ok((dtype, false)),
            _ => Err(unknown()),
        }
    }

    /// A tuple: one number alone needs its comma, as in Python.
    fn shape(&mut self) -> Result<Vec<u64>, ArrayError> {
        self.expect(b'(', "shape is no tuple")?;
        let mut shape = Vec::new();
        loop {
            if self.take(b')') {
                return Ok(shape);
            }
            shape.push(self.integer()?);
            if shape.len() > DIMS_MAX {
                return Err(wrong("more than 64 dimensions"));
            }
            if !self.take(b',') {
                self.expect(b')', "shape is no tuple of numbers")?;
                return if shape.len() == 1 {
                    Err(wrong("shape is a number, and no tuple"))
                } else {
                    Ok(shape)
                };
            }
        }
    }

    /// Python 2 wrote some with an `L` behind them.
    fn integer(&mut self) -> Result<u64, ArrayError> {
        self.peek();
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = str::from_utf8(&self.text[self.at..][..digits]).expect("digits are UTF-8");
        let number = text.parse().map_err(|_| wrong("a dimension that is no number of elements"))?;
        self.at += digits;
        self.at += usize::from(self.text.get(self.at) == Some(&b'L'));
        Ok(number)
    }
}

fn wrong(detail: &'static str) -> ArrayError {
    ArrayError::Header { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str) -> Vec<u8> {
        let len = text.len() as u32;
        let len = if version == 1 { (len as u16).to_le_bytes().to_vec() } else { len.to_le_bytes().to_vec() };
        [MAGIC, &[version, 0], &len, text.as_bytes()].concat()
    }

    fn read(version: u8, text: &str) -> Result<Header, ArrayError> {
        let file = file(version, text);
        let end = data_offset(&file)?;
        assert_eq!(end, file.len(), "all of it is the header");
        header(&file)
    }

    #[test]
    fn a_header_of_each_version_says_what_the_elements_are() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n";
        let expected =
            Header { dtype: DType::F32, is_big_endian: false, is_fortran: false, shape: vec![3, 4] };
        for version in [1, 2, 3] {
            assert_eq!(read(version, text), Ok(expected.clone()));
        }
        assert_eq!((expected.data_bytes(), expected.words()), (Some(48), "float32 (3, 4)".to_owned()));
        let other = "{\"shape\":(7L,),\"fortran_order\":True,\"descr\":\">i8\"}";
        let expected = Header { dtype: DType::I64, is_big_endian: true, is_fortran: true, shape: vec![7] };
        assert_eq!((read(1, other), expected.words()), (Ok(expected.clone()), "int64 (7,)".to_owned()));
        let scalar = read(1, "{'descr': '|b1', 'fortran_order': False, 'shape': ()}").expect("a scalar");
        assert_eq!((scalar.data_bytes(), scalar.words()), (Some(1), "bool ()".to_owned()));
    }

    #[test]
    fn what_no_numpy_writes_is_refused_with_what_is_wrong() {
        let of = |descr: &str, shape: &str| {
            read(1, &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"))
        };
        let says = |outcome: Result<Header, ArrayError>, says: &str| {
            let error = outcome.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        };
        for descr in ["'|O'", "'O'", "[('a', '|O'), ('b', '<f4')]"] {
            assert_eq!(of(descr, "(3,)"), Err(ArrayError::Objects));
        }
        for descr in [
            "'<c8'",
            "'<U5'",
            "'|V2'",
            "'<u8'",
            "'<f16'",
            "'<M8[s]'",
            "'|f4'",
            "''",
            "'f4'",
            "[('a', '<f4')]",
        ] {
            says(of(descr, "(3,)"), "are not supported");
        }
        says(of("'<f4'", "(3)"), "shape is a number, and no tuple");
        says(of("'<f4'", "[3, 4]"), "shape is no tuple");
        says(of("'<f4'", "(3, -4)"), "no number of elements");
        says(of("'<f4'", "(3, 99999999999999999999)"), "no number of elements");
        says(of("'<f4'", "(,)"), "no number of elements");
        says(of("'<f4'", &format!("({})", "1,".repeat(65))), "more than 64 dimensions");
        says(of("'\\x3cf4'", "(3,)"), "an escape");
        says(of("__import__('os')", "(3,)"), "no text where one is due");
        says(read(1, "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}"), "neither True nor False");
        says(read(1, "{'descr': '<f4', 'shape': ()}"), "is missing");
        says(read(1, "{'descr': '<f4', 'descr': '<f4', 'shape': ()}"), "a key twice");
        says(read(1, "{'descr': '<f4', 'order': False}"), "a key that is none of");
        says(read(1, "{'descr': '<f4' 'shape': ()}"), "no comma");
        says(read(1, "{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1"), "behind the dict");
        says(read(1, "['<f4']"), "no dict");
        says(read(1, "{'descr"), "a text without an end");
        assert_eq!(read(4, "{}"), Err(ArrayError::Version { major: 4, minor: 0 }));
        assert!(matches!(data_offset(b"\x93NUMPX\x01\0\0\0\0\0"), Err(ArrayError::NotAnArray { .. })));
        assert!(matches!(data_offset(b"\x93NUMPY\x01\0\x10"), Err(ArrayError::Header { .. })));
        assert!(matches!(data_offset(b"\x93NUMPY\x02\0\xff\xff\xff\xff"), Err(ArrayError::Header { .. })));
    }
}
