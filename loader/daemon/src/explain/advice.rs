//! The first thing to change, with the measurements it rests on, in words.

use super::split::{Mix, Parts};
use super::{Cause, Evidence, PoolFacts};

/// From this share on, threads or a budget count as used up: the rest is the time between two reads.
const USED_UP_FROM: f64 = 0.7;
/// The furthest that one step of advice goes: what a change does is to be looked at before the next.
const STEP_MAX: f64 = 8.0;

/// Advice and detail for a cause.
pub fn advise(cause: Option<Cause>, sum: &Parts, mix: &Mix, evidence: &Evidence) -> (String, String) {
    let facts = Facts { sum, mix, evidence };
    match cause {
        None => (
            "take a few batches first: there is nothing yet to judge".to_owned(),
            format!("{} batches were announced", evidence.steps_seen),
        ),
        Some(Cause::Trainer) => facts.trainer(),
        Some(Cause::Storage) => facts.storage(),
        Some(Cause::Decode) => facts.decode(),
        Some(Cause::Transform) => facts.transform(),
        Some(Cause::Throttled) => facts.throttled(),
        Some(Cause::Processors) => facts.processors(),
        Some(Cause::Slots) => facts.slots(),
        Some(Cause::Python) => facts.python(),
        Some(Cause::HandOver) => facts.hand_over(),
    }
}

struct Facts<'a> {
    sum: &'a Parts,
    mix: &'a Mix,
    evidence: &'a Evidence,
}

impl Facts<'_> {
    fn trainer(&self) -> (String, String) {
        let loader = 1.0 - self.share(Cause::Trainer);
        (
            "nothing in the loader: batches stand ready, and the trainer is the limit".to_owned(),
            format!(
                "the trainer works {:.1} of each {:.1} ms step; a loader that cost nothing would save {:.0} %",
                self.step_ms(Cause::Trainer),
                self.total_ms(),
                loader * 100.0
            ),
        )
    }

    fn storage(&self) -> (String, String) {
        let Evidence { pool, consumer, .. } = self.evidence;
        let (reading, queued) = self.mix.reads_at_a_time();
        if self.mix.worked.reads == 0 {
            let advice = "look at the storage: no read came back in the time that was looked at".to_owned();
            return (advice, format!("{} reads may be under way", pool.reads_in_flight));
        }
        let admitted = reading + queued;
        let mean_bytes = self.mix.worked.read_bytes as f64 / self.mix.worked.reads as f64;
        // How many times as many reads it takes until the storage is no part of the step.
        let factor = (1.0 / (1.0 - self.share(Cause::Storage)).max(0.01)).clamp(2.0, STEP_MAX);
        let more = |now: f64| (now * factor).ceil();
        let readers = pool.readers(reading);
        let advice = if reading >= USED_UP_FROM * readers.at_a_time as f64 {
            if readers.value < readers.enough {
                let wanted = (more(readers.value as f64) as usize).min(readers.enough);
                let change = setting(pool, readers.setting, readers.value, wanted);
                format!("{change}: every one of them is busy, so more reads at a time is what helps")
            } else {
                "use faster storage, or fewer and larger files: so many reads at a time are no longer the limit"
                    .to_owned()
            }
        } else if admitted >= USED_UP_FROM * f64::from(pool.reads_in_flight) {
            let reads = more(f64::from(pool.reads_in_flight)) as usize;
            let change = setting(pool, "reads_in_flight", pool.reads_in_flight as usize, reads);
            format!("{change}: all of them are admitted, and read threads stand idle")
        } else if admitted * mean_bytes >= USED_UP_FROM * pool.read_budget_bytes as f64 {
            let mib = more(pool.read_budget_bytes as f64 / f64::from(1 << 20));
            format!(
                "set read_budget = \"{mib}MiB\" in the daemon's configuration: its {:.0} MiB are full, and read threads stand idle",
                pool.read_budget_bytes as f64 / f64::from(1 << 20)
            )
        } else {
            let depth = more(f64::from(consumer.depth));
            format!(
                "pass prefetch={depth:.0} to the loader (it is {}): too few reads are asked for at a time, and read threads stand idle",
                consumer.depth
            )
        };
        (advice, self.storage_detail(reading, queued, mean_bytes))
    }

    fn storage_detail(&self, reading: f64, queued: f64, mean_bytes: f64) -> String {
        let worked = &self.mix.worked;
        let readers = self.evidence.pool.readers(reading);
        format!(
            "a read takes {} on average and {} at the 99th percentile, for {} (engine {}); {reading:.1} of {} {} are busy \
             and {queued:.1} reads wait for one; {}/s while batches are made; if reads get slower as more run at a time, the storage itself is the limit",
            time(worked.read_us as f64 / worked.reads as f64),
            time(self.evidence.read_p99_us as f64),
            size(mean_bytes),
            self.evidence.pool.engine,
            readers.at_a_time,
            readers.words,
            size(worked.read_bytes as f64 / self.mix.sealed_us.max(1) as f64 * 1e6),
        )
    }

    fn decode(&self) -> (String, String) {
        let advice = self.more_threads().unwrap_or_else(|| {
            format!(
                "make decoding cheaper, or give the loader more than these {} processors: store images at a smaller size \
                 (they have {} each), or in fewer bytes a pixel",
                self.evidence.machine.processors,
                size(self.mean_encoded_bytes())
            )
        });
        (advice, self.compute_detail())
    }

    fn transform(&self) -> (String, String) {
        let advice = self.more_threads().unwrap_or_else(|| {
            "make the transforms cheaper: deliver uint8 and normalise on the GPU, or a smaller output size".to_owned()
        });
        (advice, self.compute_detail())
    }

    /// Where processors stand beside too few decode threads.
    fn more_threads(&self) -> Option<String> {
        let (threads, processors) = (self.evidence.pool.cpu_threads, self.evidence.machine.usable_processors);
        (threads < processors).then(|| {
            let change = setting(&self.evidence.pool, "cpu_threads", threads, processors);
            format!("{change}: the daemon may run on {processors} processors")
        })
    }

    fn throttled(&self) -> (String, String) {
        let (quota, busy) = (self.mix.quota_processors, self.mix.busy_threads());
        let wanted = busy.min(self.evidence.machine.processors as f64).max(quota * 2.0);
        (
            format!(
                "raise the cgroup's processor quota from {quota:.2} to {wanted:.1} or more (cpu.max, or cpu.cfs_quota_us; in Kubernetes, \
                 the container's cpu limit)"
            ),
            format!(
                "the quota is used up in {:.0} % of its periods, and everything stands still until the next; {busy:.1} of {} decode \
                 threads have a sample in hand",
                self.mix.stopped_periods * 100.0,
                self.evidence.pool.cpu_threads
            ),
        )
    }

    fn processors(&self) -> (String, String) {
        (
            "free processors for the decode threads: fewer threads in the trainer (torch.set_num_threads, OMP_NUM_THREADS), or other \
             jobs elsewhere"
                .to_owned(),
            self.compute_detail(),
        )
    }

    fn compute_detail(&self) -> String {
        let Evidence { pool, machine, .. } = self.evidence;
        let worked = &self.mix.worked;
        let (busy, off) = (worked.busy_us.max(1) as f64, worked.off_cpu_us as f64);
        let samples = worked.reads.max(1) as f64;
        let load = machine.load_average.map_or(String::new(), |load| format!("; load average {load:.1}"));
        format!(
            "{:.1} of {} decode threads are busy, on {} processors; a sample takes {}, {:.0} % of it decoding; {:.0} % of the time a \
             thread with a sample in hand has no processor{load}",
            self.mix.busy_threads(),
            pool.cpu_threads,
            machine.processors,
            time(busy / samples),
            worked.decode_us as f64 / busy * 100.0,
            (off / busy).min(1.0) * 100.0,
        )
    }

    fn slots(&self) -> (String, String) {
        let leases = self.evidence.consumer.max_leases;
        let copied =
            |step: &&crate::session::history::PastStep| step.spent.is_some_and(|spent| spent.copied_us > 0);
        let copies = self.evidence.steps.iter().filter(copied).count();
        (
            format!(
                "drop batches before asking for the next: the trainer holds more than max_leases = {leases}; where it must, pass \
                 a larger max_leases to the loader"
            ),
            format!(
                "{copies} of {} batches were copied to ordinary memory because no slot may be held any more: {:.1} ms of each {:.1} ms step",
                self.evidence.steps.len(),
                self.step_ms(Cause::Slots),
                self.total_ms()
            ),
        )
    }

    fn python(&self) -> (String, String) {
        (
            "make batch_transform cheaper: do it with the loader's own transforms, on the GPU, or in another thread".to_owned(),
            format!(
                "the training process spends {:.1} ms of each {:.1} ms step in Python work on the batch, while nothing else of \
                 it goes on",
                self.step_ms(Cause::Python),
                self.total_ms()
            ),
        )
    }

    fn hand_over(&self) -> (String, String) {
        let load = self.evidence.machine.load_average.map_or(String::new(), |load| {
            format!("; load average {load:.1} on {} processors", self.evidence.machine.processors)
        });
        (
            "look for a busy machine or a daemon that was restarted: batches were ready and came late"
                .to_owned(),
            format!(
                "{:.1} ms of each {:.1} ms step are neither reading nor decoding nor the trainer{load}",
                self.step_ms(Cause::HandOver),
                self.total_ms()
            ),
        )
    }

    fn share(&self, cause: Cause) -> f64 {
        self.sum.of(cause) as f64 / self.sum.total().max(1) as f64
    }

    fn step_ms(&self, cause: Cause) -> f64 {
        self.sum.of(cause) as f64 / 1000.0 / self.evidence.steps.len().max(1) as f64
    }

    fn total_ms(&self) -> f64 {
        self.sum.total() as f64 / 1000.0 / self.evidence.steps.len().max(1) as f64
    }

    fn mean_encoded_bytes(&self) -> f64 {
        self.mix.worked.read_bytes as f64 / self.mix.worked.reads.max(1) as f64
    }
}

/// How a setting of the daemon is changed.
fn setting(pool: &PoolFacts, name: &str, now: usize, wanted: usize) -> String {
    let has_variable = matches!(name, "cpu_threads" | "read_threads");
    if pool.is_private && has_variable {
        let variable = format!("FOREBAY_{}", name.to_uppercase());
        return format!("set {name} = {wanted} (it is {now}): start the training with {variable}={wanted}");
    }
    format!("set {name} = {wanted} in the daemon's configuration (it is {now})")
}

/// Microseconds in the unit that fits.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 100_000.0 => format!("{:.1} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// Bytes in the unit that fits.
pub fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e3 => format!("{bytes:.0} B"),
        bytes if bytes < 1e6 => format!("{:.0} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}
