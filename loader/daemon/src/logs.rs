//! Log lines on standard error: text for people, JSON for collectors.

use std::io::stderr;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::error::{Fault, with_causes};
use crate::terminal;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One object a line: timestamp, level, target, message, the event's fields, and what it is about in `span`.
    Json,
}

/// Logs from here on.
///
/// * `filter`: a level, or a filter as in `forebay=debug`.
///
/// # Errors
/// Invalid: the filter is none.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Fault> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Fault::invalid(format!("--log {filter:?}: {}", with_causes(&error)))
            .hint("as in --log debug or --log forebay::session=trace,warn")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Text => lines.with_ansi(terminal::colours(&stderr())).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}
