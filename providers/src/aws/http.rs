//! One HTTP client for all that the SDK calls, with our own name look-ups.

use std::fmt;

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use exeat_runtime::dns::Resolver;

/// A client that trusts the system's roots (`SSL_CERT_FILE` names others) and speaks plain HTTP too.
pub(super) fn client(resolver: Resolver) -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_with_resolver(Names(resolver))
}

#[derive(Clone)]
struct Names(Resolver);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl ResolveDns for Names {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.0.lookup(name).await.map_err(ResolveDnsError::new) })
    }
}
