//! One stream a sidecar: every change of its session in the moment that it is seen, and a heartbeat while what we see is fresh.

use super::authn::PodIdentity;
use super::mint::Desk;
use super::view;
use bytes::Bytes;
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::StreamMessage;
use futures::channel::mpsc;
use futures::{SinkExt, Stream};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep_until};

/// Well under the sidecar's patience of 25 s.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// A stream is closed after this long, up to half as much again, so that the sidecar proves itself anew and finds its way to young replicas.
const LIFE: Duration = Duration::from_secs(600);
/// Lines that wait for a slow reader.
const BUFFER: usize = 8;

/// The lines of one stream.
pub(super) fn lines(
    desk: Arc<Desk>,
    identity: PodIdentity,
    shutdown: Shutdown,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let (lines, out) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let _counted = desk.metrics.stream();
        // An error means that the sidecar has left.
        let _ = feed(&desk, &identity, &shutdown, lines).await;
    });
    out
}

async fn feed(
    desk: &Desk,
    identity: &PodIdentity,
    shutdown: &Shutdown,
    mut lines: mpsc::Sender<Result<Bytes, Infallible>>,
) -> Result<(), mpsc::SendError> {
    let mut changes = desk.view.listen(&identity.pod_uid);
    let mut heartbeat = interval(HEARTBEAT);
    let end = Instant::now() + LIFE + LIFE.mul_f64(rand::random::<f64>() / 2.0);
    let mut told: Option<StreamMessage> = None;
    loop {
        changes.mark_unchanged();
        let message = view::message(&desk.view.of_pod(&identity.pod_uid), desk.clock.now());
        if told.as_ref() != Some(&message) {
            lines.send(Ok(line(&message))).await?;
            told = Some(message);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            _ = heartbeat.tick() => if desk.view.is_fresh() {
                lines.send(Ok(line(&StreamMessage::Heartbeat))).await?;
            },
            () = sleep_until(end) => return Ok(()),
            () = shutdown.wait() => return Ok(()),
        }
    }
}

fn line(message: &StreamMessage) -> Bytes {
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}
