//! The admission policies stand up again when they are taken away.

use exeat_crds::Approval;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::approvals::{lists, told};
use exeat_e2e::{
    Failure, Result, Scope, agent, connect, deployment, ensure, holds_for, in_namespace, kubectl, system, wait_for,
};
use futures::FutureExt;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::panic::{AssertUnwindSafe, resume_unwind};

const POLICIES: [&str; 6] =
    ["exeat-pods", "exeat-exec", "exeat-sessions", "exeat-approvals", "exeat-authors", "exeat-objects"];

#[tokio::test]
async fn removed_and_changed_admission_policies_are_put_back_in_seconds() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
    for name in POLICIES {
        let policy = policies.get(name).await?.spec.ok_or_else(|| Failure::new("no spec"))?;
        policies.delete(name, &DeleteParams::default()).await?;
        bindings.delete(name, &DeleteParams::default()).await?;
        wait_for(&format!("{name} is back"), 20, async || {
            let spec = policies.get(name).await?.spec.unwrap_or_default();
            ensure!(
                spec.validations == policy.validations && spec.match_constraints == policy.match_constraints,
                "{spec:?}"
            );
            bindings.get(name).await?;
            Ok(())
        })
        .await?;
    }
    let audit_only = json!({"spec": {"validationActions": ["Audit"]}});
    bindings.patch("exeat-sessions", &PatchParams::default(), &Patch::Merge(&audit_only)).await?;
    wait_for("the binding denies again", 20, async || {
        let actions = bindings.get("exeat-sessions").await?.spec.and_then(|s| s.validation_actions).unwrap_or_default();
        ensure!(actions.iter().any(|a| a == "Deny"), "{actions:?}");
        Ok(())
    })
    .await
}

/// Takes the right to put admission policies back away from the controller, and gives it back.
async fn helpless(ns: &Scope, run: impl AsyncFnOnce() -> Result) -> Result {
    let roles: Api<ClusterRole> = Api::all(ns.client.clone());
    let set = async |rules: serde_json::Value| {
        let body = Patch::Merge(json!({"rules": rules}));
        roles.patch("exeat-controller", &PatchParams::default(), &body).await
    };
    let rules = roles.get("exeat-controller").await?.rules.unwrap_or_default();
    let heals = |rule: &k8s_openapi::api::rbac::v1::PolicyRule| {
        rule.resources.iter().flatten().any(|r| r == "validatingadmissionpolicies")
            && rule.verbs.iter().any(|verb| verb == "patch")
    };
    let (taken, left): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| heals(rule));
    ensure!(taken.len() == 1, "{rules:?}");
    set(json!(left)).await?;
    // The tests that follow need what heals, whatever becomes of this one.
    let outcome = AssertUnwindSafe(run()).catch_unwind().await;
    set(json!(rules)).await?;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What the leader says of an admission policy: 1, it stands. The other replica says nothing.
async fn stands(ns: &Scope, name: &str) -> Result<Vec<String>> {
    let series = format!("exeat_admission_policies_healthy{{policy=\"{name}\"}} ");
    let mut values = Vec::new();
    for pod in system::pods(&ns.client, "controller").await? {
        let metrics = system::get(&ns.client, &pod.name_any(), "/metrics").await?;
        values.extend(metrics.lines().filter_map(|line| line.strip_prefix(&series)).map(str::to_owned));
    }
    Ok(values)
}

#[tokio::test]
async fn while_an_admission_policy_is_missing_no_yes_is_used() -> Result {
    const NAME: &str = "exeat-approvals";
    let _alone = crate::ALONE.lock().await;
    in_namespace("missing", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
        let question = ns.question().await?;
        let used =
            async || ns.api::<Approval>().get(&question.name_any()).await.map(|a| a.status.unwrap_or_default().used);
        helpless(&ns, async || {
            wait_for("the controller may not put it back", 20, async || {
                let who = "--as=system:serviceaccount:exeat-system:exeat-controller";
                let what = format!("validatingadmissionpolicies.admissionregistration.k8s.io/{NAME}");
                kubectl(&["auth", "can-i", "patch", &what, who]).await?.failed()
            })
            .await?;
            let policies: Api<ValidatingAdmissionPolicy> = Api::all(ns.client.clone());
            policies.delete(NAME, &DeleteParams::default()).await?;
            wait_for("it is known to be missing", 20, async || {
                let values = stands(&ns, NAME).await?;
                ensure!(values == ["0"], "{values:?}");
                Ok(())
            })
            .await?;
            ann.approves(&ns, &question).await?;
            wait_for("the session says what is missing", 20, async || {
                let pending = ns.in_phase(Phase::Pending, 1, 0).await?;
                let (reason, message) = told(&pending[0]);
                ensure!(reason == "BackstopMissing" && message.contains("admission policy"), "{reason}: {message}");
                Ok(())
            })
            .await?;
            holds_for("the yes is not used", 4, async || {
                ns.in_phase(Phase::Active, 0, 0).await?;
                ensure!(used().await? == 0, "it was used");
                Ok(())
            })
            .await
        })
        .await?;
        ns.in_phase(Phase::Active, 1, 40).await?;
        ensure!(used().await? == 1 && stands(&ns, NAME).await? == ["1"], "it stands again, and the yes is used");
        Ok(())
    })
    .await
}
