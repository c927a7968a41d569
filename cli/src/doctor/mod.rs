//! `doctor`: is the installation as it must be, and who holds the rights that matter? Each check is read apart from how it is judged.

pub mod access;
pub mod admission;
pub mod certificates;
pub mod clock;
pub mod node;
pub mod parts;
pub mod report;
mod serving;
pub mod webhooks;

pub use report::{Check, Level};

use crate::client::Cluster;
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::Args;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct DoctorArgs {
    /// Try from inside this pod's first container whether the node's metadata service answers (kubectl exec).
    #[arg(long, value_name = "POD")]
    pub probe_pod: Option<String>,
}

/// `doctor`.
///
/// # Errors
/// When the API server does not answer at all.
pub async fn run(cluster: &Cluster, args: &DoctorArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut checks = parts::cluster(&cluster.client).await?;
    checks.push(clock::check(&cluster.client).await);
    checks.extend(parts::definitions(&cluster.client).await);
    checks.extend(parts::deployments(cluster).await);
    checks.extend(webhooks::checks(cluster).await);
    checks.push(certificates::check(cluster).await);
    checks.extend(serving::checks(cluster).await);
    checks.extend(admission::checks(cluster).await);
    let (providers, served) = parts::providers(cluster).await;
    checks.extend(providers);
    checks.extend(access::checks(cluster, &served).await);
    if let Some(pod) = &args.probe_pod {
        checks.push(node::check(cluster, pod).await);
    }
    if out.is_data() {
        out.data(&checks)?;
    } else {
        let text = report::render(&checks, out.paint);
        out.text(&text)?;
    }
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
