//! Values that must never change while `ORDER_VERSION`, or `STATE_VERSION`, stays what it is.
//!
//! A failure here means that a run saved by an earlier build would resume into another order. Either mend the change
//! or raise the version, keep the old one readable, and write new values.
//!
//! The values were also computed by a second implementation, in Python, from the documentation of the types.

use forebay_plan::{
    BatchLayout, CONTENT_PARTS_BYTES_MAX, DType, Digest, DigestBuilder, EpochPrf, MemoryOrder,
    ORDER_PARTS_BYTES_MAX, ORDER_VERSION, OrderSpec, Part, Parts, Permutation, Purpose, STATE_VERSION,
    SampleId, Sampler, State, TensorSpec,
};

fn snapshot() -> Digest {
    DigestBuilder::new("snapshot").field("name", b"golden").finish()
}

#[test]
fn these_values_belong_to_order_version_1_and_state_version_3() {
    assert_eq!((ORDER_VERSION, STATE_VERSION), (1, 3));
}

#[test]
fn the_prf_draws_what_it_always_drew() {
    let draws = [Purpose::Shuffle, Purpose::Augment, Purpose::Substitute].map(|purpose| {
        let prf = EpochPrf::new(42, purpose, 7);
        [prf.draw(0, 0, 0), prf.draw(10_000_000_000, 3, 8)]
    });
    assert_eq!(
        draws,
        [
            [6_970_425_216_606_389_360, 14_466_555_745_243_590_315],
            [191_883_924_925_865_570, 3_697_072_372_166_415_373],
            [10_241_261_250_793_740_244, 5_774_573_103_662_157_516]
        ]
    );
}

#[test]
fn the_rows_for_a_device_are_those_that_they_always_were() {
    let prf = EpochPrf::new(42, Purpose::DeviceDecode, 7);
    assert_eq!(
        [prf.draw(0, 0, 0), prf.draw(10_000_000_000, 0, 0)],
        [697_904_118_360_506_764, 14_280_892_094_311_764_507]
    );
    let rows: Vec<_> = (0..24).filter(|&position| prf.is_among(position, 0.3)).collect();
    assert_eq!(rows, [0, 3, 6, 7, 8, 14, 16, 18, 21]);
}

#[test]
fn the_rows_generator_yields_what_it_always_yielded() {
    let mut rng = EpochPrf::new(42, Purpose::Augment, 7).rng(123_456_789, 1, 2);
    assert_eq!([rng.next_u64(), rng.next_u64()], [3_388_140_286_722_695_706, 10_403_831_927_418_219_963]);
    assert_eq!(rng.unit_f64().to_bits(), 0x3fc4_69e8_5e56_eb38);
    assert_eq!(rng.uniform(-3.0, 0.5).to_bits(), 0xbfd6_4fbc_011d_cf40);
    assert_eq!(
        [rng.below(6), rng.below(1 << 40), rng.below(3 << 62)],
        [5, 295_941_882_840, 8_258_509_495_091_656_787]
    );
    assert_eq!([0.5; 8].map(|p| rng.chance(p)), [false, true, true, false, false, true, false, true]);
}

#[test]
fn both_kinds_of_permutation_map_as_they_always_did() {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let table = Permutation::new(10, key);
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|i| table.forward(i)), [5, 7, 3, 4, 2, 1, 8, 9, 0, 6]);
    let longest_table = Permutation::new(65_536, key);
    assert_eq!([0, 1, 65_535].map(|i| longest_table.forward(i)), [33_127, 57_106, 30_596]);
    let shortest_feistel = Permutation::new(65_537, key);
    assert_eq!([0, 1, 65_536].map(|i| shortest_feistel.forward(i)), [18_080, 16_361, 31_569]);
    let feistel = Permutation::new(10_000_000_000, key);
    assert_eq!(
        [0, 1, 9_999_999_999].map(|i| feistel.forward(i)),
        [4_725_481_353, 1_862_965_699, 4_802_128_317]
    );
    assert_eq!(
        [0, 1, 9_999_999_999].map(|j| feistel.inverse(j)),
        [2_450_968_562, 2_020_001_134, 2_944_990_961]
    );
}

#[test]
fn an_epoch_goes_through_the_samples_it_always_went_through() {
    for (rows, samples) in [(10, [9, 4, 0, 1, 7]), (1_281_167, [497_430, 381_661, 482_116, 522_336, 82_397])]
    {
        let order = OrderSpec { sampler: Sampler::Shuffled, seed: 42, rows }.epoch(7);
        assert_eq!([0, 1, 2, 3, 4].map(|p| order.sample(p)), samples.map(SampleId));
    }
    let order = OrderSpec { sampler: Sampler::Shuffled, seed: 42, rows: 1_281_167 }.epoch(7);
    assert_eq!(
        [1, 2, 8].map(|attempt| order.substitute(4, attempt)),
        [853_189, 525_389, 440_655].map(SampleId)
    );
}

#[test]
fn digests_are_what_they_always_were() {
    assert_eq!(snapshot().to_string(), "300a96e841daf4b21a076c66876e8f1e6ef4442de23498c1a02e5a5a2ac1a07c");
    let spec = OrderSpec { sampler: Sampler::Shuffled, seed: 42, rows: 1_281_167 };
    assert_eq!(
        spec.digest(&snapshot()).to_string(),
        "f48ed0d33b963e6dba33935c7bb5ae5c03ddf5645e48902fdf57866acfd7ffbd"
    );
    let image = TensorSpec {
        name: "image".into(),
        dtype: DType::F32,
        dims: vec![3, 224, 224],
        order: MemoryOrder::ChannelsLast,
    };
    let label =
        TensorSpec { name: "label".into(), dtype: DType::I64, dims: vec![], order: MemoryOrder::RowMajor };
    let layout = BatchLayout::new(vec![image, label], 256).expect("a usual batch");
    assert_eq!(
        layout.digest().to_string(),
        "78c97f056923ed32f3fc100db9b7b6857255adae5aeb435baa846e6fa1d744f7"
    );
}

#[test]
fn a_state_is_written_as_it_always_was() {
    let crop = Part::of_text("field image", "RandomResizedCrop(224); uint8; channels_last");
    let state = State {
        version: 2,
        job_id: "resnet50.2024-05-01:a".into(),
        snapshot: snapshot(),
        order: Digest::from_bytes([0xab; 32]),
        content: Digest::from_bytes([0x01; 32]),
        seed: u64::MAX,
        epoch: 3,
        position: 640_512,
        rows: Some(1_281_167),
        order_parts: Some(Parts::fit(&[Part::of_text("sampler", "shuffled")], ORDER_PARTS_BYTES_MAX)),
        content_parts: Some(Parts::fit(&[crop], CONTENT_PARTS_BYTES_MAX)),
        commits: None,
    };
    let (snapshot, ab, one) = (snapshot(), "ab".repeat(32), "01".repeat(32));
    let first = format!(
        r#"{{"version":1,"job_id":"resnet50.2024-05-01:a","snapshot":"{snapshot}","order_digest":"{ab}","content_digest":"{one}","seed":18446744073709551615,"epoch":3,"position":640512}}"#
    );
    let second = format!(
        r#"{},"rows":1281167,"order_parts":{{"sampler":"db08b5c1 shuffled"}},"content_parts":{{"field image":"21d282a2 RandomResizedCrop(224); uint8; channels_last"}}}}"#,
        first.trim_end_matches('}').replace("\"version\":1", "\"version\":2")
    );
    assert_eq!(state.to_json().expect("a plain job id"), second);
    let third = second.replace("\"version\":2", "\"version\":3").replace("\"}}", "\"},\"commits\":\"12,0\"}");
    let over_data_sets = State { version: STATE_VERSION, commits: Some("12,0".into()), ..state.clone() };
    assert_eq!(over_data_sets.to_json().expect("a plain job id"), third);
    let old = State { version: 1, rows: None, order_parts: None, content_parts: None, ..state };
    assert_eq!(State::from_json(&first).expect("a record of version 1"), old);
    assert_eq!(old.to_json().expect("a plain job id"), first);
}
