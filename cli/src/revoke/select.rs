//! Which sessions a revocation is about. Pure, but for the children of a workload.

use super::RevokeArgs;
use crate::client::{Cluster, list_where, place};
use crate::error::Error;
use crate::sessions::{Filter, phase};
use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::{CredentialHoldSpec, WorkloadName};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Refuses what names nothing, and what names everything by accident.
///
/// # Errors
/// What to write instead.
pub fn check(args: &RevokeArgs, all: bool) -> Result<(), Error> {
    let narrow = args.session.is_some()
        || args.pod.is_some()
        || args.workload.is_some()
        || args.policy.is_some()
        || args.provider.is_some();
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    if !narrow && !args.all_in_namespace && !all {
        return usage("name a session, or --pod, --workload, --policy, --provider, or --all-in-namespace");
    }
    if all && !args.yes && !args.dry_run {
        return usage("-A revokes in every namespace: add --yes, or look first with --dry-run");
    }
    if all && (args.session.is_some() || args.all_in_namespace) {
        return usage("-A goes with --pod, --workload, --policy, --provider, or stands alone");
    }
    if args.deny_new && args.session.is_some() {
        return usage(
            "--deny-new holds off what matches; for one session name its --pod, --workload or --policy instead",
        );
    }
    if args.deny_new && all && (args.pod.is_some() || args.workload.is_some() || args.policy.is_some()) {
        return usage("a hold on a pod, workload or policy is for one namespace: leave -A out, or hold a --provider");
    }
    if args.deny_new && all && args.provider.is_none() {
        return usage("a hold names something: give --provider, or run it for each namespace with --all-in-namespace");
    }
    if let Some(text) = &args.workload {
        workload(text)?;
    }
    if args.reason.is_empty() || args.reason.chars().count() > 512 {
        return usage("--reason: 1 to 512 characters");
    }
    Ok(())
}

/// Reads `KIND/NAME`.
///
/// # Errors
/// How to write it.
pub fn workload(text: &str) -> Result<WorkloadName, Error> {
    let usage = || {
        Error::Usage(format!(
            "--workload: {text:?} is no KIND/NAME; write deployment/fleet, statefulset/…, daemonset/…, job/… or cronjob/…"
        ))
    };
    let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(usage)?;
    let kind = match kind.to_lowercase().as_str() {
        "deploy" | "deployment" | "deployments" => "Deployment",
        "sts" | "statefulset" | "statefulsets" => "StatefulSet",
        "ds" | "daemonset" | "daemonsets" => "DaemonSet",
        "job" | "jobs" => "Job",
        "cj" | "cronjob" | "cronjobs" => "CronJob",
        "rs" | "replicaset" | "replicasets" => "ReplicaSet",
        _ => return Err(usage()),
    };
    Ok(WorkloadName { kind: kind.to_owned(), name: name.to_owned() })
}

/// What the arguments name, as it follows the word "session".
pub fn about(args: &RevokeArgs, scope: Option<&str>) -> String {
    let named = [
        ("named", &args.session),
        ("of pod", &args.pod),
        ("of workload", &args.workload),
        ("under policy", &args.policy),
        ("of provider", &args.provider),
    ];
    let named = named.iter().filter_map(|(word, name)| Some(format!(" {word} {:?}", name.as_ref()?)));
    format!("{} {}", named.collect::<String>(), place(scope))
}

/// Whether a name was given that may be wrong. Everything of a whole cluster is meant whatever is there.
pub fn could_be_mistaken(args: &RevokeArgs, all: bool) -> bool {
    !all || [&args.session, &args.pod, &args.workload, &args.policy, &args.provider].iter().any(|name| name.is_some())
}

/// The filter, with the ReplicaSets or Jobs that the workload has made.
///
/// # Errors
/// A workload that can't be read.
pub async fn filter(cluster: &Cluster, args: &RevokeArgs) -> Result<Filter, Error> {
    let workloads = match &args.workload {
        None => None,
        Some(text) => {
            let wanted = workload(text)?;
            let mut all = vec![(wanted.kind.clone(), wanted.name.clone())];
            all.extend(children(cluster, &wanted).await);
            Some(all)
        }
    };
    Ok(Filter {
        name: args.session.clone(),
        pod: args.pod.clone(),
        policy: args.policy.clone(),
        provider: args.provider.clone(),
        workloads,
        ..Filter::default()
    })
}

/// Who may not read them revokes by the name of the workload alone, which sessions carry.
async fn children(cluster: &Cluster, wanted: &WorkloadName) -> Vec<(String, String)> {
    match wanted.kind.as_str() {
        "Deployment" => owned::<ReplicaSet>(cluster, wanted).await,
        "CronJob" => owned::<Job>(cluster, wanted).await,
        _ => Vec::new(),
    }
}

async fn owned<K>(cluster: &Cluster, by: &WorkloadName) -> Vec<(String, String)>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let is_ours = |child: &K| child.owner_references().iter().any(|o| o.kind == by.kind && o.name == by.name);
    let found = list_where(&cluster.api(), ListParams::default(), is_ours).await.unwrap_or_default();
    found.iter().map(|child| (K::kind(&()).into_owned(), child.name_any())).collect()
}

/// The hold that keeps off what the arguments name.
///
/// # Errors
/// As [`workload`].
pub fn hold(args: &RevokeArgs, namespace: Option<&str>) -> Result<CredentialHoldSpec, Error> {
    Ok(CredentialHoldSpec {
        provider: args.provider.clone(),
        namespace: namespace.map(str::to_owned),
        policy: args.policy.clone(),
        workload: args.workload.as_deref().map(workload).transpose()?,
        service_account: None,
        pod: args.pod.clone(),
        reason: args.reason.clone(),
    })
}

/// What is still to be done about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// It must be revoked.
    Revoke,
    /// It is revoked and has not ended yet.
    Await,
    /// It has ended.
    Nothing,
}

/// What is to be done about a session: the same whether this is the first run or the third.
pub fn todo(session: &CredentialSession) -> Todo {
    if phase(session).is_terminal() {
        Todo::Nothing
    } else if session.spec.revoke.is_some() {
        Todo::Await
    } else {
        Todo::Revoke
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;
    use exeat_crds::v1alpha1::Revoke;

    fn args(change: impl FnOnce(&mut RevokeArgs)) -> RevokeArgs {
        let mut args = RevokeArgs { reason: "r".into(), ..RevokeArgs::default() };
        change(&mut args);
        args
    }

    #[test]
    fn nothing_and_everything_must_be_said() {
        let fine = |args: &RevokeArgs, all| check(args, all).is_ok();
        assert!(!fine(&args(|_| {}), false));
        assert!(fine(&args(|a| a.all_in_namespace = true), false));
        assert!(fine(&args(|a| a.session = Some("s".into())), false));
        assert!(!fine(&args(|a| a.provider = Some("p".into())), true), "-A needs --yes");
        assert!(fine(&args(|a| (a.provider, a.yes) = (Some("p".into()), true)), true));
        assert!(fine(&args(|a| a.dry_run = true), true));
        assert!(!fine(&args(|a| (a.session, a.yes) = (Some("s".into()), true)), true));
        assert!(!fine(&args(|a| (a.session, a.deny_new) = (Some("s".into()), true)), false));
        assert!(!fine(&args(|a| (a.policy, a.deny_new, a.yes) = (Some("p".into()), true, true)), true));
        assert!(!fine(&args(|a| (a.pod, a.reason) = (Some("p".into()), String::new())), false));
        assert!(!fine(&args(|a| a.workload = Some("fleet".into())), false));
    }

    #[test]
    fn a_run_that_was_cut_off_is_gone_on_with() {
        let mut one = session("a", "Active");
        assert_eq!(todo(&one), Todo::Revoke);
        one.spec.revoke = Some(Revoke { reason: "r".into() });
        assert_eq!(todo(&one), Todo::Await);
        assert_eq!(todo(&session("a", "Revoked")), Todo::Nothing);
    }

    #[test]
    fn what_was_named_is_told() {
        let args = |change: fn(&mut RevokeArgs)| args(change);
        let two = args(|a| (a.pod, a.policy) = (Some("p".into()), Some("reader".into())));
        assert_eq!(about(&two, Some("agents")), " of pod \"p\" under policy \"reader\" in namespace agents");
        assert_eq!(about(&args(|a| a.all_in_namespace = true), Some("agents")), " in namespace agents");
        assert_eq!(about(&args(|_| {}), None), " in any namespace");
        assert!(could_be_mistaken(&two, true) && could_be_mistaken(&args(|_| {}), false));
        assert!(!could_be_mistaken(&args(|_| {}), true), "whatever is there was meant");
    }

    #[test]
    fn a_hold_says_what_the_arguments_say() {
        let args = args(|a| (a.workload, a.provider) = (Some("deploy/fleet".into()), Some("aws".into())));
        let hold = hold(&args, Some("agents")).unwrap();
        assert_eq!(hold.workload, Some(WorkloadName { kind: "Deployment".into(), name: "fleet".into() }));
        assert_eq!((hold.provider.as_deref(), hold.namespace.as_deref()), (Some("aws"), Some("agents")));
    }
}
