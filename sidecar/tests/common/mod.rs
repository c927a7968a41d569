//! A sidecar on a real listener, and a small issuer behind real TLS that says what a test tells it to.
#![allow(dead_code, unreachable_pub, reason = "each test binary takes what it needs")]

pub mod issuer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use exeat_runtime::clock::ManualClock;
use exeat_runtime::shutdown::Shutdown;
use exeat_sidecar::app::{self, AppError};
use exeat_sidecar::args::{Policy, Provider, Settings, Wait};
use exeat_wire::{
    AwsCredential, AzureCredential, AzureToken, Credential, CredentialResponse, GcpCredential, GcpIdentityToken,
    KubernetesCredential, Refusal, Secret, StreamMessage, VaultCredential, VaultRule,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::issuer::{Says, TestIssuer};

/// Longest wait for anything that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const POD_UID: &str = "6f1c7e0a-pod-uid";
pub const IDENTITY: &str = "identity-token";

pub fn start_time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn after(seconds: i64) -> String {
    (start_time() + SignedDuration::from_secs(seconds)).to_string()
}

/// Keys of the mint number `number`: from `now` for half an hour, in a session of eight hours.
pub fn aws(number: u32, now: i64) -> CredentialResponse {
    let credential = Credential::Aws(AwsCredential {
        access_key_id: format!("AKID{number}"),
        secret_access_key: Secret::new(format!("secret-{number}")),
        session_token: Secret::new(format!("session-token-{number}")),
        account_id: Some("123456789012".into()),
    });
    response(credential, now)
}

pub fn kubernetes(number: u32, now: i64) -> CredentialResponse {
    let credential = Credential::Kubernetes(KubernetesCredential {
        server: "https://kubernetes.default.svc".into(),
        certificate_authority: "PEM".into(),
        namespace: "agents".into(),
        token: Secret::new(format!("token-{number}")),
    });
    response(credential, now)
}

/// The client id of [`azure`]'s tokens.
pub const APP: &str = "11111111-2222-3333-4444-55555555555f";

/// Tokens of the mint number `number` for two resources.
pub fn azure(number: u32, now: i64) -> CredentialResponse {
    let token = |resource: &str, name: &str| AzureToken {
        resource: resource.into(),
        token: Secret::new(format!("{name}-{number}")),
    };
    let credential = Credential::Azure(AzureCredential {
        tenant_id: "contoso.example".into(),
        client_id: APP.into(),
        tokens: vec![token("https://storage.azure.com", "storage"), token("api://reports", "reports")],
    });
    response(credential, now)
}

/// A token of Vault that may read reports at this address.
pub fn vault(address: &str, token: Option<&str>) -> CredentialResponse {
    let credential = Credential::Vault(VaultCredential {
        address: address.into(),
        certificate_authority: None,
        namespace: Some("team".into()),
        accessor: "accessor".into(),
        token: token.map(Secret::new),
        allow: vec![VaultRule { verbs: vec!["read".into()], paths: vec!["secret/data/reports/*".into()] }],
        deny: Vec::new(),
        require_request_header: true,
    });
    response(credential, 0)
}

/// Tokens of a Google service account, for one audience too.
pub fn gcp() -> CredentialResponse {
    let credential = Credential::Gcp(GcpCredential {
        email: "agents@example.iam.gserviceaccount.com".into(),
        project: "example".into(),
        project_number: None,
        universe_domain: "googleapis.com".into(),
        scopes: vec!["https://www.googleapis.com/auth/cloud-platform".into()],
        access_token: Some(Secret::new("ya29.session")),
        identity_tokens: vec![GcpIdentityToken {
            audience: "https://a.test".into(),
            token: Secret::new("eyJ.session"),
        }],
    });
    response(credential, 0)
}

fn response(credential: Credential, now: i64) -> CredentialResponse {
    CredentialResponse {
        session: "agent-0a1b-1".into(),
        policy: "report-writer".into(),
        digest: "d-1".into(),
        expires_at: after(now + 1800),
        session_expires_at: after(28_800),
        offline_grace_seconds: 1200,
        observe: false,
        credential,
    }
}

pub fn refusal(code: &str, retryable: bool) -> Refusal {
    Refusal {
        code: code.into(),
        message: format!("why: {code}"),
        retryable,
        retry_after_seconds: None,
        session: Some("agent-0a1b-1".into()),
    }
}

pub fn active() -> StreamMessage {
    StreamMessage::Active { session: "agent-0a1b-1".into(), digest: "d-1".into() }
}

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("exeat-sidecar-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A running sidecar with its issuer.
pub struct World {
    pub issuer: TestIssuer,
    pub clock: ManualClock,
    pub port: u16,
    /// Those of the groups of containers; the first is `port`.
    pub ports: Vec<u16>,
    pub folder: Folder,
    pub shutdown: Shutdown,
    pub task: JoinHandle<Result<(), AppError>>,
}

impl World {
    pub async fn aws(says: Says) -> Self {
        Self::start(Provider::Aws, says, None).await
    }

    pub async fn start(provider: Provider, says: Says, pod_uid: Option<&str>) -> Self {
        let issuer = TestIssuer::start(says).await;
        let roots = issuer.roots.clone();
        Self::start_with(provider, issuer, roots, pod_uid).await
    }

    pub async fn start_with(provider: Provider, issuer: TestIssuer, roots: String, pod_uid: Option<&str>) -> Self {
        Self::start_waiting(provider, issuer, roots, pod_uid, Wait::Decision).await
    }

    pub async fn start_waiting(
        provider: Provider,
        issuer: TestIssuer,
        roots: String,
        pod_uid: Option<&str>,
        wait: Wait,
    ) -> Self {
        Self::start_as(provider, issuer, roots, pod_uid, wait, false).await
    }

    /// With `observe` monitoring datagrams are taken too.
    pub async fn start_as(
        provider: Provider,
        issuer: TestIssuer,
        roots: String,
        pod_uid: Option<&str>,
        wait: Wait,
        observe: bool,
    ) -> Self {
        Self::begin(provider, Vec::new(), issuer, roots, pod_uid, wait, observe).await.ready().await
    }

    /// A sidecar of several policies.
    pub async fn several(policies: &[(Provider, &str, Says)]) -> Self {
        let all: Vec<&str> = policies.iter().map(|(_, name, _)| *name).collect();
        Self::grouped(policies, &[&all.join(",")]).await
    }

    /// A sidecar of several policies, of which the pod and single containers have these, separated by commas.
    pub async fn grouped(policies: &[(Provider, &str, Says)], groups: &[&str]) -> Self {
        Self::begin_grouped(policies, groups, false).await.ready().await
    }

    /// The same before it has done anything: until the test waits for something.
    pub async fn begin_grouped(policies: &[(Provider, &str, Says)], groups: &[&str], observe: bool) -> Self {
        let issuer = TestIssuer::start(Says::Refusal(403, refusal("PolicyNotNamed", false))).await;
        for (_, name, says) in policies {
            issuer.script.by_policy.lock().unwrap().insert((*name).to_owned(), says.clone());
        }
        let roots = issuer.roots.clone();
        let policy = |wanted: &str| {
            let (provider, name, _) = policies.iter().find(|(_, name, _)| *name == wanted).unwrap();
            (*provider, (*name).to_owned())
        };
        let groups = groups.iter().map(|list| list.split(',').map(policy).collect()).collect();
        Self::begin(policies[0].0, groups, issuer, roots, None, Wait::Decision, observe).await
    }

    async fn begin(
        provider: Provider,
        groups: Vec<Vec<Policy>>,
        issuer: TestIssuer,
        roots: String,
        pod_uid: Option<&str>,
        wait: Wait,
        observe: bool,
    ) -> Self {
        let folder = Folder::new();
        let token_file = folder.path().join("identity");
        std::fs::write(&token_file, format!("{IDENTITY}\n")).unwrap();
        let run_dir = folder.path().join("run");
        std::fs::create_dir(&run_dir).unwrap();
        let further = 1..groups.len();
        further.for_each(|number| std::fs::create_dir(folder.path().join(format!("run-{number}"))).unwrap());
        let count = groups.len().max(1);
        let settings = Settings {
            port: 0,
            issuer_url: format!("https://127.0.0.1:{}", issuer.port).parse().unwrap(),
            issuer_ca: roots,
            token_file,
            run_dir,
            provider,
            groups,
            wait,
            observe,
            accept_pod_uid: pod_uid.is_some(),
            pod_uid: pod_uid.map(Into::into),
        };
        let clock = ManualClock::new(start_time());
        let shutdown = Shutdown::manual();
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(app::listen(0).await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let task = tokio::spawn(app::run(settings, listeners, Arc::new(clock.clone()), shutdown.clone()));
        Self { issuer, clock, port: ports[0], ports, folder, shutdown, task }
    }

    /// The listener takes connections before the secret is written; the first answer comes after it.
    async fn ready(self) -> Self {
        self.get("/health/started", "").await;
        self
    }

    pub fn run_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    pub fn secret(&self) -> String {
        std::fs::read_to_string(self.run_file("token")).unwrap()
    }

    /// A file of a group with policies of its own.
    pub fn file_of(&self, group: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("run-{group}")).join(name)
    }

    /// The secret of a group, the pod's own or another.
    pub fn secret_of(&self, group: usize) -> String {
        let file = if group == 0 { self.run_file("token") } else { self.file_of(group, "token") };
        std::fs::read_to_string(file).unwrap()
    }

    /// GET from the listener of a group.
    pub async fn get_at(&self, group: usize, path: &str, headers: &str) -> Answer {
        let port = self.ports[group];
        let raw = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Connection: close\r\n\r\n");
        timeout(PATIENCE, send(port, raw)).await.expect("an answer in time")
    }

    /// Sends `raw`, as written, and reads to the end.
    pub async fn send(&self, raw: &str) -> Answer {
        timeout(PATIENCE, send(self.port, raw.to_owned())).await.expect("an answer in time")
    }

    /// GET with further header lines, each ending in CRLF.
    pub async fn get(&self, path: &str, headers: &str) -> Answer {
        let port = self.port;
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Connection: close\r\n\r\n")).await
    }

    /// As an AWS SDK asks.
    pub async fn ask(&self) -> Answer {
        self.get("/aws/credentials", &format!("Authorization: {}\r\n", self.secret())).await
    }

    /// As anything else asks.
    pub async fn ask_json(&self) -> Answer {
        self.get("/exeat/v1/credential", &format!("Authorization: Bearer {}\r\n", self.secret())).await
    }

    /// Asks until the answer is as wanted.
    pub async fn ask_until(&self, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let ask = async {
            loop {
                let answer = self.ask().await;
                if wanted(&answer) {
                    return answer;
                }
            }
        };
        timeout(PATIENCE, ask).await.expect("the wanted answer in time")
    }

    /// Waits until the metrics hold `line`.
    pub async fn counted(&self, line: &str) {
        let ask = async { while !self.get("/metrics", "").await.body.contains(line) {} };
        timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("no {line}"));
    }

    pub async fn started(&self) -> bool {
        let port = self.port;
        tokio::task::spawn_blocking(move || exeat_sidecar::probe::run(port).is_ok()).await.unwrap()
    }

    /// A second later the stream says `message`: calls have a least distance by the clock.
    pub async fn hears(&self, message: StreamMessage) {
        self.advance(1);
        self.issuer.push(message).await;
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

pub async fn send(port: u16, raw: String) -> Answer {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(raw.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Answer { status, head: head.into(), body: body.into() }
}
