//! The agent's calls to Vault, as Vault gets them. What a real one makes of them is a story on a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::issuer::Says;
use common::{PATIENCE, World, refusal, vault};
use exeat_sidecar::args::Provider;
use exeat_wire::{Credential, CredentialResponse, StreamMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A server that keeps what it is sent and answers each call in the same way.
async fn server(answer: &'static str) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (told, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&read).contains("\r\n\r\n") {
                let n = stream.read(&mut buffer).await.unwrap();
                read.extend(&buffer[..n]);
            }
            told.send(String::from_utf8_lossy(&read).into_owned()).unwrap();
            let head = "Content-Type: application/json\r\nSet-Cookie: a=b\r\nConnection: close\r\n";
            let body = "{\"data\":1}";
            stream
                .write_all(
                    format!("HTTP/1.1 {answer}\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
                )
                .await
                .unwrap();
        }
    });
    (address, seen)
}

async fn world(credential: CredentialResponse) -> World {
    let world = World::start(Provider::Vault, Says::Credential(credential), None).await;
    let held = async { while world.ask_json().await.status != 200 {} };
    timeout(PATIENCE, held).await.expect("a credential in time");
    world
}

#[tokio::test]
async fn vault_gets_the_sessions_token_and_nothing_of_the_agents() {
    let (address, mut seen) = server("200 OK").await;
    let world = world(vault(&address, Some("hvs.session"))).await;
    let mine = "X-Vault-Request: true\r\nX-Vault-Token: hvs.mine\r\nX-Vault-Namespace: other\r\nAuthorization: Bearer hvs.mine\r\n\
                X-Vault-Policy-Override: true\r\nX-Vault-Forward: active-node\r\nCookie: a=b\r\nAccept: application/json\r\n";
    let answer = world.get("/v1/secret/data/reports/q3?version=2", mine).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"data\":1}"));
    assert!(answer.header("set-cookie").is_none(), "{}", answer.head);
    let got = seen.recv().await.unwrap().to_ascii_lowercase();
    assert!(got.starts_with("get /v1/secret/data/reports/q3?version=2 http/1.1\r\n"), "{got}");
    for line in
        ["x-vault-token: hvs.session", "x-vault-namespace: team", "x-vault-request: true", "accept: application/json"]
    {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line}: {got}");
    }
    for word in ["hvs.mine", "other", "authorization", "override", "forward", "cookie"] {
        assert!(!got.contains(word), "{word}: {got}");
    }
    for (path, status, code) in [
        ("/v1/secret/data/reports/../other", 400, "VaultPathInvalid"),
        ("/v1/secret/data/other", 403, "ActionNotAllowed"),
        ("/v1/secret/data/reports/q3?list=1", 400, "VaultQueryInvalid"),
    ] {
        let answer = world.get(path, "X-Vault-Request: true\r\n").await;
        let told = answer.json()["errors"][0].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{path}: {told}");
        assert!(told.starts_with(&format!("exeat: {code}: ")), "{told}");
    }
    assert_eq!(world.get("/v1/secret/data/reports/q3", "").await.status, 412);
    assert!(seen.try_recv().is_err(), "no call that is refused is made");
}

#[tokio::test]
async fn a_redirect_does_not_lead_past_the_sidecar_and_an_absent_server_is_told() {
    let (address, _seen) = server("307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/v1/secret").await;
    let world = world(vault(&address, Some("hvs.session"))).await;
    let answer = world.get("/v1/secret/data/reports/q3", "X-Vault-Request: true\r\n").await;
    assert_eq!(answer.status, 502);
    assert!(answer.header("location").is_none() && answer.body.contains("standby"), "{answer:?}");
    world.issuer.push(StreamMessage::Stopped(refusal("SessionRevoked", false))).await;
    let stopped =
        async { while world.get("/v1/secret/data/reports/q3", "X-Vault-Request: true\r\n").await.status != 403 {} };
    timeout(PATIENCE, stopped).await.expect("the refusal in time");
    let answer = world.get("/v1/secret/data/reports/q3", "X-Vault-Request: true\r\n").await;
    assert!(answer.body.contains("exeat: SessionRevoked: why"), "{answer:?}");
}

#[tokio::test]
async fn a_token_that_lives_on_is_kept_through_its_renewal() {
    let (address, mut seen) = server("200 OK").await;
    let world = world(vault(&address, Some("hvs.session"))).await;
    let mut renewed = vault(&address, None);
    renewed.expires_at = common::after(3600);
    let Credential::Vault(credential) = &mut renewed.credential else { panic!("no credential of Vault") };
    credential.allow[0].paths = vec!["secret/data/new".to_owned()];
    world.issuer.says(Says::Credential(renewed));
    world.advance(901);
    world.issuer.push(StreamMessage::Heartbeat).await;
    let path = "/v1/secret/data/new";
    let served = async { while world.get(path, "X-Vault-Request: true\r\n").await.status != 200 {} };
    timeout(PATIENCE, served).await.expect("the renewal in time");
    assert!(seen.recv().await.unwrap().to_ascii_lowercase().contains("x-vault-token: hvs.session"));
}
