//! Whose trace a request belongs to.

/// A `traceparent` of W3C Trace Context (section 3.2): names the trace that a caller's request is a part
/// of, for those who are called because of it. It is kept as it came: nothing here writes a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

/// Digits of the version, the trace, its part that called, and the flags.
const FIELDS: [usize; 4] = [2, 32, 16, 2];

/// With a dash between two fields.
const OCTETS: usize = 55;

impl TraceParent {
    /// From a header's value. None for what is malformed, which counts as nothing (section 3.2.2). Of a
    /// version that came later, what version 00 knows is kept (section 4).
    pub fn parse(text: &str) -> Option<Self> {
        let (known, later) = text.split_at_checked(OCTETS)?;
        let fields: Vec<&str> = known.split('-').collect();
        let digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        let is_well_formed = fields.iter().map(|field| field.len()).eq(FIELDS)
            && fields.iter().all(|field| field.bytes().all(digit));
        let [version, trace, parent, flags] = fields[..] else {
            return None;
        };
        let is_none = |id: &str| id.bytes().all(|octet| octet == b'0');
        if !is_well_formed || version == "ff" || is_none(trace) || is_none(parent) {
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

    /// As a header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the trace: 32 lowercase hexadecimal digits.
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
    fn what_is_well_formed_is_kept_as_it_came() {
        for flags in ["00", "01", "03", "ff"] {
            let text = format!("00-{TRACE}-{PARENT}-{flags}");
            assert_eq!(parsed(&text), Some(text.clone()));
            let trace = TraceParent::parse(&text).expect("well-formed");
            assert_eq!(trace.trace_id(), TRACE);
        }
    }

    #[test]
    fn of_later_versions_what_is_known_is_kept() {
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
    fn what_is_malformed_is_none() {
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
