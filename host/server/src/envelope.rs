//! The JSON envelope of `POST /decryptMessage`.

use crate::problem::Problem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Different fields of one object. Only two mean anything; the rest is ignored, but not endlessly.
const FIELDS_MAX: usize = 1024;

/// What a caller sends. The passphrase is wiped when this goes.
pub(crate) struct Envelope<'a> {
    pub(crate) passphrase: Zeroizing<String>,
    pub(crate) message: Cow<'a, str>,
}

/// Reads the envelope. No part of the body is quoted in an error.
pub(crate) fn parse(body: &[u8]) -> Result<Envelope<'_>, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::invalid_json("The request body is not UTF-8."))?;
    // A byte order mark is not JSON, but editors write it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json
        .deserialize_any(FieldsVisitor)
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| describe(&error))?;
    let passphrase = fields.passphrase.required("passphrase")?;
    let message = fields.message.required("message")?;
    Ok(Envelope {
        passphrase: Zeroizing::new(passphrase.into_owned()),
        message,
    })
}

fn describe(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    // serde_json's own texts may quote the input; ours are told apart by their beginning.
    let text = error.to_string();
    let what = if text.starts_with(DUPLICATE) {
        "a field is there twice (the spellings with a capital letter are the same field)"
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

#[derive(Default)]
struct Fields<'a> {
    passphrase: Field<'a>,
    message: Field<'a>,
}

#[derive(Default)]
enum Field<'a> {
    #[default]
    Missing,
    NotText,
    Text(Cow<'a, str>),
}

impl<'a> Field<'a> {
    fn required(self, name: &'static str) -> Result<Cow<'a, str>, Problem> {
        match self {
            Self::Missing => Err(Problem::invalid_parameter(name, "is missing")),
            Self::NotText => Err(Problem::invalid_parameter(name, "is not a string")),
            Self::Text(text) if text.is_empty() => {
                Err(Problem::invalid_parameter(name, "is empty"))
            }
            Self::Text(text) => Ok(text),
        }
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error as _;
        let mut fields = Fields::default();
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let name = match name.as_str() {
                "Passphrase" => "passphrase".to_owned(),
                "Message" => "message".to_owned(),
                _ => name,
            };
            match name.as_str() {
                "passphrase" => fields.passphrase = map.next_value()?,
                "message" => fields.message = map.next_value()?,
                _ => {
                    map.next_value::<Field<'_>>()?;
                }
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

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::NotText)
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

    fn code(body: &[u8]) -> &'static str {
        parse(body).err().map_or("ok", |problem| problem.code())
    }

    #[test]
    fn both_spellings_and_unknown_fields() {
        for body in [
            r#"{"passphrase": "p", "message": "m"}"#,
            r#"{"Passphrase": "p", "Message": "m"}"#,
            r#"{"x": {"y": [1, null]}, "message": "m", "Passphrase": "p"}"#,
            "\u{feff}{\"passphrase\":\"p\",\"message\":\"m\"}\n",
        ] {
            let envelope = parse(body.as_bytes()).expect("well-formed");
            assert_eq!(
                (envelope.passphrase.as_str(), &*envelope.message),
                ("p", "m")
            );
        }
        let escaped =
            parse(br#"{"passphrase": "\u00fc\n", "message": "a\nb"}"#).expect("well-formed");
        assert_eq!(
            (escaped.passphrase.as_str(), &*escaped.message),
            ("\u{fc}\n", "a\nb")
        );
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
