//! Names of the cluster, for whoever presses the tab key: quickly, or not at all.

use super::{Named, wanted};
use crate::args::Cli;
use crate::client::Cluster;
use crate::sessions::{Filter, phase};
use crate::{approvals, revoke};
use clap::Parser;
use exeat_crds::v1alpha1::ApprovalPhase;
use exeat_crds::{Approval, CredentialHold, CredentialSession, text};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

/// Longest wait of each request: somebody waits for their shell.
const PATIENCE: &str = "--request-timeout=2s";
/// Most names: more than that are no help.
const MOST: u32 = 500;

/// The names that are wanted, each with what it is; none where the cluster does not tell.
pub async fn of(words: &[String]) -> Vec<(String, String)> {
    let Some((named, leads)) = wanted(words) else { return Vec::new() };
    let line = ["kubectl-exeat", PATIENCE].into_iter().chain(leads.iter().map(String::as_str)).chain(["holds"]);
    let Ok(cli) = Cli::try_parse_from(line) else { return Vec::new() };
    let Ok(cluster) = Cluster::connect(&cli.global).await else { return Vec::new() };
    let found = match named {
        Named::Sessions => sessions(&cluster, &Filter::default()).await,
        Named::OpenSessions => sessions(&cluster, &Filter { open: true, ..Filter::default() }).await,
        Named::Approvals => decidable(&cluster).await,
        Named::Holds => holds(&cluster).await,
    };
    let clean = |(name, about): (String, String)| (text::strip_hidden(&name), text::strip_hidden(&about));
    found.unwrap_or_default().into_iter().map(clean).collect()
}

type Found = Result<Vec<(String, String)>, kube::Error>;

async fn sessions(cluster: &Cluster, filter: &Filter) -> Found {
    let params = ListParams { field_selector: filter.field_selector(), ..ListParams::default().limit(MOST) };
    let found = cluster.api::<CredentialSession>().list(&params).await?;
    let about = |session: &CredentialSession| {
        format!("{}, policy {}", phase(session).as_str(), session.spec.request.policy_ref.name)
    };
    Ok(found.iter().map(|session| (session.name_any(), about(session))).collect())
}

/// Those that wait, and those that a no can still take back.
async fn decidable(cluster: &Cluster) -> Found {
    let found = cluster.api::<Approval>().list(&ListParams::default().limit(MOST)).await?;
    let open =
        |approval: &&Approval| matches!(approvals::phase(approval), ApprovalPhase::Pending | ApprovalPhase::Approved);
    let about = |approval: &Approval| {
        format!("{}, {}", approvals::phase(approval).as_str(), approvals::list::whose(&approval.spec.request))
    };
    Ok(found.items.iter().filter(open).map(|approval| (approval.name_any(), about(approval))).collect())
}

async fn holds(cluster: &Cluster) -> Found {
    let api: Api<CredentialHold> = Api::all(cluster.client.clone());
    let found = api.list(&ListParams::default().limit(MOST)).await?;
    Ok(found.iter().map(|hold| (hold.name_any(), revoke::hold::what(&hold.spec))).collect())
}
