//! The secrets of the relay: the API key of the upstream, and the secrets that webhooks are signed with.

use super::settings::SigningSettings;
use super::store_settings::STORE_PASSWORD;
use crate::config::secrets::{self, SecretError, set_or_not};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_relay::{WebhookSecret, WebhookSecrets};
use hyper::header::HeaderValue;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

const API_KEY: &str = "BULKHEAD_UPSTREAM_API_KEY";
const WEBHOOK_SECRET: &str = "BULKHEAD_WEBHOOK_SECRET";
const WEBHOOK_SECRET_PREVIOUS: &str = "BULKHEAD_WEBHOOK_SECRET_PREVIOUS";

/// The prefix of a secret (Standard Webhooks 1.0, "Signature scheme").
const SECRET_PREFIX: &str = "whsec_";

/// The minimum size of a secret, in bytes (as above).
const WEBHOOK_SECRET_BYTES_MIN: usize = 24;

/// The API key, which can be replaced while calls are made. It is the whole value of `Authorization`.
pub(super) type SharedApiKey = Arc<ArcSwapOption<HeaderValue>>;

/// The secrets, as they were read.
pub(super) struct SigningSecrets {
    api_key: Option<HeaderValue>,
    /// The current secret, then the previous one.
    webhook: Vec<WebhookSecret>,
}

impl SigningSecrets {
    /// Reads the secrets from their variables or files.
    ///
    /// # Errors
    /// The error of each secret that cannot be used.
    pub(super) fn load(settings: &SigningSettings) -> Result<Self, Vec<SecretError>> {
        let api_key = api_key(settings.upstream_api_key_file.as_deref());
        let webhook = webhook_secrets(settings);
        match (api_key, webhook) {
            (Ok(api_key), Ok(webhook)) => Ok(Self { api_key, webhook }),
            (api_key, webhook) => Err(api_key.err().into_iter().chain(webhook.err()).collect()),
        }
    }

    /// Logs missing, weak and unusual secrets.
    pub(super) fn warn(&self, settings: &SigningSettings) {
        if self.api_key.is_none() {
            tracing::warn!(
                name = API_KEY,
                "not set: calls to the signing API have no key"
            );
        }
        for name in self.weak() {
            tracing::warn!(
                name,
                "secret is weak: it has fewer than {WEBHOOK_SECRET_BYTES_MIN} bytes"
            );
        }
        for warning in warnings(settings) {
            tracing::warn!(warning, "secret is unusual");
        }
    }

    /// Returns the names of the webhook secrets that are shorter than recommended.
    fn weak(&self) -> impl Iterator<Item = &'static str> {
        let names = [WEBHOOK_SECRET, WEBHOOK_SECRET_PREVIOUS];
        names
            .into_iter()
            .zip(&self.webhook)
            .filter_map(|(name, secret)| {
                (secret.0.len() < WEBHOOK_SECRET_BYTES_MIN).then_some(name)
            })
    }
}

/// Returns warnings about secrets that probably contain bytes by accident.
fn warnings(settings: &SigningSettings) -> impl Iterator<Item = String> {
    let previous_file = secrets::previous_file(settings.webhook_secret_previous_file.as_deref());
    let warnings = secrets::warnings(&[
        (API_KEY, settings.upstream_api_key_file.as_deref()),
        (WEBHOOK_SECRET, settings.webhook_secret_file.as_deref()),
        (WEBHOOK_SECRET_PREVIOUS, previous_file),
        (
            STORE_PASSWORD,
            settings.store.store_password_file.as_deref(),
        ),
    ]);
    warnings.into_iter()
}

/// Returns the lines of `check-config` on the secrets. `None` means that they cannot be used.
pub(super) fn inspect(settings: &SigningSettings, secrets: Option<&SigningSecrets>) -> Vec<String> {
    let webhooks = secrets.map_or(0, |secrets| secrets.webhook.len());
    let mut lines = vec![
        set_or_not(
            API_KEY,
            secrets.is_some_and(|secrets| secrets.api_key.is_some()),
        ),
        set_or_not(WEBHOOK_SECRET, webhooks > 0),
        set_or_not(WEBHOOK_SECRET_PREVIOUS, webhooks > 1),
    ];
    lines.extend(warnings(settings).map(|warning| format!("# {warning}")));
    for name in secrets.into_iter().flat_map(SigningSecrets::weak) {
        lines.push(format!(
            "# {name} has fewer than {WEBHOOK_SECRET_BYTES_MIN} bytes, which is weak"
        ));
    }
    lines
}

/// The secrets in use.
#[derive(Clone, Default)]
pub(super) struct ActiveSecrets {
    pub(super) api_key: SharedApiKey,
    pub(super) webhook: WebhookSecrets,
}

impl ActiveSecrets {
    /// Uses these secrets from the next call and the next delivery on. Returns whether the API key is another
    /// one.
    pub(super) fn replace(&self, secrets: SigningSecrets) -> bool {
        let api_key = secrets.api_key.map(Arc::new);
        let before = self.api_key.swap(api_key.clone());
        self.webhook.replace(secrets.webhook);
        before != api_key
    }
}

/// Returns the API key, which is the whole value of `Authorization`.
fn api_key(file: Option<&Path>) -> Result<Option<HeaderValue>, SecretError> {
    let Some(key) = secrets::named(API_KEY, file)? else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_bytes(key.expose()).map_err(|_| SecretError::Malformed {
        name: API_KEY,
        problem: "contains bytes that a header cannot contain, such as a line end. Remove them"
            .to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn webhook_secrets(settings: &SigningSettings) -> Result<Vec<WebhookSecret>, SecretError> {
    let current = webhook_secret(WEBHOOK_SECRET, settings.webhook_secret_file.as_deref())?;
    let previous_file = secrets::previous_file(settings.webhook_secret_previous_file.as_deref());
    let previous = webhook_secret(WEBHOOK_SECRET_PREVIOUS, previous_file)?;
    if current.is_none() && previous.is_some() {
        return Err(SecretError::OnlyPrevious(WEBHOOK_SECRET));
    }
    Ok(current.into_iter().chain(previous).collect())
}

fn webhook_secret(
    name: &'static str,
    file: Option<&Path>,
) -> Result<Option<WebhookSecret>, SecretError> {
    let Some(secret) = secrets::named(name, file)? else {
        return Ok(None);
    };
    let malformed = |problem: String| SecretError::Malformed { name, problem };
    let text = std::str::from_utf8(secret.expose()).ok();
    let text = text.map(|text| text.strip_prefix(SECRET_PREFIX).unwrap_or(text));
    let bytes = text.and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.map(Zeroizing::new).ok_or_else(|| {
        malformed(format!(
            "is malformed. Set it to {SECRET_PREFIX} and at least {WEBHOOK_SECRET_BYTES_MIN} random bytes \
             in base64"
        ))
    })?;
    // `whsec_$UNSET` expands to this. Anybody could sign with an empty key.
    if bytes.is_empty() {
        return Err(malformed(format!(
            "has no key after {SECRET_PREFIX}. Set it to {SECRET_PREFIX} and at least \
             {WEBHOOK_SECRET_BYTES_MIN} random bytes in base64, or unset it"
        )));
    }
    Ok(Some(WebhookSecret(bytes)))
}
