//! Parses the parameters of the relay's requests from a query or from JSON.

use bulkhead_envelope::{Field, Names};
use bulkhead_http::{Problem, ProblemBody};
use bulkhead_sandbox::SignedMessage;
use percent_encoding::percent_decode_str;

const MESSAGE: &str = "message";
const SIGNATURE: &str = "signature";
const CALLBACK: Names = &["callback_url", "webhook_url", "webhookUrl", "webhook"];

const SIGN_EXAMPLE: &str = "Send GET /crypto/sign?message=…&callback_url=…, or POST {\"message\": \"…\", \"callback_url\": \"…\"}.";
const VERIFY_EXAMPLE: &str = "Send GET /crypto/verify?message=…&signature=….";

/// The message to sign, and the URL for its notification.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    pub(crate) message: String,
    pub(crate) callback: Option<String>,
}

impl Sign {
    pub(crate) fn from_query(query: &str) -> Result<Self, Problem> {
        let [message, callback] = fields(query, [&[MESSAGE], CALLBACK], SIGN_EXAMPLE)?;
        Ok(Self {
            message: required(message, MESSAGE, SIGN_EXAMPLE)?,
            // A form sends an empty field.
            callback: callback.filter(|url| !url.is_empty()),
        })
    }

    pub(crate) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let [message, callback] = bulkhead_envelope::parse_fields(body, [&[MESSAGE], CALLBACK])?;
        Ok(Self {
            message: message.required(MESSAGE, SIGN_EXAMPLE)?.into_owned(),
            callback: match callback {
                Field::Missing => None,
                // As in a form, which sends an empty field.
                Field::Text(url) if url.is_empty() => None,
                callback => Some(callback.required(CALLBACK[0], SIGN_EXAMPLE)?.into_owned()),
            },
        })
    }
}

/// Parses a message and the signature to verify.
///
/// # Errors
/// 400 if a field is missing, empty, repeated or malformed.
pub(crate) fn signed_message(query: &str) -> Result<SignedMessage, Problem> {
    let [message, signature] = fields(query, [&[MESSAGE], &[SIGNATURE]], VERIFY_EXAMPLE)?;
    Ok(SignedMessage {
        message: required(message, MESSAGE, VERIFY_EXAMPLE)?,
        signature: required(signature, SIGNATURE, VERIFY_EXAMPLE)?,
    })
}

fn required(
    field: Option<String>,
    name: &'static str,
    example: &str,
) -> Result<String, ProblemBody> {
    match field {
        None => Err(ProblemBody::invalid_parameter(name, "is missing", example)),
        Some(text) if text.is_empty() => {
            Err(ProblemBody::invalid_parameter(name, "is empty", example))
        }
        Some(text) => Ok(text),
    }
}

/// Returns the named fields of a query in the format of forms: percent-encoded UTF-8, and a plus sign for a
/// space. Other fields are ignored. A repeated field is an error, because either value could be meant.
fn fields<const N: usize>(
    query: &str,
    names: [Names; N],
    example: &str,
) -> Result<[Option<String>; N], ProblemBody> {
    let mut fields = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = decoded(name).and_then(|name| {
            names
                .iter()
                .position(|names| names.contains(&name.as_str()))
        });
        let Some(at) = known else {
            continue;
        };
        let wrong = |fault| ProblemBody::invalid_parameter(names[at][0], fault, example);
        let value = decoded(value).ok_or_else(|| wrong("is not percent-encoded UTF-8"))?;
        if fields[at].replace(value).is_some() {
            return Err(wrong("occurs more than once"));
        }
    }
    Ok(fields)
}

/// Decodes a value. Returns `None` if an escape is malformed or the bytes are not UTF-8. `form_urlencoded`
/// would replace them, and the server would sign another message than the client sent.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(query: &str) -> (String, Option<String>) {
        let sign = Sign::from_query(query).expect("query should be well-formed");
        (sign.message, sign.callback)
    }

    fn rejection_code(query: &str) -> &'static str {
        Sign::from_query(query)
            .expect_err("the query should be rejected")
            .code()
    }

    #[test]
    fn query_in_form_encoding_is_decoded() {
        assert_eq!(sign("message=m"), ("m".into(), None));
        assert_eq!(
            sign("x=%zz&message=a+b%20c%2Bd%C3%BC%00&webhookUrl=http%3A%2F%2Fh%2F%3Fa%3Db&"),
            ("a b c+d\u{fc}\0".into(), Some("http://h/?a=b".into()))
        );
        for name in CALLBACK {
            assert_eq!(sign(&format!("message=m&{name}=u")).1, Some("u".into()));
        }
        assert_eq!(sign("m%65ssage=m&callback_url=").1, None);
    }

    #[test]
    fn malformed_or_ambiguous_query_is_rejected() {
        for query in [
            "",
            "message",
            "message=",
            "message=a&message=a",
            "message=%",
            "message=%4",
            "message=%zz",
            "message=%ff",
            "message=%ed%a0%80",
            "message=m&webhook=u&callback_url=u",
        ] {
            assert_eq!(rejection_code(query), "invalid_parameter", "{query}");
        }
        assert_eq!(
            signed_message("message=m")
                .expect_err("a missing signature should be rejected")
                .code(),
            "invalid_parameter"
        );
    }

    #[test]
    fn json_fields_equal_query_fields() {
        let sign = |body: &str| Sign::from_json(body.as_bytes());
        let both = sign(r#"{"message": "m", "webhook_url": "u", "x": 1}"#)
            .expect("body should be well-formed");
        assert_eq!(
            (both.message.as_str(), both.callback.as_deref()),
            ("m", Some("u"))
        );
        assert_eq!(
            sign(r#"{"message": "m"}"#)
                .expect("body should be well-formed")
                .callback,
            None
        );
        for none in [
            r#"{"message": "m", "webhook": null}"#,
            r#"{"message": "m", "webhook": ""}"#,
        ] {
            assert_eq!(
                sign(none).expect("body should be well-formed").callback,
                None
            );
        }
        for (body, code) in [
            (r#"{"message": ""}"#, "invalid_parameter"),
            (r#"{"message": "m", "webhook": 1}"#, "invalid_parameter"),
            (
                r#"{"message": "m", "webhook": "u", "callback_url": "u"}"#,
                "invalid_json",
            ),
            ("[]", "invalid_json"),
        ] {
            assert_eq!(
                sign(body).expect_err("the body should be rejected").code(),
                code,
                "{body}"
            );
        }
    }
}
