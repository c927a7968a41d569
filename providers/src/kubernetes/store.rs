//! Makes and removes the objects of one session, and never touches another's.

use std::fmt::Debug;

use exeat_crds::names::ISSUER;
use exeat_crds::reason::Reason;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Doing, failure};
use super::objects::is_of;
use crate::{ProviderError, SessionId};

/// Tries against writers that are quicker.
const ATTEMPTS: u32 = 4;

/// What a session has in one namespace.
pub(super) struct Store<'a> {
    pub(super) client: &'a Client,
    pub(super) session: &'a SessionId,
    pub(super) namespace: &'a str,
    /// Whether that is the namespace of grants.
    pub(super) ours: bool,
}

/// A kind that sessions have.
pub(super) trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kept for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl Store<'_> {
    /// Makes an object, or brings the one that is there up to date. `known`: it is probably there. `change` names what of the
    /// object that is there must become otherwise, as a merge patch.
    ///
    /// # Errors
    /// As the API server refuses, and `ProviderRejected` where the name is taken by something that is not the session's.
    pub(super) async fn ensure<K: Kept>(
        &self,
        wanted: &K,
        known: bool,
        change: impl Fn(&K) -> Option<Value>,
    ) -> Result<K, ProviderError> {
        let (api, name, kind) = (self.api::<K>(), wanted.name_any(), K::kind(&()));
        let create = format!("create the {kind} {name}");
        let mut look_first = known;
        for _ in 0..ATTEMPTS {
            if !look_first {
                match api.create(&post(false), wanted).await {
                    Err(error) if has_code(&error, 409) => {}
                    made => return made.map_err(|e| failure(e, self.doing(&create))),
                }
            }
            look_first = false;
            let read = format!("read the {kind} {name}");
            let Some(found) = api.get_opt(&name).await.map_err(|e| failure(e, self.doing(&read)))? else { continue };
            if !is_of(found.meta(), self.session) {
                return Err(self.taken(&kind, &name));
            }
            let Some(mut patch) = change(&found) else { return Ok(found) };
            patch["metadata"]["resourceVersion"] = json!(found.resource_version());
            let params = PatchParams { field_manager: Some(ISSUER.to_owned()), ..PatchParams::default() };
            match api.patch(&name, &params, &Patch::Merge(&patch)).await {
                Err(error) if has_code(&error, 409) || has_code(&error, 404) => {}
                changed => return changed.map_err(|e| failure(e, self.doing(&format!("change the {kind} {name}")))),
            }
        }
        let message = format!("somebody else keeps changing the {kind} {name} in namespace {}", self.namespace);
        Err(ProviderError::passing(Reason::InternalError, message))
    }

    /// Asks whether an object could be made, and makes nothing.
    ///
    /// # Errors
    /// As the API server would refuse.
    pub(super) async fn try_out<K: Kept>(&self, wanted: &K) -> Result<(), ProviderError> {
        match self.api::<K>().create(&post(true), wanted).await {
            Ok(_) => Ok(()),
            // The checks come before the name is looked at.
            Err(error) if has_code(&error, 409) => Ok(()),
            Err(error) => Err(failure(error, self.doing(&format!("create a {}", K::kind(&()))))),
        }
    }

    /// Reads an object, if it is the session's.
    ///
    /// # Errors
    /// As the API server refuses.
    pub(super) async fn find<K: Kept>(&self, name: &str) -> Result<Option<K>, ProviderError> {
        let read = format!("read the {} {name}", K::kind(&()));
        let found = self.api::<K>().get_opt(name).await.map_err(|e| failure(e, self.doing(&read)))?;
        Ok(found.filter(|found: &K| is_of(found.meta(), self.session)))
    }

    /// Removes an object if it is the session's.
    ///
    /// # Errors
    /// As the API server refuses. What is gone already is success.
    pub(super) async fn remove<K: Kept>(&self, name: &str) -> Result<(), ProviderError> {
        let api = self.api::<K>();
        let delete = format!("delete the {} {name}", K::kind(&()));
        for _ in 0..ATTEMPTS {
            let Some(found) = self.find::<K>(name).await? else { return Ok(()) };
            let preconditions = Preconditions { uid: found.uid(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(name, &params).await {
                Err(error) if has_code(&error, 404) => return Ok(()),
                // Another object has taken the name: look again whose it is.
                Err(error) if has_code(&error, 409) => {}
                done => return done.map(drop).map_err(|e| failure(e, self.doing(&delete))),
            }
        }
        let message = format!("somebody else keeps making the {} {name} in namespace {}", K::kind(&()), self.namespace);
        Err(ProviderError::passing(Reason::InternalError, message))
    }

    pub(super) fn api<K: Kept>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    pub(super) fn doing<'b>(&'b self, what: &'b str) -> Doing<'b> {
        Doing { what, namespace: self.namespace, ours: self.ours }
    }

    fn taken(&self, kind: &str, name: &str) -> ProviderError {
        let message = format!(
            "the {kind} {name} in namespace {} was not made for this session; find out who made it, and delete it",
            self.namespace
        );
        ProviderError::lasting(Reason::ProviderRejected, message)
    }
}

fn post(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(ISSUER.to_owned()) }
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
