//! `exeat-controller`.

use clap::Parser;
use exeat_operator::controller::args::{Cli, Command};
use exeat_operator::controller::{run, uninstall};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    exeat_runtime::tls::install_crypto_provider();
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::Uninstall { timeout }) => uninstall(&cli.args, timeout).await,
        Some(Command::Run) | None => run(cli.args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the controller ended");
            eprintln!("exeat-controller: {error}");
            ExitCode::FAILURE
        }
    }
}
