//! An alias table: a sample drawn by weight from one number, in constant time.
//!
//! Each of the `n` cells has a capacity of 2^32 and holds at most two samples. Weights become whole numbers that fill
//! all cells exactly, so the table is the same on every machine, and a sample of weight zero can never come.
//!
//! Source: Vose, "A linear algorithm for generating random numbers with a given distribution" (1991).

use super::OrderError;
use super::shares::check_weight;

/// The most samples of one table: 2^31, 8 bytes each.
pub const WEIGHTS_MAX: usize = 1 << 31;
/// How much a cell holds.
const CELL: u64 = 1 << 32;

/// A table over `0..len` in which each index has a chance in proportion to its weight, to 2^-33 of an even share.
#[derive(Debug)]
pub(super) struct AliasTable {
    cells: Box<[Cell]>,
}

/// The first `keep` of the cell's capacity belong to its own index, the rest to `alias`.
#[derive(Debug, Clone, Copy)]
struct Cell {
    keep: u32,
    alias: u32,
}

impl AliasTable {
    /// Builds the table in O(n) time, with 8 bytes an index beside the table's own while it runs.
    ///
    /// # Errors
    /// [`OrderError::NoWeight`], [`OrderError::TooManyWeights`], [`OrderError::Weight`]; and
    /// [`OrderError::WeightTooSmall`] for one above zero that is less than 2^-32 of the mean.
    pub(super) fn new(weights: &[f64]) -> Result<Self, OrderError> {
        let mut filling = fillings(weights)?;
        // A cell without a partner keeps to itself: as its own alias, whatever `keep` is.
        let mut cells: Box<[Cell]> = (0..weights.len()).map(|i| Cell { keep: 0, alias: i as u32 }).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..weights.len() as u32).partition(|&i| filling[i as usize] < CELL);
        while let Some(taker) = small.pop() {
            let giver = *large.last().expect("the fillings add up to the capacity of all cells");
            let own = filling[taker as usize];
            cells[taker as usize] = Cell { keep: own as u32, alias: giver };
            filling[giver as usize] -= CELL - own;
            if filling[giver as usize] < CELL {
                large.pop();
                small.push(giver);
            }
        }
        Ok(Self { cells })
    }

    /// How many indices there are.
    pub(super) fn len(&self) -> u64 {
        self.cells.len() as u64
    }

    /// The index that 64 uniform bits draw: their upper part says which cell, the rest which half of it.
    pub(super) fn draw(&self, bits: u64) -> u64 {
        let product = bits as u128 * self.cells.len() as u128;
        let (index, rest) = ((product >> 64) as usize, (product >> 32) as u32);
        let cell = self.cells[index];
        if rest < cell.keep { index as u64 } else { cell.alias as u64 }
    }
}

/// Weights as whole numbers that add up to `CELL` an index.
///
/// Each rounding error is carried to the next weight; what floating point leaves over at the end goes to the
/// largest, which has room for it.
fn fillings(weights: &[f64]) -> Result<Vec<u64>, OrderError> {
    if weights.len() > WEIGHTS_MAX {
        return Err(OrderError::TooManyWeights { samples: weights.len(), samples_max: WEIGHTS_MAX });
    }
    weights.iter().enumerate().try_for_each(|(index, &weight)| check_weight(index, weight))?;
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(OrderError::NoWeight);
    }
    // Divided by the largest first, so that no sum overflows; summed in parts, so that little is lost over 2^31.
    let part = |part: &[f64]| part.iter().map(|weight| weight / largest).sum::<f64>();
    let mean = weights.chunks(4096).map(part).sum::<f64>() / weights.len() as f64;
    let (mut carry, mut filling) = (0.0, Vec::with_capacity(weights.len()));
    for (index, &weight) in weights.iter().enumerate() {
        let exact = weight / largest / mean * CELL as f64;
        if weight > 0.0 && exact < 1.0 {
            let smallest = largest * mean / CELL as f64;
            return Err(OrderError::WeightTooSmall { index, weight, smallest });
        }
        let rounded = if weight > 0.0 { (exact + carry).round().max(1.0) } else { 0.0 };
        carry += exact - rounded;
        filling.push(rounded as u64);
    }
    let sum: u128 = filling.iter().map(|&part| part as u128).sum();
    let wanted = CELL as u128 * weights.len() as u128;
    let most = filling.iter_mut().max().expect("some weight is above zero");
    *most = (*most as u128 + wanted - sum) as u64;
    Ok(filling)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each index's part of the whole, exactly, by adding up the cells.
    fn parts(table: &AliasTable) -> Vec<f64> {
        let mut parts = vec![0.0; table.cells.len()];
        for (index, cell) in table.cells.iter().enumerate() {
            parts[index] += cell.keep as f64;
            parts[cell.alias as usize] += CELL as f64 - cell.keep as f64;
        }
        parts.iter().map(|part| part / CELL as f64 / table.cells.len() as f64).collect()
    }

    proptest! {
        #[test]
        fn every_index_has_its_part_of_the_whole(
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.001..1.0, 1.0..1e6], 1..200),
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0.0));
            let Ok(table) = AliasTable::new(&weights) else { return Ok(()) };
            let total: f64 = weights.iter().sum();
            for (part, weight) in parts(&table).iter().zip(&weights) {
                prop_assert!((part - weight / total).abs() < 1e-9, "{part} for {weight} of {total}");
                prop_assert_eq!(*part == 0.0, *weight == 0.0);
            }
        }
    }

    #[test]
    fn equal_weights_fill_a_cell_each() {
        let table = AliasTable::new(&[0.1; 7]).expect("plain weights");
        assert!(parts(&table).iter().all(|part| (part - 1.0 / 7.0).abs() < 1e-15));
    }

    #[test]
    fn the_ends_of_the_numbers_draw_the_first_and_the_last_cell() {
        let table = AliasTable::new(&[1.0; 5]).expect("plain weights");
        assert_eq!((table.draw(0), table.draw(u64::MAX), table.len()), (0, 4, 5));
    }

    #[test]
    fn one_index_and_one_that_outweighs_all_others_are_fine() {
        assert_eq!(AliasTable::new(&[1e-300]).expect("one weight").draw(12345), 0);
        let table = AliasTable::new(&[0.0, 1e300, 0.0]).expect("one weight");
        assert!((0..1000).all(|i| table.draw(i << 54) == 1));
    }

    #[test]
    fn weights_of_thirds_lose_nothing_over_many_indices() {
        // Every exact filling ends in a third; without the carry the last index would get all that is missing.
        let weights: Vec<f64> = (0..300_000).map(|i| if i % 2 == 0 { 1.0 } else { 2.0 }).collect();
        let (parts, total) = (parts(&AliasTable::new(&weights).expect("plain weights")), 450_000.0);
        assert!(parts.iter().zip(&weights).all(|(part, weight)| (part * total / weight - 1.0).abs() < 1e-8));
    }

    #[test]
    fn weights_that_cannot_be_drawn_are_refused() {
        let refused = |weights: &[f64]| AliasTable::new(weights).expect_err("no such table");
        assert!(matches!(refused(&[1.0, f64::NAN]), OrderError::Weight { index: 1, .. }));
        assert!(matches!(refused(&[f64::INFINITY]), OrderError::Weight { index: 0, .. }));
        assert!(matches!(refused(&[1.0, 1e-300]), OrderError::WeightTooSmall { index: 1, .. }));
        assert_eq!(refused(&[0.0, 0.0]), OrderError::NoWeight);
        assert_eq!(refused(&[]), OrderError::NoWeight);
    }
}
