//! Settings of access control.

use super::allowed_host::AllowedHost;
use super::limits::{DefaultLimits, Limits};
use crate::config::units::numbers;
use crate::listen::ListenSettings;
use bulkhead_http::setting;
use clap::Args;
use std::path::PathBuf;

/// Settings of access control.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessSettings {
    /// File with the access keys of all callers, in JSON (see `bulkhead access-key new`). The server reads
    /// it again when it changes. A faulty file stops the start. Later, the last good keys stay active. If
    /// this is not set, the server is open: everyone who can connect may use it.
    #[arg(long, value_name = "FILE")]
    pub(crate) access_keys: Option<PathBuf>,
    /// Additional hosts that requests may name in `Host`, separated by commas; * accepts every host. Loopback
    /// hosts are always accepted. Other requests are rejected with 421. If this is not set, an open server
    /// accepts loopback hosts only at listeners on loopback, and every host at other listeners.
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', value_parser = AllowedHost::parse)]
    pub(crate) allowed_hosts: Vec<AllowedHost>,
    #[command(flatten)]
    pub(crate) default_limits: DefaultLimits,
    /// Maximum requests without a valid access key per minute from one IPv4 address or IPv6 network of 64 bits.
    /// If it is exceeded, the response to further ones is 429 instead of 401. Requests with a valid key are
    /// accepted nevertheless. Addresses behind --trusted-proxies are those in `X-Forwarded-For`.
    #[arg(long, default_value_t = 600, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) failed_attempts_rate: u32,
    /// Maximum number of addresses whose failed attempts are counted separately. Further addresses share one
    /// limit.
    #[arg(long, default_value_t = 10_000, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) failed_attempts_addresses_max: u32,
}

impl AccessSettings {
    /// Returns an error text if the settings contradict each other or those of the listeners.
    pub(crate) fn contradiction(&self, listen: &ListenSettings) -> Option<String> {
        let limits = self.default_limits.limits();
        if self.access_keys.is_some() {
            let has_burst_only = limits.request_burst.is_some() && limits.request_rate.is_none();
            return has_burst_only.then(|| {
                "--key-request-burst (BULKHEAD_KEY_REQUEST_BURST) needs --key-request-rate \
                 (BULKHEAD_KEY_REQUEST_RATE), which is not set. Set both or neither"
                    .to_owned()
            });
        }
        let keys = setting!(Self, access_keys);
        if listen.tls_client_ca.is_some() {
            return Some(format!(
                "{} needs {keys}, which is not set: its entries list the certificates. Set both or neither",
                setting!(ListenSettings, tls_client_ca),
            ));
        }
        (limits != Limits::default()).then(|| {
            format!(
                "the limits of access keys (--key-…) need {keys}, which is not set. Set it, or remove the limits"
            )
        })
    }

    /// Returns a text for each risk that the operator should know and may accept.
    pub(crate) fn warnings(&self, listen: &ListenSettings) -> Vec<String> {
        let exposed: Vec<_> = listen
            .addresses()
            .filter(|address| !address.is_local())
            .map(ToString::to_string)
            .collect();
        let is_open = self.access_keys.is_none();
        let open = (is_open && !exposed.is_empty()).then(|| {
            let exposed = exposed.join(", ");
            format!(
                "the server has no access keys and listens on {exposed}, which other machines may reach: everyone who \
                 can connect may use it. Set {}, or let only trusted callers connect",
                setting!(Self, access_keys)
            )
        });
        open.into_iter().collect()
    }
}
