//! Log output on standard error, as text or as one JSON object a line.

use std::fmt;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
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
    let _ = tracing_subscriber::registry().with(layer(args, std::io::stderr)).try_init();
}

fn layer<W>(args: &TelemetryArgs, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match args.log_format {
        LogFormat::Text => layer.with_ansi(false).with_filter(args.log_level.clone()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(args.log_level.clone()).boxed(),
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, log_format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let args = TelemetryArgs { log_level: parse_filter(level).unwrap(), log_format };
        let subscriber = tracing_subscriber::registry().with(layer(&args, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_at_its_top() {
        let text = logged("info", LogFormat::Json, || {
            tracing::info!(session = "report-1", "line one\nline two");
            tracing::warn!("second");
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with('{') && lines[0].ends_with('}'), "{text}");
        assert!(lines[0].contains(r#""session":"report-1""#) && lines[0].contains(r"line one\nline two"), "{text}");
        assert!(lines[0].contains(r#""level":"INFO""#) && lines[0].contains(r#""timestamp":""#), "{text}");
    }

    #[test]
    fn text_is_plain_and_the_filter_holds_by_module() {
        let text = logged("warn,exeat=debug", LogFormat::Text, || {
            tracing::debug!(target: "exeat::issuer", "kept");
            tracing::info!(target: "hyper", "dropped");
            tracing::warn!(target: "hyper", "kept too");
        });
        assert!(text.contains("kept") && text.contains("kept too") && !text.contains("dropped"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours: {text:?}");
    }

    #[test]
    fn a_second_subscriber_does_no_harm() {
        let args = TelemetryArgs { log_level: parse_filter("off").unwrap(), log_format: LogFormat::Text };
        init(&args);
        init(&args);
    }

    #[test]
    fn a_bad_filter_is_refused_with_the_fix() {
        let error = parse_filter("hyper=loud").unwrap_err();
        assert!(error.contains("info,hyper=warn"), "{error}");
    }
}
