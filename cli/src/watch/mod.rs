//! `watch`: sessions and approvals as they change. On a terminal the whole view is drawn again; else each change is a line.

pub mod terminal;
pub mod trouble;
pub mod view;

use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit, api_message};
use crate::output::Out;
use exeat_crds::{Approval, CredentialSession};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io::IsTerminal;
use std::time::Duration;
use terminal::Screen;
use view::View;

/// How often the view is drawn again: often enough for the eye, seldom enough for a storm of changes.
const TICK: Duration = Duration::from_millis(500);

#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
enum Seen {
    Session(watcher::Event<CredentialSession>),
    Approval(watcher::Event<Approval>),
    Trouble(&'static str, String),
}

/// Names of the two watches.
const SESSIONS: &str = "sessions";
const APPROVALS: &str = "approvals";

/// `watch`.
///
/// # Errors
/// When either can't be read from the start: what is not shown would look as if it were not there. When output can't be written.
pub async fn run(cluster: &Cluster, out: &mut Out<'_>) -> Result<Exit, Error> {
    readable::<CredentialSession>(cluster, SESSIONS).await?;
    readable::<Approval>(cluster, APPROVALS).await?;
    let watched = cluster.for_watches()?;
    let sessions = follow(watched.api::<CredentialSession>(), SESSIONS, Seen::Session);
    let approvals = follow(watched.api::<Approval>(), APPROVALS, Seen::Approval);
    let mut seen = futures::stream::select(sessions, approvals);
    let mut view = View::new(cluster.scope().map(str::to_owned));
    let interactive = std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !out.is_data();
    if !interactive {
        return lines(&mut seen, &mut view, out).await;
    }
    let mut screen = Screen::open()?;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            Some(event) = seen.next() => drop(take(&mut view, event)),
            _ = tick.tick() => {
                let (width, height) = Screen::size();
                screen.draw(&view.draw(clock::now(), width, height, out.paint), out.to)?;
            }
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
            () = screen.quit() => return Ok(Exit::Done),
        }
    }
}

async fn lines(
    seen: &mut (impl Stream<Item = Seen> + Unpin),
    view: &mut View,
    out: &mut Out<'_>,
) -> Result<Exit, Error> {
    loop {
        tokio::select! {
            Some(event) = seen.next() => {
                for change in take(view, event) {
                    if out.is_data() { out.document(&change)?; } else { out.text(&change.line())?; }
                    out.to.flush()?;
                }
            }
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}

/// Asks once, with the patience of all commands: the watches themselves try for ever.
async fn readable<K>(cluster: &Cluster, watch: &str) -> Result<(), Error>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let first = cluster.api::<K>().list(&ListParams::default().limit(1)).await;
    first.map(drop).map_err(Error::api(format!("{watch} can't be watched")))
}

fn follow<K>(api: Api<K>, watch: &'static str, wrap: fn(watcher::Event<K>) -> Seen) -> impl Stream<Item = Seen> + Unpin
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff();
    Box::pin(events.map(move |event| match event {
        Ok(event) => wrap(event),
        Err(error) => Seen::Trouble(watch, trouble(&error)),
    }))
}

fn trouble(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => api_message(error),
        other => other.to_string(),
    }
}

fn take(view: &mut View, event: Seen) -> Vec<view::Change> {
    let now = clock::now();
    let resumed = gets_through(&event).and_then(|watch| view.untroubled(watch, now));
    let changes = match event {
        Seen::Session(watcher::Event::InitDone) => view.listed_sessions(now),
        Seen::Approval(watcher::Event::InitDone) => view.listed_approvals(now),
        event => one(view, event, now).into_iter().collect(),
    };
    resumed.into_iter().chain(changes).collect()
}

fn one(view: &mut View, event: Seen, now: Timestamp) -> Option<view::Change> {
    match event {
        Seen::Session(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => view.session(object, now),
        Seen::Session(watcher::Event::Delete(object)) => view.session_gone(&object, now),
        Seen::Approval(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => view.approval(object, now),
        Seen::Approval(watcher::Event::Delete(object)) => view.approval_gone(&object, now),
        Seen::Session(watcher::Event::Init) => {
            view.forget_sessions();
            None
        }
        Seen::Approval(watcher::Event::Init) => {
            view.forget_approvals();
            None
        }
        Seen::Session(watcher::Event::InitDone) | Seen::Approval(watcher::Event::InitDone) => None,
        Seen::Trouble(watch, text) => view.troubled(watch, text, now),
    }
}

/// The watch that an event shows to work: each but the first of a new list, which comes before anything was asked.
fn gets_through(event: &Seen) -> Option<&'static str> {
    match event {
        Seen::Trouble(..) | Seen::Session(watcher::Event::Init) | Seen::Approval(watcher::Event::Init) => None,
        Seen::Session(_) => Some(SESSIONS),
        Seen::Approval(_) => Some(APPROVALS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;

    #[test]
    fn a_watch_that_goes_on_without_a_new_list_is_no_longer_in_trouble() {
        let mut view = View::new(None);
        let told = |view: &mut View, event| -> Vec<String> {
            take(view, event).into_iter().map(|change| format!("{} {}", change.name, change.phase)).collect()
        };
        for news in [1, 0, 0] {
            let lines =
                [SESSIONS, APPROVALS].map(|watch| told(&mut view, Seen::Trouble(watch, "refused".into())).len());
            assert_eq!(lines, [news; 2]);
        }
        assert!(told(&mut view, Seen::Session(watcher::Event::Init)).is_empty(), "nothing was asked yet");
        let seen = Seen::Session(watcher::Event::Apply(session("a", "Active")));
        assert_eq!(told(&mut view, seen), ["sessions resumed", "a Active"]);
        assert_eq!(told(&mut view, Seen::Approval(watcher::Event::InitDone)), ["approvals resumed"]);
        assert!(told(&mut view, Seen::Approval(watcher::Event::InitDone)).is_empty());
        assert_eq!(told(&mut view, Seen::Trouble(SESSIONS, "refused".into())).len(), 1);
    }

    #[test]
    fn what_went_while_nobody_watched_is_told_by_the_next_list() {
        let mut view = View::new(None);
        let mut told = |event| -> Vec<String> {
            let changes = take(&mut view, Seen::Session(event));
            changes.into_iter().map(|change| format!("{} {}", change.name, change.phase)).collect()
        };
        let list = |names: &[&str]| -> Vec<watcher::Event<CredentialSession>> {
            let each = names.iter().map(|name| watcher::Event::InitApply(session(name, "Active")));
            [watcher::Event::Init].into_iter().chain(each).chain([watcher::Event::InitDone]).collect()
        };
        assert_eq!(list(&["a", "b"]).into_iter().flat_map(&mut told).collect::<Vec<_>>(), ["a Active", "b Active"]);
        assert_eq!(list(&["b"]).into_iter().flat_map(&mut told).collect::<Vec<_>>(), ["a deleted"]);
        assert_eq!(told(watcher::Event::Delete(session("b", "Active"))), ["b deleted"]);
        assert!(list(&[]).into_iter().flat_map(&mut told).next().is_none(), "once");
        assert_eq!(told(watcher::Event::Apply(session("a", "Active"))), ["a Active"], "it is there again");
    }
}
