//! An installation for the webhook's targets: two providers, a policy for each, and an API server that knows no more.

use std::convert::Infallible;

use axum::Router;
use axum::http::{Request, Response};
use clap::Parser;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, pod_policies};
use exeat_runtime::clock::ManualClock;
use exeat_webhook::args::Cli;
use exeat_webhook::http::{App, router};
use exeat_webhook::metrics::Metrics;
use exeat_webhook::objects::Objects;
use exeat_webhook::{Found, InjectContext, Settings, inject};
use k8s_openapi::api::core::v1::Pod;
use kube::core::DeserializeGuard;
use kube::runtime::{reflector, watcher};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) const NAMESPACE: &str = "agents";
pub(crate) const IMAGE: &str = "registry.example/exeat-sidecar:1";
pub(crate) const AUDIENCE: &str = "exeat.dev";
const SYSTEM: &str = "exeat-system";
/// The webhook's clock stands.
const NOW: &str = "2026-01-01T13:00:00Z";
const ISSUER_CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// Providers, policies and settings.
#[derive(Clone, Deserialize)]
pub(crate) struct Installation {
    providers: Vec<CredentialProvider>,
    policies: Vec<AgentCredentialPolicy>,
}

impl Installation {
    pub(crate) fn read() -> Result<Self, String> {
        serde_saphyr::from_str(include_str!("../../../webhook/tests/installation.yaml"))
            .map_err(|error| error.to_string())
    }

    fn policy(&self, name: &str) -> Option<&AgentCredentialPolicy> {
        self.policies.iter().find(|policy| policy.metadata.name.as_deref() == Some(name))
    }

    fn provider(&self, name: &str) -> Option<&CredentialProvider> {
        self.providers.iter().find(|provider| provider.metadata.name.as_deref() == Some(name))
    }

    /// Injects as the webhook does where a controller creates the pod, under the policy that it names.
    pub(crate) fn inject(&self, pod: &Pod) -> Result<Pod, Vec<Refused>> {
        let named = pod_policies::of(&pod.metadata.annotations.clone().unwrap_or_default());
        let provider = |policy: &AgentCredentialPolicy| self.provider(&policy.spec.provider_ref.name);
        let found: Vec<Found> = named
            .iter()
            .map(|name| self.policy(name))
            .map(|policy| Found { policy: policy.cloned(), provider: policy.and_then(provider).cloned() })
            .collect();
        let settings = settings().map_err(|error| vec![Refused::new(Reason::InternalError, error)])?;
        let (settings, requester) = (&settings, None);
        let context = InjectContext { namespace: NAMESPACE, found: &found, settings, issuer_ca: ISSUER_CA, requester };
        inject(pod, &context).map(|injected| injected.pod)
    }

    /// The webhook's endpoints, whose watches have seen everything. Needs a runtime.
    pub(crate) fn webhook(&self) -> Result<Router, String> {
        let client = kube::Client::new(tower::service_fn(api_server), "default");
        let (policies, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Init);
        for policy in &self.policies {
            writer.apply_watcher_event(&watcher::Event::InitApply(DeserializeGuard(Ok(policy.clone()))));
        }
        writer.apply_watcher_event(&watcher::Event::InitDone);
        let (providers, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Init);
        for provider in &self.providers {
            writer.apply_watcher_event(&watcher::Event::InitApply(DeserializeGuard(Ok(provider.clone()))));
        }
        writer.apply_watcher_event(&watcher::Event::InitDone);
        let metrics = Metrics::new(&prometheus::Registry::new()).map_err(|error| error.to_string())?;
        let (images, root) = (watch::channel(Vec::new()).1, watch::channel(Some(ISSUER_CA.to_owned())).1);
        let clock = ManualClock::new(NOW.parse().map_err(|error: jiff::Error| error.to_string())?);
        let objects = Objects::new(client, policies, providers);
        Ok(router(App::new(objects, settings()?.into(), images, root, metrics, clock)))
    }
}

/// Everybody but `mallory` may use every provider; nothing else is found.
async fn api_server(request: Request<kube::client::Body>) -> Result<Response<kube::client::Body>, Infallible> {
    let review = request.uri().path().ends_with("/subjectaccessreviews");
    let body = axum::body::to_bytes(axum::body::Body::new(request.into_body()), usize::MAX).await.unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, answer) = if review {
        let allowed = asked["spec"]["user"] != "mallory";
        let kind = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"});
        (
            201,
            json!({"apiVersion": kind["apiVersion"], "kind": kind["kind"], "spec": {}, "status": {"allowed": allowed}}),
        )
    } else {
        (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}))
    };
    let mut response = Response::new(kube::client::Body::from(answer.to_string().into_bytes()));
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

/// As the program takes them where little is said.
fn settings() -> Result<Settings, String> {
    let cli =
        Cli::try_parse_from(["exeat-webhook", "--sidecar-image", IMAGE, "--pod-name", "w", "--pod-namespace", SYSTEM]);
    Ok(cli.map_err(|error| error.to_string())?.injection.settings(SYSTEM).of(NAMESPACE))
}

/// Texts that mean something in a pod or a review.
pub(crate) const POD_TOKENS: &[&str] = &[
    "exeat.dev/policy",
    "exeat.dev/duration",
    "exeat.dev/allow",
    "exeat.dev/justification",
    "exeat.dev/port",
    "exeat.dev/wait",
    "decision",
    "approval",
    "exeat.dev/requester",
    "exeat.dev/last-editor",
    "exeat.dev/aws-token",
    "exeat.dev/skip-containers",
    "exeat.dev/allow-env-from",
    "policy.exeat.dev/app",
    "policy.exeat.dev/helper",
    "report-cleaner",
    "exeat-run-1",
    "/var/run/exeat-1",
    "report-writer,pod-reader",
    "pod-reader, secret-reader ,report-writer",
    "exeat.dev/injected",
    "report-writer",
    "pod-reader",
    "report-agent",
    "agents",
    "Env",
    "File",
    "1h",
    "app",
    "helper",
    "exeat-sidecar",
    "exeat-id",
    "exeat-run",
    IMAGE,
    AUDIENCE,
    "token",
    "Always",
    "Memory",
    "/var/run/exeat",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/exeat-sidecar",
    "/var/run",
    "/",
    "/var/run/exeat/../exeat/",
    "metadata",
    "annotations",
    "labels",
    "spec",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "volumes",
    "volumeMounts",
    "name",
    "image",
    "env",
    "envFrom",
    "value",
    "valueFrom",
    "fieldRef",
    "fieldPath",
    "metadata.uid",
    "mountPath",
    "subPath",
    "readOnly",
    "mountPropagation",
    "Bidirectional",
    "projected",
    "sources",
    "serviceAccountToken",
    "audience",
    "path",
    "defaultMode",
    "emptyDir",
    "medium",
    "hostPath",
    "hostNetwork",
    "hostPID",
    "shareProcessNamespace",
    "securityContext",
    "privileged",
    "capabilities",
    "add",
    "drop",
    "NET_RAW",
    "CAP_NET_RAW",
    "all",
    "SYS_PTRACE",
    "runAsUser",
    "restartPolicy",
    "ports",
    "containerPort",
    "serviceAccountName",
    "secretRef",
    "configMapRef",
    "prefix",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "NO_PROXY",
    "no_proxy",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "http://127.0.0.1:9911/aws/credentials",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "/var/run/exeat/token",
    "AWS_EC2_METADATA_DISABLED",
    "KUBECONFIG",
    "/var/run/exeat/kubernetes/kubeconfig",
    "EXEAT_ISSUER_URL",
    "resources",
    "limits",
    "requests",
    "cpu",
    "memory",
    "s3:GetObject on arn:aws:s3:::reports/2026/*",
    "get pods on agents/*",
    "[{\"actions\":[\"s3:*\"],\"resources\":[\"*\"]}]",
    "uid",
    "operation",
    "CREATE",
    "UPDATE",
    "DELETE",
    "CONNECT",
    "object",
    "oldObject",
    "subResource",
    "userInfo",
    "username",
    "alice",
    "mallory",
    "namespace",
    "kind",
    "group",
    "version",
    "exeat.dev",
    "v1alpha1",
    "CredentialProvider",
    "AgentCredentialPolicy",
    "CredentialSession",
    "Approval",
    "CredentialHold",
    "decisions",
    "approver",
    "Approve",
    "Deny",
    "digest",
    "time",
    "groups",
    "security",
    "status",
    "Pod",
    "Deployment",
    "CronJob",
    "template",
    "jobTemplate",
    "apps",
    "batch",
    "providerRef",
    "principal",
    "subjects",
    "allow",
    "session",
    "duration",
    "bindings",
    "maxActions",
    "deny",
    "dryRun",
];
