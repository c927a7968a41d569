//! Unmodified clients of Vault against a real OpenBao, with a real PostgreSQL behind its database engine. Agents have no token and no settings.

use std::sync::Arc;

use exeat_crds::names;
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{Enforcement, OnExpiry, Phase};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, condition};
use exeat_e2e::{
    AgentPod, Failure, Output, Result, Scope, VAULT, VAULT_ADDRESS, agent, ensure, holds_for, in_namespace, policy,
    provider, script, shell, statement, wait_for,
};
use kube::ResourceExt;
use kube::api::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ROLE: &str = "agents-reader";

/// One line a call: what came, or the first error that Vault or the sidecar gave.
const CALLS: &str = r#"
import os, hvac
from hvac.exceptions import VaultError
client = hvac.Client(url=os.environ["VAULT_ADDR"])
kv = client.secrets.kv.v2
for name, call in {
    "read": lambda: kv.read_secret_version(path="reports/q3", raise_on_deleted_version=True)["data"]["data"]["text"],
    "list": lambda: ",".join(kv.list_secrets(path="reports")["data"]["keys"]),
    "write": lambda: kv.create_or_update_secret(path="reports/q3", secret={"text": "mine"}),
    "denied": lambda: kv.read_secret_version(path="reports/salaries", raise_on_deleted_version=True),
    "other": lambda: kv.read_secret_version(path="payroll", raise_on_deleted_version=True),
    "mint": lambda: client.auth.token.create(policies=["agents"]),
    "self": lambda: client.auth.token.lookup_self(),
    "login": lambda: client.secrets.database.generate_credentials(name="reader")["data"]["username"][:2],
}.items():
    try:
        print(name, call())
    except VaultError as error:
        print(name, error.errors[0].split(": ")[1] if error.errors else error)
"#;

const ALLOWED: [&str; 8] = [
    "read contents of q3",
    "list q3,salaries",
    "write ActionNotAllowed",
    "denied ActionNotAllowed",
    "other ActionNotAllowed",
    "mint ActionNotAllowed",
    "self ActionNotAllowed",
    "login v-",
];

fn allow() -> Vec<Statement> {
    vec![
        statement(&["read"], &["secret/data/reports/*", "database/creds/reader"]),
        statement(&["list"], &["secret/metadata/reports"]),
    ]
}

fn reports(provider: &str) -> AgentCredentialPolicy {
    policy("reports", provider, ROLE, allow())
}

async fn hvac_says(ns: &Scope, pod: k8s_openapi::api::core::v1::Pod, expected: &[&str]) -> Result {
    let name = pod.name_any();
    let command = ["python3", "-c", CALLS].map(str::to_owned).to_vec();
    ns.start(pod.with_agent(|c| c.command = Some(command))).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!((code, log.lines().collect::<Vec<_>>()), (0, expected.to_vec()), "{name}");
    Ok(())
}

#[tokio::test]
async fn hvac_may_what_the_policy_says_and_nothing_else() -> Result {
    in_namespace("hvac", async |ns| {
        ns.ready(reports(VAULT)).await?;
        hvac_says(&ns, script("agent", "reports", ""), &ALLOWED).await?;
        let session = ns.session("agent", 1, Phase::Completed, 30).await?;
        let status = session.status.unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::Sidecar));
        assert!(status.exceptions.iter().any(|e| e.contains("token role")), "{:?}", status.exceptions);
        let handle = status.issuance.and_then(|i| i.handle).unwrap_or_default();
        assert!(handle.starts_with("vault:"), "{handle}");
        let narrowed = script("narrow", "reports", "").annotated(names::ALLOW, "read on secret/data/reports/q3");
        let mut expected = ALLOWED;
        expected[1] = "list ActionNotAllowed";
        expected[7] = "login ActionNotAllowed";
        hvac_says(&ns, narrowed, &expected).await
    })
    .await
}

#[tokio::test]
async fn what_is_sent_is_judged_as_it_is_sent() -> Result {
    in_namespace("vaultbytes", async |ns| {
        ns.ready(reports(VAULT)).await?;
        ns.start(agent("agent", "reports")).await?;
        let env = ns.sh("agent", "env").await?.ok()?;
        for expected in ["VAULT_ADDR=http://127.0.0.1:9911", "BAO_ADDR=http://127.0.0.1:9911"] {
            assert!(env.lines().any(|l| l == expected), "{expected} is not in {env}");
        }
        assert!(!env.contains("VAULT_TOKEN"), "{env}");
        const Q3: &str = "secret/data/reports/q3";
        for (options, path, expected) in [
            ("", Q3, "200"),
            ("-H 'X-Vault-Token: hvs.mine' -H 'X-Vault-Namespace: elsewhere' -H 'Authorization: Bearer x'", Q3, "200"),
            ("-H 'X-Vault-Request: true'", Q3, "412"),
            ("-H 'X-Vault-Wrap-TTL: 60'", Q3, "403"),
            ("-H 'X-Forwarded-For: 10.0.0.1'", Q3, "403"),
            ("-X LIST", "secret/metadata/reports", "200"),
            ("", "secret/metadata/reports?list=true", "200"),
            ("", "secret/metadata/reports?list=1", "400"),
            ("", "secret/data/reports/../payroll", "400"),
            ("", "secret/data/reports/%2e%2e/payroll", "400"),
            ("", "secret/data/reports%2Fq3", "400"),
            ("", "secret/data//reports/q3", "400"),
            ("", "secret/data/reports/q3/", "400"),
            ("-X DELETE", Q3, "403"),
            ("-X OPTIONS", Q3, "405"),
            ("", "sys/internal/ui/mounts/secret/reports", "200"),
            ("", "sys/mounts", "403"),
        ] {
            let line = format!(
                "curl -s --path-as-is -o /tmp/out -w '%{{http_code}}' -H 'X-Vault-Request: true' {options} \"$VAULT_ADDR/v1/{path}\""
            );
            let code = ns.sh("agent", &line).await?.ok()?;
            assert_eq!(code.trim(), expected, "{options} {path}: {}", ns.sh("agent", "cat /tmp/out").await?.stdout);
        }
        let bare = ns.sh("agent", &format!("curl -s $VAULT_ADDR/v1/{Q3}")).await?.ok()?;
        assert!(bare.contains("VaultRequestHeaderMissing"), "{bare}");
        let json = "curl -s -H \"Authorization: Bearer $(cat /var/run/exeat/token)\" $VAULT_ADDR/exeat/v1/credential";
        let shown = ns.sh("agent", json).await?.ok()?;
        assert!(shown.contains("secret/data/reports/*") && !shown.contains("\"token\""), "{shown}");
        let own = agent("own", "reports").with_env("VAULT_TOKEN", "hvs.mine");
        let refused = ns.expect_refused(&own).await?;
        assert!(refused.contains("VAULT_TOKEN"), "{refused}");
        Ok(())
    })
    .await
}

/// Username and password of a database login, as the agent takes it.
async fn database_login(ns: &Scope) -> Result<(String, String)> {
    let line = "curl -sf -H 'X-Vault-Request: true' $VAULT_ADDR/v1/database/creds/reader";
    let body: serde_json::Value = serde_json::from_str(&ns.sh("agent", line).await?.ok()?)?;
    let text = |key: &str| body["data"][key].as_str().unwrap_or_default().to_owned();
    Ok((text("username"), text("password")))
}

async fn psql((user, password): &(String, String)) -> Result<Output> {
    shell(&format!("PGPASSWORD='{password}' PGCONNECT_TIMEOUT=5 psql -h 198.18.0.1 -p 5544 -U '{user}' -d postgres -tAc 'select 42'")).await
}

async fn read(ns: &Scope) -> Result<Output> {
    ns.sh("agent", "curl -s --fail-with-body -H 'X-Vault-Request: true' $VAULT_ADDR/v1/secret/data/reports/q3").await
}

async fn refused_with(ns: &Scope, code: &str, seconds: u64) -> Result {
    wait_for(&format!("the agent is told {code}"), seconds, async || {
        let said = read(ns).await?.failed()?;
        if said.contains(code) { Ok(()) } else { Err(Failure::new(said)) }
    })
    .await
}

#[tokio::test]
async fn a_login_lives_as_long_as_its_session_and_ends_with_it() -> Result {
    in_namespace("vaultrevoke", async |ns| {
        let mut policy = reports(VAULT);
        policy.spec.session.credential_ttl = Some("1m".to_owned());
        ns.ready(policy).await?;
        ns.start(agent("agent", "reports")).await?;
        let login = database_login(&ns).await?;
        psql(&login).await?.ok()?;
        // Longer than any token that nobody renews.
        holds_for("the login goes on while the token is renewed", 75, async || {
            psql(&login).await?.ok()?;
            read(&ns).await?.ok()?;
            Ok(())
        })
        .await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let handle = session.status.clone().and_then(|s| s.issuance).and_then(|i| i.handle).unwrap_or_default();
        assert_eq!(handle.split(' ').count(), 1, "one token, renewed in place: {handle}");

        ns.crash_sidecar("agent").await?;
        wait_for("a new sidecar serves with a token of its own", 60, async || read(&ns).await?.ok()).await?;
        let both =
            ns.session("agent", 1, Phase::Active, 10).await?.status.and_then(|s| s.issuance).and_then(|i| i.handle);
        assert_eq!(both.unwrap_or_default().split(' ').count(), 2, "both can be revoked");
        psql(&login).await?.ok()?;

        ns.revoke(&session, "looks odd").await?;
        refused_with(&ns, "SessionRevoked", 15).await?;
        wait_for("PostgreSQL refuses the login", 15, async || {
            let said = psql(&login).await?.failed()?;
            if said.contains("authentication failed") { Ok(()) } else { Err(Failure::new(said)) }
        })
        .await?;
        wait_for("the revocation is on record", 30, async || {
            let status = ns.sessions("agent").await?.first().and_then(|s| s.status.clone()).unwrap_or_default();
            ensure!(status.issuance.is_some_and(|i| i.revoked_at.is_some()), "not yet");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn with_its_time_the_session_is_over_and_so_is_the_login() -> Result {
    in_namespace("vaultexpire", async |ns| {
        let mut policy = reports(VAULT);
        policy.spec.session.duration = Some("5m".to_owned());
        policy.spec.session.on_expiry = OnExpiry::Stop;
        ns.ready(policy).await?;
        ns.start(agent("agent", "reports")).await?;
        let login = database_login(&ns).await?;
        psql(&login).await?.ok()?;
        ns.session("agent", 1, Phase::Expired, 330).await?;
        refused_with(&ns, "SessionExpired", 15).await?;
        wait_for("PostgreSQL refuses the login", 20, async || psql(&login).await?.failed().map(drop)).await
    })
    .await
}

/// A way to Vault that can be closed.
async fn relay(listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        open.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(VAULT_ADDRESS.trim_start_matches("http://")).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[tokio::test]
async fn while_vault_is_away_the_reason_is_told_and_access_comes_back_with_it() -> Result {
    in_namespace("vaultdown", async |ns| {
        let listener = TcpListener::bind("198.18.0.1:0").await?;
        let address = listener.local_addr()?;
        let way = Arc::new(tokio::sync::Mutex::new(tokio::spawn(relay(listener))));
        let mut object = provider("down", VAULT, &[ROLE], &["read"]);
        if let Some(vault) = &mut object.spec.vault {
            vault.address = format!("http://{address}");
        }
        let object = ns.create_provider(object).await?;
        let mut own =
            policy("reports", &object.name_any(), ROLE, vec![statement(&["read"], &["secret/data/reports/*"])]);
        own.spec.session.credential_ttl = Some("10m".to_owned());
        ns.ready(own).await?;
        ns.start(agent("agent", "reports")).await?;
        read(&ns).await?.ok()?;

        way.lock().await.abort();
        refused_with(&ns, "ProviderUnreachable", 15).await?;
        ns.create(&agent("late", "reports")).await?;
        let uid = ns.session("late", 1, Phase::Active, 30).await?.uid().unwrap_or_default();
        let told = ns.event(&uid, "ProviderUnreachable").await;
        let told = match told {
            Ok(note) => note,
            Err(_) => ns.event(&uid, "CredentialsRefused").await?,
        };
        assert!(told.contains("does not answer"), "{told}");
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.revoke(&session, "while it is away").await?;
        refused_with(&ns, "SessionRevoked", 15).await?;

        *way.lock().await = tokio::spawn(relay(TcpListener::bind(address).await?));
        wait_for("what could not be revoked is revoked once Vault is back", 60, async || {
            let status = ns.sessions("agent").await?.first().and_then(|s| s.status.clone()).unwrap_or_default();
            ensure!(status.issuance.is_some_and(|i| i.revoked_at.is_some()), "not yet");
            Ok(())
        })
        .await?;
        ns.started("late").await?;
        for session in ns.sessions("late").await? {
            ns.revoke(&session, "over").await?;
        }
        wait_for("nothing is left at this Vault", 60, async || {
            let status = ns.sessions("late").await?.first().and_then(|s| s.status.clone()).unwrap_or_default();
            ensure!(status.issuance.is_some_and(|i| i.revoked_at.is_some()), "not yet");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_role_that_allows_less_than_the_policy_keeps_it_from_ready() -> Result {
    in_namespace("vaultless", async |ns| {
        let wide = policy("wide", VAULT, ROLE, vec![statement(&["read"], &["secret/data/payroll"])]);
        let told = ns.not_ready(wide, "AssumeRoleDenied").await?;
        assert!(told.message.contains("secret/data/payroll"), "{}", told.message);
        let denied = policy("denied", VAULT, ROLE, vec![statement(&["read"], &["secret/data/reports/salaries"])]);
        let told = ns.not_ready(denied, "DeniedByGuardrail").await?;
        assert!(told.message.contains("salaries"), "{}", told.message);
        let ready =
            Api::<CredentialProvider>::all(ns.client.clone()).get(VAULT).await?.status.unwrap_or_default().conditions;
        assert!(condition::is_true(&ready, "Ready"), "{ready:?}");
        Ok(())
    })
    .await
}
