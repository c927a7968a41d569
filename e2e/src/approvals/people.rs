//! What stories about approvals share: rules, people, and what these say.

use exeat_crds::v1alpha1::{ApprovalCeiling, ApprovalPhase, ApprovalRule, Owner, Phase, Verdict};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialSession};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use super::Actor;
use crate::{
    Failure, GRANTS, KUBERNETES, Output, Result, Scope, ensure, exeat, kubectl, kubernetes_policy, phase, provider,
    wait_for,
};

/// Who owns the policies of these stories.
pub const OWNER: &str = "olga";

/// A rule that asks so many people of each group.
///
/// # Errors
/// When it is none.
pub fn rule(name: &str, actions: &[&str], required: &[(&str, i32)]) -> Result<ApprovalRule> {
    let required: Vec<_> = required.iter().map(|(group, count)| json!({"group": group, "count": count})).collect();
    Ok(serde_json::from_value(json!({"name": name, "actions": actions, "required": required}))?)
}

/// The rule of most stories: one of `security` lets pods be listed.
///
/// # Errors
/// When it is none.
pub fn lists() -> Result<ApprovalRule> {
    rule("lists", &["list pods"], &[("security", 1)])
}

/// Where an approval is.
pub fn approval_phase(approval: &Approval) -> ApprovalPhase {
    approval.status.as_ref().and_then(|s| s.phase).unwrap_or_default()
}

/// Why a session is where it is: its reason, and its message.
pub fn told(session: &CredentialSession) -> (String, String) {
    let status = session.status.clone().unwrap_or_default();
    (status.reason.unwrap_or_default(), status.message.unwrap_or_default())
}

impl Actor {
    fn as_me(&self, ns: &Scope) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("--as-group={group}"));
        [format!("--as={}", self.user), format!("--namespace={}", ns.name)].into_iter().chain(groups).collect()
    }

    /// kubectl in their name.
    ///
    /// # Errors
    /// As [`kubectl`].
    pub async fn kubectl(&self, ns: &Scope, arguments: &[&str]) -> Result<Output> {
        let me = self.as_me(ns);
        let me: Vec<&str> = me.iter().map(String::as_str).collect();
        kubectl(&[&me, arguments].concat()).await
    }

    /// `kubectl exeat` in their name.
    ///
    /// # Errors
    /// As [`exeat`].
    pub async fn exeat(&self, ns: &Scope, arguments: &[&str]) -> Result<Output> {
        let me = self.as_me(ns);
        let me: Vec<&str> = me.iter().map(String::as_str).collect();
        exeat(&[&me, arguments].concat()).await
    }

    /// Their word, by plain kubectl.
    ///
    /// # Errors
    /// As [`kubectl`].
    pub async fn says(&self, ns: &Scope, approval: &Approval, word: Verdict, comment: &str) -> Result<Output> {
        let digest = &approval.spec.request.digest;
        let value = json!({"approver": self.user, "decision": word, "digest": digest, "comment": comment});
        let operations = json!([{"op": "add", "path": "/spec/decisions/-", "value": value}]).to_string();
        self.kubectl(ns, &["patch", "approval", &approval.name_any(), "--type=json", "-p", &operations]).await
    }

    /// Their yes, by plain kubectl.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn approves(&self, ns: &Scope, approval: &Approval) -> Result {
        self.says(ns, approval, Verdict::Approve, "as planned").await?.ok()?;
        Ok(())
    }
}

impl Scope {
    /// A policy `pods` that lets pods be got and listed, with an owner, under a provider of its own whose binding asks people by these rules.
    ///
    /// # Errors
    /// Why it is not Ready.
    pub async fn guarded(&self, rules: Vec<ApprovalRule>) -> Result<AgentCredentialPolicy> {
        self.guarded_by(rules, &[OWNER]).await
    }

    /// As [`Scope::guarded`], with these owners.
    ///
    /// # Errors
    /// Why it is not Ready.
    pub async fn guarded_by(&self, rules: Vec<ApprovalRule>, owners: &[&str]) -> Result<AgentCredentialPolicy> {
        self.guarded_under(rules, owners, None).await
    }

    /// As [`Scope::guarded_by`], under a ceiling of the binding.
    ///
    /// # Errors
    /// Why it is not Ready.
    pub async fn guarded_under(
        &self,
        rules: Vec<ApprovalRule>,
        owners: &[&str],
        ceiling: Option<ApprovalCeiling>,
    ) -> Result<AgentCredentialPolicy> {
        let mut guarded = provider("guarded", KUBERNETES, &[GRANTS], &["get *", "list *", "watch *"]);
        guarded.spec.bindings[0].approval_rules = rules;
        guarded.spec.bindings[0].approval_ceiling = ceiling;
        let provider = self.create_provider(guarded).await?.name_any();
        let mut policy = kubernetes_policy("pods", &self.name, &["get pods", "list pods"]);
        policy.spec.provider_ref.name = provider;
        policy.spec.owners = owners.iter().map(|user| Owner { user: (*user).to_owned() }).collect();
        self.ready(policy).await
    }

    /// All approvals of the namespace, the oldest first.
    ///
    /// # Errors
    /// The API server's.
    pub async fn approvals(&self) -> Result<Vec<Approval>> {
        let mut all = self.api::<Approval>().list(&ListParams::default()).await?.items;
        all.sort_by_key(|a| (a.creation_timestamp().map(|t| t.0), a.name_any()));
        Ok(all)
    }

    /// Waits until this many approvals wait for people, and no other does.
    ///
    /// # Errors
    /// How many do, after a minute.
    pub async fn queue(&self, count: usize) -> Result<Vec<Approval>> {
        wait_for(&format!("{count} approvals wait"), 60, async || {
            let all = self.approvals().await?;
            let waits = |a: &Approval| a.status.is_some() && approval_phase(a) == ApprovalPhase::Pending;
            let open: Vec<_> = all.iter().filter(|a| waits(a)).cloned().collect();
            let seen: Vec<_> = all.iter().map(|a| (a.name_any(), approval_phase(a))).collect();
            ensure!(open.len() == count, "{seen:?}");
            Ok(open)
        })
        .await
    }

    /// The one approval that waits for people.
    ///
    /// # Errors
    /// As [`Scope::queue`].
    pub async fn question(&self) -> Result<Approval> {
        self.queue(1).await?.pop().ok_or_else(|| Failure::new("there is none"))
    }

    /// Waits until an approval is in a phase.
    ///
    /// # Errors
    /// Where it is instead, after that many seconds.
    pub async fn settled(&self, name: &str, wanted: ApprovalPhase, seconds: u64) -> Result<Approval> {
        wait_for(&format!("approval {name} is {wanted:?}"), seconds, async || {
            let approval = self.api::<Approval>().get(name).await?;
            ensure!(approval_phase(&approval) == wanted, "it is {:?}", approval.status);
            Ok(approval)
        })
        .await
    }

    /// Waits until exactly this many sessions of the namespace are in a phase.
    ///
    /// # Errors
    /// Where all are instead, after that many seconds.
    pub async fn in_phase(&self, wanted: Phase, count: usize, seconds: u64) -> Result<Vec<CredentialSession>> {
        wait_for(&format!("{count} sessions are {wanted:?}"), seconds, async || {
            let all = self.api::<CredentialSession>().list(&ListParams::default()).await?.items;
            let seen: Vec<_> = all.iter().map(|s| (s.name_any(), phase(s), told(s))).collect();
            let found: Vec<_> = all.into_iter().filter(|s| phase(s) == Some(wanted)).collect();
            ensure!(found.len() == count, "{seen:?}");
            Ok(found)
        })
        .await
    }

    /// What the SDK in a pod is told, by kubectl and by the sidecar's JSON, once both hold these words.
    ///
    /// # Errors
    /// What they say instead after 30 seconds.
    pub async fn sdk_says(&self, pod: &str, words: &[&str]) -> Result {
        let json = "curl -s -H \"Authorization: Bearer $(cat /var/run/exeat/token)\" http://127.0.0.1:9911/exeat/v1/credential";
        wait_for(&format!("the agent in {pod} is told {words:?}"), 30, async || {
            let by_kubectl = self.sh(pod, "kubectl get pods").await?.failed()?;
            let by_json = self.sh(pod, json).await?.ok()?;
            for said in [&by_kubectl, &by_json] {
                ensure!(words.iter().all(|word| said.contains(word)), "{by_kubectl}\n{by_json}");
            }
            Ok(())
        })
        .await
    }

    /// Waits until the agent in a pod may list pods.
    ///
    /// # Errors
    /// What kubectl says instead after 30 seconds.
    pub async fn lists_pods(&self, pod: &str) -> Result {
        wait_for(&format!("the agent in {pod} lists pods"), 30, async || self.sh(pod, "kubectl get pods").await?.ok())
            .await?;
        Ok(())
    }
}
