//! A condition's text -> its words, each with its place.

use std::ops::Range;

use super::Problem;

/// One word and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) at: Range<usize>,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A column, `true`, `false`, or a word of the language, as it was written.
    Name(String),
    /// `"a column"`.
    Quoted(String),
    /// `'a text'`.
    Text(String),
    Int(i64),
    Float(f64),
    /// `(`, `)`, `,` or an operator.
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 10] = ["!=", "<>", "<=", ">=", "==", "=", "<", ">", "(", ")"];

/// Cuts a text into words; the last one is [`Word::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let token = token(text, at, first)?;
        at = token.at.end;
        tokens.push(token);
    }
    tokens.push(Token { word: Word::End, at: at..at });
    Ok(tokens)
}

fn token(text: &str, at: usize, first: char) -> Result<Token, Problem> {
    let rest = &text[at..];
    let digit_follows = |skip: usize| rest[skip..].starts_with(|next: char| next.is_ascii_digit());
    let is_number = first.is_ascii_digit()
        || first == '.' && digit_follows(1)
        || matches!(first, '-' | '+') && (digit_follows(1) || rest[1..].starts_with('.') && digit_follows(2));
    if is_number {
        return number(text, at);
    }
    if first == '\'' || first == '"' {
        return quoted(text, at, first);
    }
    if first.is_alphabetic() || first == '_' {
        let end = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
        return Ok(Token { word: Word::Name(rest[..end].to_owned()), at: at..at + end });
    }
    let symbol = SYMBOLS.into_iter().chain([","]).find(|symbol| rest.starts_with(symbol));
    if let Some(symbol) = symbol {
        return Ok(Token { word: Word::Symbol(symbol), at: at..at + symbol.len() });
    }
    let problem = Problem::at(at..at + first.len_utf8(), format!("{first:?} means nothing here"));
    Err(problem.hint("columns with other signs than letters, digits and _ stand in \"double quotes\""))
}

/// A text or name in quotes; a quote in it is doubled.
fn quoted(text: &str, at: usize, quote: char) -> Result<Token, Problem> {
    let mut inside = String::new();
    let mut rest = text[at + 1..].char_indices().peekable();
    while let Some((offset, next)) = rest.next() {
        if next != quote {
            inside.push(next);
        } else if rest.next_if(|&(_, after)| after == quote).is_some() {
            inside.push(quote);
        } else {
            let word = if quote == '"' { Word::Quoted(inside) } else { Word::Text(inside) };
            return Ok(Token { word, at: at..at + 1 + offset + 1 });
        }
    }
    Err(Problem::at(at..text.len(), format!("the {quote} that begins here has no end"))
        .hint(format!("a {quote} inside of a text is doubled: {quote}{quote}")))
}

fn number(text: &str, at: usize) -> Result<Token, Problem> {
    let rest = &text[at..];
    let mut before = ' ';
    let end = rest.find(|next: char| {
        let sign = matches!(next, '-' | '+') && matches!(before, ' ' | 'e' | 'E');
        before = next;
        !(sign || next.is_alphanumeric() || matches!(next, '.' | '_'))
    });
    let number = &rest[..end.unwrap_or(rest.len())];
    let place = at..at + number.len();
    if let Ok(int) = number.parse() {
        return Ok(Token { word: Word::Int(int), at: place });
    }
    // Rust reads `inf` and `1.` too; neither gets here as SQL would not have it, but for the harmless `1.`.
    match number.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Token { word: Word::Float(float), at: place }),
        _ => Err(Problem::at(place, format!("{number} is no number"))),
    }
}
