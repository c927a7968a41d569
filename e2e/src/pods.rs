//! Commands in pods, and kubectl beside them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::api::{Api, AttachParams};
use std::fmt::{Display, Formatter};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Failure, Result};

/// Most time for one command.
const LIMIT: Duration = Duration::from_secs(180);

/// The checkout.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Its output, if it succeeded.
    ///
    /// # Errors
    /// All that it said, if it did not.
    pub fn ok(self) -> Result<String> {
        if self.code == 0 { Ok(self.stdout) } else { Err(Failure::new(format!("failed: {self}"))) }
    }

    /// All that it said, if it failed.
    ///
    /// # Errors
    /// Its output, if it succeeded.
    pub fn failed(self) -> Result<String> {
        if self.code == 0 {
            return Err(Failure::new(format!("should have failed: {self}")));
        }
        Ok(format!("{}{}", self.stdout, self.stderr))
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout.trim_end(), self.stderr.trim_end())
    }
}

pub(crate) async fn exec(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    command: &[&str],
) -> Result<Output> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let run = async {
        let params = AttachParams::default().container(container);
        let mut process = api.exec(pod, command.iter().copied(), &params).await?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let (stdout, stderr) = futures::join!(drain(stdout), drain(stderr));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        process.join().await?;
        Ok(Output { code: exit_code(status.as_ref())?, stdout: stdout?, stderr: stderr? })
    };
    match timeout(LIMIT, run).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(format!("{command:?} in pod {pod}: no end after {LIMIT:?}"))),
    }
}

async fn drain(stream: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut text).await?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The kubelet tells the exit code as a cause of a `Status`.
fn exit_code(status: Option<&Status>) -> Result<i32> {
    let status = status.ok_or_else(|| Failure::new("the command ended without a status"))?;
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_ref()?.parse().ok());
    code.ok_or_else(|| Failure::new(format!("the command could not be run: {:?}", status.message)))
}

/// kubectl with all rights, outside of any pod.
///
/// # Errors
/// When it can't be started, or does not end.
pub async fn kubectl(arguments: &[&str]) -> Result<Output> {
    outside(Command::new("kubectl").args(arguments)).await
}

/// Where cargo has put `kubectl-exeat`: beside the folder that the running test is in.
///
/// # Errors
/// When it is not there.
pub fn exeat_program() -> Result<std::path::PathBuf> {
    let test = std::env::current_exe()?;
    let program = test.parent().and_then(|deps| deps.parent()).map(|folder| folder.join("kubectl-exeat"));
    program
        .filter(|program| program.is_file())
        .ok_or_else(|| Failure::new("kubectl-exeat is not built: cargo build -p exeat-cli"))
}

/// `kubectl exeat` with all rights, outside of any pod.
///
/// # Errors
/// As [`kubectl`].
pub async fn exeat(arguments: &[&str]) -> Result<Output> {
    outside(Command::new(exeat_program()?).args(arguments)).await
}

/// A piece of shell in the checkout's root, outside of any pod, with all rights; `kubectl exeat` is at hand where it is built.
///
/// # Errors
/// When it can't be started, or does not end.
pub async fn shell(script: &str) -> Result<Output> {
    shell_within(LIMIT, script).await
}

/// As [`shell`], for what may take another time.
///
/// # Errors
/// As [`shell`].
pub async fn shell_within(limit: Duration, script: &str) -> Result<Output> {
    let program = exeat_program().ok();
    let path = program.and_then(|program| Some(format!("PATH=$PATH:{}\n", program.parent()?.display())));
    let script = format!("{}{script}", path.unwrap_or_default());
    within(limit, Command::new("bash").args(["-c", &script]).current_dir(ROOT)).await
}

async fn outside(command: &mut Command) -> Result<Output> {
    within(LIMIT, command).await
}

async fn within(limit: Duration, command: &mut Command) -> Result<Output> {
    let command = command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output =
        timeout(limit, command.output()).await.map_err(|_| Failure::new(format!("{command:?} does not end")))??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
