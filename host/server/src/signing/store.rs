//! Opening the store, for the server and for the command line.

use super::world::{boot_clock, boot_id, now};
use crate::config::signing::{StoreSetting, StoreSettings};
use bulkhead_outbound::{Outbound, Setup, SetupError};
use bulkhead_store::{Postgres, PostgresSetup, Quota, Sqlite, Store};
use std::sync::Arc;

/// The store for a server: nobody else may have a file open, and what an earlier process left behind
/// is taken over.
pub(super) fn open(
    settings: &StoreSettings,
    quota: Quota,
    outbound: &Outbound,
) -> Result<Arc<dyn Store>, String> {
    match &settings.place {
        StoreSetting::Sqlite(path) => {
            let waiting_max = settings.store_queue_max as usize;
            let store = Sqlite::open(path, &boot_id(), quota, now(), waiting_max);
            Ok(Arc::new(
                store.map_err(|error| cannot_open(settings, &error))?,
            ))
        }
        StoreSetting::Postgres(url) => Ok(Arc::new(postgres(settings, url, quota, outbound)?)),
        StoreSetting::Unknown => Err(unknown(settings)),
    }
}

/// The store for the command line, beside a server that may have it open.
pub(crate) fn inspect(settings: &StoreSettings) -> Result<Arc<dyn Store>, String> {
    match &settings.place {
        StoreSetting::Sqlite(path) => {
            let store = Sqlite::inspect(path, &boot_id(), NO_CALLS, now());
            Ok(Arc::new(
                store.map_err(|error| cannot_open(settings, &error))?,
            ))
        }
        StoreSetting::Postgres(url) => {
            let outbound = outbound(settings)?;
            Ok(Arc::new(postgres(settings, url, NO_CALLS, &outbound)?))
        }
        StoreSetting::Unknown => Err(unknown(settings)),
    }
}

/// Makes the tables or brings them up to date.
pub(crate) async fn migrate(settings: &StoreSettings) -> Result<(), String> {
    match &settings.place {
        // Opening it does that.
        StoreSetting::Sqlite(path) => {
            Sqlite::migrate(path).map_err(|error| cannot_open(settings, &error))
        }
        StoreSetting::Postgres(url) => {
            let outbound = outbound(settings)?;
            let store = postgres(settings, url, NO_CALLS, &outbound)?;
            store
                .migrate()
                .await
                .map_err(|error| cannot_open(settings, &error))
        }
        StoreSetting::Unknown => Err(unknown(settings)),
    }
}

fn unknown(settings: &StoreSettings) -> String {
    settings.place.problem().unwrap_or_default().to_owned()
}

/// Of whoever makes none. The margin is what tells a slow answer of the database from a clock that
/// jumped.
const NO_CALLS: Quota = Quota {
    calls: 0,
    window_ms: 0,
    call_ms: 0,
    margin_ms: 1000,
};

fn outbound(settings: &StoreSettings) -> Result<Outbound, String> {
    let setup = Setup {
        ca_file: settings.ca_file.clone(),
        callback_allow: Vec::new(),
    };
    Outbound::new(&setup).map_err(|error| cannot_set_up(&error))
}

/// Of what goes into it only the certificates can be wrong where nobody looked yet.
pub(super) fn cannot_set_up(error: &SetupError) -> String {
    match error {
        SetupError::CaFile { .. } => {
            format!("--ca-file (BULKHEAD_CA_FILE) cannot be used: {error}")
        }
        other => other.to_string(),
    }
}

fn postgres(
    settings: &StoreSettings,
    url: &str,
    quota: Quota,
    outbound: &Outbound,
) -> Result<Postgres, String> {
    let password = settings.password()?;
    let setup = PostgresSetup {
        password: password.map(|password| password.expose().to_vec()),
        tls: Some(outbound.tls()),
        connections_max: settings.store_connections_max.into(),
        boot_id: boot_id(),
        boot_clock: Arc::new(boot_clock),
        quota,
        timeout: settings.store_timeout,
    };
    Postgres::connect(url, setup).map_err(|error| cannot_open(settings, &error))
}

fn cannot_open(settings: &StoreSettings, error: &bulkhead_store::StoreError) -> String {
    format!(
        "cannot use the store {:?}: {error}. Choose another with --store (BULKHEAD_STORE)",
        settings.place
    )
}
