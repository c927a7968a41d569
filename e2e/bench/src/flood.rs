//! A noisy tenant: calls at fixed rates, each on a connection of its own, with tokens that are forged and tokens that are good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use exeat_wire::{CREDENTIAL_PATH, STREAM_PATH};
use hyper::Method;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::Result;
use crate::client::{Issuers, Pod, Target, read_pods};

/// Calls of one kind that are under way at once; what is due beyond is left out and counted.
const UNDER_WAY: usize = 64;
/// How long a stream that opens is kept.
const KEPT: Duration = Duration::from_secs(1);

/// How much of what.
#[derive(Args, Debug)]
pub(crate) struct Flood {
    #[command(flatten)]
    target: Target,
    /// Seconds that it lasts.
    #[arg(long)]
    seconds: u64,
    /// Requests a second with forged tokens, each another one.
    #[arg(long, default_value_t = 0)]
    bad: u32,
    /// Requests a second with good tokens.
    #[arg(long, default_value_t = 0)]
    good: u32,
    /// Streams that are opened in a second.
    #[arg(long, default_value_t = 0)]
    streams: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    Bad,
    Good,
    Stream,
}

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Floods, and prints how often which answer came: one JSON object.
pub(crate) async fn run(flood: Flood) -> Result {
    let pods: Arc<[Pod]> = read_pods(&flood.target.pods)?.into();
    let issuers = Arc::new(Issuers::new(&flood.target)?);
    let length = Duration::from_secs(flood.seconds);
    let kinds =
        [("bad", Kind::Bad, flood.bad), ("good", Kind::Good, flood.good), ("streams", Kind::Stream, flood.streams)];
    let running = kinds.map(|(name, kind, rate)| {
        let counts = Counts::default();
        let work = pour(Arc::clone(&issuers), Arc::clone(&pods), kind, rate, Arc::clone(&counts));
        async move {
            if rate > 0 {
                // It has no end of its own.
                let _ = timeout(length, work).await;
            }
            let counts = counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (name, counts)
        }
    });
    let counted: BTreeMap<_, _> = futures::future::join_all(running).await.into_iter().collect();
    println!("{}", json!(counted));
    Ok(())
}

async fn pour(issuers: Arc<Issuers>, pods: Arc<[Pod]>, kind: Kind, rate: u32, counts: Counts) {
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0.. {
        tick.tick().await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            count(&counts, "left out");
            continue;
        };
        let pod: &Pod = &pods[n % pods.len()];
        let (issuers, pod, counts) = (Arc::clone(&issuers), pod.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let answer = call(&issuers, pod, kind).await;
            count(&counts, &answer.unwrap_or_else(|_| "no answer".to_owned()));
            drop(place);
        });
    }
}

async fn call(issuers: &Issuers, mut pod: Pod, kind: Kind) -> Result<String> {
    if let Kind::Bad = kind {
        pod.token = forged(&pod.token);
    }
    let (method, path) = match kind {
        Kind::Stream => (Method::GET, STREAM_PATH),
        Kind::Bad | Kind::Good => (Method::POST, CREDENTIAL_PATH),
    };
    let response = issuers.call(method, path, &pod).await?;
    let status = response.status().as_str().to_owned();
    if let Kind::Stream = kind {
        sleep(KEPT).await;
    }
    Ok(status)
}

/// The same claims under a signature that was made up.
fn forged(token: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    // The last digit has bits that must be zero.
    let length = signature.len().saturating_sub(1);
    let made_up: String = (0..length).map(|_| char::from(DIGITS[usize::from(rand::random::<u8>() & 63)])).collect();
    format!("{signed}.{made_up}A")
}

fn count(counts: &Counts, answer: &str) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(answer.to_owned()).or_default() += 1;
}
