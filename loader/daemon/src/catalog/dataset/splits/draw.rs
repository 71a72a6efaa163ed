//! The keyed draw that decides a sample's side and whether it is in a part: of its name alone, the same for ever.

/// Parts that a whole has where shares are counted: a billion, so that every decimal share of nine digits is exact.
pub(super) const WHOLE: u64 = 1_000_000_000;

/// 64 uniform bits a name: BLAKE3 keyed by a purpose and a salt.
///
/// Nothing else goes in, so no sample's draw depends on which others there are. Draws of two purposes or salts have
/// nothing to do with each other: a tenth of the training side is a tenth of it, however the side was drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws([u8; 32]);

impl Draws {
    /// * `purpose`: a fixed name, which never changes.
    pub(super) fn new(purpose: &str, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(salt);
        Self(hasher.finalize().into())
    }

    /// The sides of a split.
    pub(super) fn of_sides(salt: &str) -> Self {
        Self::new("forebay data set: side of a split 1", salt.as_bytes())
    }

    /// Parts of a set. They have no salt: 1 % of a set is the same in every data set that has it.
    pub(super) fn of_parts() -> Self {
        Self::new("forebay data set: nested part 1", b"")
    }

    /// What a frozen set of that name takes.
    pub(super) fn of_frozen(name: &str) -> Self {
        Self::new("forebay data set: frozen share 1", name.as_bytes())
    }

    pub(super) fn draw(&self, name: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.0, name);
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// A draw from `0..parts`, in fixed point.
    pub(super) fn below(&self, name: &[u8], parts: u64) -> u64 {
        ((u128::from(self.draw(name)) * u128::from(parts)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the `blake3` package of Python. Other numbers here mean that samples change sides in data sets that exist: never change them.
    #[test]
    fn draws_are_what_they_were_in_the_first_build() {
        let side = Draws::of_sides("00112233445566778899aabbccddeeff");
        let names: [&[u8]; 3] = [b"cats/1.jpg", b"", "spr\u{e9}cher".as_bytes()];
        assert_eq!(
            names.map(|name| side.draw(name)),
            [11_946_081_289_589_207_016, 4_450_292_299_467_633_300, 2_952_043_468_507_725_756]
        );
        assert_eq!(names.map(|name| side.below(name, WHOLE)), [647_598_364, 241_250_828, 160_030_597]);
        assert_eq!(
            names.map(|name| Draws::of_parts().draw(name)),
            [9_357_888_554_881_903_199, 13_346_248_271_772_803_816, 3_252_696_144_367_124_417]
        );
        assert_eq!(
            names.map(|name| Draws::of_frozen("test-1").draw(name)),
            [7_695_337_230_488_165_487, 7_133_737_179_648_345_621, 16_627_484_367_322_391_034]
        );
    }

    #[test]
    fn draws_of_a_billion_parts_are_even() {
        let draws = Draws::of_sides("5a");
        let tenth =
            (0..20_000_u32).filter(|n| draws.below(n.to_string().as_bytes(), WHOLE) < WHOLE / 10).count();
        assert!((1870..2130).contains(&tenth), "{tenth} of 20000 in a tenth");
    }
}
