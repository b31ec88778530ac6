//! Problem documents for messages that are not opened (RFC 9457).

use crate::limit::Excess;
use crate::problem_kind::{self, ProblemKind};
use crate::setting::Setting;

/// The kind of a text that contains no OpenPGP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing is recognised.
    Nothing,
    /// Binary data that was read as text.
    Binary,
    /// PEM data, such as a certificate.
    Pem,
    /// A signature, or text with a signature below it.
    Signature,
    /// An OpenPGP key.
    Key,
}

/// An error for the caller. Its texts never contain a secret, a plaintext or an internal path.
#[derive(Debug)]
pub struct Problem {
    /// The kind of problem.
    pub kind: &'static ProblemKind,
    /// Sentences about this occurrence: what is wrong, and what to do.
    pub detail: String,
    /// Name of the parameter at fault, if there is one.
    pub parameter: Option<&'static str>,
}

impl Problem {
    /// Creates a problem without a parameter.
    pub fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            parameter: None,
        }
    }

    /// Sets the name of the parameter at fault.
    #[must_use]
    pub fn with_parameter(mut self, parameter: &'static str) -> Self {
        self.parameter = Some(parameter);
        self
    }

    pub(crate) fn invalid_json(detail: impl Into<String>) -> Self {
        Self::new(&problem_kind::INVALID_JSON, detail)
    }

    /// A parameter is missing or invalid. `fault` is a predicate such as "is missing", and `example` a sentence that shows
    /// a valid request.
    pub fn invalid_parameter(parameter: &'static str, fault: &str, example: &str) -> Self {
        let detail = format!("\"{parameter}\" {fault}. {example}");
        Self::new(&problem_kind::INVALID_PARAMETER, detail).with_parameter(parameter)
    }

    /// The body of the request has more than `limit_bytes` bytes.
    pub fn body_too_large(limit_bytes: u64) -> Self {
        let detail = format!(
            "The request body exceeds the maximum of {limit_bytes} bytes. Send a shorter body. Operators raise {}.",
            Setting::new("body_max")
        );
        Self::new(&problem_kind::BODY_TOO_LARGE, detail)
    }

    /// The text does not contain an OpenPGP message. `evidence` is the kind of text that it is instead.
    pub(crate) fn not_openpgp(evidence: Evidence) -> Self {
        let detail = match evidence {
            Evidence::Nothing => {
                "No OpenPGP message was found in \"message\". Send the whole text from BEGIN to END, or only its base64 data."
            }
            Evidence::Binary => {
                "\"message\" is binary data that was read as text, so that bytes were lost. Read the file as bytes, and send \
                 their base64, or the armored message that gpg --armor writes."
            }
            Evidence::Pem => {
                "\"message\" is PEM data, such as a certificate or a key for TLS or SSH, and not an OpenPGP message. Send the \
                 text from BEGIN PGP MESSAGE to END PGP MESSAGE."
            }
            Evidence::Signature => {
                "\"message\" is signed but not encrypted: its text can be read without a passphrase. Verify the signature \
                 with gpg --verify, or send an encrypted message."
            }
            Evidence::Key => {
                "\"message\" is an OpenPGP key, not a message. Send the text from BEGIN PGP MESSAGE to END PGP MESSAGE, and keep \
                 private keys to yourself."
            }
        };
        Self::new(&problem_kind::NOT_OPENPGP, detail)
    }

    /// The message was cut off or damaged. `place` is the component's clause, such as "it ends too early, in line 7".
    pub(crate) fn damaged_message(place: &str) -> Self {
        Self::new(
            &problem_kind::DAMAGED_MESSAGE,
            format!(
                "The message is damaged: {place}. Copy the whole message again, from BEGIN to END, or ask the sender for it. \
                 The passphrase does not matter."
            ),
        )
    }

    /// The message is understood, but not supported. `why` is the component's text, such as "it is a key".
    pub(crate) fn unsupported_message(why: &str) -> Self {
        Self::new(
            &problem_kind::UNSUPPORTED_MESSAGE,
            format!(
                "The message was recognised but cannot be decrypted: {why}. Ask the sender to encrypt the data with a \
                 passphrase and a current program, for example with gpg --symmetric."
            ),
        )
    }

    /// The passphrase is wrong or the message was altered. Both have the same text on purpose.
    pub(crate) fn undecryptable() -> Self {
        Self::new(
            &problem_kind::UNDECRYPTABLE,
            "The passphrase is wrong or the message was altered. Check that the message is complete. \
             Passphrases are compared byte by byte as UTF-8, including spaces and line breaks.",
        )
    }

    /// The message exceeds a limit.
    pub(crate) fn over_limit(excess: Excess) -> Self {
        let Excess {
            limit,
            requested,
            allowed,
        } = excess;
        Self::too_costly(format!(
            "{}: the message needs {}, but the maximum is {}. Operators raise {}.",
            limit.description(),
            limit.amount(requested),
            limit.amount(allowed),
            limit.setting(),
        ))
    }

    /// The message exceeds a limit of another kind, such as time or memory.
    pub fn too_costly(detail: String) -> Self {
        Self::new(&problem_kind::TOO_COSTLY, detail)
    }

    /// The plaintext is not UTF-8 and therefore cannot be a JSON string. `instead` says how to receive its bytes.
    /// `is_openpgp` says whether the plaintext is itself an OpenPGP message.
    pub fn not_text(instead: &str, is_openpgp: bool) -> Self {
        let again = if is_openpgp {
            " The plaintext is itself an OpenPGP message in binary form: the message was encrypted twice. Send its base64 as a \
             message of its own."
        } else {
            ""
        };
        Self::new(
            &problem_kind::NOT_TEXT,
            format!("The message was decrypted, but its plaintext is not UTF-8. {instead}{again}"),
        )
    }

    /// Returns the JSON document. The caller adds further members, such as `request_id`.
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "type": self.kind.path(),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.kind.code,
        });
        if let Some(parameter) = self.parameter {
            document["parameter"] = parameter.into();
        }
        document
    }
}
