//! What `watch` shows. Pure: objects in, lines out.

use super::trouble::Troubles;
use crate::approvals;
use crate::output::{Cell, Paint, Table, Tone, time};
use crate::sessions;
use exeat_crds::v1alpha1::{ApprovalPhase, Phase};
use exeat_crds::{Approval, CredentialSession, text};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Changes that are kept for the lower part of the view.
const KEPT: usize = 200;
/// Sessions that have ended are shown for this long.
const LINGER: SignedDuration = SignedDuration::from_secs(60);

type Key = (String, String);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it was seen.
    pub time: Timestamp,
    /// `session` or `approval`; `watch` where one of the watches itself is meant.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it is now.
    pub phase: String,
    /// Why.
    pub message: String,
}

impl Change {
    fn of_watch(watch: &'static str, phase: &str, message: String, time: Timestamp) -> Self {
        let (name, phase) = (watch.to_owned(), phase.to_owned());
        Self { time, kind: "watch", namespace: String::new(), name, phase, message }
    }

    /// As a line.
    pub fn line(&self) -> String {
        let time = exeat_crds::condition::whole_seconds(self.time);
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        let text = format!(
            "{time}  {:<8}  {}{slash}{}  {}  {}",
            self.kind, self.namespace, self.name, self.phase, self.message
        );
        text::strip_hidden(text.trim_end()) + "\n"
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub struct View {
    namespace: Option<String>,
    sessions: BTreeMap<Key, CredentialSession>,
    approvals: BTreeMap<Key, Approval>,
    ended: BTreeMap<Key, Timestamp>,
    told: BTreeMap<(&'static str, Key), String>,
    changes: VecDeque<Change>,
    troubles: Troubles,
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl View {
    /// An empty view of a namespace, or of all.
    pub fn new(namespace: Option<String>) -> Self {
        Self { namespace, ..Self::default() }
    }

    /// Takes a session in. A change of phase or reason is told.
    pub fn session(&mut self, session: CredentialSession, now: Timestamp) -> Option<Change> {
        let key = key(&session);
        let status = session.status.clone().unwrap_or_default();
        let phase = sessions::phase(&session);
        if phase.is_terminal() {
            self.ended.entry(key.clone()).or_insert(now);
        }
        self.sessions.insert(key.clone(), session);
        let reason = status.reason.unwrap_or_default();
        let message = format!(
            "{reason}{}",
            status.message.filter(|m| !m.is_empty()).map(|m| format!(": {m}")).unwrap_or_default()
        );
        self.changed("session", key, phase.as_str(), &reason, message, now)
    }

    /// Takes an approval in.
    pub fn approval(&mut self, approval: Approval, now: Timestamp) -> Option<Change> {
        let key = key(&approval);
        let phase = approvals::phase(&approval);
        let missing = approvals::missing(&approval, now).join(", ");
        let message = if phase == ApprovalPhase::Pending && !missing.is_empty() {
            format!("missing: {missing}")
        } else {
            String::new()
        };
        self.approvals.insert(key.clone(), approval);
        self.changed("approval", key, phase.as_str(), &missing, message, now)
    }

    /// A session is no more.
    pub fn session_gone(&mut self, session: &CredentialSession, now: Timestamp) -> Option<Change> {
        let key = key(session);
        self.sessions.remove(&key);
        self.ended.remove(&key);
        self.gone("session", key, now)
    }

    /// An approval is no more.
    pub fn approval_gone(&mut self, approval: &Approval, now: Timestamp) -> Option<Change> {
        let key = key(approval);
        self.approvals.remove(&key);
        self.gone("approval", key, now)
    }

    /// The watch begins anew with a list of all.
    pub fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    /// The same for approvals.
    pub fn forget_approvals(&mut self) {
        self.approvals.clear();
    }

    /// That list is whole: what it lacks went while nobody watched.
    pub fn listed_sessions(&mut self, now: Timestamp) -> Vec<Change> {
        self.ended.retain(|key, _| self.sessions.contains_key(key));
        let here: BTreeSet<Key> = self.sessions.keys().cloned().collect();
        self.missed("session", &here, now)
    }

    /// The same for approvals.
    pub fn listed_approvals(&mut self, now: Timestamp) -> Vec<Change> {
        let here: BTreeSet<Key> = self.approvals.keys().cloned().collect();
        self.missed("approval", &here, now)
    }

    fn missed(&mut self, kind: &'static str, here: &BTreeSet<Key>, now: Timestamp) -> Vec<Change> {
        let gone: Vec<Key> = self
            .told
            .keys()
            .filter(|(of, key)| *of == kind && !here.contains(key))
            .map(|(_, key)| key.clone())
            .collect();
        gone.into_iter().filter_map(|key| self.gone(kind, key, now)).collect()
    }

    /// What is gone is told once and forgotten.
    fn gone(&mut self, kind: &'static str, key: Key, now: Timestamp) -> Option<Change> {
        let change = self.changed(kind, key.clone(), "deleted", "", String::new(), now);
        self.told.remove(&(kind, key));
        change
    }

    /// A watch does not get through. Told once.
    pub fn troubled(&mut self, watch: &'static str, text: String, now: Timestamp) -> Option<Change> {
        self.troubles.met(watch, &text, now).then(|| Change::of_watch(watch, "interrupted", text, now))
    }

    /// A watch gets through. Told where it did not before.
    pub fn untroubled(&mut self, watch: &'static str, now: Timestamp) -> Option<Change> {
        self.troubles.over(watch).then(|| Change::of_watch(watch, "resumed", String::new(), now))
    }

    fn changed(
        &mut self,
        kind: &'static str,
        key: Key,
        phase: &str,
        detail: &str,
        message: String,
        now: Timestamp,
    ) -> Option<Change> {
        let state = format!("{phase} {detail}");
        if self.told.insert((kind, key.clone()), state.clone()) == Some(state) {
            return None;
        }
        let (namespace, name) = key;
        let change = Change { time: now, kind, namespace, name, phase: phase.to_owned(), message };
        self.changes.push_front(change.clone());
        self.changes.truncate(KEPT);
        Some(change)
    }

    /// The whole view in so many columns and lines.
    pub fn draw(&self, now: Timestamp, width: usize, height: usize, paint: Paint) -> Vec<String> {
        let mut lines = vec![self.heading(now), String::new()];
        let waiting: Vec<Approval> =
            self.approvals.values().filter(|a| approvals::phase(a) == ApprovalPhase::Pending).cloned().collect();
        let all = self.namespace.is_none();
        if !waiting.is_empty() {
            lines.push(paint.on(Tone::Bold, "Waiting for approval"));
            lines.extend(block(&approvals::list::table(&waiting, all, now), paint, height / 4));
            lines.push(String::new());
        }
        let room = height.saturating_sub(lines.len() + 10).max(3);
        lines.push(paint.on(Tone::Bold, "Sessions"));
        lines.extend(block(&self.open(all, now), paint, room));
        lines.push(String::new());
        lines.push(paint.on(Tone::Bold, "Lately"));
        lines.extend(self.changes.iter().map(|change| change.line().trim_end().to_owned()));
        lines.truncate(height.saturating_sub(1));
        lines.push("q: leave".to_owned());
        lines.into_iter().map(|line| fit(&line, width)).collect()
    }

    fn heading(&self, now: Timestamp) -> String {
        let count = |phase: Phase| self.sessions.values().filter(|s| sessions::phase(s) == phase).count();
        let place = self.namespace.as_ref().map_or_else(|| "all namespaces".to_owned(), |ns| format!("namespace {ns}"));
        let trouble: String = self.troubles.standing(now).map(|t| format!("  ! {}", text::strip_hidden(&t))).collect();
        format!(
            "Exeat, {place}, {}: {} active, {} awaiting approval, {} pending{trouble}",
            exeat_crds::condition::whole_seconds(now),
            count(Phase::Active),
            count(Phase::AwaitingApproval),
            count(Phase::Pending)
        )
    }

    /// What is open, and what has just ended; what waits comes first.
    fn open(&self, all: bool, now: Timestamp) -> Table {
        let rank = |s: &CredentialSession| match sessions::phase(s) {
            Phase::AwaitingApproval => 0,
            Phase::Pending => 1,
            Phase::Active => 3,
            _ => 2,
        };
        let shown = self.sessions.iter().filter(|(key, session)| {
            !sessions::phase(session).is_terminal()
                || self
                    .ended
                    .get(*key)
                    .is_some_and(|at| now.duration_since(*at) < LINGER && self.just_ended(session, now))
        });
        let mut shown: Vec<&CredentialSession> = shown.map(|(_, session)| session).collect();
        shown.sort_by_key(|session| (rank(session), session.namespace(), session.name_any()));
        let skip = usize::from(!all);
        let mut table = Table::new(&["NAMESPACE", "NAME", "POLICY", "POD", "PHASE", "REASON", "LEFT"][skip..], &[]);
        for session in shown {
            let status = session.status.clone().unwrap_or_default();
            let phase = sessions::phase(session);
            let cells = vec![
                session.namespace().unwrap_or_default().into(),
                session.name_any().into(),
                session.spec.request.policy_ref.name.as_str().into(),
                session.spec.request.agent.pod.name.as_str().into(),
                Cell::new(phase.as_str()).tone(sessions::tone(phase)),
                status.reason.unwrap_or_default().into(),
                if phase.is_terminal() { String::new() } else { time::until_text(status.expires_at.as_deref(), now) }
                    .into(),
            ];
            table.row(cells.into_iter().skip(skip).collect());
        }
        table
    }

    /// History that was there when the watch began is not shown.
    fn just_ended(&self, session: &CredentialSession, now: Timestamp) -> bool {
        let at = session.status.as_ref().and_then(|s| s.ended_at.as_ref()?.parse::<Timestamp>().ok());
        at.is_none_or(|at| now.duration_since(at) < LINGER)
    }
}

fn block(table: &Table, paint: Paint, most: usize) -> Vec<String> {
    let text = table.render(false, paint);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() > most.max(2) {
        let more = lines.len() - (most.max(2) - 1);
        lines.truncate(most.max(2) - 1);
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// Cuts at the right edge; colours take no room and are closed.
fn fit(line: &str, width: usize) -> String {
    let (mut text, mut room, mut escape, mut painted) = (String::new(), width, false, false);
    for c in line.chars() {
        match c {
            '\u{1b}' => (escape, painted) = (true, true),
            _ if escape => escape = c != 'm',
            _ if room == 0 => break,
            _ => room -= 1,
        }
        text.push(c);
    }
    if painted && room == 0 { text + "\u{1b}[0m" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::precheck::tests::approval;
    use crate::sessions::filter::tests::session;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_change_is_told_once() {
        let mut view = View::new(None);
        assert_eq!(
            view.session(session("a", "Pending"), now()).unwrap().line(),
            "2026-01-01T01:00:00Z  session   agents/a  Pending  Pending: until then\n"
        );
        assert!(view.session(session("a", "Pending"), now()).is_none());
        assert_eq!(view.session(session("a", "Active"), now()).unwrap().phase, "Active");
        assert_eq!(view.approval(approval(), now()).unwrap().message, "missing: 1 of security");
        assert_eq!(view.session_gone(&session("a", "Active"), now()).unwrap().phase, "deleted");
        // A list of all begins the watch anew: what is the same is no change.
        view.forget_sessions();
        assert!(view.approval(approval(), now()).is_none());
    }

    #[test]
    fn what_interrupts_a_watch_is_told_once_and_goes_when_it_resumes() {
        let mut view = View::new(None);
        let line = view.troubled("sessions", "no".into(), now()).unwrap().line();
        assert_eq!(line, "2026-01-01T01:00:00Z  watch     sessions  interrupted  no\n");
        assert!(view.troubled("approvals", "no".into(), now()).is_some());
        assert!(view.troubled("sessions", "no".into(), now()).is_none());
        let heading = |view: &View| view.draw(now(), 200, 30, Paint(false)).swap_remove(0);
        assert!(heading(&view).ends_with("! approvals: no  ! sessions: no"), "{}", heading(&view));
        assert_eq!(view.untroubled("sessions", now()).unwrap().phase, "resumed");
        assert!(view.untroubled("sessions", now()).is_none());
        assert!(heading(&view).ends_with("pending  ! approvals: no"), "{}", heading(&view));
    }

    #[test]
    fn the_view_fits_its_terminal_and_waits_come_first() {
        let mut view = View::new(Some("agents".into()));
        for i in 0..100 {
            view.session(session(&format!("agent-{i:03}"), "Active"), now());
        }
        view.session(session("zz-waits", "AwaitingApproval"), now());
        view.session(session("old", "Expired"), now());
        view.approval(approval(), now());
        let lines = view.draw(now(), 60, 30, Paint(true));
        assert!(lines.len() <= 30 && lines.last().unwrap() == "q: leave");
        let plain: Vec<String> = view.draw(now(), 60, 30, Paint(false));
        assert!(plain.iter().all(|line| line.chars().count() <= 60), "{plain:#?}");
        assert!(plain[0].starts_with("Exeat, namespace agents, 2026-01-01T01:00:00Z: 100 active"), "{}", plain[0]);
        let at = |word: &str| plain.iter().position(|line| line.contains(word)).unwrap();
        assert!(at("reports-1") < at("zz-waits") && at("zz-waits") < at("agent-000"), "{plain:#?}");
    }

    #[test]
    fn a_cut_line_ends_its_colour() {
        assert_eq!(fit("\u{1b}[31mabcdef\u{1b}[0m", 3), "\u{1b}[31mabc\u{1b}[0m");
        assert_eq!(fit("abc", 3), "abc");
    }
}
