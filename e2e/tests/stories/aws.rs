//! Unmodified AWS SDKs against MiniStack (roles, trust, tags) and MinIO (a real data plane).

use exeat_crds::names;
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{NameRef, Phase};
use exeat_crds::{CredentialProvider, condition};
use exeat_e2e::approvals::rule;
use exeat_e2e::{
    AgentPod, Failure, MINIO, MINISTACK, Result, S3_MINIO, S3_MINISTACK, Scope, agent, aws_policy, in_namespace,
    policy, provider, script, statement, system_namespace, wait_for,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

/// One line a call: `ok`, or the error's code and the HTTP status that the provider gave.
const CALLS: &str = r#"
import boto3, sys
from botocore.exceptions import ClientError
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
for name, call in {
    "get": lambda: s3.get_object(Bucket="reports", Key="q3.txt")["Body"].read(),
    "list": lambda: s3.list_objects_v2(Bucket="reports")["Contents"][0],
    "put": lambda: s3.put_object(Bucket="reports", Key="new.txt", Body=b"x"),
    "delete": lambda: s3.delete_object(Bucket="reports", Key="gone.txt"),
    "other": lambda: s3.get_object(Bucket="payroll", Key="salaries.txt"),
}.items():
    try:
        call()
        print(name, "ok")
    except ClientError as error:
        print(name, error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
"#;

const READ: [&str; 5] =
    ["get ok", "list ok", "put AccessDenied 403", "delete AccessDenied 403", "other AccessDenied 403"];

/// A Secret that e2e/install.sh lets the issuer read.
const BAD_KEY: &str = "e2e-badkey";

fn read_reports() -> Vec<Statement> {
    vec![
        statement(&["s3:ListBucket"], &["arn:aws:s3:::reports"]),
        statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"]),
    ]
}

fn calls(endpoint: &str) -> [String; 4] {
    ["python3", "-c", CALLS, endpoint].map(str::to_owned)
}

/// An agent whose one process makes all the calls at once, as the first thing that it does.
fn caller(name: &str, policy: &str, endpoint: &str) -> Pod {
    script(name, policy, "").with_agent(|c| c.command = Some(calls(endpoint).to_vec()))
}

async fn says(ns: &Scope, pod: Pod, expected: &[&str]) -> Result {
    let name = pod.name_any();
    ns.start(pod).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!((code, log.lines().collect::<Vec<_>>()), (0, expected.to_vec()), "{name}");
    Ok(())
}

#[tokio::test]
async fn boto3_may_what_the_policy_says_and_the_provider_refuses_the_rest() -> Result {
    in_namespace("boto3", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, read_reports())).await?;
        says(&ns, caller("agent", "reports", S3_MINISTACK), &READ).await?;
        let session = ns.session("agent", 1, Phase::Completed, 30).await?;
        let status = session.status.unwrap_or_default();
        assert!(status.issuance.and_then(|i| i.credential_id).is_some(), "the access key's id is on record");
        assert!(status.exceptions.iter().any(|e| e.contains("GetCallerIdentity")), "{:?}", status.exceptions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn aws_cli_finds_its_credentials_by_itself() -> Result {
    in_namespace("cli", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, read_reports())).await?;
        ns.start(agent("agent", "reports").with_env("AWS_ENDPOINT_URL", S3_MINISTACK)).await?;
        let env = ns.sh("agent", "env").await?.ok()?;
        for expected in [
            "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/aws/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/var/run/exeat/token",
            "AWS_REGION=us-east-1",
            "AWS_EC2_METADATA_DISABLED=true",
        ] {
            assert!(env.lines().any(|l| l == expected), "{expected} is not in {env}");
        }
        assert!(!env.contains("AWS_SECRET_ACCESS_KEY"), "no key is in the environment");
        let got = ns.sh("agent", "aws s3 cp s3://reports/q3.txt -").await?.ok()?;
        assert_eq!(got.trim(), "contents of reports/q3.txt");
        let put = ns.sh("agent", "echo x | aws s3 cp - s3://reports/new.txt").await?.failed()?;
        assert!(put.contains("AccessDenied"), "{put}");
        let other = ns.sh("agent", "aws s3 ls s3://payroll").await?.failed()?;
        assert!(other.contains("AccessDenied"), "{other}");
        let session = ns.session("agent", 1, Phase::Active, 10).await?.name_any();
        let identity = ns.sh("agent", "aws sts get-caller-identity --query Arn --output text").await?.ok()?;
        assert_eq!(identity.trim(), format!("arn:aws:sts::000000000000:assumed-role/report-writer/{session}"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn narrowing_by_annotation_is_enforced_by_the_provider() -> Result {
    in_namespace("awsnarrow", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, read_reports())).await?;
        let pod = caller("agent", "reports", S3_MINISTACK);
        let narrowed = pod.annotated(names::ALLOW, "s3:GetObject on arn:aws:s3:::reports/q3.txt");
        let mut expected = READ;
        expected[1] = "list AccessDenied 403";
        says(&ns, narrowed, &expected).await
    })
    .await
}

#[tokio::test]
async fn a_guardrail_denies_whatever_a_policy_allows() -> Result {
    in_namespace("deny", async |ns| {
        let mut guarded = provider("guarded", MINISTACK, &["arn:aws:iam::*:role/agents/agents/*"], &["s3:*"]);
        guarded.spec.bindings[0].deny = vec!["s3:Delete*".to_owned(), "s3:Put*".to_owned()];
        let guarded = ns.create_provider(guarded).await?.name_any();
        let all = vec![statement(&["s3:*"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"])];
        ns.ready(aws_policy("all", &guarded, all)).await?;
        says(&ns, caller("agent", "all", S3_MINISTACK), &READ).await?;
        let nothing_left =
            aws_policy("deletes", &guarded, vec![statement(&["s3:DeleteObject"], &["arn:aws:s3:::reports/*"])]);
        let refusal = ns.not_ready(nothing_left, "DeniedByGuardrail").await?.message;
        assert!(refusal.contains("s3:DeleteObject"), "{refusal}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_s3_compatible_service_enforces_the_same() -> Result {
    in_namespace("minio", async |ns| {
        ns.ready(aws_policy("reports", MINIO, read_reports())).await?;
        says(&ns, caller("agent", "reports", S3_MINIO), &READ).await
    })
    .await
}

#[tokio::test]
async fn an_old_sdk_works_in_compatibility_mode() -> Result {
    in_namespace("oldsdk", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, read_reports())).await?;
        let old = caller("agent", "reports", S3_MINISTACK).annotated(names::AWS_TOKEN, "Env");
        let old = old.with_agent(|c| c.image = Some("exeat.test/agent-old:1".to_owned()));
        says(&ns, old, &READ).await
    })
    .await
}

#[tokio::test]
async fn after_a_revocation_boto3_says_why() -> Result {
    in_namespace("awsrevoke", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, read_reports())).await?;
        ns.start(agent("agent", "reports").with_env("AWS_ENDPOINT_URL", S3_MINISTACK)).await?;
        ns.sh("agent", "aws s3 ls s3://reports").await?.ok()?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.revoke(&session, "audit finding 42").await?;
        let calls = calls(S3_MINISTACK);
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        let said = wait_for("boto3 tells why", 30, async || ns.exec("agent", &calls).await?.failed()).await?;
        assert!(said.contains("CredentialRetrievalError"), "{said}");
        assert!(said.contains("SessionRevoked") && said.contains("audit finding 42"), "{said}");
        let curl = "curl -s -w '%{http_code}' -H \"Authorization: $(cat /var/run/exeat/token)\" $AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let raw = ns.sh("agent", curl).await?.ok()?;
        assert!(raw.ends_with("403") && raw.contains("\"code\":\"SessionRevoked\""), "{raw}");
        let status = ns.session("agent", 1, Phase::Revoked, 10).await?.status.unwrap_or_default();
        assert_eq!(
            status.revocation.map(|r| r.effective_by),
            status.expires_at,
            "an AWS credential can't be called back: the promise is the session's own end"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn boto3_is_told_which_approval_it_waits_for() -> Result {
    in_namespace("awsasks", async |ns| {
        let mut policy = aws_policy("reports", MINISTACK, read_reports());
        policy.spec.approval_rules = vec![rule("reads", &["s3:Get*"], &[("security", 1)])?];
        ns.ready(policy).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.start(agent("agent", "reports")).await?;
        let approval = ns.question().await?;
        assert_eq!(approval.spec.request.rules, ["policy/reads"]);
        let calls = calls(S3_MINISTACK);
        let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
        let said = ns.exec("agent", &calls).await?.failed()?;
        for word in ["CredentialRetrievalError", "ApprovalPending", &approval.name_any()] {
            assert!(said.contains(word), "{word}: {said}");
        }
        ann.approves(&ns, &approval).await?;
        let said = wait_for("boto3 has its credential", 30, async || ns.exec("agent", &calls).await?.ok()).await?;
        assert!(said.contains("get ok"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_role_that_does_not_trust_us_and_a_bad_key_have_reasons_of_their_own() -> Result {
    in_namespace("trust", async |ns| {
        let untrusting =
            policy("untrusting", MINISTACK, "arn:aws:iam::000000000000:role/agents/agents/untrusting", read_reports());
        let refusal = ns.not_ready(untrusting, "AssumeRoleDenied").await?.message;
        assert!(refusal.contains("role/agents/agents/untrusting"), "{refusal}");

        let with_bad_key = with_secret(&ns, BAD_KEY, "wrong").await?;
        let refused = ns.not_ready(aws_policy("badkey", &with_bad_key, read_reports()), "BaseIdentityInvalid").await;
        forget_secret(&ns, BAD_KEY).await?;
        refused.map(|_| ())
    })
    .await
}

/// A provider whose keys are in a Secret of our namespace that is made for it.
async fn with_secret(ns: &Scope, name: &str, secret_key: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(ns.client.clone(), system_namespace());
    let secret = json!({
        "metadata": {"name": name},
        "stringData": {"accessKeyID": "AKIAWRONGWRONGWRONG0", "secretAccessKey": secret_key},
    });
    forget_secret(ns, name).await?;
    secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    let mut provider = provider(name, MINISTACK, &["arn:aws:iam::*:role/agents/agents/*"], &["s3:*"]);
    if let Some(aws) = &mut provider.spec.aws {
        aws.secret_ref = Some(NameRef { name: name.to_owned() });
    }
    Ok(ns.create_provider(provider).await?.name_any())
}

async fn forget_secret(ns: &Scope, name: &str) -> Result {
    let secrets: Api<Secret> = Api::namespaced(ns.client.clone(), system_namespace());
    match secrets.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => Ok(deleted.map(|_| ())?),
    }
}

#[tokio::test]
async fn a_secret_that_the_installation_does_not_name_is_out_of_the_issuers_reach() -> Result {
    in_namespace("unnamed", async |ns| {
        let name = with_secret(&ns, "e2e-unnamed", "unread-by-all").await?;
        let outcome = async {
            let policy = ns.not_ready(aws_policy("unnamed", &name, read_reports()), "IssuerForbidden").await?;
            let provider = wait_for("the provider says so too", 30, async || {
                let status =
                    Api::<CredentialProvider>::all(ns.client.clone()).get(&name).await?.status.unwrap_or_default();
                let ready = condition::get(&status.conditions, "Ready").cloned();
                ready
                    .filter(|r| r.status == "False" && r.reason == "IssuerForbidden")
                    .ok_or_else(|| Failure::new(format!("{:?}", status.conditions)))
            })
            .await?;
            for message in [policy.message, provider.message] {
                for part in ["spec.aws.secretRef.name", "e2e-unnamed", "issuer.providerSecrets"] {
                    assert!(message.contains(part), "{part:?} is not in: {message}");
                }
            }
            Ok(())
        }
        .await;
        forget_secret(&ns, "e2e-unnamed").await?;
        outcome
    })
    .await
}
