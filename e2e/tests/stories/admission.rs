//! The admission policies of the API server, attacked with all rights but ours.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{Approval, CredentialSession, names};
use exeat_e2e::{AgentPod, Result, Scope, agent, in_namespace, kubectl, kubernetes_policy, refused};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

async fn running(ns: &Scope) -> Result<CredentialSession> {
    ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
    ns.start(agent("agent", "pods")).await?;
    ns.session("agent", 1, Phase::Active, 10).await
}

async fn patch_pod(ns: &Scope, body: &Value) -> Result<String> {
    let patched = ns.api::<Pod>().patch("agent", &PatchParams::default(), &Patch::Strategic(body)).await;
    Ok(refused(&body.to_string(), patched)?.message)
}

#[tokio::test]
async fn sessions_are_written_by_our_accounts_only() -> Result {
    in_namespace("sessions", async |ns| {
        let session = running(&ns).await?;
        let api = ns.api::<CredentialSession>();
        let name = session.name_any();
        let mut forged = CredentialSession::new("forged", session.spec.clone());
        forged.spec.request.number = 7;
        let created = api.create(&PostParams::default(), &forged).await;
        assert!(refused("a forged session", created)?.message.contains("only the controller opens sessions"));

        let merge = async |body: Value| api.patch(&name, &PatchParams::default(), &Patch::Merge(&body)).await;
        let wider =
            merge(json!({"spec": {"request": {"allow": [{"actions": ["get *"], "resources": ["default/*"]}]}}})).await;
        assert!(refused("another request", wider)?.message.contains("immutable"));
        let unlabelled = merge(json!({"metadata": {"labels": {names::POD_UID_LABEL: "another"}}})).await;
        assert!(refused("another label", unlabelled)?.message.contains("only spec.revoke"));
        let held = merge(json!({"metadata": {"finalizers": ["team.example/keep"]}})).await;
        assert!(refused("a finalizer", held)?.message.contains("only spec.revoke"));
        for status in [
            json!({"expiresAt": "2099-01-01T00:00:00Z"}),
            json!({"phase": "Pending"}),
            json!({"issuance": {"handle": "x"}}),
        ] {
            let body = json!({"status": status});
            let patched = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&body)).await;
            refused(&body.to_string(), patched)?;
        }
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        assert!(refused("deletion of a session", deleted)?.message.contains("set spec.revoke"));

        ns.revoke(&session, "done").await?;
        let revoked = ns.session("agent", 1, Phase::Revoked, 10).await?;
        let taken_back = merge(json!({"spec": {"revoke": null}})).await;
        refused("a revocation taken back", taken_back)?;
        let forgotten = api.delete(&revoked.name_any(), &DeleteParams::default()).await;
        assert!(refused("deletion of a revoked session", forgotten)?.message.contains("removed by age"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_pod_was_admitted_with_stays() -> Result {
    in_namespace("frozen", async |ns| {
        running(&ns).await?;
        let metadata = |key: &str, value: Value| json!({"metadata": {key: value}});
        for (body, said) in [
            (metadata("annotations", json!({names::POLICY: "other"})), "fixed at creation"),
            (metadata("annotations", json!({names::POLICY: null})), "fixed at creation"),
            (metadata("annotations", json!({names::ALLOW: "get pods on x/*"})), "fixed at creation"),
            (metadata("annotations", json!({"policy.exeat.dev/agent": "other"})), "fixed at creation"),
            (metadata("labels", json!({names::INJECTED_LABEL: null})), "labels exeat.dev/*"),
            (
                json!({"spec": {"initContainers": [{"name": names::SIDECAR, "image": "exeat.test/agent:1"}]}}),
                "image of the container exeat-sidecar",
            ),
        ] {
            let refusal = patch_pod(&ns, &body).await?;
            assert!(refusal.contains(said), "{body}: {refusal}");
        }
        let harmless = metadata("labels", json!({"team": "blue"}));
        ns.api::<Pod>().patch("agent", &PatchParams::default(), &Patch::Strategic(&harmless)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nobody_gets_into_the_sidecar() -> Result {
    in_namespace("inside", async |ns| {
        running(&ns).await?;
        // Pod Security would refuse some of it before us.
        let lax = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
        Api::<Namespace>::all(ns.client.clone()).patch(&ns.name, &PatchParams::default(), &Patch::Merge(&lax)).await?;
        for command in ["exec", "attach"] {
            let tail: &[&str] = if command == "exec" { &["--", "/exeat-sidecar", "--version"] } else { &[] };
            let arguments = [&["-n", &ns.name, command, "agent", "-c", names::SIDECAR][..], tail].concat();
            let refusal = kubectl(&arguments).await?.failed()?;
            assert!(refusal.contains("exeat-sidecar are closed"), "{command}: {refusal}");
        }
        let debug = |extra: Value| {
            let mut container = json!({
                "name": "debug", "image": "exeat.test/agent:1", "command": ["sleep", "60"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            });
            if let (Some(container), Value::Object(extra)) = (container.as_object_mut(), extra) {
                container.extend(extra);
            }
            json!({"spec": {"ephemeralContainers": [container]}})
        };
        let mount = |name: &str| json!({"volumeMounts": [{"name": name, "mountPath": "/x"}]});
        for (extra, said) in [
            (json!({"targetContainerName": names::SIDECAR}), "can't target exeat-sidecar"),
            (mount(names::IDENTITY_VOLUME), "mount its volumes"),
            (mount(names::RUN_VOLUME), "mount its volumes"),
            (json!({"securityContext": {"privileged": true}}), "can't be privileged"),
            (json!({"securityContext": {"capabilities": {"add": ["NET_RAW"]}}}), "can't be privileged or add"),
        ] {
            let body = debug(extra);
            let api = ns.api::<Pod>();
            let patched =
                api.patch_ephemeral_containers("agent", &PatchParams::default(), &Patch::Strategic(&body)).await;
            let refusal = refused(&body.to_string(), patched)?.message;
            assert!(refusal.contains(said), "{body}: {refusal}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_without_annotation_gets_none_of_what_is_ours() -> Result {
    in_namespace("forged", async |ns| {
        let plain = || {
            let mut pod = agent("a", "x");
            pod.metadata.annotations = None;
            pod
        };
        let sources = json!([{"serviceAccountToken": {"audience": names::DEFAULT_AUDIENCE, "path": "token"}}]);
        let token = serde_json::from_value(json!({"name": "mine", "projected": {"sources": sources}}))?;
        let mut labelled = plain();
        labelled.metadata.labels = Some([(names::INJECTED_LABEL.to_owned(), "true".to_owned())].into());
        for (what, pod) in [
            ("a token with our audience", plain().with(|s| s.volumes = Some(vec![token]))),
            ("our label", labelled),
            ("our container's name", plain().with_agent(|c| c.name = names::SIDECAR.to_owned())),
        ] {
            let refusal = ns.expect_refused(&pod).await?;
            assert!(refusal.contains("belong to injected pods"), "{what}: {refusal}");
        }
        ns.create(&plain()).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn approvals_and_status_are_nobody_elses_to_write() -> Result {
    in_namespace("approvals", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let mut mine = ns.asked("asked", json!([])).await?;
        mine.metadata = kube::api::ObjectMeta { name: Some("mine".to_owned()), ..Default::default() };
        let created = ns.api::<Approval>().create(&PostParams::default(), &mine).await;
        assert!(refused("an approval of one's own", created)?.message.contains("only the controller creates"));

        let api = ns.api::<exeat_crds::AgentCredentialPolicy>();
        let body = json!({"status": {"authorityHash": "forged"}});
        let patched = api.patch_status("pods", &PatchParams::default(), &Patch::Merge(&body)).await;
        assert!(refused("a forged status", patched)?.message.contains("status is written by Exeat alone"));
        Ok(())
    })
    .await
}
