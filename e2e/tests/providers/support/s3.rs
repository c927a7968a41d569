//! S3 as a plain client of the protocol: signed requests over HTTP/1.1, for the status codes alone.

use std::collections::HashMap;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use exeat_wire::{AwsCredential, Credential};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A backend as e2e/backends left it: endpoint and the issuer's keys.
pub(crate) struct Backend {
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Backend {
    pub(crate) fn read(name: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
        let run = std::env::var("EXEAT_RUN_DIR").expect("EXEAT_RUN_DIR: run this inside e2e/cluster/enter.sh");
        let text = std::fs::read_to_string(format!("{run}/backends/{name}.env")).expect("e2e/backends/up.sh makes it");
        let lines: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |key: &str| lines[key].to_owned();
        Self { endpoint: get("AWS_ENDPOINT_URL"), key: get("AWS_ACCESS_KEY_ID"), secret: get("AWS_SECRET_ACCESS_KEY") }
    }
}

/// The keys of a minted credential.
pub(crate) fn keys(credential: &Credential) -> Credentials {
    let Credential::Aws(AwsCredential { access_key_id, secret_access_key, session_token, .. }) = credential else {
        panic!("no AWS credential: {credential:?}");
    };
    Credentials::from_keys(access_key_id, secret_access_key.expose(), Some(session_token.expose().to_owned()))
}

/// The status of `method /path` with these keys. Bodies are empty.
pub(crate) async fn call(endpoint: &str, keys: &Credentials, method: &str, path: &str) -> u16 {
    let host = endpoint.trim_start_matches("http://");
    let mut request = http::Request::builder().method(method).uri(format!("{endpoint}{path}")).body(()).unwrap();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    #[expect(clippy::disallowed_methods, reason = "the signature is checked against the real clock")]
    let time = SystemTime::now();
    let identity = keys.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(method, uri, std::iter::empty(), SignableBody::Bytes(b"")).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    send(host, method, path, request.headers()).await
}

async fn send(host: &str, method: &str, path: &str, headers: &http::HeaderMap) -> u16 {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}
