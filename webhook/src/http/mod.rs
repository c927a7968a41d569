//! The webhook's HTTP side: four paths, each of which takes an `AdmissionReview` and answers with one.

mod objects;
mod pods;
mod review;
mod stamps;
mod workloads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use exeat_runtime::clock::Clock;
use tokio::sync::watch;

use self::review::{Answer, Request};
use crate::annotations::Asked;
use crate::inject::Found;
use crate::metrics::Metrics;
use crate::objects::{LookupError, Objects};
use crate::settings::{InstallationSettings, Settings};

/// Path of the injector.
pub const MUTATE_PODS: &str = "/mutate-pods";
/// Path of the stamps on our own kinds.
pub const MUTATE_OBJECTS: &str = "/mutate-objects";
/// Path of the validator of our own kinds.
pub const VALIDATE: &str = "/validate";
/// Path of the advice on workload templates.
pub const VALIDATE_WORKLOADS: &str = "/validate-workloads";

/// The API server takes objects of 3 MiB at most, and a review can hold an old and a new one.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Less than the 5 s after which the API server gives up, so that our own message arrives.
const DEADLINE: Duration = Duration::from_secs(4);

/// What the handlers need. Clones share it.
#[derive(Clone)]
pub struct App {
    objects: Objects,
    settings: Arc<InstallationSettings>,
    sidecar_images: watch::Receiver<Vec<String>>,
    issuer_ca: watch::Receiver<Option<String>>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl App {
    /// Puts the parts together. `sidecar_images` are those that replicas of the webhook inject, of whatever release;
    /// `issuer_ca` is the issuer's root as PEM, once it is known.
    pub fn new(
        objects: Objects,
        settings: InstallationSettings,
        sidecar_images: watch::Receiver<Vec<String>>,
        issuer_ca: watch::Receiver<Option<String>>,
        metrics: Metrics,
        clock: impl Clock,
    ) -> Self {
        Self { objects, settings: Arc::new(settings), sidecar_images, issuer_ca, metrics, clock: Arc::new(clock) }
    }

    /// What is injected into pods of a namespace. A sidecar from a replica of another release is as genuine as our own: the API
    /// server may ask us about a pod that it has injected.
    fn settings(&self, namespace: &str) -> Settings {
        let mut settings = self.settings.of(namespace);
        settings.sidecar.accepted_images.extend(self.sidecar_images.borrow().iter().cloned());
        settings
    }

    /// What there is of each policy that a pod names.
    async fn found(&self, namespace: &str, asked: &Asked) -> Result<Vec<Found>, LookupError> {
        let mut all = Vec::new();
        for name in asked.policies() {
            let policy = self.objects.policy(namespace, &name).await?;
            let provider = match &policy {
                Some(policy) => self.objects.provider(&policy.spec.provider_ref.name).await?,
                None => None,
            };
            all.push(Found { policy, provider });
        }
        Ok(all)
    }
}

/// The webhook's endpoints.
pub fn router(app: App) -> Router {
    Router::new()
        .route(MUTATE_PODS, post(mutate_pods))
        .route(MUTATE_OBJECTS, post(mutate_objects))
        .route(VALIDATE, post(validate))
        .route(VALIDATE_WORKLOADS, post(validate_workloads))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}

async fn mutate_pods(State(app): State<App>, body: Bytes) -> Response {
    serve(&app, MUTATE_PODS, &body, async |request| pods::mutate(&app, request).await).await
}

async fn mutate_objects(State(app): State<App>, body: Bytes) -> Response {
    serve(&app, MUTATE_OBJECTS, &body, async |request| stamps::stamp(&app, request)).await
}

async fn validate(State(app): State<App>, body: Bytes) -> Response {
    serve(&app, VALIDATE, &body, async |request| objects::validate(&app, request).await).await
}

async fn validate_workloads(State(app): State<App>, body: Bytes) -> Response {
    serve(&app, VALIDATE_WORKLOADS, &body, async |request| workloads::advise(&app, request).await).await
}

async fn serve(app: &App, path: &'static str, body: &[u8], judge: impl AsyncFnOnce(&Request) -> Answer) -> Response {
    let started = Instant::now();
    let request = match review::decode(body) {
        Ok(request) => request,
        Err(error) => {
            app.metrics.answered(path, "bad_request", started.elapsed());
            return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
        }
    };
    let answer = tokio::time::timeout(DEADLINE, judge(&request)).await.unwrap_or_else(|_| {
        Answer::Unavailable("the API server did not answer the webhook in time; try again".to_owned())
    });
    if let Answer::Refuse(problems) | Answer::Forbid(problems) = &answer {
        app.metrics.refused(path, problems);
        let name = review::display_name(&request);
        tracing::info!(path, namespace = request.namespace, name, message = %crate::message::all(problems), "refused");
    }
    app.metrics.answered(path, answer.outcome(), started.elapsed());
    Json(review::encode(&request, answer)).into_response()
}
