//! Opens the store for the server and for the command line.

use super::clocks::{boot_clock, boot_id, now};
use super::store_settings::{STORE, StorePlace, StoreSettings};
use crate::config::secrets::SecretError;
use bulkhead_http::setting;
use bulkhead_outbound::{Outbound, Setup, SetupError};
use bulkhead_store::{
    Postgres, PostgresSetup, Quota, Sqlite, Store, StoreError, Unavailable, Unusable,
};
use std::sync::Arc;
use thiserror::Error;

/// The quota of a process that makes no calls. The margin distinguishes a slow response of the database
/// from a clock that jumped.
const NO_CALLS: Quota = Quota {
    calls: 0,
    window_ms: 0,
    call_ms: 0,
    margin_ms: 1000,
};

/// The store was not opened.
#[derive(Debug, Error)]
pub(crate) enum StoreOpenError {
    #[error("{}", store_problem(place, source))]
    Store {
        place: StorePlace,
        source: StoreError,
    },
    #[error("{}", .0.problem().unwrap_or_default())]
    Place(StorePlace),
    #[error(transparent)]
    Password(#[from] SecretError),
    #[error("{}", outbound_problem(.0))]
    Outbound(#[from] SetupError),
}

/// Returns the text of an error when the store is opened: the reason, and what to do if the reason does not
/// say it.
pub(super) fn store_problem(place: &StorePlace, error: &StoreError) -> String {
    let reason = match error {
        StoreError::Unavailable(reason) => reason.to_string(),
        StoreError::Unusable(reason) => reason.to_string(),
        StoreError::Busy | StoreError::LeaseLost => error.to_string(),
    };
    let remedy = match error {
        StoreError::Unavailable(reason) => remedy_if_unavailable(reason),
        StoreError::Unusable(
            Unusable::NotAFile | Unusable::NotSqlite | Unusable::OtherProgram | Unusable::Url,
        ) => ". Set another one",
        StoreError::Unusable(
            Unusable::Newer { .. }
            | Unusable::Older
            | Unusable::Empty
            | Unusable::NoHost
            | Unusable::TwoPasswords
            | Unusable::NoRoots,
        )
        | StoreError::Busy
        | StoreError::LeaseLost => "",
    };
    format!("cannot use the store {place:?} of {STORE}: {reason}{remedy}")
}

fn remedy_if_unavailable(reason: &Unavailable) -> &'static str {
    match reason {
        Unavailable::Folder(_) => ". Create the folder, or set another path",
        Unavailable::File(_)
        | Unavailable::LockFile(_)
        | Unavailable::Sqlite(_)
        | Unavailable::Corrupt(_) => ". Check the file and its folder, or set another path",
        Unavailable::TimedOut(_) | Unavailable::NoConnection | Unavailable::Postgres(_) => {
            ". Check that the database runs, and that its address is right"
        }
        Unavailable::Closing
        | Unavailable::Panicked
        | Unavailable::Thread(_)
        | Unavailable::Denied(_)
        | Unavailable::InUse
        | Unavailable::HardLink
        | Unavailable::FileLost(_)
        | Unavailable::LogRemains
        | Unavailable::RolledBack
        | Unavailable::Raced => "",
    }
}

/// Opens the store for a server. Recovers the work that an earlier process left unfinished.
///
/// # Errors
/// [`StoreOpenError`] if the store cannot be used, or if another server has the SQLite file open.
pub(super) fn open(
    settings: &StoreSettings,
    quota: Quota,
    outbound: &Outbound,
) -> Result<Arc<dyn Store>, StoreOpenError> {
    match &settings.store {
        StorePlace::Sqlite(path) => {
            let waiting_max = settings.store_queue_max as usize;
            let store = Sqlite::open(path, &boot_id(), quota, now(), waiting_max);
            Ok(Arc::new(store.map_err(cannot_use(settings))?))
        }
        StorePlace::Postgres(url) => Ok(Arc::new(postgres(settings, url, quota, outbound)?)),
        StorePlace::Unknown => Err(StoreOpenError::Place(StorePlace::Unknown)),
    }
}

/// Opens the store for the command line. A server may have it open at the same time.
///
/// # Errors
/// [`StoreOpenError`] if the store cannot be used.
pub(crate) fn inspect(settings: &StoreSettings) -> Result<Arc<dyn Store>, StoreOpenError> {
    match &settings.store {
        StorePlace::Sqlite(path) => {
            let store = Sqlite::inspect(path, &boot_id(), NO_CALLS, now());
            Ok(Arc::new(store.map_err(cannot_use(settings))?))
        }
        StorePlace::Postgres(_) | StorePlace::Unknown => {
            open(settings, NO_CALLS, &outbound(settings)?)
        }
    }
}

/// Creates the tables or migrates them to the current version. Migrating them again has no effect.
///
/// # Errors
/// [`StoreOpenError`] if the store cannot be used.
pub(crate) async fn migrate(settings: &StoreSettings) -> Result<(), StoreOpenError> {
    match &settings.store {
        StorePlace::Sqlite(path) => Sqlite::migrate(path).map_err(cannot_use(settings)),
        StorePlace::Postgres(url) => {
            let store = postgres(settings, url, NO_CALLS, &outbound(settings)?)?;
            store.migrate().await.map_err(cannot_use(settings))
        }
        StorePlace::Unknown => Err(StoreOpenError::Place(StorePlace::Unknown)),
    }
}

fn outbound(settings: &StoreSettings) -> Result<Outbound, SetupError> {
    Outbound::new(&Setup {
        ca_file: settings.ca_file.clone(),
        callback_allow: Vec::new(),
    })
}

/// Returns an error text with the name of the wrong setting. Only `--ca-file` can be wrong here.
pub(crate) fn outbound_problem(error: &SetupError) -> String {
    match error {
        SetupError::CaFile { .. } => {
            let setting = setting!(StoreSettings, ca_file);
            format!("{setting} cannot be used: {error}")
        }
        SetupError::Tls(_) | SetupError::Dns(_) => error.to_string(),
    }
}

fn postgres(
    settings: &StoreSettings,
    url: &str,
    quota: Quota,
    outbound: &Outbound,
) -> Result<Postgres, StoreOpenError> {
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
    Postgres::connect(url, setup).map_err(cannot_use(settings))
}

fn cannot_use(settings: &StoreSettings) -> impl Fn(StoreError) -> StoreOpenError {
    let place = settings.store.clone();
    move |source| StoreOpenError::Store {
        place: place.clone(),
        source,
    }
}
