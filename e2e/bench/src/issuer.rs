//! As much of an issuer as a sidecar needs: keys of the size that STS gives, and a stream that stays open.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_wire::{AwsCredential, CREDENTIAL_PATH, Credential, CredentialResponse, STREAM_PATH, Secret, StreamMessage};
use futures::stream;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::{Result, tls};

const SESSION: &str = "report-agent-5d9c7b-1";
const DIGEST: &str = "b0a6a3f1";
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The session token is this many times 17 characters: STS gives some 850.
const TOKEN_PARTS: usize = 50;

pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result {
    let router = Router::new().route(CREDENTIAL_PATH, post(credential)).route(STREAM_PATH, get(open_stream));
    tls::serve(listener, acceptor, router).await
}

async fn credential() -> Response {
    let now = SystemClock.now();
    let (Ok(expires_at), Ok(session_expires_at)) =
        (now.checked_add(SignedDuration::from_hours(1)), now.checked_add(SignedDuration::from_hours(8)))
    else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    Json(CredentialResponse {
        session: SESSION.into(),
        policy: "report-reader".into(),
        digest: DIGEST.into(),
        expires_at: expires_at.to_string(),
        session_expires_at: session_expires_at.to_string(),
        offline_grace_seconds: 1200,
        observe: false,
        credential: Credential::Aws(AwsCredential {
            access_key_id: "ASIAEXAMPLEEXAMPLE01".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: Secret::new("IQoJb3JpZ2luX2VjE".repeat(TOKEN_PARTS)),
            account_id: Some("123456789012".into()),
        }),
    })
    .into_response()
}

async fn open_stream() -> Response {
    let lines = stream::unfold(None, async |last: Option<()>| {
        let message = match last {
            None => StreamMessage::Active { session: SESSION.into(), digest: DIGEST.into() },
            Some(()) => {
                sleep(HEARTBEAT).await;
                StreamMessage::Heartbeat
            }
        };
        let line = serde_json::to_string(&message).map(|text| text + "\n").unwrap_or_default();
        Some((Ok::<_, Infallible>(line), Some(())))
    });
    Body::from_stream(lines).into_response()
}
