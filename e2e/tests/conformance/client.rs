//! A client: its pod, what it may do, and what it says.

use exeat_crds::AgentCredentialPolicy;
use exeat_e2e::azure::{AZURE, SERVICES, STORAGE, azure_policy};
use exeat_e2e::{
    AgentPod, Failure, GCP, GCP_ADDRESS, MINISTACK, Result, S3_MINISTACK, Scope, VAULT, aws_policy, kubernetes_policy,
    policy, script, statement, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde::Deserialize;

/// The service account that Google's clients act as.
const READER: &str = "agents-reader@example.iam.gserviceaccount.com";

/// Where a client's calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// S3 at MiniStack.
    Aws,
    /// A service that takes tokens of the stand-in for Entra ID.
    Azure,
    /// Cloud Storage of the stand-in for Google Cloud.
    Google,
    /// The cluster's own API.
    Kubernetes,
    /// OpenBao.
    Vault,
}

/// How a running client comes to its next credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// It takes the next one with the next call.
    EachCall,
    /// It asks for the next one minutes or seconds before the end of the last one.
    NearTheEnd,
    /// It holds none: what it does goes on past the end of a credential.
    Unseen,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Name of the row, and in lower case with dashes of the pod.
    pub(crate) name: &'static str,
    /// Where its calls go.
    pub(crate) cloud: Cloud,
    /// The image that its program is in.
    pub(crate) image: &'static str,
    /// The program.
    pub(crate) command: &'static [&'static str],
    /// Annotations besides the policy's name.
    pub(crate) annotations: &'static [(&'static str, &'static str)],
    /// How it comes to its next credential.
    pub(crate) refresh: Refresh,
    /// What its error must hold for a call that is denied.
    pub(crate) denial: &'static str,
    /// What it must hold once the session is revoked.
    pub(crate) revoked: &'static [&'static str],
}

/// A line of a client.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    /// `fetch`: a client without any state finds a credential. `use`: one that has lived from the start makes an allowed call.
    /// `denied`: it makes one that is not.
    pub(crate) step: String,
    /// It went as it should.
    pub(crate) ok: bool,
    /// Public name of the credential, where the client knows it.
    pub(crate) key: String,
    /// The SDK's error.
    pub(crate) error: String,
}

/// SDKs warn on the same stream.
fn parse(log: &str) -> impl Iterator<Item = Line> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

impl Client {
    /// Name of its pod, and of its policy.
    pub(crate) fn pod_name(&self) -> String {
        let name = self.name.to_lowercase();
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }

    /// The shortest life that a credential of its provider may have.
    pub(crate) fn shortest(&self) -> &'static str {
        match self.cloud {
            Cloud::Aws => "15m",
            // Its SDKs take less than five minutes for over.
            Cloud::Azure => "10m",
            // google-auth takes less than four minutes for over.
            Cloud::Google => "10m",
            Cloud::Kubernetes | Cloud::Vault => "1m",
        }
    }

    /// What it may do, with credentials of that life.
    pub(crate) fn policy(&self, ns: &Scope, ttl: &str) -> AgentCredentialPolicy {
        let name = self.pod_name();
        let mut policy = match self.cloud {
            Cloud::Aws => aws_policy(&name, MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]),
            Cloud::Azure => azure_policy(&name, AZURE, 1, &[STORAGE]),
            Cloud::Google => {
                let objects = &["projects/_/buckets/reports/objects/2026/*"];
                policy(&name, GCP, READER, vec![statement(&["storage.objects.get", "storage.objects.list"], objects)])
            }
            Cloud::Kubernetes => kubernetes_policy(&name, &ns.name, &["list pods"]),
            Cloud::Vault => {
                policy(&name, VAULT, "agents-reader", vec![statement(&["read"], &["secret/data/reports/*"])])
            }
        };
        policy.spec.session.credential_ttl = Some(ttl.to_owned());
        policy
    }

    /// Its pod, which names nothing but where the service is.
    pub(crate) fn pod(&self) -> Pod {
        let name = self.pod_name();
        let mut pod = script(&name, &name, "").with_agent(|c| {
            c.image = Some(self.image.to_owned());
            c.command = Some(self.command.iter().map(|s| (*s).to_owned()).collect());
        });
        for (key, value) in self.annotations {
            pod = pod.annotated(key, value);
        }
        match self.cloud {
            Cloud::Aws => pod.with_env("AWS_ENDPOINT_URL", S3_MINISTACK),
            Cloud::Azure => pod.with_env("SERVICES", SERVICES),
            Cloud::Google => pod.with_env("STORAGE", GCP_ADDRESS),
            Cloud::Kubernetes | Cloud::Vault => pod,
        }
    }

    /// All that it has said so far.
    pub(crate) async fn lines(&self, ns: &Scope) -> Result<Vec<Line>> {
        Ok(parse(&ns.log(&self.pod_name(), "agent").await?).collect())
    }

    /// Waits until it says what is wanted. Long logs cost much: only the last lines are looked at.
    pub(crate) async fn says(
        &self,
        ns: &Scope,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        let pod = self.pod_name();
        let params = LogParams { container: Some("agent".to_owned()), tail_lines: Some(30), ..LogParams::default() };
        wait_for(&format!("{}: {what}", self.name), seconds, async || {
            let log = ns.api::<Pod>().logs(&pod, &params).await?;
            parse(&log)
                .find(&wanted)
                .ok_or_else(|| Failure::new(log.lines().rev().take(6).collect::<Vec<_>>().join("\n")))
        })
        .await
    }

    /// How many allowed calls its process has made.
    pub(crate) async fn uses(&self, ns: &Scope) -> Result<usize> {
        Ok(self.lines(ns).await?.iter().filter(|line| line.step == "use" && line.ok).count())
    }

    /// That each of these steps went as it should, whenever it was taken.
    pub(crate) async fn went_well(&self, ns: &Scope, steps: &[&str]) -> Result {
        let lines = self.lines(ns).await?;
        match lines.iter().find(|line| !line.ok && steps.contains(&line.step.as_str())) {
            Some(bad) => Err(Failure::new(format!("{}: {bad:?}", self.name))),
            None => Ok(()),
        }
    }

    /// Whether each of its calls is a process of its own, which holds nothing.
    pub(crate) fn each_process(&self) -> bool {
        self.command.first() == Some(&"sh")
    }
}
