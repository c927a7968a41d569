//! Sessions that run out of time.

use exeat_crds::names;
use exeat_crds::v1alpha1::{OnExpiry, Phase};
use exeat_e2e::{
    AgentPod, Failure, Result, agent, ensure, holds_for, in_namespace, kubernetes_policy, now, script, wait_for,
};
use jiff::Timestamp;

/// The shortest session of the Kubernetes provider, and a while for its end to be seen.
const SHORTEST: &str = "5m";
const UNTIL_EXPIRED: u64 = 330;

#[tokio::test]
async fn a_pod_outlives_its_session_without_a_failed_call() -> Result {
    in_namespace("renew", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.spec.session.credential_ttl = Some("2m".to_owned());
        ns.ready(policy).await?;
        let each_second = "while kubectl get pods -o name >/dev/null; do sleep 1; done; echo broken; sleep 86400";
        ns.start(script("agent", "pods", each_second).annotated(names::DURATION, SHORTEST)).await?;
        let first = ns.session("agent", 1, Phase::Active, 10).await?;
        let second = ns.session("agent", 2, Phase::Active, UNTIL_EXPIRED).await?;
        let expired = ns.session("agent", 1, Phase::Expired, 120).await?;
        assert_eq!(
            expired.status.and_then(|s| s.expires_at),
            first.status.and_then(|s| s.expires_at),
            "expiresAt never moves"
        );
        assert_eq!(second.spec.request.number, 2);
        holds_for("calls go on under session 2", 10, async || {
            let log = ns.log("agent", "agent").await?;
            ensure!(!log.contains("broken"), "a call failed: {log}");
            Ok(())
        })
        .await?;
        let issued = second
            .status
            .and_then(|s| s.issuance)
            .or(ns.sessions("agent").await?[1].status.clone().and_then(|s| s.issuance));
        assert!(issued.is_some(), "session 2 has a credential of its own");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_stop_the_agent_is_refused_once_time_is_up() -> Result {
    in_namespace("stop", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.spec.session.duration = Some(SHORTEST.to_owned());
        policy.spec.session.credential_ttl = Some("2m".to_owned());
        policy.spec.session.on_expiry = OnExpiry::Stop;
        ns.ready(policy).await?;
        ns.start(agent("agent", "pods")).await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let expires: Timestamp = session.status.and_then(|s| s.expires_at).unwrap_or_default().parse()?;
        ns.sh("agent", "kubectl get pods").await?.ok()?;
        ns.session("agent", 1, Phase::Expired, UNTIL_EXPIRED).await?;
        assert!(now() >= expires, "not before its time");
        let said = wait_for("kubectl tells why", 15, async || {
            let said = ns.sh("agent", "kubectl get pods").await?.failed()?;
            if said.contains("SessionExpired") { Ok(said) } else { Err(Failure::new(said)) }
        })
        .await?;
        assert!(said.contains("Error from server"), "{said}");
        holds_for("no session 2", 5, async || {
            ensure!(ns.sessions("agent").await?.len() == 1, "there is one");
            Ok(())
        })
        .await
    })
    .await
}
