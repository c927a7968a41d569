//! A gate and its verdict.

use crate::output::{Paint, Tone};
use exeat_crds::reason::Refused;
use exeat_crds::text::strip_hidden;
use serde::Serialize;

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Pass.
    Ok,
    /// Pass, but look at it.
    Warn,
    /// No.
    Fail,
    /// It can't be told.
    Unknown,
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Of which policy, where the pod names several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which.
    pub gate: &'static str,
    /// What it says.
    pub verdict: Verdict,
    /// Stable reason code, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why.
    pub message: String,
    /// The smallest change that would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Gate {
    /// Passed.
    pub fn ok(gate: &'static str, message: impl Into<String>) -> Self {
        Self { policy: None, gate, verdict: Verdict::Ok, reason: None, message: message.into(), fix: None }
    }

    /// Closed.
    pub fn fail(gate: &'static str, reason: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        Self { policy: None, gate, verdict: Verdict::Fail, reason, message: message.into(), fix: Some(fix.into()) }
    }

    /// Passed, with something to look at.
    pub fn warn(gate: &'static str, reason: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::fail(gate, reason, message, fix) }
    }

    /// It can't be told.
    pub fn unknown(gate: &'static str, message: impl Into<String>) -> Self {
        Self { policy: None, gate, verdict: Verdict::Unknown, reason: None, message: message.into(), fix: None }
    }

    /// A refusal of the rules: it names the fix after its first semicolon.
    pub fn refused(gate: &'static str, refused: &Refused) -> Self {
        let (message, fix) = match refused.message.split_once("; ") {
            Some((message, fix)) => (message.to_owned(), Some(fix.to_owned())),
            None => (refused.message.clone(), None),
        };
        Self {
            policy: None,
            gate,
            verdict: Verdict::Fail,
            reason: Some(refused.reason.as_str().to_owned()),
            message,
            fix,
        }
    }
}

/// The gates as lines.
pub fn render(gates: &[Gate], paint: Paint) -> String {
    let mut text = String::new();
    let width = gates.iter().map(|gate| gate.gate.len()).max().unwrap_or(0);
    for gate in gates {
        let (word, tone) = match gate.verdict {
            Verdict::Ok => ("ok  ", Tone::Good),
            Verdict::Warn => ("warn", Tone::Warn),
            Verdict::Fail => ("FAIL", Tone::Bad),
            Verdict::Unknown => ("?   ", Tone::Dim),
        };
        let reason = gate.reason.as_ref().map(|reason| format!("{}: ", strip_hidden(reason))).unwrap_or_default();
        text += &format!("{}  {:<width$}  {reason}{}\n", paint.on(tone, word), gate.gate, strip_hidden(&gate.message));
        if let Some(fix) = &gate.fix {
            text += &format!("      {:<width$}  {} {}\n", "", paint.on(Tone::Bold, "fix:"), strip_hidden(fix));
        }
    }
    text + &summary(gates)
}

fn summary(gates: &[Gate]) -> String {
    let those = |verdict: Verdict| gates.iter().filter(move |gate| gate.verdict == verdict);
    let closed: Vec<&Gate> = those(Verdict::Fail).collect();
    let mut warned: Vec<&str> = those(Verdict::Warn).map(|gate| gate.gate).collect();
    warned.dedup();
    let seen = if those(Verdict::Unknown).next().is_some() { ", as far as can be seen" } else { "" };
    match closed[..] {
        [] if !warned.is_empty() => format!("\nNo gate is closed{seen}; look at: {}.\n", warned.join(", ")),
        [] if !seen.is_empty() => format!("\nNo gate is closed{seen}.\n"),
        [] => "\nEvery gate is open.\n".to_owned(),
        [one] => format!("\nOne gate is closed: {}.\n", one.gate),
        [first, ..] => format!("\n{} gates are closed; begin with {}.\n", closed.len(), first.gate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeat_crds::reason::Reason;

    #[test]
    fn a_line_says_what_and_the_next_one_what_to_do() {
        let refused = Refused::new(Reason::PodUnsuitable, "spec.hostPID: shared\u{1b}; remove it");
        let gates = [Gate::ok("policy", "there"), Gate::refused("pod", &refused)];
        let text = render(&gates, Paint(false));
        assert_eq!(
            text,
            "ok    policy  there\nFAIL  pod     PodUnsuitable: spec.hostPID: shared\n              fix: remove it\n\nOne gate is closed: pod.\n"
        );
    }
    #[test]
    fn all_is_called_open_only_where_it_is() {
        let (ok, unknown) = (Gate::ok("policy", "there"), Gate::unknown("clock", "forbidden"));
        let (warn, fail) = (Gate::warn("session", "SidecarSilent", "", ""), Gate::fail("use", "NeverUsed", "", ""));
        for (gates, says) in [
            (vec![&ok], "Every gate is open."),
            (vec![&ok, &unknown], "No gate is closed, as far as can be seen."),
            (vec![&ok, &warn], "No gate is closed; look at: session."),
            (vec![&ok, &warn, &unknown], "No gate is closed, as far as can be seen; look at: session."),
            (vec![&ok, &warn, &fail], "One gate is closed: use."),
            (vec![&fail, &fail], "2 gates are closed; begin with use."),
        ] {
            let gates: Vec<Gate> = gates.into_iter().cloned().collect();
            assert_eq!(summary(&gates).trim(), says);
        }
    }
}
