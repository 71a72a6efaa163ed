//! Rows of JSON Lines, from a file or from a client.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::Cell;
use super::error::CatalogError;
use super::fault::Unit;
use super::limits::CatalogLimits;
use super::list::{Naming, Rows, Visit, Wanted};

pub(super) struct JsonRows<'a> {
    input: Input<'a>,
    naming: Naming,
    line_bytes_max: u64,
}

enum Input<'a> {
    File(PathBuf),
    Memory(&'a [u8]),
}

impl<'a> JsonRows<'a> {
    pub(super) fn of_file(file: &Path, naming: Naming, limits: &CatalogLimits) -> Self {
        Self { input: Input::File(file.to_owned()), naming, line_bytes_max: limits.line_bytes_max }
    }

    pub(super) fn of_memory(lines: &'a [u8], naming: Naming, limits: &CatalogLimits) -> Self {
        Self { input: Input::Memory(lines), naming, line_bytes_max: limits.line_bytes_max }
    }

    fn io(&self, action: &'static str, source: io::Error) -> CatalogError {
        CatalogError::Io { action, path: self.naming.source.clone(), source }
    }

    fn reader(&self) -> Result<Box<dyn BufRead + '_>, CatalogError> {
        match &self.input {
            Input::File(file) => {
                let opened = File::open(file).map_err(|source| self.io("open", source))?;
                Ok(Box::new(BufReader::with_capacity(64 << 10, opened)))
            }
            Input::Memory(lines) => Ok(Box::new(*lines)),
        }
    }

    /// Visits each line that holds something, until `visit` has seen enough.
    fn lines(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<bool, CatalogError>,
    ) -> Result<(), CatalogError> {
        let mut reader = self.reader()?;
        let (mut line, mut number, mut records) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let limit = self.line_bytes_max.saturating_add(1);
            let read = (&mut *reader).take(limit).read_until(b'\n', &mut line);
            if read.map_err(|source| self.io("read", source))? == 0 {
                return Ok(());
            }
            number += 1;
            let named = if self.naming.unit == Unit::Record { records } else { number };
            if line.len() as u64 > self.line_bytes_max {
                let line_bytes_max = self.line_bytes_max;
                return Err(CatalogError::LineTooLong { place: self.naming.row(named), line_bytes_max });
            }
            let content =
                line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line).trim_ascii();
            if !content.is_empty() {
                records += 1;
                if !visit(named, content)? {
                    return Ok(());
                }
            }
        }
    }

    fn parse<'l, S: DeserializeSeed<'l>>(
        &self,
        number: u64,
        line: &'l [u8],
        seed: S,
    ) -> Result<S::Value, CatalogError> {
        let failed = |source| CatalogError::Json { place: self.naming.row(number), source };
        let mut json = serde_json::Deserializer::from_slice(line);
        let value = seed.deserialize(&mut json).map_err(failed)?;
        json.end().map_err(failed)?;
        Ok(value)
    }
}

impl Rows for JsonRows<'_> {
    fn naming(&self) -> &Naming {
        &self.naming
    }

    /// The fields of the first object.
    fn header(&self) -> Result<Vec<String>, CatalogError> {
        let mut names = None;
        self.lines(|number, line| {
            names = Some(self.parse(number, line, Names)?);
            Ok(false)
        })?;
        names.ok_or_else(|| CatalogError::Empty { file: self.naming.source.clone() })
    }

    fn for_each(&self, wanted: &Wanted<'_>, visit: Visit<'_>) -> Result<(), CatalogError> {
        self.lines(|number, line| {
            let row = self.parse(number, line, Row { names: wanted.names })?;
            let place = || self.naming.row(number);
            if let Some(column) = row.twice {
                return Err(CatalogError::DuplicateColumn { place: place().to_string(), column });
            }
            if let Some(field) = row.extra.filter(|_| wanted.all) {
                return Err(CatalogError::ExtraField { place: place(), field });
            }
            visit(number, &row.cells).map(|()| true)
        })
    }
}

/// Reads the keys of an object.
struct Names;

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(names)
    }
}

/// Reads the wanted values of an object.
struct Row<'n> {
    names: &'n [String],
}

struct RowCells<'de> {
    cells: Vec<Cell<'de>>,
    extra: Option<String>,
    twice: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = RowCells<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = RowCells<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut cells: Vec<Option<Cell<'de>>> = self.names.iter().map(|_| None).collect();
        let (mut extra, mut twice) = (None, None);
        while let Some(KeyStr(key)) = map.next_key_seed(Key)? {
            match self.names.iter().position(|name| *name == key) {
                Some(at) if cells[at].is_some() => {
                    map.next_value::<IgnoredAny>()?;
                    twice = Some(key.into_owned());
                }
                Some(at) => cells[at] = Some(map.next_value_seed(Value)?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                    extra = Some(key.into_owned());
                }
            }
        }
        let cells = cells.into_iter().map(|cell| cell.unwrap_or(Cell::Missing)).collect();
        Ok(RowCells { cells, extra, twice })
    }
}

/// Reads a key without copying it where it has no escapes.
struct Key;

struct KeyStr<'de>(Cow<'de, str>);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = KeyStr<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = KeyStr<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(KeyStr(Cow::Borrowed(key)))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(KeyStr(Cow::Owned(key.to_owned())))
    }
}

/// Reads one value; lists of anything but numbers, and objects, become [`Cell::Other`].
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cell::Missing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Cell::Float(value as f64), Cell::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cell::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Borrowed(value.as_bytes())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Owned(value.as_bytes().to_vec())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Some(Vec::new());
        while let Some(cell) = list.next_element_seed(Value)? {
            match (cell, &mut numbers) {
                (Cell::Int(value), Some(numbers)) => numbers.push(value as f64),
                (Cell::Float(value), Some(numbers)) => numbers.push(value),
                _ => numbers = None,
            }
        }
        Ok(numbers.map_or(Cell::Other("a list of other things than numbers"), Cell::Numbers))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("an object"))
    }
}
