//! Steps whose loss stood out from those before them: a moving baseline, and a short list of the worst.

use super::Stat;
use forebay_plan::orders::Pick;

/// How much a step moves the baseline: it follows some hundred steps.
const FOLLOWS: f64 = 0.02;
/// Steps before the baseline is worth a comparison.
const WARM_UP: u64 = 20;
/// A step stands out from here on, in standard deviations.
const STANDS_OUT: f64 = 4.0;
/// Steps that are kept of either kind: the first that were not finite, and the worst of the others.
pub const STEPS_KEPT: usize = 32;
/// Samples that are named of such a step.
const WORST: usize = 5;

/// A step that stood out.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<K = Pick> {
    /// Its epoch.
    pub epoch: u64,
    /// The first row of the rank's batch.
    pub first_row: u64,
    /// Samples of the batch that count.
    pub rows: u32,
    /// Whose batch.
    pub rank: u32,
    /// The mean of the finite losses.
    pub loss: Option<f64>,
    /// Losses that were no finite number.
    pub nan: u32,
    /// What steps before it had on average.
    pub usual: f64,
    /// Their standard deviation.
    pub spread: f64,
    /// `(loss - usual) / spread`.
    pub z: f64,
    /// Its samples with the highest losses, those that are not finite first.
    pub worst: Vec<(K, f32)>,
}

impl<K> Step<K> {
    /// The same step with its samples as something else.
    pub fn with_worst<L>(self, worst: Vec<(L, f32)>) -> Step<L> {
        let Self { epoch, first_row, rows, rank, loss, nan, usual, spread, z, .. } = self;
        Step { epoch, first_row, rows, rank, loss, nan, usual, spread, z, worst }
    }
}

/// The baseline of one ledger, and its steps that stood out.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    seen: u64,
    usual: f64,
    variance: f64,
    broken: Vec<Step>,
    high: Vec<Step>,
}

/// One step as it is reported.
pub(super) struct Reported<'a> {
    pub(super) epoch: u64,
    pub(super) first_row: u64,
    pub(super) rank: u32,
    /// The samples that count.
    pub(super) losses: &'a [(Pick, f32)],
}

impl Steps {
    /// Compares a step with those before it, and adds it to them.
    pub(super) fn note(&mut self, reported: &Reported<'_>) {
        let mut sums = Stat::default();
        reported.losses.iter().for_each(|&(_, loss)| sums.note(loss, 0, 0));
        let spread = self.variance.sqrt();
        // A baseline without any spread (one loss a class, say) would make a spike of each rounding.
        let floor = spread.max(1e-6 * self.usual.abs()).max(f64::MIN_POSITIVE);
        let z = sums.mean().map_or(0.0, |loss| (loss - self.usual) / floor);
        let is_high = self.seen >= WARM_UP && z >= STANDS_OUT;
        if sums.nan > 0 || is_high {
            self.keep(reported, &sums, z);
        }
        if let Some(loss) = sums.mean() {
            // What stands out moves the baseline only as far as what nearly does.
            let most = self.usual + STANDS_OUT * floor;
            self.follow(if is_high { loss.min(most) } else { loss });
        }
    }

    fn follow(&mut self, loss: f64) {
        self.seen += 1;
        // A plain mean at first, so that the first steps weigh no more than others.
        let share = FOLLOWS.max(1.0 / self.seen as f64);
        let apart = loss - self.usual;
        self.usual += share * apart;
        self.variance = (1.0 - share) * (self.variance + share * apart * apart);
    }

    fn keep(&mut self, reported: &Reported<'_>, sums: &Stat, z: f64) {
        let list = if sums.nan > 0 { &mut self.broken } else { &mut self.high };
        if list.len() == STEPS_KEPT {
            // The first broken step is the one to look at: what follows it is broken by it.
            if sums.nan > 0 {
                return;
            }
            let least = (0..list.len()).min_by(|&a, &b| list[a].z.total_cmp(&list[b].z));
            let least = least.expect("a full list");
            if list[least].z >= z {
                return;
            }
            list.swap_remove(least);
        }
        let z = if self.seen >= WARM_UP { z } else { 0.0 };
        list.push(Step {
            epoch: reported.epoch,
            first_row: reported.first_row,
            rows: reported.losses.len() as u32,
            rank: reported.rank,
            loss: sums.mean(),
            nan: sums.nan,
            usual: self.usual,
            spread: self.variance.sqrt(),
            z,
            worst: worst(reported.losses),
        });
    }

    /// Those that stood out, as [`sort`] has them.
    pub(super) fn list(&self) -> Vec<Step> {
        let mut all: Vec<_> = self.broken.iter().chain(&self.high).cloned().collect();
        sort(&mut all);
        all
    }
}

/// Those with losses that are no finite number first, oldest first; then by how far they stood out.
pub(super) fn sort<K>(steps: &mut [Step<K>]) {
    steps.sort_by(|a, b| {
        let broken = (b.nan > 0).cmp(&(a.nan > 0));
        let older = (a.epoch, a.first_row).cmp(&(b.epoch, b.first_row));
        let by_z = if a.nan > 0 { std::cmp::Ordering::Equal } else { b.z.total_cmp(&a.z) };
        broken.then(by_z).then(older)
    });
}

fn worst(losses: &[(Pick, f32)]) -> Vec<(Pick, f32)> {
    let height = |loss: f32| if loss.is_finite() { loss } else { f32::INFINITY };
    let mut sorted: Vec<_> = losses.to_vec();
    sorted.sort_by(|a, b| height(b.1).total_cmp(&height(a.1)));
    sorted.truncate(WORST);
    sorted
}

#[cfg(test)]
mod tests {
    use forebay_plan::SampleId;

    use super::*;

    fn note(steps: &mut Steps, first_row: u64, losses: &[f32]) {
        let pick = |sample: usize| Pick { source: 0, sample: SampleId(sample as u64), source_epoch: 0 };
        let losses: Vec<_> = losses.iter().enumerate().map(|(row, &loss)| (pick(row), loss)).collect();
        steps.note(&Reported { epoch: 0, first_row, rank: 0, losses: &losses });
    }

    /// Two hundred steps that fall from 5 to 3, with a little noise.
    fn trained(spikes: &[(u64, f32)]) -> Steps {
        let mut steps = Steps::default();
        for step in 0..200u64 {
            let noise = (step * 7919 % 100) as f32 / 500.0;
            let spike = spikes.iter().find(|(at, _)| *at == step).map_or(0.0, |(_, height)| *height);
            let loss = 5.0 - step as f32 / 100.0 + noise;
            note(&mut steps, step, &[loss, loss + spike, loss]);
        }
        steps
    }

    #[test]
    fn a_loss_that_falls_as_it_should_has_no_step_that_stands_out() {
        assert_eq!(trained(&[]).list(), []);
    }

    #[test]
    fn spikes_are_found_by_how_far_they_stand_out_with_the_sample_to_blame() {
        let found = trained(&[(60, 6.0), (120, 30.0), (121, 9.0)]).list();
        let rows: Vec<_> = found.iter().map(|step| step.first_row).collect();
        // The one behind the highest is compared with steps that are not as calm any more.
        assert_eq!(rows, [120, 60, 121], "{found:?}");
        assert_eq!(found[0].worst[0].0.sample, SampleId(1));
        assert!(found.iter().all(|step| step.z >= STANDS_OUT && step.usual < 5.2));
    }

    #[test]
    fn the_first_broken_steps_are_kept_and_come_first() {
        let mut steps = trained(&[(60, 30.0)]);
        (500..900).for_each(|row| note(&mut steps, row, &[1.0, f32::NAN]));
        let found = steps.list();
        assert_eq!(found.len(), STEPS_KEPT + 1);
        assert_eq!((found[0].first_row, found[0].nan, found[0].loss), (500, 1, Some(1.0)));
        assert!(found[0].worst[0].1.is_nan() && found[STEPS_KEPT].first_row == 60);
    }

    #[test]
    fn the_worst_are_kept_however_many_there_are() {
        let mut steps = trained(&[]);
        let heights = (0..1000u64).map(|step| (step, 40.0 + (step * 7919 % 1000) as f32));
        for (step, height) in heights {
            note(&mut steps, 1000 + step, &[height]);
            // Back to normal, so that the baseline stays.
            (0..20).for_each(|calm| note(&mut steps, 1000 + step, &[3.0 + calm as f32 / 100.0]));
        }
        let found = steps.list();
        assert_eq!(found.len(), STEPS_KEPT);
        assert!(found.iter().all(|step| step.loss.is_some_and(|loss| loss > 950.0)), "{found:?}");
    }
}
