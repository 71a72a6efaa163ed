//! `RandomHorizontalFlip`: left and right exchanged, decided by one draw; the pixels turn in [`super::layout`].

use super::draw::RowDraws;

/// Source: torchvision v2, `torch.rand(1) < p`. Draws even where `p` decides alone, so that a change of `p` moves
/// no later draw.
pub(super) fn draw(p: f64, rng: &mut impl RowDraws) -> bool {
    rng.unit_f64() < p
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::transform::draw::testing::SplitMix;

    #[test]
    fn zero_never_flips_one_always_and_a_half_every_other_time() {
        let mut rng = SplitMix(7);
        assert!((0..1000).all(|_| !draw(0.0, &mut rng) && draw(1.0, &mut rng)));
        let flipped = (0..10_000).filter(|_| draw(0.5, &mut rng)).count();
        assert!((4800..5200).contains(&flipped), "{flipped}");
    }
}
