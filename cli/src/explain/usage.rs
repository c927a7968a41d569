//! Whether the agent's SDK takes what the sidecar serves. Pure.

use super::facts::{Facts, Look};
use super::gate::Gate;
use exeat_crds::authority;
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::Phase;
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
    let is_kubernetes =
        facts.provider.found().is_some_and(|p| authority::kind_of(p).is_ok_and(|kind| kind == Kind::Kubernetes));
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
    if counts.without_secret > 0 {
        return Gate::fail(
            GATE,
            "LoopbackSecretMissing",
            format!(
                "the agent asked {} times without the loopback secret: its SDK is too old for a token file",
                counts.without_secret
            ),
            "use an SDK of 2024 or later, or annotate the pod with exeat.dev/aws-token: Env",
        );
    }
    if counts.wrong_secret + counts.rejected > 0 {
        return Gate::fail(
            GATE,
            "RequestRejected",
            format!("the sidecar refused all {} requests of the agent", counts.wrong_secret + counts.rejected),
            "call 127.0.0.1 directly, not through a proxy (NO_PROXY), and read /var/run/exeat/token anew for each call",
        );
    }
    if is_kubernetes {
        return Gate::unknown(GATE, "Kubernetes clients read a file: whether this one does can't be seen");
    }
    if let Some(gate) = complaint(facts) {
        return gate;
    }
    let since = facts.session().and_then(|s| s.status.as_ref()?.started_at.as_ref()?.parse::<Timestamp>().ok());
    match since {
        Some(since) if now.duration_since(since) < QUIET => {
            Gate::ok(GATE, "the agent has asked for nothing yet; its session is new")
        }
        _ => Gate::warn(
            GATE,
            "NeverUsed",
            "the agent's SDK has never asked the sidecar",
            "let it use its default chain: no keys in code, no profile, no region-only client, and an SDK that knows AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
    }
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
