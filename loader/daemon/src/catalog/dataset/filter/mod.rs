//! `width >= 256 and lang = 'en'`: a condition on columns -> the samples that meet it.
//!
//! A part of SQL's conditions, with SQL's logic of three values: a comparison with a missing value is unknown, the
//! opposite of unknown is unknown, and what is unknown is not selected. `docs/cleaning.md` has the language.

mod eval;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::catalog::table::Table;
use crate::error::Fault;

/// Bytes of a condition: longer ones want a joined column.
const CONDITION_BYTES_MAX: usize = 64 << 10;

/// Columns that an error lists.
const COLUMNS_SHOWN: usize = 40;

/// Characters of the condition that an error shows on either side of the place.
const SHOWN_BESIDE: usize = 50;

/// The rows of the samples that meet a condition, in order.
///
/// # Errors
/// Invalid: a condition that does not parse, a column that is not there or is of another kind. The message points at
/// the place.
pub fn rows(table: &Table, condition: &str) -> Result<Vec<usize>, Fault> {
    if condition.len() > CONDITION_BYTES_MAX {
        let message = format!("a condition of {} bytes, at most {CONDITION_BYTES_MAX}", condition.len());
        return Err(Fault::invalid(message).hint("join a column that tells what is wanted, and name that"));
    }
    let parsed = lex::tokens(condition).and_then(|tokens| parse::parse(&tokens, table));
    match parsed {
        Ok(condition) => Ok(eval::rows(&condition, table)),
        Err(problem) => Err(problem.into_fault(condition, table)),
    }
}

/// Whether a text can be the name of a recorded condition: letters, digits, `_`, `-` and `.`, a letter first. No
/// condition is one.
pub fn is_name(text: &str) -> bool {
    text.starts_with(char::is_alphabetic)
        && text.chars().all(|sign| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '.'))
}

/// What is wrong with a condition, and where.
#[derive(Debug, PartialEq)]
struct Problem {
    at: Range<usize>,
    message: String,
    hint: Option<String>,
}

impl Problem {
    fn at(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn into_fault(self, condition: &str, table: &Table) -> Fault {
        let pointed = pointed(condition, &self.at);
        let hint = self.hint.unwrap_or_else(|| columns(table));
        Fault::invalid(format!("{}\n{pointed}", self.message)).hint(hint)
    }
}

/// The condition in one line, and a second line of carets below the place.
fn pointed(condition: &str, at: &Range<usize>) -> String {
    let before = condition[..at.start].chars().count();
    let marked = condition[at.clone()].chars().count().clamp(1, SHOWN_BESIDE);
    let first = before.saturating_sub(SHOWN_BESIDE);
    let cut = if first > 0 { "..." } else { "" };
    let signs = condition.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).skip(first);
    let shown: String = signs.take(before - first + marked + SHOWN_BESIDE).collect();
    let indent = " ".repeat(cut.len() + before - first);
    format!("  {cut}{}\n  {indent}{}", shown.trim_end(), "^".repeat(marked))
}

/// The columns that there are, for people.
fn columns(table: &Table) -> String {
    let named: Vec<_> = table
        .columns()
        .iter()
        .take(COLUMNS_SHOWN)
        .map(|cells| format!("{} ({})", cells.column().name(), cells.column().kind().name()))
        .collect();
    let more = match table.columns().len().saturating_sub(COLUMNS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("there are the columns {}{more}", named.join(", "))
}
