//! Log output on standard error, as text or as one JSON object a line.

use std::fmt;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::args::TelemetryArgs;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log collectors.
    #[default]
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Sends log lines to standard error as `args` say.
///
/// Where a subscriber is already installed, as in tests that share a process, that one stays and this does nothing.
pub fn init(args: &TelemetryArgs) {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        LogFormat::Text => layer.with_filter(args.log_level.clone()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(args.log_level.clone()).boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Reads a log filter: a level (`info`) or levels by module (`info,hyper=warn`).
///
/// # Errors
/// With a message for the user when the text is no such list.
pub fn parse_filter(text: &str) -> Result<Targets, String> {
    text.parse().map_err(|error| {
        format!("{error}; write a level (off, error, warn, info, debug, trace) or a list like info,hyper=warn")
    })
}
