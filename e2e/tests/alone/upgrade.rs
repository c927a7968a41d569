//! Another release comes, and the former one is taken back, while agents work.

use exeat_crds::names;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{Result, Scope, agent, ensure, in_namespace, kubernetes_policy, script, shell, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const EACH_SECOND: &str = "while kubectl get pods -o name >/dev/null; do sleep 1; done; echo broken; sleep 86400";
/// The same image under the tag of another release.
const TAG: &str = "ctr -a $EXEAT_RUN_DIR/containerd.sock -n k8s.io images tag --force docker.io/exeat/sidecar:dev docker.io/exeat/sidecar:next";
const UPGRADE: &str = "helm upgrade exeat charts/exeat --namespace exeat-system --reuse-values --wait --timeout 3m \
    --set sidecar.image.tag=next --set sidecar.logLevel=debug";

fn sidecar_image(pod: &Pod) -> Option<String> {
    let init = pod.spec.as_ref()?.init_containers.as_ref()?;
    init.iter().find(|c| c.name == names::SIDECAR)?.image.clone()
}

/// A new pod works, with the sidecar of the release that stands now.
async fn newcomer(ns: &Scope, name: &str, tag: &str) -> Result {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    wait_for("new pods get the sidecar of this release", 60, async || {
        let image = sidecar_image(&ns.api::<Pod>().create(&dry_run, &agent(name, "pods")).await?);
        ensure!(image.as_deref().is_some_and(|image| image.ends_with(tag)), "{image:?}");
        Ok(())
    })
    .await?;
    ns.create(&agent(name, "pods")).await?;
    ns.started(name).await?;
    ns.sh(name, "kubectl get pods -o name").await?.ok()?;
    Ok(())
}

/// Pods of whatever release are not frozen beyond what they were admitted with.
async fn labels_can_change(ns: &Scope, name: &str, value: &str) -> Result {
    let merge =
        |body: Value| async move { ns.api::<Pod>().patch(name, &PatchParams::default(), &Patch::Merge(&body)).await };
    merge(json!({"metadata": {"labels": {"team": value}}})).await?;
    let refused = merge(json!({"metadata": {"labels": {names::INJECTED_LABEL: "no"}}})).await;
    ensure!(refused.is_err(), "the marks of injection stay fixed");
    Ok(())
}

#[tokio::test]
async fn agents_do_not_notice_an_upgrade_and_its_rollback() -> Result {
    let _alone = crate::ALONE.lock().await;
    let outcome = in_namespace("upgrade", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.spec.session.credential_ttl = Some("1m".to_owned());
        ns.ready(policy).await?;
        ns.start(script("agent", "pods", EACH_SECOND)).await?;
        shell(TAG).await?.ok()?;
        shell(UPGRADE).await?.ok()?;
        labels_can_change(&ns, "agent", "upgraded").await?;
        newcomer(&ns, "upgraded", ":next").await?;

        shell("helm rollback exeat --namespace exeat-system --wait --timeout 3m").await?.ok()?;
        labels_can_change(&ns, "upgraded", "rolled-back").await?;
        newcomer(&ns, "rolled-back", ":dev").await?;
        for pod in ["agent", "upgraded"] {
            ns.sh(pod, "kubectl get pods -o name").await?.ok()?;
        }
        let log = ns.log("agent", "agent").await?;
        assert!(!log.contains("broken"), "a call failed: {log}");
        let session = ns.session("upgraded", 1, Phase::Active, 5).await?;
        ns.revoke(&session, "a session of the other release").await?;
        ns.session("upgraded", 1, Phase::Revoked, 10).await?;
        assert!(ns.session("agent", 1, Phase::Active, 5).await?.uid().is_some());
        Ok(())
    })
    .await;
    if outcome.is_err() {
        shell("helm rollback exeat 1 --namespace exeat-system --wait --timeout 3m").await?.ok()?;
    }
    outcome
}
