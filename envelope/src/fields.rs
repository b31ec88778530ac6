//! JSON objects in requests: strings by field name. All other fields are ignored.

use crate::problem::Problem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Maximum number of fields of an object, including ignored ones.
const FIELDS_MAX: usize = 1024;

/// The accepted names of one field. Errors use the first one.
pub type Names = &'static [&'static str];

/// Parses a JSON object and returns its named fields, in the order of `names`. A byte order mark is allowed.
///
/// # Errors
/// A [`Problem`] with the code `invalid_json` if the body is not a JSON object, is nested too deeply, has more than 1,024
/// fields or has a field twice. Its text does not quote the body.
pub fn parse_fields<const N: usize>(
    body: &[u8],
    names: [Names; N],
) -> Result<[Field<'_>; N], Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::invalid_json("The request body is not UTF-8. Encode the JSON as UTF-8. A passphrase that is not UTF-8 can be sent in base64, as \
             \"passphrase_base64\"."))?;
    // JSON has no byte order mark, but some editors write one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(FieldsVisitor(names))
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| invalid_json(&error, text))
}

fn invalid_json(error: &serde_json::Error, text: &str) -> Problem {
    // The messages of serde_json may quote the input, so they are compared and not returned.
    const LIBRARY: &str = "Let a JSON library or jq write the body";
    let message = error.to_string();
    let (fault, remedy) = if message.starts_with(DUPLICATE) {
        (
            "a field occurs twice",
            "Send each field once. Alternative spellings of a name are the same field",
        )
    } else if message.starts_with(TOO_MANY) {
        (
            "the object has too many fields",
            "Send only the fields of this request",
        )
    } else if message.starts_with("recursion limit") {
        (
            "it is nested too deeply",
            "Send only the fields of this request",
        )
    } else if message.starts_with("invalid type") {
        (
            "it is not an object",
            "Send the fields of this request in braces",
        )
    } else if message.starts_with("control character") {
        (
            "a string contains a raw line break or another control character",
            "Write it as an escape such as \\n, or let a JSON library or jq write the body",
        )
    } else if text.contains(TYPOGRAPHIC_QUOTES) {
        (
            "it is not well-formed",
            "Use plain quotation marks instead of typographic ones",
        )
    } else if text.trim().is_empty() {
        ("it is empty", LIBRARY)
    } else if error.is_eof() {
        ("it ends too early", LIBRARY)
    } else {
        ("it is not well-formed", LIBRARY)
    };
    let (line, column) = position(error, text);
    Problem::invalid_json(format!(
        "The request body is not a valid JSON object: {fault} (line {line}, column {column}). {remedy}."
    ))
}

/// Returns the line and the column of an error, counted from 1. `serde_json` returns column 0 of the next line for an
/// error at a line break.
fn position(error: &serde_json::Error, text: &str) -> (usize, usize) {
    match (error.line(), error.column()) {
        (line, 0) if line > 1 => {
            let before = text.split('\n').nth(line - 2).unwrap_or_default();
            (line - 1, before.len() + 1)
        }
        (line, column) => (line.max(1), column.max(1)),
    }
}

/// Quotation marks that word processors and chat programs put in the place of plain ones.
const TYPOGRAPHIC_QUOTES: [char; 8] = [
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}',
];

const DUPLICATE: &str = "duplicate field";
const TOO_MANY: &str = "too many fields";

/// The value of a field.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// The field is missing or `null`.
    #[default]
    Missing,
    /// The value is not a string.
    NotText,
    /// The value is a string.
    Text(Cow<'a, str>),
}

impl<'a> Field<'a> {
    /// Returns the string of the required field `name`. `example` is a sentence that shows a valid request.
    ///
    /// # Errors
    /// A [`Problem`] with the code `invalid_parameter` if the field is missing, not a string, or empty.
    pub fn required(self, name: &'static str, example: &str) -> Result<Cow<'a, str>, Problem> {
        match self.required_or_empty(name, example)? {
            text if text.is_empty() => Err(Problem::invalid_parameter(name, "is empty", example)),
            text => Ok(text),
        }
    }

    /// Returns the string of the required field `name`, which may be empty. `example` is a sentence that shows a valid
    /// request.
    ///
    /// # Errors
    /// A [`Problem`] with the code `invalid_parameter` if the field is missing or not a string.
    pub fn required_or_empty(
        self,
        name: &'static str,
        example: &str,
    ) -> Result<Cow<'a, str>, Problem> {
        let wrong = |fault| Err(Problem::invalid_parameter(name, fault, example));
        match self {
            Self::Missing => wrong("is missing"),
            Self::NotText => wrong("is not a string"),
            Self::Text(text) => Ok(text),
        }
    }
}

struct FieldsVisitor<const N: usize>([Names; N]);

impl<'de, const N: usize> Visitor<'de> for FieldsVisitor<N> {
    type Value = [Field<'de>; N];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error as _;
        let mut fields = [const { Field::Missing }; N];
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let known = self
                .0
                .iter()
                .position(|names| names.contains(&name.as_str()));
            let value = map.next_value::<Field<'_>>()?;
            let name = known.map_or(name, |at| self.0[at][0].to_owned());
            if let Some(at) = known {
                fields[at] = value;
            }
            if !seen.insert(name) {
                return Err(A::Error::custom(DUPLICATE));
            }
            if seen.len() > FIELDS_MAX {
                return Err(A::Error::custom(TOO_MANY));
            }
        }
        Ok(fields)
    }
}

impl<'de> serde::Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// Also parses ignored values, because `IgnoredAny` does not limit the depth.
struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Field::NotText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Field::NotText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Field::NotText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Field::NotText)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Missing)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Field<'_>>()?.is_some() {}
        Ok(Field::NotText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, Field<'_>>()?.is_some() {}
        Ok(Field::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [Names; 2] = [&["passphrase", "Passphrase"], &["message", "Message"]];

    fn texts(body: &[u8]) -> Result<[Cow<'_, str>; 2], Problem> {
        let [passphrase, message] = parse_fields(body, NAMES)?;
        Ok([
            passphrase.required("passphrase", "")?,
            message.required("message", "")?,
        ])
    }

    fn code(body: &[u8]) -> &'static str {
        texts(body).err().map_or("ok", |problem| problem.kind.code)
    }

    #[test]
    fn alternative_names_and_unknown_fields_are_accepted() {
        for body in [
            r#"{"passphrase": "p", "message": "m"}"#,
            r#"{"Passphrase": "p", "Message": "m"}"#,
            r#"{"x": {"y": [1, null]}, "message": "m", "Passphrase": "p"}"#,
            "\u{feff}{\"passphrase\":\"p\",\"message\":\"m\"}\n",
        ] {
            assert_eq!(
                texts(body.as_bytes()).expect("the body should be valid"),
                ["p", "m"]
            );
        }
        let escaped = texts(br#"{"passphrase": "\u00fc\n", "message": "a\nb"}"#)
            .expect("the body should be valid");
        assert_eq!(escaped, ["\u{fc}\n", "a\nb"]);
    }

    #[test]
    fn invalid_json_is_rejected_without_quoting_it() {
        let deep = format!(r#"{{"x": {}1{}}}"#, "[".repeat(500), "]".repeat(500));
        for body in [
            "",
            "null",
            "[]",
            "\"text\"",
            "{",
            "{}x",
            "{'a': 1}",
            "{\"a\": 1,}",
            deep.as_str(),
            r#"{"passphrase": "p", "passphrase": "p", "message": "m"}"#,
            r#"{"passphrase": "p", "Passphrase": "p", "message": "m"}"#,
            r#"{"x": 1, "x": 1, "passphrase": "p", "message": "m"}"#,
            r#"{"passphrase": "\ud800", "message": "m"}"#,
        ] {
            assert_eq!(code(body.as_bytes()), "invalid_json", "{body}");
        }
        assert_eq!(
            code(b"{\"passphrase\": \"\xff\", \"message\": \"m\"}"),
            "invalid_json"
        );
    }

    #[test]
    fn common_causes_of_invalid_json_are_named() {
        for (body, cause) in [
            ("{\"message\": \"a\nb\"}", "raw line break"),
            ("{\"message\": \"a\nb\"}", "(line 1, column 15)"),
            ("{\u{201c}message\u{201d}: \"m\"}", "plain quotation marks"),
            ("{\u{2018}message\u{2019}: 1}", "plain quotation marks"),
            (
                "{'message': 'm'}",
                "it is not well-formed (line 1, column 2)",
            ),
            ("[]", "not an object"),
            ("\n", "it is empty"),
            ("{\"message\":", "it ends too early"),
        ] {
            let detail = texts(body.as_bytes()).expect_err("invalid").detail;
            assert!(detail.contains(cause), "{detail}");
        }
    }

    #[test]
    fn missing_empty_and_non_string_fields_are_rejected() {
        for body in [
            "{}",
            r#"{"passphrase": "p"}"#,
            r#"{"passphrase": "", "message": "m"}"#,
            r#"{"passphrase": "p", "message": null}"#,
            r#"{"passphrase": 1, "message": "m"}"#,
            r#"{"passphrase": ["p"], "message": "m"}"#,
            r#"{"passphrase": "p", "message": {"a": "b"}}"#,
        ] {
            assert_eq!(code(body.as_bytes()), "invalid_parameter", "{body}");
        }
    }
}
