//! Vault's API on loopback: the sidecar keeps the token and makes the calls that the grant allows. [`judge`] decides and does no I/O;
//! [`forward`] is the one place that calls Vault.

pub mod forward;
pub mod judge;

use std::sync::Arc;

use exeat_wire::{Secret, VaultCredential};

use self::judge::Rules;

/// A token with what it may be used for.
pub struct Token {
    /// `https://host[:port]` of the server.
    pub address: String,
    /// PEM bundle that its certificate is checked against.
    pub certificate_authority: Option<Arc<str>>,
    /// Namespace of the server.
    pub namespace: Option<String>,
    /// Names the token; no secret.
    pub accessor: String,
    /// The token.
    pub token: Secret,
    /// What the agent may do with it.
    pub rules: Rules,
}

impl Token {
    /// `None` where the credential comes without its token.
    pub fn read(credential: VaultCredential) -> Option<Self> {
        let rules = Rules {
            allow: credential.allow,
            deny: credential.deny,
            require_request_header: credential.require_request_header,
        };
        Some(Self {
            address: credential.address.trim_end_matches('/').to_owned(),
            certificate_authority: credential.certificate_authority.map(Arc::from),
            namespace: credential.namespace,
            accessor: credential.accessor,
            token: credential.token?,
            rules,
        })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("address", &self.address)
            .field("accessor", &self.accessor)
            .finish_non_exhaustive()
    }
}
