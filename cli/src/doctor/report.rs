//! One check, and all of them as lines.

use crate::output::{Paint, Tone};
use exeat_crds::text::strip_hidden;
use serde::Serialize;
use std::fmt::Write;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// To be looked at, or not to be seen.
    Warn,
    /// Wrong.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// How it came out.
    pub level: Level,
    /// What was seen.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Ok, message: message.into(), fix: None }
    }

    /// To be looked at.
    pub fn warn(check: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Warn, message: message.into(), fix: Some(fix.into()) }
    }

    /// Wrong.
    pub fn fail(check: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, message, fix) }
    }

    /// It may not be seen by who asks.
    pub fn unseen(check: impl Into<String>, error: &kube::Error) -> Self {
        Self::warn(
            check,
            format!("it can't be read: {}", crate::error::api_message(error)),
            "ask somebody who may read it to run doctor",
        )
    }
}

/// All checks as lines.
pub fn render(checks: &[Check], paint: Paint) -> String {
    let width = checks.iter().map(|check| check.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, tone) = match check.level {
            Level::Ok => ("ok  ", Tone::Good),
            Level::Warn => ("warn", Tone::Warn),
            Level::Fail => ("FAIL", Tone::Bad),
        };
        let _ = writeln!(
            text,
            "{}  {:<width$}  {}",
            paint.on(tone, word),
            strip_hidden(&check.check),
            strip_hidden(&check.message)
        );
        if let Some(fix) = &check.fix {
            let _ = writeln!(text, "      {:<width$}  {} {}", "", paint.on(Tone::Bold, "fix:"), strip_hidden(fix));
        }
    }
    let count = |level: Level| checks.iter().filter(|check| check.level == level).count();
    let _ =
        writeln!(text, "\n{} ok, {} to look at, {} failed", count(Level::Ok), count(Level::Warn), count(Level::Fail));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_and_its_fix_the_next() {
        let checks = [Check::ok("clock", "agrees"), Check::fail("webhook", "gone", "install the chart")];
        let text = render(&checks, Paint(false));
        assert_eq!(
            text,
            "ok    clock    agrees\nFAIL  webhook  gone\n               fix: install the chart\n\n1 ok, 0 to look at, 1 failed\n"
        );
    }
}
