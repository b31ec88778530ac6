//! Settings of the store.

use super::store::store_problem;
use crate::config::secrets::{self, Secret, SecretError};
use crate::config::units::{durations, numbers};
use bulkhead_http::{Setting, setting};
use bulkhead_store::{Postgres, Sqlite};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The setting that names the store.
pub(super) const STORE: Setting = setting!(StoreSettings, store);

/// Settings of the store and of its connections.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreSettings {
    /// Location of the store, which keeps the requests: `sqlite:PATH` for one server, or
    /// `postgres://USER@HOST/DATABASE` for any number of servers. The path is that of a file: a database in
    /// memory (`:memory:`) or a `file:` URI stops the start. The image uses `sqlite:/data/bulkhead.db`.
    #[arg(
        long,
        default_value = "sqlite:./bulkhead.db",
        value_name = "WHERE",
        hide_env_values = true
    )]
    pub(crate) store: StorePlace,
    /// File with PostgreSQL's password, instead of the variable `BULKHEAD_STORE_PASSWORD` or a password in
    /// the address (`USER:PASSWORD@`).
    #[arg(long, value_name = "FILE")]
    pub(crate) store_password_file: Option<PathBuf>,
    /// Time for PostgreSQL to respond. If it is exceeded, the response is 503.
    #[arg(
        long,
        default_value = "1500ms",
        value_parser = durations(Duration::from_millis(10), Duration::from_mins(1))
    )]
    pub(crate) store_timeout: Duration,
    /// Maximum number of changes that wait to be written to SQLite. If it is exceeded, the response is 503.
    #[arg(long, default_value_t = 10_000, value_parser = numbers(1, 1_000_000_u32))]
    pub(crate) store_queue_max: u32,
    /// Maximum number of connections to PostgreSQL.
    #[arg(long, default_value_t = 8, value_parser = numbers(2, 512_u16))]
    pub(crate) store_connections_max: u16,
    /// CA or server certificates (PEM) to trust instead of the public authorities, for the signing API,
    /// callbacks and PostgreSQL (docs/security/callbacks.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// The variable with PostgreSQL's password. The password can also be in a file or in the address.
pub(crate) const STORE_PASSWORD: &str = "BULKHEAD_STORE_PASSWORD";

impl StoreSettings {
    /// Returns PostgreSQL's password, or `None` if it is not set. Ignores a password in the address.
    ///
    /// # Errors
    /// [`SecretError`] if the password cannot be used, or is set for SQLite.
    pub(crate) fn password(&self) -> Result<Option<Secret>, SecretError> {
        let password = secrets::named(STORE_PASSWORD, self.store_password_file.as_deref())?;
        if password.is_some() && matches!(self.store, StorePlace::Sqlite(_)) {
            return Err(SecretError::Malformed {
                name: STORE_PASSWORD,
                problem: format!(
                    "(or {STORE_PASSWORD}_FILE) is set, and {STORE} is an SQLite file, which has no password. \
                     Unset one of them"
                ),
            });
        }
        Ok(password)
    }

    /// Returns an error text for each contradiction between the settings.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let place = self.store.problem();
        let password = self.password().err().map(|error| error.to_string());
        place.into_iter().chain(password).collect()
    }

    /// Returns an error text if the store cannot be used with the rights of this process. For `check-config`,
    /// which does not open the store and does not create a file.
    pub(crate) fn unusable(&self) -> Option<String> {
        let error = match &self.store {
            StorePlace::Sqlite(path) => Sqlite::check(path).err()?,
            StorePlace::Postgres(url) => {
                // `contradictions` reports an unusable password.
                let password = self.password().ok().flatten();
                let password = password.as_ref().map(Secret::expose);
                Postgres::check_url(url, password).err()?
            }
            StorePlace::Unknown => return None,
        };
        Some(store_problem(&self.store, &error))
    }
}

/// The location of the store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StorePlace {
    Sqlite(PathBuf),
    /// The URL, which may contain a password.
    Postgres(String),
    /// Any other text. It is never shown, because it may be a misspelt URL with a password.
    Unknown,
}

/// Returns whether a text is the path of a file. Texts are excluded that other programs pass to SQLite for a
/// database in memory, or as a URI.
fn is_path(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let is_special = text.starts_with(":memory:") || text.starts_with("file:");
    !text.is_empty() && !is_special && !text.contains("://")
}

/// The conversion does not fail, because clap's error would quote the text.
impl From<&str> for StorePlace {
    fn from(text: &str) -> Self {
        let text = text.trim();
        let scheme = text
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let rest = |at: usize| text[at..].to_owned();
        match scheme.as_deref() {
            Some("sqlite") if is_path(&text[7..]) => Self::Sqlite(rest(7).into()),
            Some(scheme @ ("postgres" | "postgresql")) if rest(scheme.len()).starts_with("://") => {
                Self::Postgres("postgres".to_owned() + &rest(scheme.len()))
            }
            _ => Self::Unknown,
        }
    }
}

impl StorePlace {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the location without user, password and options, for `check-config`. Returns `None` if it
    /// cannot be shown.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Self::Sqlite(path) => Some(format!("sqlite:{}", path.display())),
            Self::Postgres(url) => Postgres::check_url(url, None).ok()?,
            Self::Unknown => None,
        }
    }

    /// Returns an error text if the text is not a location.
    pub(super) fn problem(&self) -> Option<String> {
        (*self == Self::Unknown)
            .then(|| {
                format!(
                    "{STORE} is neither sqlite:PATH nor postgres://USER@HOST/DATABASE. Set it to one of \
                     them. PATH is the path of a file: a database in memory or a file: URI is not supported"
                )
            })
    }
}

impl std::fmt::Debug for StorePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://…"),
            Self::Unknown => f.write_str("…"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_is_parsed_by_its_scheme_and_password_is_not_shown() {
        let store = |text: &str| StorePlace::from(text);
        let sqlite = StorePlace::Sqlite("/data/x.db".into());
        assert_eq!(store("sqlite:/data/x.db"), sqlite);
        let unusual = StorePlace::Sqlite("./file:x.db".into());
        assert_eq!(store("sqlite:./file:x.db"), unusual);
        for text in [
            "postgres://u:secret@h/d",
            " postgres://u:secret@h/d\n",
            "PostgreSQL://u:secret@h/d",
        ] {
            let postgres = store(text);
            assert_eq!(
                postgres,
                StorePlace::Postgres("postgres://u:secret@h/d".into())
            );
            assert!(!format!("{postgres:?}").contains("secret"));
        }
        for wrong in [
            "",
            "sqlite:",
            "bulkhead.db",
            "mysql://u:secret@h/d",
            "sqlite:postgres://u:secret@h/d",
            "postgres:u:secret@h",
            "sqlite: ",
            "sqlite::memory:",
            "sqlite: :MEMORY:",
            "sqlite:file:x.db",
            "sqlite:file::memory:?cache=shared",
            "sqlite:FILE:/data/x.db?mode=ro",
        ] {
            assert_eq!(store(wrong), StorePlace::Unknown, "{wrong}");
        }
    }
}
