//! The root that all replicas share by a Secret, and what to do about what is found in it. Pure.
//!
//! A new root comes in three steps, each a write of the Secret: it is *prepared* beside the one in use, and published with it;
//! once the webhook configurations hold both it is *promoted*: certificates come from it; and after the overlap, when no
//! replica serves a certificate of the former one any more, that one is *dropped*. At no time is a certificate served
//! whose root the API server was not told.

use std::time::Duration;

use exeat_crds::names;
pub use exeat_runtime::ca::secret::{CERTIFICATE, FORMER, FORMER_UNTIL, KEY};
use exeat_runtime::ca::secret::{Filled, Former, HeldError, annotation, held_root, text};
use exeat_runtime::ca::{CaError, Request, Root, root_due};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

/// Key of the next root's certificate, from its preparation to its promotion.
pub const NEXT_CERTIFICATE: &str = "next.crt";
/// Key of the next root's private key.
pub const NEXT_KEY: &str = "next.key";
const COMMON_NAME: &str = "exeat webhook root";

/// What is in the Secret.
#[derive(Clone, Debug)]
pub struct State {
    /// The root to issue from.
    pub root: Root,
    next: Option<Root>,
    former: Option<Former>,
    handled: Option<String>,
}

/// What is to be done about the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// It is empty: the root that this replica issues from, so that no certificate loses its root, or a first one.
    Fill,
    /// Its root is for another name and of no use: a new one at once.
    Replace,
    /// The next root beside the one in use.
    Prepare,
    /// The next root in place of the one in use.
    Promote,
    /// The root alone.
    DropFormer,
}

/// Why the Secret can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// One of the two keys is missing, or they are damaged; a person put them there, or a person must look.
    #[error("{0}; empty {CERTIFICATE} and {KEY} of the Secret to have a new root made")]
    Unusable(String),
    /// No root can be made.
    #[error(transparent)]
    Make(#[from] CaError),
}

impl From<HeldError> for RootError {
    fn from(error: HeldError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl RootError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "RootUnusable",
            Self::Make(error) => error.code(),
        }
    }
}

/// What is asked of the Secret by its annotation.
pub fn asked(secret: &Secret) -> Option<&str> {
    annotation(secret, names::ROTATE)
}

/// Decides. `published` says that the webhook configurations have held the state's bundle for long enough for every API
/// server to know. One rotation at a time.
pub fn decide(found: Option<&State>, asked: Option<&str>, host: &str, published: bool, now: Timestamp) -> Action {
    let Some(state) = found else { return Action::Fill };
    if !state.root.permitted().iter().any(|name| name == host) {
        return Action::Replace;
    }
    let request = Request { asked, handled: state.handled.as_deref() };
    match (&state.next, &state.former) {
        (Some(_), _) if published => Action::Promote,
        (Some(_), _) => Action::Keep,
        (None, Some(former)) if now < former.until => Action::Keep,
        (None, Some(_)) => Action::DropFormer,
        (None, None) if root_due(state.root.validity(), request, now) => Action::Prepare,
        (None, None) => Action::Keep,
    }
}

impl State {
    /// Reads the Secret; nothing if it is empty, or holds a root that has expired.
    ///
    /// # Errors
    /// When the Secret holds what is neither empty nor a root.
    pub fn read(secret: &Secret, now: Timestamp) -> Result<Option<Self>, RootError> {
        let Some(root) = held_root(secret, now)? else { return Ok(None) };
        let next = match text(secret, NEXT_CERTIFICATE).zip(text(secret, NEXT_KEY)) {
            Some((certificate, key)) => match Root::from_pem(&certificate, &key.into(), now) {
                Ok(next) => Some(next),
                // A clock is wrong, perhaps ours: nothing is taken away from what is published.
                Err(error @ CaError::NotValid { .. }) => return Err(RootError::Unusable(error.to_string())),
                Err(_) => None,
            },
            None => None,
        };
        let handled = annotation(secret, names::ROTATED).map(str::to_owned);
        Ok(Some(Self { root, next, former: Former::held(secret), handled }))
    }

    /// A first root.
    ///
    /// # Errors
    /// When `host` is no DNS name.
    pub fn first(host: &str, asked: Option<&str>, now: Timestamp) -> Result<Self, RootError> {
        let root = Root::create(COMMON_NAME, &[host], now)?;
        Ok(Self { root, next: None, former: None, handled: asked.map(str::to_owned) })
    }

    /// What follows for the Secret. `mine` is the state that this replica knows already, for an emptied one.
    ///
    /// # Errors
    /// When a root can't be made.
    pub fn after(action: Action, found: Option<&Self>, known: &Known<'_>) -> Result<Self, RootError> {
        let Known { mine, asked, host, overlap, now } = *known;
        let former = |root: &Root| Some(Former::of(root, overlap, now));
        let first = || Self::first(host, asked, now);
        let Some(state) = found else {
            let usable = mine.filter(|mine| now <= mine.root.validity().not_after);
            return usable.map_or_else(first, |mine| Ok(mine.clone()));
        };
        Ok(match action {
            Action::Keep => state.clone(),
            Action::Fill | Action::Replace => Self { former: former(&state.root), ..first()? },
            Action::Prepare => Self {
                next: Some(Root::create(COMMON_NAME, &[host], now)?),
                handled: asked.map(str::to_owned),
                ..state.clone()
            },
            Action::Promote => Self {
                root: state.next.clone().unwrap_or_else(|| state.root.clone()),
                next: None,
                former: former(&state.root),
                handled: state.handled.clone(),
            },
            Action::DropFormer => Self { former: None, ..state.clone() },
        })
    }

    /// Whether a next root waits to be published.
    pub fn is_prepared(&self) -> bool {
        self.next.is_some()
    }

    /// What the API server is told to trust, newest first: a promotion changes nothing of it.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(Root::cert_pem);
        let former = self.former.as_ref().map(|former| former.certificate.as_str());
        let all = [next, Some(self.root.cert_pem()), former];
        all.iter().flatten().map(|pem| pem.trim().to_owned() + "\n").collect()
    }

    /// The Secret with this in it. It keeps its resourceVersion, so that of several replicas one is first.
    #[must_use]
    pub fn write(&self, secret: Secret) -> Secret {
        Filled::over(secret)
            .root(CERTIFICATE, KEY, Some(&self.root))
            .root(NEXT_CERTIFICATE, NEXT_KEY, self.next.as_ref())
            .former(self.former.as_ref())
            .annotation(names::ROTATED, self.handled.as_deref())
            .secret()
    }
}

/// What is known beside the Secret's own content.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What this replica has read before.
    pub mine: Option<&'a State>,
    /// The wish for a new root.
    pub asked: Option<&'a str>,
    /// The DNS name to vouch for.
    pub host: &'a str,
    /// How long a former root is trusted.
    pub overlap: Duration,
    /// The time.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests;
