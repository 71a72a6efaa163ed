//! Which stage binds, and what to change first. Pure arithmetic over the stages' rates.

use serde::Serialize;

/// What the stages reached, each alone, and the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Samples a second that the engine reads.
    pub read: f64,
    /// Samples a second that are decoded from memory.
    pub decode: f64,
    /// Batches a second that are handed over.
    pub deliver_batches: f64,
    /// Samples a second of the whole path.
    pub whole: f64,
    /// Processor seconds of a sample: read and decode, each alone.
    pub cpu_s_per_sample: f64,
    /// Rows of a batch.
    pub batch: u32,
    /// Decode threads.
    pub threads: usize,
    /// Processors of this process.
    pub processors: usize,
}

/// Which stage binds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// `read`, `decode`, `deliver`, or `processors` where the stages share them.
    pub binds: &'static str,
    /// Samples a second that the whole path can't pass for it.
    pub ceiling_per_s: f64,
    /// The whole path over that.
    pub reached: f64,
    /// What to change first.
    pub advice: String,
}

/// Below this share of the ceiling, something that no stage shows holds the path up.
const EXPECTED_SHARE: f64 = 0.85;

/// Finds the lowest ceiling.
pub fn judge(rates: &Rates) -> Verdict {
    let shared = if rates.cpu_s_per_sample > 0.0 {
        rates.processors as f64 / rates.cpu_s_per_sample
    } else {
        f64::INFINITY
    };
    let ceilings = [
        ("read", rates.read),
        ("decode", rates.decode),
        ("deliver", rates.deliver_batches * f64::from(rates.batch)),
        ("processors", shared),
    ];
    let (binds, ceiling_per_s) =
        ceilings.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are four");
    let reached = if ceiling_per_s > 0.0 { rates.whole / ceiling_per_s } else { 0.0 };
    Verdict { binds, ceiling_per_s, reached, advice: advice(rates, binds, reached) }
}

fn advice(rates: &Rates, binds: &str, reached: f64) -> String {
    if reached < EXPECTED_SHARE {
        return "the whole path stays well below its slowest stage: see what else runs on this machine, and repeat with \
                more --seconds; if it stays, the consumer's wait says where"
            .to_owned();
    }
    match binds {
        "read" => "storage: more reads at a time (read_threads), faster or nearer storage, smaller files",
        "deliver" => "the hand-over: more rows a batch (--batch)",
        _ if rates.threads < rates.processors => {
            return format!(
                "decoding has {} threads on {} processors: give it more (--threads)",
                rates.threads, rates.processors
            );
        }
        "processors" => {
            "every processor is busy reading and decoding: more of them, or smaller stored images"
        }
        _ => "decoding takes all its processors: more of them, or smaller stored images",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        read: 90_000.0,
        decode: 2000.0,
        deliver_batches: 30_000.0,
        whole: 1900.0,
        cpu_s_per_sample: 0.000_5,
        batch: 256,
        threads: 2,
        processors: 2,
    };

    #[test]
    fn the_slowest_stage_binds() {
        let verdict = judge(&RATES);
        assert_eq!((verdict.binds, verdict.ceiling_per_s, verdict.reached), ("decode", 2000.0, 0.95));
        assert_eq!(judge(&Rates { read: 1950.0, ..RATES }).binds, "read");
        let slow = judge(&Rates { deliver_batches: 7.5, ..RATES });
        assert_eq!((slow.binds, slow.ceiling_per_s), ("deliver", 1920.0));
    }

    #[test]
    fn stages_that_share_their_processors_bind_together() {
        let verdict = judge(&Rates { cpu_s_per_sample: 0.001_04, ..RATES });
        assert_eq!((verdict.binds, verdict.ceiling_per_s.round()), ("processors", 1923.0));
    }

    #[test]
    fn idle_processors_are_the_first_thing_to_use() {
        let verdict = judge(&Rates { threads: 1, ..RATES });
        assert!(verdict.advice.contains("1 threads on 2 processors"), "{}", verdict.advice);
        assert!(judge(&RATES).advice.contains("more of them"));
    }

    #[test]
    fn a_path_far_below_its_stages_is_not_blamed_on_one() {
        let verdict = judge(&Rates { whole: 900.0, ..RATES });
        assert!(verdict.advice.contains("what else runs"), "{}", verdict.advice);
    }
}
