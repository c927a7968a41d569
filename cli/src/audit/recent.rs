//! `audit recent` and `audit show`: Events of the namespace, and the records in the logs of controller and issuer.

use super::record::{Happened, merge, of_session, parse, table, table_of_one};
use crate::client::{Cluster, list};
use crate::error::{Error, Exit, api_message};
use crate::output::{Format, Out, Table};
use exeat_crds::CredentialSession;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};
use std::collections::BTreeSet;

/// Pods that write audit records.
const WRITERS: &str = "app.kubernetes.io/name=exeat,app.kubernetes.io/component in (controller,issuer)";

/// `audit recent`.
///
/// # Errors
/// When neither Events nor logs can be read.
pub async fn recent(cluster: &Cluster, since: i64, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let from = now - SignedDuration::from_secs(since);
    let mut all = gather(cluster, Some(since), out).await?;
    all.retain(|one| one.time >= from && cluster.scope().is_none_or(|namespace| one.namespace == namespace));
    print(&all, table(&all, cluster.all), out)
}

/// `audit show`.
///
/// # Errors
/// As [`recent`].
pub async fn show(cluster: &Cluster, session: &str, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut all = gather(cluster, None, out).await?;
    all.retain(|one| cluster.scope().is_none_or(|namespace| one.namespace == namespace));
    let all = of_session(all, session, approvals(cluster, session).await);
    if all.is_empty() {
        return Err(Error::NotFound(format!(
            "nothing is recorded of session {session:?} in what can be read; where logs are shipped, export them and use `audit export FILE`"
        )));
    }
    print(&all, table_of_one(&all, cluster.all), out)
}

/// The approvals that sessions of this name are on record with, where they can be read: its own records may be gone with a log.
async fn approvals(cluster: &Cluster, session: &str) -> BTreeSet<(String, String)> {
    let params = ListParams::default().fields(&format!("metadata.name={session}"));
    let sessions = list::<CredentialSession>(&cluster.api(), params).await.unwrap_or_default();
    let approval =
        |s: &CredentialSession| Some((s.namespace()?, s.status.as_ref()?.approval_ref.as_ref()?.name.clone()));
    sessions.iter().filter_map(approval).collect()
}

fn print(all: &[Happened], table: Table, out: &mut Out<'_>) -> Result<Exit, Error> {
    if out.is_data() {
        out.data(&all)?;
    } else if all.is_empty() {
        out.note("Nothing happened.")?;
    } else {
        let text = table.render(out.format == Format::Wide, out.paint);
        out.text(&text)?;
    }
    Ok(Exit::Done)
}

async fn gather(cluster: &Cluster, since: Option<i64>, out: &mut Out<'_>) -> Result<Vec<Happened>, Error> {
    let events = events(cluster).await;
    let records = records(cluster, since, out).await?;
    match (events, records) {
        (Ok(events), Ok(records)) => Ok(merge(events, records)),
        (Ok(events), Err(error)) => {
            out.note(&format!(
                "note: the logs in namespace {} can't be read ({}): Events alone are shown, and they go after an hour",
                cluster.system,
                api_message(&error)
            ))?;
            Ok(merge(events, Vec::new()))
        }
        (Err(error), Ok(records)) => {
            out.note(&format!("note: Events can't be read ({}): audit records alone are shown", api_message(&error)))?;
            Ok(merge(Vec::new(), records))
        }
        (Err(error), Err(_)) => Err(Error::api("neither Events nor logs can be read")(error)),
    }
}

async fn events(cluster: &Cluster) -> Result<Vec<Happened>, kube::Error> {
    let api: Api<Event> = cluster.api();
    let mut found = Vec::new();
    for kind in ["CredentialSession", "Approval"] {
        found.extend(list(&api, ListParams::default().fields(&format!("regarding.kind={kind}"))).await?);
    }
    Ok(found.iter().filter_map(Happened::of_event).collect())
}

/// Those in all logs that can be read. One that can't be while others can is told of: what it holds is missing.
async fn records(
    cluster: &Cluster,
    since: Option<i64>,
    out: &mut Out<'_>,
) -> Result<Result<Vec<Happened>, kube::Error>, Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.system);
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let writers = match pods.list(&ListParams::default().labels(WRITERS)).await {
        Ok(writers) => writers.items,
        Err(error) => return Ok(Err(error)),
    };
    for pod in &writers {
        let params = LogParams { since_seconds: since, ..LogParams::default() };
        match pods.logs(&pod.name_any(), &params).await {
            Ok(log) => found.extend(log.lines().filter_map(|line| Happened::of_record(&parse(line)?))),
            Err(error) => failed.push((pod.name_any(), error)),
        }
    }
    if failed.len() == writers.len()
        && let Some((_, error)) = failed.pop()
    {
        return Ok(Err(error));
    }
    for (pod, error) in &failed {
        out.note(&format!(
            "note: the log of pod {pod} can't be read ({}): its records are missing",
            api_message(error)
        ))?;
    }
    Ok(Ok(found))
}
