//! One emulated accelerator: takes a batch, sleeps the published step time, takes the next; and its utilisation.

use std::time::{Duration, Instant};

use super::super::wait::Waits;
use crate::error::Fault;

/// Steps that are counted, at least, however slowly batches come.
const STEPS_MIN: u32 = 3;

/// Time, so that tests can make their own.
pub trait Clock {
    /// Since some moment.
    fn now(&self) -> Duration;

    /// Lets so much time pass.
    fn sleep(&self, time: Duration);
}

/// Batches, one after the other.
pub trait Feed {
    /// Gives the last batch back, then waits for the next.
    ///
    /// # Errors
    /// The session's fault.
    fn next(&mut self) -> Result<Waits, Fault>;
}

/// The machine's clock.
pub struct WallClock(Instant);

impl WallClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// What one accelerator did in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worked {
    /// Counted steps: all but the first.
    pub steps: u32,
    /// From the end of the first step to the end of the last.
    pub wall: Duration,
    /// What the batches of the counted steps were waited for.
    pub waits: Waits,
}

impl Worked {
    /// The share of the time that it computed: counted steps times the published step time, over the wall time. Sleeping
    /// longer than the step counts against us, as it does in the published tool.
    pub fn utilisation(&self, step: Duration) -> f64 {
        let wall = self.wall.as_secs_f64();
        if wall > 0.0 { f64::from(self.steps) * step.as_secs_f64() / wall } else { 0.0 }
    }
}

/// Takes as many batches as may have been made ahead, without working on them: a short run that began with a full
/// queue would look better than a long one.
///
/// # Errors
/// The feed's.
pub fn drain(feed: &mut impl Feed, batches: u32) -> Result<(), Fault> {
    (0..batches).try_for_each(|_| feed.next().map(drop))
}

/// Works until `limit` has passed since the end of the first step, which is left out.
///
/// # Errors
/// The feed's.
pub fn work(
    feed: &mut impl Feed,
    clock: &impl Clock,
    step: Duration,
    limit: Duration,
    stepped: &dyn Fn(),
) -> Result<Worked, Fault> {
    feed.next()?;
    clock.sleep(step);
    stepped();
    let (start, mut worked) = (clock.now(), Worked::default());
    while worked.wall < limit || worked.steps < STEPS_MIN {
        worked.waits.merge(&feed.next()?);
        clock.sleep(step);
        worked.steps += 1;
        worked.wall = clock.now().saturating_sub(start);
        stepped();
    }
    Ok(worked)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Time that only passes where somebody sleeps, or waits for a batch.
    #[derive(Clone, Default)]
    struct FakeClock(Rc<Cell<Duration>>);

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn sleep(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    /// The nth batch is ready at the nth of these times, and then every `every`.
    struct FakeFeed {
        clock: FakeClock,
        every: Duration,
        ready: Duration,
        taken: u32,
    }

    impl Feed for FakeFeed {
        fn next(&mut self) -> Result<Waits, Fault> {
            let waited = self.ready.saturating_sub(self.clock.now());
            self.clock.sleep(waited);
            self.ready = self.ready.max(self.clock.now()) + self.every;
            self.taken += 1;
            Ok(Waits { waited, ..Waits::default() })
        }
    }

    fn feed(first_ms: u64, every_ms: u64) -> (FakeFeed, FakeClock) {
        let clock = FakeClock::default();
        let (every, ready) = (MS(every_ms), MS(first_ms));
        (FakeFeed { clock: clock.clone(), every, ready, taken: 0 }, clock)
    }

    #[test]
    fn an_accelerator_that_never_waits_is_fully_used() {
        let (mut feed, clock) = feed(0, 0);
        let worked = work(&mut feed, &clock, MS(100), MS(1000), &|| {}).expect("a feed");
        assert_eq!((worked.steps, worked.wall, worked.utilisation(MS(100))), (10, MS(1000), 1.0));
    }

    #[test]
    fn the_first_step_however_late_is_left_out() {
        let (mut feed, clock) = feed(60_000, 0);
        let worked = work(&mut feed, &clock, MS(100), MS(1000), &|| {}).expect("a feed");
        assert_eq!((worked.utilisation(MS(100)), feed.taken), (1.0, 11));
    }

    #[test]
    fn utilisation_is_step_time_over_the_time_between_batches() {
        let (mut feed, clock) = feed(0, 125);
        let worked = work(&mut feed, &clock, MS(100), MS(10_000), &|| {}).expect("a feed");
        assert_eq!((worked.steps, worked.wall), (80, MS(10_000)));
        assert!((worked.utilisation(MS(100)) - 0.8).abs() < 1e-9);
        assert_eq!(worked.waits.waited, MS(25) * 80);
    }

    #[test]
    fn a_slow_feed_has_its_steps_counted_all_the_same() {
        let (mut feed, clock) = feed(0, 5000);
        let worked = work(&mut feed, &clock, MS(100), MS(1000), &|| {}).expect("a feed");
        assert_eq!((worked.steps, worked.wall), (STEPS_MIN, MS(15_000)));
        assert!((worked.utilisation(MS(100)) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn draining_takes_what_was_made_ahead() {
        let (mut feed, clock) = feed(0, 10);
        drain(&mut feed, 3).expect("a feed");
        assert_eq!((feed.taken, clock.now()), (3, MS(20)));
    }
}
