//! What may have been meant where no session was ever found: a wrong name or namespace must not look like a success.

use super::RevokeArgs;
use crate::client::Cluster;
use exeat_crds::CredentialSession;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::BTreeSet;

/// Sessions that are looked at for a name like the one that was given.
const LOOKED_AT: u32 = 500;
/// Names that are less alike are no help.
const ALIKE: f64 = 0.8;

/// Looks at some of the sessions that are there, and says what to try.
pub(super) async fn hint(api: &Api<CredentialSession>, args: &RevokeArgs, cluster: &Cluster) -> String {
    match api.list(&ListParams::default().limit(LOOKED_AT)).await {
        Ok(there) => of(args, cluster.scope(), &there.items),
        Err(_) => String::new(),
    }
}

/// Pure.
fn of(args: &RevokeArgs, namespace: Option<&str>, there: &[CredentialSession]) -> String {
    let all = if namespace.is_some() { "`kubectl exeat sessions -A` lists those of all namespaces" } else { "" };
    if there.is_empty() {
        return match namespace {
            Some(_) => format!("; nor any other in this namespace: is it the right one (-n)? {all}"),
            None => "; nor any other: is it the right cluster (--context)?".to_owned(),
        };
    }
    type Read = fn(&CredentialSession) -> String;
    let asked: [(&str, &Option<String>, Read); 4] = [
        ("session", &args.session, |s| s.name_any()),
        ("pod", &args.pod, |s| s.spec.request.agent.pod.name.clone()),
        ("policy", &args.policy, |s| s.spec.request.policy_ref.name.clone()),
        ("provider", &args.provider, |s| s.spec.request.provider_ref.name.clone()),
    ];
    let mut meant = Vec::new();
    for (what, name, read) in asked {
        let Some(name) = name else { continue };
        let known: BTreeSet<String> = there.iter().map(read).collect();
        if let Some(near) = nearest(name, &known) {
            meant.push(format!("{what} {near}"));
        }
    }
    let lists = match namespace {
        Some(namespace) => format!("`kubectl exeat sessions -n {namespace}` lists what there is, -A in all namespaces"),
        None => "`kubectl exeat sessions -A` lists what there is".to_owned(),
    };
    match &meant[..] {
        [] => format!("; {lists}"),
        meant => format!("; did you mean {}? {lists}", meant.join(", ")),
    }
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    if known.contains(name) {
        return None;
    }
    let near = known.iter().map(|other| (strsim::jaro_winkler(other, name), other.as_str()));
    let best = near.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;

    #[test]
    fn a_name_like_it_and_where_to_look_are_told() {
        let there = [session("agent-7d4f-1", "Active"), session("other", "Revoked")];
        let pod = |name: &str| RevokeArgs { pod: Some(name.into()), ..RevokeArgs::default() };
        let told = of(&pod("agent-7d4f-1-prod"), Some("agents"), &there);
        assert!(told.contains("did you mean pod agent-7d4f-1-pod? `kubectl exeat sessions -n agents`"), "{told}");
        assert!(!of(&pod("zzz"), Some("agents"), &there).contains("did you mean"));
        let both = RevokeArgs { policy: Some("raeder".into()), provider: Some("aws-prod".into()), ..pod("other-pod") };
        assert!(of(&both, None, &there).contains("did you mean policy reader?"), "{}", of(&both, None, &there));
        assert!(of(&pod("x"), Some("agent"), &[]).contains("is it the right one (-n)? `kubectl exeat sessions -A`"));
        assert!(of(&pod("x"), None, &[]).contains("--context"));
    }
}
