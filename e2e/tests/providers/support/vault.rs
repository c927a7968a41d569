//! Vault's API as a plain client of HTTP/1.1 sees it, and a database login that came from it.

use std::collections::HashMap;

use exeat_providers::Minted;
use exeat_wire::{Credential, VaultCredential};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const ADDRESS: &str = "http://198.18.0.1:8210";

/// The same over TLS, with a certificate of [`authority`].
pub(crate) const ADDRESS_TLS: &str = "https://198.18.0.1:8211";

/// A file that e2e/backends left.
fn file(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
    let run = std::env::var("EXEAT_RUN_DIR").expect("EXEAT_RUN_DIR: run this inside e2e/cluster/enter.sh");
    std::fs::read_to_string(format!("{run}/backends/{name}")).expect("e2e/backends/up.sh makes it")
}

/// PEM of the authority of OpenBao's certificate.
pub(crate) fn authority() -> String {
    file("openbao-ca.pem")
}

/// One of them, by its keys.
pub(crate) fn env(name: &str) -> HashMap<String, String> {
    let text = file(&format!("{name}.env"));
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub(crate) fn credential(minted: &Minted) -> &VaultCredential {
    let Credential::Vault(credential) = &minted.credential else { panic!("{minted:?}") };
    credential
}

/// The token of a credential that came with one.
pub(crate) fn token(minted: &Minted) -> &str {
    credential(minted).token.as_ref().expect("a token").expose()
}

/// Status and body of `method /v1/path` with this token.
pub(crate) async fn call(token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let host = ADDRESS.trim_start_matches("http://");
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // A body that comes in chunks is one chunk here.
    let json = body.find('{').map_or("null", |start| &body[start..=body.rfind('}').unwrap()]);
    (status, serde_json::from_str(json).unwrap())
}

pub(crate) async fn status(token: &str, method: &str, path: &str) -> u16 {
    call(token, method, path, None).await.0
}

/// A login at PostgreSQL, as Vault's database engine made it.
pub(crate) struct DatabaseLogin {
    username: String,
    password: String,
}

impl DatabaseLogin {
    pub(crate) async fn take(token: &str) -> Self {
        let (status, body) = call(token, "GET", "database/creds/reader", None).await;
        assert_eq!(status, 200, "{body}");
        let text = |key: &str| body["data"][key].as_str().unwrap().to_owned();
        Self { username: text("username"), password: text("password") }
    }

    /// Whether PostgreSQL lets it in.
    pub(crate) async fn works(&self) -> bool {
        let server = env("postgres");
        let done = tokio::process::Command::new("psql")
            .args([
                "-h",
                &server["PGHOST"],
                "-p",
                &server["PGPORT"],
                "-U",
                &self.username,
                "-d",
                "postgres",
                "-tAc",
                "select 41 + 1",
            ])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .await
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(
            done.status.success() || err.contains("authentication failed") || err.contains("does not exist"),
            "{err}"
        );
        out.trim() == "42"
    }
}
