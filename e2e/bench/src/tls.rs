//! HTTP/1.1 over TLS with the settings of our own servers, and nothing around it.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{CertificateFiles, Result};

pub(crate) fn acceptor(files: &CertificateFiles) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(&files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, router: Router) -> Result {
    loop {
        let (connection, _) = listener.accept().await?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // Only speed depends on it.
            let _ = connection.set_nodelay(true);
            let Ok(connection) = acceptor.accept(connection).await else { return };
            let service = TowerToHyperService::new(router);
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}
