//! `exeat-controller`.

use exeat_operator::audit::command::{self, VerifyArgs};
use exeat_operator::controller::args::{Call, Cli, Command};
use exeat_operator::controller::{run, uninstall};
use exeat_operator::process::RunError;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    exeat_runtime::tls::install_crypto_provider();
    let ended = match Call::try_parse_from(std::env::args_os()) {
        Ok(Call::Serve(cli)) => serve(*cli).await,
        Ok(Call::VerifyAudit(args)) => return verify(&args),
        Err(error) => error.exit(),
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

async fn serve(cli: Cli) -> Result<(), RunError> {
    match cli.command {
        Some(Command::Uninstall { timeout }) => uninstall(&cli.args, timeout).await,
        _ => run(cli.args).await,
    }
}

/// 0: all is well, 1: findings, 2: not verified.
fn verify(args: &VerifyArgs) -> ExitCode {
    match command::run(args, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("exeat-controller verify-audit: {error}");
            ExitCode::from(2)
        }
    }
}
