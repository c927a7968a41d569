//! The provider beside the API server.

use super::World;
use exeat_providers::{GrantProbe, Identity, Made, MintRequest, Minted, Provider, ProviderError, SessionId};
use exeat_runtime::clock::Clock;
use exeat_wire::{Credential, KubernetesCredential, Secret};

#[async_trait::async_trait]
impl Provider for World {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        Ok(Identity::default())
    }

    async fn probe_grant(&self, _: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        Ok(GrantProbe::default())
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        self.point();
        self.say("mint");
        let credential = KubernetesCredential {
            server: "https://kubernetes.default.svc".into(),
            certificate_authority: String::new(),
            namespace: "agents".into(),
            token: Secret::new("token"),
        };
        Ok(Minted {
            credential: Credential::Kubernetes(credential),
            credential_id: "id".into(),
            expires_at: self.clock.now() + request.ttl,
            serve_until: None,
            handle: Some("handle".into()),
            further: false,
            packed_policy_percent: None,
        })
    }

    async fn revoke(&self, session: &SessionId, handle: Option<&str>) -> Result<(), ProviderError> {
        let mut made = self.made.lock().unwrap();
        // Without a handle the session was found by what is on record.
        assert!(handle.map_or_else(|| made.iter().any(|m| m.session == *session), |h| h == "handle"), "{handle:?}");
        made.retain(|m| m.session != *session);
        self.say("revoke");
        Ok(())
    }

    async fn made(&self) -> Result<Vec<Made>, ProviderError> {
        Ok(self.made.lock().unwrap().clone())
    }
}
