//! What Secret `exeat-issuer-root` holds, and what to do about it. Pure.

use exeat_crds::names;
use exeat_runtime::ca::{self, CaError, Cross, MAX_CROSSES, Request, Root, overlap_end, read_crosses, root_due};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// The newest root, in Secret and ConfigMap.
pub(super) const CERTIFICATE: &str = "ca.crt";
/// Its private key. Those of earlier roots are gone.
pub(super) const KEY: &str = "ca.key";
/// By which who trusts an earlier root accepts the newest, newest first.
pub(super) const CROSSES: &str = "crosses.pem";
/// The root before, while it is published beside the newest.
pub(super) const FORMER: &str = "former.crt";
/// Until when it is.
pub(super) const FORMER_UNTIL: &str = "former-until";
const COMMON_NAME: &str = "exeat issuer root";

/// Why the Secret can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub(in crate::issuer) enum StateError {
    /// One of the two that belong together.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No root of ours.
    #[error(transparent)]
    Ca(#[from] CaError),
}

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

#[derive(Clone, Debug, PartialEq, Eq)]
struct Former {
    certificate: String,
    until: Timestamp,
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
    annotation(secret, names::ROTATE)
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
    pub(super) fn read(secret: &Secret, now: Timestamp) -> Result<Option<Self>, StateError> {
        let (certificate, key) = match (text(secret, CERTIFICATE), text(secret, KEY)) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(StateError::Missing(CERTIFICATE)),
            (Some(_), None) => return Err(StateError::Missing(KEY)),
            (Some(certificate), Some(key)) => (certificate, SecretString::from(key)),
        };
        let root = match Root::from_pem(&certificate, &key, now) {
            Err(CaError::NotValid { not_after, .. }) if now > not_after => return Ok(None),
            read => read?,
        };
        let crosses = read_crosses(&root, &text(secret, CROSSES).unwrap_or_default(), now);
        let former = text(secret, FORMER).filter(|pem| ca::validity(pem).is_ok()).map(|certificate| {
            let until = text(secret, FORMER_UNTIL).and_then(|text| text.trim().parse().ok());
            Former { certificate, until: until.unwrap_or(Timestamp::MIN) }
        });
        let handled = annotation(secret, names::ROTATED).map(str::to_owned);
        Ok(Some(Self { root, crosses, former, handled }))
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
        let former = Former { certificate: self.root.cert_pem().to_owned(), until: overlap_end(now, overlap) };
        Ok(Self { root, crosses, former: Some(former), handled: asked.map(str::to_owned) })
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

    /// The Secret with this in it. It keeps its resourceVersion: of replicas that write at once one is first.
    pub(super) fn write(&self, mut secret: Secret) -> Secret {
        let data = secret.data.get_or_insert_default();
        let mut put = |key: &str, text: Option<String>| match text.filter(|text| !text.is_empty()) {
            Some(text) => drop(data.insert(key.to_owned(), ByteString(text.into_bytes()))),
            None => drop(data.remove(key)),
        };
        put(CERTIFICATE, Some(self.root.cert_pem().to_owned()));
        put(KEY, Some(self.root.key_pem().expose_secret().to_owned()));
        put(CROSSES, Some(self.crosses.iter().map(Cross::cert_pem).collect()));
        put(FORMER, self.former.as_ref().map(|former| former.certificate.clone()));
        put(FORMER_UNTIL, self.former.as_ref().map(|former| former.until.to_string()));
        if let Some(handled) = &self.handled {
            let annotations = secret.metadata.annotations.get_or_insert_default();
            annotations.insert(names::ROTATED.to_owned(), handled.clone());
        }
        secret
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.trim().is_empty())
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
