//! Arrays that numpy saved, under small limits: one verdict whatever was decoded before, and never another type or shape
//! than the field's.

use std::cell::RefCell;

use forebay::decode::array::{ArrayScratch, ArraySpec, header_of, needs_whole};

/// Larger arrays are looked at and not made.
const ARRAY_BYTES_MAX: u64 = 1 << 20;
const DIMS_MAX: usize = 7;

thread_local! {
    /// Used for every input, as a worker's is, and held against a new one.
    static USED: RefCell<ArrayScratch> = RefCell::default();
}

/// A `.npy` file, unless the input is an archive.
pub fn npy(input: &[u8]) -> bool {
    !needs_whole(input) && array(input, "")
}

/// An `.npz` archive: its only member, or the one called `x`.
pub fn npz(input: &[u8]) -> bool {
    needs_whole(input) && (array(input, "") | array(input, "x"))
}

fn array(input: &[u8], member: &str) -> bool {
    let header = match header_of(input, member) {
        Ok(header) => header,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let (Some(bytes), Ok(dims)) = (
        header.data_bytes(),
        header.shape.iter().map(|&dim| u32::try_from(dim)).collect::<Result<Vec<_>, _>>(),
    ) else {
        return false;
    };
    if bytes > ARRAY_BYTES_MAX || dims.len() > DIMS_MAX {
        return false;
    }
    let spec = ArraySpec { dtype: header.dtype, dims, member: member.to_owned() };
    let (mut first, mut again) = (vec![0xAA; bytes as usize], vec![0x55; bytes as usize]);
    let made = spec.write(input, &mut ArrayScratch::default(), &mut first);
    let remade = USED.with_borrow_mut(|used| spec.write(input, used, &mut again));
    assert_eq!(made, remade, "a verdict hangs on the bytes alone");
    assert!(made.is_err() || first == again, "every byte of the target is written");
    let mut other = spec.clone();
    other.dims.push(1);
    assert!(
        other.write(input, &mut ArrayScratch::default(), &mut first).is_err(),
        "another shape is refused"
    );
    made.is_ok()
}
