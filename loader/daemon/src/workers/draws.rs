//! The plan's generator as the transforms' source of draws.

use forebay_plan::RowRng;

use crate::transform::RowDraws;

/// What a row draws.
pub struct Draws(pub RowRng);

impl RowDraws for Draws {
    fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }
}
