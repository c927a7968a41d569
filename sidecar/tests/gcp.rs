//! Google's metadata server as a client of HTTP sees it. What real clients make of it is a story on a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::issuer::Says;
use common::{PATIENCE, World, refusal};
use exeat_sidecar::args::Provider;
use exeat_wire::StreamMessage;
use tokio::time::timeout;

const FLAVOR: &str = "Metadata-Flavor: Google\r\n";
const TOKEN: &str =
    "/computeMetadata/v1/instance/service-accounts/default/token?scopes=https://www.googleapis.com/auth/sqlservice";

#[tokio::test]
async fn the_metadata_server_tells_of_the_session_until_it_ends() {
    let world = World::start(Provider::Gcp, Says::Credential(common::gcp()), None).await;
    let held = async { while world.get(TOKEN, FLAVOR).await.status != 200 {} };
    timeout(PATIENCE, held).await.expect("a token in time");
    let answer = world.get(TOKEN, FLAVOR).await;
    assert_eq!(
        (answer.header("metadata-flavor"), answer.header("content-type")),
        (Some("Google"), Some("application/json"))
    );
    let token = answer.json();
    assert_eq!((token["access_token"].as_str(), token["expires_in"].as_i64()), (Some("ya29.session"), Some(1800)));
    world.advance(600);
    assert_eq!(world.get(TOKEN, FLAVOR).await.json()["expires_in"], 1200);

    for (path, headers, status) in [
        ("/", "", 200),
        (TOKEN, "", 403),
        (TOKEN, "Metadata-Flavor: Google\r\nX-Forwarded-For: 10.0.0.1\r\n", 403),
        (TOKEN, "Metadata-Flavor: Google\r\nOrigin: http://evil.example\r\n", 403),
        ("/computeMetadata/v1/instance", FLAVOR, 301),
        ("/computeMetadata/v1/project/project-id", FLAVOR, 200),
        ("/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://a.test", FLAVOR, 200),
        ("/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://b.test", FLAVOR, 403),
        ("/computeMetadata/v1/instance/attributes/kube-env", FLAVOR, 404),
        ("/aws/credentials", FLAVOR, 401),
    ] {
        let answer = world.get(path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers}: {answer:?}");
        assert!(status == 200 || !answer.body.contains("session\""), "{answer:?}");
    }

    world.issuer.push(StreamMessage::Stopped(refusal("SessionRevoked", false))).await;
    let stopped = async { while world.get(TOKEN, FLAVOR).await.status != 403 {} };
    timeout(PATIENCE, stopped).await.expect("the refusal in time");
    let answer = world.get(TOKEN, FLAVOR).await;
    assert_eq!(answer.body, "exeat: SessionRevoked: why: SessionRevoked\n");
    assert_eq!(answer.header("metadata-flavor"), Some("Google"));
}

#[tokio::test]
async fn no_other_kind_of_policy_opens_a_metadata_server() {
    let world = World::start(Provider::Aws, Says::Credential(common::aws(1, 0)), None).await;
    for path in ["/", "/computeMetadata/v1/project/project-id", TOKEN] {
        let answer = world.get(path, FLAVOR).await;
        assert_eq!((answer.status, answer.header("metadata-flavor")), (404, None), "{path}");
    }
}
