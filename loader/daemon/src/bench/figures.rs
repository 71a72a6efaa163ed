//! Rounds -> figures: medians, spreads, percentiles, ratios. Pure.

use std::time::Duration;

use serde::Serialize;

use super::pass::{Pass, Round};

/// A figure over rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Of the rounds.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// What one side of a stage reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Samples a second; batches a second where the hand-over alone is measured.
    pub per_second: Spread,
    /// Processor seconds of 1000 of them.
    pub cpu_s_per_1000: Spread,
    /// Encoded bytes, 10^9 a second.
    pub encoded_gb_per_s: f64,
    /// Tensor bytes, 10^9 a second; 0 for a bare loop, which makes no batches.
    pub batch_gb_per_s: f64,
}

/// Times between one batch and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub struct BatchTimes {
    /// Half of them are shorter, microseconds.
    pub p50_us: f64,
    /// 90 of 100 are shorter.
    pub p90_us: f64,
    /// 99 of 100 are shorter.
    pub p99_us: f64,
    /// The least, then those that 5, 10, 15 and so on of 100 do not pass, to the greatest.
    pub twentieths_us: [f64; 21],
}

/// Median, least and greatest of some values; zeros where there are none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (values.first(), values.last()) else { return Spread::default() };
    let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    Spread { median: f64::midpoint(below, above), low, high }
}

/// One side's figures.
pub fn figures(passes: &[&Pass]) -> Figures {
    let rate = |bytes: fn(&Pass) -> u64| {
        spread(passes.iter().map(|pass| per(bytes(pass) as f64, pass.wall.as_secs_f64()) / 1e9)).median
    };
    Figures {
        per_second: spread(passes.iter().map(|pass| per_second(pass))),
        cpu_s_per_1000: spread(passes.iter().map(|pass| cpu_s_per_1000(pass))),
        encoded_gb_per_s: rate(|pass| pass.encoded_bytes),
        batch_gb_per_s: rate(|pass| pass.batch_bytes),
    }
}

/// Items a second of one pass.
pub fn per_second(pass: &Pass) -> f64 {
    per(pass.items as f64, pass.wall.as_secs_f64())
}

/// Processor seconds of 1000 items.
pub fn cpu_s_per_1000(pass: &Pass) -> f64 {
    per(pass.cpu.as_secs_f64() * 1000.0, pass.items as f64)
}

/// forebay's rate over the bare loop's, round by round.
pub fn ratio(rounds: &[Round]) -> Spread {
    spread(rounds.iter().map(|round| per(per_second(&round.forebay), per_second(&round.bare))))
}

/// The same by processor time: below 1, forebay needs less of it for a row.
pub fn cpu_ratio(rounds: &[Round]) -> Spread {
    spread(rounds.iter().map(|round| per(cpu_s_per_1000(&round.forebay), cpu_s_per_1000(&round.bare))))
}

/// Percentiles of all times between batches.
pub fn batch_times(rounds: &[Round]) -> BatchTimes {
    let mut gaps: Vec<Duration> = rounds.iter().flat_map(|round| round.forebay.gaps.clone()).collect();
    gaps.sort_unstable();
    let us = |percent| percentile_us(&gaps, percent);
    let twentieths_us = std::array::from_fn(|twentieth| us(5 * twentieth));
    BatchTimes { p50_us: us(50), p90_us: us(90), p99_us: us(99), twentieths_us }
}

/// The nearest rank of sorted times; 0 where there are none.
pub fn percentile_us(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn per(what: f64, each: f64) -> f64 {
    if each > 0.0 { what / each } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(items: u64, wall_ms: u64, cpu_ms: u64) -> Pass {
        let (wall, cpu) = (Duration::from_millis(wall_ms), Duration::from_millis(cpu_ms));
        Pass { items, wall, cpu, encoded_bytes: items * 1_000_000, ..Pass::default() }
    }

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Spread { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, low: 1.0, high: 4.0 });
        assert_eq!(spread([]), Spread::default());
    }

    #[test]
    fn rates_and_processor_time_are_of_one_round_each() {
        let found = figures(&[&pass(100, 1000, 200), &pass(300, 1000, 300)]);
        assert_eq!(found.per_second, Spread { median: 200.0, low: 100.0, high: 300.0 });
        assert_eq!(found.cpu_s_per_1000, Spread { median: 1.5, low: 1.0, high: 2.0 });
        assert_eq!((found.encoded_gb_per_s, found.batch_gb_per_s), (0.2, 0.0));
    }

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        let rounds = [
            Round { forebay: pass(90, 1000, 10), bare: pass(100, 1000, 10) },
            Round { forebay: pass(40, 1000, 10), bare: pass(50, 1000, 20) },
        ];
        assert_eq!(ratio(&rounds), Spread { median: f64::midpoint(0.8, 0.9), low: 0.8, high: 0.9 });
        assert!(cpu_ratio(&rounds).low < cpu_ratio(&rounds).high);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<_> = (1..=200).map(Duration::from_micros).collect();
        let us = |times: &[Duration], percent| percentile_us(times, percent).round() as u64;
        assert_eq!((us(&times, 50), us(&times, 99), us(&times, 100)), (100, 198, 200));
        assert_eq!((us(&times[..1], 99), us(&[], 50)), (1, 0));
    }

    #[test]
    fn a_side_that_did_nothing_has_no_rate() {
        assert_eq!(figures(&[&Pass::default()]), Figures::default());
    }
}
