use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use exeat_runtime::ca::{LEAF_VALIDITY, Root};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_runtime::dns::{Resolver, ResolverConfig, ResolverOpts};
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, Limits, serve_tls, server_config};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

struct Answers {
    status: Mutex<StatusCode>,
    got: Mutex<Vec<Call>>,
}

/// A real HTTPS server for `localhost` that takes every request. It ends, and its folder goes, when this is dropped.
pub(crate) struct Receiver {
    answers: Arc<Answers>,
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    shutdown: Shutdown,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Receiver {
    /// Starts one; `name` makes its folder unique in this process.
    pub(crate) async fn start(name: &str) -> Self {
        let now = SystemClock.now();
        let root = Root::create("test root", &["localhost"], now).unwrap();
        let leaf = root.issue(&["localhost"], LEAF_VALIDITY, now).unwrap();
        let certificate = CertResolver::empty();
        certificate.set(leaf.certified_key().unwrap());
        let answers = Arc::new(Answers { status: Mutex::new(StatusCode::NO_CONTENT), got: Mutex::default() });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&answers));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = Shutdown::manual();
        let config = server_config(certificate).unwrap();
        tokio::spawn(serve_tls(listener, router, config, shutdown.clone(), Limits::default()));
        let folder = std::env::temp_dir().join(format!("exeat-https-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("ca.crt"), root.cert_pem()).unwrap();
        Self { answers, port, folder, shutdown }
    }

    /// The root that vouches for it.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A file of this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What every request is answered with from now on.
    pub(crate) fn answer(&self, status: StatusCode) {
        *self.answers.status.lock().unwrap() = status;
    }

    /// All that came.
    pub(crate) fn got(&self) -> Vec<Call> {
        self.answers.got.lock().unwrap().clone()
    }
}

async fn receive(State(answers): State<Arc<Answers>>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let call =
        Call { path: uri.to_string(), authorization: text(AUTHORIZATION), content_type: text(CONTENT_TYPE), body };
    answers.got.lock().unwrap().push(call);
    *answers.status.lock().unwrap()
}

/// `localhost` needs no server.
pub(crate) fn resolver() -> Resolver {
    Resolver::from_config(ResolverConfig::default(), ResolverOpts::default()).unwrap()
}
