use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Session and number of a sample.
type Sample = (u64, u32);

fn gate(bytes: u64, reads: u32) -> Gate<Sample> {
    Gate::new(ReadBudget { bytes, reads })
}

fn share(session: u64) -> Share {
    Share { session, weight: 1, priority: 0 }
}

/// Puts `count` samples of `bytes` each into a session's queue.
fn fill(gate: &Gate<Sample>, share: Share, count: u32, bytes: u64) {
    gate.push(share, (0..count).map(|number| alone((share.session, number), Some(bytes))));
}

/// As `fill`, of unknown size.
fn fill_unknown(gate: &Gate<Sample>, share: Share, count: u32) {
    gate.push(share, (0..count).map(|number| alone((share.session, number), None)));
}

fn alone(item: Sample, known_bytes: Option<u64>) -> Ask<Sample> {
    Ask { item, known_bytes, mates: 0 }
}

/// As `fill`, of samples that start together.
fn fill_together(gate: &Gate<Sample>, share: Share, count: u32, bytes: u64) {
    let ask = |number| Ask { mates: count - 1 - number, ..alone((share.session, number), Some(bytes)) };
    gate.push(share, (0..count).map(ask));
}

/// The next that starts, which does so alone.
fn next_of(gate: &Gate<Sample>) -> Option<(Sample, Reserved)> {
    let mut mates = Vec::new();
    let first = gate.next(&mut mates);
    assert!(mates.is_empty());
    first
}

/// The next that start together.
fn group_of(gate: &Gate<Sample>) -> Vec<(Sample, Reserved)> {
    let mut mates = Vec::new();
    gate.next(&mut mates).into_iter().chain(mates).collect()
}

/// All that may start now.
fn started(gate: &Gate<Sample>) -> Vec<(Sample, Reserved)> {
    std::iter::from_fn(|| next_of(gate)).collect()
}

fn of_session(taken: &[(Sample, Reserved)], session: u64) -> usize {
    taken.iter().filter(|(sample, _)| sample.0 == session).count()
}

/// Starts `count` samples, each when the oldest in flight has ended; gives their sessions.
fn flow(gate: &Gate<Sample>, count: usize) -> Vec<u64> {
    let (mut in_flight, mut order) = (VecDeque::new(), Vec::new());
    while order.len() < count {
        while let Some((sample, reserved)) = next_of(gate) {
            order.push(sample.0);
            in_flight.push_back(reserved);
        }
        gate.finish(in_flight.pop_front().expect("with nothing in flight something starts"));
    }
    in_flight.into_iter().for_each(|reserved| gate.finish(reserved));
    order.truncate(count);
    order
}

#[test]
fn a_session_is_served_in_plan_order() {
    let gate = gate(1 << 30, 1000);
    fill(&gate, share(1), 3, KIB);
    fill(&gate, share(1), 2, KIB);
    let order: Vec<_> = started(&gate).into_iter().map(|(sample, _)| sample.1).collect();
    assert_eq!(order, [0, 1, 2, 0, 1]);
}

#[test]
fn sessions_share_by_weight() {
    let gate = gate(16 * KIB, 16);
    fill(&gate, share(1), 400, KIB);
    fill(&gate, Share { weight: 3, ..share(2) }, 400, KIB);
    let light = flow(&gate, 400).iter().filter(|session| **session == 1).count();
    assert!((95..=105).contains(&light), "{light} of 400 went to weight 1 beside weight 3");
}

#[test]
fn large_samples_and_small_ones_share_by_bytes() {
    let gate = gate(8 * MIB, 10_000);
    fill(&gate, share(1), 100, 4 * MIB);
    fill(&gate, share(2), 10_000, 64 * KIB);
    let large = flow(&gate, 2000).iter().filter(|session| **session == 1).count() as u64;
    let small_bytes = (2000 - large) * 64 * KIB;
    let ratio = (large * 4 * MIB) as f64 / small_bytes as f64;
    assert!((0.8..1.25).contains(&ratio), "{large} large ones, {ratio}");
}

#[test]
fn one_that_was_idle_does_not_make_up_for_its_rest() {
    let gate = gate(1 << 40, 1_000_000);
    fill(&gate, share(1), 1, KIB);
    fill(&gate, share(2), 500, KIB);
    assert_eq!((0..301).filter_map(|_| next_of(&gate)).count(), 301);
    fill(&gate, share(1), 100, KIB);
    let first: Vec<_> = (0..100).filter_map(|_| next_of(&gate)).collect();
    let back = of_session(&first, 1);
    assert!((49..=51).contains(&back), "{back} of 100");
}

#[test]
fn bytes_and_reads_in_flight_stay_inside_the_budget_beside_the_reserve() {
    let gate = gate(1024 * KIB, 5);
    fill_unknown(&gate, share(1), 100);
    let taken = started(&gate);
    assert_eq!(taken.len(), 1 + 5, "by reads");
    assert_eq!(gate.in_flight(), (6, 6 * 128 * KIB));
    let mut held: Vec<_> = taken.into_iter().map(|(_, reserved)| reserved).collect();
    held.iter_mut().for_each(|reserved| gate.settle(reserved, 500 * KIB, true));
    held.drain(1..4).for_each(|reserved| gate.finish(reserved));
    assert!(
        next_of(&gate).is_none(),
        "by bytes: 1000 KiB are held and the next is taken to need more than 24"
    );
    held.drain(1..).for_each(|reserved| gate.finish(reserved));
    assert!(next_of(&gate).is_some());
}

#[test]
fn each_session_has_a_sample_in_flight_however_large_and_whatever_the_others_hold() {
    let gate = gate(1, 1);
    fill(&gate, share(1), 2, 1 << 40);
    fill_unknown(&gate, share(2), 2);
    fill(&gate, share(3), 2, 1);
    let taken = started(&gate);
    assert_eq!([1, 2, 3].map(|session| of_session(&taken, session)), [1, 1, 2]);
    assert!(taken.iter().filter(|(sample, _)| sample.1 == 0).all(|(_, held)| held.room_bytes() == u64::MAX));
    for (_, reserved) in taken.into_iter().filter(|(sample, _)| sample.0 == 1) {
        gate.finish(reserved);
    }
    assert_eq!(started(&gate).len(), 1, "the next of the first, and nothing for the others");
}

#[test]
fn a_bulk_reader_that_never_finishes_keeps_no_small_file_waiting() {
    let gate = gate(64 * MIB, 512);
    fill(&gate, share(1), 10, 200 * MIB);
    fill(&gate, share(2), 2000, 50 * KIB);
    let (mut small, mut bulk) = (Vec::new(), Vec::new());
    let mut served = 0;
    while served < 2000 {
        for (sample, reserved) in started(&gate) {
            if sample.0 == 1 { bulk.push(reserved) } else { small.push(reserved) }
        }
        assert!(small.len() >= 512.min(2000 - served), "{} in flight after {served}", small.len());
        assert_eq!(bulk.len(), 1, "200 MB are beside the budget once, and no more");
        served += small.len();
        small.drain(..).for_each(|reserved| gate.finish(reserved));
    }
}

#[test]
fn what_a_session_has_read_says_what_its_next_samples_need_and_nobody_elses() {
    let gate = gate(64 * MIB, 512);
    fill_unknown(&gate, share(1), 40);
    fill_unknown(&gate, share(2), 40);
    for _ in 0..20 {
        let (sample, mut reserved) = next_of(&gate).expect("room");
        gate.settle(&mut reserved, if sample.0 == 1 { 30 * MIB } else { 10 * KIB }, true);
        gate.finish(reserved);
    }
    let taken = started(&gate);
    let needs = |session| taken.iter().rfind(|(sample, _)| sample.0 == session).expect("one").1.bytes();
    assert!(needs(1) > MIB && needs(2) < 128 * KIB, "{} and {}", needs(1), needs(2));
}

#[test]
fn one_that_needs_more_than_it_was_taken_to_waits_for_it_in_its_own_place() {
    let gate = gate(4 * MIB, 100);
    fill_unknown(&gate, share(1), 6);
    let mut taken: VecDeque<_> = started(&gate).into();
    assert_eq!(taken.len(), 6);
    let (_, first) = taken.pop_front().expect("six");
    let (fifth, third) = (taken.remove(3).expect("six"), taken.remove(1).expect("six"));
    assert_eq!((third.0.1, fifth.0.1), (2, 4));
    assert_eq!(third.1.room_bytes(), MIB);
    for (sample, reserved) in [fifth, third] {
        assert_eq!(gate.again(sample, reserved, 3 * MIB), None);
    }
    fill(&gate, share(1), 1, 1);
    let (next, second) = next_of(&gate).expect("3 of 4 MiB are free");
    assert_eq!((next.1, second.bytes()), (2, 3 * MIB));
    assert!(second.room_bytes() >= 3 * MIB);
    assert!(next_of(&gate).is_none(), "the other three, and its 3 MiB");
    gate.finish(first);
    assert_eq!(next_of(&gate).map(|(sample, _)| sample.1), Some(4), "by the reserve, before what came later");
}

#[test]
fn while_a_higher_priority_waits_no_lower_one_starts() {
    let gate = gate(16 * KIB, 16);
    fill(&gate, Share { priority: -1, ..share(1) }, 400, KIB);
    fill(&gate, Share { priority: 1, ..share(2) }, 100, KIB);
    fill(&gate, share(3), 100, KIB);
    let order = flow(&gate, 300);
    assert!(order[..100].iter().all(|session| *session == 2));
    assert!(order[100..200].iter().all(|session| *session == 3));
    assert!(order[200..].iter().all(|session| *session == 1));
}

#[test]
fn a_lower_priority_leaves_room_for_the_next_batch_of_a_higher_one() {
    let gate = gate(64 * KIB, 64);
    let (production, experiment) = (Share { priority: 1, ..share(1) }, share(2));
    fill(&gate, experiment, 1000, KIB);
    assert_eq!(started(&gate).len(), 1 + 64, "alone it has all");
    fill(&gate, production, 1, KIB);
    assert_eq!(started(&gate).len(), 1, "the reserve");
    let gate = self::gate(64 * KIB, 64);
    fill(&gate, production, 1, KIB);
    let (_, paused) = next_of(&gate).expect("room");
    gate.finish(paused);
    fill(&gate, experiment, 1000, KIB);
    assert_eq!(started(&gate).len(), 1 + 16, "production is open and has nothing to do");
    fill(&gate, production, 1000, KIB);
    let taken = started(&gate);
    assert_eq!((of_session(&taken, 1), of_session(&taken, 2)), (1 + 48, 0));
    gate.forget(1);
    taken.into_iter().for_each(|(_, reserved)| gate.finish(reserved));
    assert_eq!(started(&gate).len(), 48, "production is gone");
}

#[test]
fn a_session_that_is_forgotten_leaves_nothing_behind() {
    let gate = gate(1 << 30, 1000);
    fill(&gate, share(1), 9, KIB);
    fill(&gate, share(2), 1, KIB);
    gate.forget(1);
    assert_eq!(next_of(&gate).map(|(sample, _)| sample), Some((2, 0)));
    assert!(next_of(&gate).is_none());
}

#[test]
fn one_that_goes_elsewhere_has_no_second_reserve_while_the_first_is_out() {
    let gate = gate(1, 1);
    fill(&gate, share(1), 2, 10 * KIB);
    let (_, reserved) = next_of(&gate).expect("the reserve");
    for _ in 0..3 {
        gate.forget(1);
        fill(&gate, share(1), 2, 10 * KIB);
        assert!(next_of(&gate).is_none());
    }
    gate.finish(reserved);
    let (sample, reserved) = next_of(&gate).expect("the reserve is back");
    gate.forget(1);
    assert_eq!(gate.again(sample, reserved, 20 * KIB), Some(sample), "nobody wants it any more");
    assert_eq!((gate.in_flight(), gate.lock().queues.len()), ((0, 0), 0));
}

#[test]
fn a_second_read_has_room_only_where_the_budget_is_free() {
    let gate = gate(300 * KIB, 100);
    fill(&gate, share(1), 1, 200 * KIB);
    let (_, first) = next_of(&gate).expect("the reserve");
    let second = gate.twice(&first).expect("300 KiB are free beside the reserve");
    assert!(gate.twice(&first).is_none(), "100 KiB are");
    assert_eq!(gate.in_flight(), (2, 400 * KIB));
    gate.finish(second);
    gate.forget(1);
    assert!(gate.twice(&first).is_none(), "nobody wants the sample");
    gate.finish(first);
    assert_eq!((gate.in_flight(), gate.lock().queues.len()), ((0, 0), 0));
}

#[test]
fn those_of_one_read_start_together_once_there_is_room_for_all() {
    let gate = gate(8 * KIB, 100);
    fill(&gate, share(1), 5, KIB);
    fill_together(&gate, share(1), 6, KIB);
    fill(&gate, share(1), 1, KIB);
    let mut before = started(&gate);
    assert_eq!(before.len(), 5, "4 KiB of 8 are held beside the reserve");
    assert!(group_of(&gate).is_empty());
    gate.finish(before.pop().expect("five").1);
    assert!(group_of(&gate).is_empty(), "room for five of six");
    gate.finish(before.pop().expect("four").1);
    let group = group_of(&gate);
    assert_eq!(group.iter().map(|(sample, _)| sample.1).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(gate.in_flight(), (3 + 6, 9 * KIB));
}

#[test]
fn where_the_reserve_alone_has_room_the_first_starts_and_the_others_stay_together() {
    let gate = gate(4 * KIB, 100);
    fill(&gate, share(2), 5, KIB);
    let others = started(&gate);
    fill_together(&gate, share(1), 5, KIB);
    assert_eq!(group_of(&gate).len(), 1, "the budget is the other session's");
    others.into_iter().for_each(|(_, reserved)| gate.finish(reserved));
    assert_eq!(group_of(&gate).into_iter().map(|(sample, _)| sample.1).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn sessions_of_groups_and_of_single_samples_share_by_weight() {
    for heavy_together in [true, false] {
        let gate = gate(64 * KIB, 64);
        let heavy = Share { weight: 7, ..share(1) };
        for _ in 0..200 {
            for (share, together) in
                [(heavy, heavy_together), (share(2), true), (share(3), true), (share(4), true)]
            {
                let fill = if together { fill_together } else { fill };
                fill(&gate, share, 8, KIB);
            }
        }
        let (mut in_flight, mut order) = (VecDeque::new(), Vec::new());
        while order.len() < 2000 {
            loop {
                let group = group_of(&gate);
                if group.is_empty() {
                    break;
                }
                order.extend(group.iter().map(|(sample, _)| sample.0));
                in_flight.extend(group.into_iter().map(|(_, reserved)| reserved));
            }
            gate.finish(in_flight.pop_front().expect("with nothing in flight something starts"));
        }
        let share_of_heavy =
            order.iter().filter(|session| **session == 1).count() as f64 / order.len() as f64;
        assert!(
            (0.62..0.78).contains(&share_of_heavy),
            "{share_of_heavy} went to weight 7 beside three of 1"
        );
    }
}

#[test]
fn beside_the_one_whose_turn_it_is_others_start_by_their_reserve_alone() {
    let gate = gate(8 * KIB, 100);
    let heavy = Share { weight: 1000, ..share(1) };
    fill(&gate, heavy, 1, KIB);
    fill(&gate, share(2), 2, KIB);
    assert_eq!(started(&gate).len(), 3, "two reserves, and 1 KiB of 8");
    fill_together(&gate, heavy, 8, KIB);
    fill_together(&gate, share(3), 4, KIB);
    let group = group_of(&gate);
    assert_eq!(group.iter().map(|(sample, _)| *sample).collect::<Vec<_>>(), [(3, 0)]);
    assert!(group_of(&gate).is_empty(), "7 KiB are for the 8 that are next");
}

#[test]
fn more_than_the_budget_ever_holds_starts_one_after_another() {
    let gate = gate(3 * KIB, 100);
    fill_together(&gate, share(1), 9, KIB);
    let first = group_of(&gate);
    assert_eq!(first.len(), 1 + 3, "the reserve, and what there is room for");
    assert!(group_of(&gate).is_empty());
    let (mut held, mut count) = (first, 4);
    while let Some((_, reserved)) = held.pop() {
        gate.finish(reserved);
        let next = group_of(&gate);
        count += next.len();
        held.extend(next);
    }
    assert_eq!(count, 9);
}

#[derive(Clone, Debug)]
enum Act {
    Push { session: u64, count: u32, bytes: Option<u64>, together: bool },
    Start,
    Settle { which: usize, bytes: u64 },
    Again { which: usize, bytes: u64 },
    Finish { which: usize },
    Forget { session: u64 },
}

fn acts() -> impl Strategy<Value = Act> {
    let (session, bytes) = (0_u64..4, 0_u64..300 * KIB);
    prop_oneof![
        (session.clone(), 1_u32..8, prop::option::of(bytes.clone()), any::<bool>())
            .prop_map(|(session, count, bytes, together)| Act::Push { session, count, bytes, together }),
        Just(Act::Start),
        Just(Act::Start),
        (0_usize..64, bytes.clone()).prop_map(|(which, bytes)| Act::Settle { which, bytes }),
        (0_usize..64, bytes).prop_map(|(which, bytes)| Act::Again { which, bytes }),
        (0_usize..64).prop_map(|which| Act::Finish { which }),
        (0_usize..64).prop_map(|which| Act::Finish { which }),
        session.prop_map(|session| Act::Forget { session }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_sums_are_true_nothing_starts_twice_and_something_always_starts(
        acts in prop::collection::vec(acts(), 1..200),
        priorities in prop::array::uniform4(-1_i32..2),
    ) {
        let gate = gate(512 * KIB, 8);
        let (mut next, mut waiting) = (0, BTreeMap::<u32, u64>::new());
        let mut in_flight: Vec<(Sample, Reserved)> = Vec::new();
        for act in acts {
            match act {
                Act::Push { session, count, bytes, together } => {
                    let share = Share { session, weight: 1 + session as u32, priority: priorities[session as usize] };
                    let mates = |number| if together { next + count - 1 - number } else { 0 };
                    let ask = |number| Ask { mates: mates(number), ..alone((session, number), bytes) };
                    gate.push(share, (next..next + count).map(ask));
                    waiting.extend((next..next + count).map(|number| (number, session)));
                    next += count;
                }
                Act::Start => {
                    let group = group_of(&gate);
                    prop_assert!(!group.is_empty() || waiting.is_empty() || !in_flight.is_empty(), "nothing starts");
                    for (sample, reserved) in group {
                        prop_assert_eq!(waiting.remove(&sample.1), Some(sample.0), "it waited, once");
                        in_flight.push((sample, reserved));
                    }
                }
                Act::Forget { session } => {
                    gate.forget(session);
                    waiting.retain(|_, of| *of != session);
                }
                _ if in_flight.is_empty() => {}
                Act::Settle { which, bytes } => {
                    let which = which % in_flight.len();
                    gate.settle(&mut in_flight[which].1, bytes, true);
                }
                Act::Again { which, bytes } => {
                    let (sample, reserved) = in_flight.swap_remove(which % in_flight.len());
                    if gate.again(sample, reserved, bytes).is_none() {
                        waiting.insert(sample.1, sample.0);
                    }
                }
                Act::Finish { which } => {
                    let (_, reserved) = in_flight.swap_remove(which % in_flight.len());
                    gate.finish(reserved);
                }
            }
            let held = in_flight.iter().map(|(_, reserved)| reserved.bytes()).sum::<u64>();
            prop_assert_eq!(gate.in_flight(), (in_flight.len() as u32, held));
            let (shared, reserved): (Vec<_>, Vec<_>) =
                in_flight.iter().partition(|(_, reserved)| !reserved.is_reserve);
            prop_assert!(shared.len() <= 8, "{} beside the reserves", shared.len());
            let mut sessions: Vec<_> = reserved.iter().map(|(sample, _)| sample.0).collect();
            sessions.sort_unstable();
            sessions.dedup();
            prop_assert_eq!(sessions.len(), reserved.len(), "one a session");
        }
        in_flight.drain(..).for_each(|(_, reserved)| gate.finish(reserved));
        loop {
            let group = group_of(&gate);
            if group.is_empty() {
                break;
            }
            for (sample, reserved) in group {
                prop_assert_eq!(waiting.remove(&sample.1), Some(sample.0));
                gate.finish(reserved);
            }
        }
        prop_assert!(waiting.is_empty(), "all that waited could start");
    }
}
