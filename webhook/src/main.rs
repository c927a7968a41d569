//! The admission webhook.

use std::process::ExitCode;

use clap::Parser;
use exeat_webhook::args::Cli;
use exeat_webhook::run::run;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "webhook ended");
            ExitCode::FAILURE
        }
    }
}
