//! Calls to issuers as sidecars make them: HTTP/1.1 over TLS 1.3, a connection for each call.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use exeat_wire::{HOLDER_HEADER, Refusal};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Result;

/// As patient as a sidecar.
const PATIENCE: Duration = Duration::from_secs(20);

/// The issuers, and the pods whose sidecars are played.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// Address of a replica; calls go to all of them in turn.
    #[arg(long = "issuer", required = true)]
    issuers: Vec<SocketAddr>,
    /// Name in the replicas' certificates.
    #[arg(long, default_value = "exeat-issuer.exeat-system.svc")]
    server_name: String,
    /// Their root, PEM.
    #[arg(long)]
    ca_file: PathBuf,
    /// Pods with their tokens, a JSON object a line.
    #[arg(long)]
    pub(crate) pods: PathBuf,
}

/// A pod, and what its sidecar shows.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) key: String,
}

/// Calls one replica after the other.
pub(crate) struct Issuers {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
    name: ServerName<'static>,
    connector: TlsConnector,
}

/// What is no answer with 200.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) refusal: Option<Refusal>,
}

/// The pods in a file.
pub(crate) fn read_pods(file: &Path) -> Result<Vec<Pod>> {
    std::fs::read_to_string(file)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

impl Issuers {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&target.ca_file)? {
            roots.add(root?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            addresses: target.issuers.clone(),
            next: AtomicUsize::new(0),
            name: ServerName::try_from(target.server_name.clone())?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// One call. Its connection stays as long as the answer's body.
    pub(crate) async fn call(&self, method: Method, path: &str, pod: &Pod) -> Result<Response<Incoming>> {
        timeout(PATIENCE, self.call_now(method, path, pod)).await?
    }

    async fn call_now(&self, method: Method, path: &str, pod: &Pod) -> Result<Response<Incoming>> {
        let address = self.addresses[self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len()];
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = if method == Method::POST { "{}" } else { "" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.name.to_str().as_ref())
            .header(AUTHORIZATION, format!("Bearer {}", pod.token))
            .header(HOLDER_HEADER, &pod.key)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(body.as_bytes())))?;
        Ok(sender.send_request(request).await?)
    }

    /// The whole body of a call that succeeds; else what was said instead.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        pod: &Pod,
    ) -> Result<std::result::Result<Bytes, Refused>> {
        let response = self.call(method, path, pod).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Ok(timeout(PATIENCE, response.into_body().collect()).await??.to_bytes()));
        }
        Ok(Err(refused(response).await))
    }
}

/// What an answer that is none says.
pub(crate) async fn refused(response: Response<Incoming>) -> Refused {
    let status = response.status();
    let body = timeout(PATIENCE, response.into_body().collect()).await;
    let refusal = body.ok().and_then(|b| b.ok()).and_then(|b| serde_json::from_slice(&b.to_bytes()).ok());
    Refused { status, refusal }
}
