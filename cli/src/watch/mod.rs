//! `watch`: sessions and approvals as they change. On a terminal the whole view is drawn again; else each change is a line.

pub mod terminal;
pub mod view;

use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit, api_message};
use crate::output::Out;
use exeat_crds::{Approval, CredentialSession};
use futures::{Stream, StreamExt};
use kube::Api;
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
    Trouble(String),
}

/// `watch`.
///
/// # Errors
/// When output can't be written.
pub async fn run(cluster: &Cluster, out: &mut Out<'_>) -> Result<Exit, Error> {
    let sessions = follow(cluster.api::<CredentialSession>(), Seen::Session);
    let approvals = follow(cluster.api::<Approval>(), Seen::Approval);
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
                    if out.is_data() { out.data(&change)?; } else { out.text(&change.line())?; }
                    out.to.flush()?;
                }
            }
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}

fn follow<K>(api: Api<K>, wrap: fn(watcher::Event<K>) -> Seen) -> impl Stream<Item = Seen> + Unpin
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    Box::pin(events.map(move |event| match event {
        Ok(event) => wrap(event),
        Err(error) => Seen::Trouble(format!("{kind}: {}", trouble(&error))),
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
    let change = match event {
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
        Seen::Session(watcher::Event::InitDone) | Seen::Approval(watcher::Event::InitDone) => {
            view.trouble = None;
            None
        }
        Seen::Trouble(text) => view.troubled(text, now),
    };
    change.into_iter().collect()
}
