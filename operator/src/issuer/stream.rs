//! One stream a sidecar: every change of its session (of each of them, where it names several policies), and of the authority and the approval that it
//! rests on, in the moment that it is seen, and a heartbeat
//! while what we see is fresh.

use super::hold::{Caller, recorded};
use super::mint::Desk;
use super::streams::Place;
use super::view;
use bytes::Bytes;
use exeat_crds::v1alpha1::Holder;
use exeat_crds::{CredentialSession, pod_policies};
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::{StreamLine, StreamMessage};
use futures::{Stream, stream};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, interval, sleep_until};

/// Well under the sidecar's patience of 25 s.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// A stream that stands for this long is put on record, at the next heartbeat: before another replica, which has waited for the stream to come
/// back, would write that it is lost ([`super::streams::AWAY`]). Streams that are opened and left cost no writes.
const SETTLED: Duration = Duration::from_secs(5);
/// A stream is closed after this long, up to half as much again, so that the sidecar proves itself anew and finds its way to young replicas.
const LIFE: Duration = Duration::from_secs(600);
/// Lines that wait for a slow reader.
const BUFFER: usize = 8;

type Line = Result<Bytes, Infallible>;

/// The lines of one stream. `holder` is the record under which it was admitted, `place` its own among the pod's streams.
pub(super) fn lines(
    desk: Arc<Desk>,
    caller: Caller,
    holder: Option<Holder>,
    place: Place,
    shutdown: Shutdown,
) -> impl Stream<Item = Line> + Send + 'static {
    let (lines, mut out) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let counted = (desk.metrics.stream(), place.serving());
        let mut noted = false;
        // An error means that the sidecar has left.
        let _ = feed(&desk, &caller, holder, &mut noted, &shutdown, lines).await;
        drop(counted);
        // At our own end the sidecar goes to another replica, which takes its record over.
        if !shutdown.is_signalled() {
            desk.note_loss(&caller.pod.pod_uid, desk.clock.now(), noted).await;
        }
    });
    stream::poll_fn(move |cx| out.poll_recv(cx))
}

/// `noted` is set once the stream is to be on record.
async fn feed(
    desk: &Desk,
    caller: &Caller,
    mut holder: Option<Holder>,
    noted: &mut bool,
    shutdown: &Shutdown,
    lines: mpsc::Sender<Line>,
) -> Result<(), SendError<Line>> {
    let mut changes = desk.view.listen(&caller.pod.pod_uid);
    let mut heartbeat = interval(HEARTBEAT);
    let end = Instant::now() + LIFE + LIFE.mul_f64(rand::random::<f64>() / 2.0);
    let mut told: Vec<Told> = match &caller.policies[..] {
        [] => vec![Told::default()],
        named => named.iter().map(|name| Told { policy: Some(name.clone()), message: None }).collect(),
    };
    let (since, opened) = (desk.clock.now(), Instant::now());
    let mut new = true;
    loop {
        changes.mark_unchanged();
        let sessions = desk.view.of_pod(&caller.pod.pod_uid);
        if let Some(other) = taken_over(&sessions, caller, holder.as_ref()) {
            if !desk.stream_goes_on(caller).await {
                return Ok(());
            }
            holder = Some(other);
        }
        let now = desk.clock.now();
        for told in &mut told {
            let own = view::of_policy(sessions.clone(), told.policy.as_deref());
            let message = view::message(&own, |session| desk.view.stands(session, now), now);
            if told.message.as_ref() != Some(&message) {
                lines.send(Ok(line(told.policy.as_deref(), &message))).await?;
                told.message = Some(message);
            }
        }
        let used = view::in_use(&sessions, now);
        if opened.elapsed() >= SETTLED && !used.is_empty() {
            *noted = true;
            let mut all = true;
            for session in used {
                all &= desk.note_stream(session, since, new).await;
            }
            new &= !all;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            _ = heartbeat.tick() => if desk.view.is_fresh() {
                lines.send(Ok(line(None, &StreamMessage::Heartbeat))).await?;
            },
            // Its place is free at once, not at the next heartbeat.
            () = lines.closed() => return Ok(()),
            () = sleep_until(end) => return Ok(()),
            () = shutdown.wait() => return Ok(()),
        }
    }
}

/// The record that binds another key than the caller's, and is not the one that the stream was judged by.
fn taken_over(sessions: &[Arc<CredentialSession>], caller: &Caller, judged: Option<&Holder>) -> Option<Holder> {
    let first = sessions.iter().find(|s| pod_policies::is_anchor(&s.spec.request))?;
    recorded(first).filter(|r| r.key != caller.key && Some(*r) != judged).cloned()
}

/// What a sidecar was told last of one of its policies; of its only one, where none is named.
#[derive(Default)]
struct Told {
    policy: Option<String>,
    message: Option<StreamMessage>,
}

fn line(policy: Option<&str>, message: &StreamMessage) -> Bytes {
    let line = StreamLine { policy: policy.map(str::to_owned), message: message.clone() };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}
