//! The request and the answer of `/decryptMessage`.

use crate::fields::{self, Names};
use crate::problem::Problem;
use crate::wiped::Wiped;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The capitalised spelling is in circulation.
const NAMES: [Names; 2] = [&["passphrase", "Passphrase"], &["message", "Message"]];
const EXAMPLE: &str = "Send {\"passphrase\": \"…\", \"message\": \"…\"}.";

/// A message and what is to open it.
pub struct Request<'a> {
    /// Wiped when it is dropped.
    pub passphrase: Zeroizing<String>,
    /// As it was pasted.
    pub message: Cow<'a, str>,
}

impl<'a> Request<'a> {
    /// Reads the body of a request: `invalid_json`, `invalid_parameter`.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let [passphrase, message] = fields::parse_fields(body, NAMES)?;
        let passphrase = passphrase.required("passphrase", EXAMPLE)?;
        Ok(Self {
            passphrase: Zeroizing::new(passphrase.into_owned()),
            message: message.required("message", EXAMPLE)?,
        })
    }
}

/// The answer to it, `{"DecryptedMessage": …}`, in one pass over the plaintext.
pub fn decrypted_response(text: &str) -> Wiped {
    #[derive(serde::Serialize)]
    struct Opened<'a> {
        #[serde(rename = "DecryptedMessage")]
        text: &'a str,
    }
    let mut body = Wiped::with_capacity(text.len() + text.len() / 8 + 32);
    serde_json::to_writer(&mut body, &Opened { text }).expect("a text is JSON, memory takes all");
    body
}
