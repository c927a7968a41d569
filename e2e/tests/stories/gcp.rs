//! Google's own clients for Python against a stand-in for Google Cloud that checks what Google checks. Agents have no key file and no settings.

use std::sync::Arc;

use exeat_crds::names;
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{Enforcement, OnExpiry, Phase, RevocationMode};
use exeat_crds::{AgentCredentialPolicy, CredentialSession};
use exeat_e2e::{
    AgentPod, Failure, GCP, GCP_ADDRESS, Output, Result, Scope, agent, holds_for, in_namespace, policy, provider,
    script, statement, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ACCOUNT: &str = "agents-reader@example.iam.gserviceaccount.com";
const TOKEN: &str = "curl -s -H 'Metadata-Flavor: Google' \
    http://127.0.0.1:9911/computeMetadata/v1/instance/service-accounts/default/token";

/// One line a call: what came, or the status that Cloud Storage gave.
const CALLS: &str = r#"
import os, google.auth
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import storage
credentials, project = google.auth.default()
client = storage.Client(project=project, credentials=credentials, client_options={"api_endpoint": os.environ["STORAGE"]})
reports, payroll = client.bucket("reports"), client.bucket("payroll")
for name, call in {
    "project": lambda: project,
    "read": lambda: reports.blob("2026/q3.txt").download_as_bytes().decode(),
    "account": lambda: credentials.service_account_email if credentials.token else client._credentials.service_account_email,
    "list": lambda: ",".join(blob.name for blob in client.list_blobs("reports", prefix="2026/")),
    "all": lambda: len(list(client.list_blobs("reports"))),
    "other": lambda: reports.blob("2025/q3.txt").download_as_bytes(),
    "payroll": lambda: payroll.blob("salaries.txt").download_as_bytes(),
    "write": lambda: reports.blob("2026/mine.txt").upload_from_string("mine"),
    "remove": lambda: reports.blob("2026/q4.txt").delete(),
    "bucket": lambda: client.get_bucket("reports").name,
}.items():
    try:
        print(name, call())
    except GoogleAPICallError as error:
        print(name, error.code)
"#;

const ALLOWED: [&str; 10] = [
    "project example",
    "read contents of q3",
    "account agents-reader@example.iam.gserviceaccount.com",
    "list 2026/q3.txt,2026/q4.txt",
    "all 403",
    "other 403",
    "payroll 403",
    "write 403",
    "remove 403",
    "bucket 403",
];

fn allow() -> Vec<Statement> {
    vec![statement(&["storage.objects.get", "storage.objects.list"], &["projects/_/buckets/reports/objects/2026/*"])]
}

fn reports(provider: &str) -> AgentCredentialPolicy {
    policy("reports", provider, ACCOUNT, allow())
}

async fn python_says(ns: &Scope, pod: Pod, code: &str, expected: &[&str]) -> Result {
    let name = pod.name_any();
    let command = ["python3", "-c", code].map(str::to_owned).to_vec();
    ns.start(pod.with_env("STORAGE", GCP_ADDRESS).with_agent(|c| c.command = Some(command))).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!((code, log.lines().collect::<Vec<_>>()), (0, expected.to_vec()), "{name}");
    Ok(())
}

#[tokio::test]
async fn cloud_storage_may_what_the_policy_says_and_nothing_else() -> Result {
    in_namespace("gcp", async |ns| {
        ns.ready(reports(GCP)).await?;
        python_says(&ns, script("agent", "reports", ""), CALLS, &ALLOWED).await?;
        let status = ns.session("agent", 1, Phase::Completed, 30).await?.status.unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::Provider));
        assert_eq!(status.revocation.map(|r| r.mode), Some(RevocationMode::ExpiryOnly));
        for told in ["roles/storage.objectViewer also gives storage.folders.get", "metadata server"] {
            assert!(status.exceptions.iter().any(|e| e.contains(told)), "{:?}", status.exceptions);
        }
        let less = "storage.objects.get on projects/_/buckets/reports/objects/2026/q3.txt";
        let mut expected = ALLOWED;
        expected[3] = "list 403";
        python_says(&ns, script("narrow", "reports", "").annotated(names::ALLOW, less), CALLS, &expected).await
    })
    .await
}

#[tokio::test]
async fn the_metadata_server_is_the_sessions_alone() -> Result {
    in_namespace("gcpmeta", async |ns| {
        ns.ready(reports(GCP)).await?;
        ns.start(agent("agent", "reports")).await?;
        let env = ns.sh("agent", "env").await?.ok()?;
        for expected in ["GCE_METADATA_HOST=127.0.0.1:9911", "GCE_METADATA_IP=127.0.0.1:9911", "GOOGLE_CLOUD_PROJECT=example"] {
            assert!(env.lines().any(|l| l == expected), "{expected} is not in {env}");
        }
        const FLAVOR: &str = "-H 'Metadata-Flavor: Google'";
        for (options, path, expected) in [
            ("", "", "200"),
            ("", "computeMetadata/v1/project/project-id", "403"),
            (FLAVOR, "computeMetadata/v1/project/numeric-project-id", "200"),
            (FLAVOR, "computeMetadata/v1/instance", "301"),
            (FLAVOR, "computeMetadata/v1/?recursive=true", "200"),
            (FLAVOR, "computeMetadata/v1/instance/attributes/kube-env", "404"),
            (FLAVOR, "computeMetadata/v1/instance/service-accounts/default/identity?audience=https://a.test", "404"),
            ("-H 'Metadata-Flavor: Google' -H 'X-Forwarded-For: 10.0.0.1'", "computeMetadata/v1/project/project-id", "403"),
            ("-H 'Metadata-Flavor: Google' -H 'Host: metadata.google.internal'", "computeMetadata/v1/project/project-id", "403"),
        ] {
            let line = format!("curl -s --path-as-is -o /tmp/out -w '%{{http_code}}' {options} \"http://$GCE_METADATA_HOST/{path}\"");
            let code = ns.sh("agent", &line).await?.ok()?;
            assert_eq!(code.trim(), expected, "{options} {path}: {}", ns.sh("agent", "cat /tmp/out").await?.stdout);
        }
        let own = agent("own", "reports").with_env("GOOGLE_APPLICATION_CREDENTIALS", "/key.json");
        let refused = ns.expect_refused(&own).await?;
        assert!(refused.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{refused}");

        // For clients that call it by its own name whatever they are told.
        ns.start(agent("byname", "reports").annotated(names::GCP_METADATA_HOST, "true")).await?;
        let line = "env -i /usr/bin/curl -s -H 'Metadata-Flavor: Google' http://metadata.google.internal/computeMetadata/v1/project/project-id";
        assert_eq!(ns.sh("byname", line).await?.ok()?, "example");
        Ok(())
    })
    .await
}

/// Reads a report by a token that the metadata server gives now; the token is kept in /tmp/token.
async fn read(ns: &Scope) -> Result<Output> {
    let line = format!(
        "{TOKEN} >/tmp/answer && grep -q access_token /tmp/answer || {{ cat /tmp/answer; exit 1; }}; \
         sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/' /tmp/answer >/tmp/token; {STOLEN}"
    );
    ns.sh("agent", &line).await
}

/// The same by the token that was kept.
const STOLEN: &str = "curl -s --fail-with-body -H \"Authorization: Bearer $(cat /tmp/token)\" \
    http://198.18.0.1:8230/storage/v1/b/reports/o/2026%2Fq3.txt?alt=media";

async fn refused_with(ns: &Scope, code: &str, seconds: u64) -> Result {
    wait_for(&format!("the agent is told {code}"), seconds, async || {
        let said = read(ns).await?.failed()?;
        if said.contains(code) { Ok(()) } else { Err(Failure::new(said)) }
    })
    .await
}

fn expires_at(session: &CredentialSession) -> Result<jiff::Timestamp> {
    let expires = session.status.as_ref().and_then(|status| status.expires_at.clone()).unwrap_or_default();
    Ok(expires.parse()?)
}

#[tokio::test]
async fn a_token_is_renewed_and_a_revocation_leaves_it_to_its_own_end() -> Result {
    in_namespace("gcprevoke", async |ns| {
        let mut policy = reports(GCP);
        policy.spec.session.credential_ttl = Some("1m".to_owned());
        ns.ready(policy).await?;
        ns.start(agent("agent", "reports")).await?;
        read(&ns).await?.ok()?;
        // Longer than any token that nobody renews.
        holds_for("reports can be read while the token is renewed", 75, async || read(&ns).await?.ok().map(drop)).await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.revoke(&session, "looks odd").await?;
        refused_with(&ns, "SessionRevoked", 15).await?;
        let python = "python3 -c 'import google.auth, google.auth.transport.requests as t; google.auth.default()[0].refresh(t.Request())'";
        let told = ns.sh("agent", python).await?.failed()?;
        assert!(told.contains("SessionRevoked") && told.contains("looks odd"), "{told}");
        wait_for("the last token ends", 70, async || ns.sh("agent", STOLEN).await?.failed().map(drop)).await
    })
    .await
}

#[tokio::test]
async fn with_its_time_the_session_is_over_and_so_is_its_last_token() -> Result {
    in_namespace("gcpexpire", async |ns| {
        let mut policy = reports(GCP);
        policy.spec.session.duration = Some("5m".to_owned());
        policy.spec.session.on_expiry = OnExpiry::Stop;
        ns.ready(policy).await?;
        ns.start(agent("agent", "reports")).await?;
        read(&ns).await?.ok()?;
        let session = ns.session("agent", 1, Phase::Expired, 330).await?;
        refused_with(&ns, "SessionExpired", 15).await?;
        assert!(exeat_e2e::now() >= expires_at(&session)?, "not before its time");
        wait_for("the last token has ended", 5, async || ns.sh("agent", STOLEN).await?.failed().map(drop)).await
    })
    .await
}

/// A way to the stand-in that can be closed.
async fn relay(listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        open.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(GCP_ADDRESS.trim_start_matches("http://")).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[tokio::test]
async fn while_google_is_away_the_reason_is_told_and_access_comes_back_with_it() -> Result {
    in_namespace("gcpdown", async |ns| {
        let listener = TcpListener::bind("198.18.0.1:0").await?;
        let address = listener.local_addr()?;
        let way = Arc::new(tokio::sync::Mutex::new(tokio::spawn(relay(listener))));
        let mut object = provider("down", GCP, &[ACCOUNT], &["storage.*"]);
        if let Some(endpoints) = object.spec.gcp.as_mut().and_then(|gcp| gcp.endpoints.as_mut()) {
            endpoints.iam_credentials = Some(format!("http://{address}"));
            endpoints.sts = Some(format!("http://{address}"));
        }
        let object = ns.create_provider(object).await?;
        ns.ready(reports(&object.name_any())).await?;
        ns.start(agent("agent", "reports")).await?;
        read(&ns).await?.ok()?;

        way.lock().await.abort();
        ns.create(&agent("late", "reports")).await?;
        let uid = ns.session("late", 1, Phase::Active, 30).await?.uid().unwrap_or_default();
        let told = match ns.event(&uid, "ProviderUnreachable").await {
            Ok(note) => note,
            Err(_) => ns.event(&uid, "CredentialsRefused").await?,
        };
        assert!(told.contains("does not answer"), "{told}");
        read(&ns).await?.ok()?;

        *way.lock().await = tokio::spawn(relay(TcpListener::bind(address).await?));
        ns.started("late").await?;
        let token = ns.sh("late", TOKEN).await?.ok()?;
        assert!(token.contains("access_token"), "{token}");
        Ok(())
    })
    .await
}

/// What a service that takes identity tokens for one audience says to the agent.
const IDENTITY: &str = r#"
import os, urllib.request, google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import id_token
request = google.auth.transport.requests.Request()
for audience in ["https://reports.example", "https://other.example"]:
    try:
        token = id_token.fetch_id_token(request, audience)
        call = urllib.request.Request(os.environ["STORAGE"] + "/whoami", headers={"Authorization": "Bearer " + token})
        print(urllib.request.urlopen(call).read().decode())
    except GoogleAuthError as error:
        print("ActionNotAllowed" in str(error))
"#;

#[tokio::test]
async fn identity_tokens_are_for_the_policys_audiences_alone() -> Result {
    in_namespace("gcpidentity", async |ns| {
        let tokens = statement(&["iam.serviceAccounts.getOpenIdToken"], &["audience/https://reports.example"]);
        ns.ready(policy("caller", GCP, ACCOUNT, vec![tokens])).await?;
        let expected = [&format!("{{\"email\": \"{ACCOUNT}\"}}"), "True"];
        python_says(&ns, script("agent", "caller", ""), IDENTITY, &expected).await?;
        let status = ns.session("agent", 1, Phase::Completed, 30).await?.status.unwrap_or_default();
        let (ends, by) =
            (status.expires_at.unwrap_or_default(), status.revocation.map(|r| r.effective_by).unwrap_or_default());
        let (ends, by): (jiff::Timestamp, jiff::Timestamp) = (ends.parse()?, by.parse()?);
        assert_eq!(
            by.duration_since(ends),
            jiff::SignedDuration::from_hours(1),
            "an identity token outlives its session"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_google_does_not_narrow_is_refused_unless_it_is_accepted() -> Result {
    in_namespace("gcpwide", async |ns| {
        let objects = "projects/_/buckets/reports/objects/*";
        let no_role = policy("norole", GCP, ACCOUNT, vec![statement(&["storage.objects.delete"], &[objects])]);
        let told = ns.not_ready(no_role, "ActionInvalid").await?;
        assert!(told.message.contains("inRole:"), "{}", told.message);
        let tables = vec![statement(&["bigquery.tables.getData"], &["*"])];
        let told = ns.not_ready(policy("tables", GCP, ACCOUNT, tables.clone()), "EnforcementTooWeak").await?;
        assert!(told.message.contains("spec.acceptEnforcement"), "{}", told.message);
        let nobody = policy("nobody", GCP, "agents-nobody@example.iam.gserviceaccount.com", allow());
        let told = ns.not_ready(nobody, "AssumeRoleDenied").await?;
        assert!(told.message.contains("serviceAccountTokenCreator"), "{}", told.message);
        let mut wide = policy("wide", GCP, ACCOUNT, tables);
        wide.spec.accept_enforcement = Some(Enforcement::PrincipalOnly);
        ns.ready(wide).await?;
        ns.start(agent("agent", "wide")).await?;
        read(&ns).await?.ok()?;
        let status = ns.session("agent", 1, Phase::Active, 10).await?.status.unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::PrincipalOnly));
        Ok(())
    })
    .await
}
