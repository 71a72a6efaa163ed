//! What a Parquet footer has to be, before the library reads it.
//!
//! The library (parquet 60) trusts the length of a list that it does not know, and of a field that it knows the type: a footer of some bytes
//! could have it count for minutes. One that passes here is gone through by it as it is here.

use super::header::HeaderError;
use super::thrift::{BINARY, BYTE, Compact, DOUBLE, FALSE, I16, I32, I64, LIST, SET, STRUCT, TRUE};

/// What a field holds.
enum Shape {
    /// A number or bytes of this type.
    Plain(u8),
    Bool,
    List(&'static Shape),
    Struct(&'static [(i64, Shape)]),
}

use Shape::{Bool, List, Plain, Struct};

const INT: Shape = Plain(I32);
const LONG: Shape = Plain(I64);
const BYTES: Shape = Plain(BINARY);
const UNIT: Shape = Struct(&[]);

// Source of these: parquet.thrift.
const FOOTER: &[(i64, Shape)] = &[
    (1, INT),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, LONG),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, BYTES),
    (7, List(&Struct(&[(1, UNIT), (2, UNIT)]))),
    (8, Struct(&[(1, Struct(CIPHER)), (2, Struct(CIPHER))])),
    (9, BYTES),
];
const CIPHER: &[(i64, Shape)] = &[(1, BYTES), (2, BYTES), (3, Bool)];
const KEY_VALUE: &[(i64, Shape)] = &[(1, BYTES), (2, BYTES)];
const SCHEMA_ELEMENT: &[(i64, Shape)] = &[
    (1, INT),
    (2, INT),
    (3, INT),
    (4, BYTES),
    (5, INT),
    (6, INT),
    (7, INT),
    (8, INT),
    (9, INT),
    (10, Struct(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: &[(i64, Shape)] = &[
    (1, UNIT),
    (2, UNIT),
    (3, UNIT),
    (4, UNIT),
    (5, Struct(&[(1, INT), (2, INT)])),
    (6, UNIT),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Plain(BYTE)), (2, Bool)])),
    (11, UNIT),
    (12, UNIT),
    (13, UNIT),
    (14, UNIT),
    (15, UNIT),
    (16, Struct(&[(1, Plain(BYTE))])),
    (17, Struct(&[(1, BYTES)])),
    (18, Struct(&[(1, BYTES), (2, INT)])),
];
const TIME: &[(i64, Shape)] = &[(1, Bool), (2, Struct(&[(1, UNIT), (2, UNIT), (3, UNIT)]))];
const ROW_GROUP: &[(i64, Shape)] = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, LONG),
    (3, LONG),
    (4, List(&Struct(&[(1, INT), (2, Bool), (3, Bool)]))),
    (5, LONG),
    (6, LONG),
    (7, Plain(I16)),
];
const COLUMN_CHUNK: &[(i64, Shape)] = &[
    (1, BYTES),
    (2, LONG),
    (3, Struct(COLUMN)),
    (4, LONG),
    (5, INT),
    (6, LONG),
    (7, INT),
    (8, Struct(&[(1, UNIT), (2, Struct(&[(1, List(&BYTES)), (2, BYTES)]))])),
    (9, BYTES),
];
const COLUMN: &[(i64, Shape)] = &[
    (1, INT),
    (2, List(&INT)),
    (3, List(&BYTES)),
    (4, INT),
    (5, LONG),
    (6, LONG),
    (7, LONG),
    (8, List(&Struct(KEY_VALUE))),
    (9, LONG),
    (10, LONG),
    (11, LONG),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, INT), (2, INT), (3, INT)]))),
    (14, LONG),
    (15, INT),
    (16, Struct(&[(1, LONG), (2, List(&LONG)), (3, List(&LONG))])),
    (17, Struct(&[(1, Struct(BOUNDS)), (2, List(&INT))])),
];
const STATISTICS: &[(i64, Shape)] =
    &[(1, BYTES), (2, BYTES), (3, LONG), (4, LONG), (5, BYTES), (6, BYTES), (7, Bool), (8, Bool)];
const BOUNDS: &[(i64, Shape)] = &[
    (1, Plain(DOUBLE)),
    (2, Plain(DOUBLE)),
    (3, Plain(DOUBLE)),
    (4, Plain(DOUBLE)),
    (5, Plain(DOUBLE)),
    (6, Plain(DOUBLE)),
    (7, Plain(DOUBLE)),
    (8, Plain(DOUBLE)),
];

/// Goes through a footer: each field that is known has its type, and nothing is longer than the bytes.
///
/// # Errors
/// These bytes are no footer.
pub fn check_footer(bytes: &[u8]) -> Result<(), HeaderError> {
    fields(&mut Compact { bytes, at: 0 }, FOOTER)
}

fn fields(thrift: &mut Compact<'_>, known: &'static [(i64, Shape)]) -> Result<(), HeaderError> {
    thrift.fields(0, |thrift, (id, kind)| match known.iter().find(|(known, _)| *known == id) {
        Some((_, shape)) => value(thrift, shape, kind).map(|()| true),
        None => Ok(false),
    })
}

fn value(thrift: &mut Compact<'_>, shape: &'static Shape, kind: u8) -> Result<(), HeaderError> {
    match (shape, kind) {
        (Plain(wanted), _) if *wanted == kind => thrift.skip(kind, 0),
        (Bool, TRUE | FALSE) => Ok(()),
        (List(element), LIST | SET) => thrift.list(|thrift, kind| value(thrift, element, kind)),
        (Struct(known), STRUCT) => fields(thrift, known),
        _ => Err(HeaderError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::{encoded, int};
    use super::*;

    /// A list whose length says 2^31 - 1.
    fn endless(kind: u8) -> Vec<u8> {
        vec![0xF0 | kind, 0xFF, 0xFF, 0xFF, 0xFF, 0x07]
    }

    #[test]
    fn fields_that_are_not_known_pass_where_they_end() {
        let longs = [vec![0x26], int(-1), int(1 << 40)].concat();
        let footer = encoded(&[
            (1, I32, int(2)),
            (5, LIST, vec![0x1C, 0x18, 1, b'k', 0]),
            (11, STRUCT, encoded(&[(2, LIST, longs), (3, BINARY, vec![1, 0])])),
            (12, TRUE, vec![]),
        ]);
        check_footer(&footer).expect("a footer");
        for len in 0..footer.len() {
            assert_eq!(check_footer(&footer[..len]), Err(HeaderError::Short), "{len} bytes");
        }
    }

    #[test]
    fn a_list_longer_than_the_footer_and_one_of_booleans_are_damage() {
        for kind in [DOUBLE, TRUE, FALSE, BYTE, I64, BINARY, LIST, STRUCT, 11, 13, 0] {
            for id in [2, 12] {
                assert!(check_footer(&encoded(&[(id, LIST, endless(kind))])).is_err(), "{kind} in {id}");
            }
        }
    }

    #[test]
    fn a_known_field_of_another_type_is_damage() {
        for (id, kind, value) in
            [(1, BINARY, vec![0]), (3, I32, int(1)), (4, STRUCT, vec![0]), (8, TRUE, vec![])]
        {
            assert_eq!(check_footer(&encoded(&[(id, kind, value)])), Err(HeaderError::Damaged), "{id}");
        }
        let far = [&[0x05][..], &int(1 << 17), &int(0), &[0]].concat();
        assert_eq!(check_footer(&far), Err(HeaderError::Damaged), "numbers of fields have sixteen bits");
    }
}
