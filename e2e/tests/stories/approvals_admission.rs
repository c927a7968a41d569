//! Who may say what on an approval, and whose word stands where; by the API server, as people with their own rights.

use exeat_crds::approval::digest;
use exeat_crds::v1alpha1::{ApprovalDecision, CredentialHoldSpec, Owner, Verdict};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialHold, names};
use exeat_e2e::approvals::{Actor, EXCLUDED, Part, forge_each_field};
use exeat_e2e::{
    AgentPod, Failure, Output, ROOT, Result, Scope, agent, ensure, in_namespace, kubectl, kubernetes_policy, now,
    refused, shell,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
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

/// Somebody with the cluster role exeat-approver in the namespace.
async fn approver(ns: &Scope, user: &str, groups: &[&str]) -> Result<Actor> {
    ns.bind(user, "ClusterRole", "exeat-approver").await?;
    let actor = Actor::new("approver", user, groups).await?;
    exeat_e2e::wait_for(&format!("{user} may read approvals"), 20, async || {
        actor.approvals(ns).list(&Default::default()).await?;
        Ok(())
    })
    .await?;
    Ok(actor)
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
        let ann = approver(&ns, "ann", &["security", "staff"]).await?;
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
        let carol = approver(&ns, EXCLUDED, &["security", "data"]).await?;
        let staff = approver(&ns, "stan", &["staff"]).await?;
        let said = refused("who asked", decide(&carol, &ns, &approval, "Approve").await)?.message;
        ensure!(said.contains("\"carol\" asked for this") && said.contains("ask somebody else"), "{said}");
        let said = refused("somebody else", decide(&staff, &ns, &approval, "Approve").await)?.message;
        ensure!(said.contains("in none of the groups that must approve (data, security)"), "{said}");

        // The right is one on this policy: that on a sibling does not help.
        let rules = json!([
            {"apiGroups": ["exeat.dev"], "resources": ["approvals"], "verbs": ["get", "list", "patch"]},
            {"apiGroups": ["exeat.dev"], "resources": ["agentcredentialpolicies"], "resourceNames": ["sibling"], "verbs": ["approve"]},
        ]);
        let role: k8s_openapi::api::rbac::v1::Role = serde_json::from_value(json!({"metadata": {"name": "sibling"}, "rules": rules}))?;
        ns.create(&role).await?;
        ns.bind("sue", "Role", "sibling").await?;
        let sue = Actor::new("approver of a sibling", "sue", &["security"]).await?;
        let said = exeat_e2e::wait_for("sue is refused by us, not by RBAC", 20, async || {
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

/// The shell blocks of docs/approvals.md from a heading on.
fn documented() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(format!("{ROOT}/docs/approvals.md"))?;
    let section = page.split("\n## ").find(|s| s.starts_with("Deciding with kubectl")).unwrap_or_default();
    let blocks: Vec<String> =
        section.split("```bash\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0.to_owned())).collect();
    ensure!(blocks.len() == 5, "{} blocks", blocks.len());
    Ok(blocks)
}

/// A shell in which kubectl acts as one person.
struct Desk<'a> {
    ns: &'a Scope,
    config: String,
    names: String,
}

impl<'a> Desk<'a> {
    async fn of(ns: &'a Scope, actor: &Actor, name: &str, names: &str) -> Result<Self> {
        let view = kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).await?.ok()?;
        let mut config: Value = serde_json::from_str(&view)?;
        for user in config["users"].as_array_mut().into_iter().flatten() {
            user["user"]["as"] = json!(actor.user);
            user["user"]["as-groups"] = json!([&actor.groups[..], &["system:authenticated".to_owned()]].concat());
        }
        let path = std::env::temp_dir().join(format!("{}-{}.json", ns.name, actor.user));
        std::fs::write(&path, config.to_string())?;
        let names = names.replace("namespace=agents name=NAME", &format!("namespace={} name={name}", ns.name));
        ensure!(names.contains(&ns.name), "the first block does not name the approval: {names}");
        Ok(Self { ns, config: path.display().to_string(), names })
    }

    async fn run(&self, block: &str) -> Result<Output> {
        shell(&format!("set -euo pipefail; export KUBECONFIG={}; {}\n{block}", self.config, self.names)).await
    }

    async fn said(&self, name: &str) -> Result<Vec<(String, Verdict)>> {
        let decisions = self.ns.api::<Approval>().get(name).await?.spec.decisions;
        Ok(decisions.into_iter().map(|d| (d.approver, d.decision)).collect())
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

#[tokio::test]
async fn the_documented_lines_decide_and_lose_nobodys_word() -> Result {
    use Verdict::{Approve, Deny};
    in_namespace("lines", async |ns| {
        let blocks = documented()?;
        let [names, apply, add, withdraw, replace] = &blocks[..] else { return Err(Failure::new("five blocks")) };
        let said =
            |list: &[(&str, Verdict)]| list.iter().map(|(who, word)| ((*who).to_owned(), *word)).collect::<Vec<_>>();
        for name in ["applied", "mixed"] {
            ns.asked(name, json!([])).await?;
        }
        let (ann, ben) =
            (approver(&ns, "ann", &["security"]).await?, approver(&ns, "ben@example.com", &["data"]).await?);
        let desk = async |actor: &Actor, name: &str| Desk::of(&ns, actor, name, names).await;
        let (one, two) = (desk(&ann, "applied").await?, desk(&ben, "applied").await?);

        one.run(apply).await?.ok()?;
        // Without a field manager of one's own the first word would go: refused, and nothing is lost.
        let forgetful = apply.replace("--field-manager=\"$me\" ", "");
        one.run(&forgetful).await?.ok()?;
        let refusal = two.run(&forgetful).await?;
        if refusal.code != 0 {
            let refusal = refusal.failed()?;
            ensure!(
                refusal.contains("\"ann\" would be taken away") && refusal.contains("--field-manager"),
                "{refusal}"
            );
        } else {
            ensure!(one.said("applied").await?.len() == 2, "ann's word is lost");
        }
        two.run(apply).await?.ok()?;
        let both = said(&[("ann", Approve), ("ben@example.com", Approve)]);
        assert_eq!(one.said("applied").await?, both);

        // Again: nothing changes, not even the time.
        let before = ns.api::<Approval>().get("applied").await?.spec;
        one.run(apply).await?.ok()?;
        assert_eq!(ns.api::<Approval>().get("applied").await?.spec, before);

        one.run(withdraw).await?.ok()?;
        assert_eq!(one.said("applied").await?, said(&[("ann", Deny), ("ben@example.com", Approve)]));
        let refusal = one.run(apply).await?.failed()?;
        ensure!(refusal.contains("can only change from Approve to Deny"), "{refusal}");

        let (one, two) = (desk(&ann, "mixed").await?, desk(&ben, "mixed").await?);
        one.run(apply).await?.ok()?;
        two.run(add).await?.ok()?;
        assert_eq!(one.said("mixed").await?, both);
        two.run(replace).await?.ok()?;
        assert_eq!(one.said("mixed").await?, said(&[("ann", Approve), ("ben@example.com", Deny)]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_default_field_manager_loses_nobodys_word() -> Result {
    in_namespace("default-manager", async |ns| {
        let blocks = documented()?;
        let [names, apply, ..] = &blocks[..] else { return Err(Failure::new("blocks")) };
        ns.asked("asked", json!([])).await?;
        let (ann, ben) = (approver(&ns, "ann", &["security"]).await?, approver(&ns, "ben", &["data"]).await?);
        let forgetful = apply.replace("--field-manager=\"$me\" ", "");
        let (one, two) = (Desk::of(&ns, &ann, "asked", names).await?, Desk::of(&ns, &ben, "asked", names).await?);
        one.run(&forgetful).await?.ok()?;
        let refusal = two.run(&forgetful).await?.failed()?;
        ensure!(
            refusal.contains("\"ann\" would be taken away") && refusal.contains("--field-manager=$USER"),
            "{refusal}"
        );
        assert_eq!(one.said("asked").await?, [("ann".to_owned(), Verdict::Approve)]);
        Ok(())
    })
    .await
}

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
        let created = exeat_e2e::wait_for("eve may write policies", 20, async || {
            Ok(eve.create(&PostParams::default(), &policy).await?)
        })
        .await?;
        assert_eq!(last_editor(&created), Some("eve"));

        let merge = async |api: &Api<AgentCredentialPolicy>, body: Value| {
            exeat_e2e::wait_for("the policy is written", 20, async || {
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
        let mut replaced = eve.get("pods").await?;
        replaced.metadata.annotations = None;
        replaced.spec.owners = vec![Owner { user: "olga".into() }];
        assert_eq!(last_editor(&eve.replace("pods", &PostParams::default(), &replaced).await?), Some("eve"));
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
        let created = exeat_e2e::wait_for("the account may create pods", 20, async || {
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
        let created = exeat_e2e::wait_for("olga may create holds", 20, async || {
            Ok(olga.create(&PostParams::default(), &hold).await?)
        })
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
