//! Who holds the rights that matter, as RBAC's objects say. Webhook authorizers and `system:masters` are not to be seen there.

pub mod rbac;

use super::Check;
use crate::client::Cluster;
use rbac::{Ask, Rbac, Subject};

/// Groups that everybody is in, or every account.
const EVERYBODY: [&str; 3] = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];

pub(super) async fn checks(cluster: &Cluster, served: &[String]) -> Vec<Check> {
    let rbac = match Rbac::read(&cluster.client).await {
        Ok(rbac) => rbac,
        Err(error) => return vec![Check::unseen("rights", &error)],
    };
    judge(&rbac, served, &cluster.system)
}

fn judge(rbac: &Rbac, served: &[String], system: &str) -> Vec<Check> {
    let mut checks = vec![impersonate(rbac)];
    for (check, ask, why) in [
        (
            "may mint tokens",
            Ask::new("create", "", "serviceaccounts/token"),
            "with an account's token anybody is its agent",
        ),
        (
            "may create pods",
            Ask::new("create", "", "pods"),
            "whoever creates a pod chooses its account: the namespace is the boundary",
        ),
        (
            "may exec into pods",
            Ask::new("create", "", "pods/exec"),
            "in the agent's container its credentials are at hand",
        ),
        (
            "may change our policies",
            Ask::new("update", "exeat.dev", "agentcredentialpolicies"),
            "they say what agents may do",
        ),
    ] {
        for namespace in served {
            checks.push(listed(&format!("{check} in {namespace}"), &rbac.who_may(&ask.within(namespace)), why));
        }
    }
    for namespace in served {
        let approvers =
            rbac.who_may(&Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within(namespace).on_some());
        checks.push(approve(namespace, &approvers));
    }
    checks.push(listed(
        &format!("may read Secrets in {system}"),
        &rbac.who_may(&Ask::new("get", "", "secrets").within(system)),
        "roots, audit keys and providers' secrets are there",
    ));
    checks
}

/// Everybody is a fault; named people are for the reader to judge.
fn listed(check: &str, subjects: &[Subject], why: &str) -> Check {
    if let Some(all) = subjects.iter().find(|subject| EVERYBODY.contains(&subject.name.as_str())) {
        return Check::fail(
            check,
            format!("{all}: that is everybody; {why}"),
            "remove the binding, or bind people by name",
        );
    }
    let words = words(subjects);
    if words.is_empty() {
        Check::ok(check, "nobody but the cluster itself")
    } else {
        Check::ok(check, format!("{words} ({why})"))
    }
}

fn impersonate(rbac: &Rbac) -> Check {
    const CHECK: &str = "may impersonate";
    let mut subjects = Vec::new();
    for resource in ["users", "groups", "serviceaccounts"] {
        subjects.extend(rbac.who_may(&Ask::new("impersonate", "", resource)));
    }
    subjects.sort();
    subjects.dedup();
    match listed(CHECK, &subjects, "they can be any approver and any agent") {
        check if words(&subjects).is_empty() || check.level == super::Level::Fail => check,
        check => Check::warn(CHECK, check.message, "is each of them meant to?"),
    }
}

fn approve(namespace: &str, approvers: &[Subject]) -> Check {
    let check = format!("may approve in {namespace}");
    if approvers.iter().all(|approver| approver.kind == "ServiceAccount" || approver.is_control_plane()) {
        return Check::warn(
            check,
            "no person holds the verb approve: what asks for approval there stays closed",
            format!(
                "where policies or providers have approvalRules: kubectl -n {namespace} create rolebinding approvers --clusterrole=exeat-approver --group=GROUP"
            ),
        );
    }
    let all = listed(&check, approvers, "and a rule's group must be theirs; who is in a group can't be seen here");
    if all.level == super::Level::Fail { all } else { Check::ok(check, all.message) }
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
    use crate::doctor::Level;

    #[test]
    fn rights_are_listed_and_everybody_is_a_fault() {
        let checks = judge(&rbac(), &["agents".to_owned()], "exeat-system");
        let of = |name: &str| checks.iter().find(|check| check.check == name).unwrap();
        assert!(
            of("may create pods in agents").message.starts_with("Group team,"),
            "{:?}",
            of("may create pods in agents")
        );
        assert_eq!(of("may exec into pods in agents").level, Level::Fail);
        assert_eq!(of("may impersonate").level, Level::Warn);
        assert!(
            of("may approve in agents").message.starts_with("Group security,"),
            "{:?}",
            of("may approve in agents")
        );
        let nobody = approve(
            "agents",
            &rbac().who_may(&Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within("agents")),
        );
        assert!(nobody.level == Level::Warn && nobody.fix.unwrap().contains("exeat-approver"));
        assert_eq!(of("may mint tokens in agents").message, "nobody but the cluster itself");
    }
}
