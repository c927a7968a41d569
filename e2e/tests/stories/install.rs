//! What the chart has installed.

use exeat_crds::names;
use exeat_e2e::{Result, connect, ensure, kubectl, system, system_namespace, wait_for};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

const PROGRAMS: [&str; 3] = ["controller", "issuer", "webhook"];

#[tokio::test]
async fn two_replicas_of_each_program_are_available_and_tell_how_they_are() -> Result {
    let client = connect().await?;
    for program in PROGRAMS {
        system::available(&client, program).await?;
        let pods = system::pods(&client, program).await?;
        assert_eq!(pods.len(), 2, "{program}");
        for pod in pods {
            let name = pod.name_any();
            system::get(&client, &name, "/livez").await?;
            system::get(&client, &name, "/readyz").await?;
            let metrics = system::get(&client, &name, "/metrics").await?;
            assert!(metrics.lines().any(|l| l.starts_with("exeat_")), "{name}: {metrics}");
        }
    }
    Ok(())
}

fn check_rules(name: &str, rules: &[PolicyRule]) {
    for rule in rules {
        let lists = [
            rule.api_groups.as_deref(),
            rule.resources.as_deref(),
            Some(&rule.verbs[..]),
            rule.non_resource_urls.as_deref(),
        ];
        let wild = lists.into_iter().flatten().flatten().any(|item| item.contains('*'));
        assert!(!wild, "{name} has a wildcard: {rule:?}");
    }
}

#[tokio::test]
async fn no_role_has_a_wildcard() -> Result {
    let client = connect().await?;
    let ours = ListParams::default().labels("app.kubernetes.io/name=exeat");
    let cluster_roles = Api::<ClusterRole>::all(client.clone()).list(&ours).await?.items;
    let roles = Api::<Role>::all(client).list(&ours).await?.items;
    assert!(cluster_roles.len() >= 6 && roles.len() >= 4, "{} and {}", cluster_roles.len(), roles.len());
    for role in &cluster_roles {
        let rules = role.rules.as_deref().unwrap_or_default();
        check_rules(&role.name_any(), rules);
        let aggregated = role.labels().keys().any(|k| k.starts_with("rbac.authorization.k8s.io/aggregate-to-"));
        let inner = |rule: &PolicyRule| rule.resources.iter().flatten().any(|r| r.contains('/'));
        assert!(!aggregated || !rules.iter().any(inner), "{} hands out subresources", role.name_any());
    }
    for role in &roles {
        check_rules(&role.name_any(), role.rules.as_deref().unwrap_or_default());
    }
    Ok(())
}

#[tokio::test]
async fn each_program_may_what_it_needs_and_no_more() -> Result {
    connect().await?;
    let system = system_namespace();
    let questions: [(&str, &str, &[&str], &str); 14] = [
        ("controller", "no", &["get", "secrets"], system),
        ("controller", "no", &["create", "serviceaccounts/token"], names::GRANTS_NAMESPACE),
        ("controller", "yes", &["create", "credentialsessions.exeat.dev"], "default"),
        ("issuer", "no", &["create", "credentialsessions.exeat.dev"], "default"),
        ("issuer", "no", &["get", "secrets"], "default"),
        ("issuer", "no", &["create", "pods"], system),
        ("issuer", "yes", &["create", "serviceaccounts/token"], names::GRANTS_NAMESPACE),
        ("controller", "yes", &["patch", "approvals.exeat.dev", "--subresource=status"], "default"),
        ("controller", "no", &["create", "credentialholds.exeat.dev"], "default"),
        ("issuer", "no", &["patch", "approvals.exeat.dev", "--subresource=status"], "default"),
        ("issuer", "no", &["patch", "approvals.exeat.dev"], "default"),
        ("webhook", "no", &["patch", "approvals.exeat.dev"], "default"),
        ("webhook", "no", &["list", "secrets"], system),
        ("webhook", "no", &["get", "pods"], "default"),
    ];
    for (program, expected, question, namespace) in questions {
        let user = format!("system:serviceaccount:{system}:exeat-{program}");
        let output = kubectl(&[&["auth", "can-i", "--as", &user, "-n", namespace][..], question].concat()).await?;
        assert_eq!(output.stdout.trim(), expected, "{program} {question:?} in {namespace}: {output}");
    }
    Ok(())
}

#[tokio::test]
async fn certificates_are_made_by_ourselves() -> Result {
    let client = connect().await?;
    wait_for("both webhook configurations have a root", 30, async || {
        let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone()).get("exeat").await?;
        let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone()).get("exeat").await?;
        let mutating = mutating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
        let validating = validating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
        let bundles: Vec<_> = mutating.chain(validating).collect();
        ensure!(bundles.iter().all(Option::is_some), "{} of {}", bundles.iter().flatten().count(), bundles.len());
        Ok(())
    })
    .await?;
    let secrets: Api<Secret> = Api::namespaced(client, system_namespace());
    for root in [names::ISSUER_ROOT_SECRET, names::WEBHOOK_ROOT_SECRET] {
        assert!(!secrets.get(root).await?.data.unwrap_or_default().is_empty(), "{root} is empty");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_explain_is_the_manual() -> Result {
    connect().await?;
    for (field, said) in [
        ("acp.spec.session.onExpiry", "What happens to a pod that outlives its session"),
        ("cprov.spec.bindings.deny", "denied whatever a policy allows"),
        ("cses.status.revocation.effectiveBy", "Access has ended by then"),
    ] {
        let text = kubectl(&["explain", field]).await?.ok()?;
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.contains(said), "{field}: {text}");
    }
    let listed = kubectl(&["get", "exeat", "-A"]).await?;
    assert_eq!(listed.code, 0, "the category lists all kinds: {listed}");
    Ok(())
}

#[tokio::test]
async fn kustomize_installs_the_same() -> Result {
    connect().await?;
    let dry_run = "kubectl apply --server-side --force-conflicts --dry-run=server -k config/default";
    let applied = exeat_e2e::shell(dry_run).await?.ok()?;
    for object in
        ["deployment.apps/exeat-issuer", "credentialsessions.exeat.dev", "mutatingwebhookconfiguration", "exeat-pods"]
    {
        assert!(applied.contains(object), "{object} is not in {applied}");
    }
    Ok(())
}
