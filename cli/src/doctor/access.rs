//! Who holds the rights that matter, as RBAC's objects say. Webhook authorizers and `system:masters` are not to be seen there.

pub mod rbac;

use super::{Check, Level};
use crate::client::Cluster;
use exeat_crds::names;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use rbac::{Ask, Rbac, Subject};

/// What a right takes: one of these verbs on one of these resources of an API group.
type Takes = (&'static [&'static str], &'static str, &'static [&'static str]);

/// A right that matters.
struct Right {
    check: &'static str,
    takes: &'static [Takes],
    why: &'static str,
}

const CHANGE: &[&str] = &["create", "update", "patch"];
const TOKENS: Right = Right {
    check: "may mint tokens",
    takes: &[(&["create"], "", &["serviceaccounts/token"])],
    why: "with an account's token anybody is its agent",
};
const ACCOUNTS: Right = Right {
    check: "may impersonate accounts",
    takes: &[(&["impersonate"], "", &["serviceaccounts"])],
    why: "they act in the cluster as its agents do",
};
const PODS: Right = Right {
    check: "may create pods",
    takes: &[
        (&["create"], "", &["pods"]),
        (CHANGE, "", &["replicationcontrollers"]),
        (CHANGE, "apps", &["deployments", "replicasets", "statefulsets", "daemonsets"]),
        (CHANGE, "batch", &["jobs", "cronjobs"]),
    ],
    why: "whoever creates a pod chooses its account: the namespace is the boundary",
};
// `get` is what a WebSocket asks for. A running container's image can be changed, and one can be added beside it.
const EXEC: Right = Right {
    check: "may exec into pods",
    takes: &[
        (&["create", "get"], "", &["pods/exec", "pods/attach"]),
        (&["update", "patch"], "", &["pods", "pods/ephemeralcontainers"]),
    ],
    why: "in the agent's container its credentials are at hand",
};
const POLICIES: Right = Right {
    check: "may change our policies",
    takes: &[(CHANGE, "exeat.dev", &["agentcredentialpolicies"])],
    why: "they say what agents may do",
};
const SECRETS: Right = Right {
    check: "may read Secrets",
    takes: &[(&["get", "list", "watch"], "", &["secrets"])],
    why: "roots, audit keys and providers' secrets are there",
};

impl Right {
    /// But for who may do everything: they are told once.
    fn holders(&self, rbac: &Rbac, namespace: &str) -> Vec<Subject> {
        let mut asks = Vec::new();
        for (verbs, group, resources) in self.takes {
            for verb in *verbs {
                asks.extend(resources.iter().map(|what| Ask::new(verb, group, what).within(namespace).on_some()));
            }
        }
        but_admins(rbac, rbac.who_may_any(&asks))
    }
}

fn but_admins(rbac: &Rbac, mut subjects: Vec<Subject>) -> Vec<Subject> {
    let admins = rbac.who_may_everything();
    subjects.retain(|subject| !admins.contains(subject));
    subjects
}

pub(super) async fn checks(cluster: &Cluster, served: &[String]) -> Vec<Check> {
    let rbac = match Rbac::read(&cluster.client).await {
        Ok(rbac) => rbac,
        Err(error) => return vec![Check::unseen("rights", &error)],
    };
    judge(&rbac, served, &cluster.system, &grants_namespace(cluster).await)
}

/// Where the issuer makes the accounts of sessions.
async fn grants_namespace(cluster: &Cluster) -> String {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.system);
    let issuer = api.get_opt("exeat-issuer").await.ok().flatten();
    let pod = issuer.and_then(|found| found.spec?.template.spec);
    let env = pod.into_iter().flat_map(|pod| pod.containers).flat_map(|container| container.env.unwrap_or_default());
    let mut named = env.filter(|variable| variable.name == "EXEAT_GRANTS_NAMESPACE").filter_map(|v| v.value);
    named.next().unwrap_or_else(|| names::GRANTS_NAMESPACE.to_owned())
}

fn judge(rbac: &Rbac, served: &[String], system: &str, grants: &str) -> Vec<Check> {
    let mut checks = vec![everything(rbac), impersonate(rbac)];
    for right in [TOKENS, ACCOUNTS, PODS, EXEC, POLICIES] {
        for namespace in served {
            let check = format!("{} in {namespace}", right.check);
            checks.push(listed(&check, &right.holders(rbac, namespace), right.why));
        }
    }
    for namespace in served {
        let ask = Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within(namespace).on_some();
        checks.push(approve(namespace, &but_admins(rbac, rbac.who_may(&ask))));
    }
    for right in [TOKENS, ACCOUNTS, PODS, EXEC] {
        checks.push(ours(rbac, &right, system, system, "that makes them controller, issuer or webhook"));
        checks.push(ours(rbac, &right, grants, system, "there are the accounts by which sessions hold their grants"));
    }
    checks.push(listed(&format!("{} in {system}", SECRETS.check), &SECRETS.holders(rbac, system), SECRETS.why));
    checks
}

/// In the namespaces of ours nobody needs such a right but our own programs.
fn ours(rbac: &Rbac, right: &Right, namespace: &str, system: &str, why: &str) -> Check {
    const PROGRAMS: [&str; 3] = ["exeat-controller", "exeat-issuer", "exeat-webhook"];
    let is_program = |subject: &Subject| {
        let is_account = subject.kind == "ServiceAccount" && subject.namespace == system;
        is_account && PROGRAMS.contains(&subject.name.as_str())
    };
    let mut holders = right.holders(rbac, namespace);
    holders.retain(|subject| !is_program(subject));
    meant(&format!("{} in {namespace}", right.check), &holders, why)
}

/// Everybody is a fault; named people are for the reader to judge.
fn listed(check: &str, subjects: &[Subject], why: &str) -> Check {
    if let Some(all) = subjects.iter().find(|subject| subject.is_everybody()) {
        return Check::fail(
            check,
            format!("{all}: that is everybody; {why}"),
            "remove the binding, or bind people by name",
        );
    }
    let words = words(subjects);
    if words.is_empty() {
        Check::ok(check, "nobody but the cluster itself and who may do everything")
    } else {
        Check::ok(check, format!("{words} ({why})"))
    }
}

/// As [`listed`], for what hardly anybody needs.
fn meant(check: &str, subjects: &[Subject], why: &str) -> Check {
    match listed(check, subjects, why) {
        told if words(subjects).is_empty() || told.level == Level::Fail => told,
        told => Check::warn(check, told.message, "is each of them meant to?"),
    }
}

/// Every cluster has such people. A program among them can be every agent and every approver.
fn everything(rbac: &Rbac) -> Check {
    const CHECK: &str = "may do everything";
    let admins = rbac.who_may_everything();
    if words(&admins).is_empty() {
        return Check::ok(CHECK, "nobody but the cluster itself");
    }
    let why = "in the whole cluster; the other checks leave them out";
    if admins.iter().any(|admin| !admin.is_control_plane() && !admin.may_be_people()) {
        meant(CHECK, &admins, why)
    } else {
        listed(CHECK, &admins, why)
    }
}

fn impersonate(rbac: &Rbac) -> Check {
    let asks = ["users", "groups", "serviceaccounts"].map(|resource| Ask::new("impersonate", "", resource).on_some());
    let holders = but_admins(rbac, rbac.who_may_any(&asks));
    meant("may impersonate", &holders, "they can be any approver and any agent that the right names")
}

fn approve(namespace: &str, approvers: &[Subject]) -> Check {
    let check = format!("may approve in {namespace}");
    if !approvers.iter().any(Subject::may_be_people) {
        return Check::warn(
            check,
            "no person but who may do everything holds the verb approve: what asks for approval there stays closed",
            format!(
                "where policies or providers have approvalRules: kubectl -n {namespace} create rolebinding approvers --clusterrole=exeat-approver --group=GROUP"
            ),
        );
    }
    let all = listed(&check, approvers, "and a rule's group must be theirs; who is in a group can't be seen here");
    if all.level == Level::Fail { all } else { Check::ok(check, all.message) }
}

/// The control plane's own accounts are counted and not listed.
fn words(subjects: &[Subject]) -> String {
    const SHOWN: usize = 12;
    let (own, others): (Vec<&Subject>, Vec<&Subject>) = subjects.iter().partition(|subject| subject.is_control_plane());
    let mut parts: Vec<String> = others.iter().take(SHOWN).map(|subject| subject.to_string()).collect();
    if others.len() > SHOWN {
        parts.push(format!("{} more", others.len() - SHOWN));
    }
    if !parts.is_empty() && !own.is_empty() {
        parts.push(format!("{} of the control plane", own.len()));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::rbac::tests::rbac;
    use super::*;

    fn told(name: &str) -> Check {
        let checks = judge(&rbac(), &["agents".to_owned()], "exeat-system", "exeat-grants");
        checks.into_iter().find(|check| check.check == name).unwrap_or_else(|| panic!("no check {name}"))
    }

    #[test]
    fn rights_are_listed_and_everybody_is_a_fault() {
        for (check, level, says) in [
            ("may create pods in agents", Level::Ok, "Group team, ServiceAccount agents/ci ("),
            ("may exec into pods in agents", Level::Fail, "Group system:authenticated: that is everybody"),
            ("may do everything", Level::Ok, "Group kubeadm:cluster-admins, 1 of the control plane ("),
            ("may approve in agents", Level::Ok, "Group security ("),
            ("may change our policies in agents", Level::Ok, "nobody but the cluster itself and who may do everything"),
        ] {
            let told = told(check);
            assert!(told.level == level && told.message.starts_with(says), "{told:?}");
        }
        let on_all = rbac().who_may(&Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within("agents"));
        let nobody = approve("agents", &but_admins(&rbac(), on_all));
        assert!(nobody.level == Level::Warn && nobody.fix.unwrap().contains("exeat-approver"));
    }

    #[test]
    fn admins_of_the_whole_cluster_are_told_once() {
        let checks = judge(&rbac(), &["agents".to_owned()], "exeat-system", "exeat-grants");
        let named: Vec<&str> =
            checks.iter().filter(|c| c.message.contains("kubeadm:")).map(|c| c.check.as_str()).collect();
        assert_eq!(named, ["may do everything"]);
        let with = |kind: &str, namespace: &str, name: &str| {
            let mut rbac = rbac();
            rbac.add_admin(kind, namespace, name);
            everything(&rbac)
        };
        let program = with("ServiceAccount", "ci", "deployer");
        assert!(program.level == Level::Warn && program.message.contains("ServiceAccount ci/deployer"), "{program:?}");
        assert_eq!(with("ServiceAccount", "kube-system", "controller").level, Level::Ok);
        assert_eq!(with("User", "", "ann").level, Level::Ok);
        let everybody = with("Group", "", "system:authenticated");
        assert!(everybody.level == Level::Fail && everybody.message.contains("that is everybody"), "{everybody:?}");
    }

    #[test]
    fn who_changes_a_running_pod_runs_code_in_it() {
        for (verb, resource) in [
            ("patch", "pods"),
            ("update", "pods"),
            ("patch", "pods/ephemeralcontainers"),
            ("update", "pods/ephemeralcontainers"),
            ("create", "pods/attach"),
            ("get", "pods/exec"),
        ] {
            let rbac = Rbac::of_one("changer", verb, resource, "agents");
            assert_eq!(words(&EXEC.holders(&rbac, "agents")), "User changer", "{verb} {resource}");
            assert_eq!(words(&PODS.holders(&rbac, "agents")), "", "{verb} {resource}");
        }
        assert_eq!(words(&EXEC.holders(&Rbac::of_one("reader", "get", "pods", "agents"), "agents")), "");
    }

    #[test]
    fn a_right_on_named_objects_is_listed_too() {
        assert!(told("may mint tokens in agents").message.starts_with("User mia ("));
        let told = told("may impersonate");
        assert!(told.level == Level::Warn && told.message.starts_with("User root-ann ("), "{told:?}");
    }

    #[test]
    fn accounts_of_one_namespace_can_be_impersonated_by_a_role_there() {
        let told = told("may impersonate accounts in agents");
        assert!(told.message.starts_with("Group team, ServiceAccount agents/ci ("), "{told:?}");
    }

    #[test]
    fn in_the_namespaces_of_ours_our_programs_alone_need_such_rights() {
        let deployer = told("may create pods in exeat-system");
        assert!(deployer.level == Level::Warn && deployer.message.starts_with("User dan ("), "{deployer:?}");
        for check in [
            "may mint tokens in exeat-system",
            "may mint tokens in exeat-grants",
            "may impersonate accounts in exeat-grants",
        ] {
            assert_eq!(told(check).message, "nobody but the cluster itself and who may do everything", "{check}");
        }
        let debugger = told("may exec into pods in exeat-grants");
        assert!(debugger.level == Level::Fail && debugger.message.contains("system:authenticated"), "{debugger:?}");
    }
}
