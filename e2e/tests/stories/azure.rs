//! Unmodified azure-identity for Python against a stand-in for Entra ID that checks what Entra checks, and services that check its tokens.

use std::sync::Arc;

use exeat_crds::names;
use exeat_crds::v1alpha1::{Enforcement, OnExpiry, Phase, RevocationMode};
use exeat_e2e::azure::{AUTHORITY, AZURE, PRINCIPALS, READ, REPORTS, SERVICES, STORAGE, app, azure_policy};
use exeat_e2e::{
    AgentPod, Failure, Result, Scope, agent, ensure, holds_for, in_namespace, provider, script, shell, wait_for,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One line a call: the status of the service that the token was shown to, or the code of the sidecar's refusal.
const CALLS: &str = r#"
import re, sys, urllib.error, urllib.request
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
services, client_id = sys.argv[1:]
def ask(credential, resource, path):
    bearer = credential.get_token(resource + "/.default").token
    request = urllib.request.Request(services + path, headers={"Authorization": "Bearer " + bearer})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
managed = ManagedIdentityCredential()
for name, call in {
    "managed": lambda: ask(managed, "https://storage.azure.com", "/blobs/q3"),
    "default": lambda: ask(DefaultAzureCredential(), "https://storage.azure.com", "/blobs/q3"),
    "named": lambda: ask(ManagedIdentityCredential(client_id=client_id), "https://storage.azure.com", "/blobs/q3"),
    "reports": lambda: ask(managed, "api://reports", "/reports/q3"),
    "crossed": lambda: ask(managed, "api://reports", "/blobs/q3"),
    "vault": lambda: ask(managed, "https://vault.azure.net", "/vault/x"),
    "other": lambda: ask(ManagedIdentityCredential(client_id=client_id[::-1]), "https://storage.azure.com", "/blobs/q3"),
}.items():
    try:
        print(name, call())
    except ClientAuthenticationError as error:
        said = re.search(r"exeat: (\w+)", str(error))
        print(name, said.group(1) if said else error)
"#;

const ALLOWED: [&str; 7] = [
    "managed 200",
    "default 200",
    "named 200",
    "reports 200",
    "crossed 401",
    "vault ResourceNotGranted",
    "other IdentityNotGranted",
];

fn calls(number: u32) -> Vec<String> {
    ["python3", "-c", CALLS, SERVICES, &app(number)].map(str::to_owned).to_vec()
}

async fn sdk_says(ns: &Scope, pod: Pod, number: u32, expected: &[&str]) -> Result {
    let name = pod.name_any();
    ns.start(pod.with_agent(|c| c.command = Some(calls(number)))).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!((code, log.lines().collect::<Vec<_>>()), (0, expected.to_vec()), "{name}");
    Ok(())
}

/// The answer for storage, as the sidecar gives it.
async fn answer(ns: &Scope) -> Result<Value> {
    let line = format!(
        "curl -s --fail-with-body -H \"X-IDENTITY-HEADER: $IDENTITY_HEADER\" \"$IDENTITY_ENDPOINT?api-version=2019-08-01&resource={STORAGE}\""
    );
    Ok(serde_json::from_str(&ns.sh("agent", &line).await?.ok()?)?)
}

async fn token(ns: &Scope) -> Result<String> {
    Ok(answer(ns).await?["access_token"].as_str().unwrap_or_default().to_owned())
}

async fn refused_with(ns: &Scope, code: &str, seconds: u64) -> Result {
    wait_for(&format!("the agent is told {code}"), seconds, async || match answer(ns).await {
        Err(error) if error.to_string().contains(code) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })
    .await
}

/// The status of a service that is shown this token.
async fn shown(service: &str, token: &str) -> Result<String> {
    let line =
        format!("curl -s -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' {SERVICES}/{service}/q3");
    shell(&line).await?.ok()
}

#[tokio::test]
async fn azure_identity_gets_tokens_for_what_the_policy_names_and_nothing_else() -> Result {
    in_namespace("azureidentity", async |ns| {
        ns.ready(azure_policy("reports", AZURE, 1, &[STORAGE, REPORTS])).await?;
        sdk_says(&ns, script("agent", "reports", ""), 1, &ALLOWED).await?;
        let session = ns.session("agent", 1, Phase::Completed, 30).await?;
        let status = session.status.unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::PrincipalOnly));
        assert!(status.exceptions.iter().any(|e| e.contains("role assignments")), "{:?}", status.exceptions);
        let (end, promise) = (status.expires_at.unwrap_or_default(), status.revocation.expect("a promise"));
        let last: Timestamp = promise.effective_by.parse()?;
        assert_eq!(
            (promise.mode, last),
            (RevocationMode::ExpiryOnly, end.parse::<Timestamp>()? + SignedDuration::from_mins(90))
        );
        let issuance = status.issuance.unwrap_or_default();
        assert_eq!(
            issuance.credential_id.unwrap_or_default().split(',').count(),
            2,
            "each token is named in the sign-in log"
        );
        let really: Timestamp = issuance.expires_at.unwrap_or_default().parse()?;
        assert!(really <= last, "{really} is later than was promised");

        let narrowed = script("narrow", "reports", "").annotated(names::ALLOW, &format!("{READ} on {STORAGE}"));
        let mut expected = ALLOWED;
        expected[3] = "reports ResourceNotGranted";
        expected[4] = "crossed ResourceNotGranted";
        sdk_says(&ns, narrowed, 1, &expected).await?;

        ns.ready(azure_policy("powerless", AZURE, 7, &[STORAGE, REPORTS])).await?;
        let mut expected = ALLOWED;
        (expected[0], expected[1], expected[2], expected[3]) =
            ("managed 403", "default 403", "named 403", "reports 403");
        sdk_says(&ns, script("powerless", "powerless", ""), 7, &expected).await
    })
    .await
}

#[tokio::test]
async fn the_endpoint_is_for_processes_that_read_the_pods_environment() -> Result {
    in_namespace("azureendpoint", async |ns| {
        ns.ready(azure_policy("reports", AZURE, 1, &[STORAGE])).await?;
        let uid = ns.start(agent("agent", "reports")).await?.uid().unwrap_or_default();
        let env = ns.sh("agent", "env").await?.ok()?;
        for expected in
            ["IDENTITY_ENDPOINT=http://127.0.0.1:9911/azure/token".to_owned(), format!("IDENTITY_HEADER={uid}")]
        {
            assert!(env.lines().any(|l| l == expected), "{expected} is not in {env}");
        }
        let ask = format!("$IDENTITY_ENDPOINT?api-version=2019-08-01&resource={STORAGE}");
        for (options, status) in [
            ("-H \"X-IDENTITY-HEADER: $IDENTITY_HEADER\"", "200"),
            ("-H 'X-IDENTITY-HEADER: guessed'", "401"),
            ("-H 'Metadata: true'", "401"),
            ("-H \"X-IDENTITY-HEADER: $IDENTITY_HEADER\" -H 'X-Forwarded-For: 10.0.0.1'", "403"),
            ("-H \"X-IDENTITY-HEADER: $IDENTITY_HEADER\" -H 'Host: evil.example'", "403"),
            ("-X POST -H \"X-IDENTITY-HEADER: $IDENTITY_HEADER\"", "405"),
        ] {
            let line = format!("curl -s -o /tmp/out -w '%{{http_code}}' {options} \"{ask}\"");
            assert_eq!(ns.sh("agent", &line).await?.ok()?.trim(), status, "{options}");
        }
        let answer = answer(&ns).await?;
        let expires: i64 = answer["expires_on"]
            .as_str()
            .unwrap_or_default()
            .parse()
            .map_err(|e| Failure::new(format!("{answer}: {e}")))?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let end: Timestamp = session.status.and_then(|s| s.expires_at).unwrap_or_default().parse()?;
        assert!(expires <= end.as_second(), "an SDK comes back by the session's end: {answer}");
        let own = agent("own", "reports").with_env("AZURE_FEDERATED_TOKEN_FILE", "/token");
        let refused = ns.expect_refused(&own).await?;
        assert!(refused.contains("AZURE_FEDERATED_TOKEN_FILE"), "{refused}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn after_a_revocation_the_sdk_says_why_and_the_promise_holds() -> Result {
    in_namespace("azurerevoke", async |ns| {
        ns.ready(azure_policy("reports", AZURE, 1, &[STORAGE])).await?;
        ns.start(agent("agent", "reports")).await?;
        let copied = token(&ns).await?;
        assert_eq!(shown("blobs", &copied).await?.trim(), "200");
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.revoke(&session, "looks odd").await?;
        refused_with(&ns, "SessionRevoked", 15).await?;
        let command = calls(1);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let said = ns.exec("agent", &command).await?.ok()?;
        assert!(said.lines().all(|line| line.ends_with("SessionRevoked")), "{said}");
        // Nobody can take it back, and nobody says so.
        assert_eq!(shown("blobs", &copied).await?.trim(), "200");
        let status = ns.session("agent", 1, Phase::Revoked, 10).await?.status.unwrap_or_default();
        let promised: Timestamp = status.revocation.expect("a promise").effective_by.parse()?;
        let really: Timestamp = status.issuance.and_then(|i| i.expires_at).unwrap_or_default().parse()?;
        assert!(really <= promised, "{really} is later than {promised}");
        Ok(())
    })
    .await
}

/// The sign-ins of an app's session, by the correlation id that the log shows.
async fn sign_ins(session: &str) -> Result<usize> {
    let log: Vec<Value> = serde_json::from_str(&shell(&format!("curl -sf {SERVICES}/signins")).await?.ok()?)?;
    Ok(log.iter().filter(|entry| entry["correlation"] == session).count())
}

#[tokio::test]
async fn tokens_are_renewed_and_end_with_their_own_time() -> Result {
    in_namespace("azureexpire", async |ns| {
        let mut policy = azure_policy("reports", AZURE, 2, &[STORAGE]);
        policy.spec.session.duration = Some("5m".to_owned());
        policy.spec.session.on_expiry = OnExpiry::Stop;
        ns.ready(policy).await?;
        ns.start(agent("agent", "reports")).await?;
        let first = token(&ns).await?;
        holds_for("access goes on longer than any token lives", 75, async || {
            let status = shown("blobs", &token(&ns).await?).await?;
            ensure!(status.trim() == "200", "{status}");
            Ok(())
        })
        .await?;
        assert_eq!(shown("blobs", &first).await?.trim(), "401", "the first has ended");
        let uid = ns.session("agent", 1, Phase::Active, 10).await?.uid().unwrap_or_default();
        let taken = sign_ins(&uid).await?;
        assert!((2..=6).contains(&taken), "{taken} tokens in little more than one life");
        ns.session("agent", 1, Phase::Expired, 330).await?;
        refused_with(&ns, "SessionExpired", 15).await
    })
    .await
}

/// A way to Entra that can be closed.
async fn relay(listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        open.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(AUTHORITY.trim_start_matches("https://")).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[tokio::test]
async fn while_entra_is_away_the_reason_is_told_and_access_comes_back_with_it() -> Result {
    in_namespace("azuredown", async |ns| {
        let listener = TcpListener::bind("198.18.0.1:0").await?;
        let address = listener.local_addr()?;
        let way = Arc::new(tokio::sync::Mutex::new(tokio::spawn(relay(listener))));
        let mut object = provider("down", AZURE, &[PRINCIPALS], &["*/read"]);
        if let Some(azure) = &mut object.spec.azure {
            azure.authority = Some(format!("https://{address}"));
        }
        let object = ns.create_provider(object).await?;
        ns.ready(azure_policy("reports", &object.name_any(), 2, &[STORAGE])).await?;
        ns.start(agent("agent", "reports")).await?;
        let held = token(&ns).await?;
        way.lock().await.abort();
        assert_eq!(token(&ns).await?, held, "what is held is served on");
        refused_with(&ns, "ProviderUnreachable", 90).await?;
        *way.lock().await = tokio::spawn(relay(TcpListener::bind(address).await?));
        let back = wait_for("access comes back", 90, async || token(&ns).await).await?;
        assert_eq!(shown("blobs", &back).await?.trim(), "200");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_keeps_a_policy_from_ready_is_told_with_the_fix() -> Result {
    in_namespace("azureready", async |ns| {
        let mut silent = azure_policy("silent", AZURE, 1, &[STORAGE]);
        silent.spec.accept_enforcement = None;
        for (policy, reason, part) in [
            (silent, "EnforcementTooWeak", "acceptEnforcement: PrincipalOnly"),
            (azure_policy("untrusting", AZURE, 4, &[STORAGE]), "AssumeRoleDenied", "federated credential"),
            (azure_policy("unknown", AZURE, 99, &[STORAGE]), "AssumeRoleDenied", "AADSTS700016"),
            (azure_policy("nowhere", AZURE, 1, &["api://nowhere"]), "ResourceInvalid", "api://nowhere"),
            (azure_policy("long", AZURE, 3, &[STORAGE]), "ProviderRejected", "maxTokenLifetime"),
            (azure_policy("busy", AZURE, 5, &[STORAGE]), "ProviderThrottled", "slow down"),
            (azure_policy("clock", AZURE, 8, &[STORAGE]), "BaseIdentityInvalid", "clocks"),
        ] {
            let told = ns.not_ready(policy, reason).await?.message;
            assert!(told.contains(part), "{reason}: {told}");
        }
        Ok(())
    })
    .await
}
