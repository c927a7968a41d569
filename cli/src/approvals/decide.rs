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
use serde_json::{Value, json};

/// Longest comment, characters.
const MAX_COMMENT: usize = 512;
/// Writes before giving up: others decide at the same time.
const TRIES: usize = 4;

/// `approve` or `deny`.
///
/// # Errors
/// When who decides can't be told, or a decision can't be written.
pub async fn run(cluster: &Cluster, args: &DecideArgs, verdict: Verdict, out: &mut Out<'_>) -> Result<Exit, Error> {
    if args.message.trim().is_empty() || args.message.chars().count() > MAX_COMMENT {
        return Err(Error::Usage(format!("--message: 1 to {MAX_COMMENT} characters: others read why")));
    }
    let api: Api<Approval> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut worst = Exit::Done;
    for name in &args.names {
        let exit = one(cluster, &api, name, args, verdict, out).await?;
        if exit != Exit::Done {
            worst = exit;
        }
    }
    Ok(worst)
}

async fn one(
    cluster: &Cluster,
    api: &Api<Approval>,
    name: &str,
    args: &DecideArgs,
    verdict: Verdict,
    out: &mut Out<'_>,
) -> Result<Exit, Error> {
    let approval = get(api, name, &cluster.namespace).await?;
    let me = me(cluster, &approval).await?;
    out.notes(&show::describe(&approval, clock::now()))?;
    if let Err(why) = precheck::check(&approval, &me, verdict, clock::now()) {
        out.note(&format!("{name}: not {}: {why}", past(verdict)))?;
        return Ok(Exit::Denied);
    }
    if !args.yes {
        let question = if verdict == Verdict::Approve { "Approve this?" } else { "Deny this?" };
        if !out.confirm(question)? {
            out.note("Nothing was written.")?;
            return Ok(Exit::Denied);
        }
    }
    write(api, &cluster.namespace, approval, &me, args, verdict).await?;
    let after = get(api, name, &cluster.namespace).await?;
    out.text(&format!("{name}: {} by {}; {}\n", past(verdict), me.username, standing(&after, clock::now())))?;
    Ok(Exit::Done)
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
            "there is no approval {name:?} in namespace {namespace}; `kubectl exeat approvals` lists them"
        ))
    })
}

/// What was shown is what is decided: the digest is that of the request on the screen, and a request never changes.
async fn write(
    api: &Api<Approval>,
    namespace: &str,
    shown: Approval,
    me: &Me,
    args: &DecideArgs,
    verdict: Verdict,
) -> Result<(), Error> {
    let name = shown.metadata.name.clone().unwrap_or_default();
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut latest = shown.clone();
    for attempt in 1..=TRIES {
        let body = patch(&latest, &shown, me, &args.message, verdict);
        let patch: Patch<()> =
            Patch::Json(serde_json::from_value(body).map_err(|error| Error::Format(error.to_string()))?);
        match api.patch(&name, &params, &patch).await {
            Ok(_) => return Ok(()),
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

/// Who the API server says that we are, and whether its authorizer grants us the verb.
async fn me(cluster: &Cluster, approval: &Approval) -> Result<Me, Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = review
        .map_err(Error::api("who you are can't be told"))?
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
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
    let may = access.ok().and_then(|access| access.status).map(|status| status.allowed);
    Ok(Me { username: user.username.unwrap_or_default(), groups: user.groups.unwrap_or_default(), may })
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
