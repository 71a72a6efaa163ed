//! Consumers at work: each takes its batches, gives them back at once, and notes when they came.

use std::time::{Duration, Instant};

use super::options::Amount;
use super::pass::Pass;
use super::progress::Progress;
use super::usage::{Mark, thread_cpu};
use super::wait::Waits;
use crate::delivery::local::client::Consumer;
use crate::delivery::local::record::{FLAG_EMPTY, Ready};
use crate::error::Fault;

/// What one consumer saw, from the arrival of one batch to that of a later one.
pub struct Taken {
    start: Mark,
    end: Mark,
    own_cpu: Duration,
    first_row: u64,
    rows: u64,
    batch_bytes: u64,
    gaps: Vec<Duration>,
    waits: Waits,
}

impl Taken {
    fn new(start: Mark) -> Self {
        let (own_cpu, gaps, waits) = (Duration::ZERO, Vec::new(), Waits::default());
        Self { start, end: start, own_cpu, first_row: 0, rows: 0, batch_bytes: 0, gaps, waits }
    }

    fn add(&mut self, ready: &Ready, asked: Instant, came: Instant, last: Instant, epoch_rows: u64) {
        if self.gaps.is_empty() {
            self.first_row = ready.epoch * epoch_rows + ready.position;
        }
        self.rows += u64::from(ready.valid_rows);
        self.batch_bytes += ready.tensors.iter().map(|tensor| tensor.len_bytes).sum::<u64>();
        self.gaps.push(came - last);
        self.waits.add(ready, came - asked);
    }
}

/// Takes one batch and gives it back.
fn take_one(consumer: &mut Consumer) -> Result<Ready, Fault> {
    loop {
        let ready = consumer.next_batch()?;
        if ready.flags & FLAG_EMPTY == 0 {
            consumer.release(&ready)?;
            consumer.credit(1)?;
            return Ok(ready);
        }
        consumer.credit(1)?;
    }
}

/// Takes `amount` of rows, after as many batches as may have been made while nobody took any.
///
/// # Errors
/// The session's fault.
pub fn take(
    consumer: &mut Consumer,
    amount: Amount,
    epoch_rows: u64,
    progress: &Progress,
) -> Result<Taken, Fault> {
    for _ in 0..consumer.opened().slots {
        take_one(consumer)?;
    }
    let own_before = thread_cpu();
    let mut taken = Taken::new(Mark::now());
    let mut last = taken.start.at;
    loop {
        let asked = Instant::now();
        let ready = consumer.next_batch()?;
        let came = Instant::now();
        if ready.flags & FLAG_EMPTY == 0 {
            consumer.release(&ready)?;
            taken.add(&ready, asked, came, last, epoch_rows);
            progress.add(u64::from(ready.valid_rows));
            last = came;
        }
        let enough = match amount {
            Amount::Rows(rows) => taken.rows >= rows,
            Amount::Seconds(seconds) => (came - taken.start.at).as_secs_f64() >= seconds,
        };
        consumer.credit(1)?;
        if enough {
            taken.end = Mark::now();
            taken.own_cpu = thread_cpu().saturating_sub(own_before);
            return Ok(taken);
        }
    }
}

/// All consumers at once, each on a thread of its own; together one pass.
///
/// # Errors
/// The first fault of any session.
pub fn take_all(
    consumers: &mut [Consumer],
    amount: Amount,
    epoch_rows: u64,
    progress: &Progress,
) -> Result<Pass, Fault> {
    let each = match amount {
        Amount::Rows(rows) => Amount::Rows(rows.div_ceil(consumers.len() as u64)),
        seconds @ Amount::Seconds(_) => seconds,
    };
    let taken: Result<Vec<Taken>, Fault> = std::thread::scope(|scope| {
        let threads: Vec<_> = consumers
            .iter_mut()
            .map(|consumer| scope.spawn(move || take(consumer, each, epoch_rows, progress)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a consumer does not panic")).collect()
    });
    Ok(merge(taken?))
}

/// One pass of several consumers: from the first one's start to the last one's end.
fn merge(taken: Vec<Taken>) -> Pass {
    let start = taken.iter().map(|one| one.start).min_by_key(|mark| mark.at).expect("a consumer");
    let end = taken.iter().map(|one| one.end).max_by_key(|mark| mark.at).expect("a consumer");
    let mut pass = Pass {
        first_row: taken.iter().map(|one| one.first_row).min().unwrap_or(0),
        wall: end.at - start.at,
        cpu: Duration::from_micros(end.cpu_us.saturating_sub(start.cpu_us)),
        ..Pass::default()
    };
    for one in taken {
        pass.items += one.rows;
        pass.consumers.push(one.rows as f64 / (one.end.at - one.start.at).as_secs_f64().max(1e-9));
        pass.batch_bytes += one.batch_bytes;
        pass.cpu = pass.cpu.saturating_sub(one.own_cpu);
        pass.gaps.extend(one.gaps);
        pass.waits.merge(&one.waits);
    }
    pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_count_together_over_all_of_their_time() {
        let at = Instant::now();
        let ms = Duration::from_millis;
        let one = |start_ms, end_ms, first_row, own_ms| Taken {
            start: Mark { at: at + ms(start_ms), cpu_us: 1000 * start_ms },
            end: Mark { at: at + ms(end_ms), cpu_us: 1000 * end_ms },
            own_cpu: ms(own_ms),
            first_row,
            rows: 8,
            ..Taken::new(Mark { at, cpu_us: 0 })
        };
        let pass = merge(vec![one(10, 50, 32, 1), one(0, 60, 64, 2)]);
        assert_eq!((pass.first_row, pass.items, pass.wall, pass.cpu), (32, 16, ms(60), ms(57)));
        let rates: Vec<_> = pass.consumers.iter().map(|rate| rate.round()).collect();
        assert_eq!(rates, [200.0, 133.0], "each over its own time");
    }
}
