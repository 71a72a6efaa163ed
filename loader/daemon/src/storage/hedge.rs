//! When a read is slow enough that a second one of the same bytes is worth starting.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Below this a second read only adds to what the first one waits for.
const LEAST: Duration = Duration::from_millis(20);
/// A read this many times slower than nineteen of twenty is one that got lost, and no large one.
const TIMES_P95: u32 = 3;

/// After how long a read is asked for a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HedgeAfter {
    /// Never.
    Off,
    /// On remote file systems, after three times what 95 of 100 of the session's reads take, and not before 20 ms.
    #[default]
    Auto,
    /// So long, wherever the file lies.
    Time(Duration),
}

impl HedgeAfter {
    /// When a read gets a second one, if ever. `p95`: what 95 of 100 reads took, where enough of them are known.
    pub fn of(self, is_remote: bool, p95: impl FnOnce() -> Option<Duration>) -> Option<Duration> {
        match self {
            Self::Time(after) => Some(after),
            Self::Auto if is_remote => p95().map(|p95| LEAST.max(p95 * TIMES_P95)),
            Self::Auto | Self::Off => None,
        }
    }

    /// No read is ever asked for a second time before this; `None`: none is at all.
    pub fn least(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Time(after) => Some(after),
            Self::Auto => Some(LEAST),
        }
    }
}

impl FromStr for HedgeAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |unit, us: u64| {
            let number = text.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
            number.checked_mul(us).filter(|us| *us > 0).map(Duration::from_micros)
        };
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            _ => time("ms", 1000).or_else(|| time("s", 1_000_000)).map(Self::Time).ok_or_else(|| {
                format!("{text:?} is no hedge_after: write \"auto\", \"off\" or a time, as in \"50ms\"")
            }),
        }
    }
}

impl<'de> Deserialize<'de> for HedgeAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn by_itself_only_remote_files_are_read_twice_and_never_the_merely_large() {
        let auto = |is_remote, p95: Option<u32>| HedgeAfter::Auto.of(is_remote, || p95.map(|p95| p95 * MS));
        assert_eq!(auto(false, Some(30)), None);
        assert_eq!(auto(true, Some(30)), Some(90 * MS));
        assert_eq!(auto(true, Some(2)), Some(20 * MS));
        assert_eq!(auto(true, None), None, "too few reads to judge by");
    }

    #[test]
    fn a_time_holds_everywhere_and_off_means_never() {
        for is_remote in [false, true] {
            let unasked = || panic!("it does not matter");
            assert_eq!(HedgeAfter::Time(50 * MS).of(is_remote, unasked), Some(50 * MS));
            assert_eq!(HedgeAfter::Off.of(is_remote, unasked), None);
        }
    }

    #[test]
    fn it_is_written_as_auto_off_or_a_time() {
        let read = |text: &str| text.parse::<HedgeAfter>();
        assert_eq!(read("auto"), Ok(HedgeAfter::Auto));
        assert_eq!(read("off"), Ok(HedgeAfter::Off));
        assert_eq!(
            (read("50ms"), read("2 s")),
            (Ok(HedgeAfter::Time(50 * MS)), Ok(HedgeAfter::Time(2000 * MS)))
        );
        for wrong in ["", "0ms", "5", "-1s", "on", "5min"] {
            assert!(read(wrong).is_err_and(|error| error.contains("as in \"50ms\"")), "{wrong}");
        }
    }
}
