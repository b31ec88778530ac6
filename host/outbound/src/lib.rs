//! Outgoing HTTP requests: the only crate that opens HTTP connections to other hosts.
//!
//! There are two kinds of peers. The operator chooses the upstream, and its address is not checked.
//! Callers choose the receivers of callbacks. At every attempt, each address of a receiver's name
//! must be public or allowed by the operator, and the connection goes to a checked address, not to
//! the name.
//!
//! An exchange is one request on its own connection, over HTTP/1.1, without proxies and without
//! following redirects. It is never repeated. A connection pool silently repeats a request if a
//! kept connection turns out to be closed, and the upstream counts each repetition as a call.

mod allow;
mod call;
mod connect;
mod exchange;
#[cfg(test)]
#[path = "../../../tests/listed.rs"]
mod listed;
mod reason;
mod receiver;
mod resolve;
mod special_purpose;
mod target;
mod tls;
mod tracked_stream;
mod verifier;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use url::Host;

pub use allow::{AllowRule, AllowRuleError};
pub use call::{Failure, Limits, Request, Response, StatusLineFault};
pub use exchange::HEAD_BYTES_MAX;
pub use special_purpose::Special;
pub use target::{CALLBACK_URL_BYTES_MAX, PATH_BYTES_MAX, Target, TargetError};
pub use tls::CaFileError;

use hickory_resolver::net::NetError;
use resolve::{Resolver, Sources};

/// The settings of outgoing connections.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Path of a file with PEM certificates that are trusted instead of the public roots. These are
    /// certificates of authorities, or servers' own certificates. Default: the public roots that are
    /// built into the program.
    pub ca_file: Option<PathBuf>,
    /// Hosts and networks that callbacks may reach although their addresses are not public.
    /// Default: none.
    pub callback_allow: Vec<AllowRule>,
}

/// The reason why [`Outbound`] cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates in the file cannot be used.
    #[error("{}: {why}", file.display())]
    CaFile {
        /// The path of the file.
        file: PathBuf,
        /// The reason.
        #[source]
        why: CaFileError,
    },
    /// The TLS configuration cannot be created.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The DNS resolver cannot be created.
    #[error("cannot set up DNS: {0}. Check /etc/resolv.conf and /etc/hosts")]
    Dns(#[source] NetError),
}

/// Opens connections for HTTP requests. A clone is cheap and shares the configuration and the
/// resolver.
#[derive(Debug, Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    tls: Arc<rustls::ClientConfig>,
    https: Arc<rustls::ClientConfig>,
    callback_allow: Vec<AllowRule>,
}

impl Outbound {
    /// Creates the client. Reads the file of certificates, `/etc/resolv.conf` and `/etc/hosts`.
    ///
    /// The certificates are read only once. The other two files are read again when they have
    /// changed.
    ///
    /// # Errors
    /// [`SetupError`] if the certificates cannot be used, or if TLS or DNS cannot be set up.
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

    /// Returns the TLS configuration (TLS 1.2 and 1.3) with the trusted certificates. PostgreSQL connections use it,
    /// too.
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.shared.tls)
    }

    /// Parses and checks the URL of a callback, which has at most [`CALLBACK_URL_BYTES_MAX`]
    /// bytes. Does not resolve its name: [`Self::callback`] resolves it and checks its addresses.
    ///
    /// # Errors
    /// [`TargetError`] if the URL is invalid, or if its host is not allowed.
    pub fn callback_target(&self, url: &str) -> Result<Target, TargetError> {
        let too_long = TargetError::TooLong {
            bytes_max: CALLBACK_URL_BYTES_MAX,
        };
        if url.len() > CALLBACK_URL_BYTES_MAX {
            return Err(too_long);
        }
        let target = Target::parse(url)?;
        // Percent-encoding may have made it longer.
        if target.as_str().len() > CALLBACK_URL_BYTES_MAX {
            return Err(too_long);
        }
        self.shared.permit_name(&target)?;
        Ok(target)
    }

    /// Sends a request to the upstream, without checking its address, and returns the whole
    /// response, whatever its status. It is sent once, on a connection of its own (RFC 9112). No byte is sent after
    /// `limits.send_before`, and the result is returned by `limits.deadline`.
    ///
    /// Dropping the future closes the connection with a reset. The upstream may have received the
    /// request.
    ///
    /// # Errors
    /// [`Failure`] if there is no complete response. [`Failure::sent`] returns whether the upstream
    /// may have received the request.
    pub async fn upstream(
        &self,
        target: &Target,
        request: Request,
        limits: Limits,
    ) -> Result<Response, Failure> {
        let stream = self.connect(target, Peer::Upstream, limits).await?;
        exchange::exchange(stream, target, request, limits).await
    }

    /// Sends a request to the receiver of a callback, once. Resolves its name and checks its addresses
    /// each time. A redirect is a response like any other. The limits apply as in [`Self::upstream`].
    ///
    /// The status line of the response decides. It returns at most one second after that line. The body
    /// of the returned response is empty, because only the status and `Retry-After` count.
    ///
    /// Dropping the future closes the connection with a reset. The receiver may have received the
    /// request.
    ///
    /// # Errors
    /// [`Failure`] if the receiver is not allowed, or if the status line of its response is incomplete.
    /// [`Failure::sent`] returns whether the receiver may have received the request.
    pub async fn callback(
        &self,
        target: &Target,
        request: Request,
        limits: Limits,
    ) -> Result<Response, Failure> {
        let stream = self.connect(target, Peer::Receiver, limits).await?;
        receiver::deliver(stream, target, request, limits).await
    }

    async fn connect(
        &self,
        target: &Target,
        peer: Peer,
        limits: Limits,
    ) -> Result<connect::Stream, Failure> {
        // After either of them, a connection cannot be used.
        let until = limits.send_before.min(limits.deadline);
        if Instant::now() >= until {
            return Err(Failure::ConnectedTooLate);
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
    /// The upstream, which the operator has chosen.
    Upstream,
    /// The receiver of a callback, which a caller has chosen.
    Receiver,
}

impl Shared {
    async fn addresses(&self, target: &Target, peer: Peer) -> Result<Vec<IpAddr>, Failure> {
        if let Peer::Receiver = peer {
            self.permit_name(target).map_err(Failure::NotAllowed)?;
        }
        let name = match target.host() {
            Host::Ipv4(address) => return Ok(vec![(*address).into()]),
            Host::Ipv6(address) => return Ok(vec![(*address).into()]),
            Host::Domain(name) => name,
        };
        let resolved = self.resolver.resolve(name).await;
        let addresses = resolved.map_err(Failure::NotConnected)?;
        match peer {
            Peer::Receiver if !self.allows_name(name, target.port()) => {
                // One forbidden address rejects the name. Honest receivers have only public
                // addresses, and DNS may return only the forbidden address at another time.
                for address in &addresses {
                    self.permit_address(*address, target.port(), false)
                        .map_err(Failure::NotAllowed)?;
                }
            }
            Peer::Receiver | Peer::Upstream => {}
        }
        Ok(addresses)
    }

    /// Checks a host without resolving it.
    fn permit_name(&self, target: &Target) -> Result<(), TargetError> {
        let port = target.port();
        match target.host() {
            Host::Ipv4(address) => self.permit_address((*address).into(), port, true),
            Host::Ipv6(address) => self.permit_address((*address).into(), port, true),
            Host::Domain(name) if target::is_localhost(name) && !self.allows_name(name, port) => {
                Err(TargetError::Localhost)
            }
            Host::Domain(_) => Ok(()),
        }
    }

    fn permit_address(&self, address: IpAddr, port: u16, literal: bool) -> Result<(), TargetError> {
        let allowed = |allowed: &AllowRule| allowed.address(address, port);
        match TargetError::address(address, literal) {
            Some(rejection) if !self.callback_allow.iter().any(allowed) => Err(rejection),
            _ => Ok(()),
        }
    }

    fn allows_name(&self, name: &str, port: u16) -> bool {
        let allowed = |allowed: &AllowRule| allowed.name(name, port);
        self.callback_allow.iter().any(allowed)
    }
}

#[cfg(test)]
mod tests;
