//! How much people are asked at once, and that they are not bothered with what nobody waits for.

use exeat_crds::v1alpha1::{ApprovalPhase, Phase};
use exeat_crds::{CredentialSession, condition};
use exeat_e2e::approvals::{approval_phase, lists, told};
use exeat_e2e::{Result, Scope, agent, deployment, ensure, holds_for, in_namespace, shell, wait_for};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

const UPGRADE: &str =
    "helm upgrade exeat charts/exeat --namespace exeat-system --reuse-values --wait --timeout 3m --set-json";
const BOUND: usize = 3;
const PODS: usize = 12;

/// Runs with settings of the controller, and takes them back.
async fn with_settings(settings: &[(&str, &str)], run: impl AsyncFnOnce() -> Result) -> Result {
    let env: Vec<_> = settings.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    shell(&format!("{UPGRADE} 'controller.extraEnv={}'", json!(env))).await?.ok()?;
    let outcome = run().await;
    shell(&format!("{UPGRADE} 'controller.extraEnv=[]'")).await?.ok()?;
    outcome
}

async fn open(ns: &Scope) -> Result<usize> {
    let open = |a: &&exeat_crds::Approval| approval_phase(a) == ApprovalPhase::Pending;
    Ok(ns.approvals().await?.iter().filter(open).count())
}

#[tokio::test]
async fn people_are_asked_no_more_at_once_than_the_bound_whoever_comes_at_once() -> Result {
    let _alone = crate::ALONE.lock().await;
    with_settings(&[("EXEAT_MAX_OPEN_APPROVALS", &BOUND.to_string())], async || {
        in_namespace("bound", async |ns| {
            ns.guarded(vec![lists()?]).await?;
            let ann = ns.approver("ann", &["security"]).await?;
            // Each is asked about alone.
            try_join_all((0..PODS).map(|i| {
                let (ns, pod) = (&ns, agent(&format!("agent-{i}"), "pods"));
                async move { ns.create::<Pod>(&pod).await }
            }))
            .await?;
            let waiting = ns.in_phase(Phase::AwaitingApproval, PODS, 90).await?;
            let asked = |s: &&CredentialSession| s.status.as_ref().is_some_and(|s| s.approval_ref.is_some());
            assert_eq!(waiting.iter().filter(asked).count(), BOUND);
            for session in waiting.iter().filter(|s| !asked(s)) {
                ensure!(told(session).1.contains("too much waits for them in this namespace"), "{:?}", told(session));
            }
            // Longer than the others wait until they look again.
            holds_for("no further question is asked", 15, async || {
                let asked = ns.approvals().await?.len();
                ensure!(asked == BOUND, "{asked}");
                Ok(())
            })
            .await?;
            for opened in 1..=PODS {
                let question = wait_for("a question", 30, async || {
                    let open = open(&ns).await?;
                    ensure!(open <= BOUND, "{open} at once");
                    let found = ns.approvals().await?.into_iter().find(|a| approval_phase(a) == ApprovalPhase::Pending);
                    found.ok_or_else(|| exeat_e2e::Failure::new("there is none"))
                })
                .await?;
                ann.approves(&ns, &question).await?;
                ns.settled(&question.name_any(), ApprovalPhase::Approved, 20).await?;
                ensure!(ns.approvals().await?.len() <= opened + BOUND, "each word makes room for one");
            }
            ns.in_phase(Phase::Active, PODS, 60).await?;
            Ok(())
        })
        .await
    })
    .await
}

async fn scale(ns: &Scope, replicas: i32) -> Result {
    let body = json!({"spec": {"replicas": replicas}});
    ns.api::<Deployment>().patch("fleet", &PatchParams::default(), &Patch::Merge(&body)).await?;
    Ok(())
}

#[tokio::test]
async fn people_are_not_asked_any_longer_what_nobody_waits_for_and_who_comes_back_asks_anew() -> Result {
    let _alone = crate::ALONE.lock().await;
    with_settings(&[("EXEAT_APPROVAL_PATIENCE", "20s")], async || {
        in_namespace("deserted", async |ns| {
            ns.guarded(vec![lists()?]).await?;
            let ann = ns.approver("ann", &["security"]).await?;
            ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
            let first = ns.question().await?.name_any();
            // A pod that takes another's place waits for the same.
            let pods = ns.api::<Pod>().list(&ListParams::default()).await?.items;
            ns.api::<Pod>().delete(&pods[0].name_any(), &DeleteParams::default()).await?;
            wait_for("the next pod waits for the same", 60, async || {
                let waiting = ns.in_phase(Phase::AwaitingApproval, 1, 1).await?;
                let agent = &waiting[0].spec.request.agent.pod;
                let named = waiting[0].status.as_ref().and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.as_str());
                ensure!(Some(&agent.uid) != pods[0].uid().as_ref() && named == Some(&first), "{:?}", waiting[0]);
                Ok(())
            })
            .await?;
            holds_for("it is asked as long as somebody waits", 25, async || {
                let phases: Vec<_> = ns.approvals().await?.iter().map(|a| (a.name_any(), approval_phase(a))).collect();
                ensure!(phases == [(first.clone(), ApprovalPhase::Pending)], "{phases:?}");
                Ok(())
            })
            .await?;

            scale(&ns, 0).await?;
            let withdrawn = ns.settled(&first, ApprovalPhase::Expired, 90).await?;
            let conditions = withdrawn.status.clone().unwrap_or_default().conditions;
            let told = condition::get(&conditions, "Decided").map(|c| c.reason.as_str());
            assert_eq!(told, Some("ApprovalUnneeded"), "{conditions:?}");
            let said = ann.exeat(&ns, &["approve", &first, "-m", "late", "--yes"]).await?.failed()?;
            ensure!(said.contains("nobody needs it any more"), "{said}");

            scale(&ns, 1).await?;
            let second = ns.question().await?;
            assert_ne!(second.name_any(), first);
            ns.in_phase(Phase::AwaitingApproval, 1, 20).await?;
            assert_eq!(ns.in_phase(Phase::Denied, 0, 1).await?.len(), 0, "nobody is refused for it");
            ann.approves(&ns, &second).await?;
            ns.in_phase(Phase::Active, 1, 30).await?;
            Ok(())
        })
        .await
    })
    .await
}
