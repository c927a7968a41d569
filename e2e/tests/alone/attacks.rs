//! The webhook is gone, and the attacker is admin of the namespace: may do everything in it.

#![expect(clippy::expect_used, reason = "a pod without these parts is no injected pod: the story fails")]

use exeat_crds::names;
use exeat_e2e::{Result, Scope, agent, connect, connect_as, ensure, in_namespace, kubernetes_policy, wait_for};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const OTHER_AUDIENCE: &str = "https://kubernetes.default.svc";

type Attack = (&'static str, fn(&mut Value));

/// Who mends our webhook: nobody but an admin of the cluster.
pub(crate) struct Removed<K>(Api<K>, K);

pub(crate) async fn remove<K>(client: &Client) -> Result<Removed<K>>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let mut saved = api.get("exeat").await?;
    api.delete("exeat", &DeleteParams::default()).await?;
    let meta = saved.meta_mut();
    (meta.resource_version, meta.uid, meta.managed_fields) = (None, None, None);
    Ok(Removed(api, saved))
}

impl<K> Removed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    pub(crate) async fn put_back(self) -> Result {
        if self.0.get_opt("exeat").await?.is_none() {
            self.0.create(&PostParams::default(), &self.1).await?;
        }
        Ok(())
    }
}

/// A client that may do everything in the namespace and nothing outside of it.
async fn namespace_admin(ns: &Scope) -> Result<Client> {
    let role = json!({
        "metadata": {"name": "everything"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    });
    ns.create(&serde_json::from_value::<Role>(role)?).await?;
    let binding = json!({
        "metadata": {"name": "everything"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "everything"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
    });
    ns.create(&serde_json::from_value::<RoleBinding>(binding)?).await?;
    connect_as("mallory", &["system:authenticated"]).await
}

fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// An injected pod as anybody can read and copy it.
async fn genuine(ns: &Scope) -> Result<Value> {
    let mut pod = ns.api::<Pod>().create(&dry(), &agent("agent", "pods")).await?;
    let (labels, mut annotations) = (pod.metadata.labels.take(), pod.metadata.annotations.take());
    // As the webhook would stamp it for her who copies it.
    annotations.get_or_insert_default().insert(names::REQUESTER.to_owned(), "mallory".to_owned());
    pod.metadata = kube::api::ObjectMeta { name: Some("agent".to_owned()), labels, annotations, ..Default::default() };
    pod.status = None;
    Ok(serde_json::to_value(pod)?)
}

fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    list.as_array_mut().and_then(|items| items.iter_mut().find(|item| item["name"] == name)).expect(name)
}

fn sidecar(pod: &mut Value) -> &mut Value {
    named(&mut pod["spec"]["initContainers"], names::SIDECAR)
}

fn app(pod: &mut Value) -> &mut Value {
    named(&mut pod["spec"]["containers"], "agent")
}

fn volume<'a>(pod: &'a mut Value, name: &str) -> &'a mut Value {
    named(&mut pod["spec"]["volumes"], name)
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

fn mount(container: &mut Value, name: &str, path: &str) {
    push(&mut container["volumeMounts"], json!({"name": name, "mountPath": path, "readOnly": true}));
}

fn remove_sidecar(pod: &mut Value) {
    pod["spec"]["initContainers"].as_array_mut().expect("init containers").retain(|c| c["name"] != names::SIDECAR);
}

/// Two containers with policies of their own, `agent` and `second`, and the memory volume that each mounts.
fn two_with_their_own(pod: &mut Value, mounted: [&str; 2]) {
    for number in 1..=3 {
        push(&mut pod["spec"]["volumes"], json!({"name": names::run_volume(number), "emptyDir": {"medium": "Memory"}}));
    }
    let second = app(pod).clone();
    push(&mut pod["spec"]["containers"], second);
    for (place, (name, volume)) in ["agent", "second"].into_iter().zip(mounted).enumerate() {
        pod["metadata"]["annotations"][format!("policy.exeat.dev/{name}")] = json!("pods");
        let container = &mut pod["spec"]["containers"][place];
        container["name"] = json!(name);
        container["volumeMounts"] = json!([{"name": volume, "mountPath": names::RUN_PATH, "readOnly": true}]);
    }
}

/// Half-injected and forged: the genuine pod with one thing changed.
const SIDECAR: &[Attack] = &[
    ("no sidecar", remove_sidecar),
    ("the sidecar as an ordinary container", |p| {
        let container = sidecar(p).clone();
        remove_sidecar(p);
        push(&mut p["spec"]["containers"], container);
    }),
    ("a sidecar that does not stay", |p| {
        let container = sidecar(p).as_object_mut().expect("container");
        // The API server allows the probe on such a container alone.
        container.retain(|key, _| key != "restartPolicy" && key != "startupProbe");
    }),
    ("another image", |p| sidecar(p)["image"] = json!("exeat.test/agent:1")),
    ("the image under another tag", |p| {
        let image = sidecar(p)["image"].as_str().unwrap_or_default().to_owned();
        sidecar(p)["image"] = json!(format!("{image}0"));
    }),
    ("another command", |p| sidecar(p)["command"] = json!(["/bin/sh"])),
    ("other arguments", |p| sidecar(p)["args"] = json!(["serve", "--run-dir", "/tmp"])),
    ("a hook", |p| sidecar(p)["lifecycle"] = json!({"postStart": {"exec": {"command": ["/x"]}}})),
    ("a liveness probe", |p| sidecar(p)["livenessProbe"] = json!({"exec": {"command": ["/x"]}})),
    ("a readiness probe", |p| sidecar(p)["readinessProbe"] = json!({"exec": {"command": ["/x"]}})),
    ("variables of the author's", |p| sidecar(p)["envFrom"] = json!([{"configMapRef": {"name": "x"}}])),
    ("another issuer", |p| {
        named(&mut sidecar(p)["env"], "EXEAT_ISSUER_URL")["value"] = json!("https://issuer.evil.test:443");
    }),
    ("a second issuer", |p| {
        push(&mut sidecar(p)["env"], json!({"name": "EXEAT_ISSUER_URL", "value": "https://issuer.evil.test"}));
    }),
    ("another token file", |p| {
        push(&mut sidecar(p)["env"], json!({"name": "EXEAT_TOKEN_FILE", "value": "/x"}));
    }),
    ("a folder of its own", |p| push(&mut sidecar(p)["env"], json!({"name": "EXEAT_RUN_DIR", "value": "/x"}))),
    ("root", |p| sidecar(p)["securityContext"]["runAsNonRoot"] = json!(false)),
    ("escalation", |p| sidecar(p)["securityContext"]["allowPrivilegeEscalation"] = json!(true)),
    ("a root that can be written", |p| sidecar(p)["securityContext"]["readOnlyRootFilesystem"] = json!(false)),
    ("a privileged sidecar", |p| {
        sidecar(p)["securityContext"]["privileged"] = json!(true);
        sidecar(p)["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    }),
    ("a capability", |p| sidecar(p)["securityContext"]["capabilities"]["add"] = json!(["SYS_PTRACE"])),
    ("no user of its own", |p| {
        sidecar(p)["securityContext"].as_object_mut().expect("context").remove("runAsUser");
    }),
    ("a mount over its program", |p| mount(sidecar(p), "exeat-run", "/exeat-sidecar")),
    ("no identity", |p| {
        let mounts = sidecar(p)["volumeMounts"].as_array_mut().expect("mounts");
        mounts.retain(|m| m["name"] != names::IDENTITY_VOLUME);
    }),
];

const POD: &[Attack] = &[
    ("no label", |p| p["metadata"]["labels"] = json!({})),
    ("a false label", |p| p["metadata"]["labels"] = json!({names::INJECTED_LABEL: "false"})),
    ("no annotation", |p| p["metadata"]["annotations"] = json!({})),
    ("another's name as the requester", |p| p["metadata"]["annotations"][names::REQUESTER] = json!("bob")),
    ("no requester", |p| {
        p["metadata"]["annotations"].as_object_mut().expect("annotations").remove(names::REQUESTER);
    }),
    ("the annotation of another container", |p| {
        p["metadata"]["annotations"] = json!({"policy.exeat.dev/agent": "pods"});
        remove_sidecar(p);
    }),
    ("a second token for us", |p| {
        let sources = json!([{"serviceAccountToken": {"audience": names::DEFAULT_AUDIENCE, "path": "token"}}]);
        push(&mut p["spec"]["volumes"], json!({"name": "mine", "projected": {"sources": sources}}));
    }),
    ("a token for others beside ours", |p| {
        let source = json!({"serviceAccountToken": {"audience": OTHER_AUDIENCE, "path": "api"}});
        push(&mut volume(p, names::IDENTITY_VOLUME)["projected"]["sources"], source);
    }),
    ("an identity on another audience", |p| {
        volume(p, names::IDENTITY_VOLUME)["projected"]["sources"][0]["serviceAccountToken"]["audience"] =
            json!(OTHER_AUDIENCE);
    }),
    ("the identity in the agent", |p| mount(app(p), names::IDENTITY_VOLUME, "/x")),
    ("the identity in an init container", |p| {
        let mut init = app(p).clone();
        init["name"] = json!("setup");
        mount(&mut init, names::IDENTITY_VOLUME, "/x");
        push(&mut p["spec"]["initContainers"], init);
    }),
    ("the memory volume written by the agent", |p| {
        push(&mut app(p)["volumeMounts"], json!({"name": names::RUN_VOLUME, "mountPath": "/x"}));
    }),
    ("the memory volume of a container without policies of its own", |p| {
        push(&mut p["spec"]["volumes"], json!({"name": "exeat-run-1", "emptyDir": {"medium": "Memory"}}));
        mount(app(p), "exeat-run-1", "/x");
    }),
    ("the pod's memory volume in a container with policies of its own", |p| {
        p["metadata"]["annotations"]["policy.exeat.dev/agent"] = json!("pods");
    }),
    ("one memory volume for two containers", |p| two_with_their_own(p, ["exeat-run-1", "exeat-run-1"])),
    ("two containers' memory volumes swapped", |p| two_with_their_own(p, ["exeat-run-2", "exeat-run-1"])),
    ("a memory volume of no container", |p| two_with_their_own(p, ["exeat-run-1", "exeat-run-3"])),
    ("a second memory volume on disk", |p| {
        p["metadata"]["annotations"]["policy.exeat.dev/agent"] = json!("pods");
        push(&mut p["spec"]["volumes"], json!({"name": "exeat-run-1", "emptyDir": {}}));
        app(p)["volumeMounts"] = json!([{"name": "exeat-run-1", "mountPath": names::RUN_PATH, "readOnly": true}]);
    }),
    ("a volume where the sidecar has a container's", |p| {
        push(&mut p["spec"]["volumes"], json!({"name": "mine", "emptyDir": {}}));
        mount(sidecar(p), "mine", "/var/run/exeat-1");
    }),
    ("the memory volume on disk", |p| volume(p, names::RUN_VOLUME)["emptyDir"] = json!({})),
    ("the node's network", |p| p["spec"]["hostNetwork"] = json!(true)),
    ("the node's processes", |p| p["spec"]["hostPID"] = json!(true)),
    ("the node's IPC", |p| p["spec"]["hostIPC"] = json!(true)),
    ("processes in sight of each other", |p| p["spec"]["shareProcessNamespace"] = json!(true)),
    ("the node's disk", |p| {
        push(&mut p["spec"]["volumes"], json!({"name": "node", "hostPath": {"path": "/"}}));
    }),
    ("a privileged agent", |p| {
        app(p)["securityContext"] = json!({"privileged": true});
    }),
    ("an agent that traces", |p| {
        app(p)["securityContext"]["capabilities"] = json!({"add": ["cap_sys_ptrace"]});
    }),
    ("an agent that sniffs", |p| app(p)["securityContext"]["capabilities"] = json!({"add": ["NET_RAW"]})),
    ("an agent as the sidecar's user", |p| app(p)["securityContext"]["runAsUser"] = json!(60911)),
];

/// Every attack must be stopped by our policy itself: Pod Security and others would hide a hole.
async fn each_is_refused(admin: &Client, ns: &Scope, genuine: &Value, attacks: &[Attack]) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &ns.name);
    let mut holes = Vec::new();
    for (what, change) in attacks {
        let mut forged = genuine.clone();
        change(&mut forged);
        let refusal = match pods.create(&dry(), &serde_json::from_value(forged)?).await {
            Ok(_) => "admitted".to_owned(),
            Err(error) => error.to_string(),
        };
        if !refusal.contains("ValidatingAdmissionPolicy 'exeat-") {
            holes.push(format!("{what}: {refusal}"));
        }
    }
    ensure!(holes.is_empty(), "{}", holes.join("\n"));
    Ok(attacks.len())
}

#[tokio::test]
async fn without_the_webhook_no_forged_pod_gets_in() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    in_namespace("forgery", async |ns| {
        lax(&ns).await?;
        let admin = namespace_admin(&ns).await?;
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let copy = genuine(&ns).await?;
        let mutating = remove::<MutatingWebhookConfiguration>(&client).await?;
        let validating = remove::<ValidatingWebhookConfiguration>(&client).await?;
        let outcome = async {
            wait_for("the webhook is out of the way", 20, async || {
                let refusal = ns.expect_refused(&agent("agent", "pods")).await?;
                ensure!(refusal.contains("does not carry the genuine sidecar"), "{refusal}");
                Ok(())
            })
            .await?;
            // The copy itself is good: what is refused is refused for the one change.
            let pods: Api<Pod> = Api::namespaced(admin.clone(), &ns.name);
            pods.create(&dry(), &serde_json::from_value(copy.clone())?).await?;
            let mut two = copy.clone();
            two_with_their_own(&mut two, ["exeat-run-1", "exeat-run-2"]);
            pods.create(&dry(), &serde_json::from_value(two)?).await?;
            let refused =
                each_is_refused(&admin, &ns, &copy, SIDECAR).await? + each_is_refused(&admin, &ns, &copy, POD).await?;
            println!("{refused} forged pods were refused without the webhook");
            Ok(())
        }
        .await;
        mutating.put_back().await?;
        validating.put_back().await?;
        outcome
    })
    .await
}

/// Without Pod Security, which would refuse some of it before us.
async fn lax(ns: &Scope) -> Result {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::{Patch, PatchParams};
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    Api::<Namespace>::all(ns.client.clone()).patch(&ns.name, &PatchParams::default(), &Patch::Merge(&labels)).await?;
    Ok(())
}
