//! Samples of which only their number is known here: the data set of a client that reads it itself.

use super::column::{Column, ColumnKind, Values};
use super::error::CatalogError;
use super::snapshot::Snapshot;

/// The one column of a range.
const INDEX: &str = "index";

/// Samples of a range. None is kept, so this bounds sums over rows and no memory.
const ROWS_MAX: u64 = 1 << 48;

/// Bytes of what a client calls its data.
const IDENTITY_BYTES_MAX: usize = 1024;

/// The snapshot of `rows` samples; equal for equal `rows` and `identity`.
pub(super) fn open(rows: u64, identity: &str) -> Result<Snapshot, CatalogError> {
    let file = || format!("the range {identity:?}");
    if identity.len() > IDENTITY_BYTES_MAX {
        return Err(CatalogError::LongIdentity { bytes: identity.len(), bytes_max: IDENTITY_BYTES_MAX });
    }
    if rows == 0 {
        return Err(CatalogError::Empty { file: file() });
    }
    if rows > ROWS_MAX {
        return Err(CatalogError::TooManyRows { file: file(), rows_max: ROWS_MAX });
    }
    Ok(Snapshot::of_range(index(rows as usize), identity))
}

/// The numbers from 0 to `rows`.
pub(super) fn index(rows: usize) -> Column {
    Column { name: INDEX.to_owned(), kind: ColumnKind::Int, values: Values::Count(rows) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::catalog::CatalogLimits;

    #[test]
    fn a_range_has_the_numbers_of_its_samples_and_keeps_none() {
        let range = open(1 << 40, "Photos").unwrap();
        let index = range.column("index").unwrap();
        assert_eq!(
            (index.kind(), index.int(0), index.int((1 << 40) - 1)),
            (ColumnKind::Int, 0, (1 << 40) - 1)
        );
        assert_eq!((range.len(), &*range.key(7), range.heap_bytes()), (1 << 40, &b"7"[..], 0));
    }

    #[test]
    fn a_range_is_named_by_its_length_and_by_what_the_client_calls_it() {
        let id = |rows, identity| open(rows, identity).unwrap().id();
        assert_eq!(id(10, "Photos"), id(10, "Photos"));
        let distinct: HashSet<_> = [id(10, "Photos"), id(11, "Photos"), id(10, "Sounds"), id(10, "")].into();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_stored_range_is_the_range_that_it_was_and_a_few_bytes() {
        let range = open(1 << 40, "Photos").unwrap();
        let stored = range.to_parquet().unwrap();
        assert!(stored.len() < 2048, "{} bytes", stored.len());
        let read = Snapshot::from_parquet("s", stored.into(), None, None, &CatalogLimits::default()).unwrap();
        assert_eq!((read.id(), read.len(), read.identity()), (range.id(), 1 << 40, Some("Photos")));
    }

    #[test]
    fn no_samples_too_many_and_a_long_name_are_refused() {
        let words = |rows, identity: &str| open(rows, identity).unwrap_err().to_string();
        assert_eq!(words(0, "a"), "the range \"a\" lists no samples");
        assert_eq!(words(1 << 49, "a"), "the range \"a\" has more than 281474976710656 samples");
        let long = open(1, &"a".repeat(1025)).unwrap_err();
        assert_eq!(long.to_string(), "the name of the client's data has 1025 bytes, the limit is 1024");
        assert_eq!(long.hint().unwrap(), "give it a shorter name");
    }
}
