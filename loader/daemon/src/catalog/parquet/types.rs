//! What the columns of a Parquet file hold, in our kinds.

use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::schema::types::ColumnDescriptor;

use crate::catalog::column::ColumnKind;
use crate::catalog::infer::kind_of_text;

/// One value a row, or one list of values.
pub(super) fn is_flat(column: &ColumnDescriptor) -> bool {
    match column.path().parts().len() {
        1 => column.max_rep_level() <= 1,
        3 => column.max_rep_level() == 1,
        _ => false,
    }
}

pub(super) fn kind_of(column: &ColumnDescriptor, name: &str) -> Option<ColumnKind> {
    let is_list = column.max_rep_level() > 0;
    match column.physical_type() {
        Physical::BOOLEAN | Physical::INT32 | Physical::INT64 if !is_whole(column) => None,
        Physical::BOOLEAN | Physical::INT32 | Physical::INT64 if !is_list => Some(ColumnKind::Int),
        Physical::FLOAT | Physical::DOUBLE if !is_list => Some(ColumnKind::Float),
        Physical::BYTE_ARRAY if !is_list && is_text(column) => Some(kind_of_text(name)),
        Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE => {
            Some(ColumnKind::FloatVector { len: None })
        }
        _ => None,
    }
}

/// Whether integers are numbers, and not dates, times or decimals.
pub(super) fn is_whole(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64};
    let converted = column.converted_type();
    let plain =
        matches!(converted, NONE | INT_8 | INT_16 | INT_32 | INT_64 | UINT_8 | UINT_16 | UINT_32 | UINT_64);
    plain && matches!(column.logical_type_ref(), None | Some(LogicalType::Integer { .. }))
}

pub(super) fn is_unsigned(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{UINT_8, UINT_16, UINT_32, UINT_64};
    matches!(column.converted_type(), UINT_8 | UINT_16 | UINT_32 | UINT_64)
}

pub(super) fn is_text(column: &ColumnDescriptor) -> bool {
    let converted = matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM);
    converted || matches!(column.logical_type_ref(), Some(LogicalType::String | LogicalType::Enum))
}

/// The type as the file has it, such as `lists of INT64 (Timestamp)`.
pub(super) fn type_name(column: &ColumnDescriptor) -> String {
    let list = if column.max_rep_level() > 0 { "lists of " } else { "" };
    let physical = column.physical_type();
    let logical = match (column.logical_type_ref(), column.converted_type()) {
        (Some(logical), _) => format!("{logical:?}"),
        (None, ConvertedType::NONE) => return format!("{list}{physical}"),
        (None, converted) => converted.to_string(),
    };
    let name = logical.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    format!("{list}{physical} ({name})")
}
