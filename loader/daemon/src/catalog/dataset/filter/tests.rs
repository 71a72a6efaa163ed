//! What is selected, what is not known, what is refused and where; and the same as a plain evaluator, row by row.

use proptest::prelude::*;

use super::*;
use crate::catalog::{CatalogLimits, ColumnKind, ColumnSpec, SourceSpec, open};

/// One sample a line; what a line leaves out is missing.
fn table(lines: &[String], columns: &[(&str, ColumnKind)]) -> Table {
    let mut table = Table::default();
    for line in lines {
        let given = |(name, _): &&(&str, ColumnKind)| line.contains(&format!("\"{name}\":"));
        let columns = columns.iter().filter(given);
        let spec = SourceSpec::Records {
            root: None,
            json_lines: line.as_bytes().to_vec(),
            columns: columns.map(|&(name, kind)| ColumnSpec { name: name.to_owned(), kind }).collect(),
        };
        table.append(Table::of(&open(&spec, &CatalogLimits::default()).unwrap())).unwrap();
    }
    table
}

const COLUMNS: [(&str, ColumnKind); 7] = [
    ("key", ColumnKind::Text),
    ("width", ColumnKind::Int),
    ("lang", ColumnKind::Text),
    ("score", ColumnKind::Float),
    ("height", ColumnKind::Int),
    ("odd name", ColumnKind::Text),
    ("box", ColumnKind::FloatVector { len: Some(2) }),
];

fn photos() -> Table {
    let lines = [
        r#"{"key":"a","width":100,"lang":"en","score":0.1,"height":100,"odd name":"x","box":[1,2]}"#,
        r#"{"key":"b","width":256,"lang":"de","score":0.5,"height":100,"odd name":"it's","box":[1,2]}"#,
        r#"{"key":"c","width":300,"score":-2.5,"height":400,"odd name":"50%","box":[1,2]}"#,
        r#"{"key":"d","lang":"en","height":1,"odd name":"naïve","box":[1,2]}"#,
    ];
    table(&lines.map(str::to_owned), &COLUMNS)
}

/// The keys of what a condition selects, end to end.
fn selected(condition: &str) -> String {
    let table = photos();
    let rows = rows(&table, condition).unwrap_or_else(|fault| panic!("{condition}: {fault}"));
    rows.iter().map(|&row| String::from_utf8(table.key(row).into_owned()).unwrap()).collect()
}

#[test]
fn conditions_select_what_sql_would() {
    for (condition, keys) in [
        ("width >= 256", "bc"),
        ("width >= 256 and lang = 'en'", ""),
        ("width >= 256 AND lang <> 'en' or key = 'd'", "bd"),
        ("256 <= width", "bc"),
        ("not (width > 200)", "a"),
        ("lang in ('en', 'fr')", "ad"),
        ("lang not in ('en', 'fr')", "b"),
        ("width in (100, 300.0)", "ac"),
        ("score in (0.1, 7)", "a"),
        ("width between 100 and 256 and height = 100", "ab"),
        ("width not between 101 and 300", "a"),
        ("width is null", "d"),
        ("lang is not null", "abd"),
        ("box is not null", "abcd"),
        ("score = 0.1", "a"),
        ("score < 1e300 and score > -1e300", "abc"),
        ("width > 255.5", "bc"),
        ("width = 256.0", "b"),
        ("width > 9223372036854775807 or width < -9300000000000000000", ""),
        ("width = height", "a"),
        ("score < width", "abc"),
        ("\"odd name\" = 'it''s'", "b"),
        ("\"odd name\" like '%''_'", "b"),
        ("\"odd name\" like '50!%' escape '!'", "c"),
        ("\"odd name\" like 'na_ve'", "d"),
        ("\"odd name\" like '%__%' and \"odd name\" not like '____'", "cd"),
        ("width = true or height = TRUE", "d"),
        ("key >= 'b' and key < 'd'", "bc"),
    ] {
        assert_eq!(selected(condition), keys, "{condition}");
    }
}

#[test]
fn a_comparison_with_nothing_is_unknown_and_so_is_its_opposite() {
    assert_eq!(selected("lang = 'en' or lang != 'en'"), "abd");
    assert_eq!(selected("not (lang = 'en')"), "b");
    assert_eq!(selected("not (lang = 'en' and width is null)"), "abc");
    assert_eq!(selected("width > 0 or lang = 'en'"), "abcd");
    assert_eq!(selected("not (width > 0 or lang = 'x')"), "");
    assert_eq!(selected("lang not like 'e%'"), "b");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let table = photos();
    for (condition, message) in [
        ("widht >= 256", "there is no column widht\n  widht >= 256\n  ^^^^^"),
        ("width >= 'x'", "column width holds int, and 'x' is a text\n  width >= 'x'\n  ^^^^^^^^^^^^"),
        ("lang = \"en\"", "there is no column en\n  lang = \"en\"\n         ^^^^"),
        ("width >= 256 and", "a column or a value is missing here\n  width >= 256 and\n                  ^"),
        ("width", "a comparison is missing here\n  width\n       ^"),
        ("width = null", "nothing compares with null\n  width = null\n          ^^^^"),
        (
            "width = 1 height",
            "the condition goes on where it could end\n  width = 1 height\n            ^^^^^^",
        ),
        ("lang = 'en", "the ' that begins here has no end\n  lang = 'en\n         ^^^"),
        ("width = 1x", "1x is no number\n  width = 1x\n          ^^"),
        ("(width = 1", "a ) is missing here\n  (width = 1\n            ^"),
        ("width ; 1", "';' means nothing here\n  width ; 1\n        ^"),
        ("box = 1", "column box holds float vector, which cannot be compared\n  box = 1\n  ^^^"),
        ("width like '1%'", "column width holds int, which is like no text\n  width like '1%'\n  ^^^^^"),
        ("1 = 1", "neither of these is a column\n  1 = 1\n  ^^^^^"),
        (
            "width in (1, 'a')",
            "column width holds int, and 'a' is a text\n  width in (1, 'a')\n  ^^^^^^^^^^^^^^^^",
        ),
        ("width in (1, height)", "a column in a list\n  width in (1, height)\n               ^^^^^^"),
        ("width in ()", "a column or a value is missing here\n  width in ()\n            ^"),
        ("width between 1 or 2", "and is missing here\n  width between 1 or 2\n                  ^^"),
        (
            "lang like 'a!' escape '!'",
            "the pattern ends in its escape\n  lang like 'a!' escape '!'\n            ^^^^",
        ),
        ("  ", "an empty condition\n  \n  ^"),
    ] {
        assert_eq!(rows(&table, condition).unwrap_err().message, message, "{condition}");
    }
    let hint = rows(&table, "widht > 1").unwrap_err().hint.unwrap();
    assert!(hint.contains("width (int), lang (text), score (float)"), "{hint}");
}

#[test]
fn a_place_far_inside_is_shown_with_what_stands_beside_it() {
    let condition = "width > 1 and ".repeat(100) + "widht > 1" + &" and width > 1".repeat(100);
    let fault = rows(&photos(), &condition).unwrap_err();
    let lines: Vec<_> = fault.message.lines().collect();
    let at = lines[2].find('^').unwrap();
    assert_eq!(&lines[1][at..at + 5], "widht");
    assert!(lines[1].len() < 120, "{}", lines[1]);
}

#[test]
fn depth_length_and_lists_have_limits() {
    let table = photos();
    let refused = |condition: String| rows(&table, &condition).unwrap_err().message;
    assert!(refused("not ".repeat(100_000 / 8) + "width = 1").contains("in each other"));
    assert!(refused("(".repeat(65) + "width = 1" + &")".repeat(65)).contains("in each other"));
    assert!(rows(&table, &("(".repeat(63) + "width = 1" + &")".repeat(63))).is_ok());
    assert!(refused("width = 1 or ".repeat(6000) + "width = 1").contains("at most 65536"));
    assert!(refused(format!("width in ({}1)", "1,".repeat(10_000))).contains("more than 10000 values"));
    assert!(rows(&table, &("width = 1 or ".repeat(4000) + "width = 100")).is_ok());
}

#[test]
fn a_name_is_no_condition() {
    for name in ["big", "v2.clean", "tr_1-b", "étude"] {
        assert!(is_name(name), "{name}");
        assert!(rows(&photos(), name).is_err(), "{name}");
    }
    for text in ["", "1big", "a b", "a=1", "'a'", "\"a\""] {
        assert!(!is_name(text), "{text}");
    }
}

// ------------------------------------------------------------------ beside a plain evaluator

#[derive(Clone, Debug)]
enum Value {
    Column(&'static str),
    Number(String, i128),
    Text(String),
}

#[derive(Clone, Debug)]
enum Plain {
    Join(Box<Plain>, bool, Box<Plain>),
    Not(Box<Plain>),
    Compare(Value, &'static str, Value),
    In(Value, Vec<Value>, bool),
    Between(Value, Value, Value, bool),
    Null(&'static str, bool),
    Like(String, bool),
}

/// A row: `i`, `j` (ints), `f` (a float) and `t` (a text). Numbers are in halves, so that all are whole.
#[derive(Clone, Debug, Default)]
struct Row {
    i: Option<i64>,
    j: Option<i64>,
    f: Option<i64>,
    t: Option<String>,
}

impl Value {
    fn sql(&self) -> String {
        match self {
            Self::Column(name) => (*name).to_owned(),
            Self::Number(text, _) => text.clone(),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }

    fn number(&self, row: &Row) -> Option<i128> {
        match self {
            Self::Column("i") => row.i.map(|i| i128::from(i) * 2),
            Self::Column("j") => row.j.map(|j| i128::from(j) * 2),
            Self::Column(_) => row.f.map(i128::from),
            Self::Number(_, halves) => Some(*halves),
            Self::Text(_) => None,
        }
    }

    fn ordering(&self, other: &Self, row: &Row) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Column("t"), Self::Text(text)) => Some(row.t.as_ref()?.cmp(text)),
            _ => Some(self.number(row)?.cmp(&other.number(row)?)),
        }
    }
}

impl Plain {
    fn sql(&self) -> String {
        let not = |not: &bool| if *not { "not " } else { "" };
        match self {
            Self::Join(a, and, b) => format!("({} {} {})", a.sql(), if *and { "and" } else { "or" }, b.sql()),
            Self::Not(inner) => format!("not {}", inner.sql()),
            Self::Compare(a, is, b) => format!("{} {is} {}", a.sql(), b.sql()),
            Self::In(value, list, negated) => {
                let list: Vec<_> = list.iter().map(Value::sql).collect();
                format!("{} {}in ({})", value.sql(), not(negated), list.join(", "))
            }
            Self::Between(value, a, b, negated) => {
                format!("{} {}between {} and {}", value.sql(), not(negated), a.sql(), b.sql())
            }
            Self::Null(column, negated) => format!("{column} is {}null", not(negated)),
            Self::Like(pattern, negated) => format!("t {}like '{pattern}'", not(negated)),
        }
    }

    fn holds(&self, row: &Row) -> Option<bool> {
        let negated = |negated: bool, held: Option<bool>| held.map(|held| held != negated);
        match self {
            Self::Join(a, true, b) => match (a.holds(row), b.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Join(a, false, b) => match (a.holds(row), b.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => inner.holds(row).map(|held| !held),
            Self::Compare(a, is, b) => a.ordering(b, row).map(|ordering| match *is {
                "=" => ordering.is_eq(),
                "!=" => ordering.is_ne(),
                "<" => ordering.is_lt(),
                "<=" => ordering.is_le(),
                ">" => ordering.is_gt(),
                _ => ordering.is_ge(),
            }),
            Self::In(value, list, not) => {
                let any = || Some(list.iter().any(|one| value.ordering(one, row).unwrap().is_eq()));
                negated(*not, value.ordering(&list[0], row).and_then(|_| any()))
            }
            Self::Between(value, a, b, not) => {
                let (from, to) = (value.ordering(a, row), value.ordering(b, row));
                negated(*not, from.zip(to).map(|(from, to)| from.is_ge() && to.is_le()))
            }
            Self::Null(column, not) => {
                let missing = match *column {
                    "i" => row.i.is_none(),
                    "j" => row.j.is_none(),
                    "f" => row.f.is_none(),
                    _ => row.t.is_none(),
                };
                Some(missing != *not)
            }
            Self::Like(pattern, not) => {
                let signs = |text: &str| text.chars().collect::<Vec<_>>();
                negated(*not, row.t.as_ref().map(|text| is_like(&signs(text), &signs(pattern))))
            }
        }
    }
}

fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((&'%', rest)) => (0..=text.len()).any(|skip| is_like(&text[skip..], rest)),
        Some((&sign, rest)) => text
            .split_first()
            .is_some_and(|(&first, left)| (sign == '_' || sign == first) && is_like(left, rest)),
    }
}

/// Whole numbers that 64-bit floats cannot hold, and smaller ones.
fn int() -> impl Strategy<Value = i64> {
    const EXACT: i64 = 1 << 53;
    prop_oneof![4 => -3..4_i64, 1 => prop::sample::select(vec![EXACT, EXACT + 1, i64::MAX, i64::MIN])]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        int().prop_map(|int| Value::Number(int.to_string(), i128::from(int) * 2)),
        (-6..7_i32).prop_map(|halves| Value::Number(format!("{:?}", f64::from(halves) / 2.0), halves.into())),
        Just(Value::Number("9007199254740992.0".to_owned(), 1 << 54)),
        Just(Value::Number("-9.3e18".to_owned(), -18_600_000_000_000_000_000)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    "[ab'é]{0,4}"
}

fn plain() -> impl Strategy<Value = Plain> {
    let column = || prop::sample::select(vec![Value::Column("i"), Value::Column("j"), Value::Column("f")]);
    let is = || prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    // What a column of 32-bit floats is compared with is rounded, which only small numbers stay the same by.
    let small = || {
        (-6..7_i32).prop_map(|halves| Value::Number(format!("{:?}", f64::from(halves) / 2.0), halves.into()))
    };
    let ints = || prop::sample::select(vec![Value::Column("i"), Value::Column("j")]);
    let of_text = || text().prop_map(Value::Text);
    let one = prop_oneof![
        (ints(), is(), number()).prop_map(|(a, is, b)| Plain::Compare(a, is, b)),
        (small(), is(), column()).prop_map(|(a, is, b)| Plain::Compare(a, is, b)),
        (column(), is(), column()).prop_map(|(a, is, b)| Plain::Compare(a, is, b)),
        (is(), of_text()).prop_map(|(is, b)| Plain::Compare(Value::Column("t"), is, b)),
        (ints(), prop::collection::vec(number(), 1..4), any::<bool>())
            .prop_map(|(a, l, n)| Plain::In(a, l, n)),
        (prop::collection::vec(small(), 1..4), any::<bool>()).prop_map(|(l, n)| Plain::In(
            Value::Column("f"),
            l,
            n
        )),
        (prop::collection::vec(of_text(), 1..4), any::<bool>()).prop_map(|(l, n)| Plain::In(
            Value::Column("t"),
            l,
            n
        )),
        (column(), small(), small(), any::<bool>()).prop_map(|(v, a, b, n)| Plain::Between(v, a, b, n)),
        (prop::sample::select(vec!["i", "j", "f", "t"]), any::<bool>()).prop_map(|(c, n)| Plain::Null(c, n)),
        ("[aé%_]{0,5}", any::<bool>()).prop_map(|(pattern, n)| Plain::Like(pattern, n)),
    ];
    one.prop_recursive(4, 20, 2, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>(), inner.clone()).prop_map(|(a, and, b)| Plain::Join(
                Box::new(a),
                and,
                Box::new(b)
            )),
            inner.prop_map(|inner| Plain::Not(Box::new(inner))),
        ]
    })
}

fn row() -> impl Strategy<Value = Row> {
    let maybe = |value: BoxedStrategy<i64>| prop::option::weighted(0.8, value);
    (
        maybe(int().boxed()),
        maybe(int().boxed()),
        maybe((-6..7_i64).boxed()),
        prop::option::weighted(0.8, text()),
    )
        .prop_map(|(i, j, f, t)| Row { i, j, f, t })
}

impl Row {
    fn line(&self, key: usize) -> String {
        let mut line = format!("{{\"key\":\"{key}\"");
        line.extend(self.i.map(|i| format!(",\"i\":{i}")));
        line.extend(self.j.map(|j| format!(",\"j\":{j}")));
        line.extend(self.f.map(|f| format!(",\"f\":{:?}", f as f64 / 2.0)));
        line.extend(self.t.as_ref().map(|t| format!(",\"t\":{}", serde_json::to_string(t).unwrap())));
        line + "}"
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_condition_selects_the_rows_for_which_a_plain_evaluator_says_true(
        condition in plain(),
        others in prop::collection::vec(row(), 1..12),
    ) {
        // A first row that has everything, so that all columns are there.
        let whole = Row { i: Some(1), j: Some(2), f: Some(3), t: Some("ab".to_owned()) };
        let samples: Vec<_> = std::iter::once(whole).chain(others).collect();
        let lines: Vec<_> = samples.iter().enumerate().map(|(key, row)| row.line(key)).collect();
        let kinds = [
            ("key", ColumnKind::Text), ("i", ColumnKind::Int), ("j", ColumnKind::Int),
            ("f", ColumnKind::Float), ("t", ColumnKind::Text),
        ];
        let wanted: Vec<_> = (0..samples.len()).filter(|&row| condition.holds(&samples[row]) == Some(true)).collect();
        let sql = condition.sql();
        prop_assert_eq!(rows(&table(&lines, &kinds), &sql).map_err(|fault| fault.to_string()), Ok(wanted), "{}", sql);
    }
}
