//! Variables that an SDK would follow before it asks the sidecar.

use exeat_webhook::message;
use k8s_openapi::api::core::v1::Pod;

use crate::common::{inject_pod, pod_with};

fn pod_with_env(policy: &str, env: &str) -> Pod {
    pod_with(&format!(
        "{{metadata: {{annotations: {{exeat.dev/policy: {policy}}}}}, spec: {{containers: [{{name: app, image: a, env: [{env}]}}]}}}}"
    ))
}

#[test]
fn each_shadowing_variable_is_refused_by_name_with_the_fix() {
    for (policy, name, needle) in [
        ("report-writer", "AWS_ACCESS_KEY_ID", "static keys"),
        ("report-writer", "AWS_SECRET_ACCESS_KEY", "static keys"),
        ("report-writer", "AWS_SESSION_TOKEN", "static keys"),
        ("report-writer", "AWS_PROFILE", "profile"),
        ("report-writer", "AWS_DEFAULT_PROFILE", "profile"),
        ("report-writer", "AWS_SHARED_CREDENTIALS_FILE", "keys"),
        ("report-writer", "AWS_CONFIG_FILE", "profile"),
        ("report-writer", "AWS_WEB_IDENTITY_TOKEN_FILE", "eks.amazonaws.com/role-arn"),
        ("report-writer", "AWS_ROLE_ARN", "eks.amazonaws.com/role-arn"),
        ("report-writer", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "instead of the sidecar"),
        ("report-writer", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "exeat.dev/aws-token: Env"),
        ("report-writer", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "instead of the sidecar"),
        ("report-writer", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9911/aws/credentials"),
        ("report-writer", "AWS_EC2_METADATA_DISABLED", "\"true\""),
        ("pod-reader", "KUBECONFIG", "/var/run/exeat/kubernetes/kubeconfig"),
        ("blob-reader", "IDENTITY_ENDPOINT", "http://127.0.0.1:9911/azure/token"),
        ("blob-reader", "IDENTITY_HEADER", "the pod's UID"),
        ("blob-reader", "AZURE_FEDERATED_TOKEN_FILE", "azure.workload.identity/use"),
        ("blob-reader", "AZURE_CLIENT_SECRET", "before the sidecar"),
        ("blob-reader", "AZURE_CLIENT_CERTIFICATE_PATH", "before the sidecar"),
        ("blob-reader", "IMDS_ENDPOINT", "another kind of host"),
        ("blob-reader", "IDENTITY_SERVER_THUMBPRINT", "another kind of host"),
        ("blob-reader", "MSI_ENDPOINT", "another kind of host"),
        ("secret-reader", "VAULT_ADDR", "http://127.0.0.1:9911"),
        ("secret-reader", "BAO_ADDR", "http://127.0.0.1:9911"),
        ("secret-reader", "VAULT_AGENT_ADDR", "instead of the sidecar"),
        ("secret-reader", "VAULT_PROXY_ADDR", "instead of the sidecar"),
        ("secret-reader", "VAULT_TOKEN", "a token of the pod's own"),
        ("secret-reader", "VAULT_NAMESPACE", "the provider's"),
    ] {
        for source in ["value: other", "valueFrom: {secretKeyRef: {name: s, key: k}}"] {
            let problems = inject_pod(&pod_with_env(policy, &format!("{{name: {name}, {source}}}"))).expect_err(name);
            let message = message::all(&problems);
            assert_eq!(problems.len(), 1, "{name}: {message}");
            assert!(message.contains(&format!("spec.containers[name=app].env[name={name}]")), "{message}");
            assert!(message.contains(needle) && message.contains("remove it"), "{name}: {message}");
        }
    }
}

#[test]
fn what_another_kind_of_provider_reads_is_let_be() {
    inject_pod(&pod_with_env("pod-reader", "{name: AWS_ACCESS_KEY_ID, value: x}")).unwrap();
    inject_pod(&pod_with_env("pod-reader", "{name: VAULT_TOKEN, value: x}")).unwrap();
    inject_pod(&pod_with_env("report-writer", "{name: KUBECONFIG, value: /home/app/.kube/config}")).unwrap();
}

#[test]
fn init_containers_are_judged_too_and_skipped_ones_are_not() {
    let init = "spec: {initContainers: [{name: fetch, env: [{name: AWS_PROFILE, value: x}]}]}";
    let message = message::all(&inject_pod(&pod_with(init)).unwrap_err());
    assert!(message.contains("spec.initContainers[name=fetch].env[name=AWS_PROFILE]"), "{message}");
    let skipped = format!("{{metadata: {{annotations: {{exeat.dev/skip-containers: fetch}}}}, {init}}}");
    inject_pod(&pod_with(&skipped)).unwrap();
}

#[test]
fn env_from_is_refused_unless_listed_or_kept_away_by_a_prefix() {
    let with = |annotations: &str, source: &str| {
        pod_with(&format!(
            "{{metadata: {{annotations: {{{annotations}}}}}, spec: {{containers: [{{name: app, envFrom: [{source}]}}]}}}}"
        ))
    };
    for source in
        ["{secretRef: {name: keys}}", "{configMapRef: {name: keys}}", "{prefix: AWS_, secretRef: {name: keys}}"]
    {
        let message = message::all(&inject_pod(&with("", source)).expect_err(source));
        for needle in ["spec.containers[name=app].envFrom", "\"keys\"", "exeat.dev/allow-env-from", "prefix"] {
            assert!(message.contains(needle), "{message}");
        }
        inject_pod(&with("exeat.dev/allow-env-from: 'other, app'", source)).unwrap();
    }
    inject_pod(&with("", "{prefix: APP_, secretRef: {name: keys}}")).unwrap();
}
