//! Mode Observe: an unmodified client uses its principal as it is, what it used is learnt, and enforced once a person has applied it.

use exeat_crds::AgentCredentialPolicy;
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{Enforcement, Mode, Phase, Suggested};
use exeat_e2e::{
    AgentPod, Failure, MINISTACK, Result, S3_MINISTACK, Scope, VAULT, agent, aws_policy, ensure, exeat, in_namespace,
    policy, provider, refused, shell, statement, wait_for,
};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The calls that are named, a line each: `ok`, or the error's code.
const S3: &str = r#"
import boto3, sys
from botocore.exceptions import ClientError
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
calls = {
    "get": lambda: s3.get_object(Bucket="reports", Key="q3.txt")["Body"].read(),
    "head": lambda: s3.head_object(Bucket="reports", Key="q3.txt"),
    "list": lambda: s3.list_objects_v2(Bucket="reports")["Contents"][0],
    "delete": lambda: s3.delete_object(Bucket="reports", Key="gone.txt"),
    "location": lambda: s3.get_bucket_location(Bucket="reports"),
    "other": lambda: s3.get_object(Bucket="payroll", Key="salaries.txt"),
}
for name in sys.argv[2:]:
    try:
        calls[name]()
        print(name, "ok")
    except ClientError as error:
        print(name, error.response["Error"]["Code"])
"#;

const KV: &str = r#"
import os, sys, hvac
from hvac.exceptions import VaultError
client = hvac.Client(url=os.environ["VAULT_ADDR"])
kv = client.secrets.kv.v2
calls = {
    "read": lambda: kv.read_secret_version(path="reports/q3", raise_on_deleted_version=True),
    "list": lambda: kv.list_secrets(path="reports"),
    "salaries": lambda: kv.read_secret_version(path="reports/salaries", raise_on_deleted_version=True),
    "login": lambda: client.secrets.database.generate_credentials(name="reader"),
    "history": lambda: kv.read_secret_metadata(path="reports/q3"),
    "mint": lambda: client.auth.token.create(policies=["agents"]),
}
for name in sys.argv[1:]:
    try:
        calls[name]()
        print(name, "ok")
    except VaultError as error:
        print(name, error.errors[0].split(": ")[1] if error.errors else error)
"#;

fn looking_on(policy: AgentCredentialPolicy) -> AgentCredentialPolicy {
    let mut policy = policy;
    policy.spec.mode = Mode::Observe;
    policy.spec.accept_enforcement = Some(Enforcement::PrincipalOnly);
    policy
}

/// Runs calls in the agent's container.
async fn calls(ns: &Scope, script: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let command: Vec<&str> = ["python3", "-c", script].iter().chain(arguments).copied().collect();
    Ok(ns.exec("agent", &command).await?.ok()?.lines().map(str::to_owned).collect())
}

async fn s3(ns: &Scope, names: &[&str]) -> Result<Vec<String>> {
    calls(ns, S3, &[&[S3_MINISTACK], names].concat()).await
}

/// Waits until so many calls are in the policy's status.
async fn suggested(ns: &Scope, calls: i64) -> Result<Suggested> {
    wait_for("what was used is in the policy's status", 60, async || {
        let policy = ns.api::<AgentCredentialPolicy>().get("watched").await?;
        let suggested = policy.status.and_then(|s| s.suggested).ok_or_else(|| Failure::new("nothing is suggested"))?;
        ensure!(suggested.actions.iter().map(|a| a.calls).sum::<i64>() >= calls, "{suggested:?}");
        Ok(suggested)
    })
    .await
}

fn used(suggested: &Suggested) -> Vec<(String, i64, i64)> {
    let shown = |action: &str, resource: Option<&str>| match resource {
        Some(resource) => format!("{action} {resource}"),
        None => action.to_owned(),
    };
    suggested.actions.iter().map(|a| (shown(&a.action, a.resource.as_deref()), a.calls, a.denied)).collect()
}

/// As a person would: the suggestion is applied by hand, and the agent's next session rests on it.
async fn learn_and_apply(ns: &Scope) -> Result<Vec<Statement>> {
    shell(&format!("set -o pipefail; kubectl exeat learn watched -n {0} -o yaml | kubectl apply -n {0} -f -", ns.name))
        .await?
        .ok()?;
    wait_for("the policy that was applied is Ready", 60, async || {
        let policy = ns.api::<AgentCredentialPolicy>().get("watched").await?;
        let status = policy.status.clone().unwrap_or_default();
        let ready = exeat_crds::condition::is_true(&status.conditions, "Ready");
        ensure!(
            policy.spec.mode == Mode::Enforce && ready && status.observed_generation == policy.metadata.generation,
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    ns.session("agent", 2, Phase::Active, 60).await?;
    Ok(ns.api::<AgentCredentialPolicy>().get("watched").await?.spec.allow)
}

#[tokio::test]
async fn what_boto3_uses_is_learnt_and_nothing_else_passes_once_it_is_applied() -> Result {
    in_namespace("observe", async |ns| {
        let mut watched = provider("watched", MINISTACK, &["arn:aws:iam::*:role/agents/agents/*"], &["s3:*"]);
        watched.spec.bindings[0].deny = vec!["s3:Delete*".to_owned()];
        let closed = ns.create_provider(watched.clone()).await?;
        let today = vec![statement(&["s3:GetObjectTagging"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"])];
        let refusal = ns
            .not_ready(looking_on(aws_policy("closed", &closed.name_any(), today.clone())), "ObserveNotAllowed")
            .await?;
        assert!(refusal.message.contains("allowObserve: true"), "{}", refusal.message);
        watched.spec.bindings[0].allow_observe = true;
        watched.metadata.name = Some("open".to_owned());
        let open = ns.create_provider(watched).await?.name_any();
        ns.ready(looking_on(aws_policy("watched", &open, today))).await?;
        ns.start(agent("agent", "watched")).await?;

        let expected = ["get ok", "get ok", "head ok", "list ok", "delete AccessDenied"];
        assert_eq!(
            s3(&ns, &["get", "get", "head", "list", "delete"]).await?,
            expected,
            "the role is not narrowed, the binding's deny holds"
        );
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let status = session.status.unwrap_or_default();
        assert_eq!(status.enforcement, Some(Enforcement::PrincipalOnly));
        assert!(status.exceptions[0].contains("mode Observe"), "{:?}", status.exceptions);
        let seen = suggested(&ns, 5).await?;
        let own = |action: &str, calls, denied| (action.to_owned(), calls, denied);
        assert_eq!(used(&seen), [own("s3:DeleteObject", 1, 1), own("s3:GetObject", 3, 0), own("s3:ListBucket", 1, 0)]);
        assert_eq!((seen.sessions, seen.workloads.as_slice()), (1, &["Pod/agent".to_owned()][..]));

        assert_eq!(s3(&ns, &["location"]).await?, ["location ok"], "what is not learnt yet passes too");
        suggested(&ns, 6).await?;
        let told = exeat(&["learn", "watched", "-n", &ns.name]).await?.ok()?;
        for part in [
            "1 sessions",
            "s3:ListBucket",
            "s3:DeleteObject: refused every time",
            "- narrower  spec.mode: Enforce instead of Observe",
            "an agent can lie",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        let allow = learn_and_apply(&ns).await?;
        assert_eq!(
            allow,
            [statement(
                &["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
                &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"]
            )]
        );
        let expected = ["get ok", "head ok", "list ok", "location ok", "delete AccessDenied", "other AccessDenied"];
        assert_eq!(s3(&ns, &["get", "head", "list", "location", "delete", "other"]).await?, expected);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn static_keys_are_warned_about_and_a_narrowing_is_refused() -> Result {
    in_namespace("observepods", async |ns| {
        let mut watched = provider("watched", MINISTACK, &["arn:aws:iam::*:role/agents/agents/*"], &["s3:*"]);
        watched.spec.bindings[0].allow_observe = true;
        let watched = ns.create_provider(watched).await?.name_any();
        ns.ready(looking_on(aws_policy("watched", &watched, Vec::new()))).await?;
        let keys = agent("keys", "watched").with_env("AWS_ACCESS_KEY_ID", "AKIDNOBODY");
        let manifest = serde_json::to_string(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": keys.metadata, "spec": keys.spec}))?;
        let created = shell(&format!("kubectl create -n {} -f - <<'EOF'\n{manifest}\nEOF", ns.name)).await?;
        assert!(created.code == 0 && created.stderr.contains("nothing sound is learnt"), "{created}");
        let narrowed = agent("narrowed", "watched").annotated(exeat_crds::names::ALLOW, "s3:GetObject on *");
        let told = ns.expect_refused(&narrowed).await?;
        assert!(told.contains("narrows nothing"), "{told}");
        // Nobody but the issuer says what was used: an administrator's hand is stopped too.
        let forged = json!({"status": {"suggested": {"provider": "p", "principal": "q", "since": "", "lastSeen": "", "sessions": 1}}});
        let api = ns.api::<AgentCredentialPolicy>();
        let patched = api.patch_status("watched", &PatchParams::default(), &Patch::Merge(&forged)).await;
        let told = refused("a forged suggestion", patched)?.message;
        assert!(told.contains("written by Exeat alone"), "{told}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_hvac_uses_is_learnt_by_verb_and_path() -> Result {
    in_namespace("observevault", async |ns| {
        let mut watched = provider("watched", VAULT, &["agents-*"], &["*"]);
        watched.spec.bindings[0].deny = vec!["* secret/data/reports/salaries".to_owned()];
        watched.spec.bindings[0].allow_observe = true;
        let watched = ns.create_provider(watched).await?.name_any();
        ns.ready(looking_on(policy("watched", &watched, "agents-reader", Vec::new()))).await?;
        ns.start(agent("agent", "watched")).await?;
        let expected =
            ["read ok", "read ok", "list ok", "login ok", "salaries ActionNotAllowed", "mint ActionNotAllowed"];
        assert_eq!(calls(&ns, KV, &["read", "read", "list", "login", "salaries", "mint"]).await?, expected);
        let seen = suggested(&ns, 6).await?;
        let own = |what: &str, calls, denied| (what.to_owned(), calls, denied);
        assert_eq!(
            used(&seen),
            [
                own("list secret/metadata/reports", 1, 0),
                own("read database/creds/reader", 1, 0),
                own("read secret/data/reports/q3", 2, 0),
                own("read secret/data/reports/salaries", 1, 1),
                own("write auth/token/create", 1, 1),
            ]
        );
        let told = exeat(&["learn", "watched", "-n", &ns.name]).await?.ok()?;
        assert!(told.contains("refused every time"), "{told}");
        let allow = learn_and_apply(&ns).await?;
        let paths = ["database/creds/reader", "secret/data/reports/q3"];
        assert_eq!(allow, [statement(&["list"], &["secret/metadata/reports"]), statement(&["read"], &paths)]);
        let expected = ["read ok", "list ok", "login ok", "history ActionNotAllowed", "salaries ActionNotAllowed"];
        assert_eq!(calls(&ns, KV, &["read", "list", "login", "history", "salaries"]).await?, expected);
        Ok(())
    })
    .await
}
