//! Turns cells into a column of one kind, and refuses those that don't fit.

use super::bytes::ByteStrings;
use super::cell::{Cell, narrow};
use super::column::{Column, ColumnKind, ColumnSpec, Values};
use super::fault::CellFault;
use super::limits::CatalogLimits;
use super::paths::PathRule;
use super::table::Cells;

/// A column while its rows arrive.
pub(super) struct Builder<'a> {
    column: Column,
    limits: &'a CatalogLimits,
    paths: Option<&'a PathRule>,
    numbers: Vec<f64>,
    /// Which rows have a value, where some may lack one.
    present: Option<Vec<bool>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(spec: &ColumnSpec, limits: &'a CatalogLimits, paths: Option<&'a PathRule>) -> Self {
        let values = match spec.kind {
            ColumnKind::Path | ColumnKind::Text => Values::Bytes(ByteStrings::default()),
            ColumnKind::Int => Values::Ints(Vec::new()),
            ColumnKind::Float | ColumnKind::Weight => Values::Floats(Vec::new()),
            ColumnKind::FloatVector { .. } => Values::Vectors { len: 0, numbers: Vec::new() },
            ColumnKind::MultiHot { .. } => Values::MultiHot { ends: Vec::new(), indexes: Vec::new() },
            ColumnKind::Tokens => Values::Tokens { ends: Vec::new(), tokens: Vec::new() },
        };
        let column = Column { name: spec.name.clone(), kind: spec.kind, values };
        Self { column, limits, paths, numbers: Vec::new(), present: None }
    }

    /// The same for a column in which a value may be missing; an empty cell of CSV is none, for texts too.
    pub(super) fn with_gaps(self) -> Self {
        Self { present: Some(Vec::new()), ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.column.name
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> usize {
        self.present.as_ref().map_or_else(|| self.column.len(), Vec::len)
    }

    /// Adds the next row's value.
    pub(super) fn push(&mut self, cell: &Cell<'_>) -> Result<(), CellFault> {
        let Some(mut present) = self.present.take() else { return self.push_value(cell) };
        let empty = matches!(cell, Cell::Raw(raw) if raw.trim_ascii().is_empty());
        let pushed = if empty { Err(CellFault::Missing) } else { self.push_value(cell) };
        present.push(pushed.is_ok());
        self.present = Some(present);
        pushed.or_else(|fault| if fault == CellFault::Missing { Ok(()) } else { Err(fault) })
    }

    fn push_value(&mut self, cell: &Cell<'_>) -> Result<(), CellFault> {
        if *cell == Cell::Missing {
            return Err(CellFault::Missing);
        }
        match self.column.kind {
            ColumnKind::Path => self.push_path(cell),
            ColumnKind::Text => self.push_text(cell),
            ColumnKind::FloatVector { len } => self.push_vector(cell, len),
            ColumnKind::MultiHot { classes } => self.push_classes(cell, classes),
            ColumnKind::Tokens => self.push_tokens(cell),
            ColumnKind::Int => cell.int().map(|value| self.push_int(value)),
            ColumnKind::Float => cell.float().map(|value| self.push_float(value)),
            ColumnKind::Weight => weight(cell).map(|value| self.push_float(value)),
        }
    }

    /// The column, its spare memory given back.
    pub(super) fn finish(mut self) -> Column {
        match &mut self.column.values {
            Values::Bytes(strings) => strings.shrink(),
            Values::Ints(ints) => ints.shrink_to_fit(),
            Values::Count(_) => {}
            Values::Floats(floats) => floats.shrink_to_fit(),
            Values::Vectors { numbers, .. } => numbers.shrink_to_fit(),
            Values::MultiHot { ends, indexes } => {
                ends.shrink_to_fit();
                indexes.shrink_to_fit();
            }
            Values::Tokens { ends, tokens } => {
                ends.shrink_to_fit();
                tokens.shrink_to_fit();
            }
        }
        self.column
    }

    /// The column with its gaps; `None` where it has no value at all.
    pub(super) fn finish_cells(mut self) -> Option<Cells> {
        let present = self.present.take();
        let column = self.finish();
        match present {
            Some(present) if !present.contains(&true) => None,
            present => Some(Cells::spread(column, present)),
        }
    }

    fn push_int(&mut self, value: i64) {
        let Values::Ints(ints) = &mut self.column.values else { unreachable!("kind and values agree") };
        ints.push(value);
    }

    fn push_float(&mut self, value: f32) {
        let Values::Floats(floats) = &mut self.column.values else { unreachable!("kind and values agree") };
        floats.push(value);
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), CellFault> {
        let max_bytes = self.limits.text_bytes_max;
        if bytes.len() > max_bytes {
            return Err(CellFault::TextTooLong { len_bytes: bytes.len(), max_bytes });
        }
        let Values::Bytes(strings) = &mut self.column.values else { unreachable!("kind and values agree") };
        strings.push(bytes);
        Ok(())
    }

    fn push_path(&mut self, cell: &Cell<'_>) -> Result<(), CellFault> {
        let rule = self.paths.ok_or(CellFault::NoRoot)?;
        let path = rule.relative(cell.bytes()?)?;
        self.push_bytes(&path)
    }

    fn push_text(&mut self, cell: &Cell<'_>) -> Result<(), CellFault> {
        let bytes = cell.bytes()?;
        str::from_utf8(bytes).map_err(|_| CellFault::NotUtf8)?;
        self.push_bytes(bytes)
    }

    fn push_vector(&mut self, cell: &Cell<'_>, known: Option<u32>) -> Result<(), CellFault> {
        self.numbers.clear();
        cell.numbers(&mut self.numbers)?;
        let found = self.numbers.len();
        if found == 0 {
            return Err(CellFault::Missing);
        }
        let expected = known.map_or(found, |len| len as usize);
        if found != expected {
            return Err(CellFault::Ragged { expected, found });
        }
        let max = self.limits.vector_len_max;
        if found > max as usize {
            return Err(CellFault::VectorTooLong { len: found, max });
        }
        self.column.kind = ColumnKind::FloatVector { len: Some(found as u32) };
        let Values::Vectors { len, numbers } = &mut self.column.values else {
            unreachable!("kind and values agree")
        };
        *len = found;
        for &number in &self.numbers {
            numbers.push(narrow(number)?);
        }
        Ok(())
    }

    fn push_classes(&mut self, cell: &Cell<'_>, classes: u32) -> Result<(), CellFault> {
        self.numbers.clear();
        match cell {
            Cell::Int(index) => self.numbers.push(*index as f64),
            _ => cell.numbers(&mut self.numbers)?,
        }
        let max = self.limits.vector_len_max;
        if classes > max {
            return Err(CellFault::VectorTooLong { len: classes as usize, max });
        }
        let Values::MultiHot { ends, indexes } = &mut self.column.values else {
            unreachable!("kind and values agree")
        };
        for &number in &self.numbers {
            if number.fract() != 0.0 || !(0.0..f64::from(classes)).contains(&number) {
                return Err(CellFault::NoSuchClass { index: number.to_string(), classes });
            }
            indexes.push(number as u32);
        }
        ends.push(indexes.len() as u64);
        Ok(())
    }

    fn push_tokens(&mut self, cell: &Cell<'_>) -> Result<(), CellFault> {
        self.numbers.clear();
        cell.numbers(&mut self.numbers)?;
        let (len, max) = (self.numbers.len(), self.limits.tokens_max);
        if len > max as usize {
            return Err(CellFault::TooManyTokens { len, max });
        }
        let Values::Tokens { ends, tokens } = &mut self.column.values else {
            unreachable!("kind and values agree")
        };
        for &number in &self.numbers {
            if number.fract() != 0.0 || number < f64::from(i32::MIN) || number > f64::from(i32::MAX) {
                return Err(CellFault::NoToken { value: number.to_string() });
            }
            tokens.push(number as i32);
        }
        ends.push(tokens.len() as u64);
        Ok(())
    }
}

fn weight(cell: &Cell<'_>) -> Result<f32, CellFault> {
    let nan = |cell: &Cell<'_>| match cell {
        Cell::Float(value) => value.is_nan(),
        Cell::Raw(raw) => raw.trim_ascii().eq_ignore_ascii_case(b"nan"),
        _ => false,
    };
    if nan(cell) {
        return Err(CellFault::BadWeight { value: f32::NAN });
    }
    let value = cell.float()?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(CellFault::BadWeight { value }) }
}
