//! The limits of an access key.

use super::rate::Rate;
use crate::config::units::{TIB, numbers, sizes};
use bulkhead_http::ByteSize;
use clap::Args;
use serde_json::{Map, Value};
use std::time::Duration;

/// Maximum values of the limits. They are large enough to lift a default for one key.
pub(super) const REQUEST_RATE_MAX: u32 = 1_000_000;
pub(super) const REQUESTS_MAX: u32 = 1_000_000;
pub(super) const PENDING_MAX: u32 = 100_000;
pub(super) const KDF_RATE_MAX: u64 = 4 * TIB;

/// The limits of one key. A limit that is `None` does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Requests per second.
    pub(crate) request_rate: Option<u32>,
    /// Requests at once after a pause. It is [`Self::request_rate`] by default.
    pub(crate) request_burst: Option<u32>,
    /// Concurrent requests.
    pub(crate) requests_max: Option<u32>,
    /// Bytes of key derivation per minute.
    pub(crate) kdf_rate: Option<ByteSize>,
    /// Requests that wait for a signature.
    pub(crate) pending_max: Option<u32>,
}

impl Limits {
    /// Returns these limits. Those that are not set come from `defaults`.
    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            request_rate: self.request_rate.or(defaults.request_rate),
            // A burst belongs to the rate beside it.
            request_burst: match self.request_rate {
                Some(_) => self.request_burst,
                None => self.request_burst.or(defaults.request_burst),
            },
            requests_max: self.requests_max.or(defaults.requests_max),
            kdf_rate: self.kdf_rate.or(defaults.kdf_rate),
            pending_max: self.pending_max.or(defaults.pending_max),
        }
    }

    /// Returns the limits as the file of access keys has them.
    pub(crate) fn document(&self) -> Map<String, Value> {
        let members = [
            (
                KeyLimit::RequestRate.name(),
                self.request_rate.map(Value::from),
            ),
            ("request_burst", self.request_burst.map(Value::from)),
            (
                KeyLimit::RequestsMax.name(),
                self.requests_max.map(Value::from),
            ),
            (
                KeyLimit::KdfRate.name(),
                self.kdf_rate.map(|size| size.to_string().into()),
            ),
            (
                KeyLimit::PendingMax.name(),
                self.pending_max.map(Value::from),
            ),
        ];
        let members = members.into_iter();
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        members.collect()
    }

    /// Returns the rate of requests.
    pub(super) fn request_rate(&self) -> Option<Rate> {
        let units = self.request_rate?.into();
        Some(Rate {
            units,
            window: Duration::from_secs(1),
            burst: self.request_burst.map_or(units, u64::from),
        })
    }

    /// Returns the rate of key derivation. The burst is the quota of a whole minute.
    pub(super) fn kdf_rate(&self) -> Option<Rate> {
        let units = self.kdf_rate?.bytes();
        Some(Rate {
            units,
            window: Duration::from_mins(1),
            burst: units,
        })
    }
}

/// A limit of a key that can be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyLimit {
    RequestRate,
    RequestsMax,
    KdfRate,
    PendingMax,
}

impl KeyLimit {
    pub(super) const ALL: [Self; 4] = [
        Self::RequestRate,
        Self::RequestsMax,
        Self::KdfRate,
        Self::PendingMax,
    ];

    /// Returns the name of the limit in the file of access keys, in problem documents and in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RequestRate => "request_rate",
            Self::RequestsMax => "requests_max",
            Self::KdfRate => "kdf_rate",
            Self::PendingMax => "pending_max",
        }
    }
}

/// A key has used up one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitReached {
    pub(super) limit: KeyLimit,
    /// The limit in its units: requests or bytes.
    pub(super) quota: u64,
    /// The time in which the whole quota becomes available. `None` for limits on a number of requests.
    pub(super) window: Option<Duration>,
    /// The time until the next unit is available, if it is known.
    pub(super) wait: Option<Duration>,
}

impl LimitReached {
    /// Returns the limit whose rate is used up. `wait` is the time until the next unit is available.
    pub(super) fn of_rate(limit: KeyLimit, rate: Rate, wait: Duration) -> Self {
        Self {
            limit,
            quota: rate.burst,
            window: Some(rate.burst_time()),
            wait: Some(wait),
        }
    }
}

/// Limits that apply to each key for which the file of access keys has no other value.
#[derive(Debug, Clone, Copy, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields have the names of their flags"
)]
pub(crate) struct DefaultLimits {
    /// Maximum requests per second of each access key, on this server. If this or one of the following limits
    /// is exceeded, the response is 429. The file of access keys can set other limits for a key [default: no
    /// limit].
    #[arg(long, value_parser = numbers(1, REQUEST_RATE_MAX))]
    key_request_rate: Option<u32>,
    /// Maximum requests of each access key at once, after a pause [default: as many as in one second].
    #[arg(long, value_parser = numbers(1, REQUEST_RATE_MAX))]
    key_request_burst: Option<u32>,
    /// Maximum concurrent requests of each access key, on this server [default: no limit].
    #[arg(long, value_parser = numbers(1, REQUESTS_MAX))]
    key_requests_max: Option<u32>,
    /// Maximum key derivation of each access key per minute, in bytes to hash, on this server. Argon2 counts
    /// its memory times its passes. A message begins as long as any of it is left, and may exceed it: later
    /// messages then wait longer [default: no limit].
    #[arg(long, value_parser = sizes(1, KDF_RATE_MAX))]
    key_kdf_rate: Option<ByteSize>,
    /// Maximum requests of each access key that wait for a signature, over all servers with the same store
    /// [default: no limit].
    #[arg(long, value_parser = numbers(1, PENDING_MAX))]
    key_pending_max: Option<u32>,
}

impl DefaultLimits {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            request_rate: self.key_request_rate,
            request_burst: self.key_request_burst,
            requests_max: self.key_requests_max,
            kdf_rate: self.key_kdf_rate,
            pending_max: self.key_pending_max,
        }
    }
}

/// The limits of a new key.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NewLimits {
    /// Maximum requests per second. By default, this and the following limits are those of the server.
    #[arg(long, value_parser = numbers(1, REQUEST_RATE_MAX))]
    request_rate: Option<u32>,
    /// Maximum requests at once, after a pause.
    #[arg(long, value_parser = numbers(1, REQUEST_RATE_MAX))]
    request_burst: Option<u32>,
    /// Maximum concurrent requests.
    #[arg(long, value_parser = numbers(1, REQUESTS_MAX))]
    requests_max: Option<u32>,
    /// Maximum key derivation per minute, in bytes to hash.
    #[arg(long, value_parser = sizes(1, KDF_RATE_MAX))]
    kdf_rate: Option<ByteSize>,
    /// Maximum requests that wait for a signature.
    #[arg(long, value_parser = numbers(1, PENDING_MAX))]
    pending_max: Option<u32>,
}

impl NewLimits {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            request_rate: self.request_rate,
            request_burst: self.request_burst,
            requests_max: self.requests_max,
            kdf_rate: self.kdf_rate,
            pending_max: self.pending_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limits_replace_defaults_one_by_one() {
        let own = Limits {
            request_rate: Some(5),
            ..Limits::default()
        };
        let defaults = Limits {
            request_rate: Some(1),
            request_burst: Some(9),
            requests_max: Some(2),
            ..Limits::default()
        };
        let limits = own.or(defaults);
        assert_eq!(limits.request_rate, Some(5));
        assert_eq!(limits.requests_max, Some(2));
        assert_eq!(limits.kdf_rate, None);
        let rate = limits.request_rate().expect("there should be a rate");
        assert_eq!((rate.units, rate.burst), (5, 5));
    }
}
