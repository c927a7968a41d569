//! Raw bytes over a loopback socket to the sidecar's listener, where it serves AWS, Kubernetes and Google Cloud. `<|>` in an input
//! parts what is sent at once.

use std::sync::Arc;
use std::time::Duration;

use exeat_runtime::clock::ManualClock;
use exeat_runtime::dns::Resolver;
use exeat_sidecar::args::{Provider, Wait};
use exeat_sidecar::guard::Guard;
use exeat_sidecar::machine::{Event, Held, Machine};
use exeat_sidecar::metrics::Metrics;
use exeat_sidecar::router::{Shared, router};
use exeat_sidecar::secret::Secrets;
use exeat_sidecar::server;
use exeat_sidecar::snapshot::Snapshot;
use exeat_sidecar::vault::forward::Forward;
use exeat_wire::{
    AwsCredential, AzureCredential, AzureToken, Credential, CredentialResponse, GcpCredential, KubernetesCredential,
    Secret, VaultCredential,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{class, must};
use crate::engine::Target;
use crate::http;

/// What opens the loopback server; the corpus writes it out.
const SECRET: &str = "5ec2e75ec2e75ec2e75ec2e7";
/// Opens AWS's path too, as the webhook may say.
const POD_UID: &str = "0d9f6c1e-pod-uid";
/// The port that the guard knows; the listener has another one.
const PORT: u16 = 9911;
const NOW: &str = "2026-01-01T00:00:00Z";
/// What no answer may hold but one with a credential.
const CANARIES: [&str; 3] = ["canary-key", "canary-session", "canary-bound"];
/// Longest wait for the server to answer and close.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where one write ends and the next begins.
const PAUSE: &[u8] = b"<|>";
/// After so many inputs the server must still answer a good request.
const ALIVE: u64 = 32;

pub(super) struct Sidecar {
    runtime: Runtime,
    servers: Vec<Server>,
    judged: u64,
}

struct Server {
    provider: Provider,
    port: u16,
    /// Kept so that the answers stay as they are.
    _snapshots: watch::Sender<Snapshot>,
}

impl Sidecar {
    pub(super) fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let servers = [Provider::Aws, Provider::Azure, Provider::Kubernetes, Provider::Gcp]
            .map(|provider| runtime.block_on(start(provider)));
        Ok(Self { runtime, servers: servers.into_iter().collect::<Result<_, _>>()?, judged: 0 })
    }

    fn ask(&self, server: &Server, input: &[u8]) -> Result<Vec<u8>, String> {
        self.runtime.block_on(async {
            let talked = tokio::time::timeout(PATIENCE, talk(server.port, input)).await;
            talked.map_err(|_| "the server neither answers nor closes".to_owned())?.map_err(|error| error.to_string())
        })
    }

    fn alive(&self) -> Result<(), String> {
        for server in &self.servers {
            let good = format!(
                "GET /exeat/v1/credential HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n"
            );
            let answer = self.ask(server, good.as_bytes())?;
            let text = String::from_utf8_lossy(&answer);
            let served = text.starts_with("HTTP/1.1 200") && CANARIES.iter().any(|canary| text.contains(canary));
            must(served, || format!("a good request is answered {text}"))?;
        }
        Ok(())
    }
}

/// The listener, router, guard and answers of a sidecar that holds a credential. Everything but the issuer is the real one.
async fn start(provider: Provider) -> Result<Server, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let now: Timestamp = NOW.parse().map_err(|error: jiff::Error| told(&error))?;
    let mut machine = Machine::new(now);
    let epoch = machine.fetch_started(now);
    let held = Held::read(response(provider), provider).map_err(|error| told(&error))?;
    machine.apply(Event::Fetched { epoch, held: Box::new(held) }, now, 0.5);
    let (sender, snapshots) = watch::channel(Snapshot::read(&machine, now, false));
    let shared = Shared {
        guard: Guard::new(PORT),
        secrets: Secrets::new(Zeroizing::new(SECRET.to_owned()), Some(POD_UID.to_owned())),
        snapshots,
        clock: Arc::new(ManualClock::new(now)),
        metrics: Arc::new(Metrics::new().map_err(|error| told(&error))?),
        provider,
        wait: Wait::Decision,
        forward: Forward::new(Resolver::system()),
        observed: Arc::default(),
    };
    let listener = server::bind(0).await.map_err(|error| told(&error))?;
    let port = listener.local_addr().map_err(|error| told(&error))?.port();
    tokio::spawn(server::serve(listener, router(Arc::new(shared)), server::MAX_CONNECTIONS));
    Ok(Server { provider, port, _snapshots: sender })
}

fn response(provider: Provider) -> CredentialResponse {
    let credential = match provider {
        Provider::Kubernetes => Credential::Kubernetes(KubernetesCredential {
            server: "https://kubernetes.default.svc".into(),
            certificate_authority: "PEM".into(),
            namespace: "agents".into(),
            token: Secret::new(CANARIES[2]),
        }),
        Provider::Vault => Credential::Vault(VaultCredential {
            address: "http://127.0.0.1:9".into(),
            certificate_authority: None,
            namespace: None,
            accessor: "accessor".into(),
            token: Some(Secret::new(CANARIES[2])),
            allow: Vec::new(),
            deny: Vec::new(),
            require_request_header: true,
        }),
        Provider::Azure => Credential::Azure(AzureCredential {
            tenant_id: "t".into(),
            client_id: "c".into(),
            tokens: vec![AzureToken { resource: "api://x".into(), token: Secret::new(CANARIES[1]) }],
        }),
        Provider::Gcp => Credential::Gcp(GcpCredential {
            email: "agents@example.iam.gserviceaccount.com".into(),
            project: "example".into(),
            project_number: None,
            universe_domain: "googleapis.com".into(),
            scopes: Vec::new(),
            access_token: Some(Secret::new(CANARIES[2])),
            identity_tokens: Vec::new(),
        }),
        Provider::Aws => Credential::Aws(AwsCredential {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new(CANARIES[0]),
            session_token: Secret::new(CANARIES[1]),
            account_id: None,
        }),
    };
    CredentialResponse {
        session: "agent-0a1b-1".into(),
        policy: "report-writer".into(),
        digest: "d-1".into(),
        expires_at: "2026-01-01T00:30:00Z".into(),
        session_expires_at: "2026-01-01T08:00:00Z".into(),
        offline_grace_seconds: 1200,
        observe: false,
        credential,
    }
}

/// Sends the parts of an input, ends, and reads all that comes. A server that closes early may cut both short.
async fn talk(port: u16, input: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.set_nodelay(true)?;
    let (mut reader, mut writer) = connection.split();
    let send = async {
        for part in parts(input) {
            if writer.write_all(part).await.is_err() {
                return;
            }
            // The server takes what is there before more comes.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let _ = writer.shutdown().await;
    };
    let receive = async {
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
        answer
    };
    Ok(tokio::join!(send, receive).1)
}

fn parts(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(PAUSE.len()).position(|window| window == PAUSE) {
        parts.push(&rest[..at]);
        rest = &rest[at + PAUSE.len()..];
    }
    parts.push(rest);
    parts
}

/// Whether a request head, read strictly, may be answered with a credential.
fn may_have(head: &http::Head, provider: Provider) -> bool {
    const MARKS: [&str; 6] =
        ["x-forwarded-for", "forwarded", "x-forwarded-host", "origin", "sec-fetch-site", "sec-fetch-mode"];
    let host = head.only("host").is_some_and(|host| {
        [format!("127.0.0.1:{PORT}"), format!("localhost:{PORT}"), format!("[::1]:{PORT}")]
            .contains(&host.to_ascii_lowercase())
    });
    let shown = head.only("authorization").unwrap_or_default();
    let bearer = shown.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let opened = match head.path() {
        "/aws/credentials" => provider == Provider::Aws && [SECRET, POD_UID].contains(&shown),
        "/azure/token" => {
            provider == Provider::Azure
                && head.only("x-identity-header").is_some_and(|shown| [SECRET, POD_UID].contains(&shown))
        }
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            let flavor = head.only("metadata-flavor").unwrap_or_default();
            provider == Provider::Gcp && flavor.eq_ignore_ascii_case("google")
        }
        "/exeat/v1/credential" => bearer.is_some_and(|(_, secret)| secret == SECRET),
        _ => false,
    };
    head.method == "GET" && host && opened && !MARKS.iter().any(|mark| head.has(mark))
}

impl Target for Sidecar {
    fn name(&self) -> &'static str {
        "sidecar"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &[
            "GET ",
            "HEAD ",
            "POST ",
            "OPTIONS ",
            "CONNECT ",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            " HTTP/1.1\r\n",
            " HTTP/1.0\r\n",
            " HTTP/0.9\r\n",
            "/aws/credentials",
            "/azure/token?api-version=2019-08-01&resource=api://x",
            "/exeat/v1/credential",
            "/computeMetadata/v1/instance/service-accounts/default/token",
            "/computeMetadata/v1/?recursive=true",
            "Metadata-Flavor: Google\r\n",
            "/kubernetes/denied/api",
            "/api/v1/pods",
            "/health/started",
            "/metrics",
            "//",
            "/..",
            "%2f",
            "?",
            "#",
            "http://127.0.0.1:9911",
            "*",
            "\r\n",
            "\n",
            "\r",
            "\r\n\r\n",
            "<|>",
            "Host: 127.0.0.1:9911\r\n",
            "Host: localhost:9911\r\n",
            "Host: evil.example\r\n",
            "Authorization: 5ec2e75ec2e75ec2e75ec2e7\r\n",
            "Authorization: Bearer 5ec2e75ec2e75ec2e75ec2e7\r\n",
            "Authorization: 0d9f6c1e-pod-uid\r\n",
            "X-IDENTITY-HEADER: 0d9f6c1e-pod-uid\r\n",
            "X-Forwarded-For: 10.0.0.1\r\n",
            "Origin: http://evil.example\r\n",
            "Forwarded: for=a\r\n",
            "Sec-Fetch-Site: none\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 65537\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\n",
            "Connection: upgrade\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive\r\n",
            "0\r\n\r\n",
            "5\r\nhello\r\n",
            ";ext=1",
            " ",
            "\t",
            "\0",
        ]
    }

    /// Every answer is HTTP; one with a credential was earned by a request of its own; the server lives on.
    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        self.judged += 1;
        let sent = parts(input).concat();
        let heads = http::heads(&sent);
        let mut classes = Vec::new();
        for server in &self.servers {
            let answer = self.ask(server, input)?;
            let answers = http::answers(&answer)?;
            let credentials = answers.iter().filter(|answer| answer.holds(&CANARIES)).count();
            let earned = heads.iter().filter(|head| may_have(head, server.provider)).count();
            must(credentials <= earned, || {
                format!("{credentials} credentials for {earned} good requests: {}", String::from_utf8_lossy(&answer))
            })?;
            must(answers.iter().all(|answer| answer.status == 200 || !answer.holds(&CANARIES)), || {
                "an error with a credential".to_owned()
            })?;
            must(answers.iter().all(|answer| !answer.holds(&[SECRET])), || {
                "the loopback secret is answered".to_owned()
            })?;
            let statuses: Vec<String> =
                answers.iter().map(|answer| format!("{} {}", answer.status, answer.code())).collect();
            classes.push(format!("{credentials}x {}", class(statuses.iter().map(String::as_str))));
        }
        if self.judged.is_multiple_of(ALIVE) {
            self.alive()?;
        }
        Ok(classes.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_tells_who_may_have_a_credential() {
        let good =
            format!("GET /aws/credentials HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: {SECRET}\r\n\r\n");
        let may = |text: &str| http::heads(text.as_bytes()).iter().any(|head| may_have(head, Provider::Aws));
        assert!(may(&good) && may(&good.replace("127.0.0.1", "LOCALHOST")) && may(&good.replace(SECRET, POD_UID)));
        for (from, to) in [
            (SECRET, "wrong"),
            ("Authorization", "X"),
            ("127.0.0.1", "evil.example"),
            ("/aws/", "/other/"),
            ("GET /", "GET http://127.0.0.1/"),
            ("Host", "Origin: a\r\nHost"),
            ("Host", "X-Forwarded-For: a\r\nHost"),
            ("Host", "Host: 127.0.0.1:9911\r\nHost"),
        ] {
            assert!(!may(&good.replace(from, to)), "{to}");
        }
    }
}
