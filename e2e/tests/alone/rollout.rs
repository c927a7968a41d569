//! A rollout of the issuer under an agent that works with Vault: every replica goes, and with it its own login there.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    Failure, Result, Scope, VAULT, ensure, holds_for, in_namespace, kubectl, policy, script, shell, statement, system,
    system_namespace, wait_for,
};

/// A call five times a second; what is refused is written down.
const CALLS: &str = r#"
trap 'exit 143' TERM
url="$VAULT_ADDR/v1/secret/data/reports/q3"
while :; do
  said=$(curl -s --fail-with-body -H 'X-Vault-Request: true' "$url" 2>&1) || echo "$(date +%T) $said" >>/tmp/refused
  echo . >>/tmp/calls
  sleep 0.2
done"#;

async fn none_refused(ns: &Scope) -> Result<usize> {
    let refused = ns.sh("agent", "cat /tmp/refused 2>/dev/null || true").await?.ok()?;
    ensure!(refused.is_empty(), "refused: {refused}");
    let calls = ns.sh("agent", "wc -l </tmp/calls").await?.ok()?;
    calls.trim().parse().map_err(|_| Failure::new(calls))
}

/// Works as long as the session's token lives: the login hangs on it.
async fn works(login: &(String, String)) -> Result {
    let (user, password) = login;
    let line = format!(
        "PGPASSWORD='{password}' PGCONNECT_TIMEOUT=5 psql -h 198.18.0.1 -p 5544 -U '{user}' -d postgres -tAc 'select 42'"
    );
    shell(&line).await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_rollout_of_the_issuer_kills_no_agent_of_vault() -> Result {
    let _alone = crate::ALONE.lock().await;
    in_namespace("rollout", async |ns| {
        let allow = vec![statement(&["read"], &["secret/data/reports/*", "database/creds/reader"])];
        let mut reports = policy("reports", VAULT, "agents-reader", allow);
        reports.spec.session.credential_ttl = Some("1m".to_owned());
        ns.ready(reports).await?;
        ns.start(script("agent", "reports", CALLS)).await?;
        let said =
            ns.sh("agent", "curl -sf -H 'X-Vault-Request: true' $VAULT_ADDR/v1/database/creds/reader").await?.ok()?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        let text = |key: &str| said["data"][key].as_str().unwrap_or_default().to_owned();
        let login = (text("username"), text("password"));
        works(&login).await?;

        let old = system::pods(&ns.client, "issuer").await?;
        kubectl(&["-n", system_namespace(), "rollout", "restart", "deployment/exeat-issuer"]).await?.ok()?;
        kubectl(&["-n", system_namespace(), "rollout", "status", "deployment/exeat-issuer", "--timeout=150s"])
            .await?
            .ok()?;
        wait_for("the old replicas are gone", 60, async || {
            let now = system::pods(&ns.client, "issuer").await?;
            ensure!(old.iter().all(|o| now.iter().all(|n| n.metadata.uid != o.metadata.uid)), "not yet");
            Ok(())
        })
        .await?;
        // Longer than a token that nobody renews: the new replicas prolong what the old ones have made.
        holds_for("the login goes on", 75, async || works(&login).await).await?;
        let calls = none_refused(&ns).await?;
        ensure!(calls > 100, "only {calls} calls");
        println!("{calls} calls, none refused");
        let status = ns.session("agent", 1, Phase::Active, 10).await?.status.unwrap_or_default();
        let handle = status.issuance.and_then(|i| i.handle).unwrap_or_default();
        ensure!(handle.split(' ').count() == 1, "another token took its place: {handle}");
        Ok(())
    })
    .await
}
