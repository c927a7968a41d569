//! What is known to lead SDKs astray.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{AgentPod, Failure, MINISTACK, Result, Scope, agent, aws_policy, ensure, in_namespace, statement};

use crate::client::Client;
use crate::clients::ALL;
use crate::life::{WHY, begins};

/// Where a node tells whoever asks who the node is.
const METADATA: &str = "169.254.169.254";
/// Counters of a sidecar: requests of its agent, and its own to the issuer.
pub(crate) const REQUESTS: &str = "exeat_sidecar_requests_total";
pub(crate) const FETCHES: &str = "exeat_sidecar_fetches_total";
/// A process that has nothing looks for a credential.
const FRESH: &str = "import boto3; print(boto3.Session().get_credentials().get_frozen_credentials().access_key)";

fn row(name: &str) -> Result<&'static Client> {
    ALL.iter().find(|client| client.name == name).ok_or_else(|| Failure::new(format!("no row {name}")))
}

/// A pod with boto3 and the AWS CLI that waits for commands, with credentials of 15 minutes.
async fn waits(ns: &Scope) -> Result {
    let reads = vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])];
    let mut policy = aws_policy("reports", MINISTACK, reads);
    policy.spec.session.credential_ttl = Some("15m".to_owned());
    ns.ready(policy).await?;
    ns.start(agent("agent", "reports").with_env("AWS_ENDPOINT_URL", exeat_e2e::S3_MINISTACK)).await?;
    Ok(())
}

/// The metrics of a pod's sidecar.
pub(crate) async fn metrics(ns: &Scope, pod: &str) -> Result<String> {
    let read = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9911/metrics').read().decode())";
    ns.in_network(pod, &format!("python3 -c \"{read}\"")).await
}

/// All values of a counter.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn the_token_file_has_no_newline_which_sdks_refuse() -> Result {
    let _issuers = crate::ISSUERS.read().await;
    in_namespace("newline", async |ns| {
        waits(&ns).await?;
        let lines = ns.sh("agent", "test -s /var/run/exeat/token && wc -l </var/run/exeat/token").await?.ok()?;
        assert_eq!(lines.trim(), "0", "newlines in the token file");
        let with = "(cat /var/run/exeat/token; echo) >/tmp/token && AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/tmp/token";
        let refused = ns.sh("agent", &format!("{with} python3 -c '{FRESH}'")).await?.failed()?;
        assert!(refused.contains("not a legal header value"), "{refused}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pods_own_proxy_sees_no_call_to_the_sidecar() -> Result {
    let _issuers = crate::ISSUERS.read().await;
    in_namespace("proxy", async |ns| {
        for name in ["boto3", "hvac", "AWS SDK for Go v2"] {
            let client = row(name)?;
            ns.ready(client.policy(&ns, "15m")).await?;
            let mut pod = client.pod();
            for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
                pod = pod.with_env(variable, "http://127.0.0.1:9");
            }
            // The author's own exception for the service.
            ns.start(pod.with_env("NO_PROXY", "198.18.0.1")).await?;
            begins(client, &ns).await?;
        }
        let env = ns.sh("hvac", "env").await?.ok()?;
        for expected in ["NO_PROXY=198.18.0.1,127.0.0.1,localhost", "no_proxy=198.18.0.1,127.0.0.1,localhost"] {
            assert!(env.lines().any(|line| line == expected), "{expected} is not in {env}");
        }
        let read = "import hvac; hvac.Client().secrets.kv.v2.read_secret_version(path=\"reports/q3\", raise_on_deleted_version=True)";
        ns.sh("hvac", &format!("python3 -c '{read}'")).await?.ok()?;
        let astray = ns.sh("hvac", &format!("env -u NO_PROXY -u no_proxy python3 -c '{read}'")).await?.failed()?;
        assert!(astray.contains("proxy"), "{astray}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_relative_uri_which_every_sdk_prefers_is_refused() -> Result {
    in_namespace("relative", async |ns| {
        let pod = agent("agent", "reports").with_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials");
        let reads = vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])];
        ns.ready(aws_policy("reports", MINISTACK, reads)).await?;
        let refused = ns.expect_refused(&pod).await?;
        for part in ["CredentialsShadowed", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        Ok(())
    })
    .await
}

/// With less than 15 minutes left botocore asks before each call. That stays within the pod.
#[tokio::test]
async fn calls_with_credentials_of_15_minutes_cost_the_issuer_nothing() -> Result {
    let _issuers = crate::ISSUERS.read().await;
    in_namespace("storm", async |ns| {
        waits(&ns).await?;
        let before = metrics(&ns, "agent").await?;
        let calls = "import boto3; s3 = boto3.client(\"s3\")\nfor _ in range(100): s3.get_object(Bucket=\"reports\", Key=\"q3.txt\")[\"Body\"].read()";
        ns.sh("agent", &format!("python3 -c '{calls}'")).await?.ok()?;
        let after = metrics(&ns, "agent").await?;
        let asks = sum(&after, REQUESTS) - sum(&before, REQUESTS);
        assert!(asks >= 100, "botocore asks with each call, so this counts what it is meant to: {asks}");
        assert_eq!(sum(&after, FETCHES), sum(&before, FETCHES), "the issuer was asked again");
        println!("100 calls: the sidecar was asked {asks} times, the issuer {} times in all", sum(&after, FETCHES));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_a_credential_no_sdk_goes_to_the_nodes_metadata() -> Result {
    let _issuers = crate::ISSUERS.read().await;
    in_namespace("metadata", async |ns| {
        waits(&ns).await?;
        let go = row("AWS SDK for Go v2")?;
        ns.ready(go.policy(&ns, "15m")).await?;
        ns.start(go.pod()).await?;
        begins(go, &ns).await?;
        for pod in ["agent", &go.pod_name()] {
            count_metadata(&ns, pod).await?;
        }
        crate::life::ends(go, &ns).await?;
        ns.revoke(&ns.session("agent", 1, Phase::Active, 10).await?, WHY).await?;
        exeat_e2e::wait_for("boto3 is told of the revocation", 30, async || {
            let said = ns.sh("agent", &format!("python3 -c '{FRESH}'")).await?.failed()?;
            ensure!(said.contains("SessionRevoked"), "{said}");
            Ok(())
        })
        .await?;
        let said = ns.sh("agent", "aws s3api get-object --bucket reports --key q3.txt /dev/null").await?.failed()?;
        assert!(said.contains("SessionRevoked"), "{said}");
        for pod in ["agent", &go.pod_name()] {
            assert_eq!(metadata_packets(&ns, pod).await?, 0, "{pod} asked {METADATA}");
        }
        let astray = "env -u AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_EC2_METADATA_DISABLED=false";
        ns.sh("agent", &format!("{astray} python3 -c '{FRESH}'")).await?.failed()?;
        assert!(metadata_packets(&ns, "agent").await? > 0, "without our variables it asks, so the count counts");
        Ok(())
    })
    .await
}

async fn count_metadata(ns: &Scope, pod: &str) -> Result {
    let rules = format!(
        "add table ip seen; add chain ip seen out {{ type filter hook output priority 0; }}; \
         add rule ip seen out ip daddr {METADATA} counter"
    );
    ns.in_network(pod, &format!("nft '{rules}'")).await.map(drop)
}

async fn metadata_packets(ns: &Scope, pod: &str) -> Result<u64> {
    let table = ns.in_network(pod, "nft list table ip seen").await?;
    let packets = table.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    packets.and_then(|n| n.parse().ok()).ok_or(Failure::new(table))
}
