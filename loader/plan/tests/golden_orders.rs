//! Values of the orders over several sources, weights, lists and windows that must never change while `ORDER_VERSION`
//! stays what it is; see `golden.rs`.
//!
//! The values are those of a second implementation, in Python, that follows the definitions and not the code: quotas
//! from exact fractions, visits by adding up all blocks before, the best bin by looking at all.

use forebay_plan::orders::{
    EpochLength, Explicit, List, Mixture, MixtureSpec, Order, Phase, Pick, Source, Weighted,
};
use forebay_plan::windows::{Compose, Grouping, Long, WindowSpec, Windowed};
use forebay_plan::{Digest, DigestBuilder, OrderSpec, SampleId, Sampler};

fn snapshot() -> Digest {
    DigestBuilder::new("snapshot").field("name", b"golden").finish()
}

fn mixture() -> Order {
    let sources = [(1000, Sampler::Shuffled), (50, Sampler::Shuffled), (3, Sampler::Sequential)];
    let sources = sources.map(|(rows, sampler)| Source { rows, sampler }).to_vec();
    let phases = [(0, [5.0, 1.0, 0.25]), (2048, [1.0, 1.0, 0.0])];
    let phases = phases.map(|(from_row, weights)| Phase { from_row, weights: weights.to_vec() }).to_vec();
    let spec = MixtureSpec { seed: 42, sources, phases, epoch: EpochLength::Rows(2048) };
    Order::Mixture(Mixture::new(&spec).expect("a mixture in range"))
}

fn packed() -> Windowed {
    let order = Order::Single(OrderSpec::new(Sampler::Shuffled, 42, 12).expect("rows in range"));
    let grouping = Grouping::Packed { capacity: 16, long: Long::Split, documents_max: u32::MAX };
    let spec = WindowSpec { window_rows: 6, grouping, compose: Compose::Once, shuffle: true };
    Windowed::new(order, spec, Digest::from_bytes([7; 32])).expect("windows in range")
}

fn weighted() -> Order {
    Order::Weighted(Weighted::new(42, &[1.0, 2.0, 3.0, 4.0], 12).expect("plain weights"))
}

#[test]
fn a_mixture_picks_what_it_always_picked() {
    let picks = |epoch, positions: &[u64]| {
        let picks = mixture().epoch(epoch);
        let numbers = |pick: Pick| (pick.source, pick.sample.0, pick.source_epoch);
        positions.iter().map(|&position| numbers(picks.pick(position))).collect::<Vec<_>>()
    };
    let first = [(0, 298, 0), (0, 849, 0), (0, 272, 0), (0, 411, 1), (1, 41, 4)];
    assert_eq!(picks(0, &[0, 1, 1023, 1024, 2047]), first);
    let second = [(0, 962, 2), (1, 21, 15), (0, 670, 1), (0, 566, 2), (0, 845, 2)];
    assert_eq!(picks(1, &[0, 1, 1023, 1024, 2047]), second);
    assert_eq!(picks(0, &[4, 22, 23]), [(2, 0, 0), (2, 1, 0), (2, 2, 0)]);
}

#[test]
fn weights_draw_what_they_always_drew() {
    let picks = weighted().epoch(6);
    let samples: Vec<u64> = (0..12).map(|position| picks.pick(position).sample.0).collect();
    assert_eq!(samples, [0, 1, 2, 3, 3, 2, 3, 1, 0, 3, 2, 3]);
}

#[test]
fn rows_are_packed_as_they_always_were() {
    let length = |pick: Pick| 1 + pick.sample.0 as u32 * 7 % 11;
    let table = packed().table(0, length).expect("lengths in range");
    let epoch = packed().epoch(3, &table).expect("its own table");
    let row = |row| {
        let window = epoch.window(epoch.window_of(row), length).expect("lengths in range");
        window.row(row).parts().map(|part| (part.pick.sample, part.start, part.len)).collect::<Vec<_>>()
    };
    let expected: [&[(u64, u32, u32)]; 5] = [
        &[(9, 0, 9)],
        &[(3, 0, 11), (5, 0, 3), (8, 0, 2)],
        &[(6, 0, 10), (11, 0, 1)],
        &[(2, 0, 4), (7, 0, 6), (10, 0, 5)],
        &[(1, 0, 8), (0, 0, 1), (4, 0, 7)],
    ];
    assert_eq!(epoch.rows(), 5);
    for (number, parts) in expected.iter().enumerate() {
        let parts: Vec<_> =
            parts.iter().map(|&(sample, start, len)| (SampleId(sample), start, len)).collect();
        assert_eq!(row(number as u64), parts, "row {number}");
    }
}

#[test]
fn orders_have_the_digests_they_always_had() {
    let explicit =
        Order::Explicit(Explicit::new(42, 5, vec![List::new(&[4, 0, 4])]).expect("indices in range"));
    let digests = [
        mixture().digest(&[snapshot(); 3]),
        weighted().digest(&[snapshot()]),
        explicit.digest(&[snapshot()]),
        packed().digest(&[snapshot()]),
    ];
    let expected = [
        "d473fdf9999156eff10ffc6b4483e115372f1c9bf821343b92ffd3a92faf206c",
        "04c904e87ad8672634c563ee74ca6f6c31e04ef34d2d8a813231945043465e5c",
        "c409abe302f0cc3664e3febda9d3f207aaed74deea1e1710fd035c00a4728550",
        "6ab903610a72ef1c9cfcc241a31945e22227cdd69066c6821254c17290d9905b",
    ];
    assert_eq!(
        digests.map(|digest| digest.map(|digest| digest.to_string())),
        expected.map(|text| Ok(text.to_owned()))
    );
}
