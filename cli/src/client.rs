//! The connection that kubectl would make: kubeconfig, context, exec plugins and tokens.

use crate::args::Global;
use crate::error::Error;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// Most objects that are asked for at once.
const PAGE: u32 = 500;
/// Longest wait for a connection: a wrong context must not look like a hang.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a watch: the API server ends one by itself before that.
const WATCH: Duration = Duration::from_secs(300);

/// A client, and the namespace that commands look at.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// `--namespace`, or the context's.
    pub namespace: String,
    /// Whether `--all-namespaces` was given.
    pub all: bool,
    /// Where Exeat is installed.
    pub system: String,
    config: Config,
}

impl Cluster {
    /// Connects as the command line says.
    ///
    /// # Errors
    /// A kubeconfig that can't be used.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        let mut config = config(global).await?;
        if let Some(user) = &global.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(global.as_groups.clone()).filter(|groups| !groups.is_empty());
        }
        config.connect_timeout = Some(CONNECT.min(global.request_timeout));
        config.read_timeout = Some(global.request_timeout);
        // Else the time that somebody thinks at a question counts as the API server's silence.
        config.reset_reader_on_write = true;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config.clone()).map_err(|error| Error::Connect(error.to_string()))?;
        Ok(Self { client, namespace, all: global.all_namespaces, system: global.system_namespace.clone(), config })
    }

    /// The same for watches, which may be silent for longer than an answer may take.
    ///
    /// # Errors
    /// As [`Cluster::connect`].
    pub fn for_watches(&self) -> Result<Self, Error> {
        let mut config = self.config.clone();
        config.read_timeout = Some(WATCH);
        let client = Client::try_from(config).map_err(|error| Error::Connect(error.to_string()))?;
        Ok(Self { client, ..self.clone() })
    }

    /// The namespace to look in, as a sentence ends with it.
    pub fn place(&self) -> String {
        place(self.scope())
    }

    /// The namespace to list in; `None` for all.
    pub fn scope(&self) -> Option<&str> {
        (!self.all).then_some(self.namespace.as_str())
    }

    /// The objects of a kind in the scope.
    pub fn api<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match self.scope() {
            Some(namespace) => kube::Api::namespaced(self.client.clone(), namespace),
            None => kube::Api::all(self.client.clone()),
        }
    }
}

/// The same for a namespace, or for all.
pub fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"))
}

/// Names the server that gave no answer, and what to look at.
pub async fn unreachable(global: &Global, why: &str) -> Error {
    let server = config(global).await.map_or_else(|_| "the server".to_owned(), |c| c.cluster_url.to_string());
    Error::Connect(format!(
        "{}: {why}; does it run, is it reachable from here, and is it the one that is meant (--context, --kubeconfig; `kubectl cluster-info`)?",
        server.trim_end_matches('/')
    ))
}

/// All objects, however many there are, page by page.
///
/// # Errors
/// The API server's.
pub async fn list<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    params: ListParams,
) -> Result<Vec<K>, kube::Error> {
    list_where(api, params, |_| true).await
}

/// Those that are meant: what is not is forgotten with its page.
///
/// # Errors
/// The API server's.
pub async fn list_where<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    params: ListParams,
    meant: impl Fn(&K) -> bool,
) -> Result<Vec<K>, kube::Error> {
    let mut params = params.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items.into_iter().filter(&meant));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

async fn config(global: &Global) -> Result<Config, Error> {
    let explicit = global.kubeconfig.is_some() || global.context.is_some();
    let connect = |error: &dyn std::fmt::Display| Error::Connect(error.to_string());
    if !explicit {
        return Config::infer().await.map_err(|error| connect(&error));
    }
    let read = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = read.map_err(|error| connect(&error))?;
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| connect(&error))
}
