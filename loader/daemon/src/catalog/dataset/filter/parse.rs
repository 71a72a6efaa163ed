//! Words -> a condition whose columns are there and whose comparisons make sense.

use std::ops::Range;

use super::lex::{Token, Word};
use super::{Problem, columns};
use crate::catalog::column::ColumnKind;
use crate::catalog::table::Table;

/// Parentheses and `not` inside of each other.
const DEPTH_MAX: usize = 64;

/// Values of one list.
const LIST_MAX: usize = 10_000;

/// What is said of a sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare { left: Operand, is: Comparison, right: Operand },
    In { column: usize, values: Vec<Operand> },
    Like { column: usize, pattern: Vec<Piece> },
    Missing { column: usize },
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// By its place in the table.
    Column(usize),
    Int(i64),
    Float(f64),
    Text(String),
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A part of a `like` pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Byte(u8),
    /// `_`: one character.
    One,
    /// `%`: any number of them.
    Any,
}

/// What can be compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    /// Only whether it is there can be asked.
    Other,
}

/// An operand, its class and its place.
struct Term {
    operand: Operand,
    class: Class,
    at: Range<usize>,
}

/// Words with a meaning; a column of such a name stands in quotes.
const WORDS: [&str; 11] =
    ["and", "or", "not", "in", "between", "like", "escape", "is", "null", "true", "false"];

/// Parses a whole condition.
pub(super) fn parse(tokens: &[Token], table: &Table) -> Result<Condition, Problem> {
    let mut parser = Parser { tokens, table, depth: 0 };
    if parser.peek() == &Word::End {
        return Err(Problem::at(0..0, "an empty condition"));
    }
    let condition = parser.any()?;
    match parser.peek() {
        Word::End => Ok(condition),
        _ => Err(Problem::at(parser.place(), "the condition goes on where it could end")
            .hint("join conditions with `and` or `or`")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    table: &'a Table,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Word {
        &self.tokens[0].word
    }

    fn place(&self) -> Range<usize> {
        self.tokens[0].at.clone()
    }

    /// The next word, which is left behind; the last one stays.
    fn take(&mut self) -> Token {
        let token = self.tokens[0].clone();
        if self.tokens.len() > 1 {
            self.tokens = &self.tokens[1..];
        }
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Word::Name(name) if name.eq_ignore_ascii_case(word));
        if is {
            self.take();
        }
        is
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let is = matches!(self.peek(), Word::Symbol(found) if *found == symbol);
        if is {
            self.take();
        }
        is
    }

    fn wants(&self, what: &str) -> Problem {
        Problem::at(self.place(), format!("{what} is missing here"))
    }

    fn any(&mut self) -> Result<Condition, Problem> {
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, Problem> {
        let mut parts = vec![self.one()?];
        while self.take_word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::at(self.place(), format!("more than {DEPTH_MAX} conditions in each other"))
                .hint("write it flatter"));
        }
        let condition = if self.take_word("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.take_symbol("(") {
            let inner = self.any()?;
            if !self.take_symbol(")") {
                return Err(self.wants("a )").hint("each ( needs its )"));
            }
            inner
        } else {
            self.predicate()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn predicate(&mut self) -> Result<Condition, Problem> {
        let left = self.term()?;
        if let Some(is) = self.comparison() {
            let right = self.term()?;
            return self.compare(&left, is, &right);
        }
        if self.take_word("is") {
            let not = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.wants("null").hint("write: is null, is not null"));
            }
            return Ok(negated(not, Condition::Missing { column: column(&left)? }));
        }
        let not = self.take_word("not");
        if self.take_word("between") {
            return self.between(&left).map(|condition| negated(not, condition));
        }
        if self.take_word("in") {
            return self.list(&left).map(|condition| negated(not, condition));
        }
        if self.take_word("like") {
            return self.like(&left).map(|condition| negated(not, condition));
        }
        Err(self.wants("a comparison").hint("one of: = != < <= > >= in between like is"))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let Word::Symbol(symbol) = self.peek() else { return None };
        let is = match *symbol {
            "=" | "==" => Comparison::Equal,
            "!=" | "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.take();
        Some(is)
    }

    /// A column or a value.
    fn term(&mut self) -> Result<Term, Problem> {
        let at = self.place();
        let number = |operand| Ok((operand, Class::Number));
        let (operand, class) = match self.take().word {
            Word::Int(int) => number(Operand::Int(int)),
            Word::Float(float) => number(Operand::Float(float)),
            Word::Text(text) => Ok((Operand::Text(text), Class::Text)),
            Word::Name(name) if name.eq_ignore_ascii_case("true") => number(Operand::Int(1)),
            Word::Name(name) if name.eq_ignore_ascii_case("false") => number(Operand::Int(0)),
            Word::Name(name) if name.eq_ignore_ascii_case("null") => {
                Err(Problem::at(at.clone(), "nothing compares with null").hint("write: is null, is not null"))
            }
            Word::Name(name) if WORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) => {
                Err(Problem::at(at.clone(), "a column or a value is missing here")
                    .hint(format!("a column of that name is written \"{name}\"")))
            }
            Word::Name(name) | Word::Quoted(name) => self.named(&name, &at),
            Word::Symbol(_) | Word::End => {
                Err(Problem::at(at.clone(), "a column or a value is missing here"))
            }
        }?;
        Ok(Term { operand, class, at })
    }

    fn named(&self, name: &str, at: &Range<usize>) -> Result<(Operand, Class), Problem> {
        let found = self.table.columns().iter().position(|cells| cells.column().name() == name);
        let Some(index) = found else {
            let hint = format!("{}; a text stands in single quotes: '{name}'", columns(self.table));
            return Err(Problem::at(at.clone(), format!("there is no column {name}")).hint(hint));
        };
        let class = match self.table.columns()[index].column().kind() {
            ColumnKind::Int | ColumnKind::Float | ColumnKind::Weight => Class::Number,
            ColumnKind::Text | ColumnKind::Path => Class::Text,
            ColumnKind::FloatVector { .. } | ColumnKind::MultiHot { .. } | ColumnKind::Tokens => Class::Other,
        };
        Ok((Operand::Column(index), class))
    }

    fn compare(&self, left: &Term, is: Comparison, right: &Term) -> Result<Condition, Problem> {
        self.check_fit(left, right)?;
        let (left, right) =
            (self.rounded(&left.operand, &right.operand), self.rounded(&right.operand, &left.operand));
        Ok(Condition::Compare { left, is, right })
    }

    fn check_fit(&self, left: &Term, right: &Term) -> Result<(), Problem> {
        let is_column = |term: &Term| matches!(term.operand, Operand::Column(_));
        if !is_column(left) && !is_column(right) {
            return Err(Problem::at(left.at.start..right.at.end, "neither of these is a column"));
        }
        for term in [left, right] {
            if term.class == Class::Other {
                let what = self.what(term);
                return Err(Problem::at(term.at.clone(), format!("{what}, which cannot be compared"))
                    .hint("join a column with a number or text of each sample"));
            }
        }
        if left.class == right.class {
            return Ok(());
        }
        let message = format!("{}, and {}", self.what(left), self.what(right));
        Err(Problem::at(left.at.start..right.at.end, message)
            .hint("numbers stand as they are, texts in single quotes"))
    }

    fn what(&self, term: &Term) -> String {
        match &term.operand {
            Operand::Column(index) => {
                let column = self.table.columns()[*index].column();
                format!("column {} holds {}", column.name(), column.kind().name())
            }
            Operand::Text(text) => format!("'{text}' is a text"),
            Operand::Int(number) => format!("{number} is a number"),
            Operand::Float(number) => format!("{number} is a number"),
        }
    }

    /// A number as a column of 32-bit floats would hold it, so that `score = 0.1` finds what was stored as 0.1.
    fn rounded(&self, operand: &Operand, beside: &Operand) -> Operand {
        let Operand::Column(index) = beside else { return operand.clone() };
        if !matches!(self.table.columns()[*index].column().kind(), ColumnKind::Float | ColumnKind::Weight) {
            return operand.clone();
        }
        let (narrow, wide) = match *operand {
            Operand::Int(int) => (int as f32, int as f64),
            Operand::Float(float) => (float as f32, float),
            _ => return operand.clone(),
        };
        // What is larger than any of them stays so, and equals none.
        Operand::Float(if narrow.is_finite() { f64::from(narrow) } else { wide })
    }

    fn between(&mut self, term: &Term) -> Result<Condition, Problem> {
        let least = self.term()?;
        if !self.take_word("and") {
            return Err(self.wants("and").hint("write: between 1 and 2"));
        }
        let most = self.term()?;
        let from = self.compare(term, Comparison::GreaterOrEqual, &least)?;
        Ok(Condition::All(vec![from, self.compare(term, Comparison::LessOrEqual, &most)?]))
    }

    fn list(&mut self, left: &Term) -> Result<Condition, Problem> {
        let column = column(left)?;
        if !self.take_symbol("(") {
            return Err(self.wants("a (").hint("write: in ('a', 'b')"));
        }
        let mut values = Vec::new();
        loop {
            let value = self.term()?;
            if matches!(value.operand, Operand::Column(_)) {
                return Err(Problem::at(value.at, "a column in a list").hint("write: a = b or a = c"));
            }
            self.check_fit(left, &value)?;
            if values.len() == LIST_MAX {
                return Err(Problem::at(value.at, format!("a list of more than {LIST_MAX} values"))
                    .hint("join a column that tells what is wanted, and name that"));
            }
            values.push(self.rounded(&value.operand, &left.operand));
            if self.take_symbol(")") {
                return Ok(Condition::In { column, values });
            }
            if !self.take_symbol(",") {
                return Err(self.wants("a , or )").hint("write: in ('a', 'b')"));
            }
        }
    }

    fn like(&mut self, left: &Term) -> Result<Condition, Problem> {
        let column = column(left)?;
        if left.class != Class::Text {
            return Err(Problem::at(left.at.clone(), format!("{}, which is like no text", self.what(left))));
        }
        let (pattern, at) = self.text("a pattern", "write: like 'a%'")?;
        let escape = if self.take_word("escape") {
            let (sign, at) = self.text("a sign", "write: escape '\\'")?;
            let mut signs = sign.chars();
            match (signs.next(), signs.next()) {
                (Some(sign), None) => Some(sign),
                _ => {
                    return Err(
                        Problem::at(at, "the sign that escapes is one character").hint("write: escape '\\'")
                    );
                }
            }
        } else {
            None
        };
        let pattern = pieces(&pattern, escape).ok_or_else(|| {
            Problem::at(at, "the pattern ends in its escape").hint("it stands before %, _ or itself")
        })?;
        Ok(Condition::Like { column, pattern })
    }

    fn text(&mut self, what: &str, hint: &str) -> Result<(String, Range<usize>), Problem> {
        let wants = self.wants(what).hint(hint);
        match self.take() {
            Token { word: Word::Text(text), at } => Ok((text, at)),
            _ => Err(wants),
        }
    }
}

/// `None`: an escape that escapes nothing.
fn pieces(pattern: &str, escape: Option<char>) -> Option<Vec<Piece>> {
    let (mut pieces, mut signs) = (Vec::new(), pattern.chars());
    while let Some(sign) = signs.next() {
        let (sign, plain) = if Some(sign) == escape { (signs.next()?, true) } else { (sign, false) };
        match sign {
            '%' if !plain => pieces.push(Piece::Any),
            '_' if !plain => pieces.push(Piece::One),
            sign => pieces.extend(sign.encode_utf8(&mut [0; 4]).bytes().map(Piece::Byte)),
        }
    }
    Some(pieces)
}

fn column(term: &Term) -> Result<usize, Problem> {
    match term.operand {
        Operand::Column(index) => Ok(index),
        _ => Err(Problem::at(term.at.clone(), "a column is missing here")),
    }
}

fn negated(not: bool, condition: Condition) -> Condition {
    if not { Condition::Not(Box::new(condition)) } else { condition }
}
