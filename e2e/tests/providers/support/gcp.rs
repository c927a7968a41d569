//! The stand-in for Google Cloud as a plain client of HTTP/1.1 sees it.

use exeat_providers::Minted;
use exeat_wire::{Credential, GcpCredential};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const ADDRESS: &str = "http://198.18.0.1:8230";

/// The key file of the issuer's own service account.
pub(crate) fn key_file() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
    let run = std::env::var("EXEAT_RUN_DIR").expect("EXEAT_RUN_DIR: run this inside e2e/cluster/enter.sh");
    std::fs::read_to_string(format!("{run}/backends/gcp-key.json")).expect("e2e/backends/up.sh makes it")
}

pub(crate) fn credential(minted: &Minted) -> &GcpCredential {
    let Credential::Gcp(credential) = &minted.credential else { panic!("{minted:?}") };
    credential
}

/// The access token of a credential that came with one.
pub(crate) fn token(minted: &Minted) -> &str {
    credential(minted).access_token.as_ref().expect("an access token").expose()
}

/// Status of `method path` with this token.
pub(crate) async fn status(token: &str, method: &str, path: &str) -> u16 {
    let host = ADDRESS.trim_start_matches("http://");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
