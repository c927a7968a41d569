//! RBAC's objects, asked in reverse: who may? Pure, but for reading them.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::fmt;

/// All roles and bindings.
#[derive(Clone, Debug, Default)]
pub struct Rbac {
    cluster_roles: BTreeMap<String, Vec<PolicyRule>>,
    roles: BTreeMap<(String, String), Vec<PolicyRule>>,
    cluster_bindings: Vec<ClusterRoleBinding>,
    bindings: Vec<RoleBinding>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    some: bool,
}

impl<'a> Ask<'a> {
    /// In the whole cluster. A subresource is written `pods/exec`.
    pub fn new(verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self { verb, group, resource, namespace: None, name: None, some: false }
    }

    /// In one namespace.
    #[must_use]
    pub fn within(&self, namespace: &'a str) -> Self {
        Self { namespace: Some(namespace), ..self.clone() }
    }

    /// On some object at least, whichever it is.
    #[must_use]
    pub fn on_some(&self) -> Self {
        Self { some: true, ..self.clone() }
    }

    /// On one object.
    #[must_use]
    pub fn named(&self, name: &'a str) -> Self {
        Self { name: Some(name), ..self.clone() }
    }
}

/// Who holds a right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Its namespace, for accounts.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// Whether it is one of the cluster's own parts. Service accounts can be written as users and as groups, too: those are not.
    pub fn is_control_plane(&self) -> bool {
        if self.kind == "ServiceAccount" {
            return self.namespace == "kube-system";
        }
        match self.name.strip_prefix("system:serviceaccount") {
            Some(rest) => rest.starts_with(":kube-system:") || rest == "s:kube-system",
            None => self.name.starts_with("system:") && !self.is_everybody(),
        }
    }

    /// Whether everybody is meant, or every account.
    pub fn is_everybody(&self) -> bool {
        const ALL: [&str; 3] = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];
        self.kind == "Group" && ALL.contains(&self.name.as_str())
    }

    /// Whether it can be a person, as far as its name tells.
    pub fn may_be_people(&self) -> bool {
        let is_other = self.kind == "ServiceAccount" || self.name.starts_with("system:");
        !is_other || (self.kind == "Group" && self.name == "system:authenticated")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Rbac {
    /// Reads all of it.
    ///
    /// # Errors
    /// The API server's.
    pub async fn read(client: &Client) -> Result<Self, kube::Error> {
        let all = ListParams::default();
        let cluster_roles = Api::<ClusterRole>::all(client.clone()).list(&all).await?.items;
        let roles = Api::<Role>::all(client.clone()).list(&all).await?.items;
        Ok(Self {
            cluster_roles: cluster_roles
                .into_iter()
                .map(|role| (role.name_any(), role.rules.unwrap_or_default()))
                .collect(),
            roles: roles
                .into_iter()
                .map(|role| ((role.namespace().unwrap_or_default(), role.name_any()), role.rules.unwrap_or_default()))
                .collect(),
            cluster_bindings: Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await?.items,
            bindings: Api::<RoleBinding>::all(client.clone()).list(&all).await?.items,
        })
    }

    /// Who may do all there is in the whole cluster, sorted, each once.
    pub fn who_may_everything(&self) -> Vec<Subject> {
        let may = |binding: &&ClusterRoleBinding| self.rules_of(&binding.role_ref, None).iter().any(is_everything);
        let admins = self.cluster_bindings.iter().filter(may);
        let mut found: Vec<Subject> = admins.flat_map(|binding| subjects(binding.subjects.as_deref(), None)).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Who may do one of these at least, sorted, each once.
    pub fn who_may_any(&self, asks: &[Ask<'_>]) -> Vec<Subject> {
        let mut found: Vec<Subject> = asks.iter().flat_map(|ask| self.who_may(ask)).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Who may, sorted, each once.
    pub fn who_may(&self, ask: &Ask<'_>) -> Vec<Subject> {
        let mut found = Vec::new();
        for binding in &self.cluster_bindings {
            if self.rules_of(&binding.role_ref, None).iter().any(|rule| allows(rule, ask)) {
                found.extend(subjects(binding.subjects.as_deref(), None));
            }
        }
        for binding in
            self.bindings.iter().filter(|b| ask.namespace.is_some() && b.metadata.namespace.as_deref() == ask.namespace)
        {
            let namespace = binding.metadata.namespace.as_deref();
            if self.rules_of(&binding.role_ref, namespace).iter().any(|rule| allows(rule, ask)) {
                found.extend(subjects(binding.subjects.as_deref(), namespace));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn rules_of(&self, role: &RoleRef, namespace: Option<&str>) -> &[PolicyRule] {
        let rules = if role.kind == "ClusterRole" {
            self.cluster_roles.get(&role.name)
        } else {
            namespace.and_then(|namespace| self.roles.get(&(namespace.to_owned(), role.name.clone())))
        };
        rules.map(Vec::as_slice).unwrap_or_default()
    }
}

fn subjects(subjects: Option<&[k8s_openapi::api::rbac::v1::Subject]>, namespace: Option<&str>) -> Vec<Subject> {
    let all = subjects.unwrap_or_default().iter();
    all.map(|subject| Subject {
        kind: subject.kind.clone(),
        namespace: if subject.kind == "ServiceAccount" {
            subject.namespace.clone().or(namespace.map(str::to_owned)).unwrap_or_default()
        } else {
            String::new()
        },
        name: subject.name.clone(),
    })
    .collect()
}

fn is_everything(rule: &PolicyRule) -> bool {
    let has_all = |list: Option<&[String]>| list.unwrap_or_default().iter().any(|item| item == "*");
    let lists = [Some(&rule.verbs[..]), rule.api_groups.as_deref(), rule.resources.as_deref()];
    lists.into_iter().all(has_all) && rule.resource_names.as_deref().unwrap_or_default().is_empty()
}

/// A rule for named objects counts where the question is about one of them. A new object has no name yet when RBAC is asked, so such a rule
/// lets nobody create one; a subresource has its object's.
fn allows(rule: &PolicyRule, ask: &Ask<'_>) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
    let resources = rule.resources.as_deref().unwrap_or_default();
    let any_with_sub = ask.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let names = rule.resource_names.as_deref().unwrap_or_default();
    let has_name = ask.verb != "create" || ask.resource.contains('/');
    has(&rule.verbs, ask.verb)
        && has(rule.api_groups.as_deref().unwrap_or_default(), ask.group)
        && (has(resources, ask.resource) || any_with_sub.is_some_and(|any| resources.contains(&any)))
        && (names.is_empty()
            || (has_name && (ask.some || ask.name.is_some_and(|name| names.iter().any(|n| n == name)))))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: serde_json::Value) -> Vec<PolicyRule> {
        serde_json::from_value(value).unwrap()
    }

    fn cluster_roles() -> BTreeMap<String, Vec<PolicyRule>> {
        BTreeMap::from([
            (
                "edit".into(),
                rules(json!([
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get"]},
                    {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
                ])),
            ),
            ("cluster-admin".into(), rules(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]))),
            ("debug".into(), rules(json!([{"apiGroups": [""], "resources": ["*/exec"], "verbs": ["create"]}]))),
            (
                "impersonator".into(),
                rules(
                    json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}]),
                ),
            ),
            (
                "deployer".into(),
                rules(json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]}])),
            ),
        ])
    }

    fn roles() -> BTreeMap<(String, String), Vec<PolicyRule>> {
        BTreeMap::from([
            (
                ("agents".into(), "one".into()),
                rules(json!([
                    {"apiGroups": ["exeat.dev"], "resources": ["agentcredentialpolicies"], "resourceNames": ["writer"], "verbs": ["approve"]},
                    {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["create"]},
                ])),
            ),
            (
                ("agents".into(), "minter".into()),
                rules(
                    json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["report-agent"], "verbs": ["create"]}]),
                ),
            ),
        ])
    }

    impl Rbac {
        pub(crate) fn add_admin(&mut self, kind: &str, namespace: &str, name: &str) {
            let mut binding = self.cluster_bindings[0].clone();
            binding.subjects =
                serde_json::from_value(json!([{"kind": kind, "namespace": namespace, "name": name}])).unwrap();
            self.cluster_bindings.push(binding);
        }

        /// One user with one right of the core group in one namespace.
        pub(crate) fn of_one(user: &str, verb: &str, resource: &str, namespace: &str) -> Self {
            let rule = rules(json!([{"apiGroups": [""], "resources": [resource], "verbs": [verb]}]));
            let binding = json!({"metadata": {"name": "one", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"},
                "subjects": [{"kind": "User", "name": user}]});
            Self {
                roles: BTreeMap::from([((namespace.to_owned(), "one".to_owned()), rule)]),
                bindings: vec![serde_json::from_value(binding).unwrap()],
                ..Self::default()
            }
        }
    }

    pub(crate) fn rbac() -> Rbac {
        let cluster = |role: &str, subjects: serde_json::Value| {
            serde_json::from_value(json!({"metadata": {"name": role}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects}))
                .unwrap()
        };
        let within = |namespace: &str, kind: &str, role: &str, subjects: serde_json::Value| {
            serde_json::from_value(json!({"metadata": {"name": role, "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": subjects}))
            .unwrap()
        };
        Rbac {
            cluster_roles: cluster_roles(),
            roles: roles(),
            cluster_bindings: vec![
                cluster("cluster-admin", json!([{"kind": "Group", "name": "system:masters"}])),
                cluster("cluster-admin", json!([{"kind": "Group", "name": "kubeadm:cluster-admins"}])),
                cluster("debug", json!([{"kind": "Group", "name": "system:authenticated"}])),
                cluster("impersonator", json!([{"kind": "User", "name": "root-ann"}])),
            ],
            bindings: vec![
                within(
                    "agents",
                    "ClusterRole",
                    "edit",
                    json!([{"kind": "Group", "name": "team"}, {"kind": "ServiceAccount", "name": "ci"}]),
                ),
                within("elsewhere", "ClusterRole", "edit", json!([{"kind": "User", "name": "eve"}])),
                within("agents", "Role", "one", json!([{"kind": "Group", "name": "security"}])),
                within("agents", "Role", "minter", json!([{"kind": "User", "name": "mia"}])),
                within("exeat-system", "ClusterRole", "deployer", json!([{"kind": "User", "name": "dan"}])),
                within(
                    "exeat-grants",
                    "ClusterRole",
                    "cluster-admin",
                    json!([{"kind": "ServiceAccount", "name": "exeat-issuer", "namespace": "exeat-system"}]),
                ),
            ],
        }
    }

    #[test]
    fn bindings_are_read_backwards() {
        const ADMINS: [&str; 2] = ["Group kubeadm:cluster-admins", "Group system:masters"];
        let rbac = rbac();
        let told = |ask: Ask<'_>| rbac.who_may(&ask).iter().map(ToString::to_string).collect::<Vec<_>>();
        let pods = Ask::new("create", "", "pods");
        assert_eq!(told(pods.within("agents")), [ADMINS[0], ADMINS[1], "Group team", "ServiceAccount agents/ci"]);
        assert_eq!(told(pods.within("agents").on_some()), told(pods.within("agents")), "what is new has no name");
        assert_eq!(told(pods), ADMINS);
        assert_eq!(rbac.who_may_everything().iter().map(ToString::to_string).collect::<Vec<_>>(), ADMINS);
        assert_eq!(
            told(Ask::new("create", "", "pods/exec").within("agents")),
            [ADMINS[0], "Group system:authenticated", ADMINS[1]]
        );
        let approve = Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within("agents");
        assert_eq!(told(approve.clone()), ADMINS, "a right on one policy is none on all");
        assert_eq!(told(approve.on_some()), told(approve.named("writer")));
        assert_eq!(told(approve.named("writer")), [ADMINS[0], "Group security", ADMINS[1]]);
        let tokens = Ask::new("create", "", "serviceaccounts/token").within("agents");
        assert_eq!(told(tokens.on_some()), [ADMINS[0], ADMINS[1], "User mia"]);
    }

    #[test]
    fn accounts_written_as_users_are_no_control_plane_and_no_people() {
        let subject =
            |kind: &str, name: &str| Subject { kind: kind.into(), namespace: String::new(), name: name.into() };
        for (kind, name, control_plane, people) in [
            ("User", "system:serviceaccount:ci:bot", false, false),
            ("User", "system:serviceaccount:kube-system:job-controller", true, false),
            ("Group", "system:serviceaccounts:ci", false, false),
            ("Group", "system:serviceaccounts:kube-system", true, false),
            ("Group", "system:masters", true, false),
            ("Group", "system:authenticated", false, true),
            ("User", "ann", false, true),
        ] {
            let found = subject(kind, name);
            assert_eq!((found.is_control_plane(), found.may_be_people()), (control_plane, people), "{found}");
        }
    }
}
