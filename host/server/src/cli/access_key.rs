//! `bulkhead access-key …`: makes access keys, and inspects the file that lists them.

use super::client::{ACCESS_KEY, access_key_of_variables};
use super::print;
use crate::access::{
    AccessKey, AccessSettings, Entry, EntryError, EntryKey, InvalidKey, KeyFileError, KeySet,
    NewLimits, Scope, Scopes, expiry, is_name, read_keys,
};
use crate::config::secrets::SecretError;
use bulkhead_http::setting;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;
use thiserror::Error;

#[derive(Debug, clap::Subcommand)]
pub(super) enum AccessKeyCommand {
    /// Make a key. Prints the key, which cannot be shown again, and the entry to add to the file of
    /// --access-keys. The entry has the SHA-256 of the key only.
    New(NewSettings),
    /// List the entries of a file: a line for each key with its name, the first digits of its SHA-256, its
    /// expiry and its scopes.
    List(FileSettings),
    /// Check a file as a server does before it uses the file. If BULKHEAD_ACCESS_KEY is set, also check
    /// whether the file has this key. The exit status is 0 if the file and the key are valid.
    #[expect(
        clippy::doc_markdown,
        reason = "the help text shows variables as they are"
    )]
    Check(FileSettings),
}

#[derive(Debug, Args)]
pub(super) struct NewSettings {
    /// Name of the caller, which appears in metrics. To replace the key of an existing entry, add the new key
    /// to this entry, and remove the old one later.
    #[arg(long, value_parser = name)]
    name: String,
    /// Right of the caller. Can be given several times.
    #[arg(long, value_parser = scope, required = true)]
    scope: Vec<Scope>,
    /// Date or time in UTC from which the key is not valid, as in 2027-01-31 or 2027-01-31T12:00:00Z. If this
    /// is not set, the key does not expire.
    #[arg(long, value_name = "DATE", value_parser = checked_expiry)]
    expires: Option<String>,
    #[command(flatten)]
    limits: NewLimits,
}

#[derive(Debug, Args)]
pub(super) struct FileSettings {
    /// File with access keys.
    #[arg(long, value_name = "FILE")]
    access_keys: PathBuf,
}

/// A command failed.
#[derive(Debug, Error)]
enum CommandError {
    #[error("the system does not give random bytes: {0}")]
    Random(#[from] std::io::Error),
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error(
        "{ACCESS_KEY} is not an access key: it is incomplete or has a typing error. Copy it again from the output \
         of `bulkhead access-key new`"
    )]
    Malformed,
    #[error("the key in {ACCESS_KEY} is not in {}. Add its entry, or use another key", setting!(AccessSettings, access_keys))]
    Unknown,
    #[error(
        "the key in {ACCESS_KEY} has expired. Use another key, or make one with `bulkhead access-key new`"
    )]
    Expired,
}

/// Runs the command and prints its result.
pub(super) fn run(command: &AccessKeyCommand) -> ExitCode {
    let now = SystemTime::now();
    let result = match command {
        AccessKeyCommand::New(settings) => new(settings),
        AccessKeyCommand::List(settings) => read_keys(&settings.access_keys)
            .map(|keys| list(&keys, now))
            .map_err(CommandError::from),
        AccessKeyCommand::Check(settings) => check(settings, now),
    };
    print(result.map(|text| (text, ExitCode::SUCCESS)))
}

fn new(settings: &NewSettings) -> Result<String, CommandError> {
    let key = AccessKey::generate()?;
    let mut document_key = json!({"sha256": key.digest().to_string()});
    if let Some(expires) = &settings.expires {
        document_key["expires"] = expires.as_str().into();
    }
    let scopes: Vec<_> = settings.scope.iter().map(|scope| scope.name()).collect();
    let mut entry = json!({"name": settings.name, "keys": [document_key], "scopes": scopes});
    let limits = settings.limits.limits().document();
    if !limits.is_empty() {
        entry["limits"] = limits.into();
    }
    Ok(format!(
        "{}\n\nThis is the access key of {}. It is not shown again. Add this entry to \"entries\" in the file \
         of {}:\n\n{entry:#}\n",
        key.expose(),
        settings.name,
        setting!(AccessSettings, access_keys).flag(),
    ))
}

fn list(keys: &KeySet, now: SystemTime) -> String {
    let mut lines = String::new();
    for entry in keys.entries() {
        for key in &entry.keys {
            let _infallible = writeln!(lines, "{}", line(entry, key, now));
        }
        let certificates = entry.certificates.len();
        if certificates > 0 {
            let (name, scopes) = (&entry.name, entry.scopes);
            let _infallible = writeln!(
                lines,
                "{name}  client certificates: {certificates}  {scopes}"
            );
        }
    }
    lines
}

fn line(entry: &Entry, key: &EntryKey, now: SystemTime) -> String {
    let expires = key.expires.map_or_else(
        || "does not expire".to_owned(),
        |expires| {
            let verb = if key.is_expired(now) {
                "expired"
            } else {
                "expires"
            };
            format!("{verb} {}", humantime::format_rfc3339_seconds(expires))
        },
    );
    let fingerprint = key.digest.fingerprint();
    format!("{}  {fingerprint}  {expires}  {}", entry.name, entry.scopes)
}

fn check(settings: &FileSettings, now: SystemTime) -> Result<String, CommandError> {
    let keys = read_keys(&settings.access_keys)?;
    let mut text = format!("the file is valid; entries: {}\n", keys.entries().len());
    let Some(key) = access_key_of_variables()? else {
        return Ok(text);
    };
    let key = std::str::from_utf8(key.expose()).ok();
    let key = key.and_then(AccessKey::parse);
    let key = key.ok_or(CommandError::Malformed)?;
    let digest = key.digest();
    let entry = keys.entry(&digest, now).map_err(|invalid| match invalid {
        InvalidKey::Unknown => CommandError::Unknown,
        InvalidKey::Expired => CommandError::Expired,
    })?;
    let _infallible = writeln!(
        text,
        "the key in {ACCESS_KEY} is valid and belongs to {}, with the scopes: {}",
        entry.name, entry.scopes
    );
    Ok(text)
}

fn name(text: &str) -> Result<String, EntryError> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(EntryError::Name)
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::named(text).ok_or_else(|| format!("use one of: {}", Scopes::ALL))
}

/// Returns the text itself, because the file has it in the same form.
fn checked_expiry(text: &str) -> Result<String, String> {
    match expiry(text) {
        Ok(time) if time > SystemTime::now() => Ok(text.to_owned()),
        Ok(_) => Err("the time has passed. Give a later one".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
