//! `exeat-issuer`.

use clap::Parser;
use exeat_operator::issuer::args::Args;
use exeat_operator::issuer::run;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    exeat_runtime::tls::install_crypto_provider();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the issuer ended");
            eprintln!("exeat-issuer: {error}");
            ExitCode::FAILURE
        }
    }
}
