//! Settings of the signing relay.

use super::units::{duration_within, number_within, octets_within};
use super::{GIB, KIB, LEAVING_PLACES, MIB, TRIAL_PLACES};
use crate::secrets::{self, Secret};
use bulkhead_outbound::Allowed;
use bulkhead_sandbox::Setup;
use bulkhead_store::{Postgres, Quota};
use clap::Args;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// Below the lease of a notification in the store (60 s), with time to write down what came of it.
const WEBHOOK_TIMEOUT_MOST: Duration = Duration::from_secs(50);

/// Every request for a signature is answered within two seconds; this leaves time for the answer.
const SIGN_TIMEOUT_MOST: Duration = Duration::from_millis(1900);

/// A target has 65,534 octets at most, three for each of the message, and the rest of it beside.
const MESSAGE_OCTETS_MOST: usize = 21 * KIB;

/// The signing relay. Its secrets are never flags: set the variables `BULKHEAD_UPSTREAM_API_KEY` and
/// `BULKHEAD_WEBHOOK_SECRET`, or name files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Signing")]
pub(crate) struct SigningSettings {
    /// Address of the signing API, as in `https://api.example`; without it there is no relay.
    #[arg(
        long,
        env = "BULKHEAD_UPSTREAM_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) upstream_url: Option<String>,
    /// File with the API's key, instead of the variable `BULKHEAD_UPSTREAM_API_KEY`.
    #[arg(long, env = "BULKHEAD_UPSTREAM_API_KEY_FILE", value_name = "FILE")]
    pub(crate) upstream_api_key_file: Option<PathBuf>,
    /// The API's RSA public key in PEM, or a file with it: signatures then have to verify.
    #[arg(
        long,
        env = "BULKHEAD_UPSTREAM_PUBLIC_KEY",
        value_name = "PEM|FILE",
        allow_hyphen_values = true,
        hide_env_values = true
    )]
    pub(crate) upstream_public_key: Option<String>,
    /// Calls that the API allows in any window, whatever they ask.
    #[arg(long, env = "BULKHEAD_UPSTREAM_CALLS", default_value_t = 10, value_name = "N", value_parser = number_within(1, 10_000_u32))]
    pub(crate) upstream_calls: u32,
    /// Length of that window: --upstream-calls in any such time.
    #[arg(long, env = "BULKHEAD_UPSTREAM_WINDOW", default_value = "60s", value_parser = duration_within(SECOND, DAY), value_name = "TIME")]
    pub(crate) upstream_window: Duration,
    /// Added to the window, for what the network delays.
    #[arg(long, env = "BULKHEAD_UPSTREAM_MARGIN", default_value = "1s", value_parser = duration_within(Duration::ZERO, DAY), value_name = "TIME")]
    pub(crate) upstream_margin: Duration,
    /// Time for one call, from its claim to the end of its answer.
    #[arg(long, env = "BULKHEAD_UPSTREAM_TIMEOUT", default_value = "10s", value_parser = duration_within(Duration::from_millis(100), DAY), value_name = "TIME")]
    pub(crate) upstream_timeout: Duration,
    /// Octets of an answer of the API; a longer one is a failed call.
    #[arg(long = "upstream-answer-max", env = "BULKHEAD_UPSTREAM_ANSWER_MAX", default_value = "64KiB", value_parser = octets_within(KIB, 16 * MIB), value_name = "SIZE")]
    pub(crate) upstream_answer_octets: usize,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
    /// Messages that wait to be signed; over it the answer is 503.
    #[arg(long, env = "BULKHEAD_BACKLOG_MAX", default_value_t = 100_000, value_name = "N", value_parser = number_within(1, 100_000_000_u64))]
    pub(crate) backlog_max: u64,
    /// Requests that wait for the same message, each with a callback of its own; over it the answer is
    /// 503.
    #[arg(long, env = "BULKHEAD_CALLERS_MAX", default_value_t = 100, value_name = "N", value_parser = number_within(1, 100_000_u32))]
    pub(crate) callers_max: u32,
    /// Octets of a message to be signed; over it the answer is 413. The API gets it percent-encoded in
    /// the target of a request, which has room for so much.
    #[arg(long = "message-max", env = "BULKHEAD_MESSAGE_MAX", default_value = "16KiB", value_parser = octets_within(1, MESSAGE_OCTETS_MOST), value_name = "SIZE")]
    pub(crate) message_octets: usize,
    /// Time in which every request for a signature is answered, with or without one; at most 1900ms.
    #[arg(long, env = "BULKHEAD_SIGN_TIMEOUT", default_value = "1500ms", value_parser = duration_within(Duration::from_millis(10), SIGN_TIMEOUT_MOST), value_name = "TIME")]
    pub(crate) sign_timeout: Duration,
    /// How long finished requests are kept; what is pending never expires.
    #[arg(long, env = "BULKHEAD_RETENTION", default_value = "90d", value_parser = duration_within(SECOND, DAY * 36_500), value_name = "TIME")]
    pub(crate) retention: Duration,
    /// File with the secret that webhooks are signed with (`whsec_` and base64), instead of the
    /// variable `BULKHEAD_WEBHOOK_SECRET`. Without either they are not signed.
    #[arg(long, env = "BULKHEAD_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// Time for one try of a webhook; at most 50s.
    #[arg(long, env = "BULKHEAD_WEBHOOK_TIMEOUT", default_value = "15s", value_parser = duration_within(Duration::from_millis(100), WEBHOOK_TIMEOUT_MOST), value_name = "TIME")]
    pub(crate) webhook_timeout: Duration,
    /// Webhooks under way at the same time.
    #[arg(long, env = "BULKHEAD_WEBHOOKS_MAX", default_value_t = 256, value_name = "N", value_parser = number_within(1, 10_000_u32))]
    pub(crate) webhooks_max: u32,
    /// Webhooks under way at one host at the same time: a slow one holds up no other.
    #[arg(long, env = "BULKHEAD_WEBHOOKS_PER_HOST_MAX", default_value_t = 4, value_name = "N", value_parser = number_within(1, 10_000_u32))]
    pub(crate) webhooks_per_host_max: u32,
    /// Hosts and networks that callbacks may go to although their addresses are not public, with
    /// commas between them, as in `hooks.internal,10.1.0.0/16`.
    #[arg(
        long,
        env = "BULKHEAD_CALLBACK_ALLOW",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    pub(crate) callback_allow: Vec<Allowed>,
    /// Memory of one sandbox of the signing component; it holds a message.
    #[arg(long = "signing-memory-max", env = "BULKHEAD_SIGNING_MEMORY_MAX", default_value = "32MiB", value_parser = octets_within(8 * MIB, 4 * GIB), value_name = "SIZE")]
    pub(crate) signing_memory_octets: usize,
    /// Wall-clock time of one call of the signing component.
    #[arg(long, env = "BULKHEAD_SIGNING_TIMEOUT", default_value = "1s", value_parser = duration_within(Duration::from_millis(10), Duration::from_mins(1)), value_name = "TIME")]
    pub(crate) signing_timeout: Duration,
    /// Signatures that wait to be verified under the public key; over it the answer is 503.
    #[arg(long, env = "BULKHEAD_VERIFY_QUEUE_MAX", default_value_t = 64, value_name = "N", value_parser = number_within(1, 100_000_u32))]
    pub(crate) verify_queue_max: u32,
}

/// The store, and how it is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreSettings {
    /// Where requests are kept: `sqlite:PATH` for one server, `postgres://USER@HOST/DATABASE` for any
    /// number of them.
    #[arg(
        long = "store",
        env = "BULKHEAD_STORE",
        default_value = "sqlite:./bulkhead.db",
        value_name = "WHERE",
        hide_env_values = true
    )]
    pub(crate) place: StoreSetting,
    /// File with PostgreSQL's password, instead of the variable `BULKHEAD_STORE_PASSWORD` or a place in
    /// the address (`USER:PASSWORD@`).
    #[arg(
        long = "store-password-file",
        env = "BULKHEAD_STORE_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// Time for the store to answer; over it the answer is 503.
    #[arg(long = "store-timeout", env = "BULKHEAD_STORE_TIMEOUT", default_value = "1500ms", value_parser = duration_within(Duration::from_millis(10), Duration::from_mins(1)), value_name = "TIME")]
    pub(crate) store_timeout: Duration,
    /// Changes that wait to be written to SQLite; over it the answer is 503.
    #[arg(long, env = "BULKHEAD_STORE_QUEUE_MAX", default_value_t = 10_000, value_name = "N", value_parser = number_within(1, 1_000_000_u32))]
    pub(crate) store_queue_max: u32,
    /// Connections to PostgreSQL.
    #[arg(long, env = "BULKHEAD_STORE_CONNECTIONS_MAX", default_value_t = 8, value_name = "N", value_parser = number_within(2, 512_u16))]
    pub(crate) store_connections_max: u16,
    /// Certificates (PEM) that https servers are checked against, instead of the public ones: the
    /// signing API's, callbacks' and PostgreSQL's.
    #[arg(long, env = "BULKHEAD_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// What a key in PEM begins with, and no path.
pub(crate) const PEM: &str = "-----BEGIN";

/// Larger files are taken for the wrong ones.
const KEY_FILE_OCTETS_MAX: usize = MIB;

/// What SQLite's files begin with (SQLite's "Database File Format", section 1.3).
const SQLITE_HEADER: &[u8] = b"SQLite format 3\0";

/// PostgreSQL's password; it may have a file in its place, and may be a part of the address.
pub(crate) const STORE_PASSWORD: &str = "BULKHEAD_STORE_PASSWORD";

impl StoreSettings {
    /// PostgreSQL's password, where it is not in the address.
    pub(crate) fn password(&self) -> Result<Option<Secret>, String> {
        let password = secrets::named(STORE_PASSWORD, self.password_file.as_deref())?;
        if password.is_some() && matches!(self.place, StoreSetting::Sqlite(_)) {
            return Err(format!(
                "{STORE_PASSWORD} (or {STORE_PASSWORD}_FILE) is set, and --store (BULKHEAD_STORE) is a \
                 file, which has none. Set one of them only"
            ));
        }
        Ok(password)
    }

    /// For `check-config`: why the place cannot be used, as far as that shows without opening it.
    pub(crate) fn unusable(&self) -> Option<String> {
        let why = match &self.place {
            StoreSetting::Sqlite(path) => no_database(path)?,
            StoreSetting::Postgres(url) => {
                // What is wrong with the password itself is told where it is read.
                let password = self.password().ok().flatten();
                let password = password.as_ref().map(Secret::expose);
                Postgres::judge(url, password).err()?.to_string()
            }
            StoreSetting::Unknown => return None,
        };
        Some(format!(
            "cannot use the store {:?}: {why}. Choose another with --store (BULKHEAD_STORE)",
            self.place
        ))
    }
}

/// Why a path is none that SQLite could open or make. Neither makes nor locks a file.
fn no_database(path: &Path) -> Option<String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder = folder.unwrap_or(Path::new("."));
            let error = std::fs::metadata(folder).err()?;
            return Some(format!("its folder, {}: {error}", folder.display()));
        }
        Err(error) => return Some(error.to_string()),
    };
    if metadata.is_dir() {
        return Some("it is a folder".into());
    }
    if !metadata.is_file() {
        return Some("it is not a regular file".into());
    }
    let mut begin = Vec::new();
    let most = SQLITE_HEADER.len() as u64;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut begin));
    match read {
        Err(error) => Some(error.to_string()),
        Ok(0) => None,
        Ok(_) if begin == SQLITE_HEADER => None,
        Ok(_) => Some("the file is not an SQLite database".into()),
    }
}

/// Where requests are kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreSetting {
    Sqlite(PathBuf),
    /// The URL, which may hold a password.
    Postgres(String),
    /// Neither; it may be a URL with a password that is misspelt, and is never shown.
    Unknown,
}

/// Never fails: the error would quote the text.
impl From<&str> for StoreSetting {
    fn from(text: &str) -> Self {
        let text = text.trim();
        let scheme = text
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let rest = |at: usize| text[at..].to_owned();
        match scheme.as_deref() {
            Some("sqlite") if text.len() > 7 && !text.contains("://") => {
                Self::Sqlite(rest(7).into())
            }
            Some(scheme @ ("postgres" | "postgresql")) if rest(scheme.len()).starts_with("://") => {
                Self::Postgres("postgres".to_owned() + &rest(scheme.len()))
            }
            _ => Self::Unknown,
        }
    }
}

impl StoreSetting {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Unknown => "unknown",
        }
    }

    /// For `check-config`: without user, password and options.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Self::Sqlite(path) => Some(format!("sqlite:{}", path.display())),
            Self::Postgres(url) => Postgres::judge(url, None).ok()?,
            Self::Unknown => None,
        }
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        (*self == Self::Unknown).then_some(
            "--store (BULKHEAD_STORE) is neither sqlite:PATH nor postgres://USER@HOST/DATABASE",
        )
    }
}

impl std::fmt::Debug for StoreSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://…"),
            Self::Unknown => f.write_str("…"),
        }
    }
}

impl SigningSettings {
    /// For the relay's one thread, and those that verify.
    pub(crate) fn sandbox(&self, verify_workers: u16) -> Setup {
        Setup {
            memory_octets_max: self.signing_memory_octets,
            instances: u32::from(1 + verify_workers + TRIAL_PLACES + LEAVING_PLACES),
        }
    }

    pub(crate) fn quota(&self) -> Quota {
        Quota {
            calls: self.upstream_calls,
            window_ms: millis(self.upstream_window),
            call_ms: millis(self.upstream_timeout),
            margin_ms: millis(self.upstream_margin),
        }
    }

    /// A fifth of the calls, but one at least.
    pub(crate) fn checks_max(&self) -> u32 {
        (self.upstream_calls / 5).max(1)
    }

    /// The public key, read where a file is named.
    pub(crate) fn public_key(&self) -> Result<Option<String>, String> {
        let Some(setting) = &self.upstream_public_key else {
            return Ok(None);
        };
        if setting.contains(PEM) {
            return Ok(Some(setting.clone()));
        }
        let key = secrets::read(Path::new(setting), KEY_FILE_OCTETS_MAX).and_then(|octets| {
            String::from_utf8(octets.to_vec()).map_err(|_| "is not text".to_owned())
        });
        key.map(Some).map_err(|why| {
            format!(
                "--upstream-public-key (BULKHEAD_UPSTREAM_PUBLIC_KEY) is no key in PEM, and the file that it \
                 names {why}"
            )
        })
    }
}

/// At most a day, as the parsers have it.
pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_judged_without_a_file_being_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, content: &[u8]| {
            std::fs::write(path(name), content).expect("written");
        };
        write("empty.db", b"");
        write("some.db", b"SQLite format 3\0\x10\0");
        write("text.db", b"SQLite format 2");
        for good in [
            path("none.db"),
            path("empty.db"),
            path("some.db"),
            "none.db".into(),
        ] {
            assert_eq!(no_database(&good), None, "{good:?}");
        }
        for (bad, why) in [
            ("", "it is a folder"),
            ("none/x.db", "its folder, "),
            ("text.db/x.db", "Not a directory"),
            ("text.db", "not an SQLite database"),
        ] {
            let told = no_database(&path(bad)).expect("refused");
            assert!(told.contains(why), "{bad}: {told}");
        }
        let entries = std::fs::read_dir(folder.path()).expect("a folder");
        assert_eq!(entries.count(), 3);
    }

    #[test]
    fn stores_are_named_by_their_scheme_and_passwords_are_not_shown() {
        let store = |text: &str| StoreSetting::from(text);
        let sqlite = StoreSetting::Sqlite("/data/x.db".into());
        assert_eq!(store("sqlite:/data/x.db"), sqlite);
        for text in [
            "postgres://u:secret@h/d",
            " postgres://u:secret@h/d\n",
            "PostgreSQL://u:secret@h/d",
        ] {
            let postgres = store(text);
            assert_eq!(
                postgres,
                StoreSetting::Postgres("postgres://u:secret@h/d".into())
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
        ] {
            assert_eq!(store(wrong), StoreSetting::Unknown, "{wrong}");
        }
    }
}
