//! The request and the response of `/decryptMessage`.

use crate::fields::{self, Names};
use crate::problem::Problem;
use crate::wiped::Wiped;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The fields. Existing clients also use the capitalised spelling.
const NAMES: [Names; 2] = [&["passphrase", "Passphrase"], &["message", "Message"]];
const EXAMPLE: &str = "Send {\"passphrase\": \"…\", \"message\": \"…\"}.";

/// A request to decrypt a message.
pub struct Request<'a> {
    /// The passphrase, wiped when it is dropped.
    pub passphrase: Zeroizing<String>,
    /// The message as received: armored text or base64.
    pub message: Cow<'a, str>,
}

impl<'a> Request<'a> {
    /// Parses the JSON body of a request.
    ///
    /// # Errors
    /// A [`Problem`] with the code `invalid_json` or `invalid_parameter`.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let [passphrase, message] = fields::parse_fields(body, NAMES)?;
        let passphrase = passphrase.required("passphrase", EXAMPLE)?;
        Ok(Self {
            passphrase: Zeroizing::new(passphrase.into_owned()),
            message: message.required("message", EXAMPLE)?,
        })
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
