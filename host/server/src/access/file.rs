//! The file of access keys, in JSON. A JSON document that is cut off is never valid, so that a file that is
//! incomplete cannot lose an expiry or a limit.

use super::key::KeyDigest;
use super::key_set::{CertificateId, Conflict, Entry, EntryKey, KeySet};
use super::limits::{KDF_RATE_MAX, Limits, PENDING_MAX, REQUEST_RATE_MAX, REQUESTS_MAX};
use super::scope::{Scope, Scopes};
use super::settings::AccessSettings;
use crate::config::files::{self, FileError};
use bulkhead_http::{ByteSize, Wiped, setting};
use serde::Deserialize;
use serde_json::error::Category;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thiserror::Error;

/// Maximum size of the file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Maximum number of entries. The names are labels of metrics.
const ENTRIES_MAX: usize = 1000;
/// Maximum number of keys of an entry: the current one and the next or the previous one.
const KEYS_MAX: usize = 2;
const NAME_BYTES_MAX: usize = 64;
/// Maximum number of certificates of an entry.
const CERTIFICATES_MAX: usize = 16;
const URI_BYTES_MAX: usize = 2048;

/// The file of access keys cannot be used.
#[derive(Debug, Error)]
#[error("{}, {}, {fault}", setting!(AccessSettings, access_keys), file.display())]
pub(crate) struct KeyFileError {
    file: PathBuf,
    fault: Fault,
}

impl KeyFileError {
    /// Returns the fault without the path of the file.
    pub(crate) fn fault(&self) -> String {
        format!("the file of access keys {}", self.fault)
    }
}

/// A fault of the file. The text continues a sentence whose subject is the file. It never quotes a value,
/// because the value may be a key that was pasted in the wrong place.
#[derive(Debug, PartialEq, Eq, Error)]
enum Fault {
    #[error("{0}")]
    Read(String),
    #[error("is not well-formed JSON at line {line}, column {column}. Check its syntax")]
    Syntax { line: usize, column: usize },
    #[error(
        "has an unknown, missing, repeated or wrongly typed field at line {line}, column {column}. Correct \
         it: `bulkhead access-key new` prints a valid entry"
    )]
    Shape { line: usize, column: usize },
    #[error("has more than {ENTRIES_MAX} entries. Remove those that are not used")]
    TooMany,
    #[error("has an error in {entry}: {error}")]
    Entry { entry: String, error: EntryError },
}

/// An entry is invalid.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum EntryError {
    #[error(
        "the name is malformed. Use 1 to {NAME_BYTES_MAX} letters, digits and characters of .-_ in ASCII"
    )]
    Name,
    #[error("another entry has the same name. Put both keys into one entry")]
    NameTwice,
    #[error("it has neither a key nor a certificate. Add one, or remove the entry")]
    NoKey,
    #[error("it has more than {KEYS_MAX} keys. Remove the oldest")]
    TooManyKeys,
    #[error(
        "a sha256 is malformed. Give the 64 hexadecimal digits that `bulkhead access-key new` printed"
    )]
    Digest,
    #[error(
        "a key occurs twice in the file. Remove one of them, because each key belongs to one entry"
    )]
    KeyTwice,
    #[error("it has more than {CERTIFICATES_MAX} certificates. Remove those that are not used")]
    TooManyCertificates,
    #[error(
        "a certificate is malformed. Give sha256: and the 64 hexadecimal digits of its SHA-256, or a URI of its \
         subject alternative name"
    )]
    Certificate,
    #[error(
        "a certificate occurs twice in the file. Remove one of them, because each certificate belongs to one entry"
    )]
    CertificateTwice,
    #[error(
        "expires is malformed. Give a date or a time in UTC, as in 2027-01-31 or 2027-01-31T12:00:00Z"
    )]
    Expires,
    #[error("it has no scopes. Give at least one of: {}", Scopes::ALL)]
    NoScopes,
    #[error("a scope is unknown. Use only: {}", Scopes::ALL)]
    Scope,
    #[error("the limit {name} is out of bounds. Give a whole number from 1 to {max}")]
    Limit { name: &'static str, max: u32 },
    #[error(
        "the limit request_burst needs request_rate. Set it too, or a default (--key-request-rate)"
    )]
    Burst,
    #[error(
        "the limit kdf_rate is malformed or out of bounds. Give a size from 1B to {}, as in \"8GiB\"",
        ByteSize::new(KDF_RATE_MAX)
    )]
    KdfRate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDocument {
    entries: Vec<EntryDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryDocument {
    name: String,
    /// For people; not read.
    #[serde(default, rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    keys: Vec<KeyDocument>,
    #[serde(default)]
    certificates: Vec<String>,
    scopes: Vec<String>,
    #[serde(default)]
    limits: LimitsDocument,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsDocument {
    request_rate: Option<u32>,
    request_burst: Option<u32>,
    requests_max: Option<u32>,
    kdf_rate: Option<String>,
    pending_max: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    sha256: String,
    #[serde(default)]
    expires: Option<String>,
}

/// Reads a file of access keys, without default limits.
///
/// # Errors
/// [`KeyFileError`] if the file cannot be read or is invalid.
pub(crate) fn read(file: &Path) -> Result<KeySet, KeyFileError> {
    parse(file, &content(file)?, Limits::default())
}

/// Returns the content of a file of access keys.
///
/// # Errors
/// [`KeyFileError`] if the file cannot be read.
pub(super) fn content(file: &Path) -> Result<Wiped, KeyFileError> {
    files::read(file, FILE_BYTES_MAX).map_err(|error: FileError| KeyFileError {
        file: file.to_owned(),
        fault: Fault::Read(error.to_string()),
    })
}

/// Parses the content of a file of access keys. An empty file has no entries. `defaults` are the limits that an entry
/// does not set.
///
/// # Errors
/// [`KeyFileError`] if any part of it is invalid.
pub(super) fn parse(file: &Path, content: &[u8], defaults: Limits) -> Result<KeySet, KeyFileError> {
    parse_content(content, defaults).map_err(|fault| KeyFileError {
        file: file.to_owned(),
        fault,
    })
}

fn parse_content(content: &[u8], defaults: Limits) -> Result<KeySet, Fault> {
    let mut keys = KeySet::default();
    if content.trim_ascii().is_empty() {
        return Ok(keys);
    }
    let document: FileDocument = serde_json::from_slice(content).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Fault::Shape { line, column },
            Category::Syntax | Category::Eof | Category::Io => Fault::Syntax { line, column },
        }
    })?;
    if document.entries.len() > ENTRIES_MAX {
        return Err(Fault::TooMany);
    }
    for (number, document) in (1..).zip(document.entries) {
        let shown = if is_name(&document.name) {
            format!("the entry {}", document.name)
        } else {
            format!("entry {number}")
        };
        let added = entry(document, defaults).and_then(|entry| {
            keys.add(entry).map_err(|conflict| match conflict {
                Conflict::Name => EntryError::NameTwice,
                Conflict::Key => EntryError::KeyTwice,
                Conflict::Certificate => EntryError::CertificateTwice,
            })
        });
        added.map_err(|error| Fault::Entry {
            entry: shown,
            error,
        })?;
    }
    Ok(keys)
}

fn entry(document: EntryDocument, defaults: Limits) -> Result<Entry, EntryError> {
    if !is_name(&document.name) {
        return Err(EntryError::Name);
    }
    match document.keys.len() {
        0 if document.certificates.is_empty() => return Err(EntryError::NoKey),
        0..=KEYS_MAX => {}
        _ => return Err(EntryError::TooManyKeys),
    }
    let keys = document.keys.iter().map(|key| {
        Ok(EntryKey {
            digest: KeyDigest::parse(&key.sha256).ok_or(EntryError::Digest)?,
            expires: key.expires.as_deref().map(expiry).transpose()?,
        })
    });
    let scopes = document.scopes.iter().map(|name| Scope::named(name));
    let scopes: Option<Vec<_>> = scopes.collect();
    let scopes = Scopes::of(&scopes.ok_or(EntryError::Scope)?);
    if scopes == Scopes::NONE {
        return Err(EntryError::NoScopes);
    }
    if document.certificates.len() > CERTIFICATES_MAX {
        return Err(EntryError::TooManyCertificates);
    }
    let certificates = document.certificates.iter().map(|id| certificate(id));
    Ok(Entry {
        certificates: certificates.collect::<Result<_, _>>()?,
        keys: keys.collect::<Result<_, _>>()?,
        scopes,
        limits: limits(&document.limits, defaults)?,
        name: document.name,
        ..Entry::default()
    })
}

fn limits(document: &LimitsDocument, defaults: Limits) -> Result<Limits, EntryError> {
    let number = |name, value: Option<u32>, max| match value {
        Some(value) if !(1..=max).contains(&value) => Err(EntryError::Limit { name, max }),
        value => Ok(value),
    };
    let kdf_rate = document.kdf_rate.as_deref().map(|text| {
        let size = text.parse::<ByteSize>().ok();
        let size = size.filter(|size| (1..=KDF_RATE_MAX).contains(&size.bytes()));
        size.ok_or(EntryError::KdfRate)
    });
    let limits = Limits {
        request_rate: number("request_rate", document.request_rate, REQUEST_RATE_MAX)?,
        request_burst: number("request_burst", document.request_burst, REQUEST_RATE_MAX)?,
        requests_max: number("requests_max", document.requests_max, REQUESTS_MAX)?,
        kdf_rate: kdf_rate.transpose()?,
        pending_max: number("pending_max", document.pending_max, PENDING_MAX)?,
    };
    let limits = limits.or(defaults);
    if document.request_burst.is_some() && limits.request_rate.is_none() {
        return Err(EntryError::Burst);
    }
    Ok(limits)
}

/// Parses a certificate: `sha256:` and hexadecimal digits, or a URI.
fn certificate(text: &str) -> Result<CertificateId, EntryError> {
    if let Some(digits) = text.strip_prefix("sha256:") {
        // openssl prints colons between the bytes.
        let mut digest = [0; 32];
        let digits = digits.replace(':', "");
        let bytes = base16ct::mixed::decode(&digits, &mut digest);
        let is_whole = bytes.is_ok_and(|bytes| bytes.len() == 32);
        return if is_whole {
            Ok(CertificateId::Sha256(digest))
        } else {
            Err(EntryError::Certificate)
        };
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_uri = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme)
        && text.len() <= URI_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_uri {
        Ok(CertificateId::Uri(text.to_owned()))
    } else {
        Err(EntryError::Certificate)
    }
}

/// Returns whether a text is a valid name of an entry.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Parses a time in UTC (RFC 3339), or a date, which stands for its first moment.
///
/// # Errors
/// [`EntryError::Expires`] if the text is malformed.
pub(crate) fn expiry(text: &str) -> Result<SystemTime, EntryError> {
    const DATE: &str = "2027-01-31";
    let time = if text.len() == DATE.len() {
        humantime::parse_rfc3339(&format!("{text}T00:00:00Z"))
    } else {
        humantime::parse_rfc3339(text)
    };
    time.map_err(|_| EntryError::Expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(key: &str) -> String {
        KeyDigest::of(key.as_bytes()).to_string()
    }

    fn parsed(content: &str) -> Result<KeySet, Fault> {
        parse_content(content.as_bytes(), Limits::default())
    }

    fn fault(content: &str) -> Fault {
        parsed(content).expect_err("the file should be rejected")
    }

    fn sample() -> Value {
        json!({"entries": [
            {"name": "ci", "keys": [{"sha256": digest("1")}], "scopes": ["decrypt", "token:make"]},
            {"name": "ops.2", "note": "on call", "scopes": ["admin"], "keys": [
                {"sha256": digest("2"), "expires": "2027-01-31"},
                {"sha256": digest("3").to_uppercase(), "expires": "2027-01-31T12:00:00Z"},
            ]},
        ]})
    }

    #[test]
    fn entries_are_read_with_keys_scopes_and_expiry() {
        let keys = parsed(&sample().to_string()).expect("file should be valid");
        let [ci, ops] = keys.entries() else {
            panic!("there should be two entries");
        };
        assert_eq!(ci.name, "ci");
        assert_eq!(ci.scopes, Scopes::of(&[Scope::Decrypt, Scope::TokenMake]));
        assert_eq!(ci.keys[0].expires, None);
        let day = humantime::parse_rfc3339("2027-01-31T00:00:00Z").expect("time should be valid");
        assert_eq!(ops.keys[0].expires, Some(day));
        assert!(ops.keys[1].expires > Some(day));
    }

    #[test]
    fn empty_file_has_no_entries() {
        for content in ["", " \n", r#"{"entries": []}"#] {
            let keys = parsed(content).expect("file should be valid");
            assert!(keys.entries().is_empty(), "{content:?}");
        }
    }

    /// A file that ends early could otherwise lose an expiry, a key or an entry that another one limits.
    #[test]
    fn file_that_is_cut_off_anywhere_is_invalid() {
        let content = sample().to_string();
        for end in 1..content.len() {
            assert!(
                matches!(fault(&content[..end]), Fault::Syntax { .. }),
                "{end}"
            );
        }
    }

    #[test]
    fn invalid_entry_is_rejected_with_its_reason() {
        let change = |pointer: &str, value: Value| {
            let mut document = sample();
            let place = document
                .pointer_mut(pointer)
                .expect("the pointer should be valid");
            *place = value;
            match fault(&document.to_string()) {
                Fault::Entry { error, .. } => error,
                other => panic!("{pointer}: {other}"),
            }
        };
        let key = |text: &str| json!([{"sha256": text}]);
        let three: Vec<_> = ["4", "5", "6"]
            .map(|key| json!({"sha256": digest(key)}))
            .into();
        for (pointer, value, expected) in [
            ("/entries/0/name", json!(""), EntryError::Name),
            ("/entries/0/name", json!("a b"), EntryError::Name),
            ("/entries/0/name", json!("a\n"), EntryError::Name),
            ("/entries/0/name", json!("x".repeat(65)), EntryError::Name),
            ("/entries/0/name", json!("ops.2"), EntryError::NameTwice),
            ("/entries/0/keys", json!([]), EntryError::NoKey),
            ("/entries/0/keys", json!(three), EntryError::TooManyKeys),
            ("/entries/0/keys", key(""), EntryError::Digest),
            ("/entries/0/keys", key("bh_secret"), EntryError::Digest),
            ("/entries/0/keys", key(&digest("3")), EntryError::KeyTwice),
            ("/entries/0/scopes", json!([]), EntryError::NoScopes),
            (
                "/entries/0/scopes",
                json!(["sign", "all"]),
                EntryError::Scope,
            ),
            (
                "/entries/1/keys/0/expires",
                json!("never"),
                EntryError::Expires,
            ),
            (
                "/entries/1/keys/0/expires",
                json!("2027-02-30"),
                EntryError::Expires,
            ),
            ("/entries/1/keys/0/expires", json!(""), EntryError::Expires),
        ] {
            assert_eq!(change(pointer, value), expected, "{pointer}");
        }
    }

    #[test]
    fn unknown_missing_and_repeated_fields_are_rejected_without_quoting() {
        let valid = format!(
            r#""keys": [{{"sha256": "{}"}}], "scopes": ["sign"]"#,
            digest("1")
        );
        for entry in [
            format!(r#"{{"name": "a", {valid}, "expired": "2027-01-31"}}"#),
            format!(r#"{{"name": "a", "name": "b", {valid}}}"#),
            format!("{{{valid}}}"),
            r#"{"name": "a", "keys": ["bh_secret"], "scopes": ["sign"]}"#.to_owned(),
            r#"{"name": "a", "keys": "bh_secret", "scopes": ["sign"]}"#.to_owned(),
            format!(r#"{{"name": "a", {valid}, "bh_secret": 1}}"#),
            "null".to_owned(),
        ] {
            let fault = fault(&format!(r#"{{"entries": [{entry}]}}"#));
            assert!(matches!(fault, Fault::Shape { .. }), "{entry}");
            assert!(!fault.to_string().contains("secret"));
        }
        for document in ["[]", "1", r#"{"keys": []}"#] {
            assert!(matches!(fault(document), Fault::Shape { .. }), "{document}");
        }
        assert!(matches!(
            fault(r#"{"entries": []} x"#),
            Fault::Syntax { .. }
        ));
    }

    #[test]
    fn certificate_is_a_digest_or_a_uri() {
        let hex = digest("1");
        let id = certificate(&format!("sha256:{hex}"));
        assert!(matches!(id, Ok(CertificateId::Sha256(_))));
        let pairs: Vec<_> = (0..32)
            .map(|at| hex[2 * at..2 * at + 2].to_uppercase())
            .collect();
        assert_eq!(certificate(&format!("sha256:{}", pairs.join(":"))), id);
        let uri = "spiffe://example.org/ci";
        assert_eq!(certificate(uri), Ok(CertificateId::Uri(uri.to_owned())));
        let long = format!("spiffe://{}", "x".repeat(URI_BYTES_MAX));
        let longer = format!("sha256:{hex}00");
        for malformed in [
            "", "ci", "sha256:", &longer, "://x", "1:x", "a: b", "ü:x", &long,
        ] {
            assert_eq!(
                certificate(malformed),
                Err(EntryError::Certificate),
                "{malformed}"
            );
        }
    }

    #[test]
    fn limits_are_read_within_their_bounds_and_replace_defaults() {
        let with = |limits: Value| {
            let mut document = sample();
            document["entries"][0]["limits"] = limits;
            let defaults = Limits {
                requests_max: Some(7),
                ..Limits::default()
            };
            parse_content(document.to_string().as_bytes(), defaults)
        };
        let limits = json!({"request_rate": 10, "request_burst": 20, "kdf_rate": "8GiB"});
        let keys = with(limits).expect("file should be valid");
        assert_eq!(
            keys.entries()[0].limits,
            Limits {
                request_rate: Some(10),
                request_burst: Some(20),
                requests_max: Some(7),
                kdf_rate: Some(ByteSize::new(8 << 30)),
                pending_max: None,
            }
        );
        assert_eq!(keys.entries()[1].limits.request_rate, None);
        for name in [
            "request_rate",
            "request_burst",
            "requests_max",
            "pending_max",
        ] {
            for number in [0, 1_000_001] {
                let fault = with(json!({ name: number })).expect_err("limit is invalid");
                assert!(fault.to_string().contains(name), "{fault}");
            }
            assert!(matches!(
                with(json!({ name: "10" })),
                Err(Fault::Shape { .. })
            ));
        }
        for size in ["", "8 chunks", "0B", "4097GiB"] {
            assert!(with(json!({ "kdf_rate": size })).is_err(), "{size}");
        }
        assert!(with(json!({"rate": 1})).is_err());
        let burst = with(json!({"request_burst": 1})).expect_err("burst needs a rate");
        assert!(burst.to_string().contains("request_rate"), "{burst}");
    }

    #[test]
    fn number_of_entries_is_limited() {
        let entries = |count| {
            let entries = (0..count).map(|number: usize| {
                let sha256 = digest(&number.to_string());
                json!({"name": number.to_string(), "keys": [{"sha256": sha256}], "scopes": ["sign"]})
            });
            json!({"entries": entries.collect::<Vec<_>>()}).to_string()
        };
        assert!(parsed(&entries(ENTRIES_MAX)).is_ok());
        assert_eq!(fault(&entries(ENTRIES_MAX + 1)), Fault::TooMany);
    }
}
