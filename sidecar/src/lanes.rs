//! Several policies behind one listener. Each has a lane of its own (credential, answers, paths), and knows nothing of the others: the
//! path of a request, which is its protocol's, says whose it is. A listener serves the policies of one group of the pod's containers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use exeat_runtime::clock::Clock;
use http::StatusCode;
use tokio::sync::watch;
use tower::Service;

use crate::args::{Provider, Wait};
use crate::metrics::{self, Metrics};
use crate::protocol::{self, aws, azure, gcp, json, kubernetes};
use crate::router::{METRICS_PATH, STARTED_PATH, counted, start_up};
use crate::snapshot::Snapshot;
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
}

/// What a listener tells besides, of policies of other groups too. It holds no credential.
pub struct Told {
    /// Those whose start-up is told.
    pub snapshots: Vec<watch::Receiver<Snapshot>>,
    /// What is counted. Empty: that is told at another listener.
    pub metrics: Vec<Arc<Metrics>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the start-up probe waits for.
    pub wait: Wait,
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
    told: Told,
}

/// Serves each request from the lane of its group that it is for, or with what is `told` besides.
pub fn router(own: Vec<Lane>, told: Told) -> Router {
    Router::new().fallback(dispatch).with_state(Arc::new(Lanes { own, told }))
}

async fn dispatch(State(all): State<Arc<Lanes>>, request: Request) -> Response {
    let Lanes { own: lanes, told } = &*all;
    let (path, query) = (request.uri().path(), request.uri().query());
    let instead = told.at(path);
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
    let Some(lane) = lane.or(lanes.first()) else { return not_found("nothing is served") };
    let answer = lane.answer(request).await;
    // Not what the guard refuses.
    instead.filter(|_| answer.status() == StatusCode::OK).unwrap_or(answer)
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

fn not_found(message: &str) -> Response {
    protocol::error(StatusCode::NOT_FOUND, None, "PathNotFound", message).to_response()
}

impl Told {
    /// What is told at this path. None: what the lane answers.
    fn at(&self, path: &str) -> Option<Response> {
        match path {
            STARTED_PATH => self.waiting(),
            METRICS_PATH => Some(self.counted()),
            _ => None,
        }
    }

    /// Of the first policy that has not started. None: all have.
    fn waiting(&self) -> Option<Response> {
        let now = self.clock.now();
        let mut all = self.snapshots.iter().map(|snapshots| start_up(&snapshots.borrow(), self.wait, now));
        all.find(|answer| answer.status != StatusCode::OK).map(|answer| answer.to_response())
    }

    fn counted(&self) -> Response {
        if self.metrics.is_empty() {
            return not_found("the metrics of all policies are at the first of the sidecar's ports");
        }
        let all: Vec<&Metrics> = self.metrics.iter().map(|metrics| &**metrics).collect();
        counted(metrics::encode(&all))
    }
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
