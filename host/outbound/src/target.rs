//! Where an exchange goes: a URL that was looked at.

use std::fmt;
use std::net::IpAddr;

use hyper::http::uri::PathAndQuery;
use url::{Host, Position, Url};

use crate::special_purpose::Special;

/// The longest URL that a callback may have, also after it was brought into canonical form.
pub const CALLBACK_URL_OCTETS_MAX: usize = 2048;

/// The longest path and query that hyper takes.
pub const PATH_OCTETS_MAX: usize = 65_534;

/// The longest name in DNS (RFC 1035, section 2.3.4), without the dot at its end.
const NAME_OCTETS_MAX: usize = 253;
const LABEL_OCTETS_MAX: usize = 63;

/// A URL that can be called: http or https, a host in canonical form, no user, no fragment.
///
/// It says nothing about where its name leads: that is looked at when it is called.
/// Path and query may be secret, so that neither `Display` nor `Debug` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: String,
    https: bool,
    host: Host<String>,
    port: u16,
    path: PathAndQuery,
    authority: String,
}

impl Target {
    /// The operator's base address of the upstream: it may have a path, and no query.
    ///
    /// # Errors
    /// [`Refusal`] where it is not such a URL.
    pub fn upstream(url: &str) -> Result<Self, Refusal> {
        let target = Self::parse(url)?;
        if target.path.query().is_some() {
            return Err(Refusal::Query);
        }
        Ok(target)
    }

    /// A resource below this one. `path_and_query` begins with a slash and is taken as it is.
    ///
    /// # Errors
    /// [`Refusal::Path`] where HTTP cannot carry it.
    pub fn join(&self, path_and_query: &str) -> Result<Self, Refusal> {
        // A parser would cut off what it takes for a fragment.
        if !path_and_query.starts_with('/') || path_and_query.contains('#') {
            return Err(Refusal::Path);
        }
        let prefix = self.path.path().trim_end_matches('/');
        let path = parse_path(format!("{prefix}{path_and_query}"))?;
        let scheme = if self.https { "https" } else { "http" };
        Ok(Self {
            url: format!("{scheme}://{}{path}", self.authority),
            path,
            ..self.clone()
        })
    }

    /// A URL in canonical form: what it leads to is not looked at, not even where it is an address.
    pub(crate) fn parse(url: &str) -> Result<Self, Refusal> {
        // The parser would leave them out.
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Refusal::NotUrl);
        }
        let mut url = match Url::parse(url) {
            Ok(url) => url,
            Err(url::ParseError::EmptyHost) => return Err(Refusal::NoHost),
            Err(url::ParseError::InvalidPort) => return Err(Refusal::Port),
            Err(
                url::ParseError::IdnaError
                | url::ParseError::InvalidIpv4Address
                | url::ParseError::InvalidIpv6Address
                | url::ParseError::InvalidDomainCharacter,
            ) => return Err(Refusal::HostName),
            Err(_) => return Err(Refusal::NotUrl),
        };
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Refusal::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let host = url.host().ok_or(Refusal::NoHost)?.to_owned();
        if let Host::Domain(name) = &host {
            if name.ends_with('.') {
                return Err(Refusal::FinalDot);
            }
            if !is_name(name) {
                return Err(Refusal::HostName);
            }
        }
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or(Refusal::Port)?;
        url.set_fragment(None);
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let path = parse_path(url[Position::BeforePath..].to_owned())?;
        Ok(Self {
            url: url.into(),
            https,
            host,
            port,
            path,
            authority,
        })
    }

    /// Host, and port if it is not the scheme's usual one, in canonical form.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The whole URL, in canonical form.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The name or address alone.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.path
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

fn parse_path(text: String) -> Result<PathAndQuery, Refusal> {
    if text.len() > PATH_OCTETS_MAX {
        return Err(Refusal::TooLong {
            octets_max: PATH_OCTETS_MAX,
        });
    }
    PathAndQuery::try_from(text).map_err(|_| Refusal::Path)
}

/// Whether a host is one that DNS could know, in letters, digits, hyphens and underscores: the
/// parser of URLs lets pass what neither DNS nor a certificate has.
pub(crate) fn is_name(host: &str) -> bool {
    let known = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    host.len() <= NAME_OCTETS_MAX
        && host
            .split('.')
            .all(|label| (1..=LABEL_OCTETS_MAX).contains(&label.len()) && label.bytes().all(known))
}

/// Whether a name means this machine wherever it is asked for (RFC 6761, section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Why a URL is not called. Each text is for whoever gave the URL, and quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No absolute URL, or one with blanks in it.
    #[error("not an absolute URL")]
    NotUrl,
    /// More octets than these.
    #[error("the URL is over {octets_max} octets long")]
    TooLong {
        /// The limit.
        octets_max: usize,
    },
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// A user name or password.
    #[error("the URL holds a user name or password")]
    Credentials,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// A host that is neither an address nor a name of DNS.
    #[error("the host is neither an address nor a name")]
    HostName,
    /// A dot at the end of the host.
    #[error("the host ends with a dot")]
    FinalDot,
    /// No number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A path or query that HTTP cannot carry.
    #[error("the path or query holds what HTTP cannot carry")]
    Path,
    /// A query where only a path may be.
    #[error("the URL has a query, where only a path may be")]
    Query,
    /// `localhost`, or a name below it.
    #[error("the host is this machine (localhost)")]
    Localhost,
    /// The address of the URL, or one that its name leads to.
    #[error(
        "{} is {} ({})",
        if *.literal { "the address" } else { "an address of the host" },
        .special.purpose,
        .special.range
    )]
    Address {
        /// What such addresses are for.
        special: Special,
        /// Whether the URL names it itself.
        literal: bool,
    },
}

impl Refusal {
    pub(crate) fn address(address: IpAddr, literal: bool) -> Option<Self> {
        crate::special_purpose::special(address).map(|special| Self::Address { special, literal })
    }
}

#[cfg(test)]
mod tests;
