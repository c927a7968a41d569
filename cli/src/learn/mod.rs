//! `learn`: what agents were seen to use under a policy in mode Observe, as the smallest policy. Nothing is applied.

mod show;

use crate::client::Cluster;
use crate::error::{Error, Exit};
use crate::output::Out;
use crate::policy::diff;
use clap::Args;
use exeat_crds::authority;
use exeat_crds::observed::{self, Proposal};
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::{Mode, Suggested};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

/// Arguments of `learn`.
#[derive(Args, Clone, Debug)]
pub struct LearnArgs {
    /// The policy. With -o yaml or -o json the policy that would do is all that is written; what to know of it goes to standard error.
    #[arg(value_name = "POLICY")]
    pub policy: String,
}

/// `learn`.
///
/// # Errors
/// What the API server refused; a policy under which nothing was seen yet.
pub async fn run(cluster: &Cluster, args: &LearnArgs, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<AgentCredentialPolicy> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = api.get_opt(&args.policy).await.map_err(Error::api(format!("policy {}", args.policy)))?;
    let policy = found.ok_or_else(|| {
        let message = format!("there is no policy {:?} in namespace {}", args.policy, cluster.namespace);
        Error::NotFound(format!("{message}; `kubectl get agentcredentialpolicies -n {}` lists them", cluster.namespace))
    })?;
    // Who may not read providers is told less, and no more than that.
    let providers: Api<CredentialProvider> = Api::all(cluster.client.clone());
    let provider = providers.get_opt(&policy.spec.provider_ref.name).await.unwrap_or_default();
    let suggested = policy.status.as_ref().and_then(|s| s.suggested.as_ref()).ok_or_else(|| unseen(&policy))?;
    let learnt = learn(&policy, suggested, provider.as_ref());
    if learnt.policy.spec.allow.is_empty() {
        out.notes(&show::notes(&learnt.notes))?;
        return Err(unseen(&policy));
    }
    if out.is_data() {
        out.data(&show::object(&learnt.policy))?;
        out.notes(&show::notes(&learnt.notes))?;
        return Ok(Exit::Done);
    }
    let changes = diff::changes_of(learnt.kind, &policy, &learnt.policy);
    let text = show::describe(&policy, suggested, &learnt, now, out.paint)?;
    out.text(&text)?;
    out.text(if changes.is_empty() { "\nIt allows the same as today's.\n" } else { "\nDifference to today's:\n" })?;
    for line in diff::lines(&changes, out.paint) {
        out.text(&line)?;
    }
    out.text(&show::last_words(&policy))?;
    Ok(Exit::Done)
}

/// The policy that would do.
struct Learnt {
    kind: Kind,
    policy: AgentCredentialPolicy,
    notes: Vec<String>,
}

/// Pure.
fn learn(policy: &AgentCredentialPolicy, suggested: &Suggested, provider: Option<&CredentialProvider>) -> Learnt {
    let known = provider.and_then(|provider| authority::kind_of(provider).ok());
    let kind = known.unwrap_or(if policy.spec.principal.starts_with("arn:") { Kind::Aws } else { Kind::Vault });
    let Proposal { allow, mut notes } = observed::propose(kind, &policy.spec.allow, suggested);
    if suggested.principal != policy.spec.principal || suggested.provider != policy.spec.provider_ref.name {
        notes.push(format!(
            "it was seen at provider {} with principal {}, which the policy does not name any more",
            suggested.provider, suggested.principal
        ));
    }
    let mut new = policy.clone();
    new.status = None;
    new.spec.mode = Mode::Enforce;
    new.spec.accept_enforcement = None;
    new.spec.allow = allow;
    if let Some(provider) = provider.filter(|_| !new.spec.allow.is_empty())
        && let Err(refused) = authority::resolve(&new, Some(provider))
    {
        notes.push(format!("as it stands it would not be Ready: {refused}"));
    }
    Learnt { kind, policy: new, notes }
}

fn unseen(policy: &AgentCredentialPolicy) -> Error {
    let name = policy.name_any();
    let why = if policy.spec.mode == Mode::Observe {
        "either its agents made no call that was let pass, or their SDKs tell nothing (docs/observe.md lists those that do); pods that were created \
         before mode Observe must be created again"
    } else {
        "it is in mode Enforce; set spec.mode: Observe and spec.acceptEnforcement: PrincipalOnly, and create its pods again"
    };
    Error::NotFound(format!("nothing to learn of policy {name:?} yet: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use crate::policy::call::tests::{policy, provider};
    use exeat_crds::v1alpha1::{Enforcement, SuggestedAction};

    fn used(action: &str) -> SuggestedAction {
        let last_seen = "2026-01-03T00:00:00Z".into();
        SuggestedAction { action: action.into(), calls: 3, pods: 1, last_seen, ..SuggestedAction::default() }
    }

    fn suggested(policy: &AgentCredentialPolicy, actions: &[&str]) -> Suggested {
        Suggested {
            provider: policy.spec.provider_ref.name.clone(),
            principal: policy.spec.principal.clone(),
            since: "2026-01-01T00:00:00Z".into(),
            last_seen: "2026-01-03T00:00:00Z".into(),
            sessions: 4,
            workloads: vec!["Deployment/reports\u{202E}".into()],
            actions: actions.iter().map(|action| used(action)).collect(),
            omitted: 0,
        }
    }

    fn watching() -> AgentCredentialPolicy {
        let mut policy = policy();
        policy.spec.mode = Mode::Observe;
        policy.spec.accept_enforcement = Some(Enforcement::PrincipalOnly);
        policy
    }

    #[test]
    fn what_was_used_becomes_a_policy_that_enforces_and_the_difference_is_told() {
        let today = watching();
        let seen = suggested(&today, &["s3:GetObject", "s3:PutObject"]);
        let learnt = learn(&today, &seen, Some(&provider()));
        assert_eq!((learnt.policy.spec.mode, learnt.policy.spec.accept_enforcement), (Mode::Enforce, None));
        assert_eq!(learnt.notes.len(), 1, "{:?}", learnt.notes);
        assert!(learnt.notes[0].starts_with("s3:PutObject: on what today's"), "{:?}", learnt.notes);
        let changes: Vec<String> =
            diff::changes_of(Kind::Aws, &today, &learnt.policy).into_iter().map(|c| c.text).collect();
        for wanted in [
            "newly allowed: s3:PutObject on arn:aws:s3:::reports",
            "no longer allowed: s3:ListBucket on arn:aws:s3:::reports",
            "spec.mode: Enforce instead of Observe",
        ] {
            assert!(changes.contains(&wanted.to_owned()), "{wanted}: {changes:?}");
        }
        let now = "2026-01-03T00:02:10Z".parse().unwrap();
        let text = show::describe(&today, &seen, &learnt, now, Paint(false)).unwrap();
        for part in [
            "4 sessions",
            "for 2d",
            "Deployment/reports\n",
            "s3:GetObject",
            "mode: Enforce",
            "kind: AgentCredentialPolicy",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("uid: pol"), "{text}");
    }

    #[test]
    fn what_would_not_be_ready_is_told_beforehand() {
        let today = watching();
        let learnt = learn(&today, &suggested(&today, &["sqs:SendMessage"]), Some(&provider()));
        assert!(learnt.notes.iter().any(|n| n.contains("ActionNotAllowed")), "{:?}", learnt.notes);
        let mut moved = suggested(&today, &["s3:GetObject"]);
        moved.principal = "other".into();
        assert!(learn(&today, &moved, None).notes[0].contains("does not name any more"));
    }
}
