//! The stream from the issuer: one task that keeps it open and turns its lines into events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_runtime::backoff::Backoff;
use exeat_wire::StreamLine;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, sleep, timeout};

use crate::issuer::{CallError, Issuer};
use crate::lines::Lines;
use crate::listeners::Listeners;
use crate::machine::Event;
use crate::metrics::Metrics;

/// A stream without a word for this long is dead: two heartbeats were missed.
const SILENCE: Duration = Duration::from_secs(25);
/// A stream that stood this long was a good one: the next attempt starts from the shortest wait.
const GOOD: Duration = Duration::from_secs(10);
/// Waits between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
/// Longest wait that an issuer's Retry-After is followed for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Wait after a refusal that waiting can't help: the refusal may be undone all the same.
const REFUSED: Duration = Duration::from_secs(60);

/// Keeps the stream open until nobody takes its events.
pub async fn run(issuer: Arc<Issuer>, events: Listeners, metrics: Arc<Metrics>) {
    let mut attempt: u32 = 0;
    loop {
        let mut least = Duration::ZERO;
        match issuer.open_stream().await {
            Ok(body) => {
                metrics.stream_connected.set(1);
                let since = Instant::now();
                let why = read(body, &events).await;
                metrics.stream_connected.set(0);
                let Some(why) = why else { return };
                tracing::info!(why, seconds = since.elapsed().as_secs(), "the stream from the issuer ended");
                if since.elapsed() >= GOOD {
                    attempt = 0;
                }
            }
            Err(CallError::Refused(refusal)) => {
                tracing::info!(code = refusal.code, message = refusal.message, "the issuer refused the stream");
                let asked = Duration::from_secs(refusal.retry_after_seconds.unwrap_or(0)).min(MAX_RETRY_AFTER);
                least = if refusal.retryable { asked } else { REFUSED };
                if events.tell(None, Event::StreamRefused(refusal)).await.is_none() {
                    return;
                }
            }
            Err(CallError::Failed(cause)) => tracing::info!(cause, "no stream from the issuer"),
        }
        if events.is_closed() {
            return;
        }
        metrics.stream_reconnects.inc();
        sleep(BACKOFF.delay(attempt, rand::random()) + least).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Reads until the stream ends; the reason, or nothing where nobody listens any more.
async fn read<B>(mut body: B, events: &Listeners) -> Option<&'static str>
where
    B: Body<Data = Bytes> + Unpin,
{
    events.tell(None, Event::Connected).await?;
    let mut lines = Lines::default();
    loop {
        let frame = match timeout(SILENCE, body.frame()).await {
            Err(_) => return Some("silence"),
            Ok(None) => return Some("closed by the issuer"),
            Ok(Some(Err(_))) => return Some("connection lost"),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(bytes) = frame.data_ref() else { continue };
        let mut messages = Vec::new();
        let mut unreadable = false;
        let pushed = lines.push(bytes, |line| {
            if line.is_empty() {
                return;
            }
            match serde_json::from_slice::<StreamLine>(line) {
                Ok(message) => messages.push(message),
                Err(_) => unreadable = true,
            }
        });
        for StreamLine { policy, message } in messages {
            events.tell(policy.as_deref(), Event::Stream(message)).await?;
        }
        if unreadable || pushed.is_err() {
            return Some("a line that can't be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use exeat_wire::StreamMessage;
    use futures::StreamExt;
    use futures::stream::{self, once};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::sync::mpsc;

    use super::*;

    async fn read_all(chunks: &'static [&'static str], open: bool) -> (Option<&'static str>, Vec<Event>) {
        let frames =
            stream::iter(chunks).map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from_static(chunk.as_bytes()))));
        let rest = once(async move {
            if open {
                std::future::pending::<()>().await;
            }
            Ok(Frame::data(Bytes::new()))
        });
        let (events, mut received) = mpsc::channel(QUEUE);
        let why = read(StreamBody::new(Box::pin(frames.chain(rest))), &Listeners::one(events.clone())).await;
        drop(events);
        let mut seen = Vec::new();
        while let Some(event) = received.recv().await {
            seen.push(event);
        }
        (why, seen)
    }

    const QUEUE: usize = 16;

    #[tokio::test(start_paused = true)]
    async fn silence_for_two_heartbeats_ends_the_stream() {
        let start = Instant::now();
        let (why, events) = read_all(&["{\"type\":\"heart", "beat\"}\n\n"], true).await;
        assert_eq!(why, Some("silence"));
        assert_eq!(start.elapsed().as_secs(), 25);
        assert!(matches!(events[..], [Event::Connected, Event::Stream(StreamMessage::Heartbeat)]), "{events:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_side_may_close_and_what_came_before_counts() {
        let (why, events) =
            read_all(&["{\"type\":\"active\",\"session\":\"s\",\"digest\":\"d\"}\n{\"type\":\"later\"}\n"], false)
                .await;
        assert_eq!(why, Some("closed by the issuer"));
        let [Event::Connected, Event::Stream(StreamMessage::Active { .. }), Event::Stream(StreamMessage::Unknown)] =
            &events[..]
        else {
            panic!("{events:?}");
        };
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_read_ends_the_stream() {
        let (why, events) = read_all(&["{\"type\":\"heartbeat\"}\n<html>\n"], true).await;
        assert_eq!(why, Some("a line that can't be read"));
        assert_eq!(events.len(), 2);
    }
}
