//! Resolves names as the system is configured: `/etc/hosts`, then DNS.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// Maximum time for a DNS server to respond before the query is repeated. The default of 5 s would
/// leave no time for a second query.
const QUERY_TIMEOUT_MAX: Duration = Duration::from_secs(2);

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
        let found = loaded.dns.lookup_ip(name).await.map_err(|error| {
            if error.is_no_records_found() {
                "the name has no address"
            } else if matches!(error, NetError::Timeout) {
                "no DNS server responded in time"
            } else {
                FAILED
            }
        })?;
        let addresses: Vec<_> = found.iter().collect();
        if addresses.is_empty() {
            return Err("the name has no address");
        }
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
        options.timeout = options.timeout.min(QUERY_TIMEOUT_MAX);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // The file is searched here, for both kinds of address. hickory would query DNS for the
        // kind that a listed name does not have.
        options.use_hosts_file = ResolveHosts::Never;
        // A few names per minute need no cache, and the next attempt sees changes.
        options.cache_size = 0;
        options.positive_max_ttl = Some(Duration::ZERO);
        options.negative_max_ttl = Some(Duration::ZERO);
        let dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Self { hosts, dns })
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

#[cfg(test)]
pub(crate) mod tests;
