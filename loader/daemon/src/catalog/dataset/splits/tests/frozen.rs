//! Frozen sets stay what they are, and nothing of them leaks.

use super::*;

fn speakers(set: &Set, side: Option<&str>) -> BTreeSet<String> {
    let selection = Selection { split: side.map(str::to_owned), ..Selection::default() };
    let table = set.dataset.select(&set.dataset.head().unwrap(), &selection).unwrap();
    let speaker = table.column("speaker").unwrap();
    (0..table.len()).map(|row| speaker.column().text(row as u64).to_owned()).collect()
}

fn of_keys(keys: &[&str]) -> Chosen {
    Chosen::Keys(keys.iter().map(|&key| key.into()).collect())
}

#[test]
fn no_side_ever_has_a_frozen_sample_nor_one_of_its_group() {
    let set = Set::of(&speech(0, 70));
    set.split_with(by_speaker(shares(&[("val", 0.4)]))).unwrap();
    let frozen = set.freeze("test-1", of_keys(&["1.wav", "8.wav", "2.wav"]), &["speaker"]).unwrap();
    assert_eq!((frozen.samples, frozen.groups, frozen.held_with_group), (3, Some(2), 17));
    set.add(&speech(70, 70));
    set.split("later", SplitRule::Folds(2)).unwrap();
    assert_eq!(set.side("test-1"), ["1.wav", "2.wav", "8.wav"]);
    let sides = [None, Some("train"), Some("val"), Some("fold-0"), Some("fold-1"), Some("not-fold-0")];
    for side in sides {
        let met = speakers(&set, side);
        assert!(!met.contains("s1") && !met.contains("s2"), "{side:?} has {met:?}");
    }
    assert_eq!(set.selected(&Selection::default()).unwrap().len(), 100, "the five other speakers");
    assert_eq!(set.side("all").len(), 140);
}

#[test]
fn a_frozen_side_keeps_the_split_s_groups_and_tells_where_its_samples_were() {
    let set = Set::of(&speech(0, 70));
    let split = set.split_with(by_speaker(shares(&[("val", 0.4)]))).unwrap();
    let val = set.side("val");
    let frozen = set.freeze("test-1", of_side("val"), &[]).unwrap();
    assert_eq!(frozen.groups, split.sides[0].groups);
    assert_eq!((frozen.were_on[0].side.as_str(), frozen.were_on[0].samples), ("val", val.len() as u64));
    assert_eq!(set.side("test-1"), val);
    let error = set.refused("val");
    assert_eq!(error.message, format!("frozen sets hold back all {} samples of side val", val.len()));
    set.add(&speech(70, 7));
    assert_eq!(set.side("test-1"), val, "new samples of its speakers are not in it");
    assert_eq!(set.refused("val").kind, Kind::Invalid, "nor on any side");
}

#[test]
fn new_samples_wait_until_it_is_known_that_they_are_of_no_frozen_group() {
    let set = Set::of(&speech(0, 70));
    set.split("main", SplitRule::Folds(2)).unwrap();
    set.freeze("test-1", of_keys(&["1.wav"]), &["speaker"]).unwrap();
    let before = set.selected(&Selection::default()).unwrap().len();
    set.add("{\"key\":\"x\"}\n{\"key\":\"y\"}\n");
    assert_eq!(set.selected(&Selection::default()).unwrap().len(), before);
    set.join("{\"key\":\"x\",\"speaker\":\"s1\"}\n{\"key\":\"y\",\"speaker\":\"s9\"}\n");
    let after = set.selected(&Selection::default()).unwrap();
    assert!(!after.contains(&"x".to_owned()) && after.contains(&"y".to_owned()));
    set.join("{\"key\":\"y\",\"speaker\":\"s1\"}\n");
    assert_eq!(
        set.selected(&Selection::default()).unwrap().len(),
        before,
        "y turned out to be of a frozen speaker"
    );
}

#[test]
fn a_frozen_set_stays_what_it_is() {
    let set = Set::of(&speech(0, 40));
    let chosen = || of_keys(&["3.wav", "1.wav", "later.wav"]);
    let frozen = set.freeze("test-1", chosen(), &[]).unwrap();
    assert_eq!((frozen.samples, frozen.unmatched), (2, vec!["later.wav".to_owned()]));
    assert!(!set.freeze("test-1", chosen(), &[]).unwrap().committed, "the same once more is no change");
    let other = set.freeze("test-1", of_keys(&["3.wav"]), &[]).unwrap_err();
    assert_eq!(other.message, "there is a frozen set test-1, of other samples");
    set.add("{\"key\":\"later.wav\",\"speaker\":\"s1\",\"label\":1}\n");
    assert_eq!(set.side("test-1"), ["1.wav", "3.wav", "later.wav"]);
    set.remove(&["1.wav"]);
    assert_eq!(set.side("test-1"), ["3.wav", "later.wav"]);
    let head = set.dataset.head().unwrap();
    let counts = counts(&set.dataset, &head, &set.dataset.table(&head).unwrap()).unwrap();
    assert_eq!((counts[0].side.as_str(), counts[0].samples, counts[0].without), ("test-1", 2, 1));
    set.remove(&["3.wav", "later.wav"]);
    assert!(set.refused("test-1").message.starts_with("all 3 samples of the frozen set test-1"));
}

#[test]
fn a_frozen_share_is_of_groups_and_leaves_the_parts_of_the_rest_as_large_as_they_were() {
    let set = Set::of(&speech(0, 2000));
    let share = |fraction| Chosen::Of { selection: Selection::default(), fraction: Some(fraction) };
    let one = set.freeze("test-1", share(0.1), &[]).unwrap();
    assert!((150..250).contains(&one.samples), "{}", one.samples);
    let part = Part { fraction: Some(0.1), ..Part::default() };
    let left = set.selected(&Selection { part, ..Selection::default() }).unwrap();
    assert!((130..230).contains(&left.len()), "{} of 1800: the draws of both are apart", left.len());
    let grouped = set.freeze("test-2", share(0.4), &["speaker"]).unwrap();
    assert_eq!(grouped.held_with_group, 0, "whole groups, but for what test-1 has of them");
    assert!((1..7).contains(&grouped.groups.unwrap()), "{grouped:?}");
    assert_eq!(set.freeze("test-3", share(1.5), &[]).unwrap_err().message, "a fraction of 1.5");
}

#[test]
fn names_of_frozen_sets_and_sides_are_apart() {
    let set = Set::of(&speech(0, 70));
    set.split("main", shares(&[("val", 0.4)])).unwrap();
    let refused = |name: &str| set.freeze(name, of_keys(&["1.wav"]), &[]).unwrap_err().message;
    assert_eq!(refused("val"), "the split main has a side val");
    assert_eq!(refused("main"), "there is a split main");
    assert_eq!(refused("all"), "a frozen set cannot be called \"all\"");
    set.freeze("fold-1", of_keys(&["1.wav"]), &[]).unwrap();
    assert_eq!(set.split("fold-1", SplitRule::Folds(2)).unwrap_err().message, "there is a frozen set fold-1");
    let taken = set.split("cv", SplitRule::Folds(2)).unwrap_err();
    assert_eq!(taken.message, "a side fold-1: a frozen set is called so");
    assert!(set.freeze("x", of_keys(&[]), &[]).unwrap_err().message.contains("empty"));
    let none = set.freeze("x", of_keys(&["a"]), &[]).unwrap_err();
    assert_eq!(none.message, "none of the 1 names in the list is a sample's key");
}
