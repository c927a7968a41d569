//! Another release comes, and the former one is taken back, while agents work.

use exeat_crds::names;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    AgentPod, Result, Scope, agent, connect, ensure, in_namespace, kubernetes_policy, refused, script, shell, wait_for,
};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const EACH_SECOND: &str = "while kubectl get pods -o name >/dev/null; do sleep 1; done; echo broken; sleep 86400";
/// The same image under the tag of another release.
const TAG: &str = "ctr -a $EXEAT_RUN_DIR/containerd.sock -n k8s.io images tag --force docker.io/exeat/sidecar:dev docker.io/exeat/sidecar:next";
const UPGRADE: &str = "helm upgrade exeat charts/exeat --namespace exeat-system --reuse-values --wait --timeout 3m \
    --set sidecar.image.tag=next --set sidecar.logLevel=debug";

fn sidecar_image(pod: &Pod) -> Option<String> {
    let init = pod.spec.as_ref()?.init_containers.as_ref()?;
    init.iter().find(|c| c.name == names::SIDECAR)?.image.clone()
}

/// Installs another release while new pods are asked for all the time, until one has the sidecar of that release: none may be refused.
async fn while_pods_are_created(ns: &Scope, command: &str, tag: &str) -> Result {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut installing = std::pin::pin!(shell(command));
    let (mut images, mut created, mut refusals) = (BTreeSet::new(), 0, Vec::new());
    let mut create = async || {
        match ns.api::<Pod>().create(&dry_run, &agent("asked-for", "pods")).await {
            Ok(pod) => {
                created += 1;
                images.extend(sidecar_image(&pod));
            }
            Err(error) => refusals.push(error.to_string()),
        }
        ensure!(images.iter().any(|image| image.ends_with(tag)), "the images are {images:?}");
        Ok(())
    };
    loop {
        let _ = create().await;
        if let Ok(installed) = tokio::time::timeout(Duration::from_millis(50), installing.as_mut()).await {
            installed?.ok()?;
            break;
        }
    }
    wait_for("a pod has the sidecar of this release", 60, create).await?;
    println!("{created} pods were admitted meanwhile, with {images:?}");
    ensure!(images.len() == 2 && refusals.is_empty(), "{images:?}; {} were refused: {refusals:?}", refusals.len());
    Ok(())
}

/// Only one image counts as the sidecar's once no replica of the other release is left; a pod with the other one by hand is refused.
async fn only_image_is(ns: &Scope, tag: &str, other: &str) -> Result {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(ns.client.clone());
    let image = wait_for("one image is left", 60, async || {
        let policy = policies.get(names::SIDECAR_POLICY).await?;
        let image = policy.annotations().get(names::SIDECAR_IMAGES).cloned().unwrap_or_default();
        ensure!(image.ends_with(tag) && !image.contains(','), "{image}");
        Ok(image)
    })
    .await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let injected = ns.api::<Pod>().create(&dry_run, &agent("by-hand", "pods")).await?;
    let mut by_hand = agent("by-hand", "pods");
    let sidecar = injected.spec.and_then(|spec| spec.init_containers).into_iter().flatten().next();
    by_hand = by_hand.with(|spec| {
        let sidecar = sidecar.map(|c| Container { image: Some(image.replace(tag, other)), volume_mounts: None, ..c });
        spec.init_containers = Some(sidecar.into_iter().collect());
    });
    // The API server takes up a changed policy once a second.
    wait_for("the other image is refused", 10, async || {
        let refusal = refused("by-hand", ns.api::<Pod>().create(&dry_run, &by_hand).await)?.message;
        ensure!(refusal.contains("initContainers[name=exeat-sidecar].image"), "{refusal}");
        Ok(())
    })
    .await
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
        while_pods_are_created(&ns, UPGRADE, ":next").await?;
        only_image_is(&ns, ":next", ":dev").await?;
        labels_can_change(&ns, "agent", "upgraded").await?;
        newcomer(&ns, "upgraded", ":next").await?;

        let back = "helm rollback exeat --namespace exeat-system --wait --timeout 3m";
        while_pods_are_created(&ns, back, ":dev").await?;
        only_image_is(&ns, ":dev", ":next").await?;
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
    if let Err(error) = &outcome {
        eprintln!("{error}");
        shell("helm rollback exeat 1 --namespace exeat-system --wait --timeout 3m").await?.ok()?;
    }
    outcome
}

#[tokio::test]
async fn the_list_of_images_is_put_back() -> Result {
    let _alone = crate::ALONE.lock().await;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(connect().await?);
    let before = policies.get(names::SIDECAR_POLICY).await?;
    ensure!(before.annotations().contains_key(names::SIDECAR_IMAGES), "no image is listed");
    let open = json!([{"name": "another-image", "expression": "false"}]);
    let forged = [
        json!({"metadata": {"annotations": {names::SIDECAR_IMAGES: "registry.evil.test/sidecar:1"}}}),
        json!({"spec": {"matchConditions": open}}),
        json!({"spec": {"validations": [{"expression": "true"}]}}),
    ];
    for change in forged {
        policies.patch(names::SIDECAR_POLICY, &PatchParams::default(), &Patch::Merge(&change)).await?;
        wait_for("the policy is as it was", 20, async || {
            let now = policies.get(names::SIDECAR_POLICY).await?;
            ensure!(now.spec == before.spec && now.annotations() == before.annotations(), "{now:?}");
            Ok(())
        })
        .await?;
    }
    policies.delete(names::SIDECAR_POLICY, &DeleteParams::default()).await?;
    wait_for("the policy is back", 20, async || {
        let now = policies.get(names::SIDECAR_POLICY).await?;
        ensure!(now.spec == before.spec, "{now:?}");
        Ok(())
    })
    .await
}
