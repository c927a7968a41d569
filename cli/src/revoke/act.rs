//! Revokes, paced; then waits until the sessions have ended.

use super::select::{self, Todo, todo};
use super::{RevokeArgs, hold, summary};
use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit, api_message, is_forbidden};
use crate::output::Out;
use crate::sessions::{Filter, fetch};
use exeat_crds::CredentialSession;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at sessions that have not ended yet.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds that `--deny-new` takes at most: a hold is seen by the controller within seconds.
const ROUNDS: usize = 30;
/// Field manager of what people do with the command line.
pub const MANAGER: &str = "kubectl-exeat";

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) revoked: Vec<CredentialSession>,
    pub(super) failed: Vec<(String, String)>,
}

/// Does it.
///
/// # Errors
/// When sessions can't be listed, or the hold can't be created.
pub async fn revoke(cluster: &Cluster, args: &RevokeArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let filter = select::filter(cluster, args).await?;
    let api: Api<CredentialSession> = cluster.api();
    let found = fetch(&api, &filter).await?;
    if let (Some(name), true) = (&args.session, found.is_empty()) {
        return Err(Error::NotFound(format!("there is no session {name:?} in namespace {}", cluster.namespace)));
    }
    let open: Vec<&CredentialSession> = found.iter().filter(|session| todo(session) != Todo::Nothing).collect();
    if args.dry_run {
        out.text(&summary::plan(&open, args.deny_new))?;
        return Ok(Exit::Done);
    }
    if open.is_empty() && !args.deny_new {
        out.note("No session that matches is open: nothing to revoke.")?;
        return Ok(Exit::Done);
    }
    if !agreed(args, &open, out)? {
        out.note("Nothing was done.")?;
        return Ok(Exit::Denied);
    }
    if args.deny_new {
        hold::create(cluster, args, out).await?;
    }
    let (done, ended) = rounds(cluster, args, &filter, found, out).await?;
    finish(args, done, ended, out)
}

/// One session by its name is meant; more are asked about.
fn agreed(args: &RevokeArgs, open: &[&CredentialSession], out: &mut Out<'_>) -> Result<bool, Error> {
    if args.yes || args.session.is_some() {
        return Ok(true);
    }
    out.notes(&summary::plan(open, args.deny_new))?;
    out.confirm(&format!("Revoke {} sessions?", open.len()))
}

/// Without `--deny-new` one round; with it until a look finds none open.
async fn rounds(
    cluster: &Cluster,
    args: &RevokeArgs,
    filter: &Filter,
    first: Vec<CredentialSession>,
    out: &mut Out<'_>,
) -> Result<(Done, bool), Error> {
    let api: Api<CredentialSession> = cluster.api();
    let mut done = Done::default();
    let mut found = first;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    for round in 0..ROUNDS {
        let open: Vec<CredentialSession> = found.into_iter().filter(|session| todo(session) != Todo::Nothing).collect();
        let before = done.failed.len();
        pass(cluster, args, &open, &mut done, out).await?;
        let ended = args.no_wait || wait(&api, filter, &mut done, deadline, out).await?;
        if !args.deny_new || done.failed.len() > before || !ended {
            return Ok((done, ended));
        }
        if round > 0 && open.is_empty() {
            return Ok((done, ended));
        }
        sleep(LOOK).await;
        found = fetch(&api, filter).await?;
    }
    Ok((done, false))
}

async fn pass(
    cluster: &Cluster,
    args: &RevokeArgs,
    open: &[CredentialSession],
    done: &mut Done,
    out: &mut Out<'_>,
) -> Result<(), Error> {
    for (i, session) in open.iter().enumerate() {
        let name = session.name_any();
        if done.revoked.iter().any(|known| known.uid() == session.uid()) {
            continue;
        }
        if todo(session) == Todo::Await {
            done.revoked.push(session.clone());
            continue;
        }
        let api: Api<CredentialSession> =
            Api::namespaced(cluster.client.clone(), session.metadata.namespace.as_deref().unwrap_or_default());
        match write(&api, &name, &args.reason).await {
            Ok(Some(revoked)) => {
                done.revoked.push(revoked);
                out.note(&format!("{}/{}  revoked  {name}", i + 1, open.len()))?;
            }
            Ok(None) => out.note(&format!("{}/{}  gone     {name}", i + 1, open.len()))?,
            Err(error) => {
                let hint = if is_forbidden(&error) {
                    "; you need the verbs patch and revoke on credentialsessions.exeat.dev"
                } else {
                    ""
                };
                out.note(&format!("{}/{}  FAILED   {name}: {}{hint}", i + 1, open.len(), api_message(&error)))?;
                done.failed.push((name, api_message(&error)));
            }
        }
        sleep(args.pause()).await;
    }
    Ok(())
}

/// Write-once: where somebody else was first, it is revoked all the same.
async fn write(
    api: &Api<CredentialSession>,
    name: &str,
    reason: &str,
) -> Result<Option<CredentialSession>, kube::Error> {
    let body = json!({"spec": {"revoke": {"reason": reason}}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut tries = 0;
    loop {
        tries += 1;
        match api.patch(name, &params, &Patch::Merge(&body)).await {
            Ok(session) => return Ok(Some(session)),
            Err(error) => match api.get_opt(name).await? {
                None => return Ok(None),
                Some(session) if todo(&session) != Todo::Revoke => return Ok(Some(session)),
                Some(_) if tries < 3 && may_pass(&error) => sleep(Duration::from_millis(500)).await,
                Some(_) => return Err(error),
            },
        }
    }
}

fn may_pass(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 409 && status.code != 429)
}

/// Looks until every session that was revoked has ended. `false` where the time is over first.
async fn wait(
    api: &Api<CredentialSession>,
    filter: &Filter,
    done: &mut Done,
    deadline: Instant,
    out: &mut Out<'_>,
) -> Result<bool, Error> {
    let mut told = usize::MAX;
    loop {
        let now = fetch(api, filter).await?;
        // The end of access is known once a session has ended: what was read before only knew that of its credential.
        let mut left = 0;
        for known in &mut done.revoked {
            if let Some(newer) = now.iter().find(|session| session.uid() == known.uid()) {
                known.clone_from(newer);
                left += usize::from(todo(newer) != Todo::Nothing);
            }
        }
        if left == 0 {
            return Ok(true);
        }
        if left != told {
            out.note(&format!("waiting: {left} of {} sessions have not ended yet", done.revoked.len()))?;
            told = left;
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

fn finish(args: &RevokeArgs, done: Done, ended: bool, out: &mut Out<'_>) -> Result<Exit, Error> {
    let summary = summary::of(&done.revoked, &done.failed, clock::now());
    if out.is_data() {
        out.data(&summary)?;
    } else {
        out.text(&summary::words(&summary))?;
    }
    if !done.failed.is_empty() {
        return Ok(Exit::Failed);
    }
    if args.no_wait || ended {
        return Ok(Exit::Done);
    }
    out.note("Some sessions have not ended yet: run the same command again to go on waiting.")?;
    Ok(Exit::Unfinished)
}
