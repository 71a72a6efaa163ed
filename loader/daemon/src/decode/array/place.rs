//! Elements from their order in a file to row-major little-endian, in their place.

use forebay_plan::DType;

use super::npy::Header;

/// Elements along both sides of what is moved at once while dimensions change their order: two such squares of the
/// widest elements fit the first cache.
const TILE: usize = 32;

/// Whether elements lie in a file as in the tensor, one behind the other, so that pieces can be placed as they come.
pub fn is_in_order(header: &Header) -> bool {
    !header.is_fortran || header.shape.len() < 2
}

/// Writes a piece of elements that [lie in order](is_in_order) over as many bytes of `target`; whole elements.
pub fn place_piece(header: &Header, from: &[u8], target: &mut [u8]) {
    match (header.dtype, header.is_big_endian) {
        // Whatever a file says, a bool is 0 or 1: torch takes any other bit to be undefined.
        (DType::Bool, _) => target.iter_mut().zip(from).for_each(|(to, &from)| *to = u8::from(from != 0)),
        (dtype, true) if dtype.size_bytes() == 2 => swap::<2>(from, target),
        (dtype, true) if dtype.size_bytes() == 4 => swap::<4>(from, target),
        (dtype, true) if dtype.size_bytes() == 8 => swap::<8>(from, target),
        _ => target.copy_from_slice(from),
    }
}

/// Writes all elements over `target`, in any order of the file.
pub fn place(header: &Header, from: &[u8], target: &mut [u8]) {
    // An array of no elements may have other dimensions of any length, which are not to be walked.
    if from.is_empty() {
        return;
    }
    if is_in_order(header) {
        return place_piece(header, from, target);
    }
    match header.dtype.size_bytes() {
        1 => transposed::<1>(header, from, target),
        2 => transposed::<2>(header, from, target),
        4 => transposed::<4>(header, from, target),
        _ => transposed::<8>(header, from, target),
    }
}

fn swap<const N: usize>(from: &[u8], target: &mut [u8]) {
    let (targets, _) = target.as_chunks_mut::<N>();
    let (elements, _) = from.as_chunks::<N>();
    targets.iter_mut().zip(elements).for_each(|(to, &element)| *to = turned(element, true));
}

fn turned<const N: usize>(mut element: [u8; N], turn: bool) -> [u8; N] {
    if turn {
        element.reverse();
    }
    element
}

/// Column-major to row-major: in the file the first dimension is contiguous, in the tensor the last. All others stand
/// still while squares of these two are turned.
fn transposed<const N: usize>(header: &Header, from: &[u8], target: &mut [u8]) {
    let shape: Vec<_> = header.shape.iter().map(|&dim| dim as usize).collect();
    let [first, middle @ .., last] = &shape[..] else { unreachable!("one dimension is in order") };
    let (from, to) = (from.as_chunks::<N>().0, target.as_chunks_mut::<N>().0);
    let middles: usize = middle.iter().product();
    let (to_row, from_column) = (middles * last, first * middles);
    let is_bool = header.dtype == DType::Bool;
    for index in 0..middles {
        let (to_start, from_start) = (index * last, column_major(index, middle) * first);
        for (row, column) in tiles(*first, *last) {
            for row in row..(row + TILE).min(*first) {
                for column in column..(column + TILE).min(*last) {
                    let element = from[from_start + row + column * from_column];
                    let element = if is_bool { element.map(|byte| u8::from(byte != 0)) } else { element };
                    to[row * to_row + to_start + column] = turned(element, header.is_big_endian);
                }
            }
        }
    }
}

/// The first row and column of each tile.
fn tiles(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(TILE).flat_map(move |row| (0..columns).step_by(TILE).map(move |column| (row, column)))
}

/// The place of element number `index` of dimensions `dims`, counted row-major, where they are counted column-major.
fn column_major(index: usize, dims: &[usize]) -> usize {
    let mut weight: usize = dims.iter().product();
    let (mut rest, mut place) = (index, 0);
    for &dim in dims.iter().rev() {
        weight /= dim;
        place += rest % dim * weight;
        rest /= dim;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_no_elements_takes_no_time_however_long_its_other_dimensions_are() {
        for shape in [&[6, 2, u64::MAX >> 1, 0][..], &[0, u64::MAX, u64::MAX], &[u64::MAX, 0, 3]] {
            place(&header(DType::I8, false, true, shape), &[], &mut []);
        }
    }

    fn header(dtype: DType, is_big_endian: bool, is_fortran: bool, shape: &[u64]) -> Header {
        Header { dtype, is_big_endian, is_fortran, shape: shape.to_vec() }
    }

    /// Each element's place in the file, found the slow way.
    fn slow(shape: &[u64]) -> Vec<u16> {
        let count: u64 = shape.iter().product();
        let place = |index: u64| {
            let (mut rest, mut at, mut weight) = (index, 0, count);
            for &dim in shape.iter().rev() {
                weight /= dim;
                at += rest % dim * weight;
                rest /= dim;
            }
            at as u16
        };
        (0..count).map(place).collect()
    }

    #[test]
    fn column_major_arrays_of_any_dimensions_become_row_major() {
        for shape in
            [&[2, 3][..], &[1, 7], &[7, 1], &[40, 70], &[2, 3, 4], &[5, 1, 2, 33], &[2, 2, 2, 2, 2, 3, 2]]
        {
            let expected = slow(shape);
            let file: Vec<u8> = (0..expected.len() as u16).flat_map(u16::to_le_bytes).collect();
            let mut found = vec![0; file.len()];
            place(&header(DType::U16, false, true, shape), &file, &mut found);
            assert_eq!(
                found,
                expected.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
                "{shape:?}"
            );
            let turned: Vec<u8> = (0..expected.len() as u16).flat_map(u16::to_be_bytes).collect();
            place(&header(DType::U16, true, true, shape), &turned, &mut found);
            assert_eq!(
                found,
                expected.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn big_endian_elements_are_turned_and_bools_are_zero_or_one() {
        let mut target = [0; 8];
        let file = [1, 2, 3, 4, 5, 6, 7, 8];
        for (dtype, expected) in [
            (DType::U8, [1, 2, 3, 4, 5, 6, 7, 8]),
            (DType::I16, [2, 1, 4, 3, 6, 5, 8, 7]),
            (DType::F32, [4, 3, 2, 1, 8, 7, 6, 5]),
            (DType::F64, [8, 7, 6, 5, 4, 3, 2, 1]),
        ] {
            place(&header(dtype, true, false, &[8 / dtype.size_bytes()]), &file, &mut target);
            assert_eq!(target, expected);
        }
        for is_fortran in [false, true] {
            place(&header(DType::Bool, false, is_fortran, &[2, 2]), &[0, 1, 2, 255], &mut target[..4]);
            assert_eq!(target[..4], [0, 1, 1, 1]);
        }
    }
}
