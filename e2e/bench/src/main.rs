//! Programs for the benchmarks (`run.sh` starts them): servers that ours are compared with, an issuer for a lone sidecar, sidecars in
//! thousands, and a noisy tenant.

mod bare;
mod client;
mod flood;
mod issuer;
mod sidecars;
mod tls;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Errors only end the program.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Programs for the benchmarks; servers listen on 127.0.0.1.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// A bare axum handler for GET on one thread: the sidecar's answer without the sidecar.
    Plain {
        #[arg(long)]
        port: u16,
        /// Path that is served.
        #[arg(long)]
        path: String,
        /// Body of every answer.
        #[arg(long)]
        body_file: PathBuf,
    },
    /// A bare axum handler behind TLS that reads an admission review and answers with a fixed small one.
    Review {
        #[arg(long)]
        port: u16,
        #[command(flatten)]
        files: CertificateFiles,
    },
    /// An issuer that gives every caller the same AWS keys, and a stream that says so.
    Issuer {
        #[arg(long)]
        port: u16,
        #[command(flatten)]
        files: CertificateFiles,
    },
    /// Sidecars of many pods against real issuers.
    Sidecars(sidecars::Play),
    /// A noisy tenant against real issuers.
    Flood(flood::Flood),
}

/// What a TLS server shows.
#[derive(Args, Debug)]
struct CertificateFiles {
    /// Certificate, PEM.
    #[arg(long)]
    cert_file: PathBuf,
    /// Its private key, PEM.
    #[arg(long)]
    key_file: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Each server runs on the kind of runtime that its counterpart has.
fn run(program: Program) -> Result {
    match program {
        Program::Plain { port, path, body_file } => {
            one_thread()?.block_on(async { bare::plain(listen(port).await?, &path, &body_file).await })
        }
        Program::Review { port, files } => {
            threads()?.block_on(async { bare::review(listen(port).await?, tls::acceptor(&files)?).await })
        }
        Program::Issuer { port, files } => {
            one_thread()?.block_on(async { issuer::serve(listen(port).await?, tls::acceptor(&files)?).await })
        }
        Program::Sidecars(play) => threads()?.block_on(sidecars::play(play)),
        Program::Flood(flood) => threads()?.block_on(flood::run(flood)),
    }
}

fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}
