//! The element types a batch can hold and the two orders of its memory.

use std::fmt;
use std::str::FromStr;

use crate::PlanError;

/// Type of one element; little-endian in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    U8,
    /// Unsigned, 2 bytes.
    U16,
    /// Unsigned, 4 bytes.
    U32,
    /// Signed, 1 byte.
    I8,
    /// Signed, 2 bytes.
    I16,
    /// Signed, 4 bytes.
    I32,
    /// Signed, 8 bytes.
    I64,
    /// IEEE 754 binary16, 2 bytes.
    F16,
    /// The upper half of a binary32, 2 bytes.
    Bf16,
    /// IEEE 754 binary32, 4 bytes.
    F32,
    /// IEEE 754 binary64, 8 bytes.
    F64,
}

impl DType {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
    ];

    /// Bytes an element takes.
    pub const fn size_bytes(self) -> u64 {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// NumPy's name of the type; of bfloat16, which NumPy has not, torch's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DType {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        let known =
            "bool, uint8, uint16, uint32, int8, int16, int32, int64, float16, bfloat16, float32, float64";
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.as_str() == name)
            .ok_or_else(|| PlanError::unknown_name("dtype", name, known))
    }
}

/// How the dimensions of a sample lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryOrder {
    /// The last dimension is contiguous.
    RowMajor,
    /// The dimensions say channels, height, width; the memory is height, width, channels (torch's
    /// `channels_last`).
    ChannelsLast,
}

impl MemoryOrder {
    /// The name in configurations and digests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RowMajor => "row_major",
            Self::ChannelsLast => "channels_last",
        }
    }
}

impl fmt::Display for MemoryOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MemoryOrder {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        match name {
            "row_major" => Ok(Self::RowMajor),
            "channels_last" => Ok(Self::ChannelsLast),
            _ => Err(PlanError::unknown_name("memory order", name, "row_major, channels_last")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtypes_and_memory_orders_read_back_from_their_names() {
        for dtype in DType::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        for order in [MemoryOrder::RowMajor, MemoryOrder::ChannelsLast] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        assert!(matches!("float8".parse::<DType>(), Err(PlanError::UnknownName { what: "dtype", .. })));
        assert!(
            matches!("C".parse::<MemoryOrder>(), Err(PlanError::UnknownName { name, .. }) if name == "C")
        );
    }

    #[test]
    fn the_message_for_an_unknown_name_lists_the_known_ones() {
        let error = "float8".parse::<DType>().expect_err("no such dtype");
        assert_eq!(
            error.to_string(),
            r#""float8" is no dtype; one of bool, uint8, uint16, uint32, int8, int16, int32, int64, float16, bfloat16, float32, float64"#
        );
    }
}
