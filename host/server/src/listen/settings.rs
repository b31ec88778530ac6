//! Settings of listeners and of TLS.

use crate::config::units::{duration_above_zero, numbers};
use bulkhead_http::{Address, Setting, setting};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const LISTEN: Setting = setting!(ListenSettings, listen);

/// Settings of listeners and of TLS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listeners")]
pub(crate) struct ListenSettings {
    /// Addresses to listen on, separated by commas: an IP address and a port, or unix: and the path of a
    /// socket.
    #[arg(
        long,
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<Address>,
    /// Separate addresses for /health and /metrics, which --listen then does not serve. They also serve
    /// /livez, /readyz, /openapi.* and /problems. --connections-max does not count their connections.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) observe_listen: Vec<Address>,
    /// File with the server's certificate and its intermediate certificates, in PEM. All
    /// TCP addresses then speak TLS (1.2 or 1.3) only. The server reads the file again when it changes. A
    /// faulty file stops the start. Later, the last good certificate stays active.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with the private key of that certificate, in PEM and not encrypted.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// CA certificates that client certificates are verified with, in PEM. A caller with a client certificate
    /// has the scopes of the entry in --access-keys that lists it. Callers without one need an access key.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Time for a TLS handshake. If it is exceeded, the connection is closed.
    #[arg(long, default_value = "10s", value_parser = duration_above_zero)]
    pub(crate) tls_handshake_timeout: Duration,
    /// Maximum number of concurrent TLS handshakes, for --listen and --observe-listen each. Further ones wait.
    #[arg(long, default_value_t = 64, value_parser = numbers(1, 100_000_u32))]
    pub(crate) tls_handshakes_max: u32,
}

impl ListenSettings {
    /// Returns an error text if the settings contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let missing = match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (None, Some(_), _) => (setting!(Self, tls_key), setting!(Self, tls_cert)),
            (Some(_), None, _) => (setting!(Self, tls_cert), setting!(Self, tls_key)),
            (None, None, Some(_)) => (setting!(Self, tls_client_ca), setting!(Self, tls_cert)),
            (None, None, None) | (Some(_), Some(_), _) => return None,
        };
        let (set, missing) = missing;
        Some(format!(
            "{set} needs {missing}, which is not set. Set both or neither"
        ))
    }

    /// Returns all addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listen.iter().chain(&self.observe_listen)
    }
}
