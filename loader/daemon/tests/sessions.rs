//! A session over the memory and faulty engines: order, exactly once, faults, budgets, seeks; no socket, no clock.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use forebay::error::Kind;
use forebay::session::Outgoing;
use forebay::storage::Faults;
use forebay_plan::Cursor;
use support::{Node, OpenAs, digest_of, png, spec};

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_comes_once_an_epoch_and_the_bytes_are_the_same_on_any_number_of_threads() {
    let mut streams = Vec::new();
    for threads in [1, 3] {
        let node = Node::new(50, threads, Faults::default());
        let mut session = node.open(&spec("FAIL"), &OpenAs { rows: 8, ..OpenAs::default() });
        let batches = support::epoch(&mut session).await;
        let labels: Vec<i64> =
            batches.iter().flat_map(|batch| batch.labels[..batch.valid_rows as usize].to_vec()).collect();
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), 50);
        assert_ne!(labels, (0..50).collect::<Vec<_>>(), "shuffled");
        streams.push(digest_of(&batches));
    }
    assert_eq!(streams[0], streams[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_pass_change_nothing_but_time() {
    let calm = Node::new(40, 2, Faults::default());
    let rough = Node::new(
        40,
        2,
        Faults {
            seed: 3,
            io_error_per_mille: 200,
            missing_per_mille: 50,
            changed_per_mille: 50,
            delay_per_mille: 200,
            delay_max: Duration::from_millis(3),
            ..Faults::default()
        },
    );
    let mut digests = Vec::new();
    for node in [calm, rough] {
        let mut session = node.open(&spec("FAIL"), &OpenAs { rows: 16, ..OpenAs::default() });
        digests.push(digest_of(&support::epoch(&mut session).await));
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_stays_unreachable_fails_the_session_by_name_and_never_becomes_a_substitute() {
    let node = Node::without(20, 2, 13);
    let mut session = node.open(&spec("SUBSTITUTE"), &OpenAs { rows: 20, ..OpenAs::default() });
    let fault = support::fault(&mut session).await;
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Unavailable, Some("13.png")));
    assert!(fault.hint.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_sample_fails_is_replaced_or_masked_as_the_policy_says() {
    let open = OpenAs { rows: 20, ..OpenAs::default() };

    let node = Node::with(20, 2, Faults::default(), |files| files[5] = b"no image at all".to_vec());
    let fault = support::fault(&mut node.open(&spec("FAIL"), &open)).await;
    assert_eq!((fault.kind, fault.object.as_deref()), (Kind::Corrupt, Some("5.png")));

    let mut session = node.open(&spec("SUBSTITUTE"), &open);
    let batch = &support::epoch(&mut session).await[0];
    assert_eq!(
        (batch.valid_rows, batch.labels.contains(&5)),
        (20, false),
        "label and image come from the substitute"
    );
    assert_eq!(batch.labels.iter().collect::<HashSet<_>>().len(), 19, "one sample comes twice");

    let mut session = node.open(&spec("MASK"), &open);
    let batch = &support::epoch(&mut session).await[0];
    let masked: Vec<_> = (0..20).filter(|row| batch.valid[*row] == 0).collect();
    assert_eq!((batch.valid_rows, masked.len()), (19, 1));
    let image_bytes = batch.images.len() / 20;
    assert!(batch.images[masked[0] * image_bytes..][..image_bytes].iter().all(|byte| *byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_only_turns_delivery_into_an_error() {
    let node = Node::with(20, 2, Faults::default(), |files| files[..4].fill(vec![0; 9]));
    let spec = spec("MASK").replace(r#"_MASK""#, r#"_MASK","budgetCount":"3""#);
    let fault = support::fault(&mut node.open(&spec, &OpenAs { rows: 20, ..OpenAs::default() })).await;
    assert!(fault.message.contains("4 corrupt samples in epoch 0, the budget is 3"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_gives_the_rows_that_an_uninterrupted_run_gives() {
    let node = Node::new(60, 2, Faults::default());
    let open = OpenAs { rows: 8, ..OpenAs::default() };
    let whole = support::epoch(&mut node.open(&spec("FAIL"), &open)).await;
    let mut session = node.open(&spec("FAIL"), &open);
    session.credit(64);
    for (step, sequence) in [(3, 1), (0, 2), (6, 3)] {
        session.seek(sequence, Cursor { epoch: 0, position: step * 8 }, 64).expect("the next sequence");
        let rest = support::drain(&mut session).await;
        assert_eq!(digest_of(&rest), digest_of(&whole[step as usize..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_held_by_the_consumer_hold_the_stream_back_and_nothing_else() {
    let node = Node::new(64, 2, Faults::default());
    let mut slow =
        node.open(&spec("FAIL"), &OpenAs { rows: 8, depth: 1, max_leases: 1, ..OpenAs::default() });
    slow.credit(64);
    let held: Vec<_> = [support::next(&mut slow).await, support::next(&mut slow).await].into();
    assert!(slow.advance().is_none(), "both slots are out");
    let mut other = node.open(&spec("FAIL"), &OpenAs { rows: 8, ..OpenAs::default() });
    assert_eq!(support::epoch(&mut other).await.len(), 8, "another session goes on");
    for outgoing in held {
        let Outgoing::Ready(ready) = outgoing else { panic!("a batch") };
        support::release(&mut slow, &ready);
    }
    assert_eq!(support::drain(&mut slow).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_leaves_no_task_and_no_slot_behind() {
    let node = Node::new(
        64,
        2,
        Faults { seed: 1, delay_per_mille: 1000, delay_max: Duration::from_millis(20), ..Faults::default() },
    );
    for _ in 0..10 {
        let mut session = node.open(&spec("FAIL"), &OpenAs { rows: 8, ..OpenAs::default() });
        session.credit(1);
        let _ = session.advance();
    }
    let mut session = node.open(&spec("FAIL"), &OpenAs { rows: 8, ..OpenAs::default() });
    assert_eq!(support::epoch(&mut session).await.len(), 8);
}

#[test]
fn the_test_images_are_images() {
    assert!(png(1).starts_with(b"\x89PNG"));
}
