//! A condition over a table, a column at a time.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::parse::{Comparison, Condition, Operand, Piece};
use crate::catalog::column::{ColumnKind, Values};
use crate::catalog::table::{Cells, Table};

/// `and` is the least of them, `or` the greatest.
type Truth = u8;
const FALSE: Truth = 0;
const UNKNOWN: Truth = 1;
const TRUE: Truth = 2;

/// A number of a column or of the condition.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

/// One side of a comparison.
enum Side<'a> {
    Column(&'a Cells),
    Number(Number),
    Text(&'a [u8]),
}

/// The rows for which a condition is true.
pub(super) fn rows(condition: &Condition, table: &Table) -> Vec<usize> {
    let truths = truths(condition, table);
    truths.iter().enumerate().filter(|(_, truth)| **truth == TRUE).map(|(row, _)| row).collect()
}

fn truths(condition: &Condition, table: &Table) -> Vec<Truth> {
    let cells = |column: &usize| &table.columns()[*column];
    let each = |truth: &dyn Fn(usize) -> Truth| (0..table.len()).map(truth).collect();
    match condition {
        Condition::All(parts) => fold(parts, table, Truth::min),
        Condition::Any(parts) => fold(parts, table, Truth::max),
        Condition::Not(inner) => truths(inner, table).into_iter().map(|truth| TRUE - truth).collect(),
        Condition::Compare { left, is, right } => {
            compare(table.len(), &side(left, table), *is, &side(right, table))
        }
        Condition::In { column, values } => is_in(table.len(), cells(column), values),
        Condition::Like { column, pattern } => {
            let cells = cells(column);
            each(&|row| cells.text(row).map_or(UNKNOWN, |text| is(like(text, pattern))))
        }
        Condition::Missing { column } => {
            let cells = cells(column);
            each(&|row| is(!cells.tells(row)))
        }
    }
}

fn fold(parts: &[Condition], table: &Table, join: impl Fn(Truth, Truth) -> Truth) -> Vec<Truth> {
    let mut parts = parts.iter().map(|part| truths(part, table));
    let mut all = parts.next().expect("a list of conditions has one");
    for part in parts {
        all.iter_mut().zip(part).for_each(|(all, truth)| *all = join(*all, truth));
    }
    all
}

fn is(met: bool) -> Truth {
    if met { TRUE } else { FALSE }
}

fn side<'a>(operand: &'a Operand, table: &'a Table) -> Side<'a> {
    match operand {
        Operand::Column(index) => Side::Column(&table.columns()[*index]),
        Operand::Int(int) => Side::Number(Number::Int(*int)),
        Operand::Float(float) => Side::Number(Number::Float(*float)),
        Operand::Text(text) => Side::Text(text.as_bytes()),
    }
}

impl Side<'_> {
    fn is_text(&self) -> bool {
        match self {
            Self::Column(cells) => matches!(cells.column.kind, ColumnKind::Text | ColumnKind::Path),
            Self::Text(_) => true,
            Self::Number(_) => false,
        }
    }

    fn text(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Column(cells) => cells.text(row),
            Self::Text(text) => Some(text),
            Self::Number(_) => None,
        }
    }

    fn number(&self, row: usize) -> Option<Number> {
        match self {
            Self::Column(cells) => cells.number(row),
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

impl Cells {
    fn text(&self, row: usize) -> Option<&[u8]> {
        self.column.bytes(row).filter(|_| self.has(row))
    }

    fn number(&self, row: usize) -> Option<Number> {
        if !self.has(row) {
            return None;
        }
        match &self.column.values {
            Values::Ints(_) | Values::Count(_) => Some(Number::Int(self.column.int(row as u64))),
            Values::Floats(floats) => {
                Some(Number::Float(floats[row].into())).filter(|_| !floats[row].is_nan())
            }
            _ => None,
        }
    }

    /// Whether there is a value; NaN is none.
    fn tells(&self, row: usize) -> bool {
        let nan = matches!(&self.column.values, Values::Floats(floats) if floats[row].is_nan());
        self.has(row) && !nan
    }
}

fn compare(rows: usize, left: &Side<'_>, comparison: Comparison, right: &Side<'_>) -> Vec<Truth> {
    let truth =
        |ordering: Option<Ordering>| ordering.map_or(UNKNOWN, |ordering| is(comparison.holds(ordering)));
    if left.is_text() {
        let ordering = |row| Some(left.text(row)?.cmp(right.text(row)?));
        return (0..rows).map(|row| truth(ordering(row))).collect();
    }
    let ordering = |row| Some(left.number(row)?.compare(right.number(row)?));
    (0..rows).map(|row| truth(ordering(row))).collect()
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Number {
    /// Exact, where a conversion of either side would not be; neither is NaN.
    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).expect("neither is NaN"),
            (Self::Int(a), Self::Float(b)) => int_with_float(a, b),
            (Self::Float(a), Self::Int(b)) => int_with_float(b, a).reverse(),
        }
    }
}

fn int_with_float(int: i64, float: f64) -> Ordering {
    const END: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if float >= END {
        return Ordering::Less;
    }
    if float < -END {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i64)).then_with(|| whole.partial_cmp(&float).expect("it is not NaN"))
}

fn is_in(rows: usize, cells: &Cells, values: &[Operand]) -> Vec<Truth> {
    if matches!(cells.column.kind, ColumnKind::Text | ColumnKind::Path) {
        let texts: HashSet<_> = values.iter().filter_map(text_of).collect();
        let truth = |text: &[u8]| is(texts.contains(text));
        return (0..rows).map(|row| cells.text(row).map_or(UNKNOWN, truth)).collect();
    }
    let numbers: HashSet<_> = values.iter().filter_map(number_of).map(Number::identity).collect();
    let truth = |number: Number| is(numbers.contains(&number.identity()));
    (0..rows).map(|row| cells.number(row).map_or(UNKNOWN, truth)).collect()
}

fn text_of(value: &Operand) -> Option<&[u8]> {
    match value {
        Operand::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn number_of(value: &Operand) -> Option<Number> {
    match value {
        Operand::Int(int) => Some(Number::Int(*int)),
        Operand::Float(float) => Some(Number::Float(*float)),
        _ => None,
    }
}

impl Number {
    /// Equal for equal numbers: an int where it is one, else the bits of the float.
    fn identity(self) -> (bool, u64) {
        match self {
            Self::Int(int) => (true, int as u64),
            Self::Float(float) => match float as i64 {
                int if int_with_float(int, float).is_eq() => (true, int as u64),
                _ => (false, float.to_bits()),
            },
        }
    }
}

/// Whether a text is like a pattern. Where a `%` took too little it takes one more character, the last `%` alone: what
/// an earlier one could take, the last can take too.
fn like(text: &[u8], pattern: &[Piece]) -> bool {
    let (mut at, mut piece) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        match pattern.get(piece) {
            Some(Piece::Any) => {
                again = Some((at, piece + 1));
                piece += 1;
                continue;
            }
            Some(Piece::One) if at < text.len() => {
                (at, piece) = (at + character_bytes(&text[at..]), piece + 1);
                continue;
            }
            Some(Piece::Byte(byte)) if text.get(at) == Some(byte) => {
                (at, piece) = (at + 1, piece + 1);
                continue;
            }
            None if at == text.len() => return true,
            _ => {}
        }
        match &mut again {
            Some((start, after)) if *start < text.len() => {
                *start += character_bytes(&text[*start..]);
                (at, piece) = (*start, *after);
            }
            _ => return false,
        }
    }
}

/// Of the character that some UTF-8 begins with; a byte that begins none counts as one.
fn character_bytes(text: &[u8]) -> usize {
    let len = match text[0] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    len.min(text.len())
}
