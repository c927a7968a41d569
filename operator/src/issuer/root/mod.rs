//! Our own certificates: a root in a Secret of ours, its public half in a ConfigMap for the webhook to inject, and a short leaf in memory for
//! each replica. The Secret and the ConfigMap come empty with the chart; the replica whose write passes first makes the root.
//!
//! The root is replaced at two thirds of its life, or when a person asks for it. The former one vouches for the next by a cross, which
//! is shown with every leaf: a sidecar trusts for good what its pod was given, and a restarted one must find us however old it is.

mod state;

use exeat_crds::names;
use exeat_runtime::ca::{CaError, LEAF_VALIDITY, Leaf, look_interval};
use exeat_runtime::clock::Clock;
use exeat_runtime::tls::{CertResolver, CertificateError};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use state::{Action, CERTIFICATE, HeldError, State, asked, decide};
use std::sync::Arc;
use std::time::Duration;

/// How often Secret, leaf and ConfigMap are looked at, at the least.
const PERIOD: Duration = Duration::from_secs(60);
/// Tries of a write that others come before.
const TRIES: usize = 10;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The API server refused or did not answer.
    #[error("Secret or ConfigMap exeat-issuer-root can't be read or written: {0}")]
    Kube(#[from] kube::Error),
    /// What is in the Secret is no root of ours.
    #[error(
        "Secret exeat-issuer-root: {0}; empty its data: a running replica puts its root back, else a new one is made (running pods then need a restart)"
    )]
    State(#[from] HeldError),
    /// Others write the Secret all the time.
    #[error("Secret exeat-issuer-root: others write it at the same time")]
    Contended,
    /// No root or leaf can be made.
    #[error("{0}")]
    Ca(#[from] CaError),
    /// The leaf can't be used.
    #[error("{0}")]
    Leaf(#[from] CertificateError),
}

pub(super) struct Certificates {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) service: String,
    /// How long a former root stays published.
    pub(super) overlap: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) resolver: Arc<CertResolver>,
}

/// What this replica serves, and from what.
pub(super) struct Serving {
    state: State,
    leaf: Leaf,
}

impl Certificates {
    /// Name of the Service inside the cluster: the one name that the root may vouch for.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Makes or reads the root, publishes it, and sets a first leaf.
    pub(super) async fn start(&self) -> Result<Serving, RootError> {
        let state = self.look(None).await?;
        self.publish(&state).await?;
        let leaf = self.renew(&state)?;
        Ok(Serving { state, leaf })
    }

    /// Keeps root, leaf and ConfigMap as they should be, for good.
    pub(super) async fn keep(&self, mut serving: Serving) {
        loop {
            tokio::time::sleep(look_interval(self.overlap, PERIOD)).await;
            self.step(&mut serving).await;
        }
    }

    async fn step(&self, serving: &mut Serving) {
        let warn = |error| tracing::warn!(%error, "certificates could not be looked after; it is tried again");
        let mut outdated = serving.leaf.is_due(self.clock.now());
        match self.look(Some(&serving.state)).await {
            Ok(state) => {
                outdated |= !state.serves_as(&serving.state);
                serving.state = state;
            }
            // The leaf is renewed all the same.
            Err(error) => warn(error),
        }
        if outdated {
            match self.renew(&serving.state) {
                Ok(leaf) => serving.leaf = leaf,
                Err(error) => warn(error),
            }
        }
        if let Err(error) = self.publish(&serving.state).await {
            warn(error);
        }
    }

    fn renew(&self, state: &State) -> Result<Leaf, RootError> {
        let leaf = state.root.issue(&[self.host()], LEAF_VALIDITY, self.clock.now())?.with_crosses(&state.crosses);
        self.resolver.set(leaf.certified_key()?);
        tracing::info!(until = %leaf.validity.not_after, crosses = state.crosses.len(), "serving a new certificate");
        Ok(leaf)
    }

    /// The state that all replicas share, brought forward first where that is due. An emptied Secret gets `mine` back.
    async fn look(&self, mine: Option<&State>) -> Result<State, RootError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        for _ in 0..TRIES {
            let secret = api.get(names::ISSUER_ROOT_SECRET).await?;
            let now = self.clock.now();
            let found = State::read(&secret, now)?;
            let action = decide(found.as_ref(), asked(&secret), now);
            let next = match (action, found) {
                (Action::Keep, Some(state)) => return Ok(state),
                (Action::Rotate, Some(state)) => state.rotated(asked(&secret), self.overlap, now)?,
                (Action::DropFormer, Some(state)) => state.settled(),
                (_, _) => match mine.filter(|mine| now <= mine.root.validity().not_after) {
                    Some(state) => state.clone(),
                    None => State::first(&self.host(), asked(&secret), now)?,
                },
            };
            let name = secret.name_any();
            match api.replace(&name, &PostParams::default(), &next.write(secret)).await {
                Ok(_) => tracing::info!(?action, "root written"),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RootError::Contended)
    }

    async fn publish(&self, state: &State) -> Result<(), RootError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut map = api.get(names::ISSUER_ROOT_CONFIG_MAP).await?;
        let data = map.data.get_or_insert_default();
        let bundle = state.bundle();
        if data.get(CERTIFICATE) == Some(&bundle) {
            return Ok(());
        }
        data.insert(CERTIFICATE.to_owned(), bundle);
        match api.replace(&map.name_any(), &PostParams::default(), &map).await {
            Ok(_) => Ok(()),
            // Another replica wrote; it is looked at again soon, and either content serves new pods.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
