//! Grants at a Kubernetes API server. A session gets a service account of its own in a namespace of ours, a Role and RoleBinding
//! in each namespace of its grant, and tokens bound to an empty Secret: once that Secret is deleted the API server refuses them
//! within seconds.
//!
//! The API server itself holds the issuer to a ceiling: nobody can put more into a Role than he holds in that namespace.

mod error;
mod made;
mod objects;
mod probe;
mod rules;
mod store;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Grant;
use exeat_crds::rules::names::kubernetes_principal;
use exeat_crds::v1alpha1::KubernetesProvider;
use exeat_wire::{Credential, KubernetesCredential};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::Client;
use serde_json::json;

use crate::{Context, GrantProbe, Identity, Made, MintRequest, Minted, Provider, ProviderError, SessionId};
use store::Store;

pub use rules::{MAX_NAMESPACES, rules_of};

/// Longest time for one mint, probe or revocation.
const DEADLINE: Duration = Duration::from_secs(15);

/// The provider.
pub struct Kubernetes {
    client: Client,
    grants_namespace: String,
    server: String,
    certificate_authority: String,
}

type Rules = BTreeMap<String, Vec<PolicyRule>>;

impl Kubernetes {
    /// The provider of the cluster that Exeat runs on.
    pub fn new(spec: &KubernetesProvider, context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            grants_namespace: context.grants_namespace.clone(),
            server: spec.server.clone().unwrap_or_else(|| context.cluster_server.clone()),
            certificate_authority: context.cluster_ca_pem.clone().unwrap_or_default(),
        }
    }

    fn store<'a>(&'a self, session: &'a SessionId, namespace: &'a str) -> Store<'a> {
        Store { client: &self.client, session, namespace, ours: namespace == self.grants_namespace }
    }

    fn rules(&self, grant: &Grant) -> Result<Rules, ProviderError> {
        let wanted = kubernetes_principal(&self.grants_namespace);
        if grant.principal != wanted {
            let message =
                format!("spec.principal: {:?} is not an account of this installation; write {wanted}", grant.principal);
            return Err(ProviderError::lasting(Reason::PrincipalInvalid, message));
        }
        let rules = rules_of(grant)?;
        if rules.contains_key(&self.grants_namespace) {
            let message = format!(
                "spec.allow: rights in namespace {} would reach the accounts of other sessions; name another namespace",
                self.grants_namespace
            );
            return Err(ProviderError::lasting(Reason::ResourceInvalid, message));
        }
        Ok(rules)
    }

    async fn mint_now(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        let session = request.session;
        let rules = self.rules(request.grant)?;
        let home = self.store(session, &self.grants_namespace);
        let secret = match self.prepare(session, &rules).await {
            // Nobody revokes what was never handed out; what is refused for good leaves nothing behind.
            Err(error) if !error.retryable => {
                if let Err(left) = self.revoke_now(session, None).await {
                    tracing::warn!(session = session.name, error = %left, "what a refused mint has made could not be removed");
                }
                return Err(error);
            }
            prepared => prepared?,
        };
        let token = token::request(&home, &secret, request.ttl).await?;
        let latest = request.now.saturating_add(request.ttl).unwrap_or(token.expires_at);
        Ok(Minted {
            credential: Credential::Kubernetes(KubernetesCredential {
                server: self.server.clone(),
                certificate_authority: self.certificate_authority.clone(),
                namespace: session.namespace.clone(),
                token: token.value,
            }),
            credential_id: token.id,
            expires_at: token.expires_at.min(latest),
            handle: Some(objects::handle(session, &self.grants_namespace, rules.keys().map(String::as_str))),
            further: false,
            serve_until: None,
            packed_policy_percent: None,
        })
    }

    /// Makes all that the session needs, or finds it as it was left by an earlier mint.
    async fn prepare(&self, session: &SessionId, rules: &Rules) -> Result<Secret, ProviderError> {
        let home = self.store(session, &self.grants_namespace);
        let account: Option<ServiceAccount> = home.find(&session.name).await?;
        let known = account.is_some();
        let earlier: BTreeSet<String> = account.as_ref().map(objects::targets_of).into_iter().flatten().collect();
        let all: BTreeSet<&str> = earlier.iter().map(String::as_str).chain(rules.keys().map(String::as_str)).collect();
        let wanted = objects::account(session, &self.grants_namespace, all.iter().copied());
        let annotations = &wanted.metadata.annotations;
        if !known || earlier.len() < all.len() {
            home.ensure(&wanted, known, |found: &ServiceAccount| {
                let named: BTreeSet<String> = objects::targets_of(found).into_iter().collect();
                let complete = all.iter().all(|namespace| named.contains(*namespace));
                (!complete).then(|| json!({"metadata": {"annotations": annotations}}))
            })
            .await?;
        }
        let wanted = objects::binding_secret(session, &self.grants_namespace);
        let (secret, ..) = futures::try_join!(
            home.ensure(&wanted, known, |_: &Secret| None),
            try_join_all(rules.iter().map(|(namespace, rules)| self.give(session, namespace, rules, known))),
            try_join_all(earlier.iter().filter(|n| !rules.contains_key(*n)).map(|n| self.take(session, n))),
        )?;
        Ok(secret)
    }

    async fn give(
        &self,
        session: &SessionId,
        namespace: &str,
        rules: &[PolicyRule],
        known: bool,
    ) -> Result<(), ProviderError> {
        let store = self.store(session, namespace);
        let role = objects::role(session, namespace, rules);
        let found = store
            .ensure(&role, known, |found: &Role| (found.rules != role.rules).then(|| json!({"rules": role.rules})))
            .await?;
        let binding = objects::role_binding(session, namespace, &self.grants_namespace);
        let bound = store
            .ensure(&binding, known, |found: &RoleBinding| {
                let same = found.role_ref == binding.role_ref && found.subjects == binding.subjects;
                (!same).then(|| json!({"roleRef": binding.role_ref, "subjects": binding.subjects}))
            })
            .await?;
        tracing::debug!(namespace, role = ?found.metadata.uid, binding = ?bound.metadata.uid, "rights of the session are there");
        if known {
            return Ok(());
        }
        token::settled(&self.client, session, &self.grants_namespace, namespace, rules).await
    }

    async fn take(&self, session: &SessionId, namespace: &str) -> Result<(), ProviderError> {
        let store = self.store(session, namespace);
        let name = objects::role_name(session);
        store.remove::<RoleBinding>(&name).await?;
        store.remove::<Role>(&name).await
    }

    /// The tokens are bound to the Secret.
    async fn end_tokens(&self, session: &SessionId) -> Result<(), ProviderError> {
        self.store(session, &self.grants_namespace).remove::<Secret>(&session.name).await
    }

    async fn revoke_now(&self, session: &SessionId, handle: Option<&str>) -> Result<(), ProviderError> {
        let home = self.store(session, &self.grants_namespace);
        // First of all the tokens end; whatever else fails is tidied up by the next try.
        self.end_tokens(session).await?;
        let account: Option<ServiceAccount> = home.find(&session.name).await?;
        let mut targets: BTreeSet<String> = handle.map(objects::targets_of_handle).into_iter().flatten().collect();
        targets.extend(account.as_ref().map(objects::targets_of).into_iter().flatten());
        let taken = join_all(targets.iter().map(|namespace| self.take(session, namespace))).await;
        // A namespace that is being deleted may have lost the issuer's own RoleBinding already. What the issuer may not remove
        // there is of no use to anybody once the account is gone.
        for left in taken.into_iter().filter_map(Result::err) {
            if left.reason != Reason::IssuerForbidden {
                return Err(left);
            }
            tracing::warn!(error = %left, session = %session.name, "rights of a session that is over are left behind; its account is removed");
        }
        // The account goes last: it is what names the namespaces.
        home.remove::<ServiceAccount>(&session.name).await
    }

    async fn probe_identity_now(&self) -> Result<Identity, ProviderError> {
        let identity = probe::who(&self.client, &self.grants_namespace).await?;
        probe::check(&self.client, &identity, &self.grants_namespace, &probe::IN_GRANTS, true).await?;
        let nobody = SessionId {
            name: "exeat-probe".to_owned(),
            uid: String::new(),
            namespace: String::new(),
            service_account: String::new(),
            policy: String::new(),
        };
        let home = self.store(&nobody, &self.grants_namespace);
        home.try_out(&objects::account(&nobody, &self.grants_namespace, [])).await.map_err(|error| {
            match error.reason {
                Reason::ProviderRejected => ProviderError::lasting(
                    Reason::IssuerForbidden,
                    format!(
                        "the issuer can't make accounts: {}; the chart makes namespace {}",
                        error.message, self.grants_namespace
                    ),
                ),
                _ => error,
            }
        })?;
        Ok(Identity { identity: Some(identity), chained: false })
    }

    async fn probe_grant_now(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        let rules = self.rules(request.grant)?;
        let identity = probe::who(&self.client, &self.grants_namespace).await?;
        try_join_all(rules.iter().map(async |(namespace, rules)| {
            probe::check(&self.client, &identity, namespace, &probe::IN_TARGETS, false).await?;
            self.store(request.session, namespace).try_out(&objects::role(request.session, namespace, rules)).await
        }))
        .await?;
        Ok(GrantProbe::default())
    }
}

#[async_trait]
impl Provider for Kubernetes {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        within(self.probe_identity_now()).await
    }

    /// Asks the API server whether it would take the Roles of the grant, and makes nothing.
    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        within(self.probe_grant_now(request)).await
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        within(self.mint_now(request)).await
    }

    async fn cut_off(&self, session: &SessionId) -> Result<(), ProviderError> {
        within(self.end_tokens(session)).await
    }

    async fn revoke(&self, session: &SessionId, handle: Option<&str>) -> Result<(), ProviderError> {
        within(self.revoke_now(session, handle)).await
    }

    async fn made(&self) -> Result<Vec<Made>, ProviderError> {
        within(made::list(&self.client, &self.grants_namespace)).await
    }
}

async fn within<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    crate::within("the API server", DEADLINE, call).await
}
