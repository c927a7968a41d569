//! The issuer's own token at a provider: asked for once, kept in memory, and replaced before it ends.

use std::path::Path;
use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_wire::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::ProviderError;

/// No token is asked for sooner because the one before was refused.
const AGAIN: Duration = Duration::from_secs(2);
/// From one attempt to replace a token that is still held to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// A token as it was given.
pub(crate) struct Fetched {
    pub(crate) token: Secret,
    /// Who the issuer is with it, where that is known.
    pub(crate) identity: Option<String>,
    /// How long it is used before another is asked for.
    pub(crate) use_for: Duration,
}

impl Fetched {
    /// A token that lives so long: it is used for two thirds of that.
    pub(crate) fn ending(token: Secret, life: Duration) -> Self {
        Self { token, identity: None, use_for: life * 2 / 3 }
    }
}

/// The token that is held. Where there is none that is good, whoever needs one waits for the answer to who asked first.
pub(crate) struct OwnToken {
    /// The provider's name, for messages.
    at: &'static str,
    held: Mutex<Option<Held>>,
}

struct Held {
    fetched: Fetched,
    since: Instant,
    /// When another was asked for, that has not come.
    tried: Option<Instant>,
}

impl Held {
    fn new(fetched: Fetched) -> Self {
        Self { fetched, since: Instant::now(), tried: None }
    }

    fn is_used_on(&self) -> bool {
        self.since.elapsed() < self.fetched.use_for || self.tried.is_some_and(|tried| tried.elapsed() < PAUSE)
    }

    /// Whether the last third of its life is over, too.
    fn may_have_ended(&self) -> bool {
        self.since.elapsed() >= self.fetched.use_for * 3 / 2
    }

    fn token(&self) -> Secret {
        self.fetched.token.clone()
    }
}

impl OwnToken {
    pub(crate) fn new(at: &'static str) -> Self {
        Self { at, held: Mutex::new(None) }
    }

    /// The token; that of `fetch` where none is held or the one held is old. While another is asked for, nobody else waits for that as long
    /// as the old one is good; and where none is to be had for a cause that may pass, it is used on until the provider refuses it.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<Fetched, ProviderError>>,
    ) -> Result<Secret, ProviderError> {
        let mut held = self.held.lock().await;
        let Some(old) = held.as_mut() else {
            return Ok(held.insert(Held::new(fetch.await?)).token());
        };
        if old.is_used_on() {
            return Ok(old.token());
        }
        // Noted first: who asks may be cancelled before there is an answer.
        old.tried = Some(Instant::now());
        let before = old.token();
        let waited_for = old.may_have_ended().then_some(held);
        let fetched = fetch.await;
        let mut held = match waited_for {
            Some(held) => held,
            None => self.held.lock().await,
        };
        match fetched {
            Ok(fetched) => Ok(held.insert(Held::new(fetched)).token()),
            Err(error) if error.retryable => {
                tracing::warn!(%error, at = self.at, "the issuer can't renew its own token just now: going on with the one before");
                Ok(before)
            }
            Err(error) => {
                // It will not pass by itself: the next is told as well.
                if let Some(old) = held.as_mut() {
                    old.tried = None;
                }
                Err(error)
            }
        }
    }

    /// The provider refused this token. Whether there is another now.
    ///
    /// # Errors
    /// As for [`OwnToken::get`].
    pub(crate) async fn refused(
        &self,
        token: &Secret,
        fetch: impl Future<Output = Result<Fetched, ProviderError>>,
    ) -> Result<bool, ProviderError> {
        let mut held = self.held.lock().await;
        match held.as_ref() {
            Some(held) if held.fetched.token.expose() != token.expose() => return Ok(true),
            Some(held) if held.since.elapsed() < AGAIN => return Ok(false),
            _ => *held = None,
        }
        drop(held);
        self.get(fetch).await.map(|new| new.expose() != token.expose())
    }

    /// Who the issuer is, as far as that is known.
    pub(crate) async fn identity(&self) -> Option<String> {
        self.held.lock().await.as_ref().and_then(|held| held.fetched.identity.clone())
    }
}

/// The issuer's projected token for `whom`, which kubelet keeps fresh.
///
/// # Errors
/// `BaseIdentityInvalid` where it can't be read.
pub(crate) fn mounted(file: &Path, whom: &str) -> Result<Secret, ProviderError> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| {
        let path = file.display();
        let message = format!("the issuer's own token for {whom} can't be read ({path}): {error}; the chart mounts it");
        ProviderError::lasting(Reason::BaseIdentityInvalid, message)
    })?;
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const LIFE: Duration = Duration::from_secs(90);

    /// Gives out numbered tokens, and counts.
    #[derive(Default)]
    struct Source(AtomicU32);

    impl Source {
        async fn fetch(&self) -> Result<Fetched, ProviderError> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            Ok(Fetched { identity: Some("me".into()), ..Fetched::ending(Secret::new(n.to_string()), LIFE) })
        }
    }

    async fn fails(retryable: bool) -> Result<Fetched, ProviderError> {
        let error = ProviderError::lasting(Reason::ProviderUnreachable, "away");
        Err(ProviderError { retryable, ..error })
    }

    fn text(token: Result<Secret, ProviderError>) -> String {
        token.unwrap().expose().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn one_fetch_serves_all_until_two_thirds_of_the_tokens_life_are_over() {
        let (own, source) = (OwnToken::new("x"), Source::default());
        assert_eq!(own.identity().await, None);
        assert!(join_all((0..8).map(|_| own.get(source.fetch()))).await.into_iter().all(|token| text(token) == "0"));
        assert_eq!(own.identity().await.as_deref(), Some("me"));
        advance(LIFE * 2 / 3 - Duration::from_millis(1)).await;
        assert_eq!(text(own.get(source.fetch()).await), "0");
        advance(Duration::from_millis(1)).await;
        let told = join_all((0..8).map(|_| own.get(source.fetch()))).await;
        assert_eq!(
            told.into_iter().map(text).collect::<String>(),
            "10000000",
            "one asks, and the others go on meanwhile"
        );
        assert_eq!(text(own.get(source.fetch()).await), "1");
        advance(LIFE).await;
        let told = join_all((0..8).map(|_| own.get(source.fetch()))).await;
        assert!(told.into_iter().all(|token| text(token) == "2"), "of one that has ended nobody has any use");
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_answers_one_caller_waits_now_and_then_and_no_other() {
        let (own, source, asked) = (OwnToken::new("x"), Source::default(), AtomicU32::new(0));
        let hangs = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(6)).await;
            fails(true).await
        };
        own.get(source.fetch()).await.unwrap();
        advance(LIFE * 2 / 3).await;
        let get = || async {
            let since = Instant::now();
            (text(own.get(hangs()).await), since.elapsed().as_secs())
        };
        let mut told = join_all((0..8).map(|_| get())).await;
        told.sort();
        assert_eq!(told.iter().map(|(_, waited)| *waited).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 6]);
        assert!(told.iter().all(|(token, _)| token == "0"));
        assert_eq!(get().await, ("0".into(), 0), "no sooner than after the pause");
        advance(PAUSE).await;
        let gives_up = tokio::time::timeout(Duration::from_secs(1), own.get(hangs())).await;
        assert!(gives_up.is_err(), "it asked");
        assert_eq!(get().await, ("0".into(), 0), "one that was cancelled has asked, too");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        advance(PAUSE).await;
        assert_eq!(text(own.get(source.fetch()).await), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_token_is_used_on_while_a_failure_may_pass() {
        let (own, source) = (OwnToken::new("x"), Source::default());
        assert!(own.get(fails(true)).await.is_err());
        own.get(source.fetch()).await.unwrap();
        advance(LIFE * 2 / 3).await;
        assert_eq!(text(own.get(fails(true)).await), "0");
        advance(PAUSE).await;
        assert!(own.get(fails(false)).await.is_err());
        assert!(own.get(fails(false)).await.is_err(), "each is told what will not pass");
        assert_eq!(text(own.get(source.fetch()).await), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_and_not_at_once() {
        let (own, source) = (OwnToken::new("x"), Source::default());
        let token = own.get(source.fetch()).await.unwrap();
        assert!(!own.refused(&token, source.fetch()).await.unwrap(), "it is as new as can be");
        advance(AGAIN).await;
        let told = join_all((0..8).map(|_| own.refused(&token, source.fetch()))).await;
        assert!(told.into_iter().all(|another| another.unwrap()));
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
        let same = async { Ok(Fetched::ending(Secret::new("1"), LIFE)) };
        advance(AGAIN).await;
        assert!(!own.refused(&Secret::new("1"), same).await.unwrap());
        advance(AGAIN).await;
        assert!(own.refused(&Secret::new("1"), fails(true)).await.is_err(), "a refused token is not used on");
    }
}
