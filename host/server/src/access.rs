//! Access control: which requests a server accepts, and from which callers.
//!
//! Without `--access-keys` the server is open. With it, every protected route needs a key of the file. A
//! faulty file never opens the server: it stops the start, and while the server runs, the last good keys stay
//! active.

#[cfg(test)]
mod admission_time;
mod allowed_host;
mod caller;
mod cross_site;
mod failures;
mod file;
mod hosts;
mod key;
mod key_set;
mod limits;
pub(crate) mod metrics;
mod problems;
mod rate;
mod scope;
mod settings;
mod usage;
mod watched_keys;

use crate::client_address::{ClientNetwork, TrustedProxy, client_address};
use crate::listen::ListenSettings;
use crate::reload::{Reloader, Watched};
use cross_site::is_cross_site;
use failures::FailureLimit;
use hosts::{Hosts, Loopback};
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;
use metrics::{AccessMetrics, Rejection};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;
use usage::Outcome;
use watched_keys::WatchedKeys;

use bulkhead_http::{Connection, Problem};
pub(crate) use caller::{Caller, Credential, KdfAllowance};
pub(crate) use file::{EntryError, KeyFileError, expiry, is_name, read as read_keys};
pub(crate) use key::{AccessKey, KeyDigest};
pub(crate) use key_set::{Entry, EntryKey, InvalidKey, KeySet};
pub(crate) use limits::NewLimits;
pub(crate) use problems::KINDS as PROBLEM_KINDS;
pub(crate) use scope::{Audience, Requirement, Scope, Scopes};
pub(crate) use settings::AccessSettings;
pub(crate) use usage::RunningRequest;

/// Access control of a running server.
pub(crate) struct Access {
    /// `None` if the server is open.
    keys: Option<Arc<WatchedKeys>>,
    hosts: Hosts,
    failures: FailureLimit,
    trusted_proxies: Vec<TrustedProxy>,
    warnings: Vec<String>,
    metrics: AccessMetrics,
    reloader: Option<Reloader>,
}

impl Access {
    /// Reads the access keys, and watches their file.
    ///
    /// # Errors
    /// [`AccessError`] if the file is missing or invalid, or if no thread can be started.
    pub(crate) fn start(
        settings: &AccessSettings,
        listen: &ListenSettings,
        trusted_proxies: &[TrustedProxy],
        metrics: &AccessMetrics,
    ) -> Result<Self, AccessError> {
        let default_limits = settings.default_limits.limits();
        let keys = settings.access_keys.as_deref();
        let keys = keys.map(|file| watched_keys::open(file, default_limits, metrics.clone()));
        let keys = keys.transpose()?.map(Arc::new);
        let reloader = keys.as_ref().map(Watched::watch);
        let warnings = settings.warnings(listen);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let loopback = match keys {
            None => Loopback::Guarded,
            Some(_) => Loopback::Unguarded,
        };
        Ok(Self {
            hosts: Hosts::new(&settings.allowed_hosts, loopback),
            failures: FailureLimit::new(
                settings.failed_attempts_rate,
                settings.failed_attempts_addresses_max,
                metrics.failed_attempts_addresses.clone(),
            ),
            trusted_proxies: trusted_proxies.to_vec(),
            warnings,
            keys,
            metrics: metrics.clone(),
            reloader: reloader.transpose()?,
        })
    }

    /// Returns the caller of a request to a route with this requirement.
    ///
    /// # Errors
    /// 403 if a page of another origin has made a browser send the request, and 401 if the request has no valid key (429 if
    /// too many such requests came from its address).
    pub(crate) fn identify(
        &self,
        required: Requirement,
        head: &Parts,
        connection: &Connection,
    ) -> Result<Caller, Problem> {
        if matches!(required, Requirement::OneOf(_)) && is_cross_site(head, &self.hosts) {
            self.metrics.count(Rejection::CrossSite);
            return Err(problems::cross_site());
        }
        let Some(keys) = &self.keys else {
            return Ok(Caller::open(&connection.listener));
        };
        let find = || identify(keys, &head.headers, connection, SystemTime::now());
        match required {
            Requirement::Nothing => Ok(Caller::UNKNOWN),
            Requirement::ScopeForDetails => Ok(find().unwrap_or(Caller::UNKNOWN)),
            Requirement::OneOf(_) => find().map_err(|why| self.reject(why, head, connection)),
        }
    }

    /// Admits a request of a caller to a route with this requirement. Keep the returned value until the request has a
    /// response: the request counts as running until then. The value is `None` for requests without limits.
    ///
    /// # Errors
    /// 429 if the key of the caller has used up a limit. Otherwise 403 if the key does not have the scope.
    pub(crate) fn admit(
        &self,
        required: Requirement,
        caller: &Caller,
    ) -> Result<Option<RunningRequest>, Problem> {
        let Some((entry, usage)) = caller.usage() else {
            return Ok(None);
        };
        let now = SystemTime::now();
        let Requirement::OneOf(scopes) = required else {
            usage.count(Outcome::Admitted, now);
            return Ok(None);
        };
        let running = usage.begin(&entry.limits);
        let running = running.map_err(problems::limit_reached)?;
        if caller.has_one_of(scopes) {
            usage.count(Outcome::Admitted, now);
            Ok(Some(running))
        } else {
            usage.count(Outcome::Rejected, now);
            self.metrics.count(Rejection::Scope);
            Err(problems::missing_scope(scopes))
        }
    }

    /// Counts a request without a valid key, and returns its response. The caller has already looked up the key, so that
    /// failures of others never keep a valid key out.
    fn reject(&self, why: Rejection, head: &Parts, connection: &Connection) -> Problem {
        self.metrics.count(why);
        let peer = connection.peer.map(|peer| peer.ip());
        let client = peer.map(|peer| client_address(peer, &head.headers, &self.trusted_proxies));
        match self.failures.count(ClientNetwork::of(client)) {
            Ok(()) => problems::unauthenticated(),
            Err(wait) => {
                self.metrics.failed_attempts_limited.inc();
                problems::too_many_failures(wait)
            }
        }
    }

    /// Checks the host that a request names.
    ///
    /// # Errors
    /// 421 if the host is not accepted.
    pub(crate) fn check_host(&self, head: &Parts, connection: &Connection) -> Result<(), Problem> {
        self.hosts.check(head, &connection.listener)
    }

    /// Returns the risks that the operator should know.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads the access keys again, soon and on another thread.
    pub(crate) fn reload(&self) {
        if let Some(reloader) = &self.reloader {
            reloader.wake();
        }
    }

    /// Returns the document of `GET /access-keys`: the entries with the use of their keys, and without the keys.
    pub(crate) fn list(&self) -> Value {
        let Some(keys) = &self.keys else {
            return json!({"status": "open", "entries": []});
        };
        let now = SystemTime::now();
        let active = keys.source().active();
        let entries: Vec<_> = active.entries().iter().map(|it| view(it, now)).collect();
        json!({"status": keys.health()["status"], "entries": entries})
    }

    /// Returns the member `access` of `/health`, and whether the file of keys is faulty.
    pub(crate) fn health(&self) -> (Value, bool) {
        let Some(keys) = &self.keys else {
            return (json!({"status": "open"}), false);
        };
        let mut document = keys.health();
        document["entries"] = keys.source().active().entries().len().into();
        (document, keys.failing().is_some())
    }
}

/// Access control cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(
        "cannot start a thread for access control: {0}. Raise the limit on processes (ulimit -u)"
    )]
    Thread(#[from] std::io::Error),
}

/// Returns an entry as `GET /access-keys` shows it.
fn view(entry: &Entry, now: SystemTime) -> Value {
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    let keys = entry.keys.iter().map(|key| {
        json!({
            "fingerprint": key.digest.fingerprint(),
            "expires": key.expires.map(time),
            "is_expired": key.is_expired(now),
        })
    });
    let usage = entry.usage.get().cloned().unwrap_or_default();
    json!({
        "name": entry.name,
        "scopes": entry.scopes.iter().map(Scope::name).collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
        "certificates": entry.certificates.len(),
        "limits": entry.limits.document(),
        "requests": usage.requests.get(),
        "rejections": usage.rejections.get(),
        "limited": usage.limited(),
        "last_used": usage.last_used().map(time),
    })
}

/// Returns the caller whose key is in the request. A request without the header has the caller of the client
/// certificate, if the connection has one.
fn identify(
    keys: &WatchedKeys,
    headers: &HeaderMap,
    connection: &Connection,
    now: SystemTime,
) -> Result<Caller, Rejection> {
    let keys = keys.source().active();
    if !headers.contains_key(AUTHORIZATION)
        && let Some(certificate) = &connection.certificate
    {
        let entry = keys.entry_of_certificate(certificate);
        let entry = entry.ok_or(Rejection::UnknownCertificate)?;
        return Ok(Caller::of(
            entry,
            Credential::Certificate(certificate.sha256),
        ));
    }
    let key = bearer(headers).ok_or(Rejection::NoKey)?;
    let digest = KeyDigest::of(key);
    let entry = keys.entry(&digest, now).map_err(Rejection::from)?;
    Ok(Caller::of(entry, Credential::Key(digest)))
}

/// Returns the credentials of the scheme `Bearer` (RFC 6750 section 2.1). Returns `None` if there is not
/// exactly one header `Authorization`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, key) = value.as_bytes().split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| key.trim_ascii())
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| {
            let value = value.parse().expect("value should be a header value");
            (AUTHORIZATION, value)
        });
        values.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn key_is_read_from_exactly_one_bearer_header() {
        let found = |values: &[&str]| {
            let headers = headers(values);
            bearer(&headers).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        assert_eq!(found(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(found(&["bEARER  abc "]).as_deref(), Some("abc"));
        for malformed in [
            &[][..],
            &["abc"],
            &["Bearer"],
            &["Bearer "],
            &["Bearerabc"],
            &["Basic abc"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(found(malformed), None, "{malformed:?}");
        }
    }
}
