//! Trace contexts of requests.

/// A `traceparent` of W3C Trace Context (section 3.2). It identifies the trace of a caller's request and is
/// sent with the calls for that request. A value of version 00 is kept unchanged, because this program does
/// not record traces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

/// Numbers of digits of the version, the trace id, the parent id and the flags.
const FIELDS: [usize; 4] = [2, 32, 16, 2];

/// Length of all fields with dashes between them.
const BYTES: usize = 55;

impl TraceParent {
    /// Parses the value of a header. Returns `None` if it is malformed: the header is then ignored (section
    /// 3.2.2).
    ///
    /// A value of a later version is reduced to the fields of version 00 (section 4).
    pub fn parse(text: &str) -> Option<Self> {
        let (known, later) = text.split_at_checked(BYTES)?;
        let fields: Vec<&str> = known.split('-').collect();
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_well_formed = fields.iter().map(|field| field.len()).eq(FIELDS)
            && fields.iter().all(|field| field.bytes().all(digit));
        let [version, trace, parent, flags] = fields[..] else {
            return None;
        };
        let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
        if !is_well_formed || version == "ff" || is_zero(trace) || is_zero(parent) {
            return None;
        }
        match (version, later) {
            ("00", "") => Some(Self(text.to_owned())),
            ("00", _) => None,
            (_, later) if later.is_empty() || later.starts_with('-') => {
                let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
                Some(Self(format!("00-{trace}-{parent}-{sampled:02x}")))
            }
            _ => None,
        }
    }

    /// Returns the value for a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trace id: 32 lowercase hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn parsed(text: &str) -> Option<String> {
        TraceParent::parse(text).map(|trace| trace.as_str().to_owned())
    }

    #[test]
    fn well_formed_value_is_kept_unchanged() {
        for flags in ["00", "01", "03", "ff"] {
            let text = format!("00-{TRACE}-{PARENT}-{flags}");
            assert_eq!(parsed(&text), Some(text.clone()));
            let trace = TraceParent::parse(&text).expect("value should be well-formed");
            assert_eq!(trace.trace_id(), TRACE);
        }
    }

    #[test]
    fn later_version_is_reduced_to_the_known_fields() {
        let kept = format!("00-{TRACE}-{PARENT}-01");
        for text in [
            format!("01-{TRACE}-{PARENT}-ff"),
            format!("cc-{TRACE}-{PARENT}-01-what the future holds"),
        ] {
            assert_eq!(parsed(&text), Some(kept.clone()), "{text}");
        }
        assert_eq!(parsed(&format!("cc-{TRACE}-{PARENT}-01.more")), None);
    }

    #[test]
    fn malformed_value_is_ignored() {
        for text in [
            String::new(),
            "é".repeat(30),
            format!("{}é", "0".repeat(54)),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-01 "),
            format!("00-{TRACE}_{PARENT}-01"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("0-{TRACE}-{PARENT}-010"),
            "-".repeat(55),
        ] {
            assert_eq!(parsed(&text), None, "{text}");
        }
    }
}
