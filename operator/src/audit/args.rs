//! Settings of the audit log.

use super::sink::{FileSettings, Folder, HttpSettings, HttpSink, Lines, Sink, SinkError, Threaded};
use super::spool::Limits;
use clap::{Args, ValueEnum};
use exeat_runtime::dns::Resolver;
use http::Uri;
use std::path::PathBuf;

/// Where records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SinkKind {
    /// Standard output, one JSON object a line.
    #[default]
    Stdout,
    /// A file of the pod's in --audit-folder.
    File,
    /// POST to --audit-url.
    Http,
}

/// Settings of the audit log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit")]
pub struct AuditArgs {
    /// Where audit records go.
    #[arg(long, env = "EXEAT_AUDIT_SINK", value_enum, default_value_t)]
    pub audit_sink: SinkKind,

    /// Folder for `--audit-sink=file`; it must exist. Each pod has a file of its own in it, POD.ndjson.
    #[arg(long, env = "EXEAT_AUDIT_FOLDER", value_name = "FOLDER", required_if_eq("audit_sink", "file"))]
    pub audit_folder: Option<PathBuf>,

    /// Bytes after which `--audit-sink=file` begins a new file.
    #[arg(long, env = "EXEAT_AUDIT_FILE_BYTES", default_value_t = 100 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub audit_file_bytes: u64,

    /// Older files that `--audit-sink=file` keeps; the oldest is removed for a new one.
    #[arg(long, env = "EXEAT_AUDIT_FILE_KEEP", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub audit_file_keep: u32,

    /// Where `--audit-sink=http` posts newline-delimited JSON to; https only.
    #[arg(long, env = "EXEAT_AUDIT_URL", value_name = "URL", required_if_eq("audit_sink", "http"))]
    pub audit_url: Option<Uri>,

    /// File with the bearer token for --audit-url; it is read again for each request.
    #[arg(long, env = "EXEAT_AUDIT_TOKEN_FILE", value_name = "FILE")]
    pub audit_token_file: Option<PathBuf>,

    /// PEM file with the only roots that are trusted for --audit-url [default: the system's].
    #[arg(long, env = "EXEAT_AUDIT_CA", value_name = "FILE")]
    pub audit_ca: Option<PathBuf>,

    /// Most records that may wait for the sink; at seven eighths of it nothing is minted.
    #[arg(long, env = "EXEAT_AUDIT_SPOOL_RECORDS", default_value_t = 10_000, value_parser = records)]
    pub audit_spool_records: usize,

    /// Most bytes of records that may wait for the sink; at seven eighths of it nothing is minted.
    #[arg(long, env = "EXEAT_AUDIT_SPOOL_BYTES", default_value_t = 16 << 20, value_parser = bytes)]
    pub audit_spool_bytes: usize,
}

fn records(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 16).ok_or_else(|| "write a whole number, 16 or more".to_owned())
}

fn bytes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 1 << 16).ok_or_else(|| "write a whole number of bytes, 65536 or more".to_owned())
}

impl AuditArgs {
    /// Bounds of the spool.
    pub fn limits(&self) -> Limits {
        Limits { records: self.audit_spool_records, bytes: self.audit_spool_bytes }
    }

    /// The sink, for the pod `writer`.
    ///
    /// # Errors
    /// When the sink can't be used as it is set.
    pub fn sink(&self, writer: &str) -> Result<Box<dyn Sink>, SinkError> {
        Ok(match self.audit_sink {
            SinkKind::Stdout => Box::new(Threaded::start(Lines::new(std::io::stdout()))?),
            SinkKind::File => Box::new(Threaded::start(Folder::open(FileSettings {
                folder: self.audit_folder.clone().unwrap_or_default(),
                name: writer.to_owned(),
                max_bytes: self.audit_file_bytes,
                keep: self.audit_file_keep,
            })?)?),
            SinkKind::Http => {
                let settings = HttpSettings {
                    url: self.audit_url.clone().unwrap_or_default(),
                    token_file: self.audit_token_file.clone(),
                    ca_file: self.audit_ca.clone(),
                };
                Box::new(HttpSink::new(settings, Resolver::system())?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        audit: AuditArgs,
    }

    fn parse(args: &[&str]) -> Result<AuditArgs, String> {
        let args = std::iter::once("x").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.audit).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sink_needs_its_settings_and_bounds_have_a_floor() {
        assert_eq!(parse(&[]).unwrap().audit_sink, SinkKind::Stdout);
        for (args, named) in [
            (&["--audit-sink=file"][..], "--audit-folder"),
            (&["--audit-sink=http"], "--audit-url"),
            (&["--audit-spool-records=3"], "16 or more"),
            (&["--audit-spool-bytes=3"], "65536 or more"),
            (&["--audit-file-bytes=3"], "--audit-file-bytes"),
            (&["--audit-sink=syslog"], "stdout, file, http"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        let error =
            parse(&["--audit-sink=http", "--audit-url=http://a.example.com"]).unwrap().sink("pod-a").err().unwrap();
        assert!(error.to_string().contains("--audit-url"), "{error}");
        let error = parse(&["--audit-sink=file", "--audit-folder=/none"]).unwrap().sink("pod-a").err().unwrap();
        assert!(error.to_string().contains("/none/pod-a.ndjson"), "{error}");
    }
}
