//! People can't be asked: the session says what stands in the way, and goes on once it is gone.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::approvals::{lists, told};
use exeat_e2e::{Result, agent, deployment, ensure, exeat, in_namespace, wait_for};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::DeleteParams;
use serde_json::{Value, json};

#[tokio::test]
async fn a_question_that_a_quota_keeps_out_shows_and_is_asked_once_there_is_room() -> Result {
    in_namespace("quota", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        let none: Value = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/approvals.exeat.dev": "0"}}});
        ns.create(&serde_json::from_value::<ResourceQuota>(none)?).await?;
        wait_for("the quota counts approvals", 90, async || {
            let used = ns.api::<ResourceQuota>().get("none").await?.status.and_then(|s| s.used).unwrap_or_default();
            ensure!(used.contains_key("count/approvals.exeat.dev"), "{used:?}");
            Ok(())
        })
        .await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 2)?).await?;
        let waiting = wait_for("both sessions say what stands in the way", 40, async || {
            let waiting = ns.in_phase(Phase::Pending, 2, 1).await?;
            for session in &waiting {
                let (reason, message) = told(session);
                let named = message.contains("approval fleet-") && message.contains("exceeded quota: none");
                ensure!(reason == "ApprovalNotCreated" && named, "{reason}: {message}");
                ensure!(message.contains("change the ResourceQuota"), "the fix is named: {message}");
            }
            Ok(waiting)
        })
        .await?;
        assert!(waiting.iter().all(|s| s.status.as_ref().is_some_and(|s| s.approval_ref.is_none())));
        let explained = exeat(&["--namespace", &ns.name, "explain", "deployment/fleet"]).await?;
        let explained = format!("{}{}", explained.stdout, explained.stderr);
        ensure!(explained.contains("ApprovalNotCreated") && explained.contains("exceeded quota: none"), "{explained}");

        ns.api::<ResourceQuota>().delete("none", &DeleteParams::default()).await?;
        let question = ns.question().await?;
        ns.in_phase(Phase::AwaitingApproval, 2, 40).await?;
        ann.approves(&ns, &question).await?;
        ns.in_phase(Phase::Active, 2, 30).await?;
        assert_eq!(ns.approvals().await?.len(), 1);
        Ok(())
    })
    .await
}
