//! Policies in mode Observe: what their pods get beside the rest, and what they are let do.

use exeat_webhook::message;
use k8s_openapi::api::core::v1::{EnvVar, Pod};

use crate::common::{ISSUER_CA, NAMESPACE, inject_pod, named_policy, pod_with, provider, settings};
use exeat_webhook::{Found, InjectContext, Injected, inject};

fn pod(policy: &str, env: &str) -> Pod {
    pod_with(&format!(
        "{{metadata: {{annotations: {{exeat.dev/policy: {policy}}}}}, spec: {{containers: [{{name: app, image: a, env: [{env}]}}, {{name: other, image: a}}]}}}}"
    ))
}

fn injected(pod: &Pod) -> Injected {
    let (policy, settings) = (named_policy(pod).unwrap(), settings());
    let provider = provider(&policy.spec.provider_ref.name);
    let context = InjectContext {
        namespace: NAMESPACE,
        found: &[Found { policy: Some(policy), provider }],
        settings: &settings,
        issuer_ca: ISSUER_CA,
        requester: None,
    };
    inject(pod, &context).unwrap_or_else(|problems| panic!("{}", message::all(&problems)))
}

fn env<'a>(pod: &'a Pod, container: &str) -> &'a [EnvVar] {
    let spec = pod.spec.as_ref().unwrap();
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|c| c.name == container).unwrap().env.as_deref().unwrap_or_default()
}

fn value(pod: &Pod, container: &str, name: &str) -> Option<String> {
    env(pod, container).iter().find(|e| e.name == name)?.value.clone()
}

#[test]
fn sdks_of_aws_are_told_to_tell_the_sidecar_and_once_is_enough() {
    let monitored = ["AWS_CSM_ENABLED", "AWS_CSM_HOST", "AWS_CSM_PORT", "AWS_CSM_CLIENT_ID"];
    let own = "{name: AWS_CSM_ENABLED, value: 'false'}, {name: AWS_CSM_PORT, value: '31000'}";
    let once = injected(&pod("report-watcher", own));
    for container in ["app", "other"] {
        let values = monitored.map(|name| value(&once.pod, container, name).unwrap());
        assert_eq!(values, ["true", "127.0.0.1", "9911", "exeat"], "{container}");
    }
    assert_eq!(value(&once.pod, "exeat-sidecar", "EXEAT_OBSERVE").as_deref(), Some("true"));
    assert_eq!(injected(&once.pod).pod, once.pod);

    let mut skipping = once.pod;
    skipping.metadata.annotations.as_mut().unwrap().insert("exeat.dev/skip-containers".into(), "other".into());
    let skipping = injected(&skipping).pod;
    assert!(env(&skipping, "other").iter().all(|e| !e.name.starts_with("AWS_CSM_")));

    let vault = injected(&pod("secret-watcher", "")).pod;
    assert_eq!(value(&vault, "exeat-sidecar", "EXEAT_OBSERVE").as_deref(), Some("true"));
    assert_eq!(value(&vault, "app", "AWS_CSM_ENABLED"), None, "its calls are seen anyway");
}

#[test]
fn under_a_policy_that_enforces_monitoring_is_the_authors_own_affair() {
    let pod = inject_pod(&pod("report-writer", "{name: AWS_CSM_ENABLED, value: 'true'}")).unwrap();
    assert_eq!(value(&pod, "app", "AWS_CSM_ENABLED").as_deref(), Some("true"));
    assert_eq!((value(&pod, "app", "AWS_CSM_PORT"), value(&pod, "exeat-sidecar", "EXEAT_OBSERVE")), (None, None));
}

#[test]
fn what_leads_past_the_sidecar_is_let_be_and_its_author_told_what_that_means() {
    for (policy, name) in [
        ("report-watcher", "AWS_ACCESS_KEY_ID"),
        ("report-watcher", "AWS_PROFILE"),
        ("report-watcher", "AWS_ROLE_ARN"),
        ("report-watcher", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        ("secret-watcher", "VAULT_AGENT_ADDR"),
        ("secret-watcher", "VAULT_TOKEN"),
    ] {
        let given = injected(&pod(policy, &format!("{{name: {name}, value: x}}")));
        let [warning] = given.warnings.as_slice() else { panic!("{name}: {:?}", given.warnings) };
        let told = message::warned(warning);
        assert!(told.contains(&format!("env[name={name}]")) && told.contains("nothing sound is learnt"), "{told}");
        assert_eq!(value(&given.pod, "app", name).as_deref(), Some("x"), "it is left as it is");
    }
    let from = pod_with(
        "{metadata: {annotations: {exeat.dev/policy: report-watcher}}, spec: {containers: [{name: app, envFrom: [{secretRef: {name: keys}}]}]}}",
    );
    assert!(injected(&from).warnings[0].message.contains("envFrom"));
}

#[test]
fn what_would_break_the_way_to_the_sidecar_is_refused_all_the_same() {
    for (policy, name) in [
        ("report-watcher", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ("report-watcher", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ("report-watcher", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        ("secret-watcher", "VAULT_ADDR"),
    ] {
        let refused = inject_pod(&pod(policy, &format!("{{name: {name}, value: x}}"))).expect_err(name);
        assert!(message::all(&refused).contains("CredentialsShadowed"), "{name}");
    }
    let narrowed =
        pod_with("{metadata: {annotations: {exeat.dev/policy: report-watcher, exeat.dev/allow: 's3:GetObject on *'}}}");
    let refused = message::all(&inject_pod(&narrowed).unwrap_err());
    assert!(refused.contains("exeat.dev/allow") && refused.contains("remove the annotation"), "{refused}");
}
