//! `approvals`, `approve`, `deny`: what waits for people, and their word. The API server decides who may; what it would refuse is told before
//! anything is written.

pub mod decide;
pub mod list;
pub mod precheck;
pub mod show;

use crate::client::{Cluster, list_where};
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::Args;
use exeat_crds::Approval;
use exeat_crds::approval::{State, state};
use exeat_crds::v1alpha1::ApprovalPhase;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

/// Arguments of `approvals`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Those that are decided, too.
    #[arg(long)]
    pub all: bool,
    /// Under this policy.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
}

/// Arguments of `approve` and `deny`.
#[derive(Args, Clone, Debug)]
pub struct DecideArgs {
    /// Names of approvals.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Why, for the record.
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub message: String,
    /// Ask nothing.
    #[arg(short, long)]
    pub yes: bool,
}

/// Where an approval is.
pub fn phase(approval: &Approval) -> ApprovalPhase {
    approval.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
}

/// Who is missing. Read from the decisions themselves: the status is behind by a moment.
pub fn missing(approval: &Approval, now: Timestamp) -> Vec<String> {
    if phase(approval) != ApprovalPhase::Pending {
        return Vec::new();
    }
    match state(&approval.spec.request, &approval.spec.decisions, now) {
        State::Open(missing) => missing,
        State::Approved | State::Denied { .. } => Vec::new(),
    }
}

/// `approvals`: what waits longest comes first.
///
/// # Errors
/// The API server's.
pub async fn list(cluster: &Cluster, args: &ListArgs, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<Approval> = cluster.api();
    let fields = args.policy.as_ref().map(|policy| format!("spec.request.policyRef.name={policy}"));
    let params = ListParams { field_selector: fields, ..ListParams::default() };
    let meant = |approval: &Approval| args.all || phase(approval) == ApprovalPhase::Pending;
    let mut found = list_where(&api, params, meant).await.map_err(Error::api("approvals can't be listed"))?;
    found.sort_by_key(|approval| (approval.creation_timestamp().map(|t| t.0), approval.name_any()));
    out.list(&found, || list::table(&found, cluster.all, now), &none(args, &cluster.place()))?;
    Ok(Exit::Done)
}

/// Where nothing was found, and what was looked for: a wrong name must not look like an empty queue.
fn none(args: &ListArgs, place: &str) -> String {
    let under = args.policy.as_ref().map(|policy| format!(" under policy {policy:?}")).unwrap_or_default();
    if args.all {
        format!("There is no approval{under} {place}.")
    } else {
        format!("Nothing waits for approval{under} {place}.")
    }
}
