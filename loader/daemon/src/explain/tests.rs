//! Planted evidence, and what must be said of it.

use super::*;
use crate::delivery::local::record::Spent;
use crate::meter::Worked;
use crate::meter::throttle::Throttle;

/// A step of `waited` and `trainer` milliseconds whose batch was made in 100 ms, of which the threads worked `compute`.
fn step(waited_ms: u32, trainer_ms: u32, compute_ms: u64) -> PastStep {
    let worked = Worked {
        busy_us: compute_ms * 2000,
        decode_us: compute_ms * 1500,
        off_cpu_us: 0,
        reads: 32,
        read_bytes: 32 * 50_000,
        read_us: (100 - compute_ms) * 2000,
        queue_us: 0,
    };
    PastStep {
        rows: 32,
        made_us: 100_000,
        span_us: 100_000,
        sealed_us: 100_000,
        compute_us: compute_ms * 1000,
        worked,
        spent: Some(Spent { waited_us: waited_ms * 1000, trainer_us: trainer_ms * 1000, ..Spent::default() }),
        is_taken: true,
        ..PastStep::default()
    }
}

fn evidence(step: PastStep) -> Evidence {
    let steps = (0..20).map(|index| PastStep { position: index * 32, ..step }).collect();
    Evidence {
        consumer: Consumer { session: 3, size: 1, depth: 2, max_leases: 2, ..Consumer::default() },
        pool: PoolFacts {
            is_private: false,
            cpu_threads: 2,
            read_threads: 2,
            reads_in_flight: 512,
            read_budget_bytes: 64 << 20,
            engine: "threads".to_owned(),
            ..PoolFacts::default()
        },
        machine: Machine { processors: 2, usable_processors: 2, load_average: Some(1.5) },
        steps,
        steps_seen: 21,
        ..Evidence::default()
    }
}

fn found(evidence: Evidence) -> (Option<Cause>, String) {
    let findings = judge(evidence);
    (findings.cause, findings.advice)
}

#[test]
fn reads_that_keep_all_threads_busy_ask_for_more_threads() {
    let (cause, advice) = found(evidence(step(80, 20, 5)));
    assert_eq!(cause, Some(Cause::Storage));
    assert!(advice.starts_with("set read_threads = 9 in the daemon's configuration (it is 2)"), "{advice}");
}

#[test]
fn a_private_daemon_is_told_by_its_variable() {
    let mut planted = evidence(step(80, 20, 5));
    planted.pool.is_private = true;
    assert!(found(planted).1.contains("start the training with FOREBAY_READ_THREADS=9"));
}

#[test]
fn idle_read_threads_ask_for_what_keeps_them_idle() {
    let mut planted = evidence(step(80, 20, 5));
    planted.pool.read_threads = 16;
    assert!(found(planted.clone()).1.starts_with("pass prefetch=9 "), "too few batches in flight");
    planted.pool.reads_in_flight = 2;
    assert!(found(planted.clone()).1.starts_with("set reads_in_flight = 9"), "few reads are admitted");
    planted.pool.reads_in_flight = 512;
    planted.pool.read_budget_bytes = 100_000;
    assert!(found(planted).1.starts_with("set read_budget = \"1MiB\""), "few bytes are admitted");
}

#[test]
fn reads_at_a_time_have_an_end() {
    let mut planted = evidence(step(80, 20, 5));
    planted.pool.read_threads = READ_THREADS;
    planted.steps.iter_mut().for_each(|step| step.worked.read_us = READ_THREADS as u64 * 100_000);
    assert!(found(planted).1.starts_with("use faster storage"));
}

/// As many as the advice ends at.
const READ_THREADS: usize = 256;

#[test]
fn a_storage_that_answers_nothing_is_said_so() {
    let mut planted = evidence(step(80, 20, 5));
    planted.steps.iter_mut().for_each(|step| step.worked = Worked::default());
    assert!(found(planted).1.contains("no read came back"));
}

#[test]
fn decoding_asks_for_idle_processors_first_and_for_less_work_then() {
    let mut planted = evidence(step(80, 20, 95));
    let (cause, advice) = found(planted.clone());
    assert_eq!(cause, Some(Cause::Decode));
    assert!(advice.starts_with("make decoding cheaper") && advice.contains("50 kB each"), "{advice}");
    planted.machine.usable_processors = 8;
    assert!(found(planted).1.starts_with("set cpu_threads = 8 "));
}

#[test]
fn transforms_that_cost_more_than_decoding_are_named() {
    let mut planted = evidence(step(80, 20, 95));
    planted.steps.iter_mut().for_each(|step| step.worked.decode_us /= 3);
    let (cause, advice) = found(planted);
    assert_eq!(cause, Some(Cause::Transform));
    assert!(advice.contains("uint8"), "{advice}");
}

#[test]
fn threads_without_a_processor_blame_the_others_unless_processors_stand_idle() {
    let mut planted = evidence(step(80, 20, 95));
    planted.steps.iter_mut().for_each(|step| step.worked.off_cpu_us = step.worked.busy_us * 7 / 10);
    let (cause, advice) = found(planted.clone());
    assert_eq!(cause, Some(Cause::Processors));
    assert!(advice.starts_with("free processors"), "{advice}");
    planted.machine.usable_processors = 4;
    assert_eq!(found(planted).0, Some(Cause::Decode), "another thread would get another share");
}

/// 0.2 processors' worth; every period but `free` of 10 was used up.
fn throttled(free: u64) -> Evidence {
    let mut planted = evidence(step(80, 20, 95));
    let after = |steps: u64| Throttle {
        quota_processors: 0.2,
        periods: steps * 10,
        throttled_periods: steps * (10 - free),
        throttled_us: steps * 160_000,
    };
    for (index, step) in planted.steps.iter_mut().enumerate() {
        step.worked.off_cpu_us = step.worked.busy_us * 8 / 10;
        step.throttle = after(index as u64);
    }
    planted.throttle = after(planted.steps.len() as u64);
    planted
}

#[test]
fn a_quota_that_is_used_up_is_the_first_thing_to_lift() {
    let (cause, advice) = found(throttled(0));
    assert_eq!(cause, Some(Cause::Throttled));
    assert!(advice.contains("quota from 0.20 to 1.9 or more"), "{advice}");
}

#[test]
fn a_quota_that_is_never_used_up_is_not_blamed() {
    assert_eq!(found(throttled(10)).0, Some(Cause::Processors));
}

#[test]
fn reads_that_wait_for_the_quota_are_the_quotas_too() {
    let mut planted = throttled(0);
    planted.steps.iter_mut().for_each(|step| step.compute_us = 5000);
    assert_eq!(found(planted).0, Some(Cause::Throttled));
}

#[test]
fn copies_and_full_slots_are_the_consumers() {
    let mut planted = evidence(step(5, 20, 50));
    for step in &mut planted.steps {
        step.spent = step.spent.map(|spent| Spent { copied_us: 30_000, ..spent });
    }
    let findings = judge(planted);
    assert_eq!(findings.cause, Some(Cause::Slots));
    assert!(findings.advice.starts_with("drop batches") && findings.detail.starts_with("20 of 20 batches"));
    let full = evidence(PastStep { held_us: 200_000, ..step(300, 20, 5) });
    assert_eq!(found(full).0, Some(Cause::Slots));
}

#[test]
fn python_work_on_the_batch_is_named() {
    let mut planted = evidence(step(5, 20, 50));
    for step in &mut planted.steps {
        step.spent = step.spent.map(|spent| Spent { python_us: 30_000, ..spent });
    }
    let findings = judge(planted);
    assert_eq!(findings.cause, Some(Cause::Python));
    assert!(
        findings.advice.contains("batch_transform") && findings.detail.contains("30.0 ms of each 55.0 ms")
    );
}

#[test]
fn a_trainer_that_takes_nine_tenths_is_the_limit() {
    let (cause, advice) = found(evidence(step(9, 91, 50)));
    assert_eq!(cause, Some(Cause::Trainer));
    assert!(advice.starts_with("nothing in the loader"));
    assert_ne!(found(evidence(step(11, 89, 5))).0, Some(Cause::Trainer));
}

#[test]
fn a_wait_longer_than_all_the_daemon_did_is_the_hand_over() {
    let (cause, advice) = found(evidence(step(500, 20, 5)));
    assert_eq!(cause, Some(Cause::HandOver));
    assert!(advice.contains("restarted"), "{advice}");
    let late = PastStep { span_us: 170_000, ..step(80, 20, 5) };
    assert_eq!(found(evidence(late)).0, Some(Cause::HandOver), "complete, and announced late");
}

#[test]
fn a_client_that_does_not_say_waited_whenever_nothing_stood_ready() {
    let mut planted = evidence(PastStep { gap_us: 100_000, ..step(0, 0, 5) });
    planted.steps.iter_mut().for_each(|step| step.spent = None);
    assert_eq!(found(planted.clone()).0, Some(Cause::Storage));
    planted.steps.iter_mut().for_each(|step| step.queued_us = 95_000);
    assert_eq!(found(planted).0, Some(Cause::Trainer));
}

#[test]
fn shares_are_of_the_whole_and_steps_are_ordered() {
    let mut planted = evidence(step(80, 20, 40));
    planted.steps[7].spent = Some(Spent { waited_us: 900_000, ..Spent::default() });
    let findings = judge(planted);
    let sum: f64 = CAUSES.into_iter().map(|cause| findings.share(cause)).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    assert!(findings.shares.is_sorted_by_key(|(_, us)| std::cmp::Reverse(*us)));
    assert_eq!((findings.slowest_steps[0].position, findings.slowest_steps.len()), (7 * 32, 5));
    assert_eq!((findings.newest_steps.len(), findings.newest_steps[19].position), (20, 19 * 32));
}

#[test]
fn before_the_first_batches_there_is_nothing_to_judge() {
    let findings = judge(Evidence::default());
    assert_eq!((findings.cause, findings.shares.len()), (None, 0));
    assert!(findings.advice.contains("nothing yet"));
    assert!(text::page(&[findings]).contains("because (nothing yet)"));
    assert!(text::page(&[]).contains("no session is open"));
}

#[test]
fn the_page_says_first_what_to_change() {
    let mut planted = evidence(step(80, 20, 5));
    let slow = SlowObject { key: "n01/a.jpg".to_owned(), us: 812_000, bytes: 54_000, epoch: 1, position: 9 };
    (planted.slowest_reads, planted.read_p99_us) = (vec![slow.clone()], 35_000);
    planted.consumer.client = "forebay-py/1".to_owned();
    let page = text::page(&[judge(planted)]);
    let lines: Vec<_> = page.lines().collect();
    assert!(lines[0].starts_with("rank 0 of 1, session 3"), "{page}");
    assert!(lines[2].starts_with("  change first: set read_threads = 9"), "{page}");
    assert!(lines.iter().all(|line| line.chars().count() <= 110), "{page}");
    assert!(page.contains("storage      76 %"), "{page}");
    assert!(page.contains("812 ms    54 kB  n01/a.jpg  (epoch 1 row 9)"), "{page}");
}
