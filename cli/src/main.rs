//! `kubectl-exeat`, which kubectl runs as `kubectl exeat`.

use clap::Parser;
use exeat_cli::{Cli, Exit};
use exeat_crds::text;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            drop(error.print());
            return code.into();
        }
    };
    // Another one may be installed already: there is one for a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed.into();
        }
    };
    let outcome = runtime.block_on(exeat_cli::run::run(cli));
    // A thread that waits for a key must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is_broken_pipe() {
                // Files and clusters say what they like.
                let lines: Vec<String> = error.to_string().lines().map(text::strip_hidden).collect();
                eprintln!("error: {}", lines.join("\n"));
            }
            error.exit().into()
        }
    }
}
