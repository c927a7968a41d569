//! A namespace of its own for each story.

use exeat_crds::{AgentCredentialPolicy, CredentialProvider, condition};
use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};

use crate::{Failure, Output, Result, connect, ensure, pods, refused, system, wait_for};

/// Label of a story's objects: the namespace that they belong to.
const STORY: &str = "e2e.exeat.test/story";

/// A story's namespace, served by all providers of the suite, with the service account `agent`.
#[derive(Clone)]
pub struct Scope {
    /// A client with all rights.
    pub client: Client,
    /// Name of the namespace.
    pub name: String,
}

/// Runs a story in a namespace of its own, which is removed afterwards. If the story fails, all that is known of it is printed first.
///
/// # Errors
/// The story's.
pub async fn in_namespace(story: &str, run: impl AsyncFnOnce(Scope) -> Result) -> Result {
    let scope = Scope::open(story).await?;
    let outcome = AssertUnwindSafe(run(scope.clone())).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        scope.dump().await;
    }
    let closed = scope.close().await;
    match outcome {
        Ok(result) => result.and(closed),
        Err(panic) => resume_unwind(panic),
    }
}

impl Scope {
    async fn open(story: &str) -> Result<Self> {
        let client = connect().await?;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"generateName": format!("e2e-{story}-"), "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let name = namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?.name_any();
        let scope = Self { client, name };
        scope.serve().await?;
        Ok(scope)
    }

    /// What config/samples/rbac-kubernetes.yaml does for one namespace.
    async fn serve(&self) -> Result {
        use k8s_openapi::api::core::v1::ServiceAccount;
        use k8s_openapi::api::rbac::v1::RoleBinding;
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("agent".to_owned());
        self.create(&account).await?;
        for (name, role) in [("exeat-grants", "exeat-kubernetes-grants"), ("exeat-ceiling", "view")] {
            let binding = json!({
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": "exeat-issuer", "namespace": "exeat-system"}],
            });
            self.create(&serde_json::from_value::<RoleBinding>(binding)?).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result {
        let providers: Api<CredentialProvider> = Api::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{STORY}={}", self.name));
        for provider in providers.list(&ours).await? {
            providers.delete(&provider.name_any(), &DeleteParams::default()).await?;
        }
        match Api::<Namespace>::all(self.client.clone()).delete(&self.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted.map(|_| ())?),
        }
    }

    /// The objects of one kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates an object in the namespace.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let created = self.api::<K>().create(&PostParams::default(), object).await;
        created.map_err(|e| Failure::new(format!("creating {} {}: {e}", K::kind(&()), object.name_any())))
    }

    /// Creates a provider, which goes with the namespace. Its name gets the namespace's in front.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create_provider(&self, mut provider: CredentialProvider) -> Result<CredentialProvider> {
        provider.metadata.name = Some(format!("{}-{}", self.name, provider.name_any()));
        provider.metadata.labels.get_or_insert_default().insert(STORY.to_owned(), self.name.clone());
        Ok(Api::all(self.client.clone()).create(&PostParams::default(), &provider).await?)
    }

    /// Creates a policy and waits until it is Ready.
    ///
    /// # Errors
    /// Why it is not, after a minute.
    pub async fn ready(&self, policy: AgentCredentialPolicy) -> Result<AgentCredentialPolicy> {
        let name = policy.name_any();
        self.create(&policy).await?;
        wait_for(&format!("policy {name} is Ready"), 60, async || {
            let policy = self.api::<AgentCredentialPolicy>().get(&name).await?;
            let conditions = policy.status.clone().unwrap_or_default().conditions;
            ensure!(condition::is_true(&conditions, "Ready"), "{:?}", condition::get(&conditions, "Ready"));
            Ok(policy)
        })
        .await
    }

    /// Creates a policy that can't become Ready, and waits until it says so for a reason.
    ///
    /// # Errors
    /// When it says something else after a minute.
    pub async fn not_ready(&self, policy: AgentCredentialPolicy, reason: &str) -> Result<Condition> {
        let name = policy.name_any();
        self.create(&policy).await?;
        wait_for(&format!("policy {name} is refused for {reason}"), 60, async || {
            let status = self.api::<AgentCredentialPolicy>().get(&name).await?.status.unwrap_or_default();
            let ready = condition::get(&status.conditions, "Ready").cloned();
            let ready = ready.ok_or_else(|| Failure::new("it has no condition Ready"))?;
            ensure!(ready.status == "False" && ready.reason == reason, "{ready:?}");
            Ok(ready)
        })
        .await
    }

    /// Creates a pod and waits until its container `agent` runs, or has ended.
    ///
    /// # Errors
    /// What is known of the pod after two minutes.
    pub async fn start(&self, pod: Pod) -> Result<Pod> {
        let created = self.create(&pod).await?;
        self.started(&created.name_any()).await
    }

    /// Waits until a pod's container `agent` runs, or has ended.
    ///
    /// # Errors
    /// What is known of the pod after two minutes.
    pub async fn started(&self, name: &str) -> Result<Pod> {
        wait_for(&format!("pod {name} runs"), 120, async || {
            let pod = self.api::<Pod>().get(name).await?;
            let state = agent_status(&pod).and_then(|s| s.state);
            ensure!(state.is_some_and(|s| s.running.is_some() || s.terminated.is_some()), "{:?}", pod.status);
            Ok(pod)
        })
        .await
    }

    /// Waits until the container `agent` of a pod has ended; its exit code and its log.
    ///
    /// # Errors
    /// What is known of the pod after that many seconds.
    pub async fn finished(&self, name: &str, seconds: u64) -> Result<(i32, String)> {
        let code = wait_for(&format!("pod {name} ends"), seconds, async || {
            let pod = self.api::<Pod>().get(name).await?;
            let ended = agent_status(&pod).and_then(|s| s.state).and_then(|s| s.terminated);
            ended.map(|t| t.exit_code).ok_or_else(|| Failure::new(format!("{:?}", pod.status)))
        })
        .await?;
        Ok((code, self.log(name, "agent").await?))
    }

    /// The refusal of a pod that must not be admitted.
    ///
    /// # Errors
    /// When it is admitted.
    pub async fn expect_refused(&self, pod: &Pod) -> Result<String> {
        let created = self.api::<Pod>().create(&PostParams::default(), pod).await;
        Ok(refused(&format!("pod {}", pod.name_any()), created)?.message)
    }

    /// Runs a command in a pod's container `agent`.
    ///
    /// # Errors
    /// When it can't be run; a command that fails is no error.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<Output> {
        pods::exec(&self.client, &self.name, pod, "agent", command).await
    }

    /// Runs a shell script in a pod's container `agent`.
    ///
    /// # Errors
    /// As [`Scope::exec`].
    pub async fn sh(&self, pod: &str, script: &str) -> Result<Output> {
        self.exec(pod, &["sh", "-c", script]).await
    }

    /// The log of one container.
    ///
    /// # Errors
    /// The API server's.
    pub async fn log(&self, pod: &str, container: &str) -> Result<String> {
        let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        Ok(self.api::<Pod>().logs(pod, &params).await?)
    }

    async fn dump(&self) {
        eprintln!("--- what is known of {}", self.name);
        let kinds = "pods,jobs,deployments,agentcredentialpolicies,credentialsessions";
        for arguments in [
            vec!["get", kinds, "-o", "wide"],
            vec!["get", "agentcredentialpolicies,credentialsessions", "-o", "yaml", "--show-managed-fields=false"],
            vec!["get", "events", "--sort-by=.metadata.creationTimestamp"],
        ] {
            match pods::kubectl(&[&["-n", &self.name][..], &arguments].concat()).await {
                Ok(output) => eprintln!("{}{}", output.stdout, output.stderr),
                Err(error) => eprintln!("{error}"),
            }
        }
        let pods = self.api::<Pod>().list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
        for pod in pods.iter().take(6) {
            for container in ["exeat-sidecar", "agent"] {
                let params =
                    LogParams { container: Some(container.to_owned()), tail_lines: Some(30), ..LogParams::default() };
                let log = self.api::<Pod>().logs(&pod.name_any(), &params).await.unwrap_or_else(|e| e.to_string());
                eprintln!("--- log of {}/{container}\n{log}", pod.name_any());
            }
        }
        for component in ["controller", "issuer", "webhook"] {
            let log = system::log(&self.client, component).await.unwrap_or_else(|e| e.to_string());
            let ours: Vec<&str> = log.lines().filter(|line| line.contains(&self.name)).collect();
            let last = ours.len().saturating_sub(25);
            eprintln!("--- {component} about {}\n{}", self.name, ours[last..].join("\n"));
        }
    }
}

fn agent_status(pod: &Pod) -> Option<ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == "agent").cloned()
}
