//! Calls by HTTP to providers that are asked without an SDK: whom they trust, and the bounds of time and size. No call is repeated and no
//! redirect followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_crds::reason::Reason;
use exeat_runtime::dns::Resolver;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ProviderError;
use crate::error::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the start of a call until its answer is read.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Whether connections without TLS are made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Refused,
    Allowed,
}

/// A client with its connections.
pub(crate) struct Client(Pool<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>);

/// An answer, whatever its status.
pub(crate) struct Answer<B> {
    pub(crate) status: StatusCode,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: B,
}

impl Client {
    /// A client that trusts these roots and no others.
    ///
    /// # Errors
    /// `ProviderRejected` where the TLS library refuses its settings.
    pub(crate) fn new(roots: RootCertStore, plain: Plain, resolver: Resolver) -> Result<Self, ProviderError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls =
            tls.map_err(|error| unusable(&error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = match plain {
            Plain::Refused => builder.https_only(),
            Plain::Allowed => builder.https_or_http(),
        };
        Ok(Self(Pool::builder(TokioExecutor::new()).build(builder.enable_http1().wrap_connector(http))))
    }

    /// Calls, and reads the body of what comes by `read`.
    ///
    /// # Errors
    /// What kept the answer away, in words; [`unanswered`] makes an error of them.
    pub(crate) async fn send<B>(
        &self,
        request: Request<Full<Bytes>>,
        read: fn(&[u8]) -> B,
    ) -> Result<Answer<B>, String> {
        let call = async {
            let response = self.0.request(request).await.map_err(|error| causes(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| causes(error.as_ref()))?;
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
            let retry_after = retry_after.map(Duration::from_secs);
            Ok(Answer { status: head.status, retry_after, body: read(&body.to_bytes()) })
        };
        let late = || Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| late())
    }
}

impl<B> Answer<B> {
    /// The answer where it is a success, else the error that `failure` makes of it.
    pub(crate) fn or(self, failure: impl FnOnce(&Self) -> ProviderError) -> Result<Self, ProviderError> {
        if self.status.is_success() { Ok(self) } else { Err(failure(&self)) }
    }

    /// The error with the wait that the server asks for, where waiting may help.
    pub(crate) fn with_wait(&self, error: ProviderError) -> ProviderError {
        match self.retry_after {
            Some(wait) if error.retryable => error.after(wait),
            _ => error,
        }
    }
}

/// A body of JSON; empty where it is none: a proxy's page is no word of the provider.
pub(crate) fn json<B: DeserializeOwned + Default>(bytes: &[u8]) -> B {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// A body that is sent. It may hold a secret.
///
/// # Errors
/// `ProviderRejected` where it can't be written.
pub(crate) fn json_body(value: &Value) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    serde_json::to_vec(value).map(Zeroizing::new).map_err(|error| unusable(&error.to_string()))
}

/// A header with the issuer's own token at `whose`. It is never logged.
///
/// # Errors
/// `BaseIdentityInvalid`, without the token, where no header can hold it.
pub(crate) fn token_header(text: &str, whose: &str) -> Result<HeaderValue, ProviderError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let message = format!("the issuer's own token at {whose} is not a token");
        ProviderError::lasting(Reason::BaseIdentityInvalid, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `who` gave no answer.
pub(crate) fn unanswered(who: &str, cause: &str) -> ProviderError {
    ProviderError::passing(Reason::ProviderUnreachable, format!("{who} does not answer: {cause}"))
}

/// The provider's settings can't be used.
pub(crate) fn unusable(problem: &str) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, problem)
}

/// The roots in `pem`, which `field` of the provider holds.
///
/// # Errors
/// `ProviderRejected` where a certificate can't be read, or there is none.
pub(crate) fn own_roots(field: &str, pem: &str) -> Result<RootCertStore, ProviderError> {
    let wrong = |problem: &str| unusable(&format!("{field}: {problem}; write PEM certificates"));
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(&error.to_string()))?;
        store.add(certificate).map_err(|error| wrong(&error.to_string()))?;
    }
    if store.is_empty() { Err(wrong("no certificate found")) } else { Ok(store) }
}

/// Those of the issuer's image, or the file that `SSL_CERT_FILE` names. Without any no server is trusted, and each call says so.
pub(crate) fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a client makes of a server that says this to each call; of one that says nothing, where it is empty.
    async fn call(said: String) -> Result<Answer<Value>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serve = async move {
            let mut open = Vec::new();
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = connection.read(&mut head).await;
                let _ = connection.write_all(said.as_bytes()).await;
                open.push(connection);
            }
        };
        let client = Client::new(RootCertStore::empty(), Plain::Allowed, Resolver::system()).unwrap();
        let request = Request::builder().uri(url).body(Full::default()).unwrap();
        tokio::select! {
            answer = client.send(request, json) => answer,
            () = serve => unreachable!("it serves for good"),
        }
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    }

    fn passing() -> ProviderError {
        ProviderError::passing(Reason::ProviderThrottled, "slow").after(Duration::from_secs(2))
    }

    #[tokio::test]
    async fn any_status_is_an_answer_with_the_wait_that_it_names() {
        let throttled = call(answer("429 Slow", "retry-after: 7\r\n", r#"{"a": 1}"#)).await.unwrap();
        assert_eq!((throttled.status, throttled.body["a"].as_i64()), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
        let waits = |error| throttled.with_wait(error).retry_after;
        assert_eq!((waits(passing()), waits(unusable("no"))), (Some(Duration::from_secs(7)), None));
        let dated = call(answer("503 Down", "retry-after: Fri, 31 Dec 1999 23:59:59 GMT\r\n", "<p>")).await.unwrap();
        assert_eq!((dated.retry_after, &dated.body), (None, &Value::Null));
        assert_eq!(dated.with_wait(passing()), passing());
        assert!(dated.or(|answer| unusable(answer.status.as_str())).is_err_and(|error| error.message == "503"));
        assert!(call(answer("204 None", "", "")).await.unwrap().or(|_| passing()).is_ok());
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let answer = call(answer("307 There", "location: http://127.0.0.1:1/\r\n", "")).await.unwrap();
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_bound() {
        let of = |bytes: usize| answer("200 OK", "", &format!("{}1", " ".repeat(bytes - 1)));
        assert_eq!(call(of(MAX_ANSWER)).await.unwrap().body, 1);
        assert!(call(of(MAX_ANSWER + 1)).await.err().unwrap().contains("limit"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_waited_for() {
        assert_eq!(call(String::new()).await.err().unwrap(), "no answer within 6 s");
        assert_eq!(
            call("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1".into()).await.err().unwrap(),
            "no answer within 6 s"
        );
    }

    #[tokio::test]
    async fn plain_http_is_spoken_where_it_is_allowed() {
        let client = Client::new(RootCertStore::empty(), Plain::Refused, Resolver::system()).unwrap();
        let request = Request::builder().uri("http://127.0.0.1:1/").body(Full::default()).unwrap();
        let cause = client.send(request, json::<Value>).await.err().unwrap();
        assert!(cause.contains("scheme"), "{cause}");
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        for pem in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = own_roots("spec.x.caCert", pem).unwrap_err();
            assert!(error.message.starts_with("spec.x.caCert: ") && !error.retryable, "{error}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_told_without_it() {
        let error = token_header("bad\nsecret", "Vault").unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid);
        assert!(!error.message.contains("secret") && token_header("good", "Vault").unwrap().is_sensitive(), "{error}");
    }
}
