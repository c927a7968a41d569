//! An unmodified kubectl in an agent's pod.

use exeat_crds::v1alpha1::{Enforcement, Phase, RevocationMode};
use exeat_crds::{AgentCredentialPolicy, names};
use exeat_e2e::{
    AgentPod, Failure, Result, agent, connect_with_token, ensure, in_namespace, kubernetes_policy, now, script, system,
    wait_for,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeSet;

const TOKEN: &str = "cat /var/run/exeat/kubernetes/token";

fn short(mut policy: AgentCredentialPolicy) -> AgentCredentialPolicy {
    policy.spec.session.credential_ttl = Some("1m".to_owned());
    policy
}

#[tokio::test]
async fn kubectl_may_what_the_policy_says_and_no_more() -> Result {
    in_namespace("kubectl", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
        let pod = ns.start(agent("agent", "pods").annotated(names::JUSTIFICATION, "look after pods")).await?;
        let listed = ns.sh("agent", "kubectl get pods -o name").await?.ok()?;
        assert_eq!(listed.trim(), "pod/agent", "the namespace of the policy is the default one");
        for (command, said) in [
            ("kubectl get secrets", "cannot list resource \"secrets\""),
            ("kubectl delete pod agent", "cannot delete resource \"pods\""),
            ("kubectl get pods -n default", "in the namespace \"default\""),
            ("kubectl get pods -A", "at the cluster scope"),
        ] {
            let refusal = ns.sh("agent", command).await?.failed()?;
            assert!(refusal.contains("Forbidden") && refusal.contains(said), "{command}: {refusal}");
        }

        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let status = session.status.clone().unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::Provider));
        assert_eq!(session.spec.request.justification.as_deref(), Some("look after pods"));
        let issuance = status.issuance.ok_or_else(|| Failure::new("the issuer recorded nothing"))?;
        assert!(issuance.credential_id.is_some() && issuance.handle.is_some(), "{issuance:?}");
        for uid in [session.uid().unwrap_or_default(), pod.uid().unwrap_or_default()] {
            ns.event(&uid, "SessionActivated").await?;
            ns.event(&uid, "CredentialsIssued").await?;
        }
        let lines = system::audit(&ns.client, "issuer", &session.name_any()).await?;
        let events: Vec<_> = lines.iter().filter_map(|l| l["event"].as_str()).collect();
        let intent = events.iter().position(|e| *e == "CredentialsIntended");
        let issued = events.iter().position(|e| *e == "CredentialsIssued");
        assert!(intent.is_some() && intent < issued, "intent comes before the credential: {events:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_minted_token_is_stored_or_logged() -> Result {
    in_namespace("secrets", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let token = ns.sh("agent", TOKEN).await?.ok()?;
        let signature = token.trim().rsplit('.').next().unwrap_or_default().to_owned();
        assert!(signature.len() > 40, "a token has a signature");
        let session = serde_json::to_string(&ns.session("agent", 1, Phase::Active, 10).await?)?;
        assert!(!session.contains(&signature));
        let secrets: Api<Secret> = Api::namespaced(ns.client.clone(), names::GRANTS_NAMESPACE);
        for secret in secrets.list(&ListParams::default()).await? {
            assert!(secret.data.unwrap_or_default().is_empty(), "Secrets that tokens are bound to are empty");
        }
        for component in ["controller", "issuer", "webhook"] {
            assert!(!system::log(&ns.client, component).await?.contains(&signature), "{component} logs it");
        }
        assert!(!ns.log("agent", "exeat-sidecar").await?.contains(&signature), "the sidecar logs it");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_may_ask_for_less_and_gets_less() -> Result {
    in_namespace("narrow", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
        let narrowed = agent("agent", "pods").annotated(names::ALLOW, &format!("get pods on {}/agent", ns.name));
        ns.start(narrowed).await?;
        ns.sh("agent", "kubectl get pod agent").await?.ok()?;
        for command in ["kubectl get pods", "kubectl get pod other"] {
            let refusal = ns.sh("agent", command).await?.failed()?;
            assert!(refusal.contains("Forbidden"), "{command}: {refusal}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn revocation_reaches_kubectl_and_a_stolen_token_in_seconds() -> Result {
    in_namespace("revoke", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let pod = ns.start(agent("agent", "pods")).await?;
        let token = ns.sh("agent", TOKEN).await?.ok()?;
        let thief = connect_with_token(token.trim()).await?;
        list(&thief, &ns.name).await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;

        let asked = now();
        ns.revoke(&session, "laptop stolen").await?;
        let said =
            wait_for("kubectl tells why", 15, async || ns.sh("agent", "kubectl get pods").await?.failed()).await?;
        assert!(said.contains("SessionRevoked") && said.contains("laptop stolen"), "{said}");
        let revoked = ns.session("agent", 1, Phase::Revoked, 10).await?;
        let promise = revoked.status.unwrap_or_default().revocation.ok_or_else(|| Failure::new("no promise"))?;
        assert_eq!(promise.mode, RevocationMode::Immediate);
        let promised: Timestamp = promise.effective_by.parse()?;
        assert!(promised <= asked + SignedDuration::from_secs(30), "{promised} is long after {asked}");
        let refused = wait_for("the stolen token is refused", 40, async || match list(&thief, &ns.name).await {
            Ok(()) => Err(Failure::new("it still works")),
            Err(_) => Ok(now()),
        })
        .await?;
        assert!(refused <= promised, "access ended at {refused}, after what was promised: {promised}");
        println!("stolen token refused {:.1} s after the revocation", refused.duration_since(asked).as_secs_f64());
        ns.event(&pod.uid().unwrap_or_default(), "SessionRevoked").await?;

        // What was revoked stays so for this pod.
        let sessions = ns.sessions("agent").await?;
        assert_eq!(sessions.len(), 1, "a revoked pod gets no further session");
        Ok(())
    })
    .await
}

async fn list(client: &Client, namespace: &str) -> Result {
    Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn renewal_goes_unnoticed() -> Result {
    in_namespace("renewal", async |ns| {
        ns.ready(short(kubernetes_policy("pods", &ns.name, &["list pods"]))).await?;
        let each_second =
            "while kubectl get pods -o name >/dev/null; do echo fine; sleep 1; done; echo broken; sleep 86400";
        ns.start(script("agent", "pods", each_second)).await?;
        let mut seen = BTreeSet::new();
        wait_for("three renewals", 240, async || {
            seen.insert(ns.sh("agent", TOKEN).await?.ok()?);
            ensure!(seen.len() > 3, "{} tokens so far", seen.len());
            Ok(())
        })
        .await?;
        let log = ns.log("agent", "agent").await?;
        assert!(!log.contains("broken"), "a call failed: {log}");
        assert!(log.lines().filter(|l| *l == "fine").count() >= 8, "it called again and again: {log}");
        assert_eq!(ns.sessions("agent").await?.len(), 1, "renewals are within one session");
        Ok(())
    })
    .await
}
