//! Parses the parameters of the relay's requests from a query or from JSON.

use crate::access::is_name;
use bulkhead_envelope::{Field, Names};
use bulkhead_http::{Problem, ProblemBody};
use bulkhead_sandbox::SignedMessage;
use bulkhead_store::{Owner, RequestFilter, RequestId};
use percent_encoding::percent_decode_str;

const MESSAGE: &str = "message";
const SIGNATURE: &str = "signature";
const STATUS: &str = "status";
const OWNER: &str = "owner";
const AFTER: &str = "after";
const LIMIT: &str = "limit";
const CALLBACK: Names = &["callback_url", "webhook_url", "webhookUrl", "webhook"];

const SIGN_EXAMPLE: &str = "Send GET /crypto/sign?message=…&callback_url=…, or POST {\"message\": \"…\", \"callback_url\": \"…\"}.";
const LIST_EXAMPLE: &str = "Send GET /crypto/requests?status=pending&after=…&limit=….";
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

/// The parameters of a list of requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) filter: RequestFilter,
    pub(super) owner: Option<Owner>,
    pub(super) after: Option<RequestId>,
    pub(super) limit: u32,
}

/// Maximum number of requests in a list, which is also the default. It limits the memory of a list, because the store
/// also reads the text to sign, at most 21 KiB for each request.
pub(super) const LIST_MAX: u32 = 100;

impl List {
    /// Parses the query of `GET /crypto/requests`.
    ///
    /// # Errors
    /// 400 if a field is empty, repeated, or not one of its values.
    pub(super) fn from_query(query: &str) -> Result<Self, ProblemBody> {
        let names: [Names; 4] = [&[STATUS], &[OWNER], &[AFTER], &[LIMIT]];
        let [status, owner, after, limit] = fields(query, names, LIST_EXAMPLE)?;
        let wrong = |name, fault: &str| ProblemBody::invalid_parameter(name, fault, LIST_EXAMPLE);
        let filter = match status.as_deref() {
            None => RequestFilter::All,
            Some("pending") => RequestFilter::Pending,
            Some("signed") => RequestFilter::Signed,
            Some("failed") => RequestFilter::Failed,
            Some("parked") => RequestFilter::Parked,
            Some(_) => {
                let fault = "is not one of pending, signed, failed, parked";
                return Err(wrong(STATUS, fault));
            }
        };
        let owner = owner.map(|name| {
            let is_name = is_name(&name);
            let fault = || wrong(OWNER, "is not the name of an access key");
            is_name.then(|| Owner::new(&name)).ok_or_else(fault)
        });
        let after = after.map(|id| {
            let fault = || wrong(AFTER, "is not the id of a request");
            RequestId::parse(&id).ok_or_else(fault)
        });
        let limit = limit.map_or(Ok(LIST_MAX), |limit| {
            let limit = limit.parse().ok();
            let limit = limit.filter(|limit| (1..=LIST_MAX).contains(limit));
            limit.ok_or_else(|| wrong(LIMIT, &format!("is not a number from 1 to {LIST_MAX}")))
        })?;
        Ok(Self {
            filter,
            owner: owner.transpose()?,
            after: after.transpose()?,
            limit,
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
    fn list_parameters_are_optional_and_bounded() {
        let id = "0".repeat(RequestId::DIGITS);
        let all = List::from_query("").expect("query should be well-formed");
        let expected = List {
            filter: RequestFilter::All,
            owner: None,
            after: None,
            limit: LIST_MAX,
        };
        assert_eq!(all, expected);
        let query = format!("status=parked&owner=ci&after={id}&limit=1&x=1");
        let expected = List {
            filter: RequestFilter::Parked,
            owner: Some(Owner::new("ci")),
            after: RequestId::parse(&id),
            limit: 1,
        };
        assert_eq!(List::from_query(&query).ok(), Some(expected));
        for query in [
            "status=all",
            "status=",
            "status=signed&status=signed",
            "owner=",
            "owner=a%20b",
            "after=",
            "after=1f",
            "limit=",
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=1e1",
        ] {
            let rejected = List::from_query(query).expect_err(query);
            assert_eq!(
                Problem::from(rejected).code(),
                "invalid_parameter",
                "{query}"
            );
        }
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
