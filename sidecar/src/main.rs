//! The sidecar's program: `serve` (the default) and `probe`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use exeat_runtime::clock::SystemClock;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::telemetry;
use exeat_sidecar::app::{self, AppError};
use exeat_sidecar::args::{Cli, Command, ServeArgs, Settings};
use exeat_sidecar::probe;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Probe(port)) => match probe::run(port.listen_port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        },
        Some(Command::Serve(arguments)) => serve(*arguments),
        None => serve(cli.serve),
    }
}

fn serve(arguments: ServeArgs) -> ExitCode {
    telemetry::init(&arguments.telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(AppError::Process(error.to_string())),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(arguments: ServeArgs) -> Result<(), AppError> {
    let settings = Settings::try_from(arguments)?;
    let shutdown = Shutdown::on_signals().map_err(|error| AppError::Process(error.to_string()))?;
    let listeners = app::listen_all(&settings).await?;
    app::run(settings, listeners, Arc::new(SystemClock), shutdown).await
}
