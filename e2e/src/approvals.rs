//! Approvals as the controller makes them, and the people who decide on them or attack them.

mod forgery;
mod people;

use exeat_crds::approval::digest;
use exeat_crds::v1alpha1::{ApprovalDecision, ApprovalRequest, ApprovalSpec};
use exeat_crds::{AgentCredentialPolicy, Approval, condition};
use jiff::SignedDuration;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::{GRANTS, KUBERNETES, Result, Scope, connect_as, now, policy, statement, wait_for};

pub use forgery::{Part, forge_each_field, forge_stamps};
pub use people::{OWNER, approval_phase, lists, rule, told};

const CONTROLLER: &str = "system:serviceaccount:exeat-system:exeat-controller";
/// Who may not approve.
pub const EXCLUDED: &str = "carol";
/// Who has approved already.
pub const DECIDED: &str = "alice";

/// A person or an account that writes to a story's approvals.
#[derive(Clone)]
pub struct Actor {
    /// What they are in the story.
    pub role: &'static str,
    /// User name.
    pub user: String,
    /// Groups beside `system:authenticated`.
    pub groups: Vec<String>,
    /// A client in their name.
    pub client: Client,
}

impl Actor {
    /// Somebody of this name in these groups, with no right yet.
    ///
    /// # Errors
    /// As [`crate::connect`].
    pub async fn new(role: &'static str, user: &str, groups: &[&str]) -> Result<Self> {
        let client = connect_as(user, &[groups, &["system:authenticated"]].concat()).await?;
        Ok(Self { role, user: user.to_owned(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), client })
    }

    /// The approvals of a story, in their name.
    pub fn approvals(&self, ns: &Scope) -> Api<Approval> {
        Api::namespaced(self.client.clone(), &ns.name)
    }
}

impl Scope {
    /// Binds a cluster role to somebody in this namespace.
    ///
    /// # Errors
    /// The API server's.
    pub async fn bind(&self, user: &str, kind: &str, role: &str) -> Result {
        let binding = json!({
            "metadata": {"generateName": "people-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        self.create(&serde_json::from_value::<RoleBinding>(binding)?).await?;
        Ok(())
    }

    /// Somebody with the cluster role exeat-approver in this namespace.
    ///
    /// # Errors
    /// The API server's.
    pub async fn approver(&self, user: &str, groups: &[&str]) -> Result<Actor> {
        self.bind(user, "ClusterRole", "exeat-approver").await?;
        let actor = Actor::new("approver", user, groups).await?;
        self.may_read(&actor).await?;
        Ok(actor)
    }

    async fn may_read(&self, actor: &Actor) -> Result {
        wait_for(&format!("{} may read approvals", actor.user), 20, async || {
            actor.approvals(self).list(&ListParams::default()).await?;
            Ok(())
        })
        .await
    }

    /// Six who would like to write an approval: the agent's own account (bound to exeat-approver by mistake), a team editor, an admin who
    /// may do everything in the namespace, two approvers of different groups, and a reader.
    ///
    /// # Errors
    /// The API server's.
    pub async fn six(&self) -> Result<Vec<Actor>> {
        let everything = json!({
            "metadata": {"name": "everything"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
        });
        self.create(&serde_json::from_value::<Role>(everything)?).await?;
        let agent = format!("system:serviceaccount:{}:agent", self.name);
        let mut six = Vec::new();
        for (role, user, groups, kind, bound) in [
            ("agent", agent.as_str(), &["security", "system:serviceaccounts"][..], "ClusterRole", "exeat-approver"),
            ("editor", "eve", &["team"], "ClusterRole", "edit"),
            ("admin", "mallory", &["team"], "Role", "everything"),
            ("approver", "ann", &["security", "staff"], "ClusterRole", "exeat-approver"),
            ("other approver", "ben", &["data", "staff"], "ClusterRole", "exeat-approver"),
            ("reader", "rita", &["auditors"], "ClusterRole", "view"),
        ] {
            self.bind(user, kind, bound).await?;
            six.push(Actor::new(role, user, groups).await?);
        }
        for actor in &six {
            self.may_read(actor).await?;
        }
        Ok(six)
    }

    /// An approval as the controller makes it, with these decisions: security and data must approve, within a day.
    ///
    /// # Errors
    /// The API server's.
    pub async fn asked(&self, name: &str, decisions: Value) -> Result<Approval> {
        self.asked_for(name, decisions, SignedDuration::from_hours(24)).await
    }

    /// As [`Scope::asked`], for so long.
    ///
    /// # Errors
    /// The API server's.
    pub async fn asked_for(&self, name: &str, decisions: Value, time: SignedDuration) -> Result<Approval> {
        let policy = self.unserved("writer").await?;
        let deadline = condition::whole_seconds(now().saturating_add(time).unwrap_or_default());
        let mut request: ApprovalRequest = serde_json::from_value(json!({
            "policyRef": {"name": "writer", "uid": policy}, "providerRef": {"name": KUBERNETES},
            "authorityHash": "h", "serviceAccount": "agent", "workload": {"kind": "Deployment", "name": "reports", "uid": "w"},
            "sessionRef": {"name": "s"}, "requester": {"username": EXCLUDED}, "justification": "why",
            "rules": ["provider/lists"], "principal": GRANTS, "duration": "1h", "validFor": "1h", "uses": 2, "coolDown": "1h",
            "allow": [{"actions": ["list pods"], "resources": ["x/*"]}], "deny": ["get secrets"], "enforcement": "PrincipalOnly",
            "changes": ["+ allow list pods on x/*"],
            "deadline": deadline.to_string(), "required": [{"group": "data", "count": 1}, {"group": "security", "count": 1}],
            "minimum": 2, "excluded": [EXCLUDED], "digest": "",
        }))?;
        request.digest = digest(&request);
        let mut decisions: Vec<ApprovalDecision> = serde_json::from_value(decisions)?;
        for decision in &mut decisions {
            decision.digest.clone_from(&request.digest);
        }
        let controller = connect_as(CONTROLLER, &["system:serviceaccounts", "system:authenticated"]).await?;
        let approval = Approval::new(name, ApprovalSpec { request, decisions });
        Ok(Api::namespaced(controller, &self.name).create(&PostParams::default(), &approval).await?)
    }

    /// A policy that nothing can be said of, since its provider is not there: people stay asked under it. Returns its UID.
    async fn unserved(&self, name: &str) -> Result<String> {
        let api = self.api::<AgentCredentialPolicy>();
        let policy = match api.get_opt(name).await? {
            Some(policy) => policy,
            None => {
                let allow = vec![statement(&["list pods"], &["x/*"])];
                api.create(&PostParams::default(), &policy(name, "not-there", GRANTS, allow)).await?
            }
        };
        Ok(policy.uid().unwrap_or_default())
    }

    /// Writes an approval's status, as the controller.
    ///
    /// # Errors
    /// The API server's.
    pub async fn settle(&self, approval: &Approval, status: Value) -> Result {
        let controller = connect_as(CONTROLLER, &["system:serviceaccounts", "system:authenticated"]).await?;
        let api: Api<Approval> = Api::namespaced(controller, &self.name);
        let body = Patch::Merge(json!({"status": status}));
        api.patch_status(&approval.name_any(), &PatchParams::default(), &body).await?;
        Ok(())
    }

    /// An approval that [`DECIDED`] of `security` has approved.
    ///
    /// # Errors
    /// The API server's.
    pub async fn half_approved(&self, name: &str) -> Result<Approval> {
        let time = condition::whole_seconds(now()).to_string();
        let yes =
            json!({"approver": DECIDED, "decision": "Approve", "digest": "d", "groups": ["security"], "time": time});
        self.asked(name, json!([yes])).await
    }
}
