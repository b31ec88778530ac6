//! Kinds of problems (RFC 9457 section 4). The server shows each kind as a help page at `/problems/{code}`.

/// A kind of problem. Its texts are complete sentences, except the title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    /// HTTP status code.
    pub status: u16,
    /// Identifier for programs. It does not change.
    pub code: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Says what the response means.
    pub meaning: &'static str,
    /// Says what usually leads to the problem.
    pub causes: &'static str,
    /// Says what the caller or the operator should do.
    pub remedy: &'static str,
}

impl ProblemKind {
    /// Returns the URI reference of the kind: the path of its help page.
    pub fn path(&self) -> String {
        format!("/problems/{}", self.code)
    }
}

/// Defines constants of [`ProblemKind`], and the constant `KINDS`, which lists them all.
#[macro_export]
macro_rules! problem_kinds {
    ($($name:ident = $status:literal $code:literal $title:literal {
        meaning: $meaning:literal,
        causes: $causes:literal,
        remedy: $remedy:literal,
    })*) => {
        $(
            #[doc = concat!("Status ", $status, ", code `", $code, "`: ", $meaning)]
            pub const $name: $crate::ProblemKind = $crate::ProblemKind {
                status: $status,
                code: $code,
                title: $title,
                meaning: $meaning,
                causes: $causes,
                remedy: $remedy,
            };
        )*

        /// All kinds of problems of this module.
        pub const KINDS: &[$crate::ProblemKind] = &[$($name),*];
    };
}

problem_kinds! {
    INVALID_JSON = 400 "invalid_json" "Invalid JSON" {
        meaning: "The request body is not a JSON object that the server can read.",
        causes: "The body is not JSON or not UTF-8, it is not an object, a field occurs twice, or values are nested too \
                 deeply. Often a string contains raw line breaks, or an editor replaced the quotes by typographic ones.",
        remedy: "Let a JSON library or `jq` write the body. `detail` names the position of the fault.",
    }
    INVALID_PARAMETER = 400 "invalid_parameter" "Invalid parameter" {
        meaning: "A parameter is missing or has a value that is not allowed.",
        causes: "A field is missing or not a string, `message` is empty, `passphrase_base64` is not base64, or both kinds of \
                 passphrase are given. The member `parameter` names the field.",
        remedy: "Correct the parameter as `detail` says, and send the request again.",
    }
    BODY_INCOMPLETE = 400 "body_incomplete" "Incomplete body" {
        meaning: "The request body ended early, or its length differs from the headers.",
        causes: "The connection was interrupted, or a proxy or client sent a wrong `Content-Length`.",
        remedy: "Send the whole body with the right `Content-Length`, or in complete chunks.",
    }
    BODY_TOO_LARGE = 413 "body_too_large" "Body too large" {
        meaning: "The request body is larger than the server accepts.",
        causes: "The body exceeds the limit that `detail` names.",
        remedy: "Send a smaller body. Operators raise the limit with the setting that `detail` names.",
    }
    NOT_OPENPGP = 422 "not_openpgp" "Not OpenPGP" {
        meaning: "The field `message` contains no OpenPGP message.",
        causes: "The text is something else, for example a password, a key, a certificate, or a binary file that was read as \
                 text.",
        remedy: "Send the whole text from `-----BEGIN PGP MESSAGE-----` to `-----END PGP MESSAGE-----`, or only its base64 \
                 data.",
    }
    DAMAGED_MESSAGE = 422 "damaged_message" "Damaged message" {
        meaning: "The message was cut off or damaged. Its structure shows that, so that no passphrase can help.",
        causes: "A part of the message was not copied, a program changed characters of it, or its file was cut off. `detail` \
                 says where.",
        remedy: "Copy the whole message again, or ask its sender for it.",
    }
    UNSUPPORTED_MESSAGE = 422 "unsupported_message" "Unsupported message" {
        meaning: "The message is recognised, but the server does not decrypt messages of this form.",
        causes: "The message is encrypted to public keys only, has no integrity protection (packet 9), is not encrypted, \
                 contains more than one literal data packet or a malformed packet, or uses an unknown algorithm.",
        remedy: "Encrypt the data again with a passphrase and a current program, for example `gpg --symmetric`. `detail` names \
                 the obstacle.",
    }
    UNDECRYPTABLE = 422 "undecryptable" "Not decryptable" {
        meaning: "The passphrase is wrong, or the message was altered in a way that its structure does not show.",
        causes: "The passphrase differs from the right one, perhaps by a space, a line break or its encoding, or some of the \
                 encrypted data was changed. All these cases have one response on purpose, so that it helps no attacker.",
        remedy: "Check the passphrase byte by byte, and check that the message is complete and unchanged.",
    }
    TOO_COSTLY = 422 "too_costly" "Too costly" {
        meaning: "The message needs more time, memory or other resources than the server allows for one message.",
        causes: "The plaintext is large, the compression ratio is high, the key derivation is expensive, or many session-key \
                 packets have to be tried.",
        remedy: "Encrypt the data with cheaper settings or in smaller parts. Operators raise the limit with the setting that \
                 `detail` names.",
    }
    NOT_TEXT = 422 "not_text" "Plaintext is not text" {
        meaning: "The message was decrypted, but its plaintext is not UTF-8 and cannot be a JSON string.",
        causes: "The plaintext is a binary file, or a text in another encoding.",
        remedy: "Send the request with `Accept: application/octet-stream` to receive the bytes.",
    }
}
