//! The admission policies hold when the webhook does not, so they must stand: the leader compares them with what was installed and puts
//! them back. A binding whose policy is gone admits everything, silently.

use super::context::Context;
use super::error::Error;
use super::images::{self, Replicas};
use exeat_crds::names;
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// They are looked at this often even if no change is seen.
const PERIOD: Duration = Duration::from_secs(60);
/// After a repair: the API server needs a moment until a policy is in force again.
const SETTLE: Duration = Duration::from_secs(3);

/// Whether the admission policies stand. While they do not, no session is opened.
#[derive(Clone, Debug, Default)]
pub struct Backstop(Arc<AtomicBool>);

impl Backstop {
    /// Whether they stood when they were looked at last. They are not trusted before the first look.
    pub fn stands(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, stands: bool) {
        self.0.store(stands, Ordering::Release);
    }
}

/// The admission policies as they must be.
pub(super) struct Wanted {
    manifests: Vec<DynamicObject>,
    replicas: Replicas,
    listed: Option<BTreeSet<String>>,
}

/// Reads the admission policies of `folder` as they were installed, and takes a first look at them. Without a folder there are none
/// to look after.
///
/// # Errors
/// A manifest that can't be read.
pub(super) async fn start(context: &Context, folder: Option<&Path>, namespace: &str) -> Result<Wanted, Error> {
    let manifests = match folder {
        Some(folder) => read(folder)?,
        None => {
            tracing::warn!("no --admission-policies: changed or removed admission policies will not be put back");
            Vec::new()
        }
    };
    let replicas = Replicas::known(&context.client, namespace).await;
    let mut wanted = Wanted { manifests, replicas, listed: None };
    look(context, &mut wanted).await;
    Ok(wanted)
}

/// Keeps them as they were installed.
pub(super) async fn keep(context: &Context, mut wanted: Wanted) {
    let mut changes = futures::stream::select(
        touched::<ValidatingAdmissionPolicy>(context),
        touched::<ValidatingAdmissionPolicyBinding>(context),
    );
    loop {
        let stood = look(context, &mut wanted).await;
        tokio::select! {
            _ = changes.next() => {}
            () = wanted.replicas.change() => {}
            () = tokio::time::sleep(if stood { PERIOD } else { SETTLE }) => {}
        }
        // One look is enough for all changes that have come by now.
        while changes.next().now_or_never().is_some() {}
        while wanted.replicas.change().now_or_never().is_some() {}
    }
}

/// Puts back what is not as it must be. Returns whether everything stood already.
async fn look(context: &Context, wanted: &mut Wanted) -> bool {
    let images = wanted.replicas.images();
    let ours_to_change = wanted.listed.as_ref().is_some_and(|listed| *listed != images);
    let mut stood = true;
    // A policy and its binding have one name, and one is nothing without the other.
    let mut healthy: BTreeMap<String, bool> = BTreeMap::new();
    for manifest in &wanted.manifests {
        let name = manifest.name_any();
        let listing = images::lists(manifest);
        let manifest = if listing { images::with(manifest, &images) } else { manifest.clone() };
        let healed = heal(context, &manifest).await;
        *healthy.entry(name.clone()).or_insert(true) &= healed.is_ok();
        match healed {
            Ok(false) => continue,
            Ok(true) if listing && ours_to_change => {
                tracing::info!(?images, "these images count as the sidecar's now");
                continue;
            }
            Ok(true) => {
                tracing::warn!(%name, "BackstopMissing: an admission policy was changed or missing; it was put back");
            }
            Err(error) => {
                tracing::error!(%name, %error, "BackstopMissing: an admission policy is not as installed and can't be put back");
            }
        }
        stood = false;
        context.backstop.set(false);
    }
    wanted.listed = Some(images);
    healthy.iter().for_each(|(name, healthy)| context.metrics.set_backstop(name, *healthy));
    context.backstop.set(stood);
    stood
}

fn touched<K>(context: &Context) -> impl futures::Stream<Item = ()> + Send + Unpin + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels("app.kubernetes.io/name=exeat");
    let events = watcher(Api::<K>::all(context.client.clone()), config).default_backoff().touched_objects();
    Box::pin(events.map_ok(|_| ()).map(|_| ()))
}

/// Applies the manifest where the API server's copy differs. Returns whether it did. The manifests write every default out, so that
/// equal means equal.
async fn heal(context: &Context, manifest: &DynamicObject) -> Result<bool, Error> {
    let types = manifest.types.clone().unwrap_or_default();
    let kind = GroupVersionKind::try_from(&types).map_err(|e| Error::Manifest(e.to_string()))?;
    let api: Api<DynamicObject> = Api::all_with(context.client.clone(), &ApiResource::from_gvk(&kind));
    let name = manifest.name_any();
    let before = api.get_opt(&name).await?;
    if before.as_ref().is_some_and(|b| is_as(b, manifest)) {
        return Ok(false);
    }
    context.gate.check()?;
    let params = PatchParams::apply(names::CONTROLLER).force();
    let after = api.patch(&name, &params, &Patch::Apply(manifest)).await?;
    Ok(before.is_none_or(|b| !is_as(&b, &after)))
}

fn is_as(found: &DynamicObject, wanted: &DynamicObject) -> bool {
    let images = |object: &DynamicObject| object.annotations().get(names::SIDECAR_IMAGES).cloned();
    found.data.get("spec") == wanted.data.get("spec") && images(found) == images(wanted)
}

fn read(folder: &Path) -> Result<Vec<DynamicObject>, Error> {
    let invalid = |path: &Path, e: &dyn std::fmt::Display| {
        Error::Manifest(format!("--admission-policies {}: {e}", path.display()))
    };
    let mut manifests = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| invalid(folder, &e))?;
    for entry in entries {
        let path = entry.map_err(|e| invalid(folder, &e))?.path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| invalid(&path, &e))?;
        for document in
            text.split("\n---").filter(|d| d.lines().any(|l| !l.trim().is_empty() && !l.starts_with(['#', '-'])))
        {
            let value: Value = serde_saphyr::from_str(document).map_err(|e| invalid(&path, &e))?;
            manifests.push(serde_json::from_value(value).map_err(|e| invalid(&path, &e))?);
        }
    }
    Ok(manifests)
}
