//! What callers are told when a message is not opened (RFC 9457).

use crate::limit::Excess;
use crate::setting::Setting;

/// An error as the caller sees it. `detail` says what to do; it never carries a secret, a plaintext or
/// an internal path.
#[derive(Debug)]
pub struct Problem {
    /// The status code of HTTP.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// The kind of problem, for people.
    pub title: &'static str,
    /// This very one.
    pub detail: String,
    /// The parameter at fault, if it is one.
    pub parameter: Option<&'static str>,
}

impl Problem {
    /// Any problem, without a parameter.
    pub fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            parameter: None,
        }
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn of_parameter(mut self, parameter: &'static str) -> Self {
        self.parameter = Some(parameter);
        self
    }

    pub(crate) fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid_json", "Invalid JSON", detail)
    }

    /// `example` shows what a good request looks like.
    pub fn invalid_parameter(parameter: &'static str, what: &str, example: &str) -> Self {
        let detail = format!("\"{parameter}\" {what}. {example}");
        Self::new(400, "invalid_parameter", "Invalid parameter", detail).of_parameter(parameter)
    }

    /// The body of a request is over its limit.
    pub fn body_too_large(limit_octets: u64) -> Self {
        let detail = format!(
            "The request body may have {limit_octets} octets. Operators raise {}.",
            Setting::new("body_max")
        );
        Self::new(413, "body_too_large", "Body too large", detail)
    }

    /// There is no message in the text.
    pub fn not_openpgp() -> Self {
        unprocessable(
            "not_openpgp",
            "Not OpenPGP",
            "No OpenPGP message was found in \"message\". Paste it whole, from BEGIN to END, or its \
             base64 data alone.",
        )
    }

    /// A message that is understood and refused. `why` is the component's own text.
    pub fn unsupported_message(why: &str) -> Self {
        unprocessable(
            "unsupported_message",
            "Unsupported message",
            format!("The message is understood but not opened: {why}."),
        )
    }

    /// Wrong passphrase or altered message: one answer.
    pub fn undecryptable() -> Self {
        unprocessable(
            "undecryptable",
            "Not decryptable",
            "The passphrase is wrong or the message was altered. Check the passphrase, and that the \
             message is complete.",
        )
    }

    /// The message asks for more than a limit allows.
    pub fn over_limit(excess: Excess) -> Self {
        let Excess {
            limit,
            asked,
            allowed,
        } = excess;
        Self::too_costly(format!(
            "{}: the message asks for {}, allowed is {}. Operators raise {}.",
            limit.what(),
            limit.amount(asked),
            limit.amount(allowed),
            limit.setting(),
        ))
    }

    /// A limit of another kind: time, memory.
    pub fn too_costly(detail: String) -> Self {
        unprocessable("too_costly", "Too costly", detail)
    }

    /// The plaintext cannot be a JSON string. `instead` says how to get its octets.
    pub fn not_text(instead: &str) -> Self {
        unprocessable(
            "not_text",
            "Plaintext is not text",
            format!("The message was opened, but its plaintext is not UTF-8. {instead}"),
        )
    }

    /// The document. What sends it adds what it knows, such as `request_id`.
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(parameter) = self.parameter {
            document["parameter"] = parameter.into();
        }
        document
    }
}

fn unprocessable(code: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(422, code, title, detail)
}
