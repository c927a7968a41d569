//! The admission policies stand up again when they are taken away.

use exeat_e2e::{Failure, Result, connect, ensure, wait_for};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

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
