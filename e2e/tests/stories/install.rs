//! What the chart has installed.

use exeat_crds::names;
use exeat_e2e::{Result, connect, ensure, in_namespace, kubectl, system, system_namespace, wait_for};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

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
    let audit_key = format!("secrets/{}", names::audit_key_secret("controller"));
    let webhook_root = format!("secrets/{}", names::WEBHOOK_ROOT_SECRET);
    let token = ["create", "serviceaccounts", "--subresource=token"];
    let images = format!("validatingadmissionpolicies/{}", names::SIDECAR_POLICY);
    let questions: [(&str, &str, &[&str], &str); 35] = [
        ("controller", "no", &["get", "secrets"], system),
        ("controller", "no", &["get", &webhook_root], system),
        ("controller", "no", &["get", "secrets/exeat-issuer-root"], system),
        ("controller", "no", &["get", "secrets/exeat-audit-key-issuer"], system),
        ("controller", "no", &["create", "tokenreviews.authentication.k8s.io"], "default"),
        ("controller", "no", &["patch", "agentcredentialpolicies.exeat.dev"], "default"),
        ("controller", "no", &token, names::GRANTS_NAMESPACE),
        ("controller", "yes", &["patch", &images], system),
        ("controller", "no", &["patch", "validatingadmissionpolicies"], system),
        ("controller", "yes", &["create", "credentialsessions.exeat.dev"], "default"),
        ("issuer", "no", &["create", "credentialsessions.exeat.dev"], "default"),
        ("issuer", "no", &["get", "secrets"], "default"),
        ("issuer", "no", &["get", "secrets"], system),
        ("issuer", "no", &["get", &audit_key], system),
        ("issuer", "no", &["get", &webhook_root], system),
        ("issuer", "no", &["patch", &images], system),
        ("issuer", "no", &["create", "pods"], system),
        ("issuer", "no", &["delete", "credentialsessions.exeat.dev"], "default"),
        ("issuer", "no", &["patch", "agentcredentialpolicies.exeat.dev"], "default"),
        ("issuer", "no", &["create", "approvals.exeat.dev"], "default"),
        ("issuer", "yes", &["watch", "approvals.exeat.dev"], "default"),
        ("issuer", "no", &["patch", "validatingadmissionpolicies.admissionregistration.k8s.io"], "default"),
        ("issuer", "yes", &token, names::GRANTS_NAMESPACE),
        ("controller", "yes", &["patch", "approvals.exeat.dev", "--subresource=status"], "default"),
        ("controller", "no", &["create", "credentialholds.exeat.dev"], "default"),
        ("issuer", "no", &["patch", "approvals.exeat.dev", "--subresource=status"], "default"),
        ("issuer", "no", &["patch", "approvals.exeat.dev"], "default"),
        ("webhook", "no", &["patch", "approvals.exeat.dev"], "default"),
        ("webhook", "no", &["list", "secrets"], system),
        ("webhook", "no", &["patch", &images], system),
        ("webhook", "no", &["get", "pods"], "default"),
        ("webhook", "no", &["get", "secrets/exeat-audit-key-issuer"], system),
        ("webhook", "no", &["patch", "configmaps/exeat-audit-heads"], system),
        ("webhook", "no", &["patch", "credentialsessions.exeat.dev"], "default"),
        ("webhook", "no", &["create", "approvals.exeat.dev"], "default"),
    ];
    for (program, expected, question, namespace) in questions {
        let user = format!("system:serviceaccount:{system}:exeat-{program}");
        let output = kubectl(&[&["auth", "can-i", "--as", &user, "-n", namespace][..], question].concat()).await?;
        assert_eq!(output.stdout.trim(), expected, "{program} {question:?} in {namespace}: {output}");
    }
    Ok(())
}

/// What nobody outside of our namespace may do: (verb and resource, namespace; `None`: another tenant's).
const OURS: &[(&[&str], Option<&str>)] = &[
    (&["get", "secrets"], Some("exeat-system")),
    (&["get", "secrets/exeat-issuer-root"], Some("exeat-system")),
    (&["get", "secrets/exeat-audit-key-issuer"], Some("exeat-system")),
    (&["get", "secrets"], Some(names::GRANTS_NAMESPACE)),
    (&["create", "serviceaccounts", "--subresource=token"], Some("exeat-system")),
    (&["create", "serviceaccounts", "--subresource=token"], Some(names::GRANTS_NAMESPACE)),
    (&["create", "pods", "--subresource=exec"], Some("exeat-system")),
    (&["patch", "configmaps/exeat-audit-heads"], Some("exeat-system")),
    (&["patch", "configmaps/exeat-issuer-root"], Some("exeat-system")),
    (&["get", "pods", "--subresource=log"], Some("exeat-system")),
    (&["patch", "credentialproviders.exeat.dev"], Some("default")),
    (&["delete", "validatingadmissionpolicies.admissionregistration.k8s.io"], Some("default")),
    (&["patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io"], Some("default")),
    (&["patch", "credentialsessions.exeat.dev"], None),
    (&["create", "agentcredentialpolicies.exeat.dev"], None),
    (&["create", "approvals.exeat.dev"], None),
    (&["create", "serviceaccounts", "--subresource=token"], None),
];

#[tokio::test]
async fn people_of_a_namespace_reach_nothing_of_ours_or_of_other_tenants() -> Result {
    in_namespace("tenant", async |ns| {
        in_namespace("neighbour", async |other| {
            for (user, role) in [("ed", "edit"), ("ada", "admin")] {
                let binding = json!({
                    "metadata": {"name": role},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
                });
                ns.create(&serde_json::from_value::<RoleBinding>(binding)?).await?;
                let may = async |question: &[&str], namespace: &str| -> Result<String> {
                    let who = ["auth", "can-i", "--as", user, "--as-group", "system:authenticated", "-n", namespace];
                    Ok(kubectl(&[&who[..], question].concat()).await?.stdout.trim().to_owned())
                };
                wait_for("the role is in force", 20, async || {
                    let may = may(&["create", "agentcredentialpolicies.exeat.dev"], &ns.name).await?;
                    ensure!(may == "yes", "{may}");
                    Ok(())
                })
                .await?;
                for (question, namespace) in OURS {
                    let may = may(question, namespace.unwrap_or(&other.name)).await?;
                    ensure!(may == "no", "{user} may {question:?} in {namespace:?}: {may}");
                }
            }
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_nodes_own_account_writes_no_session_and_reads_no_key_of_ours() -> Result {
    let client = connect().await?;
    let node = Api::<Node>::all(client).list(&ListParams::default()).await?.items.remove(0).name_any();
    let user = format!("system:node:{node}");
    for (question, namespace) in [
        (&["get", "secrets/exeat-audit-key-controller"][..], "exeat-system"),
        (&["get", "secrets/exeat-audit-key-issuer"][..], "exeat-system"),
        (&["get", "secrets/exeat-issuer-root"][..], "exeat-system"),
        (&["patch", "configmaps/exeat-audit-heads"][..], "exeat-system"),
        (&["patch", "credentialsessions.exeat.dev"][..], "default"),
        (&["patch", "credentialsessions.exeat.dev", "--subresource=status"][..], "default"),
        (&["create", "approvals.exeat.dev"][..], "default"),
        (&["patch", "agentcredentialpolicies.exeat.dev"][..], "default"),
    ] {
        let who = ["auth", "can-i", "--as", &user, "--as-group", "system:nodes", "-n", namespace];
        let may = kubectl(&[&who[..], question].concat()).await?;
        // The API server adds why.
        assert_eq!(may.stdout.split_whitespace().next(), Some("no"), "{user} {question:?} in {namespace}: {may}");
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
