//! Resolves names as the system is configured: `/etc/hosts`, then DNS.
//!
//! IPv4 and IPv6 addresses are queried at the same time, and the first usable response is enough
//! (RFC 8305, "Happy Eyeballs"). Some DNS servers drop queries for IPv6.

mod cache;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache::{Cache, TTL_MAX};
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// Maximum time for a DNS server to respond before the query is repeated. The default of 5 s would
/// leave no time for a second query.
const QUERY_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// Minimum time for a DNS server to respond, as in the C library. `options timeout:0` would make
/// every query fail at once.
const QUERY_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Time for the addresses of the second family after the final response for the first one (RFC
/// 8305, section 3, recommends 50 ms). It is longer here, so that a name with one forbidden address
/// is usually rejected as a whole.
const SECOND_FAMILY_DELAY: Duration = Duration::from_millis(250);

/// The configuration files of the resolver. Only tests use other values than the default.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hosts: PathBuf,
    /// The port of the DNS servers.
    pub(crate) port: u16,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            port: 53,
        }
    }
}

/// Resolves names, and reads both files again when they have changed, because the network may
/// change while the server runs.
#[derive(Debug)]
pub(crate) struct Resolver {
    sources: Sources,
    current: Mutex<Option<(Stamps, Arc<Loaded>)>>,
}

/// Inode, size and modification time of the two files, to notice changes.
type Stamps = [Option<(u64, u64, i64, i64)>; 2];

#[derive(Debug)]
struct Loaded {
    hosts: Hosts,
    dns: TokioResolver,
    cache: Cache,
}

impl Resolver {
    pub(crate) fn new(sources: Sources) -> Result<Self, NetError> {
        let resolver = Self {
            sources,
            current: Mutex::new(None),
        };
        resolver.loaded()?;
        Ok(resolver)
    }

    /// Returns all addresses of a name, at least one. The error is a reason for the caller.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, &'static str> {
        const FAILED: &str = "the name could not be resolved";
        let loaded = self.loaded().map_err(|_| FAILED)?;
        let listed = loaded.listed(name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if let Some(kept) = loaded.cache.get(name, Instant::now()) {
            return Ok(kept);
        }
        let found = loaded.query(name).await.map_err(|error| {
            if error.is_no_records_found() {
                "the name has no address"
            } else if matches!(error, NetError::Timeout) {
                "no DNS server responded in time"
            } else {
                FAILED
            }
        })?;
        let Found { addresses, ttl, .. } = found;
        if addresses.is_empty() {
            return Err("the name has no address");
        }
        loaded.cache.put(name, &addresses, ttl, Instant::now());
        Ok(addresses)
    }

    fn loaded(&self) -> Result<Arc<Loaded>, NetError> {
        let stamps = [&self.sources.resolv_conf, &self.sources.hosts].map(|file| {
            let about = fs::metadata(file).ok()?;
            Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
        });
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((then, loaded)) if *then == stamps => Ok(Arc::clone(loaded)),
            _ => {
                let loaded = Arc::new(Loaded::new(&self.sources)?);
                *current = Some((stamps, Arc::clone(&loaded)));
                Ok(loaded)
            }
        }
    }
}

impl Loaded {
    fn new(sources: &Sources) -> Result<Self, NetError> {
        let mut hosts = Hosts::default();
        // A missing file means that it lists no names.
        if let Ok(file) = fs::File::open(&sources.hosts)
            && let Err(error) = hosts.read_hosts_conf(file)
        {
            tracing::warn!(%error, "cannot read all of /etc/hosts");
        }
        let read = fs::read(&sources.resolv_conf)
            .map_err(NetError::from)
            .and_then(parse_resolv_conf);
        let (config, mut options) = read.unwrap_or_else(|error| {
            // This is the default of resolv.conf(5) for a file without servers. No other server is
            // used, because host names must not be disclosed to third parties.
            tracing::warn!(%error, "/etc/resolv.conf has no DNS server; using 127.0.0.1");
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            (config, ResolverOpts::default())
        });
        let mut servers = config.name_servers().to_vec();
        for connection in servers
            .iter_mut()
            .flat_map(|server| &mut server.connections)
        {
            connection.port = sources.port;
        }
        let config =
            ResolverConfig::from_parts(config.domain().cloned(), config.search().to_vec(), servers);
        options.timeout = options.timeout.clamp(QUERY_TIMEOUT_MIN, QUERY_TIMEOUT_MAX);
        // The file is searched here, for both kinds of address. hickory would query DNS for the
        // kind that a listed name does not have.
        options.use_hosts_file = ResolveHosts::Never;
        // `Cache` keeps the addresses of both families together.
        options.cache_size = 0;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(Duration::ZERO);
        let dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        let cache = Cache::default();
        Ok(Self { hosts, dns, cache })
    }

    /// Queries both families. Waits for the second one only for a short time if the first one has
    /// addresses, or if the name does not exist.
    async fn query(&self, name: &str) -> Result<Found, NetError> {
        let mut v4 = pin!(self.query_family(name, RecordType::A));
        let mut v6 = pin!(self.query_family(name, RecordType::AAAA));
        let (first, second) = tokio::select! {
            first = &mut v4 => (first, v6),
            first = &mut v6 => (first, v4),
        };
        let is_final = match &first {
            Ok(found) => !found.addresses.is_empty(),
            // Some servers return this for one family of an existing name.
            Err(error) => error.is_nx_domain(),
        };
        let second = if is_final {
            match tokio::time::timeout(SECOND_FAMILY_DELAY, second).await {
                Ok(second) => second,
                Err(_) => return first,
            }
        } else {
            second.await
        };
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(first.with(second)),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            // The lack of one family explains nothing if the other one failed.
            (Err(first), Err(second)) if first.is_no_records_found() => Err(second),
            (Err(first), Err(_)) => Err(first),
        }
    }

    async fn query_family(&self, name: &str, kind: RecordType) -> Result<Found, NetError> {
        self.dns
            .lookup(name, kind)
            .await
            .map(|found| Found::of(&found))
    }

    fn listed(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_ascii(name) else {
            return Vec::new();
        };
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| {
                self.hosts
                    .lookup_static_host(&Query::query(name.clone(), kind))
            })
            .flat_map(|found| {
                let addresses = found
                    .answers()
                    .iter()
                    .filter_map(|record| record.data.ip_addr());
                addresses.collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Addresses of a name.
#[derive(Debug)]
struct Found {
    /// The name with the search domain that was used.
    name: Name,
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

impl Found {
    fn of(lookup: &Lookup) -> Self {
        let answers = lookup.answers();
        let addresses = answers.iter().filter_map(|record| record.data.ip_addr());
        let ttl = answers.iter().map(|record| record.ttl).min();
        Self {
            name: lookup.query().name().clone(),
            addresses: addresses.collect(),
            ttl: Duration::from_secs(ttl.unwrap_or(0).into()),
        }
    }

    /// Adds the other family. With search domains, the families may belong to different hosts. Then
    /// only the first one counts.
    fn with(mut self, other: Self) -> Self {
        if self.addresses.is_empty() {
            return other;
        }
        if self.name == other.name && !other.addresses.is_empty() {
            self.addresses.extend(other.addresses);
            self.ttl = self.ttl.min(other.ttl);
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests;
