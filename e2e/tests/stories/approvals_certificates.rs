//! Approvers who prove who they are by client certificates, with the groups that their certificates give them.

use exeat_crds::Approval;
use exeat_crds::v1alpha1::{Phase, Verdict};
use exeat_e2e::approvals::rule;
use exeat_e2e::{Output, Result, Scope, agent, deployment, ensure, in_namespace, kubectl, shell, wait_for};
use kube::ResourceExt;

/// Has the cluster sign a certificate for NAME in GROUP, and prints the kubeconfig that holds it and nothing else.
const CERTIFY: &str = r#"
set -euo pipefail
umask 077
folder=$(mktemp -d)
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$folder/key" -out "$folder/csr" \
  -subj "/O=$GROUP/CN=$NAME" 2>/dev/null
kubectl create -f - >/dev/null <<END
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: "$REQUEST"}
spec:
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
  expirationSeconds: 3600
  request: $(base64 -w0 "$folder/csr")
END
kubectl certificate approve "$REQUEST" >/dev/null
kubectl wait --for='jsonpath={.status.certificate}' "csr/$REQUEST" --timeout=60s >/dev/null
kubectl get csr "$REQUEST" -o 'jsonpath={.status.certificate}' | base64 -d >"$folder/crt"
kubectl delete csr "$REQUEST" >/dev/null
kubectl config view --raw --minify --flatten >"$folder/config"
export KUBECONFIG=$folder/config
kubectl config delete-user "$(kubectl config view -o 'jsonpath={.users[0].name}')" >/dev/null 2>&1
kubectl config set-credentials person --client-certificate="$folder/crt" --client-key="$folder/key" --embed-certs >/dev/null
kubectl config set-context --current --user=person --namespace="$NAMESPACE" >/dev/null
rm "$folder/key" "$folder/csr" "$folder/crt"
printf %s "$KUBECONFIG"
"#;

/// Somebody with a certificate.
struct Certified {
    name: &'static str,
    kubeconfig: String,
}

impl Certified {
    async fn new(ns: &Scope, name: &'static str, group: &str) -> Result<Self> {
        let names = format!("NAME={name} GROUP={group} REQUEST={}-{name} NAMESPACE={}", ns.name, ns.name);
        let kubeconfig = shell(&format!("{names}\n{CERTIFY}")).await?.ok()?;
        Ok(Self { name, kubeconfig })
    }

    async fn run(&self, line: &str) -> Result<Output> {
        shell(&format!("export KUBECONFIG={}\n{line}", self.kubeconfig)).await
    }

    /// Their word by plain kubectl, as docs/approvals.md has it.
    async fn applies(&self, approval: &Approval, word: Verdict) -> Result<Output> {
        let (name, digest) = (approval.name_any(), &approval.spec.request.digest);
        let namespace = approval.namespace().unwrap_or_default();
        self.run(&format!(
            "me=$(kubectl auth whoami -o jsonpath='{{.status.userInfo.username}}')\n\
             kubectl apply --server-side --field-manager=\"$me\" -f - <<END\n\
             apiVersion: exeat.dev/v1alpha1\nkind: Approval\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  decisions: [{{approver: \"$me\", decision: {word:?}, digest: {digest}, comment: \"as planned\"}}]\nEND"
        ))
        .await
    }
}

#[tokio::test]
async fn people_with_client_certificates_decide_by_the_groups_that_these_name() -> Result {
    in_namespace("certified", async |ns| {
        ns.guarded(vec![rule("lists", &["list pods"], &[("security", 2)])?]).await?;
        let groups = ["--group=security", "--group=data"];
        let bind = ["-n", &ns.name, "create", "rolebinding", "approvers", "--clusterrole=exeat-approver"];
        kubectl(&[&bind[..], &groups].concat()).await?.ok()?;
        let ann = Certified::new(&ns, "ann", "security").await?;
        let ben = Certified::new(&ns, "ben", "security").await?;
        let dan = Certified::new(&ns, "dan", "data").await?;
        let eve = Certified::new(&ns, "eve", "team").await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
        let approval = ns.question().await?;
        let name = approval.name_any();
        wait_for("the binding counts", 20, async || ann.run("kubectl get approvals").await?.ok()).await?;

        // In a group of people who decide, but not in this rule's; and in none of them.
        let said = dan.applies(&approval, Verdict::Approve).await?.failed()?;
        ensure!(said.contains("\"dan\" is in none of the groups that must approve (security)"), "{said}");
        let said = dan.run(&format!("kubectl exeat approve {name} -m fine --yes")).await?.failed()?;
        ensure!(said.contains("you are in none of the groups that are asked: security"), "{said}");
        let said = eve.applies(&approval, Verdict::Approve).await?.failed()?;
        ensure!(said.contains("Forbidden"), "{said}");

        ann.run(&format!("kubectl exeat approve {name} -m INC-42 --yes")).await?.ok()?;
        ben.applies(&approval, Verdict::Approve).await?.ok()?;
        let active = ns.in_phase(Phase::Active, 1, 30).await?;
        ns.lists_pods(&active[0].spec.request.agent.pod.name).await?;

        let decisions = ns.api::<Approval>().get(&name).await?.spec.decisions;
        let said: Vec<_> = decisions.iter().map(|d| (d.approver.as_str(), d.groups.join(","))).collect();
        assert_eq!(said, [(ann.name, "security".to_owned()), (ben.name, "security".to_owned())]);
        assert!(decisions.iter().all(|d| d.time.is_some()), "{decisions:?}");
        Ok(())
    })
    .await
}
