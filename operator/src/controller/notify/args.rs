use clap::{Args, ValueEnum};
use exeat_runtime::args::parse_duration;
use std::path::PathBuf;
use std::time::Duration;

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object with all that approvers should know.
    #[default]
    Generic,
    /// `{"text": …}`, as Slack and what is compatible with it take it.
    Slack,
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// An approval waits for people.
    Pending,
    /// It still does, and three quarters of its time are over.
    Reminder,
    /// It was decided, or nobody did in time.
    Decided,
}

/// Whom to tell by HTTP what waits for people.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Notifications")]
pub struct NotifyArgs {
    /// File with the URL that messages about approvals are posted to; it is read again for each [default: nobody is told].
    #[arg(long, env = "EXEAT_NOTIFY_URL_FILE", value_name = "FILE")]
    pub notify_url_file: Option<PathBuf>,

    /// How messages about approvals are written.
    #[arg(long, env = "EXEAT_NOTIFY_FORMAT", value_enum, default_value_t)]
    pub notify_format: Format,

    /// How often a message about approvals is sent at most: what comes in between is one message.
    #[arg(long, env = "EXEAT_NOTIFY_INTERVAL", default_value = "30s", value_parser = interval)]
    pub notify_interval: Duration,

    /// What messages tell of.
    #[arg(long, env = "EXEAT_NOTIFY_EVENTS", value_enum, value_delimiter = ',', default_values_t = [EventKind::Pending, EventKind::Reminder])]
    pub notify_events: Vec<EventKind>,

    /// PEM file with the only roots that are trusted for messages about approvals [default: the system's].
    #[arg(long, env = "EXEAT_NOTIFY_CA", value_name = "FILE")]
    pub notify_ca: Option<PathBuf>,

    /// Let the URL in --notify-url-file be an http one: for a receiver in this cluster. Everybody on the way can then read it.
    #[arg(long, env = "EXEAT_NOTIFY_ALLOW_HTTP")]
    pub notify_allow_http: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval);
    fits.then_some(interval).ok_or_else(|| "write 1s to 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        notify: NotifyArgs,
    }

    fn parse(args: &[&str]) -> Result<NotifyArgs, String> {
        let args = std::iter::once("x").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.notify).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_is_told_by_default_and_mistakes_are_named() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.notify_url_file, args.notify_interval), (None, Duration::from_secs(30)));
        assert_eq!(args.notify_events, [EventKind::Pending, EventKind::Reminder]);
        assert_eq!(parse(&["--notify-events=decided"]).unwrap().notify_events, [EventKind::Decided]);
        assert!(parse(&["--notify-allow-http"]).unwrap().notify_allow_http);
        for (wrong, named) in [
            ("--notify-interval=0", "1s to 1h"),
            ("--notify-interval=2h", "1s to 1h"),
            ("--notify-events=all", "pending, reminder, decided"),
            ("--notify-format=teams", "generic, slack"),
        ] {
            let error = parse(&[wrong]).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
