//! Several policies behind one listener. Each has a lane of its own (credential, answers, paths), and knows nothing of the others: the
//! path of a request, which is its protocol's, says whose it is. A listener serves the policies of one group of the pod's containers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use tower::Service;

use crate::args::Provider;
use crate::metrics::{self, Metrics};
use crate::protocol::{self, aws, azure, gcp, json, kubernetes};
use crate::router::{METRICS_PATH, STARTED_PATH};
use crate::vault::judge;

/// One policy.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its name.
    pub policy: String,
    /// Kind of its provider.
    pub provider: Provider,
    /// What serves it, guard and all.
    pub router: Router,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

impl Lane {
    async fn answer(&self, request: Request) -> Response {
        match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// What one listener answers from.
struct Lanes {
    /// The group's own: they alone give credentials.
    own: Vec<Lane>,
    /// Those of other groups, which are asked whether they have started, and what they count.
    others: Vec<Lane>,
}

impl Lanes {
    fn all(&self) -> impl Iterator<Item = &Lane> {
        self.own.iter().chain(&self.others)
    }
}

/// Serves each request from the lane of its group that it is for. Of `others` it tells start-up and metrics, nothing else.
pub fn router(own: Vec<Lane>, others: Vec<Lane>) -> Router {
    Router::new().fallback(dispatch).with_state(Arc::new(Lanes { own, others }))
}

async fn dispatch(State(all): State<Arc<Lanes>>, request: Request) -> Response {
    match request.uri().path() {
        STARTED_PATH => return started(&all, request).await,
        METRICS_PATH => return counted(&all, request).await,
        _ => {}
    }
    let lanes = &all.own;
    let (path, query) = (request.uri().path(), request.uri().query());
    let lane = match provider_of(path) {
        Some(provider) => lanes.iter().find(|lane| lane.provider == provider),
        None if path == json::PATH => match lanes.iter().find(|lane| names(query, &lane.policy)) {
            None if lanes.len() == 1 && !asks_by_name(query) => lanes.first(),
            None => return unnamed(),
            named => named,
        },
        None => None,
    };
    // What no lane serves, any of them refuses.
    match lane.or(lanes.first()) {
        Some(lane) => lane.answer(request).await,
        None => protocol::error(StatusCode::NOT_FOUND, None, "PathNotFound", "nothing is served").to_response(),
    }
}

/// The kind of provider whose protocol has this path.
fn provider_of(path: &str) -> Option<Provider> {
    if path == aws::PATH {
        Some(Provider::Aws)
    } else if path == azure::PATH {
        Some(Provider::Azure)
    } else if path.starts_with(judge::PREFIX) {
        Some(Provider::Vault)
    } else if path.starts_with(kubernetes::PATH) || kubernetes::is_api(path) {
        Some(Provider::Kubernetes)
    } else if gcp::is_metadata(path) {
        Some(Provider::Gcp)
    } else {
        None
    }
}

/// Whether the query of a request for plain JSON names this policy. Names of objects need no escaping.
fn names(query: Option<&str>, policy: &str) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair.strip_prefix("policy=") == Some(policy))
}

fn asks_by_name(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair.starts_with("policy="))
}

fn unnamed() -> Response {
    let message =
        format!("this pod has several policies; ask for one of this container's: {}?policy=<name>", json::PATH);
    protocol::error(StatusCode::BAD_REQUEST, None, "PolicyNotNamed", &message).to_response()
}

/// Started once each lane is: its first credential held, or its denial known. Else the first that is not says so.
async fn started(lanes: &Lanes, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let mut last = Response::new(Body::empty());
    for lane in lanes.all() {
        last = lane.answer(Request::from_parts(head.clone(), Body::empty())).await;
        if last.status() != StatusCode::OK {
            break;
        }
    }
    last
}

/// The metrics of all lanes, where the guard lets the request pass.
async fn counted(lanes: &Lanes, request: Request) -> Response {
    let Some(first) = lanes.own.first() else { return Response::new(Body::empty()) };
    let mut response = first.answer(request).await;
    if response.status() == StatusCode::OK {
        let all: Vec<&Metrics> = lanes.all().map(|lane| &*lane.metrics).collect();
        match metrics::encode(&all) {
            Ok(text) => {
                response.headers_mut().remove(CONTENT_LENGTH);
                *response.body_mut() = text.into();
            }
            Err(error) => {
                let message = format!("metrics can't be encoded: {error}");
                return protocol::error(StatusCode::INTERNAL_SERVER_ERROR, None, "InternalError", &message)
                    .to_response();
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_protocol() {
        for (path, provider) in [
            ("/aws/credentials", Some(Provider::Aws)),
            ("/v1/secret/data/a", Some(Provider::Vault)),
            ("/kubernetes/denied/api/v1/pods", Some(Provider::Kubernetes)),
            ("/api/v1/pods", Some(Provider::Kubernetes)),
            ("/azure/token", Some(Provider::Azure)),
            ("/computeMetadata/v1/project/project-id", Some(Provider::Gcp)),
            ("/", Some(Provider::Gcp)),
            ("/exeat/v1/credential", None),
            ("/aws/credentials/", None),
        ] {
            assert_eq!(provider_of(path), provider, "{path}");
        }
    }

    #[test]
    fn a_policy_is_named_whole() {
        assert!(names(Some("policy=reader"), "reader") && names(Some("a=b&policy=reader"), "reader"));
        assert!(asks_by_name(Some("a=b&policy=x")) && !asks_by_name(Some("xpolicy=reader")) && !asks_by_name(None));
        for query in
            [None, Some(""), Some("policy=read"), Some("policy=readers"), Some("xpolicy=reader"), Some("policy")]
        {
            assert!(!names(query, "reader"), "{query:?}");
        }
    }
}
