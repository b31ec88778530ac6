//! The request and the response of `/decryptMessage`.

use crate::fields::{self, Field, Names};
use crate::problem::Problem;
use crate::wiped::Wiped;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The fields. Existing clients also use the capitalised spelling.
const NAMES: [Names; 3] = [
    &["passphrase", "Passphrase"],
    &["passphrase_base64"],
    &["message", "Message"],
];
const EXAMPLE: &str = "Send {\"passphrase\": \"…\", \"message\": \"…\"}.";
const BASE64_EXAMPLE: &str = "Send the bytes of the passphrase in base64 (RFC 4648 section 4), or send \"passphrase\" instead.";

/// Base64 with or without padding. The unused bits of the last digit have no meaning.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A request to decrypt a message.
pub struct Request<'a> {
    /// The bytes of the passphrase, wiped when they are dropped. It may be empty.
    pub passphrase: Zeroizing<Vec<u8>>,
    /// The message as received: text in any of the shapes that the component reads.
    pub message: Cow<'a, str>,
}

impl<'a> Request<'a> {
    /// Parses the JSON body of a request.
    ///
    /// # Errors
    /// A [`Problem`] with the code `invalid_json` or `invalid_parameter`.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let [passphrase, passphrase_base64, message] = fields::parse_fields(body, NAMES)?;
        Ok(Self {
            passphrase: bytes(passphrase, passphrase_base64)?,
            message: message.required("message", EXAMPLE)?,
        })
    }
}

/// Returns the bytes of the passphrase, which one of the two fields has.
fn bytes(text: Field<'_>, base64: Field<'_>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    match (text, base64) {
        (text, Field::Missing) => {
            let text = text.required_or_empty("passphrase", EXAMPLE)?;
            Ok(Zeroizing::new(text.into_owned().into_bytes()))
        }
        (Field::Missing, base64) => {
            let encoded = base64.required_or_empty("passphrase_base64", BASE64_EXAMPLE)?;
            let encoded = Zeroizing::new(encoded.into_owned());
            // Programs that encode files break lines.
            let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
                encoded
                    .bytes()
                    .filter(|c| !c.is_ascii_whitespace())
                    .collect(),
            );
            let decoded = BASE64.decode(&*digits).map(Zeroizing::new);
            decoded.map_err(|_| {
                Problem::invalid_parameter("passphrase_base64", "is not base64", BASE64_EXAMPLE)
            })
        }
        _ => Err(Problem::invalid_parameter(
            "passphrase_base64",
            "is given in addition to \"passphrase\"",
            "Send one of them.",
        )),
    }
}

/// Returns the response body `{"DecryptedMessage": …}`, in one pass over the plaintext.
///
/// # Panics
/// Never: a string can be serialised, and memory can be written to.
pub fn decrypted_response(text: &str) -> Wiped {
    #[derive(serde::Serialize)]
    struct Response<'a> {
        #[serde(rename = "DecryptedMessage")]
        text: &'a str,
    }
    let mut body = Wiped::with_capacity(text.len() + text.len() / 8 + 32);
    serde_json::to_writer(&mut body, &Response { text })
        .expect("a string can be serialised, and memory can be written to");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(fields: &str) -> Result<Vec<u8>, Problem> {
        let body = format!("{{{fields}, \"message\": \"m\"}}");
        Request::parse(body.as_bytes()).map(|request| request.passphrase.to_vec())
    }

    #[test]
    fn passphrase_is_text_or_bytes_in_base64() {
        for (fields, bytes) in [
            (r#""passphrase": "p\u00fc\n""#, &b"p\xc3\xbc\n"[..]),
            (r#""passphrase": """#, b""),
            (r#""passphrase_base64": "cPw=""#, b"p\xfc"),
            (r#""passphrase_base64": "cP\nw\n""#, b"p\xfc"),
            (r#""passphrase_base64": "cPx""#, b"p\xfc"),
            (r#""passphrase_base64": """#, b""),
            (
                r#""passphrase": null, "passphrase_base64": "cPw=""#,
                b"p\xfc",
            ),
        ] {
            assert_eq!(passphrase(fields).expect(fields), bytes, "{fields}");
        }
    }

    #[test]
    fn missing_double_and_malformed_passphrases_are_rejected() {
        for (fields, parameter) in [
            (r#""x": 1"#, "passphrase"),
            (r#""passphrase": 1"#, "passphrase"),
            (r#""passphrase_base64": 1"#, "passphrase_base64"),
            (r#""passphrase_base64": "c*w=""#, "passphrase_base64"),
            (
                r#""passphrase": "p", "passphrase_base64": "cPw=""#,
                "passphrase_base64",
            ),
        ] {
            let problem = passphrase(fields).expect_err(fields);
            assert_eq!(problem.kind.code, "invalid_parameter", "{fields}");
            assert_eq!(problem.parameter, Some(parameter), "{fields}");
            assert!(!problem.detail.contains("c*w="), "{}", problem.detail);
        }
    }
}
