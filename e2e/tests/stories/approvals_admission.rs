//! Who may say what on an approval; by the API server, as people with their own rights.

use exeat_crds::Approval;
use exeat_crds::approval::digest;
use exeat_crds::v1alpha1::{ApprovalDecision, Verdict};
use exeat_e2e::approvals::{Actor, EXCLUDED, Part, forge_each_field};
use exeat_e2e::{Result, Scope, ensure, in_namespace, now, refused, wait_for};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use serde_json::{Value, json};

async fn patch(actor: &Actor, ns: &Scope, name: &str, operations: Value) -> kube::Result<Approval> {
    // As kubectl sends it: a patch of single operations.
    let uri = format!("/apis/exeat.dev/v1alpha1/namespaces/{}/approvals/{name}", ns.name);
    let request = http::Request::patch(uri).header("content-type", "application/json-patch+json");
    actor.client.request(request.body(operations.to_string().into_bytes()).map_err(kube::Error::HttpError)?).await
}

fn says(approval: &Approval, who: &str, decision: &str) -> Value {
    json!({"approver": who, "decision": decision, "digest": approval.spec.request.digest})
}

fn add(decision: Value) -> Value {
    json!([{"op": "add", "path": "/spec/decisions/-", "value": decision}])
}

async fn decide(actor: &Actor, ns: &Scope, approval: &Approval, decision: &str) -> kube::Result<Approval> {
    patch(actor, ns, &approval.name_any(), add(says(approval, &actor.user, decision))).await
}

#[tokio::test]
async fn every_field_of_an_approval_is_forged_by_each_of_six() -> Result {
    in_namespace("forged-approvals", async |ns| {
        let approval = ns.half_approved("asked").await?;
        let six = ns.six().await?;
        let count = forge_each_field(&ns, &six, &approval, Part::Webhook).await?;
        println!("{count} forgeries were refused");
        let after = ns.api::<Approval>().get("asked").await?;
        assert_eq!(after.spec, approval.spec);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_client_writes_as_stamps_is_replaced_by_what_is_true() -> Result {
    in_namespace("stamps", async |ns| {
        let approval = ns.half_approved("asked").await?;
        let ann = ns.approver("ann", &["security", "staff"]).await?;
        let mut forged = says(&approval, "ann", "Approve");
        for (key, value) in [
            ("uid", json!("root")),
            ("groups", json!(["data", "staff", "system:masters"])),
            ("time", json!("1999-01-01T00:00:00Z")),
            ("comment", json!("fine\u{202E}\n")),
        ] {
            forged[key] = value;
        }
        let stored = patch(&ann, &ns, "asked", add(forged)).await?.spec.decisions;
        assert_eq!(stored[0], approval.spec.decisions[0], "what alice said stays as it was");
        let time = stored[1].time.clone().unwrap_or_default();
        let age = now().duration_since(time.parse::<Timestamp>()?).abs();
        ensure!(age < SignedDuration::from_secs(60) && !time.contains('.') && time.ends_with('Z'), "stamped at {time}");
        let expected = ApprovalDecision {
            approver: "ann".into(),
            uid: None,
            groups: vec!["security".into()],
            decision: Verdict::Approve,
            digest: digest(&approval.spec.request),
            comment: Some("fine".into()),
            time: Some(time),
        };
        assert_eq!(stored[1], expected);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nobody_approves_what_they_asked_for_and_nobody_else_but_the_groups() -> Result {
    in_namespace("eligible", async |ns| {
        let approval = ns.half_approved("asked").await?;
        let carol = ns.approver(EXCLUDED, &["security", "data"]).await?;
        let staff = ns.approver("stan", &["staff"]).await?;
        let said = refused("who asked", decide(&carol, &ns, &approval, "Approve").await)?.message;
        ensure!(said.contains("\"carol\" asked for this") && said.contains("ask somebody else"), "{said}");
        let said = refused("somebody else", decide(&staff, &ns, &approval, "Approve").await)?.message;
        ensure!(said.contains("in none of the groups that must approve (data, security)"), "{said}");

        // The right is one on this policy: that on a sibling does not help.
        let rules = json!([
            {"apiGroups": ["exeat.dev"], "resources": ["approvals"], "verbs": ["get", "list", "patch"]},
            {"apiGroups": ["exeat.dev"], "resources": ["agentcredentialpolicies"], "resourceNames": ["sibling"], "verbs": ["approve"]},
        ]);
        let role: Role = serde_json::from_value(json!({"metadata": {"name": "sibling"}, "rules": rules}))?;
        ns.create(&role).await?;
        ns.bind("sue", "Role", "sibling").await?;
        let sue = Actor::new("approver of a sibling", "sue", &["security"]).await?;
        let said = wait_for("sue is refused by us, not by RBAC", 20, async || {
            let said = refused("a sibling's approver", decide(&sue, &ns, &approval, "Deny").await)?.message;
            ensure!(!said.contains("cannot patch"), "{said}");
            Ok(said)
        })
        .await?;
        ensure!(said.contains("you need the verb approve on agentcredentialpolicies.exeat.dev writer"), "{said}");

        // A denial needs neither a group nor to be nobody's.
        let denied = decide(&carol, &ns, &approval, "Deny").await?;
        assert_eq!(denied.spec.decisions[1].decision, Verdict::Deny);
        let said = refused("a yes after a no", patch(&carol, &ns, "asked", json!([
            {"op": "replace", "path": "/spec/decisions/1/decision", "value": "Approve"},
        ])).await)?.message;
        ensure!(said.contains("can only change from Approve to Deny"), "{said}");
        Ok(())
    })
    .await
}
