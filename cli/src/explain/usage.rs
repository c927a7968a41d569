//! Whether the agent's SDK takes what the sidecar serves. Pure.

use super::facts::{Counts, Facts, Look};
use super::gate::Gate;
use crate::output::time;
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{authority, names};
use jiff::{SignedDuration, Timestamp};

const GATE: &str = "use";
/// An agent that has asked for nothing for this long is worth a word.
const QUIET: SignedDuration = SignedDuration::from_secs(60);

/// What SDKs say that find no credentials, or those of a place that is not ours.
const COMPLAINTS: [&str; 8] = [
    "Unable to locate credentials",
    "NoCredentialProviders",
    "Could not load credentials from any providers",
    "no EC2 IMDS role found",
    "Unable to load AWS credentials from any provider in the chain",
    "failed to refresh cached credentials",
    "NoCredentialsError",
    "CredentialsProviderError",
];

/// The gate.
pub(super) fn gate(facts: &Facts, now: Timestamp) -> Gate {
    if facts.phase() != Some(Phase::Active) {
        return Gate::unknown(GATE, "without an active session there is nothing to use");
    }
    let kind = facts.provider.found().and_then(|provider| authority::kind_of(provider).ok());
    if facts.alone && kind.is_none() {
        return Gate::unknown(
            GATE,
            "the sidecar counts by providers: without this one it can't be told which counters are the policy's",
        );
    }
    let counts = match &facts.sidecar {
        Look::Found(counts) => counts,
        Look::Unreadable(why) => {
            return complaint(facts)
                .unwrap_or_else(|| Gate::unknown(GATE, format!("the sidecar's counters can't be read: {why}")));
        }
        _ => return complaint(facts).unwrap_or_else(|| Gate::unknown(GATE, "the sidecar's counters were not read")),
    };
    if counts.served > 0 {
        return Gate::ok(GATE, format!("the agent has taken a credential {} times", counts.served));
    }
    if let Some(gate) = refused(counts) {
        return gate;
    }
    if kind == Some(Kind::Kubernetes) {
        return Gate::unknown(GATE, "Kubernetes clients read a file: whether this one does can't be seen");
    }
    if counts.unserved > 0 {
        return Gate::warn(
            GATE,
            "",
            format!("the agent asked {} times while there was no credential, and not since", counts.unserved),
            "if it does not ask again by itself, start it anew; with exeat.dev/wait: approval it begins once there is one",
        );
    }
    complaint(facts).unwrap_or_else(|| match kind {
        Some(kind) => silence(facts, kind, now),
        None => Gate::unknown(
            GATE,
            "the agent has asked for nothing; whether it must can't be told without the provider: Kubernetes clients read a file",
        ),
    })
}

/// It asked, and in a way in which nobody is served.
fn refused(counts: &Counts) -> Option<Gate> {
    if counts.without_secret > 0 {
        return Some(Gate::fail(
            GATE,
            "LoopbackSecretMissing",
            format!(
                "the agent asked {} times without the loopback secret: its SDK is too old for a token file",
                counts.without_secret
            ),
            "use an SDK of 2024 or later, or annotate the pod with exeat.dev/aws-token: Env",
        ));
    }
    let refused = counts.wrong_secret + counts.rejected;
    (refused > 0).then(|| {
        Gate::fail(
            GATE,
            "RequestRejected",
            format!("the sidecar refused all {refused} requests of the agent"),
            "call 127.0.0.1 directly, not through a proxy (NO_PROXY), and read /var/run/exeat/token anew for each call",
        )
    })
}

/// It has not asked at all. For a while that is no wonder; afterwards it is as if the gate were closed, for an agent that wants something.
fn silence(facts: &Facts, kind: Kind, now: Timestamp) -> Gate {
    if restarted(facts) {
        return Gate::unknown(
            GATE,
            "the sidecar was started again, and what it had served before is not known any more; it was not asked since",
        );
    }
    let opened = facts.sessions.found().and_then(|all| all.first()?.status.as_ref()?.started_at.as_ref()?.parse().ok());
    let Some(begun) = begun(facts) else { return Gate::unknown(GATE, "the agent has not begun") };
    let since = opened.map_or(begun, |opened: Timestamp| opened.max(begun));
    if now.duration_since(since) < QUIET {
        return Gate::ok(GATE, "the agent has asked for nothing yet; it has just begun");
    }
    let variable = match kind {
        Kind::Azure => "IDENTITY_ENDPOINT",
        Kind::Gcp => "GCE_METADATA_HOST",
        Kind::Vault => "VAULT_ADDR",
        _ => "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    };
    Gate::fail(
        GATE,
        "NeverUsed",
        format!("the agent's SDK has never asked the sidecar, {} after it might have", time::age(since, now)),
        format!(
            "if the agent has already called its provider, let it use the default chain: no keys in code, no profile, and an SDK that knows {variable}"
        ),
    )
}

/// Whether the sidecar has counted since its first start.
fn restarted(facts: &Facts) -> bool {
    let statuses = facts.pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    statuses.into_iter().any(|container| container.name == names::SIDECAR && container.restart_count > 0)
}

/// When the last of the pod's containers was started.
fn begun(facts: &Facts) -> Option<Timestamp> {
    let statuses = facts.pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let states = statuses.flat_map(|container| [container.state.as_ref(), container.last_state.as_ref()]).flatten();
    let started = states.filter_map(|state| {
        let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
        running.or(state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref()))
    });
    started.map(|time| time.0).max()
}

fn complaint(facts: &Facts) -> Option<Gate> {
    let log = facts.log.found()?;
    let line = log.lines().rev().find(|line| COMPLAINTS.iter().any(|sign| line.contains(sign)))?;
    let line: String = line.chars().take(200).collect();
    Some(Gate::fail(
        GATE,
        "NeverUsed",
        format!("the agent's log says {line:?}"),
        "its SDK does not find the sidecar: use one that knows AWS_CONTAINER_CREDENTIALS_FULL_URI (2024 or later, or exeat.dev/aws-token: Env) and its default chain",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::fixtures::{now, of, well};
    use crate::explain::gate::Verdict;
    use crate::explain::judge::judge;
    use serde_json::json;

    /// What the gate `use` says of an agent that was served nothing.
    fn unserved(change: impl FnOnce(&mut Facts)) -> (Verdict, String) {
        let mut facts = well();
        facts.sidecar = Look::Found(Counts::default());
        change(&mut facts);
        let gates = judge(&facts, now()).unwrap();
        let gate = gates.into_iter().find(|gate| gate.gate == "use").unwrap();
        (gate.verdict, format!("{} {}", gate.message, gate.fix.unwrap_or_default()))
    }

    #[test]
    fn silence_is_a_mistake_only_where_the_agent_could_have_asked() {
        let agent = |f: &mut Facts, state: serde_json::Value| {
            let statuses = &mut f.pod.status.as_mut().unwrap().container_statuses;
            statuses.as_mut().unwrap()[0].state = of(state);
        };
        assert_eq!(unserved(|_| ()).0, Verdict::Fail);
        let (verdict, said) = unserved(|f| agent(f, json!({"running": {"startedAt": "2026-01-01T00:59:30Z"}})));
        assert!(verdict == Verdict::Ok && said.contains("just begun"), "{said}");
        let (verdict, said) = unserved(|f| agent(f, json!({"waiting": {"reason": "PodInitializing"}})));
        assert!(verdict == Verdict::Unknown && said.contains("not begun"), "{said}");
        let (verdict, said) = unserved(|f| {
            f.pod.status.as_mut().unwrap().init_container_statuses.as_mut().unwrap()[0].restart_count = 1;
        });
        assert!(verdict == Verdict::Unknown && said.contains("started again"), "{said}");
        let asked = Counts { unserved: 3, ..Counts::default() };
        let (verdict, said) = unserved(|f| f.sidecar = Look::Found(asked));
        assert!(verdict == Verdict::Warn && said.contains("3 times while there was no credential"), "{said}");
        let (verdict, _) = unserved(|f| (f.alone, f.provider) = (true, Look::Unreadable("forbidden".into())));
        assert_eq!(verdict, Verdict::Unknown, "whose counters they are is not known");
    }

    /// Who may forward a port (`edit`) need not be who may read providers.
    #[test]
    fn silence_under_a_provider_that_may_not_be_read_is_no_mistake() {
        let hidden = |f: &mut Facts| f.provider = Look::Unreadable("forbidden".into());
        let (verdict, said) = unserved(hidden);
        assert!(verdict == Verdict::Unknown && said.contains("Kubernetes clients read a file"), "{said}");
        let (verdict, said) = unserved(|f| {
            hidden(f);
            f.log = Look::Found("NoCredentialsError: Unable to locate credentials\n".into());
        });
        assert!(verdict == Verdict::Fail && said.contains("Unable to locate credentials"), "{said}");
        let (verdict, _) = unserved(|f| {
            hidden(f);
            f.sidecar = Look::Found(Counts { served: 1, ..Counts::default() });
        });
        assert_eq!(verdict, Verdict::Ok, "what was taken is counted whatever the provider");
    }
}
