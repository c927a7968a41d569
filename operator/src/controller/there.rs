//! An API server in memory that is only read.

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::service_fn;

/// One in which these are, each by the end of its path, and how often it was asked.
pub(super) fn server(there: &[(String, Value)]) -> (Client, Arc<AtomicUsize>) {
    let (asked, there) = (Arc::new(AtomicUsize::new(0)), there.to_vec());
    let count = Arc::clone(&asked);
    let serve = service_fn(move |request: Request<Body>| {
        count.fetch_add(1, Ordering::Relaxed);
        let found = there.iter().find(|(path, _)| request.uri().path().ends_with(path.as_str()));
        let missing = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404});
        let (status, body) = found.map_or((404, missing), |(_, object)| (200, object.clone()));
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
    });
    (Client::new(serve, "default"), asked)
}

/// Objects by the names that they have.
pub(super) fn by_name(objects: &[Value]) -> Vec<(String, Value)> {
    objects.iter().map(|o| (format!("/{}", o["metadata"]["name"].as_str().unwrap()), o.clone())).collect()
}
