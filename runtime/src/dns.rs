//! Name look-ups in pure Rust: a static binary has no `getaddrinfo` worth using.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ServerOrderingStrategy};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

pub use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};

/// Answers kept per process: a handful of names is looked up, in IPv4 and IPv6.
const CACHED_ANSWERS: u64 = 64;

/// Looks names up as a `resolv.conf` file says, with its search domains, `ndots` and time-outs, and as `/etc/hosts`
/// says. Clones share the cache.
#[derive(Clone, Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    built: Mutex<Option<TokioResolver>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// As the system is configured, by `/etc/resolv.conf`.
    pub fn system() -> Self {
        Self::from_file("/etc/resolv.conf")
    }

    /// As `file` says, which is read at the first look-up. Where that fails the look-up fails, and the next one reads
    /// again.
    pub fn from_file(file: impl Into<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { file: file.into(), built: Mutex::default() }) }
    }

    /// With a configuration of its own. `options` as in `resolv.conf(5)`.
    ///
    /// # Errors
    /// When no resolver can be built from it.
    pub fn from_config(config: ResolverConfig, options: ResolverOpts) -> io::Result<Self> {
        let resolver = build(config, options)?;
        Ok(Self { shared: Arc::new(Shared { file: PathBuf::new(), built: Mutex::new(Some(resolver)) }) })
    }

    /// The addresses of `host`, a name or an IP address.
    ///
    /// # Errors
    /// `NotFound` when the name does not exist or has no address, `TimedOut` when no server answered, other kinds as
    /// they come. The message holds the name.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("look-up of {host:?}: {error}"));
        let resolver = self.resolver().map_err(failed)?;
        let answer = resolver.lookup_ip(host).await.map_err(io_error).map_err(failed)?;
        let addresses: Vec<_> = answer.iter().collect();
        if addresses.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address")));
        }
        Ok(addresses)
    }

    fn resolver(&self) -> io::Result<TokioResolver> {
        let mut built = self.shared.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &*built {
            return Ok(resolver.clone());
        }
        let file = &self.shared.file;
        let unusable = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        let content = fs::read(file).map_err(unusable)?;
        let (config, options) = parse_resolv_conf(content).map_err(io_error).map_err(unusable)?;
        let resolver = build(config, options)?;
        *built = Some(resolver.clone());
        Ok(resolver)
    }
}

/// Adds what a pod expects: both address families, and the servers in the order in which they are written.
fn build(config: ResolverConfig, mut options: ResolverOpts) -> io::Result<TokioResolver> {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.cache_size = CACHED_ANSWERS;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(io_error)
}

fn io_error(error: NetError) -> io::Error {
    let kind = match &error {
        error if error.is_nx_domain() || error.is_no_records_found() => io::ErrorKind::NotFound,
        NetError::Timeout => io::ErrorKind::TimedOut,
        NetError::Io(error) => error.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

/// The shape that hyper-util's `HttpConnector::new_with_resolver` takes. The port is the connector's to fill in.
impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            let sockets: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(sockets.into_iter())
        })
    }
}

#[cfg(test)]
mod tests;
