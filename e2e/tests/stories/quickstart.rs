//! The README's quick start for AWS and for Vault, and what docs/vault.md says to do before, line by line. Of the samples only what belongs to
//! somebody's account is replaced: by MiniStack's, and by a namespace of OpenBao.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{AWS_ACCOUNT, Failure, ROOT, Result, S3_MINISTACK, Scope, ensure, readme, shell, wait_for};
use std::path::{Path, PathBuf};

/// A copy of config/samples where the lines are run.
struct Checkout {
    folder: PathBuf,
}

impl Checkout {
    fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("exeat-quickstart-{name}-{}", std::process::id()));
        let samples = folder.join("config/samples");
        std::fs::create_dir_all(&samples)?;
        for file in std::fs::read_dir(Path::new(ROOT).join("config/samples"))? {
            let file = file?;
            std::fs::copy(file.path(), samples.join(file.file_name()))?;
        }
        Ok(Self { folder })
    }

    /// Replaces what stands in a sample.
    fn replace(&self, sample: &str, old: &str, new: &str) -> Result {
        let path = self.folder.join("config/samples").join(sample);
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.contains(old), "{sample} does not hold {old:?}");
        Ok(std::fs::write(path, text.replace(old, new))?)
    }

    /// What the last command of a block says; all must succeed.
    async fn paste(&self, block: &[String]) -> Result<String> {
        let mut last = String::new();
        for command in block {
            last = shell(&format!("cd '{}'\n{command}", self.folder.display())).await?.ok()?;
        }
        Ok(last)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn block(heading: &str) -> Result<Vec<String>> {
    let mut blocks = readme::blocks("README.md", heading)?;
    ensure!(blocks.len() == 1, "{heading:?} has {} blocks", blocks.len());
    blocks.pop().ok_or_else(|| Failure::new("none"))
}

pub(crate) async fn aws(ns: &Scope) -> Result {
    let copy = Checkout::new("aws")?;
    for sample in ["provider-aws.yaml", "policy-aws.yaml"] {
        copy.replace(sample, "123456789012", AWS_ACCOUNT)?;
    }
    copy.replace(
        "provider-aws.yaml",
        "source: Ambient",
        &format!("source: Secret, secretRef: {{name: ministack}}, endpoint: \"{S3_MINISTACK}\""),
    )?;
    let image = "image: exeat.test/agent:1 # any image with python3 and boto3";
    let endpoint = format!("{image}\n      env: [{{name: AWS_ENDPOINT_URL, value: \"{S3_MINISTACK}\"}}]");
    copy.replace("pod-aws.yaml", image, &endpoint)?;
    let log = copy.paste(&block("### AWS")?).await?;
    ensure!(log.starts_with("q3.txt "), "{log}");
    let session = ns.session("report-agent", 1, Phase::Completed, 30).await?;
    assert_eq!(session.spec.request.justification.as_deref(), Some("Quarterly report"));
    Ok(())
}

/// Vault as its admin finds it: a namespace of its own, with a secrets engine and a secret. The command is `vault`, whatever provides it; OpenBao is
/// outside of the cluster, so that it must be told where the cluster is.
const ADMIN: &str = r#"
set -euo pipefail
source "$EXEAT_RUN_DIR/backends/openbao-admin.env"
export VAULT_ADDR VAULT_TOKEN VAULT_NAMESPACE
bao=$(e2e/backends/install.sh openbao)/bin/bao
vault() { "$bao" "$@"; }
"#;

const NAMESPACE: &str = r#"
VAULT_NAMESPACE= vault namespace create "$VAULT_NAMESPACE"
vault secrets enable -path=secret -version=2 kv
vault kv put -mount=secret reports/q3 text=contents
"#;

/// OpenBao over TLS.
const VAULT_TLS: &str = "https://198.18.0.1:8211";

/// What stands in the sample for the authority's certificate.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
      of the authority that its certificate is from
      -----END CERTIFICATE-----";

/// The cluster, as OpenBao reaches it.
const CLUSTER: &str = r#"disable_local_ca_jwt=true kubernetes_host="$(kubectl config view --raw --minify -o jsonpath='{.clusters[0].cluster.server}')" \
  kubernetes_ca_cert="$(kubectl config view --raw --minify -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d)" \
  token_reviewer_jwt="$(kubectl create token vault-reviewer -n kube-system --duration=24h)""#;

pub(crate) async fn vault(ns: &Scope) -> Result {
    let namespace = format!("quickstart-{}", std::process::id());
    let admin = format!("VAULT_NAMESPACE={namespace}\n{ADMIN}");
    shell(&format!("{admin}{NAMESPACE}")).await?.ok()?;
    let mut done = 0;
    for command in readme::blocks("docs/vault.md", "## Set-up on the Vault side")?.into_iter().flatten() {
        let command = command.replace("kubernetes_host=https://kubernetes.default.svc", CLUSTER);
        shell(&format!("{admin}{command}")).await?.ok()?;
        done += 1;
    }
    ensure!(done == 6, "{done} commands");
    let copy = Checkout::new("vault")?;
    let address = "address: https://vault.example.com:8200";
    let namespaced = format!("address: \"{VAULT_TLS}\"\n    namespace: {namespace}");
    copy.replace("provider-vault.yaml", address, &namespaced)?;
    let authority = shell("cat $EXEAT_RUN_DIR/backends/openbao-ca.pem").await?.ok()?;
    copy.replace("provider-vault.yaml", AUTHORITY, authority.trim_end().replace('\n', "\n      ").as_str())?;
    let log = copy.paste(&block("### Vault and OpenBao")?).await?;
    ensure!(log == "q3 ['text']\n", "{log}");
    let session = ns.session("secret-agent", 1, Phase::Completed, 30).await?;
    wait_for("its token is revoked", 30, async || {
        let status = ns.sessions("secret-agent").await?.pop().and_then(|s| s.status).unwrap_or_default();
        ensure!(status.issuance.is_some_and(|i| i.revoked_at.is_some()), "not yet: {:?}", session.metadata.name);
        Ok(())
    })
    .await
}
