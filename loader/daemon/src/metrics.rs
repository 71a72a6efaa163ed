//! Every metric: its name, unit and help, and one function an event.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};

const READS: &str = "forebay_reads_total";
const READ_BYTES: &str = "forebay_read_bytes_total";
const READ_SECONDS: &str = "forebay_read_seconds";
const READ_QUEUE_SECONDS: &str = "forebay_read_queue_seconds";
const READ_RETRIES: &str = "forebay_read_retries_total";
const SAMPLES: &str = "forebay_samples_total";
const SAMPLE_SECONDS: &str = "forebay_sample_seconds";
const BAD_SAMPLES: &str = "forebay_bad_samples_total";
const BATCHES: &str = "forebay_batches_total";
const ROWS: &str = "forebay_rows_total";
const BATCH_BYTES: &str = "forebay_batch_bytes_total";
const RELEASES_REFUSED: &str = "forebay_releases_refused_total";

/// Tells the recorder, if one is installed, what each metric is.
pub fn describe() {
    describe_counter!(READS, "reads that came back, whole or with an error");
    describe_counter!(READ_BYTES, "encoded bytes read");
    describe_histogram!(READ_SECONDS, "from when an engine took a read up until its bytes were there");
    describe_histogram!(READ_QUEUE_SECONDS, "from when a read was submitted until an engine took it up");
    describe_counter!(READ_RETRIES, "reads asked again after an error that may pass");
    describe_counter!(SAMPLES, "samples decoded and transformed");
    describe_histogram!(SAMPLE_SECONDS, "decode and transform of one sample");
    describe_counter!(BAD_SAMPLES, "samples found corrupt");
    describe_counter!(BATCHES, "batches announced to consumers");
    describe_counter!(ROWS, "valid rows in them");
    describe_counter!(BATCH_BYTES, "tensor bytes in them");
    describe_counter!(RELEASES_REFUSED, "releases of slots that the client did not hold");
}

/// A read came back.
pub fn read_done(bytes: u64, queued: Duration, took: Duration) {
    counter!(READS).increment(1);
    counter!(READ_BYTES).increment(bytes);
    histogram!(READ_SECONDS).record(took.as_secs_f64());
    histogram!(READ_QUEUE_SECONDS).record(queued.as_secs_f64());
}

/// A read will be asked again.
pub fn read_retried() {
    counter!(READ_RETRIES).increment(1);
}

/// A sample was decoded and transformed, or found corrupt, in this time.
pub fn sample_made(took: Duration) {
    counter!(SAMPLES).increment(1);
    histogram!(SAMPLE_SECONDS).record(took.as_secs_f64());
}

/// A sample was corrupt.
pub fn sample_bad() {
    counter!(BAD_SAMPLES).increment(1);
}

/// A batch was announced.
pub fn batch_delivered(bytes: u64, valid_rows: u32) {
    counter!(BATCHES).increment(1);
    counter!(ROWS).increment(u64::from(valid_rows));
    counter!(BATCH_BYTES).increment(bytes);
}

/// A client released what it did not hold.
pub fn release_refused() {
    counter!(RELEASES_REFUSED).increment(1);
}
