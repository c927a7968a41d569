//! Waits until what was revoked has ended. Only open sessions are asked for: history would be read anew each second.

use super::act::LOOK;
use super::ledger::Ledger;
use crate::error::Error;
use crate::output::Out;
use crate::sessions::{Filter, fetch};
use exeat_crds::CredentialSession;
use kube::api::Api;
use tokio::time::{Instant, sleep};

/// Looks until every session that was revoked has ended. `false` where the time is over first. A look that fails is told and taken again:
/// what was revoked stays revoked.
///
/// # Errors
/// When output can't be written.
pub(super) async fn until_ended(
    api: &Api<CredentialSession>,
    open: &Filter,
    ledger: &mut Ledger,
    deadline: Instant,
    out: &mut Out<'_>,
) -> Result<bool, Error> {
    let (mut told, mut trouble) = (usize::MAX, String::new());
    loop {
        if ledger.unended() == 0 {
            return Ok(true);
        }
        let began = Instant::now();
        match fetch(api, open).await {
            Ok(found) => {
                let left = ledger.still_open(&found);
                if left > 0 && left != told {
                    out.note(&format!("waiting: {left} of {} sessions have not ended yet", ledger.revoked.len()))?;
                    told = left;
                }
            }
            Err(error) if error.to_string() != trouble => {
                trouble = error.to_string();
                out.note(&format!("waiting, but {trouble}"))?;
            }
            Err(_) => {}
        }
        if ledger.unended() == 0 {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        // Where a look takes long, the API server has enough to do.
        sleep(LOOK.max(began.elapsed())).await;
    }
}

/// Reads how the sessions ended, once: by when access ends is known then, and what was read before only knew that of a credential.
///
/// # Errors
/// When output can't be written.
pub(super) async fn read_ends(
    api: &Api<CredentialSession>,
    filter: &Filter,
    ledger: &mut Ledger,
    out: &mut Out<'_>,
) -> Result<(), Error> {
    if ledger.revoked.is_empty() {
        return Ok(());
    }
    match fetch(api, filter).await {
        Ok(found) => ledger.refresh(found),
        Err(error) => out.note(&format!("when access ends is told as it was known before: {error}"))?,
    }
    Ok(())
}
