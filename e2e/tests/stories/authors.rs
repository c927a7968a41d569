//! Who wrote it: stamped on policies, pods and holds, whatever their authors say.

use exeat_crds::v1alpha1::{CredentialHoldSpec, Owner};
use exeat_crds::{AgentCredentialPolicy, CredentialHold, names};
use exeat_e2e::approvals::Actor;
use exeat_e2e::{
    AgentPod, Output, Result, Scope, agent, ensure, in_namespace, kubernetes_policy, refused, shell, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn as_user(client: Client, ns: &Scope) -> Api<AgentCredentialPolicy> {
    Api::namespaced(client, &ns.name)
}

fn last_editor(policy: &AgentCredentialPolicy) -> Option<&str> {
    policy.annotations().get(names::LAST_EDITOR).map(String::as_str)
}

/// Somebody who may do everything in the namespace and use the provider.
async fn editor(ns: &Scope, user: &str) -> Result<Client> {
    ns.bind(user, "ClusterRole", "edit").await?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": format!("{}-{user}", ns.name)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "exeat-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))?;
    Api::all(ns.client.clone()).create(&PostParams::default(), &binding).await?;
    Ok(Actor::new("editor", user, &["team"]).await?.client)
}

async fn unbind(ns: &Scope, users: &[&str]) -> Result {
    for user in users {
        let bindings: Api<ClusterRoleBinding> = Api::all(ns.client.clone());
        bindings.delete(&format!("{}-{user}", ns.name), &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_names_who_changed_it_last_whatever_its_author_writes() -> Result {
    in_namespace("editors", async |ns| {
        let (eve, bob) = (as_user(editor(&ns, "eve").await?, &ns), as_user(editor(&ns, "bob").await?, &ns));
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.metadata.annotations = Some([(names::LAST_EDITOR.to_owned(), "bob".to_owned())].into());
        let created = wait_for("eve may write policies", 20, async || {
            Ok(eve.create(&PostParams::default(), &policy).await?)
        })
        .await?;
        assert_eq!(last_editor(&created), Some("eve"));

        let merge = async |api: &Api<AgentCredentialPolicy>, body: Value| {
            wait_for("the policy is written", 20, async || {
                Ok(api.patch("pods", &PatchParams::default(), &Patch::Merge(&body)).await?)
            })
            .await
        };
        let annotation = |value: Value| json!({"metadata": {"annotations": {names::LAST_EDITOR: value, "team": "blue"}}});
        for value in [json!("bob"), Value::Null] {
            assert_eq!(last_editor(&merge(&eve, annotation(value)).await?), Some("eve"), "the annotation alone");
        }
        let longer = |duration: &str, claimed: &str| {
            json!({"spec": {"session": {"duration": duration}}, "metadata": {"annotations": {names::LAST_EDITOR: claimed}}})
        };
        assert_eq!(last_editor(&merge(&bob, longer("2h", "eve")).await?), Some("bob"));
        let replaced = wait_for("no status is written in between", 20, async || {
            let mut replaced = eve.get("pods").await?;
            replaced.metadata.annotations = None;
            replaced.spec.owners = vec![Owner { user: "olga".into() }];
            Ok(eve.replace("pods", &PostParams::default(), &replaced).await?)
        })
        .await?;
        assert_eq!(last_editor(&replaced), Some("eve"));
        unbind(&ns, &["eve", "bob"]).await
    })
    .await
}

#[tokio::test]
async fn a_pod_names_the_person_who_created_it_and_a_workloads_pod_names_nobody() -> Result {
    in_namespace("requesters", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let pods = |client: &Client| Api::<Pod>::namespaced(client.clone(), &ns.name);
        let created = pods(&ns.client).create(&dry, &agent("agent", "pods").annotated(names::REQUESTER, "bob")).await?;
        assert_eq!(created.annotations().get(names::REQUESTER).map(String::as_str), Some("kubernetes-admin"));

        ns.bind("system:serviceaccount:ci:deployer", "ClusterRole", "edit").await?;
        let account = Actor::new("account", "system:serviceaccount:ci:deployer", &["system:serviceaccounts"]).await?;
        let created = wait_for("the account may create pods", 20, async || {
            Ok(pods(&account.client).create(&dry, &agent("agent", "pods").annotated(names::REQUESTER, "bob")).await?)
        })
        .await?;
        assert_eq!(created.annotations().get(names::REQUESTER), None);

        let pod = ns.create(&agent("agent", "pods")).await?;
        for value in [json!("bob"), Value::Null] {
            let body = json!({"metadata": {"annotations": {names::REQUESTER: value}}});
            let patched = pods(&ns.client).patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await;
            ensure!(refused("another requester", patched)?.message.contains("fixed at creation"), "{body}");
        }
        Ok(())
    })
    .await
}

/// The rules ask for a day; the pod is not run.
#[tokio::test]
async fn the_author_of_a_pod_is_told_that_people_are_asked_and_may_wait_for_them() -> Result {
    in_namespace("told", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods", "get pods"]);
        policy.spec.approval_rules = serde_json::from_value(json!([
            {"name": "lists", "actions": ["list *"], "required": [{"group": "security", "count": 1}], "deadline": "3h"},
        ]))?;
        ns.create(&policy).await?;
        let create = async |pod: &Pod| -> Result<Output> {
            let pod = serde_json::to_string(
                &json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod.metadata, "spec": pod.spec}),
            )?;
            shell(&format!("kubectl -n {} create --dry-run=server -o json -f - <<'END'\n{pod}\nEND", ns.name)).await
        };
        for (pod, told, wait, seconds) in [
            (agent("a", "pods").annotated(names::WAIT, "approval"), true, true, 3 * 3600 + 60),
            (agent("a", "pods").annotated(names::WAIT, "decision"), true, false, 120),
            (agent("a", "pods"), true, false, 120),
            (
                agent("a", "pods")
                    .annotated(names::WAIT, "approval")
                    .annotated(names::ALLOW, &format!("get pods on {}/*", ns.name)),
                false,
                true,
                120,
            ),
        ] {
            let output = create(&pod).await?;
            let warned = "people are asked before this pod gets credentials (1 of security; rules policy/lists)";
            assert_eq!(output.stderr.contains(warned), told, "{output}");
            let created: Value = serde_json::from_str(&output.ok()?)?;
            let sidecar = &created["spec"]["initContainers"][0];
            assert_eq!(sidecar["startupProbe"]["failureThreshold"], seconds, "{:?}", pod.annotations());
            let env = sidecar["env"].as_array().cloned().unwrap_or_default();
            assert_eq!(env.contains(&json!({"name": "EXEAT_WAIT", "value": "approval"})), wait);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn holds_are_made_by_officers_name_them_and_stay_as_they_are() -> Result {
    in_namespace("holds", async |ns| {
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": format!("{}-olga", ns.name)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "exeat-officer"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "olga"}],
        }))?;
        Api::all(ns.client.clone()).create(&PostParams::default(), &binding).await?;
        let olga: Api<CredentialHold> = Api::all(Actor::new("officer", "olga", &["security"]).await?.client);
        ns.bind("mallory", "ClusterRole", "admin").await?;
        let mallory: Api<CredentialHold> = Api::all(Actor::new("admin", "mallory", &["team"]).await?.client);
        let all: Api<CredentialHold> = Api::all(ns.client.clone());

        let spec = CredentialHoldSpec { namespace: Some(ns.name.clone()), reason: "odd".into(), ..Default::default() };
        let mut hold = CredentialHold::new(&ns.name, spec);
        hold.metadata.annotations = Some([(names::REQUESTER.to_owned(), "mallory".to_owned())].into());
        let created =
            wait_for("olga may create holds", 20, async || Ok(olga.create(&PostParams::default(), &hold).await?))
                .await?;
        let requester = |hold: &CredentialHold| hold.annotations().get(names::REQUESTER).cloned();
        assert_eq!(requester(&created).as_deref(), Some("olga"));
        let merge = async |api: &Api<CredentialHold>, body: Value| {
            api.patch(&ns.name, &PatchParams::default(), &Patch::Merge(&body)).await
        };
        let renamed = merge(&all, json!({"metadata": {"annotations": {names::REQUESTER: "mallory"}}})).await?;
        assert_eq!(requester(&renamed).as_deref(), Some("olga"));
        let said = refused("another spec", merge(&all, json!({"spec": {"reason": "fine"}})).await)?.message;
        ensure!(said.contains("a hold is immutable"), "{said}");
        for refusal in [
            refused("an officer's edit", merge(&olga, json!({"metadata": {"labels": {"a": "b"}}})).await.map(|_| ()))?,
            refused(
                "a tenant's hold",
                mallory
                    .create(&PostParams::default(), &CredentialHold::new("theirs", hold.spec.clone()))
                    .await
                    .map(|_| ()),
            )?,
            refused("a tenant lets go", mallory.delete(&ns.name, &DeleteParams::default()).await.map(|_| ()))?,
        ] {
            ensure!(refusal.message.contains("cannot "), "{}", refusal.message);
        }
        olga.delete(&ns.name, &DeleteParams::default()).await?;
        unbind(&ns, &["olga"]).await
    })
    .await
}
