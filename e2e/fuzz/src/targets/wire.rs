//! Bytes as what sidecar and issuer say to each other.

use exeat_sidecar::args::Provider;
use exeat_sidecar::lines::Lines;
use exeat_sidecar::machine::{Event, Held, Machine};
use exeat_sidecar::observe::datagram;
use exeat_sidecar::snapshot::Snapshot;
use exeat_wire::{
    CredentialRequest, CredentialResponse, ObservedReport, Operation, Refusal, StreamLine, StreamMessage,
};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{class, must};
use crate::engine::Target;

pub(super) struct Wire;

/// Where secrets stand in a response.
const SECRETS: [&str; 4] =
    ["/credential/secretAccessKey", "/credential/sessionToken", "/credential/token", "/credential/tokens/0/token"];

impl Target for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &[
            "type",
            "ApiCall",
            "ApiCallAttempt",
            "Type",
            "Service",
            "Api",
            "FinalHttpStatusCode",
            "calls",
            "what",
            "vault",
            "heartbeat",
            "active",
            "waiting",
            "stopped",
            "session",
            "digest",
            "code",
            "message",
            "retryable",
            "retryAfterSeconds",
            "policy",
            "kind",
            "aws",
            "kubernetes",
            "credential",
            "token",
            "secretAccessKey",
            "sessionToken",
            "expiresAt",
            "sessionExpiresAt",
            "offlineGraceSeconds",
            "2026-01-01T00:30:00Z",
            "9999-12-31T23:59:59Z",
            "-009999-01-01T00:00:00Z",
            "18446744073709551615",
        ]
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let mut read = Vec::new();
        read.extend(stable::<CredentialRequest>(input)?.map(|_| "request"));
        read.extend(stable::<Refusal>(input)?.map(|_| "refusal"));
        read.extend(stable::<StreamLine>(input)?.and_then(|line| line.policy).map(|_| "line"));
        read.extend(stable::<ObservedReport>(input)?.map(|_| "report"));
        read.extend(told(input)?);
        if let Some(message) = stable::<StreamMessage>(input)? {
            read.push(match message {
                StreamMessage::Heartbeat => "heartbeat",
                StreamMessage::Active { .. } => "active",
                StreamMessage::Waiting(_) => "waiting",
                StreamMessage::Stopped(_) => "stopped",
                _ => "unknown",
            });
        }
        if let Some(response) = stable::<CredentialResponse>(input)? {
            read.push("response");
            read.push(hidden(&response)?);
        }
        read.extend(streamed(input)?);
        Ok(class(read))
    }
}

/// A datagram of an SDK: nothing but names comes of it, whatever is in it.
fn told(input: &[u8]) -> Result<Option<&'static str>, String> {
    let Some((what, status)) = datagram::parse(input) else { return Ok(None) };
    let Operation::Aws { service, operation } = &what else { return Err(format!("{what:?} is no call of an AWS SDK")) };
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || " -".contains(c));
    must(plain(service) && plain(operation) && (100..600).contains(&status), || format!("{what:?} {status}"))?;
    Ok(Some(if status == 403 { "refused-call" } else { "call" }))
}

/// Reads the bytes; what was read is written and read again without a change.
fn stable<T: DeserializeOwned + Serialize>(input: &[u8]) -> Result<Option<T>, String> {
    let Ok(read) = serde_json::from_slice::<T>(input) else { return Ok(None) };
    let written = |value: &T| serde_json::to_string(value).map_err(|error| error.to_string());
    let once = written(&read)?;
    let again: T = serde_json::from_str(&once).map_err(|error| format!("{once} is written but not read: {error}"))?;
    let twice = written(&again)?;
    must(once == twice, || format!("{once} becomes {twice}"))?;
    Ok(Some(read))
}

/// `Debug` says the same whatever the secrets are, of the response and of all that the sidecar makes of it.
fn hidden(response: &CredentialResponse) -> Result<&'static str, String> {
    let shown = |secret: &str| -> Result<(String, &'static str), String> {
        let mut value = serde_json::to_value(response).map_err(|error| error.to_string())?;
        for path in SECRETS {
            if let Some(place) = value.pointer_mut(path) {
                *place = Value::from(secret);
            }
        }
        let response: CredentialResponse = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let mut shown = format!("{response:?}");
        let mut usable = "unusable";
        for provider in [Provider::Aws, Provider::Azure, Provider::Kubernetes, Provider::Vault, Provider::Gcp] {
            match Held::read(response.clone(), provider) {
                Ok(held) => {
                    usable = "usable";
                    shown.push_str(&format!("{held:?}"));
                    shown.push_str(&served(held)?);
                }
                Err(error) => shown.push_str(&error.to_string()),
            }
        }
        Ok((shown, usable))
    };
    let ((one, usable), (other, _)) = (shown("one-secret")?, shown("another-secret-of-another-length")?);
    must(one == other, || format!("a secret shows: {one} and {other}"))?;
    Ok(usable)
}

/// What the sidecar would serve of a credential, as far as `Debug` and the state tell. Never past its end.
fn served(held: Held) -> Result<String, String> {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().map_err(|error| format!("{error}"))?;
    let ends = held.ends_at();
    let mut machine = Machine::new(now);
    let epoch = machine.fetch_started(now);
    machine.apply(Event::Fetched { epoch, held: Box::new(held) }, now, 0.5);
    let snapshot = Snapshot::read(&machine, now, false);
    must(!(snapshot.holds(now) && now >= ends), || format!("served at {now}, after its end at {ends}"))?;
    must(!snapshot.holds(ends), || format!("served at its end {ends}"))?;
    Ok(format!("{machine:?}"))
}

/// Lines of a stream do not depend on how the bytes arrive.
fn streamed(input: &[u8]) -> Result<Option<&'static str>, String> {
    let cut = |step: usize| {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let whole = input.chunks(step).try_for_each(|bytes| lines.push(bytes, |line| seen.push(line.to_vec())));
        (seen, whole.is_ok())
    };
    let (whole, pieces) = (cut(usize::MAX), cut(7));
    must(whole == pieces, || "lines differ by how they arrive".to_owned())?;
    let messages = whole.0.iter().filter(|line| serde_json::from_slice::<StreamMessage>(line).is_ok()).count();
    Ok((messages > 1).then_some("stream"))
}
