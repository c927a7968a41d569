//! All that is known of one session, for people.

use super::{event_time, phase, tone};
use crate::output::{Paint, Tone, time};
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::CredentialSessionStatus;
use exeat_crds::{Approval, CredentialSession, text};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use std::fmt::Write;

/// A text of named lines.
#[derive(Default)]
pub(crate) struct Lines {
    text: String,
}

impl Lines {
    /// `Name:   value`; nothing for an empty value.
    pub(crate) fn field(&mut self, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            let _ = writeln!(self.text, "{:<17}{}", format!("{name}:"), text::strip_hidden(value));
        }
    }

    /// The same for a value that may be painted, which holds nothing of others.
    pub(crate) fn painted(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "{:<17}{value}", format!("{name}:"));
    }

    /// A heading with lines below it; nothing without lines.
    pub(crate) fn list(&mut self, name: &str, items: impl IntoIterator<Item = String>) {
        let items: Vec<String> = items.into_iter().collect();
        if !items.is_empty() {
            let _ = writeln!(self.text, "{name}:");
            for item in items {
                let _ = writeln!(self.text, "  {}", text::strip_hidden(&item));
            }
        }
    }

    /// All of it.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// `actions on resources`.
pub(crate) fn statement(statement: &Statement) -> String {
    format!("{} on {}", statement.actions.join(", "), statement.resources.join(", "))
}

/// A session in words. `events` are absent where they can't be read.
pub fn describe(
    session: &CredentialSession,
    approval: Option<&Approval>,
    events: Option<&[Event]>,
    now: Timestamp,
    paint: Paint,
) -> String {
    let request = &session.spec.request;
    let status = session.status.clone().unwrap_or_default();
    let phase = phase(session);
    let mut lines = Lines::default();
    lines.field("Session", session.name_any());
    lines.field("Namespace", session.namespace().unwrap_or_default());
    lines.painted("Phase", &paint.on(tone(phase), phase.as_str()));
    lines.field("Reason", status.reason.as_deref().unwrap_or_default());
    lines.field("Message", status.message.as_deref().unwrap_or_default());
    lines.field("Policy", &request.policy_ref.name);
    lines.field("Provider", &request.provider_ref.name);
    lines.field("Pod", format!("{} ({})", request.agent.pod.name, request.agent.pod.uid));
    lines.field("Account", &request.agent.service_account);
    lines.field(
        "Workload",
        request.agent.workload.as_ref().map(|w| format!("{}/{}", w.kind, w.name)).unwrap_or_default(),
    );
    lines.field("Number", request.number.to_string());
    lines.field("Claimed reason", request.justification.as_deref().unwrap_or_default());
    asked(&mut lines, session);
    granted(&mut lines, &status);
    times(&mut lines, &status, phase.is_terminal(), now);
    if let Some(revoke) = &session.spec.revoke {
        lines.field("Revoked for", &revoke.reason);
    }
    if let Some(reference) = &status.approval_ref {
        let phase = approval.map_or("not readable", |approval| crate::approvals::phase(approval).as_str());
        lines.field("Approval", format!("{} ({phase})", reference.name));
    }
    issued(&mut lines, &status);
    lines.list(
        "Conditions",
        status.conditions.iter().map(|c| {
            let since = time::age(c.last_transition_time.0, now);
            format!(
                "{}={} {} for {since}{}{}",
                c.type_,
                c.status,
                c.reason,
                if c.message.is_empty() { "" } else { ": " },
                c.message
            )
        }),
    );
    let mut text = lines.finish();
    text += &told(events, now, paint);
    text
}

fn asked(lines: &mut Lines, session: &CredentialSession) {
    let request = &session.spec.request;
    if let Some(allow) = &request.allow {
        lines.list("Asked for (less than the policy)", allow.iter().map(statement));
    }
    lines.field("Asked time", request.duration.as_deref().unwrap_or_default());
}

fn granted(lines: &mut Lines, status: &CredentialSessionStatus) {
    let Some(grant) = &status.grant else { return };
    lines.field("Principal", &grant.principal);
    lines.list("Granted", grant.allow.iter().map(statement));
    lines.list("Denied always", grant.deny.iter().cloned());
    lines.field("Grant digest", &grant.digest);
    lines.field("Enforced by", status.enforcement.map(|e| format!("{e:?}")).unwrap_or_default());
    lines.list("Not prevented", status.exceptions.iter().cloned());
}

fn times(lines: &mut Lines, status: &CredentialSessionStatus, ended: bool, now: Timestamp) {
    lines.field("Started", status.started_at.as_deref().unwrap_or_default());
    if let Some(at) = &status.expires_at {
        let left = if ended { String::new() } else { format!(" ({})", time::until_text(Some(at), now)) };
        lines.field("Expires", format!("{at}{left}"));
    }
    lines.field("Ended", status.ended_at.as_deref().unwrap_or_default());
    if let Some(revocation) = &status.revocation {
        lines.field("Access ends by", format!("{} ({:?})", revocation.effective_by, revocation.mode));
    }
}

fn issued(lines: &mut Lines, status: &CredentialSessionStatus) {
    let Some(issuance) = &status.issuance else { return };
    lines.field("Credential", issuance.credential_id.as_deref().unwrap_or_default());
    lines.field("Valid until", issuance.expires_at.as_deref().unwrap_or_default());
    lines.field("Taken back", issuance.revoked_at.as_deref().unwrap_or_default());
    if let Some(stream) = &issuance.stream {
        let lost = stream.lost_at.as_ref().map(|at| format!(", lost at {at}")).unwrap_or_default();
        lines.field("Stream", format!("{} since {}{lost}", stream.replica, stream.since));
    }
}

fn told(events: Option<&[Event]>, now: Timestamp, paint: Paint) -> String {
    let Some(events) = events else { return "Events:          not readable\n".to_owned() };
    if events.is_empty() {
        return "Events:          none (Kubernetes keeps them for an hour; `kubectl exeat audit show` reads the log)\n"
            .to_owned();
    }
    let mut text = "Events:\n".to_owned();
    for event in events {
        let age = event_time(event).map(|t| time::age(t, now)).unwrap_or_default();
        let reason = text::strip_hidden(event.reason.as_deref().unwrap_or_default());
        let note = text::strip_hidden(event.note.as_deref().unwrap_or_default());
        let tone = if event.type_.as_deref() == Some("Warning") { Tone::Warn } else { Tone::Plain };
        let _ = writeln!(text, "  {age:>6} ago  {}  {note}", paint.on(tone, &reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;

    #[test]
    fn everything_about_one_session_is_there() {
        let mut one = session("a", "Active");
        one.spec.request.justification = Some("nightly\u{202E} \u{1b}[31mreport".to_owned());
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let text = describe(&one, None, Some(&[]), now, Paint(false));
        for line in [
            "Phase: Active",
            "Pod: a-pod (podu)",
            "Workload: ReplicaSet/fleet-7d",
            "  s3:GetObject on arn:aws:s3:::r/*",
            "Expires: 2026-01-01T08:00:00Z (7h)",
            "Access ends by: 2026-01-01T00:30:00Z (ExpiryOnly)",
            "  presigned URLs can outlive the session",
            "  Decided=True Active for 59m",
        ] {
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(plain(&text).contains(&plain(line)), "{line}\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202E}'));
        assert!(describe(&one, None, None, now, Paint(false)).contains("not readable"));
    }
}
