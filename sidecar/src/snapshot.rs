//! What requests read: every answer rendered, with the time at which it turns.

use std::sync::Arc;

use exeat_wire::Refusal;
use jiff::Timestamp;

use crate::machine::{EXPIRED, Machine, Payload, View};
use crate::metrics::{Phase, Protocol};
use crate::protocol::{Answer, aws, azure, gcp, json, kubernetes, vault};
use crate::vault::Token;

/// Answers as of one moment. Requests compare the clock with `until` themselves, so that nothing is served late even if the
/// task that publishes snapshots is.
#[derive(Debug)]
pub struct Snapshot {
    held: Option<Served>,
    refused: Answers,
    /// Whether a request that finds nothing does well to wait a moment: a call is in flight that may bring a credential.
    /// After a denial it does not: the SDK is told at once.
    pub promising: bool,
    /// Whether a first credential was held or a denial known, ever.
    pub started: bool,
    /// State, for metrics and logs.
    pub phase: Phase,
    /// Code of the refusal that is answered while nothing is held.
    pub code: String,
    /// Message of that refusal.
    pub message: String,
}

#[derive(Debug)]
struct Served {
    until: Timestamp,
    answers: Answers,
    vault: Option<Arc<Token>>,
    payload: Arc<Payload>,
    gcp: Option<Arc<gcp::Metadata>>,
    /// The session, where what is used is told to the issuer.
    observed: Option<Arc<str>>,
}

#[derive(Debug)]
struct Answers {
    aws: Answer,
    json: Answer,
    kubernetes: Answer,
    discovery: Answer,
    vault: Answer,
    azure: Answer,
    gcp: Answer,
}

impl Snapshot {
    /// The answers that `machine` gives from `now` on; `calling` while a call to the issuer is in flight.
    pub fn read(machine: &Machine, now: Timestamp, calling: bool) -> Self {
        let (held, refusal) = match machine.view(now) {
            View::Refused(refusal) => (None, refusal),
            View::Held(held, until) => {
                let served = Served {
                    until,
                    vault: held.payload.vault.clone(),
                    payload: Arc::clone(&held.payload),
                    gcp: held.payload.gcp.clone(),
                    observed: held.observe.then(|| Arc::from(held.session.as_str())),
                    answers: Answers {
                        aws: Answer::ok(held.payload.aws.clone().unwrap_or_default()),
                        json: Answer::ok(held.payload.json.clone()),
                        ..Answers::refused(&kubernetes::stale())
                    },
                };
                (Some(served), machine.refusal_at(until))
            }
        };
        let phase = match (&held, refusal.retryable) {
            (Some(_), _) => Phase::Held,
            (None, true) => Phase::Waiting,
            (None, false) => Phase::Stopped,
        };
        Self {
            held,
            refused: Answers::refused(&refusal),
            promising: calling && (refusal.retryable || refusal.code == EXPIRED),
            started: machine.started(),
            phase,
            code: refusal.code,
            message: refusal.message,
        }
    }

    /// Whether a credential is served at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| now < held.until)
    }

    /// The answer at `now`.
    pub fn answer(&self, protocol: Protocol, now: Timestamp) -> &Answer {
        let answers = self.answers(now);
        match protocol {
            Protocol::Aws => &answers.aws,
            Protocol::Json => &answers.json,
            Protocol::Kubernetes => &answers.kubernetes,
            Protocol::Vault => &answers.vault,
            Protocol::Azure => &answers.azure,
            Protocol::Gcp => &answers.gcp,
        }
    }

    /// The tokens for Azure's SDKs at `now`.
    pub fn azure(&self, now: Timestamp) -> Option<&azure::Tokens> {
        self.held.as_ref().filter(|held| now < held.until)?.payload.azure.as_ref()
    }

    /// What calls to Vault are made with at `now`.
    pub fn vault(&self, now: Timestamp) -> Option<Arc<Token>> {
        self.held.as_ref().filter(|held| now < held.until)?.vault.clone()
    }

    /// What the metadata server tells at `now`.
    pub fn gcp(&self, now: Timestamp) -> Option<Arc<gcp::Metadata>> {
        self.held.as_ref().filter(|held| now < held.until)?.gcp.clone()
    }

    /// The session that is served at `now`, where what is used of it is told to the issuer.
    pub fn observed(&self, now: Timestamp) -> Option<Arc<str>> {
        self.held.as_ref().filter(|held| now < held.until)?.observed.clone()
    }

    /// The answer at `now` to a Kubernetes client that asks for the server's kinds.
    pub fn discovery(&self, now: Timestamp) -> &Answer {
        &self.answers(now).discovery
    }

    fn answers(&self, now: Timestamp) -> &Answers {
        match &self.held {
            Some(held) if now < held.until => &held.answers,
            _ => &self.refused,
        }
    }
}

impl Answers {
    fn refused(refusal: &Refusal) -> Self {
        Self {
            aws: aws::refused(refusal),
            json: json::refused(refusal),
            kubernetes: kubernetes::refused(refusal),
            discovery: kubernetes::discovery_refused(refusal),
            vault: vault::refused(refusal),
            azure: azure::refused(refusal),
            gcp: gcp::refused(refusal),
        }
    }
}
