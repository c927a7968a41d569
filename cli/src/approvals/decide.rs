//! `approve` and `deny`: who am I, what exactly is asked, one word, written as a JSON patch that fails if anything changed meanwhile.

use super::precheck::{self, Me};
use super::{DecideArgs, show};
use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit, api_message, is_forbidden};
use crate::output::Out;
use crate::revoke::act::MANAGER;
use exeat_crds::Approval;
use exeat_crds::approval::{State, state};
use exeat_crds::v1alpha1::Verdict;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::{Value, json};

/// Longest comment, characters.
const MAX_COMMENT: usize = 512;
/// Writes before giving up: others decide at the same time.
const TRIES: usize = 4;

/// What became of one name, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    name: String,
    namespace: String,
    decision: Verdict,
    /// Whether it is stored now.
    written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why it is not stored, or what all have said comes to.
    message: String,
}

/// Who decides, as the API server sees it.
struct Who {
    username: String,
    groups: Vec<String>,
}

/// Judges the arguments.
///
/// # Errors
/// A message that is none, or too long.
pub fn check(args: &DecideArgs) -> Result<(), Error> {
    if args.message.trim().is_empty() || args.message.chars().count() > MAX_COMMENT {
        return Err(Error::Usage(format!("--message: 1 to {MAX_COMMENT} characters: others read why")));
    }
    Ok(())
}

/// `approve` or `deny`: one name after the other, whatever became of those before it.
///
/// # Errors
/// When who decides can't be told, and what would be wrong with every name.
pub async fn run(cluster: &Cluster, args: &DecideArgs, verdict: Verdict, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<Approval> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let who = who(cluster).await?;
    let (mut worst, mut told, mut stop) = (Exit::Done, Vec::new(), None);
    for name in &args.names {
        let outcome = |written, message| Outcome {
            name: name.clone(),
            namespace: cluster.namespace.clone(),
            decision: verdict,
            written,
            by: Some(who.username.clone()).filter(|_| written),
            message,
        };
        let exit = match one(cluster, &api, name, &who, args, verdict, out).await {
            Ok(standing) => {
                if !out.is_data() {
                    out.text(&format!("{name}: {} by {}; {standing}\n", past(verdict), who.username))?;
                }
                told.push(outcome(true, standing));
                Exit::Done
            }
            Err(Stopped::Refused(why)) => {
                out.note(&format!("{name}: not {}: {why}", past(verdict)))?;
                told.push(outcome(false, why));
                Exit::Denied
            }
            Err(Stopped::Error(error)) if error.is_for_all() => {
                stop = Some(error);
                break;
            }
            Err(Stopped::Error(error)) => {
                out.note(&format!("error: {error}"))?;
                told.push(outcome(false, error.to_string()));
                error.exit()
            }
        };
        worst = worse(worst, exit);
    }
    if out.is_data() && (stop.is_none() || !told.is_empty()) {
        out.data(&told)?;
    }
    stop.map_or(Ok(worst), Err)
}

/// An error weighs more than a no.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Failed, _) | (_, Exit::Done) => one,
        _ => other,
    }
}

/// Why one decision was not written.
enum Stopped {
    /// It would be refused, or nobody wanted it after all.
    Refused(String),
    /// Something went wrong, or the API server refused.
    Error(Error),
}

impl<E: Into<Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// What all have said comes to once this word is written.
async fn one(
    cluster: &Cluster,
    api: &Api<Approval>,
    name: &str,
    who: &Who,
    args: &DecideArgs,
    verdict: Verdict,
    out: &mut Out<'_>,
) -> Result<String, Stopped> {
    let approval = get(api, name, &cluster.namespace).await?;
    let may = may(cluster, &approval).await;
    let me = Me { username: who.username.clone(), groups: who.groups.clone(), may };
    out.notes(&show::describe(&approval, clock::now()))?;
    precheck::check(&approval, &me, verdict, clock::now()).map_err(Stopped::Refused)?;
    if !args.yes {
        let question = if verdict == Verdict::Approve { "Approve this?" } else { "Deny this?" };
        if !out.confirm(question)? {
            return Err(Stopped::Refused("nothing was written, as you said".to_owned()));
        }
    }
    let after = write(api, &cluster.namespace, approval, &me, args, verdict).await?;
    Ok(standing(&after, clock::now()))
}

fn past(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    }
}

/// What all have said comes to. The controller writes it into the status a moment later.
fn standing(approval: &Approval, now: Timestamp) -> String {
    match state(&approval.spec.request, &approval.spec.decisions, now) {
        State::Approved => "nobody is missing".to_owned(),
        State::Denied { .. } => "a no wins: nothing is opened under it".to_owned(),
        State::Open(missing) => format!("still missing: {}", missing.join(", ")),
    }
}

async fn get(api: &Api<Approval>, name: &str, namespace: &str) -> Result<Approval, Error> {
    let found = api.get_opt(name).await.map_err(Error::api(format!("approval {name}")))?;
    found.ok_or_else(|| {
        Error::NotFound(format!(
            "there is no approval {name:?} in namespace {namespace}; `kubectl exeat approvals --all -n {namespace}` lists those there, -A those of all namespaces"
        ))
    })
}

/// What was shown is what is decided: the digest is that of the request on the screen, and a request never changes. Gives the approval as it
/// was stored: reading it once more could fail, and the word stands all the same.
async fn write(
    api: &Api<Approval>,
    namespace: &str,
    shown: Approval,
    me: &Me,
    args: &DecideArgs,
    verdict: Verdict,
) -> Result<Approval, Error> {
    let name = shown.metadata.name.clone().unwrap_or_default();
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut latest = shown.clone();
    for attempt in 1..=TRIES {
        let body = patch(&latest, &shown, me, &args.message, verdict);
        let patch: Patch<()> =
            Patch::Json(serde_json::from_value(body).map_err(|error| Error::Format(error.to_string()))?);
        match api.patch(&name, &params, &patch).await {
            Ok(written) => return Ok(written),
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) && attempt < TRIES => {
                let again = get(api, &name, namespace).await?;
                if again.metadata.resource_version == latest.metadata.resource_version {
                    return Err(Error::Denied(format!(
                        "approval {name}: {}",
                        exeat_crds::text::strip_hidden(&status.message)
                    )));
                }
                if let Err(why) = precheck::check(&again, me, verdict, clock::now()) {
                    return Err(Error::Denied(format!("approval {name} has changed meanwhile: {why}")));
                }
                latest = again;
            }
            Err(error) if is_forbidden(&error) => {
                return Err(Error::Denied(format!("approval {name}: the API server refuses: {}", api_message(&error))));
            }
            Err(error) => return Err(Error::api(format!("approval {name}"))(error)),
        }
    }
    Err(Error::Denied(format!("approval {name}: others decide at the same time; look again")))
}

/// Tested against the version that was read: nothing of others is overwritten.
fn patch(latest: &Approval, shown: &Approval, me: &Me, comment: &str, verdict: Verdict) -> Value {
    let digest = &shown.spec.request.digest;
    let decision = json!({"approver": me.username, "decision": verdict, "digest": digest, "comment": comment});
    let mine = latest.spec.decisions.iter().position(|d| d.approver == me.username);
    let change = match mine {
        Some(i) => json!({"op": "replace", "path": format!("/spec/decisions/{i}"), "value": decision}),
        None => json!({"op": "add", "path": "/spec/decisions/-", "value": decision}),
    };
    json!([{"op": "test", "path": "/metadata/resourceVersion", "value": latest.metadata.resource_version}, change])
}

/// Who the API server says that we are.
async fn who(cluster: &Cluster) -> Result<Who, Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = review
        .map_err(Error::api("who you are can't be told"))?
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
    Ok(Who { username: user.username.unwrap_or_default(), groups: user.groups.unwrap_or_default() })
}

/// Whether the authorizer grants us the verb; `None` where it does not say.
async fn may(cluster: &Cluster, approval: &Approval) -> Option<bool> {
    let attributes = ResourceAttributes {
        group: Some(exeat_crds::GROUP.to_owned()),
        resource: Some("agentcredentialpolicies".to_owned()),
        name: Some(approval.spec.request.policy_ref.name.clone()),
        namespace: approval.metadata.namespace.clone(),
        verb: Some("approve".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() };
    let accesses: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let access = accesses
        .create(&PostParams::default(), &SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() })
        .await;
    access.ok().and_then(|access| access.status).map(|status| status.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::precheck::tests::approval;
    use exeat_crds::v1alpha1::ApprovalDecision;

    #[test]
    fn a_word_is_added_and_ones_own_is_replaced() {
        let me = Me { username: "dave".into(), ..Me::default() };
        let mut object = approval();
        object.metadata.resource_version = Some("7".into());
        let added = patch(&object, &object, &me, "fine", Verdict::Approve);
        assert_eq!(added[0]["value"], "7");
        assert_eq!((&added[1]["op"], &added[1]["path"]), (&json!("add"), &json!("/spec/decisions/-")));
        assert_eq!(
            added[1]["value"],
            json!({"approver": "dave", "decision": "Approve", "digest": object.spec.request.digest, "comment": "fine"})
        );
        let said = |who: &str| ApprovalDecision {
            approver: who.into(),
            uid: None,
            groups: Vec::new(),
            decision: Verdict::Approve,
            digest: "d".into(),
            comment: None,
            time: None,
        };
        let now = "2026-01-01T13:00:00Z".parse().unwrap();
        assert_eq!(standing(&object, now), "still missing: 1 of security");
        object.spec.decisions = vec![ApprovalDecision { decision: Verdict::Deny, ..said("erin") }];
        assert!(standing(&object, now).starts_with("a no wins"));
        object.spec.decisions = vec![said("erin"), said("dave")];
        let replaced = patch(&object, &object, &me, "no", Verdict::Deny);
        assert_eq!((&replaced[1]["op"], &replaced[1]["path"]), (&json!("replace"), &json!("/spec/decisions/1")));
    }
}
