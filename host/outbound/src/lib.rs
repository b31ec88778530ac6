//! Connections that Bulkhead opens: the only crate that calls anybody.
//!
//! There are two kinds of peers. The upstream is the operator's choice, and its address is taken as
//! it is. A callback is a stranger's choice: every address its name leads to must be a public one or
//! be allowed by the operator, at every try, and the connection goes to an address that was looked
//! at, not to the name.
//!
//! An exchange is one request on a connection of its own, over HTTP/1.1, without proxies, and without
//! following redirects. It is never repeated: a pool would, silently, when a connection it kept turns
//! out to be closed, and each repetition is a call that the upstream counts.

mod allow;
mod connect;
mod exchange;
mod reason;
mod resolve;
mod special_purpose;
mod target;
mod tls;
mod wire;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use url::Host;

pub use allow::{Allowed, AllowedError};
pub use exchange::{Answer, Failure, HEAD_OCTETS_MAX, Limits, Request};
pub use special_purpose::Special;
pub use target::{CALLBACK_URL_OCTETS_MAX, PATH_OCTETS_MAX, Refusal, Target};
pub use tls::CaFileError;

use exchange::Needed;
use hickory_resolver::net::NetError;
use resolve::{Resolver, Sources};

/// What the operator sets.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Certificates in PEM that are trusted instead of the public roots: of authorities, or a server's
    /// own if it is not marked as an authority's.
    pub ca_file: Option<PathBuf>,
    /// What callbacks may reach although its address is not public.
    pub callback_allow: Vec<Allowed>,
}

/// Why there are no connections at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with certificates has none that could be trusted.
    #[error("{}: {why}", file.display())]
    CaFile {
        /// Its path.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        why: CaFileError,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// Names cannot be resolved.
    #[error("names cannot be resolved: {0}")]
    Dns(#[source] NetError),
}

/// Opens connections. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    tls: Arc<rustls::ClientConfig>,
    https: Arc<rustls::ClientConfig>,
    callback_allow: Vec<Allowed>,
}

impl Outbound {
    /// Reads the file with certificates, and what the system says about names.
    ///
    /// # Errors
    /// [`SetupError`] where the certificates cannot be used, or TLS or DNS cannot be set up.
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        Self::with_sources(setup, Sources::default())
    }

    fn with_sources(setup: &Setup, sources: Sources) -> Result<Self, SetupError> {
        let tls = tls::config(setup.ca_file.as_deref())?;
        let resolver = Resolver::new(sources).map_err(SetupError::Dns)?;
        let shared = Shared {
            resolver,
            https: Arc::new(tls::for_http(&tls)),
            tls: Arc::new(tls),
            callback_allow: setup.callback_allow.clone(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whom TLS trusts, also for PostgreSQL.
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.shared.tls)
    }

    /// Looks at a URL for callbacks, without asking where its name leads: [`Self::callback`] does.
    ///
    /// # Errors
    /// [`Refusal`] where the URL cannot be called, or its host must not be.
    pub fn callback_target(&self, url: &str) -> Result<Target, Refusal> {
        let too_long = Refusal::TooLong {
            octets_max: CALLBACK_URL_OCTETS_MAX,
        };
        if url.len() > CALLBACK_URL_OCTETS_MAX {
            return Err(too_long);
        }
        let target = Target::parse(url)?;
        // Escaped, it may have grown.
        if target.as_str().len() > CALLBACK_URL_OCTETS_MAX {
            return Err(too_long);
        }
        self.shared.permit_name(&target)?;
        Ok(target)
    }

    /// Calls the upstream. A call that is dropped closes its connection with a reset.
    ///
    /// # Errors
    /// [`Failure`] where there is no whole answer; [`Failure::sent`] says whether the upstream may have got
    /// the request.
    pub async fn upstream(
        &self,
        target: &Target,
        request: Request,
        limits: Limits,
    ) -> Result<Answer, Failure> {
        let stream = self.connect(target, Peer::Upstream, limits).await?;
        exchange::exchange(stream, target, request, limits, Needed::Whole).await
    }

    /// Calls a stranger back. The answer is there when its head came, and has no body: whatever a
    /// receiver says beyond its status is nobody's business.
    ///
    /// # Errors
    /// [`Failure`] where the URL must not be called or its answer has no whole head.
    pub async fn callback(
        &self,
        target: &Target,
        request: Request,
        limits: Limits,
    ) -> Result<Answer, Failure> {
        let stream = self.connect(target, Peer::Stranger, limits).await?;
        exchange::exchange(stream, target, request, limits, Needed::Head).await
    }

    async fn connect(
        &self,
        target: &Target,
        peer: Peer,
        limits: Limits,
    ) -> Result<connect::Stream, Failure> {
        // A connection that is there later than either is of no use.
        let until = limits.send_before.min(limits.deadline);
        if Instant::now() >= until {
            return Err(Failure::Late);
        }
        let connected = async {
            let addresses = self.shared.addresses(target, peer).await?;
            connect::connect(addresses, target, &self.shared.https, until)
                .await
                .map_err(Failure::NotConnected)
        };
        timeout_at(until, connected)
            .await
            .unwrap_or(Err(Failure::NotConnected(reason::NOT_IN_TIME)))
    }
}

#[derive(Debug, Clone, Copy)]
enum Peer {
    /// The operator's choice.
    Upstream,
    /// A stranger's choice.
    Stranger,
}

impl Shared {
    async fn addresses(&self, target: &Target, peer: Peer) -> Result<Vec<IpAddr>, Failure> {
        if let Peer::Stranger = peer {
            self.permit_name(target).map_err(Failure::Refused)?;
        }
        let name = match target.host() {
            Host::Ipv4(address) => return Ok(vec![(*address).into()]),
            Host::Ipv6(address) => return Ok(vec![(*address).into()]),
            Host::Domain(name) => name,
        };
        let resolved = self.resolver.resolve(name).await;
        let addresses = resolved.map_err(Failure::NotConnected)?;
        match peer {
            Peer::Stranger if !self.allows_name(name, target.port()) => {
                // One address that must not be called is enough: a name of an honest receiver has
                // none, and the others may be there to be chosen at another time.
                for address in &addresses {
                    self.permit_address(*address, target.port(), false)
                        .map_err(Failure::Refused)?;
                }
            }
            Peer::Stranger | Peer::Upstream => {}
        }
        Ok(addresses)
    }

    /// What can be said of a host without resolving it.
    fn permit_name(&self, target: &Target) -> Result<(), Refusal> {
        let port = target.port();
        match target.host() {
            Host::Ipv4(address) => self.permit_address((*address).into(), port, true),
            Host::Ipv6(address) => self.permit_address((*address).into(), port, true),
            Host::Domain(name) if target::is_localhost(name) && !self.allows_name(name, port) => {
                Err(Refusal::Localhost)
            }
            Host::Domain(_) => Ok(()),
        }
    }

    fn permit_address(&self, address: IpAddr, port: u16, literal: bool) -> Result<(), Refusal> {
        let allowed = |allowed: &Allowed| allowed.address(address, port);
        match Refusal::address(address, literal) {
            Some(refusal) if !self.callback_allow.iter().any(allowed) => Err(refusal),
            _ => Ok(()),
        }
    }

    fn allows_name(&self, name: &str, port: u16) -> bool {
        let allowed = |allowed: &Allowed| allowed.name(name, port);
        self.callback_allow.iter().any(allowed)
    }
}

#[cfg(test)]
mod tests;
