//! Signatures as the upstream writes them: base64 text.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::RangeInclusive;

/// Length of a signature under an RSA key of 512 to 16,384 bits, in bytes.
const LEN: RangeInclusive<usize> = 64..=2048;

/// Returns the signature that a response body consists of, or `None` if the body is anything else.
///
/// The text is returned as received, without white space at its ends.
pub(crate) fn from_body(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_ascii();
    LEN.contains(&decode(text)?.len()).then(|| text.to_owned())
}

/// Decodes URL-safe or ordinary base64, with or without padding. Returns `None` for other text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&URL_SAFE, CONFIG)
        .decode(text)
        .or_else(|_| GeneralPurpose::new(&STANDARD, CONFIG).decode(text))
        .ok()
}
