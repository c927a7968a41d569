//! What was made for sessions, found without any of them. A session's account is made first and removed last, so the accounts tell of all.
//! They are read as metadata, and Secrets not at all: the right to list Secrets would be one to read them.

use exeat_crds::names::SESSION_UID_LABEL;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, ListParams};

use super::error::{Doing, failure};
use super::objects::made_of;
use crate::{Made, ProviderError};

/// Accounts that are read at once.
const PAGE: u32 = 500;

/// The accounts of all sessions in the namespace of grants.
///
/// # Errors
/// As the API server refuses.
pub(super) async fn list(client: &Client, namespace: &str) -> Result<Vec<Made>, ProviderError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let doing = Doing { what: "list the ServiceAccounts", namespace, ours: true };
    let mut params = ListParams::default().labels(SESSION_UID_LABEL).limit(PAGE);
    let mut made = Vec::new();
    loop {
        let page = accounts.list_metadata(&params).await.map_err(|e| failure(e, doing))?;
        made.extend(page.items.iter().filter_map(|account| made_of(&account.metadata)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(made),
        }
    }
}
