//! The ratio of two means with the interval that their rounds allow.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// A ratio of rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the geometric means.
    pub value: f64,
    /// The 95 % interval; absent where a side has one round.
    pub low: Option<f64>,
    /// As above.
    pub high: Option<f64>,
}

impl Ratio {
    /// Whether the interval leaves 1 out; `None` where there is none.
    pub fn outside_noise(&self) -> Option<bool> {
        Some(self.low? > 1.0 || self.high? < 1.0)
    }
}

impl Display for Ratio {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (Some(low), Some(high)) => {
                f.pad(&format!("{:.2} ({} to {})", self.value, bounded(low), bounded(high)))
            }
            _ => f.pad(&format!("{:.2}", self.value)),
        }
    }
}

/// Two rounds can have an interval of many orders of magnitude; nobody reads its digits.
fn bounded(bound: f64) -> String {
    match bound {
        bound if bound >= 100.0 => ">100".to_owned(),
        bound if bound < 0.01 => "<0.01".to_owned(),
        bound => format!("{bound:.2}"),
    }
}

/// `now` over `before`: Welch's interval of the difference of the logarithms' means, since rates vary by shares.
///
/// Source: B. L. Welch, "The generalization of Student's problem when several different population variances are
/// involved", 1947.
pub fn ratio(before: &[f64], now: &[f64]) -> Ratio {
    let (before, now) = (Mean::of(before), Mean::of(now));
    let difference = now.mean - before.mean;
    let ratio = if difference.is_finite() { difference.exp() } else { 0.0 };
    let interval = before.error2.zip(now.error2).map(|((a, a_freedom), (b, b_freedom))| {
        let error2 = a + b;
        if error2 == 0.0 {
            return (ratio, ratio);
        }
        let freedom = error2.powi(2) / (a.powi(2) / a_freedom + b.powi(2) / b_freedom);
        let half = student_975(freedom) * error2.sqrt();
        ((difference - half).exp(), (difference + half).exp())
    });
    Ratio { value: ratio, low: interval.map(|bounds| bounds.0), high: interval.map(|bounds| bounds.1) }
}

/// The mean of logarithms, the square of its standard error, and its degrees of freedom.
struct Mean {
    mean: f64,
    error2: Option<(f64, f64)>,
}

impl Mean {
    fn of(values: &[f64]) -> Self {
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let error2 = (logs.len() > 1).then(|| (squares / (count - 1.0) / count, count - 1.0));
        Self { mean, error2 }
    }
}

/// The 97.5 % quantile of Student's t. Rounded down to whole degrees of freedom, which makes intervals wider.
fn student_975(freedom: f64) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    TABLE.get((freedom as usize).max(1) - 1).copied().unwrap_or(TABLE[29])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_welchs() {
        // scipy.stats.ttest_ind(log(now), log(before), equal_var=False) gives 1.0477 to 1.1483 at 2.28 degrees of freedom,
        // which are rounded down to 2 here: a bit wider.
        let found = ratio(&[100.0, 102.0, 98.0], &[110.0, 109.0, 110.0]);
        assert!((found.value - 1.0968).abs() < 0.0001, "{found:?}");
        let (low, high) = (found.low.expect("rounds"), found.high.expect("rounds"));
        assert!((1.04..1.0477).contains(&low) && (1.1483..1.16).contains(&high), "{found:?}");
        assert_eq!(found.outside_noise(), Some(true));
    }

    #[test]
    fn equal_rounds_have_a_sharp_ratio_and_single_ones_no_interval() {
        assert_eq!(ratio(&[10.0, 10.0], &[20.0, 20.0]).to_string(), "2.00 (2.00 to 2.00)");
        let single = ratio(&[10.0], &[5.0]);
        assert_eq!((single.to_string().as_str(), single.outside_noise()), ("0.50", None));
    }

    #[test]
    fn fewer_rounds_make_the_interval_wider() {
        let width = |values: &[f64]| {
            let found = ratio(values, values);
            found.high.expect("rounds") - found.low.expect("rounds")
        };
        assert!(width(&[9.0, 11.0]) > width(&[9.0, 11.0, 9.0, 11.0]));
        assert!((student_975(1.5) - 12.706).abs() < 1e-9);
        assert!((student_975(1e9) - 2.042).abs() < 1e-9);
    }
}
