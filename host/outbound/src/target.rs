//! URLs of requests, parsed and in canonical form.

use std::fmt;
use std::net::IpAddr;

use hyper::http::uri::PathAndQuery;
use url::{Host, Position, Url};

use crate::special_purpose::Special;

/// Maximum length of the URL of a callback in bytes, as given and in canonical form.
pub const CALLBACK_URL_BYTES_MAX: usize = 2048;

/// Maximum length of path and query in bytes, which is that of hyper.
pub const PATH_BYTES_MAX: usize = 65_534;

/// Maximum length of a DNS name in bytes, without the final dot (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A valid URL of a request: `http` or `https`, a host in canonical form, no user, no password and
/// no fragment.
///
/// A target does not mean that the addresses of its name are allowed.
/// [`Outbound::callback`](crate::Outbound::callback) checks them at each call. Path and query may
/// be secret, so that neither `Display` nor `Debug` shows them.
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
    /// Parses the base URL of the upstream. It may have a path, but no query.
    ///
    /// # Errors
    /// [`TargetError`] if it is not such a URL.
    pub fn upstream(url: &str) -> Result<Self, TargetError> {
        let target = Self::parse(url)?;
        if target.path.query().is_some() {
            return Err(TargetError::Query);
        }
        Ok(target)
    }

    /// Returns the target of a resource below this one. `path_and_query` begins with a slash and is
    /// not changed.
    ///
    /// # Errors
    /// [`TargetError::Path`] if HTTP cannot carry the path, and [`TargetError::TooLong`] if the whole path
    /// exceeds [`PATH_BYTES_MAX`].
    pub fn join(&self, path_and_query: &str) -> Result<Self, TargetError> {
        // A parser would remove a fragment.
        if !path_and_query.starts_with('/') || path_and_query.contains('#') {
            return Err(TargetError::Path);
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

    /// Parses a URL and brings it into canonical form. Does not check its host, even if it is an
    /// address.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        // The parser would silently remove these characters.
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(TargetError::NotUrl);
        }
        let mut url = match Url::parse(url) {
            Ok(url) => url,
            Err(url::ParseError::EmptyHost) => return Err(TargetError::NoHost),
            Err(url::ParseError::InvalidPort) => return Err(TargetError::Port),
            Err(
                url::ParseError::IdnaError
                | url::ParseError::InvalidIpv4Address
                | url::ParseError::InvalidIpv6Address
                | url::ParseError::InvalidDomainCharacter,
            ) => return Err(TargetError::HostName),
            Err(_) => return Err(TargetError::NotUrl),
        };
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        let host = url.host().ok_or(TargetError::NoHost)?.to_owned();
        if let Host::Domain(name) = &host {
            if name.ends_with('.') {
                return Err(TargetError::FinalDot);
            }
            if !is_name(name) {
                return Err(TargetError::HostName);
            }
        }
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or(TargetError::Port)?;
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

    /// Returns the host in canonical form, with the port if it is not the default of the scheme.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the whole URL in canonical form.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Returns the host without the port.
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

fn parse_path(text: String) -> Result<PathAndQuery, TargetError> {
    if text.len() > PATH_BYTES_MAX {
        return Err(TargetError::TooLong {
            bytes_max: PATH_BYTES_MAX,
        });
    }
    PathAndQuery::try_from(text).map_err(|_| TargetError::Path)
}

/// Returns whether a host is a valid DNS name of letters, digits, hyphens and underscores. The URL
/// parser accepts more characters than DNS and certificates do.
pub(crate) fn is_name(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    host.len() <= NAME_BYTES_MAX
        && host
            .split('.')
            .all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(known))
}

/// Returns whether a name always means this machine (RFC 6761, section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// The reason why a URL is rejected. The texts are for the caller that has given the URL, and do
/// not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The text is not an absolute URL, or contains white space or control characters.
    #[error("not an absolute URL")]
    NotUrl,
    /// The URL has more bytes than the limit.
    #[error("the URL has more than {bytes_max} bytes")]
    TooLong {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The scheme is neither `http` nor `https`.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// The URL contains a user name or a password.
    #[error("the URL contains a user name or password: remove it")]
    Credentials,
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The host is neither an address nor a DNS name.
    #[error("the host is neither an IP address nor a DNS name")]
    HostName,
    /// The host ends with a dot.
    #[error("the host ends with a dot: remove it")]
    FinalDot,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// HTTP cannot carry the path or the query.
    #[error("the path or query contains characters that HTTP cannot carry: percent-encode them")]
    Path,
    /// The URL of the upstream has a query.
    #[error("the URL has a query: only a path is allowed")]
    Query,
    /// The host is `localhost` or a name below it.
    #[error("the host is this machine (localhost)")]
    Localhost,
    /// The address in the URL, or an address of its name, is not public.
    #[error(
        "{} is {} ({})",
        if *.literal { "the address" } else { "an address of the host" },
        .special.purpose,
        .special.range
    )]
    Address {
        /// The range of the address and its purpose.
        special: Special,
        /// Whether the URL contains the address itself.
        literal: bool,
    },
}

impl TargetError {
    pub(crate) fn address(address: IpAddr, literal: bool) -> Option<Self> {
        crate::special_purpose::special(address).map(|special| Self::Address { special, literal })
    }
}

#[cfg(test)]
mod tests;
