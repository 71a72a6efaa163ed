//! Every metric's name, label and help, in one place.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::error::Kind;

pub(super) const KINDS: [Kind; 8] = [
    Kind::Invalid,
    Kind::NotFound,
    Kind::Unavailable,
    Kind::Corrupt,
    Kind::Internal,
    Kind::Unimplemented,
    Kind::Denied,
    Kind::Changed,
];

pub(super) struct Meters {
    pub(super) reads: Counter,
    pub(super) reads_shared: Counter,
    pub(super) read_bytes: Counter,
    pub(super) read_seconds: Histogram,
    pub(super) read_errors: [Counter; 8],
    pub(super) read_retries: Counter,
    pub(super) reads_hedged: Counter,
    pub(super) hedges_won: Counter,
    pub(super) reads_lost: Counter,
    pub(super) queue_seconds: [Histogram; 4],
    pub(super) samples: Counter,
    pub(super) decode_seconds: Histogram,
    pub(super) transform_seconds: Histogram,
    pub(super) bad_samples: [Counter; 3],
    pub(super) device_rows: [Counter; 2],
    pub(super) batches: Counter,
    pub(super) rows: Counter,
    pub(super) batch_bytes: Counter,
    pub(super) batch_seconds: Histogram,
    pub(super) feed_wait_seconds: [Histogram; 4],
    pub(super) batch_wait_seconds: Histogram,
    pub(super) consumer_seconds: [Histogram; 3],
    pub(super) slot_wait_seconds: Histogram,
    pub(super) sessions_opened: Counter,
    pub(super) sessions_ended: [Counter; 5],
    pub(super) opens_refused: [Counter; 8],
    pub(super) faults: [Counter; 8],
    pub(super) seeks: Counter,
    pub(super) releases_refused: Counter,
    pub(super) jobs_resolved: [Counter; 2],
    pub(super) resolve_seconds: Histogram,
    pub(super) fetches: [Counter; 2],
    pub(super) losses: [Counter; 2],
    pub(super) now: Gauges,
}

pub(super) struct Gauges {
    pub(super) sessions: Gauge,
    pub(super) slots: Gauge,
    pub(super) slots_leased: Gauge,
    pub(super) arena_bytes: Gauge,
    pub(super) arena_budget_bytes: Gauge,
    pub(super) reads_in_flight: Gauge,
    pub(super) read_bytes_in_flight: Gauge,
    pub(super) reads_hanging: Gauge,
    pub(super) read_budget_bytes: Gauge,
    pub(super) read_threads: Gauge,
    pub(super) decode_threads: Gauge,
    pub(super) jobs: Gauge,
    pub(super) draining: Gauge,
    pub(super) cpu_seconds: Counter,
    pub(super) rss_bytes: Gauge,
    pub(super) threads: Gauge,
    pub(super) open_fds: Gauge,
    pub(super) max_fds: Gauge,
}

impl Meters {
    /// Names all of them to the recorder that is installed, at zero.
    pub(super) fn register() -> Self {
        let by_kind = |name, help| counters(name, help, "kind", KINDS.map(Kind::name));
        let outcomes = ["ok", "error"];
        Self {
            reads: count("forebay_reads_total", "Reads that came back, whole or with an error."),
            read_bytes: count("forebay_read_bytes_total", "Encoded bytes read."),
            read_seconds: time(
                "forebay_read_seconds",
                "From when an engine took a read up until its bytes were there.",
            ),
            reads_shared: count(
                "forebay_reads_shared_total",
                "Reads that one read of the storage brought with their neighbours' in a file.",
            ),
            read_errors: by_kind(
                "forebay_read_errors_total",
                "Reads that came back with an error, asked again or not.",
            ),
            read_retries: count(
                "forebay_read_retries_total",
                "Reads asked again after an error that may pass.",
            ),
            reads_hedged: count(
                "forebay_reads_hedged_total",
                "Slow reads that a second one of the same bytes was started for.",
            ),
            hedges_won: count("forebay_hedges_won_total", "Second reads that came back before the first."),
            reads_lost: count("forebay_reads_lost_total", "Reads that never came back and were given up."),
            queue_seconds: times(
                "forebay_queue_seconds",
                "What waited its turn: samples for read budget (admission), reads for a thread (read), bytes for a decode thread (decode), batches for their consumer (delivery).",
                "queue",
                ["admission", "read", "decode", "delivery"],
            ),
            samples: count("forebay_samples_total", "Samples decoded and transformed, or found corrupt."),
            decode_seconds: time("forebay_decode_seconds", "Decoding of one sample."),
            transform_seconds: time(
                "forebay_transform_seconds",
                "Transforming one sample into its range of the batch.",
            ),
            bad_samples: counters(
                "forebay_bad_samples_total",
                "Corrupt samples, by what became of the row.",
                "verdict",
                ["fail", "substitute", "mask"],
            ),
            device_rows: counters(
                "forebay_device_rows_total",
                "Images drawn for a device, by who decodes them: the CPU does where a file is too long or not plain enough.",
                "decoder",
                ["device", "cpu"],
            ),
            batches: count("forebay_batches_total", "Batches announced to consumers."),
            rows: count("forebay_rows_total", "Valid rows in batches announced to consumers."),
            batch_bytes: count(
                "forebay_batch_bytes_total",
                "Tensor bytes in batches announced to consumers.",
            ),
            batch_seconds: time(
                "forebay_batch_seconds",
                "From when a batch got its slot until its last sample was in place.",
            ),
            feed_wait_seconds: times(
                "forebay_feed_wait_seconds",
                "What consumers waited for a batch, as they report it, by what the wait was for; the sums add up to the whole.",
                "cause",
                ["storage", "compute", "slot", "other"],
            ),
            batch_wait_seconds: time(
                "forebay_batch_wait_seconds",
                "What consumers waited for a batch, as they report it, whole.",
            ),
            consumer_seconds: times(
                "forebay_consumer_seconds",
                "What consumers did between two waits, as they report it: training (trainer), their own Python work on the batch (python), copying what they hold too long (copy).",
                "spent",
                ["trainer", "python", "copy"],
            ),
            slot_wait_seconds: time(
                "forebay_slot_wait_seconds",
                "What a batch that was next in order waited for a free slot.",
            ),
            sessions_opened: count("forebay_sessions_opened_total", "Sessions opened."),
            sessions_ended: counters(
                "forebay_sessions_ended_total",
                "Sessions ended, by why.",
                "end",
                ["closed", "client_died", "broken", "socket_failed", "not_attached"],
            ),
            opens_refused: by_kind("forebay_opens_refused_total", "Sessions refused, by kind of error."),
            faults: by_kind(
                "forebay_faults_total",
                "Streams that stopped with an error until their consumer asked again, by kind of error.",
            ),
            seeks: count("forebay_seeks_total", "Consumers that went on at another row."),
            releases_refused: count(
                "forebay_releases_refused_total",
                "Releases of slots that the client did not hold.",
            ),
            jobs_resolved: counters(
                "forebay_jobs_resolved_total",
                "Jobs opened, by outcome.",
                "outcome",
                outcomes,
            ),
            resolve_seconds: time("forebay_resolve_seconds", "Opening and naming the data of one job."),
            fetches: counters(
                "forebay_fetches_total",
                "Batches fetched by key, by outcome.",
                "outcome",
                outcomes,
            ),
            losses: counters(
                "forebay_losses_total",
                "Losses that training reported, by whether they are finite numbers.",
                "finite",
                ["yes", "no"],
            ),
            now: Gauges::register(),
        }
    }
}

impl Gauges {
    fn register() -> Self {
        build_info();
        started();
        Self {
            sessions: level("forebay_sessions", "Open sessions."),
            slots: level("forebay_slots", "Slots of all sessions."),
            slots_leased: level("forebay_slots_leased", "Slots that consumers hold."),
            arena_bytes: level("forebay_arena_bytes", "Shared memory that sessions have."),
            arena_budget_bytes: level(
                "forebay_arena_budget_bytes",
                "Shared memory that all sessions together may have.",
            ),
            reads_in_flight: level("forebay_reads_in_flight", "Reads submitted and not yet decoded."),
            read_bytes_in_flight: level(
                "forebay_read_bytes_in_flight",
                "Encoded bytes that reads in flight hold or are expected to need.",
            ),
            reads_hanging: level(
                "forebay_reads_hanging",
                "Threads of the storage engine that a read has held for more than 5 seconds.",
            ),
            read_budget_bytes: level("forebay_read_budget_bytes", "Encoded bytes that may be in flight."),
            read_threads: level("forebay_read_threads", "Reads at a time of the storage engine."),
            decode_threads: level("forebay_decode_threads", "Decode threads."),
            jobs: level("forebay_jobs", "Jobs kept open, used or not."),
            draining: level("forebay_draining", "1: no session is taken any more, 0: sessions are taken."),
            cpu_seconds: count(
                "process_cpu_seconds_total",
                "User and system time of the daemon, whole seconds.",
            ),
            rss_bytes: level(
                "process_resident_memory_bytes",
                "Resident memory, with what of the batches was written.",
            ),
            threads: level("process_threads", "Threads of the daemon."),
            open_fds: level("process_open_fds", "Open descriptors."),
            max_fds: level("process_max_fds", "Descriptors that may be open."),
        }
    }
}

fn build_info() {
    describe_gauge!("forebay_build_info", "Version and JPEG decoder, as labels; always 1.");
    let decoder = if cfg!(feature = "turbo") { "turbo" } else { "pure" };
    gauge!("forebay_build_info", "version" => env!("CARGO_PKG_VERSION"), "decoder" => decoder).set(1);
}

fn started() {
    let started =
        level("process_start_time_seconds", "When the daemon started to count, seconds since 1970.");
    started.set(std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64()));
}

fn count(name: &'static str, help: &'static str) -> Counter {
    describe_counter!(name, help);
    let counter = counter!(name);
    counter.increment(0);
    counter
}

fn counters<const N: usize>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    describe_counter!(name, help);
    values.map(|value| {
        let counter = counter!(name, label => value);
        counter.increment(0);
        counter
    })
}

fn level(name: &'static str, help: &'static str) -> Gauge {
    describe_gauge!(name, help);
    gauge!(name)
}

fn time(name: &'static str, help: &'static str) -> Histogram {
    describe_histogram!(name, help);
    histogram!(name)
}

fn times<const N: usize>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> [Histogram; N] {
    describe_histogram!(name, help);
    values.map(|value| histogram!(name, label => value))
}
