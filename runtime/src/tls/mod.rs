//! TLS for servers: ring as the one provider, certificates that change without a restart, and a server with limits.

mod preface;
mod resolver;
mod serve;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;

pub use self::resolver::{CertResolver, CertificateError, certified_key};
pub use self::serve::{Limits, serve_tls};

/// Makes ring the process's default crypto provider. To be called first in `main`; idempotent.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already.
    let _ = ring::default_provider().install_default();
}

/// A server configuration that shows the resolver's current certificate: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// Sessions are not resumed, so every new connection sees the certificate of the moment.
///
/// # Errors
/// When ring supports no common cipher suite, which would be a fault of the build.
pub fn server_config(resolver: Arc<CertResolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(feature = "ca")]
#[cfg(test)]
mod tests;
