//! Many sidecars in one program: each keeps its stream, fetches when the stream says that its session may be used, and drops what it holds
//! when the stream says so. What happens to each, and when, is written down as a JSON object a line.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use exeat_runtime::backoff::Backoff;
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_wire::{CREDENTIAL_PATH, CredentialResponse, STREAM_PATH, StreamMessage};
use futures::future::{BoxFuture, Fuse, FusedFuture, FutureExt, join_all};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::Result;
use crate::client::{Issuers, Pod, Refused, Target, read_pods, refused};

/// As a sidecar: two heartbeats were missed.
const SILENCE: Duration = Duration::from_secs(25);
/// As a sidecar: waits between attempts, beyond what an issuer asks for.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
/// Sidecars start this far apart: a thousand in half a minute. On one small machine their handshakes would else time each other out.
const SPACING: Duration = Duration::from_millis(30);
/// A pause that no run is long enough for.
const NEVER: Duration = Duration::from_secs(86_400);

/// Who, and what they do beyond holding a credential.
#[derive(Args, Debug)]
pub(crate) struct Play {
    #[command(flatten)]
    target: Target,
    /// Where events are written.
    #[arg(long)]
    events: PathBuf,
    /// Each sidecar asks again after so many seconds, whatever it holds; 0: it does not.
    #[arg(long, default_value_t = 0)]
    every: u64,
}

/// What all of them share.
struct Stage {
    issuers: Issuers,
    events: Mutex<File>,
    every: Option<Duration>,
}

type Outcome = (Result<std::result::Result<CredentialResponse, Refused>>, f64);

/// Plays until it is ended.
pub(crate) async fn play(play: Play) -> Result {
    let pods = read_pods(&play.target.pods)?;
    let stage = Arc::new(Stage {
        issuers: Issuers::new(&play.target)?,
        events: Mutex::new(create(&play.events)?),
        every: (play.every > 0).then(|| Duration::from_secs(play.every)),
    });
    let all = pods.into_iter().zip(0..).map(|(pod, n)| {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            sleep(SPACING * n).await;
            Sidecar { stage, pod, held: None, fetching: Fuse::terminated(), failures: 0 }.live().await;
        })
    });
    join_all(all).await;
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    Ok(File::options().create(true).append(true).open(path)?)
}

struct Sidecar {
    stage: Arc<Stage>,
    pod: Pod,
    /// The session that is served.
    held: Option<String>,
    fetching: Fuse<BoxFuture<'static, Outcome>>,
    failures: u32,
}

impl Sidecar {
    async fn live(mut self) {
        let mut attempt = 0;
        loop {
            let asked = match self.stage.issuers.call(Method::GET, STREAM_PATH, &self.pod).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    attempt = 0;
                    self.note("opened", json!({}));
                    self.read(response.into_body()).await;
                    Duration::ZERO
                }
                Ok(response) => {
                    let refused = refused(response).await;
                    self.refused("no stream", &refused)
                }
                Err(error) => self.failed("no stream", &error.to_string()),
            };
            sleep(asked + BACKOFF.delay(attempt, rand::random())).await;
            attempt = attempt.saturating_add(1);
        }
    }

    async fn read(&mut self, mut body: Incoming) {
        let every = self.stage.every.unwrap_or(NEVER);
        let first = Instant::now() + every.mul_f64(rand::random());
        let mut tick = interval_at(first, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut line = Vec::new();
        loop {
            tokio::select! {
                frame = timeout(SILENCE, body.frame()) => {
                    let Ok(Some(Ok(frame))) = frame else { return };
                    for byte in frame.data_ref().into_iter().flatten() {
                        if *byte == b'\n' { self.told(&std::mem::take(&mut line)); } else { line.push(*byte); }
                    }
                }
                outcome = &mut self.fetching, if !self.fetching.is_terminated() => self.fetched(outcome),
                _ = tick.tick() => if self.held.is_some() && self.fetching.is_terminated() { self.fetch(Duration::ZERO); },
            }
        }
    }

    fn told(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(StreamMessage::Active { session, .. }) if self.held.as_ref() != Some(&session) => {
                self.fetch(Duration::ZERO);
            }
            Ok(StreamMessage::Waiting(refusal) | StreamMessage::Stopped(refusal)) => {
                self.fetching = Fuse::terminated();
                // From here on no agent gets anything.
                if let Some(session) = self.held.take() {
                    self.note("stopped", json!({"session": session, "code": refusal.code}));
                }
            }
            _ => {}
        }
    }

    fn fetch(&mut self, wait: Duration) {
        let (stage, pod) = (Arc::clone(&self.stage), self.pod.clone());
        let call = async move {
            sleep(wait).await;
            let began = Instant::now();
            let answer = async {
                Ok(match stage.issuers.ask(Method::POST, CREDENTIAL_PATH, &pod).await? {
                    Ok(body) => Ok(serde_json::from_slice(&body)?),
                    Err(refused) => Err(refused),
                })
            }
            .await;
            (answer, began.elapsed().as_secs_f64() * 1000.0)
        };
        self.fetching = call.boxed().fuse();
    }

    fn fetched(&mut self, (answer, ms): Outcome) {
        match answer {
            Ok(Ok(response)) => {
                let new = self.held.as_ref() != Some(&response.session);
                self.note(if new { "held" } else { "renewed" }, json!({"session": response.session, "ms": ms}));
                self.held = Some(response.session);
                self.failures = 0;
            }
            Ok(Err(refused)) => {
                let wait = self.refused("no credential", &refused);
                self.again(wait);
            }
            Err(error) => {
                let wait = self.failed("no credential", &error.to_string());
                self.again(wait);
            }
        }
    }

    /// Who holds something waits for its next turn.
    fn again(&mut self, asked: Duration) {
        if self.held.is_none() {
            self.fetch(asked + BACKOFF.delay(self.failures, rand::random()));
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn refused(&self, what: &str, refused: &Refused) -> Duration {
        let refusal = refused.refusal.as_ref();
        let code = refusal.map_or_else(|| refused.status.to_string(), |r| r.code.clone());
        self.note(what, json!({"code": code}));
        refusal.and_then(|r| r.retry_after_seconds).map_or(Duration::ZERO, Duration::from_secs)
    }

    fn failed(&self, what: &str, error: &str) -> Duration {
        self.note(what, json!({"code": error}));
        Duration::ZERO
    }

    fn note(&self, what: &str, mut event: Value) {
        let now = SystemClock.now();
        #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit")]
        let at = now.as_microsecond() as f64 / 1e6;
        event["pod"] = json!(self.pod.name);
        event["event"] = json!(what);
        event["at"] = json!(at);
        let mut events = self.stage.events.lock().unwrap_or_else(PoisonError::into_inner);
        // A run whose events can't be written is seen to have none.
        let _ = writeln!(events, "{event}");
    }
}
