//! JSON objects as clients send them: texts by name, every other field ignored.

use crate::problem::Problem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Different fields of one object. Only the named ones mean anything; the rest is ignored, but not endlessly.
const FIELDS_MAX: usize = 1024;

/// A field: the names it goes by. The first is how errors call it.
pub type Names = &'static [&'static str];

/// Reads an object and takes the named fields out of it: `invalid_json` where it is none, or a field is there
/// twice. No part of the body is quoted in an error.
pub fn parse_fields<const N: usize>(
    body: &[u8],
    names: [Names; N],
) -> Result<[Field<'_>; N], Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::invalid_json("The request body is not UTF-8."))?;
    // A byte order mark is not JSON, but editors write it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(FieldsVisitor(names))
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| describe(&error))
}

fn describe(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    // serde_json's own texts may quote the input; ours are told apart by their beginning.
    let text = error.to_string();
    let what = if text.starts_with(DUPLICATE) {
        "a field is there twice (other spellings of a name are the same field)"
    } else if text.starts_with(TOO_MANY) {
        "the object has too many fields"
    } else if text.starts_with("recursion limit") {
        "it is nested too deep"
    } else if text.starts_with("invalid type") {
        "it is not an object"
    } else {
        "it is not well-formed"
    };
    Problem::invalid_json(format!(
        "The request body is not JSON as it is needed here: {what} ({place})."
    ))
}

const DUPLICATE: &str = "duplicate field";
const TOO_MANY: &str = "too many fields";

/// What was found under a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Nothing, or `null`.
    #[default]
    Missing,
    /// Something else than a string.
    NotText,
    /// A string.
    Text(Cow<'a, str>),
}

impl<'a> Field<'a> {
    /// A text that must be there, else `invalid_parameter`. `example` shows a good request.
    pub fn required(self, name: &'static str, example: &str) -> Result<Cow<'a, str>, Problem> {
        let wrong = |what| Err(Problem::invalid_parameter(name, what, example));
        match self {
            Self::Missing => wrong("is missing"),
            Self::NotText => wrong("is not a string"),
            Self::Text(text) if text.is_empty() => wrong("is empty"),
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

/// Also walks through what is ignored: `IgnoredAny` would know no limit on depth.
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

    /// `null` says that there is nothing.
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
        texts(body).err().map_or("ok", |problem| problem.code)
    }

    #[test]
    fn both_spellings_and_unknown_fields() {
        for body in [
            r#"{"passphrase": "p", "message": "m"}"#,
            r#"{"Passphrase": "p", "Message": "m"}"#,
            r#"{"x": {"y": [1, null]}, "message": "m", "Passphrase": "p"}"#,
            "\u{feff}{\"passphrase\":\"p\",\"message\":\"m\"}\n",
        ] {
            assert_eq!(texts(body.as_bytes()).expect("well-formed"), ["p", "m"]);
        }
        let escaped =
            texts(br#"{"passphrase": "\u00fc\n", "message": "a\nb"}"#).expect("well-formed");
        assert_eq!(escaped, ["\u{fc}\n", "a\nb"]);
    }

    #[test]
    fn what_is_not_the_json_we_need() {
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
    fn fields_that_are_missing_empty_or_no_text() {
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
