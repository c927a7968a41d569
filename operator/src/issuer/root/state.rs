//! What Secret `exeat-issuer-root` holds, and what to do about it. Pure.

use exeat_crds::names;
use exeat_runtime::ca::secret::{self, Filled, Former, KEY, held_root};
pub(super) use exeat_runtime::ca::secret::{CERTIFICATE, HeldError};
use exeat_runtime::ca::{CaError, Cross, MAX_CROSSES, Request, Root, read_crosses, root_due};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use std::time::Duration;

/// By which who trusts an earlier root accepts the newest, newest first.
pub(super) const CROSSES: &str = "crosses.pem";
const COMMON_NAME: &str = "exeat issuer root";

/// A root, and what became of those before it.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Leaves are issued from it.
    pub(super) root: Root,
    /// Shown with each leaf.
    pub(super) crosses: Vec<Cross>,
    former: Option<Former>,
    handled: Option<String>,
}

/// What is to be done about the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Keep,
    /// It is empty: this replica's root, or the first one.
    Fill,
    /// The next root.
    Rotate,
    /// Every replica serves the newest root: the former is not published any more.
    DropFormer,
}

/// What is asked of the Secret by its annotation.
pub(super) fn asked(secret: &Secret) -> Option<&str> {
    secret::annotation(secret, names::ROTATE)
}

/// Decides. One rotation at a time: a wish for the next waits until the former root is dropped, so that no replica is
/// more than one root behind what is published.
pub(super) fn decide(found: Option<&State>, asked: Option<&str>, now: Timestamp) -> Action {
    let Some(state) = found else { return Action::Fill };
    let request = Request { asked, handled: state.handled.as_deref() };
    match &state.former {
        Some(former) if now < former.until => Action::Keep,
        Some(_) => Action::DropFormer,
        None if root_due(state.root.validity(), request, now) => Action::Rotate,
        None => Action::Keep,
    }
}

impl State {
    /// Reads the Secret; nothing if it holds neither certificate nor key, or a root that nobody can be served from any
    /// more. Crosses that are of no use at `now` are left out; a former root without a readable end is over.
    pub(super) fn read(secret: &Secret, now: Timestamp) -> Result<Option<Self>, HeldError> {
        let Some(root) = held_root(secret, now)? else { return Ok(None) };
        let crosses = read_crosses(&root, &secret::text(secret, CROSSES).unwrap_or_default(), now);
        let handled = secret::annotation(secret, names::ROTATED).map(str::to_owned);
        Ok(Some(Self { root, crosses, former: Former::held(secret), handled }))
    }

    /// The first root.
    pub(super) fn first(host: &str, asked: Option<&str>, now: Timestamp) -> Result<Self, CaError> {
        let root = Root::create(COMMON_NAME, &[host], now)?;
        Ok(Self { root, crosses: Vec::new(), former: None, handled: asked.map(str::to_owned) })
    }

    /// The next root, which this one vouches for. This one's key is in the result no more.
    pub(super) fn rotated(&self, asked: Option<&str>, overlap: Duration, now: Timestamp) -> Result<Self, CaError> {
        let (root, cross) = self.root.succeed(COMMON_NAME, now)?;
        let crosses = [cross].into_iter().chain(self.crosses.iter().cloned()).take(usize::from(MAX_CROSSES)).collect();
        let former = Some(Former::of(&self.root, overlap, now));
        Ok(Self { root, crosses, former, handled: asked.map(str::to_owned) })
    }

    /// The same without the former root.
    pub(super) fn settled(&self) -> Self {
        Self { former: None, ..self.clone() }
    }

    /// What new pods are told to trust: the root, and the former one while replicas may still serve leaves of it.
    pub(super) fn bundle(&self) -> String {
        let mut bundle = self.root.cert_pem().trim_end().to_owned() + "\n";
        if let Some(former) = &self.former {
            bundle += former.certificate.trim_end();
            bundle.push('\n');
        }
        bundle
    }

    /// Whether leaves of both look the same to clients.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        self.root.cert_pem() == other.root.cert_pem() && self.crosses == other.crosses
    }

    /// The Secret with this in it. Private keys of earlier roots are gone.
    pub(super) fn write(&self, secret: Secret) -> Secret {
        Filled::over(secret)
            .root(CERTIFICATE, KEY, Some(&self.root))
            .entry(CROSSES, Some(self.crosses.iter().map(Cross::cert_pem).collect()))
            .former(self.former.as_ref())
            .annotation(names::ROTATED, self.handled.as_deref())
            .secret()
    }
}
