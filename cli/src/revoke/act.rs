//! Revokes, paced; then waits until the sessions have ended.

use super::ledger::Ledger;
use super::select::{self, Todo, todo};
use super::{RevokeArgs, hold, near, pass, summary, wait};
use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit};
use crate::output::Out;
use crate::sessions::{Filter, fetch};
use exeat_crds::CredentialSession;
use kube::api::Api;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at sessions that have not ended yet.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Rounds that `--deny-new` takes at most: a hold is seen by the controller within seconds.
const ROUNDS: usize = 30;
/// Field manager of what people do with the command line.
pub const MANAGER: &str = "kubectl-exeat";

/// Does it.
///
/// # Errors
/// When sessions can't be listed, nothing was ever there that could be meant, or the hold can't be created.
pub async fn revoke(cluster: &Cluster, args: &RevokeArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let filter = select::filter(cluster, args).await?;
    let api: Api<CredentialSession> = cluster.api();
    let found = fetch(&api, &filter).await?;
    let about = select::about(args, cluster.scope());
    if found.is_empty() && select::could_be_mistaken(args, cluster.all) {
        let told = format!("no session{about} is on record, open or ended{}", near::hint(&api, args, cluster).await);
        if !args.deny_new {
            return Err(Error::NotFound(told));
        }
        out.note(&format!("note: {told}"))?;
    }
    let open: Vec<&CredentialSession> = found.iter().filter(|session| todo(session) != Todo::Nothing).collect();
    if args.dry_run {
        return plan(args, &open, &about, out);
    }
    let mut ledger = Ledger::new(&found, clock::now());
    if open.is_empty() && !args.deny_new {
        out.note(&format!("No session{about} is open: nothing to revoke."))?;
        return finish(&ledger, true, out);
    }
    if !agreed(args, &open, &about, out)? {
        out.note("Nothing was done.")?;
        return Ok(Exit::Denied);
    }
    if args.deny_new {
        hold::create(cluster, args, out).await?;
    }
    let ended = rounds(cluster, args, &filter, found, &mut ledger, out).await?;
    if !args.no_wait {
        wait::read_ends(&api, &filter, &mut ledger, out).await?;
    }
    finish(&ledger, ended, out)
}

fn plan(args: &RevokeArgs, open: &[&CredentialSession], about: &str, out: &mut Out<'_>) -> Result<Exit, Error> {
    if out.is_data() {
        out.data(&summary::planned(open, args.deny_new))?;
    } else {
        out.text(&summary::plan(open, about, args.deny_new))?;
    }
    Ok(Exit::Done)
}

/// One session by its name is meant; more are asked about.
fn agreed(args: &RevokeArgs, open: &[&CredentialSession], about: &str, out: &mut Out<'_>) -> Result<bool, Error> {
    if args.yes || args.session.is_some() {
        return Ok(true);
    }
    out.notes(&summary::plan(open, about, args.deny_new))?;
    out.confirm(&format!("Revoke {} sessions?", open.len()))
}

/// Without `--deny-new` one round; with it until a look finds none open. `false` where the time to wait was over first.
async fn rounds(
    cluster: &Cluster,
    args: &RevokeArgs,
    filter: &Filter,
    first: Vec<CredentialSession>,
    ledger: &mut Ledger,
    out: &mut Out<'_>,
) -> Result<bool, Error> {
    let api: Api<CredentialSession> = cluster.api();
    let open = Filter { open: true, ..filter.clone() };
    let mut patience = Duration::from_secs(args.timeout);
    let mut found = first;
    for round in 0..ROUNDS {
        let new = ledger.take_in(found);
        pass::revoke(cluster, args, &new, ledger, out).await?;
        // The pass takes as long as its pace makes it: what was waited for is the ends alone.
        let began = Instant::now();
        let ended = args.no_wait || wait::until_ended(&api, &open, ledger, began + patience, out).await?;
        patience = patience.saturating_sub(began.elapsed());
        if !args.deny_new || ledger.has_failures() || !ended || (round > 0 && new.is_empty()) {
            return Ok(ended);
        }
        sleep(LOOK).await;
        found = match fetch(&api, &open).await {
            Ok(found) => found,
            Err(error) => {
                out.note(&format!("whether new sessions have come could not be seen: {error}"))?;
                return Ok(false);
            }
        };
    }
    Ok(false)
}

fn finish(ledger: &Ledger, ended: bool, out: &mut Out<'_>) -> Result<Exit, Error> {
    let summary = summary::of(ledger, clock::now());
    if out.is_data() {
        out.data(&summary)?;
    } else {
        out.text(&summary::words(&summary))?;
    }
    if ledger.has_failures() {
        return Ok(Exit::Failed);
    }
    if ended {
        return Ok(Exit::Done);
    }
    out.note("Some sessions have not ended yet: run the same command again to go on waiting.")?;
    Ok(Exit::Unfinished)
}
