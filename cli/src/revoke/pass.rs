//! One pass over sessions: each is revoked, at the pace that was asked for. Where everything is refused for the same reason, the rest is let be.

use super::RevokeArgs;
use super::act::MANAGER;
use super::ledger::Ledger;
use super::select::{Todo, todo};
use crate::client::Cluster;
use crate::error::{Error, api_message, is_forbidden, is_silence, no_answer};
use crate::output::Out;
use exeat_crds::CredentialSession;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// So many refusals in a row that say the same: the next ones will.
const SAME: usize = 3;

/// Revokes each of them.
///
/// # Errors
/// When output can't be written.
pub(super) async fn revoke(
    cluster: &Cluster,
    args: &RevokeArgs,
    new: &[CredentialSession],
    ledger: &mut Ledger,
    out: &mut Out<'_>,
) -> Result<(), Error> {
    let mut pace = interval(args.pause());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut refusals, mut unpaced) = (Refusals::default(), false);
    for (i, session) in new.iter().enumerate() {
        let namespace = session.namespace().unwrap_or_default();
        if refusals.hopeless(&namespace) {
            ledger.not_tried(&namespace);
            continue;
        }
        if !unpaced {
            pace.tick().await;
        }
        let name = session.name_any();
        let shown = if cluster.all { format!("{namespace}/{name}") } else { name.clone() };
        let place = format!("{}/{}", i + 1, new.len());
        let api: Api<CredentialSession> = Api::namespaced(cluster.client.clone(), &namespace);
        let written = write(&api, &name, &args.reason).await;
        // Who is refused writes nothing: there is nothing to pace.
        unpaced = written.as_ref().is_err_and(is_forbidden);
        let same = refusals.met(&namespace, &name, written.as_ref().err());
        match written {
            Ok(Some(revoked)) => {
                ledger.revoked(revoked);
                out.note(&format!("{place}  revoked  {shown}"))?;
            }
            Ok(None) => out.note(&format!("{place}  gone     {shown}"))?,
            Err(error) => {
                let why = format!("{}{}", api_message(&error), hint(&error));
                out.note(&format!("{place}  FAILED   {shown}: {why}"))?;
                ledger.failed.push((shown, why));
            }
        }
        if same {
            out.note(&format!("{SAME} in a row fail for the same reason: the rest{} is not tried", refusals.place()))?;
        }
    }
    Ok(())
}

fn hint(error: &kube::Error) -> &'static str {
    if is_forbidden(error) { "; you need the verbs patch and revoke on credentialsessions.exeat.dev" } else { "" }
}

/// Failures that will repeat themselves: the same refusal within a namespace, and no answer at all.
#[derive(Debug, Default)]
struct Refusals {
    cause: Option<(Option<String>, String)>,
    streak: usize,
}

impl Refusals {
    /// Counts what a write met; `true` once it is hopeless.
    fn met(&mut self, namespace: &str, name: &str, error: Option<&kube::Error>) -> bool {
        let cause = error.and_then(|error| match no_answer(error) {
            Some(why) => Some((None, why)),
            None => is_forbidden(error).then(|| (Some(namespace.to_owned()), api_message(error).replace(name, "…"))),
        });
        self.streak = match &cause {
            None => 0,
            same if *same == self.cause => self.streak + 1,
            Some(_) => 1,
        };
        self.cause = cause;
        self.streak == SAME
    }

    fn hopeless(&self, namespace: &str) -> bool {
        let concerns = |place: &Option<String>| place.as_deref().is_none_or(|place| place == namespace);
        self.streak >= SAME && self.cause.as_ref().is_some_and(|(place, _)| concerns(place))
    }

    fn place(&self) -> String {
        let place = self.cause.as_ref().and_then(|(place, _)| place.as_ref());
        place.map(|namespace| format!(" of namespace {namespace}")).unwrap_or_default()
    }
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
        let error = match api.patch(name, &params, &Patch::Merge(&body)).await {
            Ok(session) => return Ok(Some(session)),
            Err(error) => error,
        };
        match api.get_opt(name).await {
            Ok(None) => return Ok(None),
            Ok(Some(session)) if todo(&session) != Todo::Revoke => return Ok(Some(session)),
            _ if tries < 3 && may_pass(&error) => sleep(Duration::from_millis(500)).await,
            _ => return Err(error),
        }
    }
}

fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => !(400..500).contains(&status.code) || matches!(status.code, 409 | 429),
        other => !is_silence(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn refused(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    #[test]
    fn the_same_refusal_in_a_row_is_not_asked_for_ten_thousand_times() {
        let mut refusals = Refusals::default();
        let no = |name: &str| refused(403, &format!("{name:?} is forbidden: no verb patch"));
        assert!(!refusals.met("a", "s-1", Some(&no("s-1"))));
        assert!(!refusals.met("a", "s-2", Some(&no("s-2"))) && !refusals.hopeless("a"));
        assert!(refusals.met("a", "s-3", Some(&no("s-3"))));
        assert!(refusals.hopeless("a") && !refusals.hopeless("b"), "rights differ from namespace to namespace");
        assert!(!refusals.met("b", "s-4", Some(&no("s-4"))) && !refusals.hopeless("b"));
    }

    #[test]
    fn what_passes_or_differs_begins_the_count_anew() {
        let mut refusals = Refusals::default();
        for error in [Some(refused(403, "x")), Some(refused(403, "x")), None, Some(refused(403, "x"))] {
            assert!(!refusals.met("a", "s", error.as_ref()));
        }
        for message in ["y", "x", "y", "x"] {
            assert!(!refusals.met("a", "s", Some(&refused(403, message))));
        }
        for _ in 0..5 {
            assert!(!refusals.met("a", "s", Some(&refused(500, "busy"))));
        }
        assert!(may_pass(&refused(500, "")) && may_pass(&refused(429, "")) && !may_pass(&refused(403, "")));
    }

    #[test]
    fn no_answer_concerns_every_namespace() {
        let mut refusals = Refusals::default();
        let dead = || kube::Error::Service(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        assert!(!refusals.met("a", "s", Some(&dead())) && !refusals.met("b", "t", Some(&dead())));
        assert!(refusals.met("c", "u", Some(&dead())) && refusals.hopeless("d"));
        let mute = kube::Error::Service(Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut)));
        assert!(may_pass(&dead()) && !may_pass(&mute), "a connection that broke is tried again, silence is not");
    }
}
