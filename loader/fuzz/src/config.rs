//! A node's configuration, and the sizes, times and addresses that its options take.

use forebay::config::{Bytes, Config, MetricsListen, Seconds};

/// A configuration file; each of its lines is tried as an option's value too.
pub fn config(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    for line in text.lines() {
        let _ = (line.parse::<Bytes>(), line.parse::<Seconds>());
        if let Ok(listen) = line.parse::<MetricsListen>() {
            assert_eq!(listen.to_string().parse(), Ok(listen));
        }
    }
    let Ok(config) = Config::parse(text) else { return false };
    let options = config.pool_options();
    assert!(options.cpu_threads > 0 && options.budget.bytes > 0 && options.budget.reads > 0);
    assert!((1..=1024).contains(&config.read_threads_on(1).get()));
    assert!(config.read_threads_on(100_000).get() <= 1024);
    let _ = config.arena_budget_bytes();
    true
}
