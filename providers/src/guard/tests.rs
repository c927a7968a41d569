use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A stand-in with a script: the guard is what is tested here, and it needs failures on demand.
struct Scripted {
    calls: AtomicU32,
    answer: Mutex<Option<ProviderError>>,
}

impl Scripted {
    fn new(answer: Option<ProviderError>) -> Arc<Self> {
        Arc::new(Self { calls: AtomicU32::new(0), answer: Mutex::new(answer) })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer(&self) -> Result<(), ProviderError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        self.answer().await.map(|()| Identity::default())
    }

    async fn probe_grant(&self, _: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        self.answer().await.map(|()| GrantProbe::default())
    }

    async fn mint(&self, _: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        Err(ProviderError::lasting(Reason::NotImplemented, "not scripted"))
    }

    async fn revoke(&self, _: &SessionId, _: Option<&str>) -> Result<(), ProviderError> {
        self.answer().await
    }
}

fn unreachable() -> ProviderError {
    ProviderError::passing(Reason::ProviderUnreachable, "connection refused")
}

fn session() -> SessionId {
    let text = String::from("s");
    SessionId {
        name: text.clone(),
        uid: text.clone(),
        namespace: text.clone(),
        service_account: text.clone(),
        policy: text,
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_answered_without_calls_until_one_trial_gets_through() {
    let inner = Scripted::new(Some(unreachable()));
    let guarded = Guarded::new(inner.clone(), GuardSettings::default());
    for _ in 0..5 {
        assert_eq!(guarded.probe_identity().await, Err(unreachable()));
    }
    let refused = guarded.probe_identity().await.unwrap_err();
    assert_eq!(inner.calls(), 5);
    assert_eq!(refused.reason, Reason::ProviderUnreachable);
    assert!(refused.retryable && refused.message.contains("connection refused"), "{refused}");
    *inner.answer.lock().unwrap() = None;
    tokio::time::advance(refused.retry_after.unwrap()).await;
    assert!(guarded.probe_identity().await.is_ok());
    assert!(guarded.probe_identity().await.is_ok());
    assert_eq!(inner.calls(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_answer() {
    let refusal = ProviderError::lasting(Reason::AssumeRoleDenied, "no");
    let inner = Scripted::new(Some(refusal.clone()));
    let guarded = Guarded::new(inner.clone(), GuardSettings::default());
    for _ in 0..20 {
        assert_eq!(guarded.probe_identity().await, Err(refusal.clone()));
    }
    assert_eq!(inner.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn revocations_always_go_out() {
    let inner = Scripted::new(Some(unreachable()));
    let guarded = Guarded::new(inner.clone(), GuardSettings { burst: 1, ..GuardSettings::default() });
    for _ in 0..10 {
        assert_eq!(guarded.revoke(&session(), None).await, Err(unreachable()));
    }
    assert_eq!(inner.calls(), 10);
    assert!(guarded.probe_identity().await.is_err());
    assert_eq!(inner.calls(), 10, "their failures count");
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_the_bucket_holds_are_asked_to_wait() {
    let inner = Scripted::new(None);
    let guarded = Guarded::new(inner.clone(), GuardSettings { per_second: 2, burst: 3, ..GuardSettings::default() });
    for _ in 0..3 {
        assert!(guarded.probe_identity().await.is_ok());
    }
    let refused = guarded.probe_identity().await.unwrap_err();
    assert_eq!((refused.reason, refused.retryable), (Reason::ProviderThrottled, true));
    assert_eq!(inner.calls(), 3);
    tokio::time::advance(refused.retry_after.unwrap()).await;
    assert!(guarded.probe_identity().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_during_the_trial_does_not_block_the_next() {
    let inner = Scripted::new(Some(unreachable()));
    let guarded = Guarded::new(inner, GuardSettings::default());
    for _ in 0..5 {
        assert!(guarded.probe_identity().await.is_err());
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    let trial = guarded.admit().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(trial.pass, Pass::Trial);
    assert!(guarded.admit().is_err());
    drop(trial);
    assert!(guarded.admit().is_ok());
}
