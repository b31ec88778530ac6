//! The addresses that the server listens on, and TLS.

mod settings;
mod tls;

use bulkhead_http::{Address, Listener, ListenerGroup};
use std::sync::Arc;

pub(crate) use settings::{LISTEN, ListenSettings};
pub(crate) use tls::{ActiveTls, TlsFileError, problem as tls_problem};

/// The index of the group of listeners for health and metrics.
pub(crate) const OBSERVE_GROUP: usize = 1;

/// Maximum number of connections of `--observe-listen`. They do not count towards `--connections-max`, so that
/// callers cannot keep monitoring out.
const OBSERVE_CONNECTIONS_MAX: u32 = 64;

/// Listens on all addresses. Returns two groups: that of `--listen`, and [`OBSERVE_GROUP`].
///
/// # Errors
/// The address that failed, and why.
pub(crate) async fn bind(
    settings: &ListenSettings,
    connections_max: u32,
    tls: &ActiveTls,
) -> Result<Vec<ListenerGroup>, (Address, std::io::Error)> {
    let mut groups = Vec::new();
    for (addresses, connections_max) in [
        (&settings.listen, connections_max),
        (&settings.observe_listen, OBSERVE_CONNECTIONS_MAX),
    ] {
        let mut listeners = Vec::new();
        let tls = tls.tls().map(|tls| Arc::new(tls.with_own_handshakes()));
        for address in addresses {
            let listener = Listener::bind(address, tls.clone()).await;
            listeners.push(listener.map_err(|error| (address.clone(), error))?);
        }
        groups.push(ListenerGroup {
            listeners,
            connections_max,
        });
    }
    Ok(groups)
}
