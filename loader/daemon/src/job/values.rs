//! Columns -> bytes of a tensor: integers, floats, vectors, classes, text.

use std::sync::Arc;

use forebay_plan::{DType, MemoryOrder, TensorSpec};
use half::{bf16, f16};

use crate::catalog::{Column, ColumnKind, Snapshot};
use crate::error::Fault;

/// Writes the value of one column, converted to the tensor's type.
pub struct ValueMaker {
    column: usize,
    dtype: DType,
    shape: Shape,
    /// What becomes of a source's own class labels, where a job's other sources have further classes.
    relabel: Option<Arc<[i64]>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Int,
    Float,
    Vector,
    MultiHot,
    Text,
}

impl ValueMaker {
    /// Plans the output of column number `column`. `dtype`: what was asked for, else the column's own.
    ///
    /// # Errors
    /// Invalid: a type that the column can't become.
    pub fn new(
        snapshot: &Snapshot,
        column: usize,
        name: &str,
        dtype: Option<DType>,
    ) -> Result<(Self, TensorSpec), Fault> {
        let (shape, own, dims) = natural(&snapshot.columns()[column], name)?;
        let dtype = dtype.unwrap_or(own);
        let fits = match shape {
            Shape::Text => dtype == DType::U8,
            Shape::Float | Shape::Vector => {
                matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
            }
            Shape::Int | Shape::MultiHot => true,
        };
        if !fits {
            let message = format!("field {name}: the column can't become {}", dtype.as_str());
            return Err(Fault::invalid(message).hint("leave dtype out to get the column's own type"));
        }
        let spec = TensorSpec { name: name.to_owned(), dtype, dims, order: MemoryOrder::RowMajor };
        Ok((Self { column, dtype, shape, relabel: None }, spec))
    }

    /// The same for class labels that become others.
    #[must_use]
    pub fn relabelled(self, relabel: Option<Arc<[i64]>>) -> Self {
        Self { relabel, ..self }
    }

    /// What the class label `label` of the source is in the job.
    pub fn label(&self, label: i64) -> i64 {
        self.relabel.as_ref().map_or(label, |labels| labels[label as usize])
    }

    /// Number of the column it writes.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Whether the bytes are UTF-8 text, padded with zeros.
    pub fn is_text(&self) -> bool {
        self.shape == Shape::Text
    }

    /// Writes the value of `sample` over `target`, which is as long as the spec says.
    pub fn write(&self, snapshot: &Snapshot, sample: u64, target: &mut [u8]) {
        match (self.shape, &snapshot.columns()[self.column]) {
            (Shape::Int, column) => {
                let value = self.label(column.int(sample));
                put(self.dtype, value as f64, Some(value), target);
            }
            (Shape::Float, column) => put(self.dtype, f64::from(column.float(sample)), None, target),
            (Shape::Vector, column) => self.write_all(column.vector(sample).iter().copied(), target),
            (Shape::MultiHot, column) if self.dtype == DType::U8 || self.dtype == DType::Bool => {
                column.multi_hot(sample, target);
            }
            (Shape::MultiHot, column) => {
                let mut flags = vec![0; target.len() / self.dtype.size_bytes() as usize];
                column.multi_hot(sample, &mut flags);
                self.write_all(flags.into_iter().map(f32::from), target);
            }
            (Shape::Text, column) => {
                let text = column.text(sample).as_bytes();
                target[..text.len()].copy_from_slice(text);
                target[text.len()..].fill(0);
            }
        }
    }

    fn write_all(&self, values: impl Iterator<Item = f32>, target: &mut [u8]) {
        for (value, bytes) in values.zip(target.chunks_exact_mut(self.dtype.size_bytes() as usize)) {
            put(self.dtype, f64::from(value), Some(value as i64), bytes);
        }
    }
}

fn natural(column: &Column, name: &str) -> Result<(Shape, DType, Vec<u32>), Fault> {
    Ok(match column.kind() {
        ColumnKind::Int => (Shape::Int, DType::I64, Vec::new()),
        ColumnKind::Float | ColumnKind::Weight => (Shape::Float, DType::F32, Vec::new()),
        ColumnKind::FloatVector { len } => {
            (Shape::Vector, DType::F32, vec![len.expect("a loaded vector has a length")])
        }
        ColumnKind::MultiHot { classes } => (Shape::MultiHot, DType::F32, vec![classes]),
        ColumnKind::Text => (Shape::Text, DType::U8, vec![column.text_bytes_max().max(1) as u32]),
        ColumnKind::Tokens => {
            let fault = Fault::invalid(format!("field {name}: lists of tokens are no value of one shape"));
            return Err(fault.hint("decode the column as tokens"));
        }
        ColumnKind::Path => {
            let fault = Fault::invalid(format!("field {name}: a path column holds files, and no value"));
            return Err(fault.hint("decode it as an image, as tokens, or raw: its bytes as they are"));
        }
    })
}

/// One number in its tensor's type. Integers keep all their bits.
fn put(dtype: DType, value: f64, exact: Option<i64>, target: &mut [u8]) {
    let whole = exact.unwrap_or(value as i64);
    match dtype {
        DType::U8 => target.copy_from_slice(&[whole as u8]),
        DType::U16 => target.copy_from_slice(&(whole as u16).to_ne_bytes()),
        DType::U32 => target.copy_from_slice(&(whole as u32).to_ne_bytes()),
        DType::I8 => target.copy_from_slice(&(whole as i8).to_ne_bytes()),
        DType::Bool => target.copy_from_slice(&[u8::from(value != 0.0)]),
        DType::I32 => target.copy_from_slice(&(whole as i32).to_ne_bytes()),
        DType::I64 => target.copy_from_slice(&whole.to_ne_bytes()),
        DType::F16 => target.copy_from_slice(&f16::from_f64(value).to_ne_bytes()),
        DType::Bf16 => target.copy_from_slice(&bf16::from_f64(value).to_ne_bytes()),
        DType::F32 => target.copy_from_slice(&(value as f32).to_ne_bytes()),
        DType::F64 => target.copy_from_slice(&value.to_ne_bytes()),
        DType::I16 => target.copy_from_slice(&(whole as i16).to_ne_bytes()),
    }
}
