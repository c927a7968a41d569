//! Several people decide at once, on the real API server.

use exeat_crds::Approval;
use exeat_crds::v1alpha1::{ApprovalPhase, Verdict};
use exeat_e2e::approvals::Actor;
use exeat_e2e::{Result, Scope, ensure, in_namespace};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// How often it is tried: who comes first is chance.
const ROUNDS: usize = 5;

/// A word as kubectl's JSON patch writes it, and the refusal if it is refused.
async fn says(ns: &Scope, actor: &Actor, approval: &Approval, word: Verdict) -> Result<Option<String>> {
    let digest = &approval.spec.request.digest;
    let value = json!({"approver": actor.user, "decision": word, "digest": digest, "comment": "at once"});
    let add = serde_json::from_value(json!([{"op": "add", "path": "/spec/decisions/-", "value": value}]))?;
    let patch = Patch::Json::<()>(add);
    match actor.approvals(ns).patch(&approval.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

async fn said(ns: &Scope, name: &str) -> Result<Vec<(String, Verdict)>> {
    let mut decisions = ns.api::<Approval>().get(name).await?.spec.decisions;
    decisions.sort_by(|a, b| a.approver.cmp(&b.approver));
    Ok(decisions.into_iter().map(|d| (d.approver, d.decision)).collect())
}

#[tokio::test]
async fn who_decide_at_once_are_both_heard_and_a_no_beside_a_yes_wins() -> Result {
    use Verdict::{Approve, Deny};
    let words = |ben: Verdict| [("ann".to_owned(), Approve), ("ben".to_owned(), ben)];
    in_namespace("at-once", async |ns| {
        let (ann, ben) = (ns.approver("ann", &["security"]).await?, ns.approver("ben", &["data"]).await?);
        for round in 0..ROUNDS {
            let name = format!("both-{round}");
            let approval = ns.asked(&name, json!([])).await?;
            let told = tokio::try_join!(says(&ns, &ann, &approval, Approve), says(&ns, &ben, &approval, Approve))?;
            assert_eq!((told, said(&ns, &name).await?), ((None, None), words(Approve).to_vec()), "{name}");
            let settled = ns.settled(&name, ApprovalPhase::Approved, 20).await?.status.unwrap_or_default();
            assert_eq!(settled.heard.len(), 2, "{settled:?}");

            let name = format!("beside-{round}");
            let approval = ns.asked(&name, json!([])).await?;
            let (yes, no) = tokio::try_join!(says(&ns, &ann, &approval, Approve), says(&ns, &ben, &approval, Deny))?;
            assert_eq!(no, None, "a no is always heard");
            ns.settled(&name, ApprovalPhase::Denied, 20).await?;
            let said = said(&ns, &name).await?;
            match yes {
                None => assert_eq!(said, words(Deny), "{name}"),
                // The controller had seen the no before the yes was judged.
                Some(told) => {
                    ensure!(told.contains("somebody has said no already") && said == words(Deny)[1..], "{told}")
                }
            }
        }
        Ok(())
    })
    .await
}
