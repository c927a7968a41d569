//! `sessions` and `session`: who holds what, until when, and how it came to that.

pub mod filter;
pub mod list;
pub mod show;

pub use filter::Filter;

use crate::client::{self, Cluster, list_where};
use crate::error::{Error, Exit};
use crate::output::{Out, Tone};
use clap::{Args, ValueEnum};
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{Approval, CredentialSession};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

/// Arguments of `sessions`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Sessions of this pod.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Sessions under this policy.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Sessions of this provider.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Sessions in this phase; may be given several times.
    #[arg(long = "phase", value_enum, ignore_case = true, value_name = "PHASE")]
    pub phases: Vec<PhaseArg>,
}

/// A phase as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the API type tells what each means")]
pub enum PhaseArg {
    Pending,
    AwaitingApproval,
    Active,
    Completed,
    Failed,
    Expired,
    Revoked,
    BudgetExceeded,
    Denied,
}

impl From<PhaseArg> for Phase {
    fn from(phase: PhaseArg) -> Self {
        match phase {
            PhaseArg::Pending => Self::Pending,
            PhaseArg::AwaitingApproval => Self::AwaitingApproval,
            PhaseArg::Active => Self::Active,
            PhaseArg::Completed => Self::Completed,
            PhaseArg::Failed => Self::Failed,
            PhaseArg::Expired => Self::Expired,
            PhaseArg::Revoked => Self::Revoked,
            PhaseArg::BudgetExceeded => Self::BudgetExceeded,
            PhaseArg::Denied => Self::Denied,
        }
    }
}

/// Arguments of `session`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Name of the session.
    pub name: String,
}

/// Where a session is. One that nobody has looked at yet is being decided.
pub fn phase(session: &CredentialSession) -> Phase {
    session.status.as_ref().and_then(|s| s.phase).unwrap_or(Phase::Pending)
}

/// How a phase is coloured.
pub fn tone(phase: Phase) -> Tone {
    match phase {
        Phase::Active => Tone::Good,
        Phase::Pending | Phase::AwaitingApproval => Tone::Warn,
        Phase::Denied | Phase::Revoked | Phase::Failed | Phase::BudgetExceeded => Tone::Bad,
        Phase::Completed | Phase::Expired => Tone::Dim,
    }
}

/// All sessions in scope that match, page by page.
///
/// # Errors
/// The API server's.
pub async fn fetch(api: &Api<CredentialSession>, filter: &Filter) -> Result<Vec<CredentialSession>, Error> {
    let params = ListParams { field_selector: filter.field_selector(), ..ListParams::default() };
    let found = list_where(api, params, |session| filter.matches(session)).await;
    let mut found = found.map_err(Error::api("sessions can't be listed"))?;
    found.sort_by_key(|s| (s.namespace(), s.creation_timestamp().map(|t| t.0), s.name_any()));
    Ok(found)
}

/// `sessions`.
///
/// # Errors
/// The API server's.
pub async fn list(cluster: &Cluster, args: &ListArgs, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let sessions = fetch(&cluster.api(), &Filter::of(args)).await?;
    let none = match cluster.scope() {
        Some(namespace) => format!("No sessions in namespace {namespace} match."),
        None => "No sessions match.".to_owned(),
    };
    out.list(&sessions, || list::table(&sessions, cluster.all, now), &none)?;
    Ok(Exit::Done)
}

/// `session`.
///
/// # Errors
/// When there is none of this name, and the API server's.
pub async fn show(cluster: &Cluster, args: &ShowArgs, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<CredentialSession> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = api.get_opt(&args.name).await.map_err(Error::api(format!("session {}", args.name)))?;
    let session = found.ok_or_else(|| {
        let ns = &cluster.namespace;
        Error::NotFound(format!(
            "there is no session {:?} in namespace {ns}; `kubectl exeat sessions -n {ns}` lists them",
            args.name
        ))
    })?;
    if out.is_data() {
        out.data(&session)?;
        return Ok(Exit::Done);
    }
    let approval = match session.status.as_ref().and_then(|s| s.approval_ref.as_ref()) {
        Some(reference) => {
            let approvals: Api<Approval> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            approvals.get_opt(&reference.name).await.unwrap_or_default()
        }
        None => None,
    };
    let events = events_of(cluster, session.uid().as_deref().unwrap_or_default()).await;
    out.text(&show::describe(&session, approval.as_ref(), events.as_deref(), now, out.paint))?;
    Ok(Exit::Done)
}

/// The Events about an object, oldest first; `None` where they can't be read.
pub async fn events_of(cluster: &Cluster, uid: &str) -> Option<Vec<Event>> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = ListParams::default().fields(&format!("regarding.uid={uid}"));
    let mut events = client::list(&api, params).await.ok()?;
    events.sort_by_key(event_time);
    Some(events)
}

/// When an Event was last seen.
pub fn event_time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|s| s.last_observed_time.0);
    let old = event.deprecated_last_timestamp.as_ref().map(|t| t.0);
    series.or(event.event_time.as_ref().map(|t| t.0)).or(old).or(event.creation_timestamp().map(|t| t.0))
}
